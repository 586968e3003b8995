"""Normalizes a conversation's history: each turn is followed by one result per call, in call order.

History normalization (history normalisation) works on our own messages, not on a format's. It is used for a history
that a request carries and for a stored one, and the conversation keeps it true from turn to turn: what providers are
sent is always normalized.
"""

from collections.abc import Iterable, Iterator, Mapping

from winterbourne.chat.core.messages import AssistantMessage, Message, Reasoning, ToolCall, ToolMessage
from winterbourne.chat.errors import RequestRejected

__all__ = ["INTERRUPTED_CALL_RESULT", "normalize_history"]

INTERRUPTED_CALL_RESULT = "This call was interrupted before it gave a result."
"""The result the model gets for a call whose own result never came: providers reject a call without a result."""


def normalize_history(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Normalize a whole history for providers: each turn is followed by one result per call, in call order.

    Late results are moved up to their turn, calls without a result get INTERRUPTED_CALL_RESULT, and assistant turns
    without text or calls are dropped. Call ids need only be unique within a turn: not every provider makes them unique
    across turns.

    Raises:
        RequestRejected: 400 if two calls of a turn share an id, or if a result belongs to no call or to a call that
            already has one.
    """
    history: list[tuple[Message, dict[str, ToolMessage]]] = []  # each message with the results of its calls so far
    pending: dict[str, list[dict[str, ToolMessage]]] = {}  # call id → where its result goes, the latest turn last
    for message in messages:
        results: dict[str, ToolMessage] = {}
        match message:
            case AssistantMessage(parts) if all(isinstance(part, Reasoning) for part in parts):
                continue
            case AssistantMessage(parts):
                for call in parts:
                    if isinstance(call, ToolCall):
                        _add_call(call.id, results, pending)
            case ToolMessage(call_id):
                _results_for(call_id, pending)[call_id] = message
                continue
        history.append((message, results))
    return tuple(one for message, results in history for one in _with_results(message, results))


def _add_call(call_id: str, results: dict[str, ToolMessage], pending: dict[str, list[dict[str, ToolMessage]]]) -> None:
    turns = pending.setdefault(call_id, [])
    if turns and turns[-1] is results:
        raise RequestRejected(400, "duplicate_id", f"messages: the tool call id {call_id[:64]!r} is used twice")
    turns.append(results)


def _results_for(call_id: str, pending: Mapping[str, list[dict[str, ToolMessage]]]) -> dict[str, ToolMessage]:
    """The results of the latest turn that waits for this call's result."""
    turns = pending.get(call_id)
    if turns is None:
        raise RequestRejected(400, "unknown_tool_call", f"messages: no call before the result of {call_id[:64]!r}")
    if not turns:
        raise RequestRejected(400, "duplicate_id", f"messages: the call {call_id[:64]!r} has two results")
    return turns.pop()


def _with_results(message: Message, results: Mapping[str, ToolMessage]) -> Iterator[Message]:
    yield message
    for call in message.parts if isinstance(message, AssistantMessage) else ():
        if isinstance(call, ToolCall):
            result = results.get(call.id)
            content, is_error = (result.content, result.is_error) if result else (INTERRUPTED_CALL_RESULT, True)
            yield ToolMessage(call.id, call.name, content, is_error)
