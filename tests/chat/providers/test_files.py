"""Files in requests to providers: bodies that are sent without a copy."""

import asyncio
import base64
import hashlib
from collections.abc import Sequence

import httpx
import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests import transcripts
from tests.chat.providers.provider_helpers import KEY, collect_events, request
from tests.upstream import failing, saying, upstream
from winterbourne.chat.core.documents import PDF, take_out_data
from winterbourne.chat.core.messages import Document, Image, Text, UserMessage, UserPart
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.infra import redaction
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.providers.files import Body
from winterbourne.chat.settings import Settings
from winterbourne.large_body import MIN_RUN_BYTES

LARGE = base64.b64encode(b"%PDF-1.7\n" + b"x" * 300_000).decode()


PARTS = st.lists(
    st.sampled_from(
        [
            Text("Hi"),
            Document(PDF, "a", LARGE),
            Image("image/png", "B" * MIN_RUN_BYTES),
            Document(PDF, "b", "aGk="),
            Document("text/plain", "c", "Y" * MIN_RUN_BYTES),
            Image("", url="https://a"),
        ]
    ),
    min_size=1,
)


def content_of(request: ModelRequest) -> bytes:
    """Some JSON with all data in it, each once more in the middle of a string."""
    messages = (message for message in request.messages if isinstance(message, UserMessage))
    parts = [part for message in messages for part in message.parts]
    return "".join(f'{{"url":"data:{part.data}"}}' for part in parts if not isinstance(part, Text)).encode()


@given(PARTS)
def test_a_body_is_the_same_with_its_files_beside_it(parts: Sequence[UserPart]) -> None:
    whole = request(UserMessage(tuple(parts)))
    messages, taken = take_out_data(whole.messages, texts=False)
    slim = msgspec.structs.replace(whole, messages=messages)
    assert len(content_of(slim)) < 300 * len(parts) + sum("c" in str(part)[:50] for part in parts) * MIN_RUN_BYTES
    taken.text, body, expected = content_of(slim), Body(taken), content_of(whole)
    assert b"".join(taken.pieces()) == expected
    sent = body.sent_by(httpx.Request("POST", "https://a/", content=b"x", headers={"x-a": "1"}))
    assert sent.headers["content-length"] == str(len(expected))
    assert sent.headers["x-a"] == "1"
    assert "transfer-encoding" not in sent.headers
    assert sent.extensions["sha256"]() == hashlib.sha256(expected).hexdigest()
    assert asyncio.run(sent.aread()) == expected == asyncio.run(read_again(sent))


async def read_again(sent: httpx.Request) -> bytes:
    """As a second attempt does."""
    return b"".join([piece async for piece in sent.stream])  # type: ignore[union-attr]


def test_a_user_cannot_write_a_mark() -> None:
    _, taken = take_out_data([UserMessage((Document(PDF, "a", LARGE),))])
    taken.text = b'"large-0;"'
    assert b"".join(taken.pieces()) == b'"large-0;"'


async def test_a_large_document_arrives_whole_at_the_second_attempt_too() -> None:
    redaction.register(KEY)
    document = Document(PDF, f"{KEY}.pdf", LARGE)
    async with upstream(failing(503), saying(transcripts.wire("anthropic", "text"))) as server:
        options = {"anthropic_base_url": server.url, "anthropic_api_key": KEY, "model_provider": "anthropic"}
        provider = make_provider(Settings.of(**options).model)
        await collect_events(provider, request(UserMessage((document, Text("?")))))
    first, second = server.requests
    assert first.body == second.body
    assert second.body.count(LARGE.encode()) == 1
    assert KEY.encode() not in second.body
    assert b"[redacted].pdf" in second.body
