"""AG-UI events: their content, and the rules that the protocol's client enforces."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chat.conversations import batches, conversations
from tests.chat.formats.wire import data_of, sent
from winterbourne.chat.core import events as e
from winterbourne.chat.core.messages import (
    Approval,
    AssistantMessage,
    Message,
    Opaque,
    Reasoning,
    Source,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from winterbourne.chat.formats.ag_ui import FORMAT
from winterbourne.chat.formats.ag_ui.encode import AgUiEncoder
from winterbourne.chat.formats.ag_ui.history import encode_history

CITED = Source("s1", "https://a", "Tides", cited_text="at 6")

PAIRS = {
    "TEXT_MESSAGE_START": "TEXT_MESSAGE_END",
    "TOOL_CALL_START": "TOOL_CALL_END",
    "REASONING_START": "REASONING_END",
    "REASONING_MESSAGE_START": "REASONING_MESSAGE_END",
    "STEP_STARTED": "STEP_FINISHED",
}
INSIDE = {
    "TEXT_MESSAGE_CONTENT": "TEXT_MESSAGE_END",
    "TOOL_CALL_ARGS": "TOOL_CALL_END",
    "REASONING_MESSAGE_CONTENT": "REASONING_MESSAGE_END",
}
PAY = e.ToolApprovalRequested("c1", "pay", Approval("86400.a.b", 86400, "Pay 5 EUR?"))
STARTED = e.ConversationStarted("c", "m", "scripted")


def encoded(*events: e.ChatEvent) -> list[Any]:
    return data_of(AgUiEncoder("t1", "r1").encode(events))


def verify(stream: list[Any]) -> None:
    """The rules of the client's verifier, and that nothing stays open when a run fails."""
    assert stream[0]["type"] == "RUN_STARTED"
    assert stream[-1]["type"] in {"RUN_FINISHED", "RUN_ERROR"}
    open_spans: set[tuple[str, str]] = set()
    answered: set[str] = set()
    for event in stream[1:-1]:
        kind = event["type"]
        name = event.get("toolCallId") or event.get("messageId") or event.get("stepName")
        if kind in {"TEXT_MESSAGE_START", "REASONING_START", "TOOL_CALL_START"}:
            assert {end for end, _ in open_spans} <= {"TOOL_CALL_END", "STEP_FINISHED"}, "older clients accept one"
        if kind in PAIRS:
            assert (PAIRS[kind], name) not in open_spans
            open_spans.add((PAIRS[kind], name))
        elif kind in PAIRS.values():
            open_spans.remove((kind, name))
        elif kind in INSIDE:
            assert (INSIDE[kind], name) in open_spans
            assert event["delta"]
        elif kind == "TOOL_CALL_RESULT":
            assert event["toolCallId"] not in answered
            answered.add(event["toolCallId"])
            assert isinstance(event["content"], str)
        else:
            assert kind in {"CUSTOM", "REASONING_ENCRYPTED_VALUE"}
    assert not open_spans


class TestEvents:
    def test_a_run_has_the_ids_of_the_client(self) -> None:
        assert encoded(STARTED) == [{"type": "RUN_STARTED", "threadId": "t1", "runId": "r1"}]

    def test_a_run_without_ids_of_the_client_has_ours(self) -> None:
        [event] = data_of(AgUiEncoder().encode([STARTED]))
        assert (event["threadId"], event["runId"]) == ("c", "m")

    def test_a_turn_is_a_step_and_a_message(self) -> None:
        events = (STARTED, e.TurnStarted(1), e.TextDelta("a"), e.TurnEnded("stop"))
        assert encoded(*events, e.ConversationEnded("stop", e.Usage(9, 4, 2), 1))[1:] == [
            {"type": "STEP_STARTED", "stepName": "turn 1"},
            {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"},
            {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "a"},
            {"type": "TEXT_MESSAGE_END", "messageId": "m"},
            {"type": "STEP_FINISHED", "stepName": "turn 1"},
            {
                "type": "RUN_FINISHED",
                "threadId": "t1",
                "runId": "r1",
                "outcome": {"type": "success"},
                "result": {"stopReason": "stop"},
                "usage": [{"inputTokens": 9, "outputTokens": 4, "cachedInputTokens": 2}],
            },
        ]

    def test_what_an_answer_cost_is_in_its_result_too_where_clients_keep_it(self) -> None:
        last = encoded(STARTED, e.ConversationEnded("stop", e.Usage(9, 4, 2, cost=0.25), 1))[-1]
        assert last["usage"] == [{"inputTokens": 9, "outputTokens": 4, "cachedInputTokens": 2, "cost": 0.25}]
        assert last["result"] == {"stopReason": "stop", "cost": 0.25}

    def test_calls_belong_to_the_message_of_their_turn(self) -> None:
        events = encoded(STARTED, e.TurnStarted(2), e.ToolCallStarted("c1", "x"), e.ToolArgumentsDelta("c1", "{}"))
        assert events[2:] == [
            {"type": "TOOL_CALL_START", "toolCallId": "c1", "toolCallName": "x", "parentMessageId": "m-2"},
            {"type": "TOOL_CALL_ARGS", "toolCallId": "c1", "delta": "{}"},
        ]

    def test_a_result_is_text_with_the_status_of_the_call(self) -> None:
        done = e.ToolFinished("c1", "x", "completed", 5, b'{"t":1}')
        late = e.ToolFinished("c2", "x", "timed_out", 5, error="too slow")
        first, second = encoded(done, late)
        assert first == {
            "type": "TOOL_CALL_RESULT",
            "messageId": "result-c1",
            "toolCallId": "c1",
            "content": '{"t":1}',
            "role": "tool",
            "metadata": {"winterbourne": {"status": "completed", "durationMs": 5}},
        }
        assert second["content"] == '{"error":"too slow"}'

    def test_progress_is_a_custom_event(self) -> None:
        [event] = encoded(e.ToolProgressed("c1", "x", b"[1]"))
        assert event["type"] == "CUSTOM"
        assert event["name"] == "tool_progress"
        assert event["value"] == {"toolCallId": "c1", "toolCallName": "x", "data": [1]}

    def test_calls_of_client_tools_are_pending(self) -> None:
        calls = (e.ToolCallStarted("c1", "ask"), e.ToolCallReady("c1", "ask", ""), e.TurnEnded("tool_calls"))
        last = encoded(STARTED, e.TurnStarted(1), *calls, e.ConversationEnded("tool_calls", e.Usage(), 1))[-1]
        assert last["outcome"] == {"type": "success", "pendingToolCallIds": ["c1"]}

    def test_an_error_closes_what_is_open_first(self) -> None:
        half = (STARTED, e.TurnStarted(1), e.ToolCallStarted("c1", "x"))
        ends = encoded(*half, e.ConversationFailed("model_busy", "later"))[3:]
        assert [event["type"] for event in ends] == ["TOOL_CALL_END", "STEP_FINISHED", "RUN_ERROR"]
        assert (ends[-1]["code"], ends[-1]["message"]) == ("model_busy", "later")

    def test_a_stop_is_a_cancelled_run(self) -> None:
        assert encoded(STARTED, e.ConversationStopped("user"))[-1]["outcome"] == {"type": "cancelled"}

    @pytest.mark.parametrize("reason", ["user", "shutdown"])
    @pytest.mark.parametrize("version", [None, "", "0.9"])
    def test_a_stop_has_no_outcome_for_clients_before_1_0(self, version: str | None, reason: Any) -> None:
        encoder = FORMAT.decode({"messages": [], "protocolVersion": version})[1]
        last = data_of(encoder.encode((STARTED, e.ConversationStopped(reason))))[-1]
        assert (last["type"], last["result"]) == ("RUN_FINISHED", {"stopReason": reason})
        assert "outcome" not in last

    def test_a_person_is_asked_by_interrupts_once_everything_is_closed(self) -> None:
        calls = (e.ToolCallStarted("c1", "pay"), e.ToolCallReady("c1", "pay", ""), PAY, e.TurnEnded("tool_calls"))
        events = encoded(STARTED, e.TurnStarted(1), *calls, e.ConversationEnded("approval", e.Usage(), 1))
        kinds = ["TOOL_CALL_START", "TOOL_CALL_END", "STEP_FINISHED", "RUN_FINISHED"]
        assert [event["type"] for event in events[2:]] == kinds
        [interrupt] = events[-1]["outcome"]["interrupts"]
        assert interrupt == {
            "id": "86400.a.b",
            "reason": "tool_call",
            "message": "Pay 5 EUR?",
            "toolCallId": "c1",
            "responseSchema": {
                "type": "object",
                "properties": {"approved": {"type": "boolean"}, "reason": {"type": "string"}},
                "required": ["approved"],
            },
            "expiresAt": "1970-01-02T00:00:00Z",
            "metadata": {"winterbourne": {"toolCallName": "pay"}},
        }

    def test_what_may_be_changed_and_filled_in_is_in_the_schema(self) -> None:
        form = {"type": "object", "properties": {"card": {"type": "string"}}}
        asked = e.ToolApprovalRequested("c1", "pay", Approval("1.a.b", 1, allows_edits=True, schema=form))
        last = encoded(STARTED, asked, e.ConversationEnded("approval", e.Usage(), 1))[-1]
        [interrupt] = last["outcome"]["interrupts"]
        assert interrupt["responseSchema"]["properties"]["editedArgs"] == {"type": "object"}
        assert interrupt["responseSchema"]["properties"]["content"] == form
        assert (interrupt["reason"], interrupt["message"]) == ("input_required", "Allow pay?")

    def test_a_call_that_is_over_interrupts_nothing(self) -> None:
        denied = e.ToolFinished("c1", "pay", "denied", 0, error="The user did not allow this call.")
        last = encoded(STARTED, PAY, denied, e.ConversationEnded("stop", e.Usage(), 1))[-1]
        assert last["outcome"] == {"type": "success"}

    @pytest.mark.parametrize("decided", [(), (ToolMessage("c1", "pay", "{}"),), (UserMessage((Text("Hi"),)),)])
    def test_a_page_that_is_loaded_again_is_asked_again(self, decided: tuple[Message, ...]) -> None:
        asked = AssistantMessage((ToolCall("c1", "pay", "{}", approval=PAY.approval), ToolCall("c2", "x", "{}")), "m")
        encoder = AgUiEncoder(history=(UserMessage((Text("Pay"),), "u"), asked, *decided))
        last = data_of(encoder.encode((STARTED, e.ConversationEnded("stop", e.Usage(), 0))))[-1]
        assert last["outcome"]["type"] == ("success" if decided else "interrupt")

    def test_an_answer_that_goes_on_has_the_ids_that_the_whole_thread_gives_it(self) -> None:
        """Clients put text of a known id into the message of before."""
        question = UserMessage((Text("Pay"),), "u")
        asked = AssistantMessage(
            (Reasoning("Hm."), Text("Well."), ToolCall("c1", "pay", "{}", approval=PAY.approval)), "m"
        )
        paid, done = ToolMessage("c1", "pay", "1"), AssistantMessage((Reasoning("So."), Text("Paid.")), "m")
        encoder = AgUiEncoder(history=(question, asked))
        said = (e.ReasoningDelta("So."), e.ReasoningEnded(), e.TextDelta("Paid."), e.TurnEnded("stop"))
        events = (STARTED, e.ToolFinished("c1", "pay", "completed", 1, b"1"), e.TurnStarted(1), *said)
        _, snapshot, *stream = data_of(encoder.encode(events))
        begun = [one["messageId"] for one in stream if one["type"].endswith("MESSAGE_START") or "RESULT" in one["type"]]
        whole = encode_history((question, asked, paid, done))
        assert begun == [one["id"] for one in whole[len(snapshot["messages"]) :]]

    def test_a_turns_message_keeps_all_that_is_opaque_beside_it(self) -> None:
        """A client has one value of a message, the last."""
        first, second = (Opaque("p:m", fields=each) for each in ('{"phase":"commentary"}', '{"reasoning_items":[1]}'))
        said = (e.TextDelta("So."), e.ReasoningEnded(opaque=first), e.ReasoningEnded(opaque=second))
        *_, value = encoded(STARTED, e.TurnStarted(1), *said)
        assert value["entityId"] == "m"
        parts = (Text("So."), Reasoning("", opaque=first), Reasoning("", opaque=second))
        [loaded] = encode_history([AssistantMessage(parts, "m")])
        assert "commentary" in value["encryptedValue"]
        assert value["encryptedValue"] == loaded["encryptedValue"]

    def test_clients_before_1_0_are_told_of_no_pending_calls(self) -> None:
        encoder = FORMAT.decode({"messages": []})[1]
        call = (e.ToolCallStarted("c1", "ask"), e.ToolCallReady("c1", "ask", ""))
        last = data_of(
            encoder.encode((STARTED, e.TurnStarted(1), *call, e.ConversationEnded("tool_calls", e.Usage(), 1)))
        )[-1]
        assert last["outcome"] == {"type": "success"}

    @pytest.mark.parametrize("version", ["1.0", "1.7", "2.0", "1.0.0", "next", 1.0])
    def test_any_other_version_counts_as_newer(self, version: Any) -> None:
        encoder = FORMAT.decode({"messages": [], "protocolVersion": version})[1]
        assert data_of(encoder.encode((STARTED, e.ConversationStopped("user"))))[-1]["outcome"]


@settings(max_examples=60)
@given(st.data())
def test_any_conversation_gives_a_valid_stream(data: st.DataObject) -> None:
    events = data.draw(conversations(client_tools=["ask_user"], decides=True))
    stream = data_of(sent(AgUiEncoder("t1", "r1"), data.draw(batches(events))))
    verify(stream)
    text = "".join(event.text for event in events if isinstance(event, e.TextDelta))
    assert "".join(event["delta"] for event in stream if event["type"] == "TEXT_MESSAGE_CONTENT") == text


def test_a_source_is_a_custom_event_of_the_message_that_cites_it() -> None:
    *_, event = encoded(STARTED, e.TurnStarted(1), e.TextDelta("High water"), e.SourceCited(CITED))
    told = {"type": "source", "id": "s1", "url": "https://a", "title": "Tides", "cited_text": "at 6"}
    assert event == {"type": "CUSTOM", "name": "source", "value": {"messageId": "m", **told}}


def test_the_sources_of_a_history_follow_its_snapshot() -> None:
    turns = AssistantMessage((Text("a"), CITED), "m0"), AssistantMessage((Text("b"), CITED, CITED), "m0")
    unnamed = AssistantMessage((CITED,))
    history = (UserMessage((Text("?"),), "u1"), *turns, UserMessage((Text("?"),), "u2"), unnamed)
    _, snapshot, *custom = data_of(AgUiEncoder("t1", "r1", history=history).encode([STARTED]))
    owners = [event["value"]["messageId"] for event in custom]
    assert owners == ["m0", "m0-2", "m0-2", "m_4"]
    assert set(owners) <= {message["id"] for message in snapshot["messages"]}
