"""Decodes AI SDK chat requests: `POST /api/chat`, as `useChat` sends them, → ChatRequest."""

from collections.abc import Container, Sequence
from typing import Any, Final

import msgspec

from winterbourne.chat.core.history import Id, MaxTokens, Temperature, ToolName, bounded, checked, settled
from winterbourne.chat.core.messages import AssistantMessage, ChatRequest, Message, ToolMessage, ToolSchema
from winterbourne.chat.formats.ai_sdk.encode import AiSdkEncoder
from winterbourne.chat.formats.ai_sdk.history import UIMessage, history
from winterbourne.chat.formats.json_text import quoted
from winterbourne.chat.formats.model_choices import chosen
from winterbourne.chat.http.request import Request, parse
from winterbourne.chat.settings import Settings

__all__ = ["FRONTEND", "AiSdk"]


class _Tool(msgspec.Struct, frozen=True):
    """A tool of the frontend, under its name, as assistant-ui sends them."""

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


def _continued(messages: tuple[UIMessage, ...]) -> str:
    """The id of the answer that goes on after the frontend has run its own tools, or nothing."""
    return messages[-1].id if messages and messages[-1].role == "assistant" else ""


def _new(messages: Sequence[Message], tools: Container[str]) -> tuple[Message, ...]:
    """Of a history, what the store cannot have: what came after the last turn, but for results of our own tools."""
    last = max((at for at, message in enumerate(messages) if isinstance(message, AssistantMessage)), default=-1)
    return tuple(m for m in messages[last + 1 :] if not isinstance(m, ToolMessage) or m.name in tools)


class AiSdk:
    """The UI message stream."""

    path = "/api/chat"

    def read(self, request: Request, settings: Settings) -> tuple[ChatRequest, AiSdkEncoder]:
        """See `Frontend.read`. With `store`, only what is new in `messages` is taken from them."""
        body = parse(request.json_object(settings), _Body)
        tools = body.tools or {}
        messages = bounded(history(body.messages), settings)
        chat = ChatRequest(
            messages=_new(messages, tools) if body.store else settled(messages),
            conversation_id=body.id,
            message_id=_continued(body.messages),
            store=body.store,
            system=body.system,
            model_id=chosen(body.model, settings),
            temperature=body.temperature,
            max_tokens=body.max_tokens,
            client_tools=tuple(ToolSchema(name, t.description or "", t.parameters) for name, t in tools.items()),
        )
        return checked(chat, settings), AiSdkEncoder(frozenset(tools))

    def error_body(self, _status: int, code: str, message: str) -> bytes:
        """`{"error":{"code","message"}}`; the SDK shows the whole body as the error's message."""
        return b'{"error":{"code":%b,"message":%b}}' % (quoted(code), quoted(message))


FRONTEND: Final = AiSdk()
