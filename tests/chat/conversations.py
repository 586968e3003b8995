"""Hypothesis strategies for conversations: legal event streams, and message histories.

`conversations()` follows the contract of `core.events`: one start event, turns in which text, reasoning and tool calls
mix, tools that run concurrently while the model goes on, and one terminal event at any point after the start.
"""

from collections.abc import Sequence
from typing import get_args

import orjson
from hypothesis import strategies as st

from winterbourne.chat.core import events as e
from winterbourne.chat.core.messages import (
    Approval,
    AssistantMessage,
    AssistantPart,
    Document,
    Image,
    Message,
    Reasoning,
    Source,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)

__all__ = ["BAD_TEXT", "any_text", "batches", "conversations", "histories", "json_texts", "json_values", "retracting"]

BAD_TEXT = '\ud83d \x00\x1f\x7f\u2028\u2029\ufeff"\\</script>\r\n\r\ndata: [DONE]\n\n\U0001f600 \udc00'
"""A lone high and a lone low surrogate, controls, line ends of every kind, and text that looks like SSE frames."""

NAMES = ("get_weather", "calculate", 'odd "name"\n', "ünï")

any_text = st.one_of(
    st.text(min_size=1, max_size=20),
    st.text(st.characters(codec=None), min_size=1, max_size=10),  # with lone surrogates
    st.just(BAD_TEXT),
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def json_texts(draw: st.DrawFn) -> bytes:
    """JSON text, sometimes with line breaks between its tokens."""
    option = draw(st.sampled_from([0, orjson.OPT_INDENT_2]))
    return orjson.dumps(draw(json_values), option=option)


@st.composite
def batches(draw: st.DrawFn, events: Sequence[e.ChatEvent]) -> list[list[e.ChatEvent]]:
    """The same events, split into batches anywhere."""
    ends_batch = draw(st.lists(st.booleans(), min_size=len(events), max_size=len(events)))
    split: list[list[e.ChatEvent]] = [[]]
    for event, ends in zip(events, ends_batch, strict=True):
        split[-1].append(event)
        if ends:
            split.append([])
    return [batch for batch in split if batch]


sources = st.sampled_from(
    [
        Source("source_1", "https://example.com/tides", "Tides", cited_text="High water is at 6."),
        Source("source_2", "https://example.com/ships"),
        Source("source_3", "", "Harbour \ud83d", "application/pdf", "Half \ud83d"),
        Source("source_4"),
    ]
)


@st.composite
def conversations(draw: st.DrawFn, client_tools: Sequence[str] = (), *, decides: bool = False) -> list[e.ChatEvent]:
    """The events of a whole legal conversation.

    Args:
        client_tools: Names of tools that the client runs; a turn that calls one is the last.
        decides: Whether a person may have decided on a call of an earlier answer.
    """
    events: list[e.ChatEvent] = [e.ConversationStarted("c_1", draw(any_text), "scripted")]
    if decides and draw(st.booleans()):
        events.extend(draw(_tool_run_events("earlier", draw(st.sampled_from(NAMES)))))
    turns = draw(st.integers(1, 2))
    usage = e.Usage(9, 4, 2)
    for turn in range(1, turns + 1):
        is_last = turn == turns
        calls_client = is_last and bool(client_tools) and draw(st.booleans())
        events.extend(draw(_turns(turn, draw(st.integers(0, 2)), client_tools if calls_client else ())))
        if calls_client:
            return _maybe_truncated(draw, [*events, e.ConversationEnded("tool_calls", usage, turn)])
    reason = draw(st.sampled_from([r for r in get_args(e.StopReason) if r != "tool_calls"]))
    return _maybe_truncated(draw, [*events, e.ConversationEnded(reason, usage, turns)])


@st.composite
def retracting(draw: st.DrawFn, events: Sequence[e.ChatEvent]) -> list[e.ChatEvent]:
    """The same events, with a first try of a turn before it begins again, or of several."""
    told: list[e.ChatEvent] = []
    for event in events:
        told.append(event)
        if isinstance(event, e.TurnStarted) and draw(st.booleans()):
            said = draw(_model_events([("lost_0", "get_weather"), ("lost_1", "ünï")]))
            ready = next((at for at, one in enumerate(said) if isinstance(one, e.ToolCallReady)), len(said))
            told += [*said[: draw(st.integers(0, ready))], e.TurnRetracted("openai:gpt")]
    return told


def _maybe_truncated(draw: st.DrawFn, events: list[e.ChatEvent]) -> list[e.ChatEvent]:
    """Sometimes the conversation ends early with another terminal event, after its running tools were cancelled."""
    if draw(st.booleans()):
        return events
    prefix = events[: draw(st.integers(1, len(events) - 1))]
    terminal_event: e.ChatEvent = draw(
        st.builds(e.ConversationFailed, st.just("model_busy"), any_text)
        | st.builds(e.ConversationStopped, st.sampled_from(["user", "shutdown"]))
    )
    return [*prefix, *_cancelled(prefix), terminal_event]


def _cancelled(events: Sequence[e.ChatEvent]) -> list[e.ChatEvent]:
    running = {event.id: event.name for event in events if isinstance(event, e.ToolQueued | e.ToolStarted)}
    for event in events:
        if isinstance(event, e.ToolFinished):
            running.pop(event.id, None)
    return [e.ToolFinished(call, name, "cancelled", 5, error="stopped") for call, name in running.items()]


@st.composite
def _turns(draw: st.DrawFn, turn: int, calls: int, client_tools: Sequence[str]) -> list[e.ChatEvent]:
    """One turn: strands (the model's text and calls, each tool's run) interleaved in any legal order."""
    server_calls = [(f"call_{turn}_{n}", draw(st.sampled_from(NAMES))) for n in range(calls)]
    client_calls = [(f"client_{turn}_{n}", name) for n, name in enumerate(client_tools)]
    model_events = draw(_model_events([*server_calls, *client_calls]))
    tool_runs = {call: draw(_tool_run_events(call, name)) for call, name in server_calls}
    events: list[e.ChatEvent] = [e.TurnStarted(turn)]
    started: list[list[e.ChatEvent]] = []
    while model_events or any(started):
        choices = [strand for strand in (model_events, *started) if strand]
        event = draw(st.sampled_from(choices)).pop(0)
        events.append(event)
        if isinstance(event, e.ToolCallReady) and event.id in tool_runs:
            started.append(tool_runs[event.id])
    return [*events, e.TurnEnded("tool_calls" if server_calls or client_calls else "stop", e.Usage(3, 2, 1))]


@st.composite
def _model_events(draw: st.DrawFn, calls: Sequence[tuple[str, str]]) -> list[e.ChatEvent]:
    """The model's events in one turn: text and reasoning, and calls whose arguments may interleave."""
    strands: list[list[e.ChatEvent]] = [
        list(draw(st.lists(st.builds(e.TextDelta, any_text) | st.builds(e.SourceCited, sources), max_size=3))),
        draw(_reasoning_events()),
        *[draw(_tool_call_events(call, name)) for call, name in calls],
    ]
    merged: list[e.ChatEvent] = []
    while choices := [strand for strand in strands if strand]:
        merged.append(draw(st.sampled_from(choices)).pop(0))
    return merged


@st.composite
def _reasoning_events(draw: st.DrawFn) -> list[e.ChatEvent]:
    thoughts: list[e.ChatEvent] = list(draw(st.lists(st.builds(e.ReasoningDelta, any_text), max_size=2)))
    if draw(st.booleans()):
        thoughts.append(e.ReasoningEnded(draw(st.sampled_from(["", "sig"])), draw(st.sampled_from(["", "opaque"]))))
    return thoughts


@st.composite
def _tool_call_events(draw: st.DrawFn, call: str, name: str) -> list[e.ChatEvent]:
    text = draw(st.sampled_from(['{"city":"Paris"}', "", '{"broken', "[]", '"\ud800"']))
    split_at = draw(st.integers(0, len(text)))
    pieces = [piece for piece in (text[:split_at], text[split_at:]) if piece]
    deltas = [e.ToolArgumentsDelta(call, piece) for piece in pieces]
    return [e.ToolCallStarted(call, name), *deltas, e.ToolCallReady(call, name, text)]


@st.composite
def _tool_run_events(draw: st.DrawFn, call: str, name: str) -> list[e.ChatEvent]:
    """A run; or a person is asked before it, or has not allowed it."""
    if draw(st.integers(0, 4)) == 0:
        message, schema = draw(any_text | st.just("")), draw(st.none() | st.just({"type": "object"}))
        return [e.ToolApprovalRequested(call, name, Approval(f"1.{call}", 1, message, draw(st.booleans()), schema))]
    queued = [e.ToolQueued(call, name)] if draw(st.booleans()) else []
    reports = [e.ToolProgressed(call, name, data) for data in draw(st.lists(json_texts(), max_size=2))]
    status = draw(st.sampled_from(get_args(e.ToolStatus)))
    result = draw(json_texts()) if status == "completed" else b""
    error = "" if status == "completed" else draw(any_text)
    if status == "denied":
        return [e.ToolFinished(call, name, status, 0, result, error)]
    return [*queued, e.ToolStarted(call, name), *reports, e.ToolFinished(call, name, status, 12, result, error)]


clean_text = st.text(min_size=1, max_size=10).filter(str.strip)

images = st.builds(Image, media_type=st.just("image/png"), data=st.sampled_from(["aGk=", "AAAA"])) | st.builds(
    Image, media_type=st.just(""), url=st.just("https://example.com/a.png")
)
documents = st.builds(
    Document,
    media_type=st.sampled_from(["application/pdf", "application/octet-stream"]),
    name=st.just("plan.pdf"),
    data=st.just("JVBERi0xLjcK"),
) | st.builds(Document, st.just("application/pdf"), url=st.just("https://example.com/a.pdf"))


@st.composite
def histories(draw: st.DrawFn, *, reasoning: bool = True, errors: bool = True) -> tuple[Message, ...]:
    """A normalized history: each turn is followed by its results, and no id is used twice.

    Args:
        reasoning: Whether assistant turns may hold reasoning; not every format can carry it.
        errors: Whether results may be marked as errors.
    """
    messages: list[Message] = []
    if draw(st.booleans()):
        messages.append(SystemMessage(draw(clean_text)))
    for number in range(draw(st.integers(1, 3))):
        parts = draw(st.lists(clean_text.map(Text) | images | documents, min_size=1, max_size=3))
        messages.append(UserMessage(tuple(parts), f"u_{number}"))
        messages.extend(draw(_assistant_turn(number, reasoning=reasoning, errors=errors)))
    return tuple(messages)


@st.composite
def _assistant_turn(draw: st.DrawFn, number: int, *, reasoning: bool, errors: bool) -> list[Message]:
    calls = [
        ToolCall(f"call_{number}_{n}", draw(st.sampled_from(["get_weather", "calculate"])), '{"a":1}')
        for n in range(draw(st.integers(0, 2)))
    ]
    parts: list[AssistantPart] = []
    if reasoning and draw(st.booleans()):
        parts.append(Reasoning(draw(clean_text), draw(st.sampled_from(["", "sig"])), ""))
    parts.append(Text(draw(clean_text)))
    answer = AssistantMessage((*parts, *calls), f"a_{number}")
    return [answer, *[draw(_results(call, errors=errors)) for call in calls]]


@st.composite
def _results(draw: st.DrawFn, call: ToolCall, *, errors: bool) -> ToolMessage:
    if errors and draw(st.booleans()):
        return ToolMessage(call.id, call.name, draw(clean_text), is_error=True)
    return ToolMessage(call.id, call.name, orjson.dumps(draw(json_values)).decode())
