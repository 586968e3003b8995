"""Decodes AG-UI run requests: `POST /agui` → ChatRequest."""

from typing import Any, Final

import msgspec

from winterbourne.chat.core.history import Id, ToolName, limit_messages, normalize_history, validate_history
from winterbourne.chat.core.messages import ChatRequest, Text, ToolSchema, UserMessage
from winterbourne.chat.formats.ag_ui.encode import AgUiEncoder
from winterbourne.chat.formats.ag_ui.history import AgUiMessage, decode_history
from winterbourne.chat.formats.json_text import dumps_str
from winterbourne.chat.http.request import Request, parse_struct
from winterbourne.chat.settings import Settings

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

    def decode(self, request: Request, settings: Settings) -> tuple[ChatRequest, AgUiEncoder]:
        """Decode a run request; its `tools` are the client's own."""
        body = parse_struct(request.json_object(settings), _Body)
        chat_request = ChatRequest(
            messages=(
                *_context_messages(body.context),
                *normalize_history(limit_messages(decode_history(body.messages), settings)),
            ),
            conversation_id=body.thread_id,
            client_tools=tuple(_tool_schema(tool) for tool in body.tools),
        )
        return validate_history(chat_request, settings), AgUiEncoder(body.thread_id, body.run_id)

    def error_body(self, _status: int, code: str, message: str) -> bytes:
        """`{"error":{"code","message"}}`; the client shows it unchanged."""
        return b'{"error":{"code":%b,"message":%b}}' % (dumps_str(code), dumps_str(message))


FORMAT: Final = AgUiFormat()
