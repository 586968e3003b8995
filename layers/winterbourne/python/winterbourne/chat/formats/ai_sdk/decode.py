"""Decodes AI SDK chat requests: `POST /api/chat`, as `useChat` sends them, → ChatRequest."""

from collections.abc import Container, Sequence
from typing import Any, Final

import msgspec

from winterbourne.chat.core.messages import AssistantMessage, ChatRequest, Message, ToolMessage, ToolSchema
from winterbourne.chat.formats.ai_sdk.encode import AiSdkEncoder
from winterbourne.chat.formats.ai_sdk.history import UIMessage, decode_history
from winterbourne.chat.formats.base import Id, MaxTokens, Temperature, ToolName
from winterbourne.chat.formats.json_text import dumps

__all__ = ["FORMAT", "AiSdkFormat"]


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
    last_turn_index = max(
        (index for index, message in enumerate(messages) if isinstance(message, AssistantMessage)), default=-1
    )
    return tuple(m for m in messages[last_turn_index + 1 :] if not isinstance(m, ToolMessage) or m.name in tools)


class AiSdkFormat:
    """AI SDK UI message stream."""

    path = "/api/chat"

    def decode(self, body: dict[str, Any]) -> tuple[ChatRequest, AiSdkEncoder]:
        """Decode a `useChat` request. With `store`, only the new messages are taken from `messages`."""
        decoded = msgspec.convert(body, _Body)
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

    def error_body(self, _status: int, code: str, message: str) -> bytes:
        """`{"error":{"code","message"}}`; the SDK shows the whole body as the error's message."""
        return b'{"error":{"code":%b,"message":%b}}' % (dumps(code), dumps(message))


FORMAT: Final = AiSdkFormat()
