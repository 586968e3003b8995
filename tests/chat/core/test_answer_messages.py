"""Messages of an answer: what was said is in them, wherever its events break off."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from tests.chat.conversations import conversations, retracting
from winterbourne.chat.core import events as e
from winterbourne.chat.core.answer_messages import continued_turns, events_of, messages_of, without_retracted
from winterbourne.chat.core.history import INTERRUPTED_CALL_RESULT, normalize_history, undecided_result
from winterbourne.chat.core.messages import (
    Approval,
    AssistantMessage,
    Message,
    Reasoning,
    Text,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
)


@given(conversations(), st.data())
def test_everything_that_was_said_is_in_them(events: list[e.ChatEvent], data: st.DataObject) -> None:
    said = events[: data.draw(st.integers(0, len(events)))]
    messages = messages_of(said)
    parts = [part for one in messages if isinstance(one, AssistantMessage) for part in one.parts]
    assert "".join(part.text for part in parts if isinstance(part, Text)) == "".join(
        event.text for event in said if isinstance(event, e.TextDelta)
    )
    assert "".join(part.text for part in parts if isinstance(part, Reasoning)) == "".join(
        event.text for event in said if isinstance(event, e.ReasoningDelta)
    )
    calls = [call.id for one in messages if isinstance(one, AssistantMessage) for call in one.tool_calls]
    assert calls == [event.id for event in said if isinstance(event, e.ToolCallReady)]
    results = [one.tool_call_id for one in messages if isinstance(one, ToolMessage)]
    assert sorted(results) == sorted(event.id for event in said if isinstance(event, e.ToolFinished))


@given(conversations(), st.data())
def test_only_the_last_turn_can_be_incomplete_and_only_an_ended_answer_has_its_usage(
    events: list[e.ChatEvent], data: st.DataObject
) -> None:
    said = events[: data.draw(st.integers(0, len(events)))]
    turns = [one for one in messages_of(said) if isinstance(one, AssistantMessage)]
    assert not any(turn.incomplete for turn in turns[:-1])
    usages = [turn.usage for turn in turns if isinstance(turn.usage, Usage)]
    assert len(usages) <= 1
    assert not usages or isinstance(said[-1], e.ConversationEnded)


@given(conversations())
def test_events_of_them_are_those_of_the_same_messages(events: list[e.ChatEvent]) -> None:
    messages = [
        replace(one, incomplete=False, usage=UNSET) if isinstance(one, AssistantMessage) else one
        for one in messages_of(events)
    ]
    again = messages_of(events_of(messages))
    assert texts(again) == texts(messages)
    assert [type(one) for one in again] == [type(one) for one in messages]


@given(st.data())
def test_what_was_taken_back_is_not_in_them(data: st.DataObject) -> None:
    events = data.draw(conversations())
    told = data.draw(retracting(events))
    assert messages_of(told) == messages_of(events)
    assert without_retracted(told) == events


def texts(messages: list[Message]) -> list[object]:
    """What is said in messages, as far as it does not depend on how it was cut."""
    return [one.text if isinstance(one, AssistantMessage) else getattr(one, "tool_call_id", "") for one in messages]


def test_what_goes_on_is_the_end_of_a_history() -> None:
    turn = AssistantMessage((ToolCall("a", "pick", "{}"),), "m")
    history: list[Message] = [
        UserMessage((Text("hi"),)),
        AssistantMessage((Text("x"),), "before"),
        UserMessage((Text("?"),)),
        turn,
    ]
    result = ToolMessage("a", "pick", "plain", is_error=False)
    assert continued_turns([*history, result], "m") == (turn, result)
    assert continued_turns(history, "new") == ()
    assert list(events_of([turn, result])) == [
        e.TurnStarted(1),
        e.ToolCallStarted("a", "pick"),
        e.ToolCallReady("a", "pick", "{}"),
        e.ToolFinished("a", "pick", "completed", 0, b'"plain"'),
        e.TurnEnded("tool_calls"),
    ]


@given(conversations(), st.data())
def test_what_broke_off_anywhere_can_be_gone_on_from(events: list[e.ChatEvent], data: st.DataObject) -> None:
    history = normalize_history(messages_of(events[: data.draw(st.integers(0, len(events)))]))
    assert normalize_history(history) == history


ASKED = e.ToolApprovalRequested("b", "pay", Approval("id", 9))


def test_a_call_that_waits_for_a_person_has_what_was_asked_and_no_result() -> None:
    calls: list[e.ChatEvent] = [e.ToolCallReady("a", "look", ""), e.ToolCallReady("b", "pay", "{}")]
    ended: list[e.ChatEvent] = [ASKED, e.ToolFinished("a", "look", "completed", 1, b"1"), e.TurnEnded("tool_calls")]
    events = [e.ConversationStarted("c", "m", "model"), e.TurnStarted(1), *calls, *ended]
    turn = AssistantMessage((ToolCall("a", "look", ""), ToolCall("b", "pay", "{}", approval=ASKED.approval)), "m")
    assert messages_of(events) == [turn, ToolMessage("a", "look", "1")]


@given(ids=st.permutations("abc"), goes_on=st.booleans())
def test_results_of_decided_calls_come_first_and_always_in_one_order(ids: list[str], *, goes_on: bool) -> None:
    """They may be in the store already, by their positions."""
    results = [e.ToolFinished(id_, "pay", "completed", 1, b"1") for id_ in ids]
    more: list[e.ChatEvent] = [e.TurnStarted(1), e.TextDelta("done"), e.TurnEnded("stop")] if goes_on else []
    messages = messages_of([e.ConversationStarted("c", "m", "model"), *results, *more])
    assert messages[:3] == [ToolMessage(id_, "pay", "1") for id_ in "abc"]
    assert messages[3:] == ([AssistantMessage((Text("done"),), "m")] if goes_on else [])


def test_a_call_without_a_decision_is_not_sent_again_as_failed() -> None:
    turn = AssistantMessage((ToolCall("a", "pay", "{}", approval=Approval("id", 9)),), "m")
    assert continued_turns(normalize_history([turn]), "m") == (turn,)


def test_a_call_of_an_earlier_answer_that_was_started_and_not_ended_was_interrupted() -> None:
    events: list[e.ChatEvent] = [e.ConversationStarted("c", "m", ""), e.ToolStarted("a", "pay")]
    assert messages_of(events) == [ToolMessage("a", "pay", INTERRUPTED_CALL_RESULT, is_error=True)]
    ended = e.ToolFinished("a", "pay", "completed", 1, b"1")
    assert messages_of([*events, ended, e.TurnStarted(1)]) == [ToolMessage("a", "pay", "1")]


def test_what_a_call_of_an_earlier_answer_asks_anew_is_in_the_place_of_its_result() -> None:
    asked = Approval("2.a.b", 2)
    events: list[e.ChatEvent] = [e.ToolStarted("a", "pay"), e.ToolApprovalRequested("a", "pay", asked)]
    assert messages_of(events) == [undecided_result(ToolCall("a", "pay", ""), asked)]
