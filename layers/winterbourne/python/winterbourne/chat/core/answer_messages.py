"""Builds the messages of an answer from its events: those of one that was broken off are in what was emitted of it."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from winterbourne.chat.core.conversation import TurnParts
from winterbourne.chat.core.events import (
    ChatEvent,
    ConversationEnded,
    ConversationFailed,
    ConversationStarted,
    ConversationStopped,
    ReasoningDelta,
    ReasoningEnded,
    SourceCited,
    TextDelta,
    ToolApprovalRequested,
    ToolCallReady,
    ToolCallStarted,
    ToolFinished,
    ToolProgressed,
    ToolQueued,
    ToolStarted,
    TurnEnded,
    TurnRetracted,
    TurnStarted,
)
from winterbourne.chat.core.history import INTERRUPTED_CALL_RESULT, in_stored_order, is_placeholder, undecided_result
from winterbourne.chat.core.messages import (
    AssistantMessage,
    AssistantPart,
    Message,
    Reasoning,
    Source,
    Text,
    ToolCall,
    ToolMessage,
    Usage,
)

__all__ = ["continued_turns", "events_of", "messages_of", "without_retracted"]


def messages_of(events: Iterable[ChatEvent]) -> list[Message]:
    """The messages of an answer, as the conversation that emitted these events hands them to its `on_message`.

    A turn that has not ended is incomplete, and a call that has not ended has no result. Results before the first turn
    are those of an earlier answer's calls, of which one that was started and has not ended was interrupted.
    """
    answer = _Answer()
    for event in events:
        answer.add(event)
    answer.end_turn(incomplete=True)
    return answer.messages


def continued_turns(history: Sequence[Message], message_id: str) -> tuple[Message, ...]:
    """The turns and results, at the end of a history, of an answer that goes on after the client has run its tools.

    Or after a person has decided on calls.
    """
    starts = (at for at, one in enumerate(history) if isinstance(one, AssistantMessage) and one.id == message_id)
    return tuple(message for message in history[next(starts, len(history)) :] if not is_placeholder(message))


def without_retracted(events: Iterable[ChatEvent]) -> list[ChatEvent]:
    """The events but for those of turns that were taken back: what follows the last TurnStarted until then."""
    kept: list[ChatEvent] = []
    begins_at = 0
    for event in events:
        if isinstance(event, TurnRetracted):
            del kept[begins_at:]
        else:
            kept.append(event)
            begins_at = len(kept) if isinstance(event, TurnStarted) else begins_at
    return kept


def events_of(messages: Iterable[Message]) -> Iterator[ChatEvent]:
    """The events of turns and results, in the order in which they were emitted, as far as messages have them."""
    turns = 0
    for message in messages:
        if isinstance(message, AssistantMessage):
            if turns:
                yield TurnEnded("tool_calls")
            turns += 1
            yield TurnStarted(turns)
            for part in message.parts:
                yield from _part_events(part)
        elif isinstance(message, ToolMessage):
            yield _result_event(message)
    if turns:
        yield TurnEnded("tool_calls")


def _part_events(part: AssistantPart) -> Iterator[ChatEvent]:
    match part:
        case ToolCall(id_, name, arguments, opaque):
            yield from (ToolCallStarted(id_, name), ToolCallReady(id_, name, arguments, opaque))
        case Reasoning(text, signature, redacted, opaque):
            if text:
                yield ReasoningDelta(text)
            yield ReasoningEnded(signature, redacted, opaque)
        case Text(text):
            yield TextDelta(text)
        case Source():
            yield SourceCited(part)


def _result_event(message: ToolMessage) -> ToolFinished:
    if message.is_error:
        return ToolFinished(message.tool_call_id, message.name, "failed", 0, error=message.content)
    content = message.content.encode("utf-8", "replace")
    try:
        msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):  # a client's plain text
        content = msgspec.json.encode(content.decode())
    return ToolFinished(message.tool_call_id, message.name, "completed", 0, content)


class _Answer(msgspec.Struct):
    messages: list[Message] = []
    _id: str = ""
    _turn: TurnParts = msgspec.field(default_factory=TurnParts)
    _results: dict[str, ToolMessage] = {}

    def add(self, event: ChatEvent) -> None:  # noqa: C901 - one case for each event
        match event:
            case ConversationStarted(_, message_id):
                self._id = message_id
            case TurnEnded():
                self.end_turn(incomplete=False)
            case ToolFinished(id_, name):
                content = event.error or event.result.decode()
                self._results[id_] = ToolMessage(id_, name, content, is_error=event.status != "completed")
            case ConversationEnded(_, usage):
                self._set_usage(usage)
            case ToolApprovalRequested(id_, name, approval):
                if not self._turn.set_on_call(id_, approval=approval):  # an earlier answer's call
                    self._results[id_] = undecided_result(ToolCall(id_, name, ""), approval)
            case ToolStarted(id_, name):
                if not self._turn.set_on_call(id_):  # likewise: it was allowed, and may have taken effect
                    self._results[id_] = ToolMessage(id_, name, INTERRUPTED_CALL_RESULT, is_error=True)
            case TurnStarted():
                self.end_turn(incomplete=True)
            case ToolQueued() | ToolProgressed() | ConversationFailed() | ConversationStopped():
                pass
            case _:
                self._turn.add(event)

    def end_turn(self, *, incomplete: bool) -> None:
        parts = self._turn.finish()
        if parts:
            calls = [part.id for part in parts if isinstance(part, ToolCall)]
            self.messages.append(AssistantMessage(parts, self._id, incomplete))
            self.messages += [self._results[call_id] for call_id in calls if call_id in self._results]
        else:
            self.messages += in_stored_order(self._results.values())
        self._turn, self._results = TurnParts(), {}

    def _set_usage(self, usage: Usage) -> None:
        """Set the answer's usage on its last turn, which need not be its last message: results may follow."""
        for at in reversed(range(len(self.messages))):
            if isinstance(turn := self.messages[at], AssistantMessage):
                self.messages[at] = msgspec.structs.replace(turn, usage=usage)
                return
