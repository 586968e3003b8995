"""Any conversation, in each format, as the format's own client reads it: hypothesis writes, the real client judges."""

import hypothesis
import pytest
from hypothesis import strategies as st

from tests import npm
from tests.chat.conversations import batches, conversations
from tests.chat.formats.wire import post, sent
from winterbourne.chat.formats import ag_ui, ai_sdk, native, openai
from winterbourne.chat.formats.base import Format
from winterbourne.chat.settings import Settings

pytestmark = pytest.mark.slow

EXAMPLES = 40

CLIENTS: tuple[tuple[str, Format], ...] = (
    ("native", native.FORMAT),
    ("ai", ai_sdk.FORMAT),
    ("ai6", ai_sdk.FORMAT),
    ("ai5", ai_sdk.FORMAT),
    ("ag-ui", ag_ui.FORMAT),
    ("openai", openai.FORMAT),
)

PARAMETERS = {"type": "object", "properties": {}}
BODY = {
    "messages": [{"id": "1", "role": "user", "content": "Hi", "parts": [{"type": "text", "text": "Hi"}]}],
    "stream": True,
}
TOOLS: dict[str, object] = {
    "/chat": None,
    "/api/chat": {"ask_user": {"description": "Ask", "parameters": PARAMETERS}},
    "/agui": [{"name": "ask_user", "description": "Ask", "parameters": PARAMETERS}],
    "/v1/chat/completions": [{"type": "function", "function": {"name": "ask_user", "parameters": PARAMETERS}}],
}


BROKEN = {
    "native": '{"type":"surprise"}',
    "ai": '{"type":"text-delta","id":"p1","delta":"a"}',
    "ai6": '{"type":"text-delta","id":"p1","delta":"a"}',
    "ai5": '{"type":"text-delta","id":"p1","delta":"a"}',
    "ag-ui": '{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"a"}',
    "openai": '{"error":{"message":"a","code":"unknown"}}',
}


def test_a_broken_stream_is_not_accepted() -> None:
    """Otherwise the test below would say nothing."""
    streams = [{"format": name, "stream": f"data: {frame}\n\n"} for name, frame in BROKEN.items()]
    assert all(npm.run("accept.mjs", given=streams))


def test_every_stream_is_accepted() -> None:
    streams: list[dict[str, str]] = []

    @hypothesis.settings(max_examples=EXAMPLES, database=None, derandomize=True)
    @hypothesis.given(st.data())
    def write(data: st.DataObject) -> None:
        cut = data.draw(batches(data.draw(conversations(client_tools=["ask_user"]))))
        for name, frontend in CLIENTS:
            encoder = frontend.decode(post(BODY | {"tools": TOOLS[frontend.path]}), Settings())[1]
            streams.append({"format": name, "stream": sent(encoder, cut).decode()})

    write()
    verdicts = npm.run("accept.mjs", given=streams)
    refused = [(stream, verdict) for stream, verdict in zip(streams, verdicts, strict=True) if verdict]
    assert refused == []
    assert len(verdicts) >= EXAMPLES
