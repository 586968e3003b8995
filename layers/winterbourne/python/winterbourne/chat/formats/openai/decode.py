"""Decodes OpenAI requests: `POST /v1/chat/completions` → ChatRequest; `GET /v1/models` lists the models.

Server-side tools run without being visible to the caller; calls of the caller's own tools are sent as `tool_calls`.
https://platform.openai.com/docs/api-reference/chat
"""

import time
from typing import Any, Final, Literal

import msgspec

from winterbourne.chat.core.messages import TOOL_CHOICE_AUTO, ChatRequest, ToolChoice
from winterbourne.chat.core.request_checks import available_models
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.formats.base import ClientTool, Encoder, Format, Id, MaxTokens, ModelOptions, ResumedAnswer
from winterbourne.chat.formats.json_text import dumps
from winterbourne.chat.formats.openai.encode import OpenAiChunkEncoder, OpenAiCompletionEncoder, encode_error_response
from winterbourne.chat.formats.openai.history import OpenAiMessage, decode_history
from winterbourne.chat.formats.repair import convert_body
from winterbourne.chat.settings import ModelSettings

__all__ = ["FORMAT", "models_body"]


class _Tool(msgspec.Struct, frozen=True):
    type: Literal["function"]
    function: ClientTool


class _FunctionName(msgspec.Struct, frozen=True):
    name: Id


class _NamedToolChoice(msgspec.Struct, frozen=True):
    type: Literal["function"]
    function: _FunctionName


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None


class _ResponseFormat(msgspec.Struct, frozen=True):
    type: str


class _Metadata(msgspec.Struct, frozen=True):
    """The format's free-form fields; with `conversation_id` a caller names the conversation, to be able to stop it."""

    conversation_id: Id = ""


class _Body(ModelOptions, frozen=True, kw_only=True):
    messages: tuple[OpenAiMessage, ...]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_completion_tokens: MaxTokens | None = None
    tools: tuple[_Tool, ...] | None = None
    tool_choice: Literal["auto", "none", "required"] | _NamedToolChoice | None = None
    n: int | None = None
    response_format: _ResponseFormat | None = None
    metadata: _Metadata | None = None


def _reject_unsupported_parameters(body: _Body) -> None:
    """Reject parameters that would change the shape of the answer and are not implemented."""
    if body.n not in {None, 1}:
        raise RequestRejected(400, "unsupported_parameter", "n: only 1 is supported")
    if body.response_format and body.response_format.type != "text":
        raise RequestRejected(400, "unsupported_parameter", "response_format: only the type text is supported")


def _tool_choice(choice: str | _NamedToolChoice | None) -> ToolChoice:
    return choice.function.name if isinstance(choice, _NamedToolChoice) else choice or TOOL_CHOICE_AUTO


def models_body(settings: ModelSettings) -> bytes:
    """The body of `GET /v1/models`: the models that a caller may choose."""
    names = available_models(settings)
    models = [{"id": name, "object": "model", "created": 0, "owned_by": "winterbourne"} for name in names]
    return dumps({"object": "list", "data": models})


def decode(body: dict[str, Any]) -> tuple[ChatRequest, Encoder]:
    """Decode a chat completion request. Without `stream`, the answer is a single JSON body."""
    decoded = convert_body(body, _Body, OpenAiMessage)
    _reject_unsupported_parameters(decoded)
    tools = tuple(tool.function.schema() for tool in decoded.tools or ())
    chat_request = ChatRequest(
        messages=tuple(decode_history(decoded.messages)),
        conversation_id=decoded.metadata.conversation_id if decoded.metadata else "",
        model_id=decoded.model,
        temperature=decoded.temperature,
        max_tokens=decoded.max_completion_tokens or decoded.max_tokens,
        tool_choice=_tool_choice(decoded.tool_choice),
        client_tools=tools,
        retractable="nothing" if tools and decoded.stream else "calls" if decoded.stream else "everything",
    )
    return chat_request, _make_encoder(decoded, frozenset(tool.name for tool in tools))


def _make_encoder(body: _Body, client_tools: frozenset[str]) -> Encoder:
    model, created = body.model or "", int(time.time())
    if not body.stream:
        return OpenAiCompletionEncoder(model, client_tools, created)
    include_usage = bool(body.stream_options and body.stream_options.include_usage)
    return OpenAiChunkEncoder(model, client_tools, include_usage, created)


def _resume(answer: ResumedAnswer) -> OpenAiChunkEncoder:
    """The answer as a stream, whether or not it was asked for as one. How the caller named the model is not known."""
    return OpenAiChunkEncoder("", answer.client_tools, include_usage=False, created=int(time.time()))


FORMAT: Final = Format("/v1/chat/completions", decode, encode_error_response, resume=_resume)
"""OpenAI chat completions, streaming or not."""
