"""Decodes chat history: OpenAI chat messages → core messages."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from winterbourne.chat.core.documents import PDF, document_type, placeholder
from winterbourne.chat.core.messages import (
    AssistantMessage,
    AssistantPart,
    Message,
    Opaque,
    Reasoning,
    SystemMessage,
    Text,
    ToolMessage,
    UnusablePart,
    UserMessage,
    UserPart,
)
from winterbourne.chat.formats.base import Function, FunctionCall, TextPart
from winterbourne.chat.formats.json_text import dumps
from winterbourne.chat.formats.media import usable_part

__all__ = ["OpenAiMessage", "decode_history"]


class _RefusalPart(msgspec.Struct, frozen=True, tag="refusal"):
    text: str = msgspec.field(name="refusal")


class _ImageUrl(msgspec.Struct, frozen=True):
    url: str


class _ImagePart(msgspec.Struct, frozen=True, tag="image_url"):
    image_url: _ImageUrl


class _File(msgspec.Struct, frozen=True):
    filename: str = ""
    file_data: str = ""
    file_id: str = ""

    def part(self) -> UserPart:
        """The file, if it is here: those that are kept at a provider are known only there."""
        if self.file_id:
            refusal = "messages: file_id: send the file itself, as file_data"
            return UnusablePart(placeholder("", self.filename or self.file_id), refusal)
        source = "url" if self.file_data.startswith(("data:", "https:")) else "data"
        is_told = self.file_data.startswith("data:") or document_type("", self.filename)
        return usable_part("" if is_told else PDF, name=self.filename, **{source: self.file_data})


class _FilePart(msgspec.Struct, frozen=True, tag="file"):
    file: _File


_TextContent: TypeAlias = str | tuple[TextPart, ...]


class _System(msgspec.Struct, frozen=True, tag="system", tag_field="role"):
    content: _TextContent


class _Developer(_System, frozen=True, tag="developer", tag_field="role"):
    """System messages have this role too."""


class _User(msgspec.Struct, frozen=True, tag="user", tag_field="role"):
    content: str | tuple[TextPart | _ImagePart | _FilePart, ...]


class _ThinkingBlock(msgspec.Struct, frozen=True):
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


class _ToolCall(FunctionCall, frozen=True):
    extra_content: dict[str, Any] | None = None
    provider_specific_fields: dict[str, Any] | None = None


class _Assistant(msgspec.Struct, frozen=True, tag="assistant", tag_field="role"):
    content: str | tuple[TextPart | _RefusalPart, ...] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking_blocks: tuple[_ThinkingBlock, ...] | None = None
    reasoning_details: list[Any] | None = None
    extra_content: dict[str, Any] | None = None
    reasoning_items: list[Any] | None = None
    phase: str | None = None
    tool_calls: tuple[_ToolCall, ...] | None = None
    function_call: Function | None = None  # before there were tools


class _Tool(msgspec.Struct, frozen=True, tag="tool", tag_field="role"):
    tool_call_id: str
    content: _TextContent


class _FunctionResult(msgspec.Struct, frozen=True, tag="function", tag_field="role"):
    """The result of a `function_call`, which has no id: its name serves as one."""

    name: str
    content: _TextContent | None = None


OpenAiMessage: TypeAlias = _System | _Developer | _User | _Assistant | _Tool | _FunctionResult


def decode_history(messages: Iterable[OpenAiMessage]) -> Iterator[Message]:
    """One core message per message. A result never counts as an error: the format has no field for it."""
    for message in messages:
        match message:
            case _System(content):
                yield SystemMessage(_join_text(content))
            case _User(content):
                yield UserMessage(tuple(_user_parts(content)))
            case _Assistant():
                yield AssistantMessage(tuple(_assistant_parts(message)))
            case _Tool(call, content):
                yield ToolMessage(call, "", _join_text(content))
            case _FunctionResult(name, content):
                yield ToolMessage(name, name, _join_text(content or ""))


def _join_text(content: _TextContent) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)


def _user_parts(content: str | tuple[TextPart | _ImagePart | _FilePart, ...]) -> Iterator[UserPart]:
    for part in (TextPart(content),) if isinstance(content, str) else content:
        if isinstance(part, _ImagePart):
            yield usable_part("", url=part.image_url.url)
        elif isinstance(part, _FilePart):
            yield part.file.part()
        elif part.text:
            yield Text(part.text)


_TURN_FIELDS: Final = ("reasoning_details", "extra_content", "reasoning_items", "phase")
_CALL_FIELDS: Final = ("extra_content", "provider_specific_fields")


def _opaque(message: _Assistant | _ToolCall, names: Iterable[str]) -> Opaque | UnsetType:
    """Fields that the provider wants back, as the encoder sends them. Clients cannot say which provider that is."""
    fields = {name: value for name in names if (value := getattr(message, name))}
    return Opaque(fields=dumps(fields).decode()) if fields else UNSET


def _assistant_parts(message: _Assistant) -> Iterator[AssistantPart]:
    for block in message.thinking_blocks or ():
        yield Reasoning(block.thinking or "", block.signature or "", block.data or "", Opaque())
    for name in ("reasoning_content", "reasoning"):
        if (text := getattr(message, name)) is not None:
            yield Reasoning(text, opaque=Opaque(field=name))
    if opaque := _opaque(message, _TURN_FIELDS):
        yield Reasoning("", opaque=opaque)
    content = message.content or ()
    texts = [content] if isinstance(content, str) else [part.text for part in content]
    # For the next turn, a refusal is text like any other.
    yield from (Text(text) for text in (*texts, message.refusal) if text)
    for call in message.tool_calls or ():
        yield call.function.call(call.id, _opaque(call, _CALL_FIELDS))
    if message.function_call:
        yield message.function_call.call(message.function_call.name)
