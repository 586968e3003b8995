"""The `Format` contract, in every format: any body gives a ChatRequest or a RequestRejected, never another error."""

import base64

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.formats.wire import attempt, read
from tests.chat.request_bodies import bodies
from winterbourne.chat.core.messages import ChatRequest, Usage
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.formats import ag_ui, ai_sdk, native, openai
from winterbourne.chat.formats.base import Format, encode_usage
from winterbourne.chat.http.request import Request
from winterbourne.chat.settings import RequestSettings

FORMATS: tuple[Format, ...] = (native.FORMAT, ai_sdk.FORMAT, ag_ui.FORMAT, openai.FORMAT)


@pytest.mark.parametrize("wire_format", FORMATS, ids=lambda wire_format: wire_format.path)
class TestAnyBody:
    @given(data=st.data())
    def test_is_decoded_or_rejected(self, wire_format: Format, data: st.DataObject) -> None:
        assert_decoded_or_rejected(wire_format, orjson.dumps(data.draw(bodies(wire_format.path))))

    @given(raw=st.binary(max_size=50))
    def test_of_arbitrary_bytes_is_decoded_or_rejected(self, wire_format: Format, raw: bytes) -> None:
        assert_decoded_or_rejected(wire_format, raw)


def assert_decoded_or_rejected(wire_format: Format, raw: bytes) -> None:
    headers, encoded = {"content-type": "application/json"}, base64.b64encode(raw).decode()
    request = Request(method="POST", path="/", headers=headers, query={}, raw_body=encoded, is_base64=True)
    outcome = attempt(lambda: read(wire_format, request.json_object(RequestSettings())))
    if isinstance(outcome, RequestRejected):
        assert 400 <= outcome.status < 500
        content_type, body = wire_format.encode_error(outcome.status, outcome.code, str(outcome), "r-1")
        if content_type == "application/json":
            error = orjson.loads(body)["error"]
            assert error.items() >= {"code": outcome.code, "message": str(outcome), "request_id": "r-1"}.items()
        else:
            assert body.decode() == str(outcome)
    else:
        assert isinstance(outcome, ChatRequest)


@pytest.mark.parametrize("name", ["", "two words", "a" * 65, "line\n", "é"])
@pytest.mark.parametrize("wire_format", FORMATS[1:], ids=lambda wire_format: wire_format.path)
def test_a_tool_name_that_no_provider_accepts_is_rejected(wire_format: Format, name: str) -> None:
    schema = {"type": "object", "properties": {}}
    tools = {
        "/api/chat": {name: {"parameters": schema}},
        "/agui": [{"name": name, "parameters": schema}],
        "/v1/chat/completions": [{"type": "function", "function": {"name": name, "parameters": schema}}],
    }
    message = {"role": "user", "id": "1", "content": "hi", "parts": [{"type": "text", "text": "hi"}]}
    outcome = attempt(lambda: read(wire_format, {"messages": [message], "tools": tools[wire_format.path]}))
    assert isinstance(outcome, RequestRejected)
    assert str(outcome).startswith("tools")


def test_usage_in_words_that_two_formats_share_has_three_counts_always_and_the_rest_where_there_is_any() -> None:
    assert encode_usage(Usage()) == {"inputTokens": 0, "outputTokens": 0, "cachedInputTokens": 0}
    assert encode_usage(Usage(9, 4, 2, 3, 1, 0.25)) == {
        "inputTokens": 9,
        "outputTokens": 4,
        "cachedInputTokens": 2,
        "cacheWriteInputTokens": 3,
        "reasoningTokens": 1,
        "cost": 0.25,
    }
