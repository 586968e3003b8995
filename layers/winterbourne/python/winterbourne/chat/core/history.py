"""Normalizes a conversation's history: each turn is followed by one result per call, in call order.

History normalization (history normalisation) works on our own messages, not on a format's. It is used for a history
that a request carries and for a stored one, and the conversation keeps it true from turn to turn: what providers are
sent is always normalized.
"""

from collections.abc import Iterable

import msgspec

from winterbourne.chat.core.messages import AssistantMessage, Message, Text, ToolCall, ToolMessage
from winterbourne.chat.errors import InvalidHistory

__all__ = ["INTERRUPTED_CALL_RESULT", "normalize_history"]

INTERRUPTED_CALL_RESULT = "This call was interrupted before it gave a result."
"""The result the model gets for a call whose own result never came: providers reject a call without a result."""


def normalize_history(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Normalize a whole history for providers: each turn is followed by one result per call, in call order.

    Late results are moved up to their turn, calls without a result get INTERRUPTED_CALL_RESULT, and assistant turns
    without text or calls are dropped. Call ids need only be unique within a turn: not every provider makes them unique
    across turns.

    Raises:
        InvalidHistory: Two calls of a turn share an id, or a result belongs to no call or to a call that already has
            one.
    """
    history: list[Message] = []
    waiting: dict[str, list[int]] = {}  # call id → where in `history` its results go, that of the latest turn last
    for message in messages:
        match message:
            case AssistantMessage():
                if any(isinstance(part, ToolCall) or (isinstance(part, Text) and part.text) for part in message.parts):
                    _add_turn(message, history, waiting)
            case ToolMessage(call_id):
                at = _place_of_result(call_id, waiting)
                history[at] = msgspec.structs.replace(history[at], content=message.content, is_error=message.is_error)
            case _:
                history.append(message)
    return tuple(history)


def _add_turn(turn: AssistantMessage, history: list[Message], waiting: dict[str, list[int]]) -> None:
    """Add a turn, and for each of its calls the result it has as long as its own has not come."""
    history.append(turn)
    first = len(history)
    for call in turn.tool_calls:
        places = waiting.setdefault(call.id, [])
        if places and places[-1] >= first:
            raise InvalidHistory("duplicate_id", f"messages: the tool call id {call.id[:64]!r} is used twice")
        places.append(len(history))
        history.append(ToolMessage(call.id, call.name, INTERRUPTED_CALL_RESULT, is_error=True))


def _place_of_result(call_id: str, waiting: dict[str, list[int]]) -> int:
    """The place of the result in the latest turn that waits for it."""
    places = waiting.get(call_id)
    if places is None:
        raise InvalidHistory("unknown_tool_call", f"messages: no call before the result of {call_id[:64]!r}")
    if not places:
        raise InvalidHistory("duplicate_id", f"messages: the call {call_id[:64]!r} has two results")
    return places.pop()
