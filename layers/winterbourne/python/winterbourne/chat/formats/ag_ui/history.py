"""Decodes chat history: AG-UI messages → core messages.

In AG-UI, reasoning is a separate message before the answer that it led to. AG-UI itself marks neither failed results
nor signatures: the encoder puts them into `metadata` and `encryptedValue`, which clients send back.
"""

from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

import msgspec

from winterbourne.chat.core.messages import (
    AssistantMessage,
    AssistantPart,
    Message,
    Reasoning,
    SystemMessage,
    Text,
    ToolMessage,
    UserMessage,
    UserPart,
)
from winterbourne.chat.formats.base import FunctionCall, TextPart
from winterbourne.chat.formats.json_text import dumps
from winterbourne.chat.formats.media import parse_image, usable_part

__all__ = ["METADATA_KEY", "AgUiMessage", "decode_history", "encode_encrypted_value"]

METADATA_KEY = "winterbourne"
"""The key of our own entry in `metadata`."""


class _Source(msgspec.Struct, frozen=True, rename="camel"):
    type: Literal["data", "url"]
    value: str
    mime_type: str = ""


class _ImagePart(msgspec.Struct, frozen=True, tag="image"):
    source: _Source


class _BinaryPart(msgspec.Struct, frozen=True, tag="binary", rename="camel"):
    """An image as clients before 1.0 send it."""

    mime_type: str
    data: str = ""
    url: str = ""


_Content: TypeAlias = str | tuple[TextPart | _ImagePart | _BinaryPart, ...]


class _System(msgspec.Struct, frozen=True, tag="system", tag_field="role"):
    content: str


class _Developer(_System, frozen=True, tag="developer", tag_field="role"):
    """System messages have this role too."""


class _User(msgspec.Struct, frozen=True, tag="user", tag_field="role"):
    content: _Content
    id: str = ""


class _Assistant(msgspec.Struct, frozen=True, tag="assistant", tag_field="role", rename="camel"):
    content: str | None = None
    tool_calls: tuple[FunctionCall, ...] | None = None
    id: str = ""


class _ResultMetadata(msgspec.Struct, frozen=True):
    status: str = "completed"


class _Metadata(msgspec.Struct, frozen=True):
    winterbourne: _ResultMetadata = _ResultMetadata()


class _Tool(msgspec.Struct, frozen=True, tag="tool", tag_field="role", rename="camel"):
    tool_call_id: str
    content: _Content
    error: str | None = None
    metadata: _Metadata | None = None


class _Activity(msgspec.Struct, frozen=True, tag="activity", tag_field="role"):
    """Display-only content; it is not passed to the model."""


class _ReasoningMessage(msgspec.Struct, frozen=True, tag="reasoning", tag_field="role", rename="camel"):
    content: str
    encrypted_value: str | None = None


AgUiMessage: TypeAlias = _System | _Developer | _User | _Assistant | _Tool | _Activity | _ReasoningMessage


class _Failure(msgspec.Struct, frozen=True):
    """The content of a failed result, as our encoder sends it."""

    error: str


class _EncryptedValue(msgspec.Struct, frozen=True):
    signature: str = ""
    redacted: str = ""


def encode_encrypted_value(signature: str, redacted: str) -> str:
    """Pack a provider's opaque strings into one `encryptedValue`."""
    return dumps({"signature": signature, "redacted": redacted}).decode()


def decode_history(messages: Iterable[AgUiMessage]) -> Iterator[Message]:
    """Core messages in the same order."""
    pending_reasoning: list[Reasoning] = []
    for message in messages:
        match message:
            case _System(text):
                yield SystemMessage(text)
            case _User(content, id_):
                pending_reasoning.clear()  # reasoning that led to no answer
                yield UserMessage(tuple(_content_parts(content)), id_)
            case _ReasoningMessage():
                pending_reasoning.append(_decode_reasoning(message))
            case _Assistant():
                yield AssistantMessage((*pending_reasoning, *_assistant_parts(message)), message.id)
                pending_reasoning.clear()
            case _Tool():
                yield _tool_message(message)
            case _Activity():
                pass


def _content_parts(content: _Content) -> Iterator[UserPart]:
    for part in (TextPart(content),) if isinstance(content, str) else content:
        match part:
            case TextPart(text):
                if text:
                    yield Text(text)
            case _ImagePart(source):
                yield usable_part(parse_image, source.mime_type, **{source.type: source.value})
            case _BinaryPart():
                yield usable_part(parse_image, part.mime_type, data=part.data, url=part.url)


def _assistant_parts(message: _Assistant) -> Iterator[AssistantPart]:
    if message.content:
        yield Text(message.content)
    for call in message.tool_calls or ():
        yield call.function.call(call.id)


def _decode_reasoning(message: _ReasoningMessage) -> Reasoning:
    """The text and our opaque strings. An `encryptedValue` of another agent is ignored."""
    try:
        encrypted_value = msgspec.json.decode(message.encrypted_value or "{}", type=_EncryptedValue)
    except msgspec.DecodeError:
        encrypted_value = _EncryptedValue()
    return Reasoning(message.content, encrypted_value.signature, encrypted_value.redacted)


def _tool_message(message: _Tool) -> ToolMessage:
    text = "".join(part.text for part in _content_parts(message.content) if isinstance(part, Text))
    if message.error:
        return ToolMessage(message.tool_call_id, "", message.error, is_error=True)
    if message.metadata and message.metadata.winterbourne.status != "completed":
        return ToolMessage(message.tool_call_id, "", _error_text(text), is_error=True)
    return ToolMessage(message.tool_call_id, "", text)


def _error_text(text: str) -> str:
    """The message in `{"error":"..."}`; any other text unchanged."""
    try:
        return msgspec.json.decode(text, type=_Failure).error
    except (ValueError, RecursionError):
        return text
