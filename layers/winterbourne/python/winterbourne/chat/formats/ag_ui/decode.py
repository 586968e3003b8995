"""Decodes AG-UI run requests: `POST /agui` → ChatRequest."""

from typing import Any, Final

import msgspec

from winterbourne.chat.core.history import Id, ToolName, bounded, checked, settled
from winterbourne.chat.core.messages import ChatRequest, Text, ToolSchema, UserMessage
from winterbourne.chat.formats.ag_ui.encode import AgUiEncoder
from winterbourne.chat.formats.ag_ui.history import AgUiMessage, history
from winterbourne.chat.formats.json_text import quoted
from winterbourne.chat.http.request import Request, parse
from winterbourne.chat.settings import Settings

__all__ = ["FRONTEND", "AgUi"]


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


def _told(context: tuple[_Context, ...]) -> tuple[UserMessage, ...]:
    """What the page wants known, as one message. It comes from the user's side and has no more say than the user."""
    lines = [f"{entry.description}: {entry.value}" for entry in context]
    return (UserMessage((Text("\n".join(lines)),)),) if lines else ()


def _schema(tool: _Tool) -> ToolSchema:
    return ToolSchema(tool.name, tool.description, tool.parameters or {"type": "object", "properties": {}})


class AgUi:
    """AG-UI over server-sent events."""

    path = "/agui"

    def read(self, request: Request, settings: Settings) -> tuple[ChatRequest, AgUiEncoder]:
        """See `Frontend.read`. The page's own tools come along in `tools`."""
        body = parse(request.json_object(settings), _Body)
        chat = ChatRequest(
            messages=(*_told(body.context), *settled(bounded(history(body.messages), settings))),
            conversation_id=body.thread_id,
            client_tools=tuple(_schema(tool) for tool in body.tools),
        )
        return checked(chat, settings), AgUiEncoder(body.thread_id, body.run_id)

    def error_body(self, _status: int, code: str, message: str) -> bytes:
        """`{"error":{"code","message"}}`; the client shows it as it is."""
        return b'{"error":{"code":%b,"message":%b}}' % (quoted(code), quoted(message))


FRONTEND: Final = AgUi()
