"""Decodes OpenAI requests: `POST /v1/chat/completions` → ChatRequest; `GET /v1/models` has the models.

Server-side tools run without being visible to the caller; calls of the caller's own tools are sent as `tool_calls`.
https://platform.openai.com/docs/api-reference/chat
"""

import time
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from winterbourne.chat.core.messages import TOOL_CHOICE_AUTO, ChatRequest, OutputSchema, ReasoningEffort, ToolChoice
from winterbourne.chat.core.request_checks import available_models, resolve_model
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.formats.base import (
    ClientTool,
    Encoder,
    Function,
    Id,
    MaxTokens,
    ModelOptions,
    ResumedAnswer,
    ToolName,
)
from winterbourne.chat.formats.json_text import dumps
from winterbourne.chat.formats.openai.encode import OpenAiChunkEncoder, OpenAiCompletionEncoder
from winterbourne.chat.formats.openai.history import OpenAiMessage, decode_history
from winterbourne.chat.formats.repair import convert_body
from winterbourne.chat.settings import ModelSettings
from winterbourne.override import override

__all__ = ["decode", "field_of", "model_body", "models_body", "resume"]


UNSUPPORTED: Final[Mapping[str, tuple[Any, ...]]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "verbosity": ("medium",),
}
"""Parameters that are rejected, with the values that ask for nothing. What is not among them and has no field in the
body changes no answer and is passed over: `user`, `safety_identifier`, `service_tier`, `store`, `prompt_cache_key` and
`prompt_cache_retention`."""


class _Tool(msgspec.Struct, frozen=True):
    type: Literal["function"]
    function: ClientTool


class _NamedToolChoice(msgspec.Struct, frozen=True):
    type: Literal["function"]
    function: Function


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None


class _JsonSchema(msgspec.Struct, frozen=True):
    name: ToolName
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class _ResponseFormat(msgspec.Struct, frozen=True):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _JsonSchema | None = None


class _Metadata(msgspec.Struct, frozen=True):
    """The format's free-form fields; with `conversation_id` a caller names the conversation, to be able to stop it."""

    conversation_id: Id = ""


_Effort = ReasoningEffort | Literal["xhigh"]


class _Reasoning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As OpenRouter's clients send it, and those of Responses; `summary` is what is shown anyway."""

    effort: _Effort | None = None
    enabled: bool | None = None
    summary: Any = None


class _Body(ModelOptions, frozen=True, kw_only=True):
    messages: tuple[OpenAiMessage, ...]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_completion_tokens: MaxTokens | None = None
    reasoning_effort: _Effort | None = None
    reasoning: _Reasoning | None = None  # type: ignore[assignment]
    tools: tuple[_Tool, ...] | None = None
    tool_choice: Literal["auto", "none", "required"] | _NamedToolChoice | None = None
    response_format: _ResponseFormat | None = None
    metadata: _Metadata | None = None

    @override
    def options(self) -> dict[str, Any]:
        """As `ModelOptions.options`."""
        options = {**super().options(), "output": _output(self.response_format)}
        return {**options, "max_tokens": self.max_completion_tokens or self.max_tokens}


def _output(wanted: _ResponseFormat | None) -> OutputSchema | None:
    if not wanted or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return OutputSchema()
    if not (described := wanted.json_schema):
        raise RequestRejected(400, "invalid_request", "response_format.json_schema: needed for this type")
    schema, strict = described.schema or {}, bool(described.strict)
    return OutputSchema(schema=schema, name=described.name, description=described.description or "", strict=strict)


def _reject_unsupported_parameters(body: Mapping[str, Any]) -> None:
    """Reject parameters that would change the answer and are not implemented, unless they ask for nothing."""
    for name, harmless in UNSUPPORTED.items():
        if (value := body.get(name)) is not None and value not in harmless:
            only = f"only {dumps(harmless[0]).decode()} is" if harmless else "it is not"
            raise RequestRejected(400, "unsupported_parameter", f"{name}: {only} supported")
    tools, choice = body.get("tools"), body.get("tool_choice")
    for name, ones in (("tools", tools if isinstance(tools, list) else []), ("tool_choice", [choice])):
        if any(isinstance(one, dict) and one.get("type", "function") != "function" for one in ones):
            raise RequestRejected(400, "unsupported_parameter", f"{name}: only the type function is supported")


def _tool_choice(choice: str | _NamedToolChoice | None) -> ToolChoice:
    return choice.function.name if isinstance(choice, _NamedToolChoice) else choice or TOOL_CHOICE_AUTO


def _reasoning(body: _Body) -> ReasoningEffort | None:
    asked = body.reasoning or _Reasoning()
    switched: _Effort | None = None if asked.enabled is None else "medium" if asked.enabled else "none"
    effort = body.reasoning_effort or asked.effort or switched
    return "max" if effort == "xhigh" else effort


def models_body(settings: ModelSettings) -> bytes:
    """The body of `GET /v1/models`: the models that a caller may choose."""
    return dumps({"object": "list", "data": [*map(_model, available_models(settings))]})


def model_body(settings: ModelSettings, name: str) -> bytes:
    """The body of `GET /v1/models/{id}`.

    Raises:
        RequestRejected: 404 for a model that a caller may not choose.
    """
    resolve_model(name, settings)
    return dumps(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "winterbourne"}


def decode(body: dict[str, Any]) -> tuple[ChatRequest, Encoder]:
    """Decode a chat completion request. Without `stream`, the answer is a single JSON body."""
    _reject_unsupported_parameters(body)
    decoded = convert_body(body, _Body, OpenAiMessage)
    tools = tuple(tool.function.schema() for tool in decoded.tools or ())
    chat_request = ChatRequest(
        messages=tuple(decode_history(decoded.messages)),
        conversation_id=decoded.metadata.conversation_id if decoded.metadata else "",
        model_id=decoded.model,
        **{**decoded.options(), "reasoning": _reasoning(decoded)},
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


def resume(answer: ResumedAnswer) -> OpenAiChunkEncoder:
    """The answer as a stream, whether or not it was asked for as one. How the caller named the model is not known."""
    return OpenAiChunkEncoder("", answer.client_tools, include_usage=False, created=int(time.time()))


def field_of(option: str) -> str:
    """The field of a body in which a client sends an option."""
    return {"output": "response_format", "reasoning": "reasoning_effort"}.get(option, option)
