"""Decodes chat history: OpenAI chat messages → core messages."""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

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
from winterbourne.chat.formats.base import Function, FunctionCall, TextPart
from winterbourne.chat.formats.media import parse_image, usable_part

__all__ = ["OpenAiMessage", "decode_history"]


class _RefusalPart(msgspec.Struct, frozen=True, tag="refusal"):
    text: str = msgspec.field(name="refusal")


class _ImageUrl(msgspec.Struct, frozen=True):
    url: str


class _ImagePart(msgspec.Struct, frozen=True, tag="image_url"):
    image_url: _ImageUrl


_TextContent: TypeAlias = str | tuple[TextPart, ...]


class _System(msgspec.Struct, frozen=True, tag="system", tag_field="role"):
    content: _TextContent


class _Developer(_System, frozen=True, tag="developer", tag_field="role"):
    """System messages have this role too."""


class _User(msgspec.Struct, frozen=True, tag="user", tag_field="role"):
    content: str | tuple[TextPart | _ImagePart, ...]


class _Assistant(msgspec.Struct, frozen=True, tag="assistant", tag_field="role"):
    content: str | tuple[TextPart | _RefusalPart, ...] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: tuple[FunctionCall, ...] | None = None
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


def _user_parts(content: str | tuple[TextPart | _ImagePart, ...]) -> Iterator[UserPart]:
    for part in (TextPart(content),) if isinstance(content, str) else content:
        if isinstance(part, _ImagePart):
            yield usable_part(parse_image, "", url=part.image_url.url)
        elif part.text:
            yield Text(part.text)


def _assistant_parts(message: _Assistant) -> Iterator[AssistantPart]:
    if message.reasoning_content:
        yield Reasoning(message.reasoning_content)
    content = message.content or ()
    texts = [content] if isinstance(content, str) else [part.text for part in content]
    # For the next turn, a refusal is text like any other.
    yield from (Text(text) for text in (*texts, message.refusal) if text)
    for call in message.tool_calls or ():
        yield call.function.call(call.id)
    if message.function_call:
        yield message.function_call.call(message.function_call.name)
