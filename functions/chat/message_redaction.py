"""Messages without the secrets in them, for the model and for the store."""

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from chat.messages import (
    AssistantMessage,
    Image,
    Message,
    Reasoning,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from chat.redaction import redact

__all__ = ["redact_message", "redact_messages"]

S = TypeVar("S", bound=msgspec.Struct)


def redact_messages(messages: Iterable[Message]) -> tuple[Message, ...]:
    """A history without the secrets."""
    return tuple(map(redact_message, messages))


def redact_message(message: Message) -> Message:
    """A message without the secrets; the same object where there are none.

    Reasoning that is not as its provider signed it loses the signature, for the provider would refuse it.
    """
    match message:
        case SystemMessage():
            return _with(message, text=redact(message.text))
        case ToolMessage():
            return _with(message, content=redact(message.content))
        case UserMessage() | AssistantMessage():
            return _with(message, parts=tuple(map(_part, message.parts)))


# Private functions


def _part(part: Any) -> Any:
    match part:
        case Text():
            return _with(part, text=redact(part.text))
        case Reasoning():
            clean = redact(part.text)
            return part if clean == part.text else Reasoning(clean)
        case ToolCall():
            return _with(part, arguments=redact(part.arguments))
        case Image():
            return _with(part, url=redact(part.url))


def _with(struct: S, **fields: object) -> S:
    """With these fields; the same object where they are what it has."""
    if all(getattr(struct, name) == value for name, value in fields.items()):
        return struct
    return msgspec.structs.replace(struct, **fields)
