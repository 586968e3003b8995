"""Converts a body whose older messages have unknown shapes: those are repaired, the newest must be as the format says.

A client cannot mend what was said long ago, and a chat must not be stuck on it: what can be read of such a message is
kept, a part that cannot be read becomes a line of text, and the rest is left out. Pure.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from winterbourne.chat.core.documents import placeholder
from winterbourne.chat.core.shapes import has_shape
from winterbourne.chat.formats.json_text import dumps

__all__ = ["convert_body"]

T = TypeVar("T")

_NOTHING: Final = {"role": "assistant", "content": "", "parts": []}
_ANSWERS: Final = frozenset({"tool", "function", "activity", "reasoning"})
_MEDIA_TYPE_FIELDS: Final = ("mediaType", "mimeType", "media_type", "mime_type", "type")
_NAME_FIELDS: Final = ("filename", "name", "file_id")
_MAX_FIELDS: Final = 20_000  # of messages and their parts: each takes some 20 microseconds of the event loop
_LOGGER: Final = logging.getLogger(__name__)


def convert_body(body: dict[str, Any], body_type: type[T], message_type: Any) -> T:
    """Convert a body; its messages other than the user's newest are repaired if they have another shape.

    Raises:
        msgspec.ValidationError: The newest message, or another field, has another shape, or too much needs repair.
    """
    try:
        return msgspec.convert(body, body_type)
    except msgspec.ValidationError:
        messages = body.get("messages")
        if not isinstance(messages, list) or _count_fields(messages) > _MAX_FIELDS:
            raise
    newest = _newest_question(messages) if len(messages) > 1 else 0
    repaired = [one if at == newest else _repair(one, message_type) for at, one in enumerate(messages)]
    converted = msgspec.convert({**body, "messages": repaired}, body_type)
    changed = sum(one is not other for one, other in zip(messages, repaired, strict=True))
    _LOGGER.info("history repaired: messages of another shape: %d", changed)
    return converted


def _count_fields(messages: Sequence[Any]) -> int:
    fields = [value for message in messages if isinstance(message, dict) for value in message.values()]
    parts = [part for value in fields if isinstance(value, list) for part in value]
    return len(messages) + len(fields) + len(parts) + sum(len(part) for part in parts if isinstance(part, dict))


def _newest_question(messages: Sequence[Any]) -> int | None:
    """The place of the last message that is not an answer, unless the model has begun to answer it."""
    for at in range(len(messages) - 1, -1, -1):
        role = messages[at].get("role") if isinstance(messages[at], dict) else None
        if role == "assistant":
            return None
        if not (isinstance(role, str) and role in _ANSWERS):
            return at
    return None


def _repair(message: Any, message_type: Any) -> Any:
    """The message itself if it has a known shape, else one with those of its fields that can be read."""
    if not isinstance(message, dict):
        return _NOTHING
    if has_shape(message, message_type):
        return message
    content = message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else []  # as the AI SDK had it before 5
    empty = {"role": message.get("role"), "content": "", "parts": parts, "tool_call_id": "", "toolCallId": ""}
    if not has_shape(empty, message_type):
        return _NOTHING
    repaired = dict(empty)
    for name, value in message.items():
        readings = ({name: one} for one in _readings(empty, name, value, message_type))
        repaired |= next((one for one in readings if has_shape({**empty, **one}, message_type)), {})
    return repaired


def _readings(empty: Mapping[str, Any], name: str, value: Any, message_type: Any) -> Iterator[Any]:
    """What a field's value may mean, the likeliest first."""
    yield value
    values = value if isinstance(value, list) else [value]
    readable = [one for one in values if isinstance(one, str) or _is_part(one)]
    if readable and not isinstance(value, str):
        parts = (_read_part(empty, name, one, message_type) for one in readable)
        yield [part for part in parts if part is not None]
        texts = (one if isinstance(one, str) else one.get("text") for one in readable)
        yield "\n".join(text for text in texts if isinstance(text, str))
    if isinstance(value, int | float) or (value is not None and empty["role"] == "tool"):
        yield dumps(value).decode()  # a result that is not text, or a number


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and not value.keys().isdisjoint({"type", "function", "text"})


def _read_part(empty: Mapping[str, Any], name: str, part: Any, message_type: Any) -> Any:
    """An element of a list: itself, or without its unreadable fields, or as text; None to leave it out."""
    if isinstance(part, str):
        return {"type": "text", "text": part}

    def fits(value: Any) -> bool:
        return has_shape({**empty, name: [value]}, message_type)

    if fits(part):
        return part
    if isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    kind = part.get("type")
    trimmed = {"type": kind, **{key: value for key, value in part.items() if fits({"type": kind, key: value})}}
    if fits(trimmed):
        return trimmed
    return None if empty["role"] == "assistant" else {"type": "text", "text": _describe(part)}


def _describe(part: Mapping[str, Any]) -> str:
    """The line for a part, by the media type and the name in it or in the object that it wraps."""
    nested = [value for value in part.values() if isinstance(value, dict)]
    places = (*nested, part)
    return placeholder(_first_text(places, _MEDIA_TYPE_FIELDS), _first_text(places, _NAME_FIELDS))


def _first_text(places: Iterable[Mapping[str, Any]], names: Iterable[str]) -> str:
    return next((one[name] for one in places for name in names if isinstance(one.get(name), str)), "")
