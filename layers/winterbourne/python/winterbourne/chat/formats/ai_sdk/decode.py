"""Decodes AI SDK chat requests: `POST /api/chat`, as `useChat` sends them, → ChatRequest."""

from collections.abc import Container, Sequence
from typing import Any, Final

import msgspec

from winterbourne.chat.core.messages import AssistantMessage, ChatRequest, Message, ToolMessage, ToolSchema
from winterbourne.chat.formats.ai_sdk.encode import AiSdkEncoder
from winterbourne.chat.formats.ai_sdk.history import UIMessage, decode_history
from winterbourne.chat.formats.base import Format, Id, MaxTokens, Temperature, ToolName, encode_text_error
from winterbourne.chat.formats.repair import convert_body

__all__ = ["FORMAT"]


class _Tool(msgspec.Struct, frozen=True):
    """A client tool in the shape that assistant-ui sends; its name is the key in `tools`."""

    parameters: dict[str, Any]
    description: str | None = None


class _Body(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    messages: tuple[UIMessage, ...]
    id: Id = ""
    system: str | None = None
    model: Id | None = None
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None
    tools: dict[ToolName, _Tool] | None = None
    store: bool = False


def _continued_message_id(messages: tuple[UIMessage, ...]) -> str:
    """The id of the answer that continues after the client has run its own tools; empty for a new answer."""
    return messages[-1].id if messages and messages[-1].role == "assistant" else ""


def _new_messages(messages: Sequence[Message], tools: Container[str]) -> tuple[Message, ...]:
    """The messages not yet in the store: those after the last assistant turn, except results of server-side tools."""
    turns = [index for index, message in enumerate(messages) if isinstance(message, AssistantMessage)]
    new = messages[turns[-1] + 1 :] if turns else messages
    return tuple(m for m in new if not isinstance(m, ToolMessage) or m.name in tools)


def decode(body: dict[str, Any]) -> tuple[ChatRequest, AiSdkEncoder]:
    """Decode a `useChat` request. With `store`, only the new messages are taken from `messages`."""
    decoded = convert_body(body, _Body, UIMessage)
    tools = decoded.tools or {}
    messages = tuple(decode_history(decoded.messages))
    chat_request = ChatRequest(
        messages=_new_messages(messages, tools) if decoded.store else messages,
        conversation_id=decoded.id,
        message_id=_continued_message_id(decoded.messages),
        store=decoded.store,
        system=decoded.system,
        model_id=decoded.model,
        temperature=decoded.temperature,
        max_tokens=decoded.max_tokens,
        client_tools=tuple(ToolSchema(name, t.description or "", t.parameters) for name, t in tools.items()),
    )
    return chat_request, AiSdkEncoder(frozenset(tools))


FORMAT: Final = Format("/api/chat", decode, encode_text_error, resume=lambda answer: AiSdkEncoder(answer.client_tools))
"""AI SDK UI message stream."""
