"""Builds the messages of an answer from its events: those of one that was broken off are in what was emitted of it."""

from collections.abc import Iterable

import msgspec

from winterbourne.chat.core.conversation import TurnParts
from winterbourne.chat.core.events import (
    ChatEvent,
    ConversationEnded,
    ConversationFailed,
    ConversationStarted,
    ConversationStopped,
    ToolFinished,
    ToolProgressed,
    ToolQueued,
    ToolStarted,
    TurnEnded,
    TurnStarted,
)
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Message,
    ToolCall,
    ToolMessage,
    Usage,
)

__all__ = ["messages_of"]


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
