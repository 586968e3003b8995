"""The `Format` contract, in every format: any body gives a ChatRequest or a RequestRejected, never another error."""

import base64

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.formats.wire import attempt, read
from tests.chat.http_events import parsed
from tests.chat.request_bodies import bodies
from winterbourne.chat.core.messages import ChatRequest, OutputSchema, Usage
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.formats import ag_ui, ai_sdk, native, openai
from winterbourne.chat.formats.base import Format, encode_usage
from winterbourne.chat.http.request import Request
from winterbourne.chat.providers.capabilities import LEVELS

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
    request = Request(method="POST", raw_path="/", headers=headers, raw_body=encoded, is_base64=True)
    outcome = attempt(lambda: read(wire_format, parsed(request)))
    if isinstance(outcome, RequestRejected):
        assert 400 <= outcome.status < 500
        content_type, body = wire_format.encode_error(outcome.status, outcome.code, str(outcome), "r-1")
        if content_type == "application/json":
            error = orjson.loads(body)["error"]
            assert error.items() >= {"code": outcome.code, "message": str(outcome), "request_id": "r-1"}.items()
        else:
            assert body.decode() == f"{outcome} (request r-1)"
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


SCHEMA = {"type": "object", "required": ["a"]}
SNAKE: dict[str, object] = {
    "temperature": 0.5,
    "max_tokens": 7,
    "top_p": 0.9,
    "stop": ["END", "."],
    "seed": 4,
    "presence_penalty": 0.1,
    "frequency_penalty": -0.1,
    "parallel_tool_calls": False,
}
CAMEL: dict[str, object] = {
    "temperature": 0.5,
    "maxTokens": 7,
    "topP": 0.9,
    "stopSequences": ["END", "."],
    "seed": 4,
    "presencePenalty": 0.1,
    "frequencyPenalty": -0.1,
    "parallelToolCalls": False,
}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "response", "schema": SCHEMA}}
BODIES: dict[str, dict[str, object]] = {
    "/chat": {**SNAKE, "schema": SCHEMA},
    "/api/chat": {**CAMEL, "responseFormat": {"type": "json", "schema": SCHEMA}},
    "/agui": {"forwardedProps": {**CAMEL, "schema": SCHEMA}},
    "/v1/chat/completions": {**SNAKE, "response_format": JSON_SCHEMA},
}
MESSAGE = {"role": "user", "id": "1", "content": "hi", "parts": [{"type": "text", "text": "hi"}]}


@pytest.mark.parametrize("wire_format", FORMATS, ids=lambda wire_format: wire_format.path)
def test_every_option_can_be_said(wire_format: Format) -> None:
    chat, _ = wire_format.decode({"messages": [MESSAGE], **BODIES[wire_format.path]})
    assert chat.options() == {**SNAKE, "stop": ("END", "."), "output": OutputSchema(schema=SCHEMA)}


@pytest.mark.parametrize(
    ("wire_format", "fields"),
    [
        (native.FORMAT, ("top_p", "schema", "stop", "reasoning")),
        (ai_sdk.FORMAT, ("topP", "schema, or responseFormat", "stop, or stopSequences", "reasoning")),
        (
            ag_ui.FORMAT,
            (
                "forwardedProps.topP",
                "forwardedProps.schema, or responseFormat",
                "forwardedProps.stop, or stopSequences",
                "forwardedProps.reasoning",
            ),
        ),
        (openai.FORMAT, ("top_p", "response_format", "stop", "reasoning_effort")),
    ],
    ids=lambda value: getattr(value, "path", ""),
)
def test_an_option_is_named_as_the_client_sends_it(wire_format: Format, fields: tuple[str, ...]) -> None:
    assert tuple(map(wire_format.field_of, ("top_p", "output", "stop", "reasoning"))) == fields


@pytest.mark.parametrize(
    ("wire_format", "said"),
    [
        *((native.FORMAT, said) for said in ({"top_p": 1.5}, {"stop": [""]}, {"seed": "x"}, {"presence_penalty": 3})),
        (native.FORMAT, {"seed": 2**63}),
        *((ai_sdk.FORMAT, said) for said in ({"topP": 1.5}, {"stopSequences": [""]}, {"frequencyPenalty": -3})),
        *((ag_ui.FORMAT, {"forwardedProps": said}) for said in ({"topP": 1.5}, {"stop": ""}, {"schema": "x"})),
        *((openai.FORMAT, said) for said in ({"top_p": 1.5}, {"stop": [""]}, {"seed": "x"}, {"presence_penalty": 3})),
    ],
    ids=lambda value: getattr(value, "path", str(value)),
)
def test_an_option_beyond_what_any_provider_takes_is_rejected(wire_format: Format, said: dict[str, object]) -> None:
    outcome = attempt(lambda: read(wire_format, {"messages": [MESSAGE], **said}))
    assert isinstance(outcome, RequestRejected)
    assert outcome.code == "invalid_request"


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


HI = {"id": "1", "role": "user", "content": "Hi", "parts": [{"type": "text", "text": "Hi"}]}


@pytest.mark.parametrize(
    ("wire_format", "field"),
    [
        (native.FORMAT, {"reasoning": "LEVEL"}),
        (ai_sdk.FORMAT, {"reasoning": "LEVEL"}),
        (ag_ui.FORMAT, {"forwardedProps": {"reasoning": "LEVEL", "mine": 1}}),
        (openai.FORMAT, {"reasoning_effort": "LEVEL"}),
        (openai.FORMAT, {"reasoning": {"effort": "LEVEL", "summary": "auto"}}),
    ],
)
class TestReasoning:
    """One field in every format says how much the model is to think."""

    @staticmethod
    def asked(wire_format: Format, field: dict[str, object], level: str) -> ChatRequest:
        body = orjson.dumps({"messages": [HI], **field}).replace(b'"LEVEL"', orjson.dumps(level))
        return wire_format.decode(orjson.loads(body))[0]

    @pytest.mark.parametrize("level", LEVELS)
    def test_each_level_is_read(self, wire_format: Format, field: dict[str, object], level: str) -> None:
        assert self.asked(wire_format, field, level).reasoning == level

    def test_any_other_is_rejected_by_its_name(self, wire_format: Format, field: dict[str, object]) -> None:
        with pytest.raises((RequestRejected, msgspec.ValidationError), match="reasoning"):
            self.asked(wire_format, field, "extreme")


@pytest.mark.parametrize(
    ("fields", "level"),
    [
        ({"reasoning_effort": "xhigh"}, "max"),
        ({"reasoning": {"effort": "xhigh"}}, "max"),
        ({"reasoning": {"enabled": False}}, "none"),
        ({"reasoning": {"enabled": True}}, "medium"),
        ({"reasoning": {"summary": "auto"}}, None),
        ({"reasoning": {"enabled": True, "effort": "low"}}, "low"),
        ({"reasoning": None, "reasoning_effort": None}, None),
    ],
)
def test_openais_clients_have_more_words_for_it(fields: dict[str, object], level: str | None) -> None:
    assert openai.FORMAT.decode({"messages": [HI], **fields})[0].reasoning == level


def test_what_openrouter_has_beside_is_rejected_by_its_name() -> None:
    with pytest.raises(msgspec.ValidationError, match="max_tokens"):
        openai.FORMAT.decode({"messages": [HI], "reasoning": {"max_tokens": 2000}})


@pytest.mark.parametrize("props", [None, [], "text", {"other": 1}])
def test_what_an_app_forwards_otherwise_is_its_own_business(props: object) -> None:
    assert ag_ui.FORMAT.decode({"messages": [HI], "forwardedProps": props})[0].reasoning is None
