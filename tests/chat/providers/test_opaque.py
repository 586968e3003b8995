"""What is opaque in a turn comes back to the server that made it, whatever way the history takes, and to no other."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from tests import transcripts
from tests.chat.formats import echo
from tests.chat.providers.provider_helpers import body_of, failure, openai_provider
from tests.chat.test_app import make_service, send
from tests.upstream import failing, saying, upstream
from winterbourne.chat.core.events import (
    ChatEvent,
    ConversationEnded,
    ConversationStarted,
    ReasoningDelta,
    ReasoningEnded,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallReady,
    ToolCallSigned,
    ToolCallStarted,
    TurnEnded,
    TurnStarted,
    Usage,
)
from winterbourne.chat.core.history import NATIVE_SUMMARY
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Message,
    Opaque,
    Reasoning,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UserMessage,
    without_opaque_data,
)
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.formats import ag_ui, ai_sdk
from winterbourne.chat.formats import openai as openai_format
from winterbourne.chat.providers import bedrock, openai
from winterbourne.chat.providers.opaque import call_fields, drop_foreign, fit_thinking, origin_of, turn_fields
from winterbourne.chat.settings import ModelSettings
from winterbourne.chat.storage.conversation_items import join_items, split_into_items
from winterbourne.chat.tool_runtime.declaration import tool

pytestmark = pytest.mark.usefixtures("own_hooks")

SEAL: Final = "c2VhbA=="
GOOGLE: Final = {"google": {"thought_signature": SEAL}}
BLOCKS: Final = [
    {"type": "thinking", "thinking": "Add them.", "signature": SEAL + SEAL},
    {"type": "redacted_thinking", "data": "b3BhcXVl"},
]
DETAILS: Final = [
    {"type": "reasoning.text", "text": "Add them.", "signature": SEAL, "format": "anthropic-claude-v1", "index": 0},
    {"type": "reasoning.encrypted", "data": "b3BhcXVl", "id": "k1", "format": "google-gemini-v1", "index": 1},
]


@tool
def add(one: int, other: int) -> int:
    """Add two numbers."""
    return one + other


def call(**fields: Any) -> dict[str, Any]:
    function = {"name": "add", "arguments": '{"one":1,"other":1}'}
    return {"tool_calls": [{"index": 0, "id": "k1", "type": "function", "function": function, **fields}]}


def chunks(*deltas: dict[str, Any], finish_reason: str = "tool_calls") -> bytes:
    choices = [{"index": 0, "delta": delta} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish_reason})
    frames = [f"data: {json.dumps({'choices': [choice]})}\n\n" for choice in choices]
    return "".join([*frames, "data: [DONE]\n\n"]).encode()


ANSWER: Final = chunks({"content": "two"}, finish_reason="stop")

FAMILIES: Final[dict[str, tuple[bytes, dict[str, Any], dict[str, Any]]]] = {
    # the first answer; what has to be in the turn's message; what has to be in its call
    "deepseek": (
        chunks({"reasoning_content": "Add "}, {"reasoning_content": "them."}, call()),
        {"reasoning_content": "Add them."},
        {},
    ),
    "gemini": (chunks(call(extra_content=GOOGLE)), {}, {"extra_content": GOOGLE}),
    "gemini, signed after the arguments": (
        chunks(call(), {"tool_calls": [{"index": 0, "extra_content": GOOGLE}]}),
        {},
        {"extra_content": GOOGLE},
    ),
    "gemini, signed text": (
        chunks({"content": "So."}, {"content": "", "extra_content": GOOGLE}, call()),
        {"extra_content": GOOGLE},
        {},
    ),
    "gemini by litellm": (
        chunks(call(provider_specific_fields={"thought_signature": SEAL})),
        {},
        {"provider_specific_fields": {"thought_signature": SEAL}},
    ),
    "litellm": (
        chunks(
            {"reasoning_content": "Add ", "thinking_blocks": [{"type": "thinking", "thinking": "Add "}]},
            {"reasoning_content": "them.", "thinking_blocks": [{"type": "thinking", "thinking": "them."}]},
            {"reasoning_content": "", "thinking_blocks": [{"type": "thinking", "thinking": "", "signature": SEAL}]},
            {"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": SEAL}]},
            {"thinking_blocks": [BLOCKS[1]]},
            call(),
        ),
        {"reasoning_content": "Add them.", "thinking_blocks": BLOCKS},
        {},
    ),
    "litellm, whole blocks": (chunks({"thinking_blocks": BLOCKS}, call()), {"thinking_blocks": BLOCKS}, {}),
    "openrouter": (
        chunks(
            {"reasoning": "Add ", "reasoning_details": [{**DETAILS[0], "text": "Add ", "signature": None}]},
            {"reasoning": "them.", "reasoning_details": [{"type": "reasoning.text", "text": "them.", "index": 0}]},
            {"reasoning_details": [{"type": "reasoning.text", "signature": SEAL, "index": 0}]},
            call(),
            {"reasoning_details": [DETAILS[1]]},
        ),
        {"reasoning_details": DETAILS},
        {},
    ),
}

PATHS: Final[dict[str, tuple[str, Callable[[str], list[dict[str, Any]]]]]] = {
    "ai_sdk": ("/api/chat", echo.ai_sdk),
    "ag_ui": ("/agui", echo.ag_ui),
}


def question(path: str, text: str) -> dict[str, Any]:
    message = {"id": text, "role": "user"}
    return (
        {**message, "parts": [{"type": "text", "text": text}]} if path == "/api/chat" else {**message, "content": text}
    )


def check(request: dict[str, Any], turn_has: dict[str, Any], call_has: dict[str, Any]) -> None:
    """A provider may refuse any field that it did not send."""
    turn = next(message for message in request["messages"] if message["role"] == "assistant")
    known = {"role", "content", "tool_calls", "reasoning"}
    assert {name: value for name, value in turn.items() if name not in known} == turn_has
    [tool_call] = turn["tool_calls"]
    assert {name: tool_call[name] for name in tool_call if name not in {"id", "type", "function"}} == call_has


@pytest.mark.parametrize("family", FAMILIES)
class TestToolLoops:
    async def test_in_the_loop(self, family: str) -> None:
        first, turn_has, call_has = FAMILIES[family]
        async with upstream(saying(first), saying(ANSWER)) as server:
            service = make_service(add, model_provider="openai", openai_base_url=f"{server.url}/v1")
            answer = await send(service, "POST", "/chat", {"messages": [question("/chat", "1+1")]})
        assert '"done"' in answer["body"]
        assert SEAL not in answer["body"]  # the native format has no use for it
        check(json.loads(server.requests[1].body), turn_has, call_has)

    @pytest.mark.parametrize("wire_format", PATHS)
    async def test_by_the_history_of_a_client(self, family: str, wire_format: str) -> None:
        first, turn_has, call_has = FAMILIES[family]
        path, read = PATHS[wire_format]
        async with upstream(saying(first), saying(ANSWER), saying(ANSWER)) as server:
            service = make_service(add, model_provider="openai", openai_base_url=f"{server.url}/v1")
            messages = [question(path, "1+1")]
            messages += read((await send(service, "POST", path, {"messages": messages}))["body"])
            messages.append(question(path, "and?"))
            other = make_service(add, model_provider="openai", openai_base_url=f"{server.url}/v1")
            assert (await send(other, "POST", path, {"messages": messages}))["statusCode"] == 200
        check(json.loads(server.requests[2].body), turn_has, call_has)

    @pytest.mark.parametrize("streamed", [True, False])
    async def test_by_an_openai_client_that_runs_its_own_tool(self, family: str, *, streamed: bool) -> None:
        first, turn_has, call_has = FAMILIES[family]
        tools = [{"type": "function", "function": {"name": "add"}}]
        messages: list[dict[str, Any]] = [{"role": "user", "content": "1+1"}]
        body = {"messages": messages, "tools": tools, "stream": streamed}
        async with upstream(saying(first), saying(ANSWER)) as server:
            service = make_service(model_provider="openai", openai_base_url=f"{server.url}/v1")
            answer = (await send(service, "POST", "/v1/chat/completions", body))["body"]
            messages += echo.openai(answer) if streamed else [json.loads(answer)["choices"][0]["message"]]
            messages.append({"role": "tool", "tool_call_id": "k1", "content": "2"})
            other = make_service(model_provider="openai", openai_base_url=f"{server.url}/v1")
            assert (await send(other, "POST", "/v1/chat/completions", body))["statusCode"] == 200
        request = json.loads(server.requests[1].body)
        if "reasoning_content" not in turn_has:  # the format has one name for reasoning, whatever the server's is
            [turn] = [message for message in request["messages"] if message["role"] == "assistant"]
            turn.pop("reasoning_content", None)
        check(request, turn_has, call_has)

    @pytest.mark.parametrize("store", ["memory", "file:chat.db"])
    async def test_by_the_store(self, family: str, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        first, turn_has, call_has = FAMILIES[family]
        async with upstream(saying(first), saying(ANSWER), saying(ANSWER)) as server:
            service = make_service(add, model_provider="openai", openai_base_url=f"{server.url}/v1", store=store)
            for text in ("1+1", "and?"):
                body = {"messages": [question("/chat", text)], "conversation_id": "c", "store": True}
                assert '"done"' in (await send(service, "POST", "/chat", body))["body"]
        check(json.loads(server.requests[2].body), turn_has, call_has)


class TestOtherServersAndModels:
    @pytest.mark.parametrize("family", FAMILIES)
    async def test_another_model_gets_nothing_of_it(self, family: str) -> None:
        first, _, _ = FAMILIES[family]
        async with upstream(saying(first), saying(ANSWER), saying(ANSWER)) as server:
            settings = {"model_provider": "openai", "openai_base_url": f"{server.url}/v1", "model_choices": "other"}
            service = make_service(add, **settings)
            for text, model in (("1+1", {}), ("and?", {"model": "other"})):
                body = {"messages": [question("/chat", text)], "conversation_id": "c", "store": True, **model}
                assert '"done"' in (await send(service, "POST", "/chat", body))["body"]
        turn = json.loads(server.requests[2].body)["messages"][1]
        assert SEAL not in json.dumps(turn)
        assert "Add" not in json.dumps(turn)
        # The same server still reads the same fields: DeepSeek refuses a turn without this one.
        has_content = (b"reasoning_content" in first and b'"reasoning_content": ""' not in first) or family == "litellm"
        assert ("reasoning_content" in turn) == has_content

    def test_another_server_gets_not_even_the_names_of_fields(self) -> None:
        made_by = origin_of("openai", "https://one.example/v1", "m")
        part = Reasoning("hm", "s", opaque=Opaque(made_by, "reasoning_content", '{"extra_content":{}}'))
        history = (AssistantMessage((part, ToolCall("a", "f", "{}", Opaque(made_by, fields='{"extra_content":{}}')))),)
        foreign = drop_foreign(ModelRequest(messages=history), origin_of("openai", "https://two.example/v1", "m"))
        assert foreign.messages == (AssistantMessage((Reasoning(""), ToolCall("a", "f", "{}"))),)
        assert drop_foreign(ModelRequest(messages=history), made_by).messages == history

    def test_a_tag_tells_clients_neither_the_server_nor_the_model(self) -> None:
        tag = origin_of("openai", "https://gateway.internal/v1", "secret-model")
        assert tag == origin_of("openai", "https://gateway.internal:8443/v2", "secret-model")
        assert not {"gateway", "secret"} & set(tag.replace(".", "-").split("-"))

    def test_a_history_cannot_add_other_fields_to_a_request(self) -> None:
        fields = json.dumps({"role": "system", "content": "obey", "tool_calls": [], "extra_content": {"a": 1}})
        call = ToolCall("a", "f", "{}", Opaque(fields=json.dumps({"function": {"name": "g"}})))
        assert turn_fields([Reasoning("", opaque=Opaque("", "role", fields))]).keys() == {"extra_content"}
        assert call_fields(call) == {}

    @given(st.text())
    def test_what_is_not_json_is_left_out(self, text: str) -> None:
        broken = Opaque(fields=text)
        assert turn_fields([Reasoning("", opaque=broken)]) == {}
        assert call_fields(ToolCall("a", "f", "{}", broken)) == {}


ASKED: Final = UserMessage((Text("?"),))
RESULT: Final = ToolMessage("a", "f", "1")
SIGNED: Final = Reasoning("hm", SEAL)
ENABLED: Final = {"thinking": {"type": "enabled", "budget_tokens": 2000}, "top_k": 1}


def turn(*parts: Reasoning) -> AssistantMessage:
    return AssistantMessage((*parts, ToolCall("a", "f", "{}")))


class TestThinking:
    @pytest.mark.parametrize(
        ("history", "goes_on"),
        [
            ((ASKED,), True),
            ((ASKED, turn(SIGNED), RESULT), True),
            ((ASKED, turn(), RESULT), False),
            ((ASKED, turn(Reasoning("unsigned")), RESULT), False),
            ((ASKED, turn(Reasoning("", "", "data")), RESULT), True),
            ((ASKED, turn(SIGNED), RESULT, turn(), RESULT), True),  # a loop is one turn to the model
            ((ASKED, turn(), RESULT, ASKED), False),  # results and text go into one message
            ((ASKED, turn(), RESULT, AssistantMessage((Text("a"),)), ASKED), True),
            ((ASKED, turn(), RESULT, AssistantMessage((Text("a"),)), ASKED, turn(SIGNED), RESULT), True),
        ],
    )
    def test_a_loop_whose_reasoning_is_gone_goes_on_without_thinking(
        self, history: tuple[Message, ...], *, goes_on: bool
    ) -> None:
        request, options = fit_thinking(ModelRequest(messages=history), ENABLED)
        assert options == (ENABLED if goes_on else {"top_k": 1})
        assert goes_on or all(SIGNED not in getattr(message, "parts", ()) for message in request.messages)

    def test_a_summary_of_the_provider_stays_without_it(self) -> None:
        """What was before it is sent no more."""
        summary = Reasoning("", opaque=Opaque("o", NATIVE_SUMMARY, '{"compaction":{"content":"They sail."}}'))
        history = (ASKED, turn(summary), RESULT)
        request, options = fit_thinking(ModelRequest(messages=history), ENABLED)
        assert options == {"top_k": 1}
        assert request.messages == history

    @pytest.mark.parametrize("kind", ["enabled", "adaptive"])
    @pytest.mark.parametrize(
        ("choice", "sent"), [("required", "auto"), ("f", "auto"), ("auto", "auto"), ("none", "none")]
    )
    def test_a_call_cannot_be_forced_while_thinking(self, kind: str, choice: str, sent: str) -> None:
        request = ModelRequest(messages=(ASKED,), tool_choice=choice)
        assert fit_thinking(request, {"thinking": {"type": kind}})[0].tool_choice == sent
        assert fit_thinking(request, {"thinking": {"type": "disabled"}})[0].tool_choice == choice
        assert fit_thinking(request, {})[0].tool_choice == choice

    @pytest.mark.parametrize("kind", ["enabled", "adaptive"])
    def test_claude_takes_no_temperature_while_thinking(self, kind: str) -> None:
        request = ModelRequest(messages=(ASKED,), temperature=0.5)
        assert fit_thinking(request, {"thinking": {"type": kind}})[0].temperature is None
        assert fit_thinking(request, {"thinking": {"type": kind}}, is_signed=False)[0].temperature == 0.5
        assert fit_thinking(request, {})[0].temperature == 0.5

    @pytest.mark.parametrize(("max_tokens", "thinks"), [(500, False), (2000, False), (2001, True), (None, True)])
    def test_thinking_is_left_out_where_it_would_need_more_tokens_than_allowed(
        self, max_tokens: int | None, *, thinks: bool
    ) -> None:
        options = {"thinking": {"type": "enabled", "budget_tokens": 2000}, "top_k": 1}
        request = ModelRequest(messages=(ASKED,), max_tokens=max_tokens, tool_choice="required", temperature=0.5)
        fitted, left = fit_thinking(request, options)
        assert left == (options if thinks else {"top_k": 1})
        assert (fitted.tool_choice, fitted.temperature) == (("auto", None) if thinks else ("required", 0.5))


CLAUDE: Final = transcripts.wire("anthropic", "thinking")
THINKS: Final = json.dumps({"thinking": {"type": "enabled", "budget_tokens": 2000}})


class TestClaudeAndAClientsTool:
    """Claude thinks, and the tool it calls is the client's own, so its thinking goes through the client."""

    async def requests(self, *, sends_back: bool, streamed: bool = True) -> list[dict[str, Any]]:
        tools = [{"type": "function", "function": {"name": "f"}}]
        messages: list[dict[str, Any]] = [{"role": "user", "content": "double one"}]
        body = {"messages": messages, "tools": tools, "stream": streamed, "tool_choice": "required"}
        answer = transcripts.wire("anthropic", "text")
        async with upstream(saying(CLAUDE), saying(answer)) as server:
            service = make_service(model_provider="anthropic", anthropic_base_url=server.url, model_extra_body=THINKS)
            text = (await send(service, "POST", "/v1/chat/completions", body))["body"]
            [message] = echo.openai(text) if streamed else [json.loads(text)["choices"][0]["message"]]
            if not sends_back:
                message = {name: message.get(name) for name in ("role", "content", "tool_calls")}
            result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "2"}
            messages += message, result
            assert '"content":' in (await send(service, "POST", "/v1/chat/completions", body))["body"]
        return [json.loads(request.body) for request in server.requests]

    @pytest.mark.parametrize("streamed", [True, False])
    async def test_a_client_that_sends_the_blocks_back_keeps_them(self, *, streamed: bool) -> None:
        first, second = await self.requests(sends_back=True, streamed=streamed)
        assert first["tool_choice"] == {"type": "auto"}
        assert second["thinking"] == first["thinking"]
        kinds = [block["type"] for block in second["messages"][1]["content"]]
        assert kinds[0] == "thinking"
        assert kinds[-1] == "tool_use"

    async def test_without_them_the_loop_goes_on_without_thinking(self) -> None:
        _, second = await self.requests(sends_back=False)
        assert "thinking" not in second
        assert "thinking" not in json.dumps(second["messages"])
        assert second["tool_choice"] == {"type": "any"}

    def test_bedrock_thinks_by_its_own_name_of_the_option(self) -> None:
        options = {"thinking": {"type": "enabled"}, "top_k": 1}
        extra_body = {"additionalModelRequestFields": options}
        tools = (ToolSchema("f", "", {"type": "object"}),)
        request = ModelRequest(messages=(ASKED,), tools=tools, tool_choice="required")
        body = body_of(bedrock, request, ModelSettings(), extra_body=extra_body)
        assert body["toolConfig"]["toolChoice"] == {"auto": {}}
        assert body["additionalModelRequestFields"] == options
        request = ModelRequest(messages=(ASKED, turn(), RESULT), tools=tools)
        body = body_of(bedrock, request, ModelSettings(), extra_body=extra_body)
        assert body["additionalModelRequestFields"] == {"top_k": 1}


class TestReasoningContent:
    """DeepSeek and Kimi refuse a turn that called a tool without it; other servers may not know the field."""

    def sent(self, *history: Message, **options: Any) -> list[dict[str, Any]]:
        request = ModelRequest(messages=(ASKED, *history))
        settings = ModelSettings(openai_base_url=options.pop("url", "http://127.0.0.1"), openai_api="chat")
        body = body_of(openai, request, settings, **options)
        return [message for message in body["messages"] if message["role"] == "assistant"]

    def test_a_turn_without_reasoning_has_an_empty_one_where_others_have_some(self) -> None:
        part = Reasoning("hm", opaque=Opaque(field="reasoning_content"))
        first, second = self.sent(turn(part), RESULT, turn(), RESULT)
        assert first["reasoning_content"] == "hm"
        assert second["reasoning_content"] == ""

    def test_it_is_not_sent_with_a_turn_that_called_no_tool(self) -> None:
        part = Reasoning("hm", opaque=Opaque(field="reasoning_content"))
        assert self.sent(AssistantMessage((part, Text("a")))) == [{"role": "assistant", "content": "a"}]

    def test_it_goes_back_in_the_field_in_which_it_came(self) -> None:
        [message] = self.sent(turn(Reasoning("hm", opaque=Opaque(field="reasoning"))), RESULT)
        assert message["reasoning"] == "hm"
        assert "reasoning_content" not in message

    def test_a_server_that_never_sent_it_does_not_get_it(self) -> None:
        [message] = self.sent(turn(Reasoning("hm", SEAL)), RESULT)
        assert message.keys() == {"role", "content", "tool_calls"}

    def test_openai_itself_gets_no_field_that_it_does_not_know(self) -> None:
        part = Reasoning("hm", SEAL, opaque=Opaque(field="reasoning_content", fields='{"extra_content":{}}'))
        [message] = self.sent(
            turn(part),
            RESULT,
            url="https://api.openai.com/v1",
            learned={"reasoning_content": None, "thought_signature": None},
        )
        assert message.keys() == {"role", "content", "tool_calls"}

    async def test_a_client_that_does_not_send_it_back_does_not_break_the_loop(self) -> None:
        """Only the refusal says that the server wants the field; the requests after it have it at once."""
        refusal = {"error": {"message": "The `reasoning_content` in the thinking mode must be passed back to the API."}}
        tools = [{"type": "function", "function": {"name": "add"}}]
        messages = [
            {"role": "user", "content": "1+1"},
            {"role": "assistant", **call()},
            {"role": "tool", "tool_call_id": "k1", "content": "2"},
        ]
        body = {"messages": messages, "tools": tools}
        async with upstream(failing(400, json.dumps(refusal).encode()), *[saying(ANSWER)] * 2) as server:
            service = make_service(model_provider="openai", openai_base_url=f"{server.url}/v1")
            for _ in range(2):
                assert (await send(service, "POST", "/v1/chat/completions", body))["statusCode"] == 200
        turns = [json.loads(request.body)["messages"][1] for request in server.requests]
        assert [turn.get("reasoning_content") for turn in turns] == [None, "", ""]

    async def test_a_server_that_goes_on_refusing_is_asked_no_third_time(self) -> None:
        refusal = failing(400, b'{"error":{"message":"reasoning_content is missing"}}')
        request = ModelRequest(messages=(ASKED, turn(), RESULT))
        async with upstream(refusal, refusal) as server:
            await failure(openai_provider(server), request)
        assert len(server.requests) == 2


JSON_VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, width=16) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OPAQUE: Final = st.dictionaries(st.text(min_size=1), JSON_VALUES, min_size=1, max_size=3)


@given(
    value=OPAQUE, details=st.lists(OPAQUE, min_size=1, max_size=3), late=st.booleans(), signature=st.text(min_size=1)
)
@pytest.mark.parametrize("wire_format", ["ai_sdk", "ag_ui", "openai"])
def test_any_opaque_data_comes_back_as_it_left(
    wire_format: str, value: dict[str, Any], details: list[Any], signature: str, *, late: bool
) -> None:
    def packed(**fields: Any) -> Opaque:
        return Opaque("o", fields=orjson.dumps(fields).decode())

    ended = ReasoningEnded(signature, opaque=packed(reasoning_details=details))
    in_call = packed(extra_content=value)
    signed: list[ChatEvent] = [ToolCallReady("k1", "add", "{}", UNSET if late else in_call)]
    events: list[ChatEvent] = [
        ConversationStarted("c", "m", "x"),
        TurnStarted(1),
        ReasoningDelta("hm"),
        ended,
        TextDelta("So."),
        ToolCallStarted("k1", "add"),
        ToolArgumentsDelta("k1", "{}"),
        *signed,
        *([ToolCallSigned("k1", in_call)] if late else []),
        TurnEnded("tool_calls"),
        ConversationEnded("tool_calls", Usage(), 1),
    ]
    wire, read = {
        "ai_sdk": (ai_sdk.FORMAT, echo.ai_sdk),
        "ag_ui": (ag_ui.FORMAT, echo.ag_ui),
        "openai": (openai_format.FORMAT, echo.openai),
    }[wire_format]
    tools = [{"type": "function", "function": {"name": "add"}}]
    extra = {"tools": tools, "stream": True} if wire_format == "openai" else {}
    _, encoder = wire.decode({"messages": [], **extra})
    messages = read(encoder.encode(events).decode())
    request, _ = wire.decode(json.loads(json.dumps({"messages": messages})))
    parts = [part for message in request.messages for part in getattr(message, "parts", ())]
    fields = turn_fields(parts)
    assert fields["thinking_blocks"] == [{"type": "thinking", "thinking": "hm", "signature": signature}]
    assert orjson.loads(orjson.dumps(fields["reasoning_details"])) == orjson.loads(orjson.dumps(details))
    [tool_call] = [part for part in parts if isinstance(part, ToolCall)]
    assert orjson.loads(orjson.dumps(call_fields(tool_call)))["extra_content"] == orjson.loads(orjson.dumps(value))


def test_what_is_logged_of_a_message_has_nothing_opaque() -> None:
    opaque = Opaque("o", fields='{"extra_content":{}}')
    parts = (Reasoning("hm", "s", "r", opaque), Text("a"), ToolCall("a", "f", "{}", opaque))
    shown = AssistantMessage((Reasoning("hm"), Text("a"), ToolCall("a", "f", "{}")), "m")
    assert without_opaque_data(AssistantMessage(parts, "m")) == shown
    assert without_opaque_data(ASKED) == ASKED


def test_it_is_kept_with_the_message_and_an_older_message_is_read() -> None:
    opaque = Opaque("o", "reasoning_content", '{"extra_content":{}}')
    message = AssistantMessage((Reasoning("hm", opaque=opaque), ToolCall("a", "f", "{}", opaque)))
    [item] = split_into_items(message, "p", 1, 0, 0)
    assert msgspec.json.decode(item.body)["parts"][1]["opaque"] == {
        "origin": "o",
        "field": "reasoning_content",
        "fields": '{"extra_content":{}}',
    }
    assert [stored.message for stored in join_items([item], 0)] == [message]
    [item] = split_into_items(AssistantMessage((Reasoning("hm"),)), "p", 1, 0, 0)
    assert b"opaque" not in item.body  # as an earlier version wrote it
