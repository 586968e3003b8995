"""Normalizes and validates a conversation's history: messages in order, complete and within the limits.

History normalization (history normalisation) is used by every wire format, and works on our own messages, not on a
format's.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

from msgspec import Meta

from winterbourne.chat.core.messages import (
    AssistantMessage,
    ChatRequest,
    Image,
    Message,
    Reasoning,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.settings import Settings

__all__ = [
    "INTERRUPTED_CALL_RESULT",
    "Id",
    "MaxTokens",
    "Temperature",
    "ToolName",
    "limit_messages",
    "normalize_history",
    "validate_history",
]

Id = Annotated[str, Meta(max_length=200)]
ToolName = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}\Z")]  # accepted by every provider
Temperature = Annotated[float, Meta(ge=0, le=2)]
MaxTokens = Annotated[int, Meta(ge=1)]

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
    history: list[Message | _AssistantTurn] = []
    calls = _PendingCalls()
    for message in messages:
        match message:
            case AssistantMessage(parts=parts) if all(isinstance(part, Reasoning) for part in parts):
                continue
            case AssistantMessage():
                history.append(calls.add_turn(message))
            case ToolMessage():
                calls.add_result(message)
            case _:
                history.append(message)
    return tuple(
        one for entry in history for one in (entry.with_results() if isinstance(entry, _AssistantTurn) else (entry,))
    )


def limit_messages(messages: Iterable[Message], settings: Settings) -> tuple[Message, ...]:
    """The messages as a tuple; consumes at most one more than MAX_MESSAGES.

    Raises:
        RequestRejected: 413 if there are more than MAX_MESSAGES.
    """
    limited = tuple(itertools.islice(messages, settings.request.max_messages + 1))
    if len(limited) > settings.request.max_messages:
        raise RequestRejected(413, "too_many_messages", f"messages: {settings.request.max_messages} at most")
    return limited


def validate_history(request: ChatRequest, settings: Settings) -> ChatRequest:
    """The same request if its history and client tools are valid and within the limits.

    Raises:
        RequestRejected: 400 if there are no messages, a user message is empty, or two messages or two tools share an
            id; 413 for more or longer messages, more images or more tools than the settings allow.
    """
    messages = request.messages
    if not messages:
        raise RequestRejected(400, "no_messages", "messages: at least one is needed")
    if any(isinstance(message, UserMessage) and not message.parts for message in messages):
        raise RequestRejected(400, "empty_message", "messages: a user's message may not be empty")
    _require_unique("messages: the message id", _message_ids(messages))
    _require_at_most(settings.request.max_messages, len(messages), "too_many_messages", "messages")
    longest = max(len(request.system or ""), *(_message_length(message) for message in messages))
    _require_at_most(settings.request.max_message_chars, longest, "message_too_long", "characters in one message")
    _require_at_most(settings.request.max_images, _image_count(messages), "too_many_images", "images")
    _require_at_most(settings.request.max_client_tools, len(request.client_tools), "too_many_tools", "tools")
    _require_unique("tools: the name", [tool.name for tool in request.client_tools])
    return request


def _message_ids(messages: Iterable[Message]) -> list[str]:
    """The ids of the messages; adjacent assistant turns of one answer share an id, which is listed once."""
    ids: list[str] = []
    previous: Message | None = None
    for message in messages:
        match message:
            case AssistantMessage(id=id_) if isinstance(previous, AssistantMessage) and previous.id == id_:
                pass
            case UserMessage(id=id_) | AssistantMessage(id=id_) if id_:
                ids.append(id_)
        previous = previous if isinstance(message, ToolMessage) else message
    return ids


class _AssistantTurn:
    """An assistant turn and the results of its calls so far."""

    def __init__(self, message: AssistantMessage) -> None:
        self._message = message
        self.results: dict[str, ToolMessage] = {}

    def with_results(self) -> Iterator[Message]:
        yield self._message
        for call in self._message.tool_calls:
            result = self.results.get(call.id) or ToolMessage(
                call.id, call.name, INTERRUPTED_CALL_RESULT, is_error=True
            )
            yield ToolMessage(call.id, call.name, result.content, result.is_error)


class _PendingCalls:
    """The turns that still wait for a result, by call id, the latest last."""

    def __init__(self) -> None:
        self._pending: dict[str, list[_AssistantTurn]] = {}

    def add_turn(self, message: AssistantMessage) -> _AssistantTurn:
        turn = _AssistantTurn(message)
        _require_unique("messages: the tool call id", [call.id for call in message.tool_calls])
        for call in message.tool_calls:
            self._pending.setdefault(call.id, []).append(turn)
        return turn

    def add_result(self, result: ToolMessage) -> None:
        call_id = result.tool_call_id
        turns = self._pending.get(call_id)
        if turns is None:
            raise RequestRejected(400, "unknown_tool_call", f"messages: no call before the result of {call_id[:64]!r}")
        if not turns:
            raise RequestRejected(400, "duplicate_id", f"messages: the call {call_id[:64]!r} has two results")
        turns.pop().results[call_id] = result


def _require_unique(what: str, ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            raise RequestRejected(400, "duplicate_id", f"{what} {one[:64]!r} is used twice")
        seen.add(one)


def _require_at_most(limit: int, count: int, code: str, what: str) -> None:
    if count > limit:
        raise RequestRejected(413, code, f"{count} {what}, {limit} at most")


def _message_length(message: Message) -> int:
    match message:
        case UserMessage(parts=parts) | AssistantMessage(parts=parts):
            return sum(_part_length(part) for part in parts)
        case ToolMessage(content=text):
            return len(text)
        case _:
            return len(message.text)


def _part_length(part: object) -> int:
    match part:
        case ToolCall(arguments=text):
            return len(text)
        case Image():  # images are limited by number and by the size of the body
            return 0
        case _:
            return len(getattr(part, "text", ""))


def _image_count(messages: Iterable[Message]) -> int:
    users = (message for message in messages if isinstance(message, UserMessage))
    return sum(isinstance(part, Image) for message in users for part in message.parts)
