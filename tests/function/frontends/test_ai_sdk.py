"""The AI SDK's UI message stream: chunks, the rules its client enforces, UI messages as history."""

from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat import events as e
from chat.frontends.ai_sdk import FRONTEND, AiSdkEncoder
from chat.frontends.history import UNFINISHED
from chat.messages import (
    AssistantMessage,
    Message,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UserMessage,
)
from tests.function.conversations import batches, conversations, histories
from tests.function.frontends import writers
from tests.function.frontends.wire import data_of, read, refusal, sent

KNOWN_TO_VERSION_5 = {
    "start",
    "start-step",
    "finish-step",
    "text-start",
    "text-delta",
    "text-end",
    "reasoning-start",
    "reasoning-delta",
    "reasoning-end",
    "tool-input-start",
    "tool-input-delta",
    "tool-input-available",
    "tool-output-available",
    "tool-output-error",
    "finish",
    "abort",
    "error",
}
FINISH_REASONS = {"stop", "length", "content-filter", "tool-calls", "error", "other"}


def chunks(*events: e.ChatEvent, client_tools: frozenset[str] = frozenset()) -> list[Any]:
    return data_of(AiSdkEncoder(client_tools).encode(events))


def verify(stream: list[Any]) -> None:
    """The rules of the SDK's client, stricter where it lets things pass in silence."""
    assert stream[0]["type"] == "start"
    assert stream[-1] == "[DONE]"
    assert stream[-2]["type"] in {"finish", "abort", "error"}
    open_parts: set[tuple[str, str]] = set()
    calls: dict[str, str] = {}
    in_step = False
    for chunk in stream[1:-1]:
        kind = chunk["type"]
        assert kind in KNOWN_TO_VERSION_5
        name, _, step = kind.rpartition("-")
        if name in {"text", "reasoning"}:
            assert in_step
            part = (name, chunk["id"])
            assert (part in open_parts) == (step != "start")
            if step == "start":
                open_parts.add(part)
            if step == "end":
                open_parts.remove(part)
        if kind == "tool-input-start":
            assert chunk["toolCallId"] not in calls
            calls[chunk["toolCallId"]] = chunk["toolName"]
        if kind.startswith(("tool-input", "tool-output")):
            assert chunk["toolCallId"] in calls
        if kind in {"start-step", "finish-step"}:
            assert in_step == (kind == "finish-step")
            in_step = not in_step
        if kind == "finish":
            assert chunk["finishReason"] in FINISH_REASONS
    assert not open_parts
    assert not in_step


class TestChunks:
    def test_start_names_the_message(self) -> None:
        assert chunks(e.ConversationStarted("c", "m", "scripted")) == [{"type": "start", "messageId": "m"}]

    def test_text_opens_a_part_and_a_call_closes_it(self) -> None:
        said = chunks(e.TurnStarted(1), e.TextDelta("a"), e.TextDelta("b"), e.ToolCallStarted("c1", "x"))
        assert said == [
            {"type": "start-step"},
            {"type": "text-start", "id": "p1"},
            {"type": "text-delta", "id": "p1", "delta": "a"},
            {"type": "text-delta", "id": "p1", "delta": "b"},
            {"type": "text-end", "id": "p1"},
            {"type": "tool-input-start", "toolCallId": "c1", "toolName": "x", "dynamic": True},
        ]

    def test_arguments_that_are_no_object_go_out_as_their_text(self) -> None:
        ready = [e.ToolCallReady("c1", "x", text) for text in ('{"a":1}', "", '{"a', "[1]")]
        assert [chunk["input"] for chunk in chunks(*ready)] == [{"a": 1}, {}, '{"a', "[1]"]

    def test_a_tool_of_the_frontend_is_one_it_knows(self) -> None:
        [chunk] = chunks(e.ToolCallStarted("c1", "ask"), client_tools=frozenset({"ask"}))
        assert "dynamic" not in chunk

    def test_a_result_and_an_error_end_a_call(self) -> None:
        done = e.ToolFinished("c1", "x", "completed", 5, b'{"t":\n1}')
        late = e.ToolFinished("c2", "x", "timed_out", 5, error="too slow")
        assert chunks(done, late) == [
            {"type": "tool-output-available", "toolCallId": "c1", "dynamic": True, "output": {"t": 1}},
            {"type": "tool-output-error", "toolCallId": "c2", "errorText": "too slow", "dynamic": True},
        ]

    def test_progress_is_a_preliminary_output(self) -> None:
        [chunk] = chunks(e.ToolProgressed("c1", "x", b'{"at":1}'))
        assert (chunk["output"], chunk["preliminary"]) == ({"at": 1}, True)

    def test_reasoning_carries_what_the_provider_wants_back(self) -> None:
        end = chunks(e.TurnStarted(1), e.ReasoningDelta("hm"), e.ReasoningEnded("sig"))[-1]
        assert end["type"] == "reasoning-end"
        assert end["providerMetadata"] == {"winterbourne": {"signature": "sig"}}

    def test_the_finish_counts_tokens(self) -> None:
        finish, done = chunks(e.ConversationEnded("max_tokens", e.Usage(9, 4, 2), 1))
        assert done == "[DONE]"
        assert finish["finishReason"] == "length"
        usage = {"inputTokens": 9, "outputTokens": 4, "cachedInputTokens": 2}
        assert finish["messageMetadata"] == {"usage": usage}

    def test_an_error_and_a_stop_are_last_words_too(self) -> None:
        opened = (e.TurnStarted(1), e.TextDelta("a"))
        assert [c["type"] for c in chunks(*opened, e.ConversationFailed("x", "no"))[3:-1]] == [
            "text-end",
            "finish-step",
            "error",
        ]
        assert chunks(*opened, e.ConversationStopped("user"))[-2:] == [{"type": "abort", "reason": "user"}, "[DONE]"]

    def test_the_headers_name_the_protocol(self) -> None:
        assert AiSdkEncoder().headers["x-vercel-ai-ui-message-stream"] == "v1"

    def test_every_event_has_its_place_in_the_table(self) -> None:
        assert set(AiSdkEncoder.frames) == set(get_args(e.ChatEvent))


@settings(max_examples=60)
@given(st.data())
def test_any_conversation_gives_a_stream_that_keeps_the_rules(data: st.DataObject) -> None:
    events = data.draw(conversations(client_tools=["ask_user"]))
    stream = data_of(sent(AiSdkEncoder(frozenset({"ask_user"})), data.draw(batches(events))))
    verify(stream)
    said = "".join(event.text for event in events if isinstance(event, e.TextDelta))
    assert "".join(chunk["delta"] for chunk in stream[:-1] if chunk["type"] == "text-delta") == said


def user(*parts: Any, id_: str = "u1") -> dict[str, Any]:
    return {"id": id_, "role": "user", "parts": [{"type": "text", "text": "Hi"}, *parts]}


def assistant(*parts: Any, id_: str = "a1") -> dict[str, Any]:
    return {"id": id_, "role": "assistant", "parts": list(parts)}


def call(state: str, **more: Any) -> dict[str, Any]:
    return {"type": "dynamic-tool", "toolName": "x", "toolCallId": "c1", "state": state, "input": {"a": 1}, **more}


class TestHistory:
    @given(histories())
    def test_it_arrives_without_loss(self, history: tuple[Message, ...]) -> None:
        assert read(FRONTEND, writers.ai_sdk(history)).messages == history

    def test_the_chat_is_the_conversation(self) -> None:
        chat = read(FRONTEND, {"id": "chat-1", "messages": [user()]})
        assert chat.conversation_id == "chat-1"
        assert chat.messages == (UserMessage((Text("Hi"),), "u1"),)

    def test_steps_become_turns(self) -> None:
        answer = assistant(
            {"type": "step-start"},
            {"type": "text", "text": "Let me see."},
            call("output-available", output={"t": 1}),
            {"type": "step-start"},
            {"type": "text", "text": "It is 1."},
        )
        assert read(FRONTEND, {"messages": [user(), answer]}).messages[1:] == (
            AssistantMessage((Text("Let me see."), ToolCall("c1", "x", '{"a":1}')), "a1"),
            ToolMessage("c1", "x", '{"t":1}'),
            AssistantMessage((Text("It is 1."),), "a1"),
        )

    def test_a_typed_tool_part_names_its_tool_in_its_type(self) -> None:
        answer = assistant({**call("output-available", output=1), "type": "tool-get_weather", "toolName": ""})
        assert read(FRONTEND, {"messages": [user(), answer]}).messages[2] == ToolMessage("c1", "get_weather", "1")

    @pytest.mark.parametrize("state", ["input-available", "approval-requested", "approval-responded"])
    def test_a_call_without_an_outcome_is_answered(self, state: str) -> None:
        messages = read(FRONTEND, {"messages": [user(), assistant(call(state)), user(id_="u2")]}).messages
        assert messages[2] == ToolMessage("c1", "x", UNFINISHED, is_error=True)

    def test_a_preliminary_output_is_no_outcome(self) -> None:
        answer = assistant(call("output-available", output=1, preliminary=True))
        assert read(FRONTEND, {"messages": [user(), answer]}).messages[2] == ToolMessage(
            "c1", "x", UNFINISHED, is_error=True
        )

    def test_a_call_whose_arguments_were_still_coming_is_left_out(self) -> None:
        answer = assistant({"type": "text", "text": "Let"}, call("input-streaming"))
        messages = read(FRONTEND, {"messages": [user(), answer, user(id_="u2")]}).messages
        assert messages[1] == AssistantMessage((Text("Let"),), "a1", incomplete=True)
        assert len(messages) == 3

    def test_a_denied_call_says_so(self) -> None:
        messages = read(FRONTEND, {"messages": [user(), assistant(call("output-denied"))]}).messages
        assert messages[2] == ToolMessage("c1", "x", "The user did not allow this call.", is_error=True)

    def test_broken_arguments_come_back_as_they_were(self) -> None:
        answer = assistant({**call("output-error", errorText="no JSON", rawInput='{"a'), "input": None})
        assert read(FRONTEND, {"messages": [user(), answer]}).messages[1] == AssistantMessage(
            (ToolCall("c1", "x", '{"a'),), "a1"
        )

    def test_what_is_only_to_be_looked_at_is_left_out(self) -> None:
        shown = [
            {"type": "data-chart", "data": [1]},
            {"type": "source-url", "sourceId": "1", "url": "https://example.com"},
        ]
        assert read(FRONTEND, {"messages": [user(), assistant(*shown), user(id_="u2")]}).messages == (
            UserMessage((Text("Hi"),), "u1"),
            UserMessage((Text("Hi"),), "u2"),
        )

    def test_a_text_file_is_read_and_another_kind_refused(self) -> None:
        note = {"type": "file", "mediaType": "text/plain", "url": "data:text/plain;base64,aGVsbG8="}
        assert read(FRONTEND, {"messages": [user(note)]}).messages == (UserMessage((Text("Hi"), Text("hello")), "u1"),)
        pdf = {"type": "file", "mediaType": "application/pdf", "url": "data:application/pdf;base64,aGk="}
        assert refusal(FRONTEND, {"messages": [user(pdf)]}) == (400, "unsupported_media")

    def test_after_the_frontends_own_tools_the_same_answer_goes_on(self) -> None:
        tools = {"ask": {"description": "Ask", "parameters": {"type": "object"}}}
        answer = assistant(call("output-available", output="yes"))
        chat = read(FRONTEND, {"messages": [user(), answer], "tools": tools})
        assert chat.message_id == "a1"
        assert chat.client_tools == (ToolSchema("ask", "Ask", {"type": "object"}),)

    def test_of_a_kept_conversation_only_what_is_new_is_taken(self) -> None:
        body = {"messages": [user(), assistant(call("output-available", output=1)), user(id_="u2")], "store": True}
        chat = read(FRONTEND, body)
        assert chat.store
        assert chat.messages == (UserMessage((Text("Hi"),), "u2"),)

    def test_of_a_kept_answer_that_goes_on_only_the_frontends_own_results_are_new(self) -> None:
        ours = call("output-available", output=1)
        theirs = {"type": "tool-ask", "toolCallId": "c2", "state": "output-available", "input": {}, "output": "yes"}
        tools = {"ask": {"parameters": {"type": "object"}}}
        body = {"messages": [user(), assistant({"type": "step-start"}, ours, theirs)], "tools": tools, "store": True}
        assert read(FRONTEND, body).messages == (ToolMessage("c2", "ask", '"yes"'),)

    def test_two_messages_of_one_id_are_refused(self) -> None:
        assert refusal(FRONTEND, {"messages": [user(), user()]}) == (400, "duplicate_id")

    def test_two_calls_of_one_id_are_refused(self) -> None:
        answer = assistant(call("output-available", output=1), call("output-available", output=2))
        assert refusal(FRONTEND, {"messages": [user(), answer]}) == (400, "duplicate_id")

    @pytest.mark.parametrize(
        "message",
        [
            {"role": "user"},
            {"role": "tool", "parts": []},
            {"role": "user", "parts": [{"text": "no type"}]},
            {"role": "user", "parts": [{"type": "text", "text": 5}]},
            {"role": "user", "parts": "Hi"},
        ],
    )
    def test_a_message_of_another_shape_is_refused(self, message: object) -> None:
        assert refusal(FRONTEND, {"messages": [message]}) == (400, "invalid_request")
