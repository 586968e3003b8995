"""Builds messages from events: the parts of one model turn while it streams, and all messages of an answer.

An answer that was broken off has its messages in what was emitted of it, up to where it broke off.
"""

from collections.abc import Iterable
from typing import assert_never

import msgspec

from winterbourne.chat.core.events import (
    ChatEvent,
    ConversationEnded,
    ConversationFailed,
    ConversationStarted,
    ConversationStopped,
    ModelEvent,
    ReasoningDelta,
    ReasoningEnded,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallReady,
    ToolCallSigned,
    ToolCallStarted,
    ToolFinished,
    ToolProgressed,
    ToolQueued,
    ToolStarted,
    TurnEnded,
    TurnStarted,
)
from winterbourne.chat.core.messages import (
    AssistantMessage,
    AssistantPart,
    Message,
    Reasoning,
    Text,
    ToolCall,
    ToolMessage,
    Usage,
)

__all__ = ["TurnParts", "messages_of"]


class TurnParts(msgspec.Struct):
    """The parts of one model turn, built from its events."""

    _parts: list[AssistantPart] = []
    _text_buffer: list[str] = []
    _reasoning_buffer: list[str] = []

    def add(self, event: ModelEvent) -> None:
        """Take the next event. A call is a part of the turn once it is ready."""
        match event:
            case TextDelta(text):
                self._text_buffer.append(text)
            case ReasoningDelta(text):
                self._reasoning_buffer.append(text)
            case ReasoningEnded(signature, redacted, opaque):
                self._flush_text()
                self._parts.append(Reasoning("".join(self._reasoning_buffer), signature, redacted, opaque))
                self._reasoning_buffer.clear()
            case ToolCallReady(id_, name, arguments, opaque):
                self._flush()
                self._parts.append(ToolCall(id_, name, arguments, opaque))
            case ToolCallSigned(id_, opaque):
                self._parts = [
                    msgspec.structs.replace(part, opaque=opaque)
                    if isinstance(part, ToolCall) and part.id == id_
                    else part
                    for part in self._parts
                ]
            case ToolCallStarted() | ToolArgumentsDelta() | TurnEnded():
                pass
            case _:
                assert_never(event)

    def finish(self) -> tuple[AssistantPart, ...]:
        """The parts so far; nothing is open after that."""
        self._flush()
        return tuple(self._parts)

    def _flush(self) -> None:
        if self._reasoning_buffer:
            self._parts.append(Reasoning("".join(self._reasoning_buffer)))
            self._reasoning_buffer.clear()
        self._flush_text()

    def _flush_text(self) -> None:
        if self._text_buffer:
            self._parts.append(Text("".join(self._text_buffer)))
            self._text_buffer.clear()


def messages_of(events: Iterable[ChatEvent]) -> list[Message]:
    """The messages of an answer, as the conversation that emitted these events hands them to its `on_message`.

    A turn that has not ended is incomplete, and a call that has not ended has no result.
    """
    answer = _Answer()
    for event in events:
        answer.add(event)
    answer.end_turn(incomplete=True)
    return answer.messages


class _Answer(msgspec.Struct):
    messages: list[Message] = []
    _id: str = ""
    _turn: TurnParts = msgspec.field(default_factory=TurnParts)
    _results: dict[str, ToolMessage] = {}

    def add(self, event: ChatEvent) -> None:
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
            case TurnStarted() | ToolQueued() | ToolStarted() | ToolProgressed():
                pass
            case ConversationFailed() | ConversationStopped():  # nothing follows
                pass
            case _:
                self._turn.add(event)

    def end_turn(self, *, incomplete: bool) -> None:
        parts = self._turn.finish()
        if parts:
            calls = [part.id for part in parts if isinstance(part, ToolCall)]
            self.messages.append(AssistantMessage(parts, self._id, incomplete))
            self.messages += [self._results[call_id] for call_id in calls if call_id in self._results]
        self._turn, self._results = TurnParts(), {}

    def _set_usage(self, usage: Usage) -> None:
        """Say on the last turn, which results may follow, what the answer has used."""
        for at in reversed(range(len(self.messages))):
            if isinstance(turn := self.messages[at], AssistantMessage):
                self.messages[at] = msgspec.structs.replace(turn, usage=usage)
                return
