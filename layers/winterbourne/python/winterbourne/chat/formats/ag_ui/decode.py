"""Decodes AG-UI run requests: `POST /agui` → ChatRequest."""

from typing import Any, Final

import msgspec

from winterbourne.chat.core.messages import ChatRequest, Text, ToolSchema, UserMessage
from winterbourne.chat.formats.ag_ui.encode import AgUiEncoder
from winterbourne.chat.formats.ag_ui.history import AgUiMessage, decode_history
from winterbourne.chat.formats.base import Id, ToolName
from winterbourne.chat.formats.json_text import dumps

__all__ = ["FORMAT", "AgUiFormat"]


class _Tool(msgspec.Struct, frozen=True):
    name: ToolName
    description: str = ""
    parameters: dict[str, Any] | None = None


class _Context(msgspec.Struct, frozen=True):
    description: str
    value: str


class _Body(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    messages: tuple[AgUiMessage, ...]
    thread_id: Id = ""
    run_id: Id = ""
    tools: tuple[_Tool, ...] = ()
    context: tuple[_Context, ...] = ()


def _context_messages(context: tuple[_Context, ...]) -> tuple[UserMessage, ...]:
    """The client's context as one user message: it comes from the user's side, with the user's authority only."""
    lines = [f"{entry.description}: {entry.value}" for entry in context]
    return (UserMessage((Text("\n".join(lines)),)),) if lines else ()


def _tool_schema(tool: _Tool) -> ToolSchema:
    return ToolSchema(tool.name, tool.description, tool.parameters or {"type": "object", "properties": {}})


class AgUiFormat:
    """AG-UI over server-sent events."""

    path = "/agui"

    def decode(self, body: dict[str, Any]) -> tuple[ChatRequest, AgUiEncoder]:
        """Decode a run request; its `tools` are the client's own."""
        decoded = msgspec.convert(body, _Body)
        chat_request = ChatRequest(
            messages=(*_context_messages(decoded.context), *decode_history(decoded.messages)),
            conversation_id=decoded.thread_id,
            client_tools=tuple(_tool_schema(tool) for tool in decoded.tools),
        )
        return chat_request, AgUiEncoder(decoded.thread_id, decoded.run_id)

    def error_body(self, _status: int, code: str, message: str) -> bytes:
        """`{"error":{"code","message"}}`; the client shows it unchanged."""
        return b'{"error":{"code":%b,"message":%b}}' % (dumps(code), dumps(message))


FORMAT: Final = AgUiFormat()
