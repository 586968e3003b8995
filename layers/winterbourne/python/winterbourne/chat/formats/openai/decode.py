"""OpenAI chat completions, `POST /v1/chat/completions` and `GET /v1/models`.

Our own tools run inside and show nothing of themselves; calls of the caller's tools go out as `tool_calls`.
https://platform.openai.com/docs/api-reference/chat
"""

import time
from typing import Any, Final, Literal

import msgspec

from winterbourne.chat.core.history import Id, MaxTokens, Temperature, ToolName, bounded, checked, settled
from winterbourne.chat.core.messages import AUTO, ChatRequest, ToolChoice, ToolSchema
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.formats.base import Encoder
from winterbourne.chat.formats.json_text import written
from winterbourne.chat.formats.model_choices import chosen, offered
from winterbourne.chat.formats.openai.encode import OpenAiEncoder, OpenAiWhole, error
from winterbourne.chat.formats.openai.history import OpenAiMessage, history
from winterbourne.chat.http.request import Request, parse
from winterbourne.chat.settings import Settings

__all__ = ["FRONTEND", "OpenAi", "models_body"]

# The body


class _Function(msgspec.Struct, frozen=True):
    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Tool(msgspec.Struct, frozen=True):
    type: Literal["function"]
    function: _Function


class _Named(msgspec.Struct, frozen=True):
    name: Id


class _Choice(msgspec.Struct, frozen=True):
    type: Literal["function"]
    function: _Named


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None


class _Format(msgspec.Struct, frozen=True):
    type: str


class _Metadata(msgspec.Struct, frozen=True):
    """Free fields of the format; under this name a caller may give the conversation an id, to stop it by."""

    conversation_id: Id = ""


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    messages: tuple[OpenAiMessage, ...]
    model: Id | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None
    max_completion_tokens: MaxTokens | None = None
    tools: tuple[_Tool, ...] | None = None
    tool_choice: Literal["auto", "none", "required"] | _Choice | None = None
    n: int | None = None
    response_format: _Format | None = None
    metadata: _Metadata | None = None


def _refuse_what_we_cannot(body: _Body) -> None:
    """Options that would change the answer's shape, and that nobody here heeds."""
    if body.n not in {None, 1}:
        raise RequestRejected(400, "unsupported_parameter", "n: only one choice is given")
    if body.response_format and body.response_format.type != "text":
        raise RequestRejected(400, "unsupported_parameter", "response_format: only text is given")


def _schema(tool: _Tool) -> ToolSchema:
    function = tool.function
    parameters = function.parameters or {"type": "object", "properties": {}}
    return ToolSchema(function.name, function.description or "", parameters, bool(function.strict))


def _choice(choice: str | _Choice | None) -> ToolChoice:
    return choice.function.name if isinstance(choice, _Choice) else choice or AUTO


def models_body(settings: Settings) -> bytes:
    """What `GET /v1/models` answers: the models a caller may choose from."""
    models = [{"id": name, "object": "model", "created": 0, "owned_by": "winterbourne"} for name in offered(settings)]
    return written({"object": "list", "data": models})


class OpenAi:
    """Chat completions, as a stream or in one piece."""

    path = "/v1/chat/completions"

    def read(self, request: Request, settings: Settings) -> tuple[ChatRequest, Encoder]:
        """See `Frontend.read`. A request without `stream` is answered in one piece."""
        body = parse(request.json_object(settings), _Body)
        _refuse_what_we_cannot(body)
        tools = tuple(_schema(tool) for tool in body.tools or ())
        chat = ChatRequest(
            messages=settled(bounded(history(body.messages), settings)),
            conversation_id=body.metadata.conversation_id if body.metadata else "",
            model_id=chosen(body.model, settings),
            temperature=body.temperature,
            max_tokens=body.max_completion_tokens or body.max_tokens,
            tool_choice=_choice(body.tool_choice),
            client_tools=tools,
        )
        return checked(chat, settings), _encoder(body, frozenset(tool.name for tool in tools))

    def error_body(self, status: int, code: str, message: str) -> bytes:
        """`{"error":{"message","type","param","code"}}`, as the SDKs read it."""
        return error(status, code, message)


def _encoder(body: _Body, tools: frozenset[str]) -> Encoder:
    model, created = body.model or "", int(time.time())
    if not body.stream:
        return OpenAiWhole(model, tools, created=created)
    with_usage = bool(body.stream_options and body.stream_options.include_usage)
    return OpenAiEncoder(model, tools, with_usage=with_usage, created=created)


FRONTEND: Final = OpenAi()
