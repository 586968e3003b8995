"""What every wire format asks of a history: in order, complete, within the limits.

Knows our messages, not how a format writes them.
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

__all__ = ["UNFINISHED", "Id", "MaxTokens", "Temperature", "ToolName", "bounded", "checked", "settled"]

Id = Annotated[str, Meta(max_length=200)]
ToolName = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}\Z")]  # what every provider takes
Temperature = Annotated[float, Meta(ge=0, le=2)]
MaxTokens = Annotated[int, Meta(ge=1)]

UNFINISHED = "This call was interrupted before it gave a result."
"""What a model is told of a call whose result never came. Providers refuse a call that has no result."""


def settled(messages: Iterable[Message]) -> tuple[Message, ...]:
    """A whole history as providers take it: behind each turn the results of its calls, in their order, one per call.

    Results that came late are moved up, calls without one are answered with UNFINISHED, turns that said nothing are
    left out. Ids of calls need only be unique within a turn: not every provider makes them so across turns.

    Raises:
        RequestRejected: 400 where two calls of a turn share an id, or a result belongs to no call or to one that has
            its result.
    """
    history: list[Message | _Turn] = []
    calls = _Calls()
    for message in messages:
        match message:
            case AssistantMessage(parts=parts) if all(isinstance(part, Reasoning) for part in parts):
                continue
            case AssistantMessage():
                history.append(calls.asked(message))
            case ToolMessage():
                calls.answered(message)
            case _:
                history.append(message)
    return tuple(one for entry in history for one in (entry.settled() if isinstance(entry, _Turn) else (entry,)))


def bounded(messages: Iterable[Message], settings: Settings) -> tuple[Message, ...]:
    """The messages, if there are no more than MAX_MESSAGES; nothing is done with more than that.

    Raises:
        RequestRejected: 413.
    """
    some = tuple(itertools.islice(messages, settings.max_messages + 1))
    if len(some) > settings.max_messages:
        raise RequestRejected(413, "too_many_messages", f"messages: {settings.max_messages} at most")
    return some


def checked(chat: ChatRequest, settings: Settings) -> ChatRequest:
    """The same request, if it keeps the limits.

    Raises:
        RequestRejected: 400 without messages or with an empty one, 400 where two messages share an id, 413 for more or
            longer messages, more images or more tools than the settings allow.
    """
    messages = chat.messages
    if not messages:
        raise RequestRejected(400, "no_messages", "messages: at least one is needed")
    if any(isinstance(message, UserMessage) and not message.parts for message in messages):
        raise RequestRejected(400, "empty_message", "messages: a user's message may not be empty")
    _expect_unique("message", _message_ids(messages))
    _expect_at_most(settings.max_messages, len(messages), "too_many_messages", "messages")
    longest = max(len(chat.system or ""), *(_length(message) for message in messages))
    _expect_at_most(settings.max_message_chars, longest, "message_too_long", "characters in one message")
    _expect_at_most(settings.max_images, _images(messages), "too_many_images", "images")
    _expect_at_most(settings.max_client_tools, len(chat.client_tools), "too_many_tools", "tools")
    _expect_unique("tool", [tool.name for tool in chat.client_tools])
    return chat


def _message_ids(messages: Iterable[Message]) -> list[str]:
    """One id per message as its writer counts them: all turns of one answer go by one id."""
    ids: list[str] = []
    before: Message | None = None
    for message in messages:
        match message:
            case AssistantMessage(id=id_) if isinstance(before, AssistantMessage) and before.id == id_:
                pass
            case UserMessage(id=id_) | AssistantMessage(id=id_) if id_:
                ids.append(id_)
        before = before if isinstance(message, ToolMessage) else message
    return ids


class _Turn:
    """A turn, and the results of its calls so far."""

    def __init__(self, message: AssistantMessage) -> None:
        self._message = message
        self.results: dict[str, ToolMessage] = {}

    def settled(self) -> Iterator[Message]:
        yield self._message
        for call in self._message.tool_calls:
            result = self.results.get(call.id) or ToolMessage(call.id, call.name, UNFINISHED, is_error=True)
            yield ToolMessage(call.id, call.name, result.content, result.is_error)


class _Calls:
    """Which turns wait for the result of which call, the latest last."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[_Turn]] = {}

    def asked(self, message: AssistantMessage) -> _Turn:
        turn = _Turn(message)
        _expect_unique("tool call", [call.id for call in message.tool_calls])
        for call in message.tool_calls:
            self._waiting.setdefault(call.id, []).append(turn)
        return turn

    def answered(self, result: ToolMessage) -> None:
        call = result.tool_call_id
        turns = self._waiting.get(call)
        if turns is None:
            raise RequestRejected(400, "unknown_tool_call", f"messages: {call[:64]!r} is no call before its result")
        if not turns:
            raise RequestRejected(400, "duplicate_id", f"messages: the call {call[:64]!r} has two results")
        turns.pop().results[call] = result


def _expect_unique(what: str, ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            raise RequestRejected(400, "duplicate_id", f"messages: the {what} id {one[:64]!r} comes twice")
        seen.add(one)


def _expect_at_most(limit: int, count: int, code: str, what: str) -> None:
    if count > limit:
        raise RequestRejected(413, code, f"{count} {what}, {limit} at most")


def _length(message: Message) -> int:
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
        case Image():  # the body's own limit holds for images; their number is limited besides
            return 0
        case _:
            return len(getattr(part, "text", ""))


def _images(messages: Iterable[Message]) -> int:
    users = (message for message in messages if isinstance(message, UserMessage))
    return sum(isinstance(part, Image) for message in users for part in message.parts)
