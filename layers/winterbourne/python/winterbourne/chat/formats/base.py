"""The interface of a wire format: a `Format` decodes request bodies, its `Encoder` encodes the events of one answer.

Both are sans-I/O: plain functions from values to values. The service uses nothing else of a format. The constrained
types and the small structs are for what decoders convert bodies to.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Annotated, Any, Final, Literal, Protocol

import msgspec
from msgspec import UNSET, Meta, UnsetType

from winterbourne.chat.core.events import EventBatch
from winterbourne.chat.core.messages import (
    ApprovalKind,
    ChatRequest,
    Message,
    Opaque,
    OutputSchema,
    Reasoning,
    ReasoningEffort,
    Retractable,
    ToolCall,
    ToolSchema,
    Usage,
)
from winterbourne.chat.core.messages import ModelOptions as CoreOptions
from winterbourne.chat.formats.json_text import dumps
from winterbourne.override import override

__all__ = [
    "CamelOptions",
    "ClientTool",
    "Encoder",
    "Format",
    "Function",
    "FunctionCall",
    "Id",
    "MaxTokens",
    "ModelOptions",
    "OpaqueData",
    "ResumedAnswer",
    "System",
    "Temperature",
    "TextPart",
    "ToolName",
    "camel_case",
    "encode_json_error",
    "encode_text_error",
    "encode_usage",
    "explain_failure",
    "on_first_use",
]

_OPTIONS: Final = CoreOptions.__struct_fields__
_TWO_FIELDS: Final = {
    "max_tokens": "maxTokens, or maxOutputTokens",
    "stop": "stop, or stopSequences",
    "output": "schema, or responseFormat",
}
"""The options that clients of the AI SDK name in two ways."""

Id = Annotated[str, Meta(max_length=200)]
ToolName = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}\Z")]  # accepted by every provider
Temperature = Annotated[float, Meta(ge=0, le=2)]
MaxTokens = Annotated[int, Meta(ge=1)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
StopText = Annotated[str, Meta(min_length=1)]


class TextPart(msgspec.Struct, frozen=True, tag="text"):
    """A part of a message's content, in the formats that have such parts."""

    text: str


class System(msgspec.Struct, frozen=True, tag="system", tag_field="role"):
    """A system message, in the formats whose instructions are plain text."""

    content: str


class OpaqueData(msgspec.Struct, frozen=True):
    """What is opaque in a part, for a format that sends it to the client and gets it back: see `Reasoning`."""

    signature: str = ""
    redacted: str = ""
    opaque: Opaque | UnsetType = UNSET

    def reasoning(self, text: str) -> Reasoning:
        """The block of reasoning with this text."""
        return Reasoning(text, self.signature, self.redacted, self.opaque)


class ModelOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a body by which a client chooses how the model answers."""

    model: Id | None = None
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None
    reasoning: ReasoningEffort | None = None
    top_p: Probability | None = None
    stop: StopText | tuple[StopText, ...] | None = None
    seed: Seed | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    parallel_tool_calls: bool | None = None

    def options(self) -> dict[str, Any]:
        """The options of a `ChatRequest`; None for those that are not set or that the format has no field for."""
        values = {name: getattr(self, name, None) for name in _OPTIONS}
        schema, stop = getattr(self, "schema", None), (self.stop,) if isinstance(self.stop, str) else self.stop or None
        return {**values, "stop": stop, "output": None if schema is None else OutputSchema(schema=schema)}


class _ResponseFormat(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    type: Literal["text", "json"]
    schema: dict[str, Any] | None = None
    name: ToolName = "response"
    description: str = ""


class CamelOptions(ModelOptions, frozen=True, kw_only=True, rename="camel"):
    """The same, in the words of the AI SDK."""

    max_tokens: MaxTokens | None = None
    max_output_tokens: MaxTokens | None = None
    top_p: Probability | None = None
    stop_sequences: tuple[StopText, ...] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    parallel_tool_calls: bool | None = None
    response_format: _ResponseFormat | None = None
    schema: dict[str, Any] | None = None

    @override
    def options(self) -> dict[str, Any]:
        """As `ModelOptions.options`."""
        options, wanted = super().options(), self.response_format
        options["max_tokens"] = self.max_tokens or self.max_output_tokens
        options["stop"] = options["stop"] or self.stop_sequences or None
        if wanted and wanted.type == "json" and not options["output"]:
            options["output"] = OutputSchema(schema=wanted.schema, name=wanted.name, description=wanted.description)
        return options


class Function(msgspec.Struct, frozen=True):
    """The function that a model called, in OpenAI's words; `arguments` is JSON text, from some clients an object."""

    name: str
    arguments: str | dict[str, Any] | None = None

    def call(self, call_id: str, opaque: Opaque | UnsetType = UNSET) -> ToolCall:
        """The call of this function."""
        text = self.arguments if isinstance(self.arguments, str) else dumps(self.arguments or {}).decode()
        return ToolCall(call_id, self.name, text, opaque)


class FunctionCall(msgspec.Struct, frozen=True):
    """A tool call of the model, in OpenAI's words. Its id is as long as its provider made it."""

    id: Annotated[str, Meta(min_length=1)]
    function: Function


class ClientTool(msgspec.Struct, frozen=True):
    """A tool that the client runs, in OpenAI's words; without `parameters` it has none."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None

    def schema(self) -> ToolSchema:
        """The tool as it is described to a model."""
        return ToolSchema(self.name, self.description or "", self.parameters or {"type": "object", "properties": {}})


class Encoder(Protocol):
    """Encodes the events of one answer as bytes. Stateful: made for one answer and discarded after it."""

    @property
    def status(self) -> int:
        """The HTTP status of the answer. Final only once `encode` has returned its first non-empty bytes."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The response headers, including `content-type`; names are lower case."""

    @property
    def heartbeat(self) -> bytes:
        """Bytes to write while no events arrive; empty if the format has no heartbeat."""

    def encode(self, batch: EventBatch, /) -> bytes:
        """Encode a batch of events; the result may be empty.

        The first non-empty bytes start the response: a stream returns some for the first event, a non-streaming
        answer only for the terminal event. No event may follow a terminal event. An empty batch means that the
        heartbeat follows: an encoder that holds frames back returns them.
        """


class ResumedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is sent again, from its start, to a client that comes back or comes later.

    Attributes:
        conversation_id: As the client named it when the answer began.
        client_tools: Names of the tools that the client runs, as the request had them.
        approvals: What the client could ask a person, as the request said.
        retractable: What it could have taken back, likewise.
        history: The messages kept before the answer, its question included, for a format that `shows_history`; None if
            the conversation is not kept.
        encoder: The encoder that `decode` made for the request that reconnects; None if it is a GET.
    """

    conversation_id: str
    client_tools: frozenset[str] = frozenset()
    approvals: ApprovalKind = "none"
    retractable: Retractable = "nothing"
    history: Sequence[Message] | None = None
    encoder: Encoder | None = None


class Format(msgspec.Struct, frozen=True):
    """One wire format.

    Attributes:
        path: The path of its POST endpoint, such as `/plain`.
        decode: Decodes the JSON object of a request, and creates the encoder for its answer. It checks shapes only;
            limits and options are checked against the settings afterwards, the same for all formats. Messages are in
            the client's order, not normalized; the model is the one that the client named. Raises
            msgspec.ValidationError if the body has another shape (the caller gets 400, and the message names the
            field), or RequestRejected for what msgspec does not find.
        encode_error: Encodes (status, code, message, request id) of a non-200 response as its content type and body,
            in the shape that this format's clients expect.
        resume: Makes an encoder for an answer that is sent again, at `GET {path}/{id}/stream`; None if the format
            cannot do that. It has the headers and frames that the first encoder had.
        field_of: The field of a body in which a client sends an option of a `ChatRequest`, for what it is told of it.
        limits_tokens: Whether the deployment's limit takes the place of a larger `max_tokens`, which is else rejected.
        numbers_frames: Whether the frames of such a stream are numbered by an SSE `id:`, one for each event that
            `encode` returns bytes for, and a client may ask for those after the last it has.
        shows_history: Whether such a stream begins with what was kept before the answer; of a kept answer that has
            ended, it then has nothing else.
    """

    path: str
    decode: Callable[[dict[str, Any]], tuple[ChatRequest, Encoder]]
    encode_error: Callable[[int, str, str, str], tuple[str, bytes]]
    resume: Callable[[ResumedAnswer], Encoder] | None = None
    field_of: Callable[[str], str] = str
    limits_tokens: bool = False
    numbers_frames: bool = False
    shows_history: bool = False


def on_first_use(module: str, name: str) -> Callable[..., Any]:
    """A function of a module that is imported when it is first called: few deployments are asked in every format."""

    def call(*arguments: Any) -> Any:
        return getattr(import_module(module), name)(*arguments)

    return call


def camel_case(option: str) -> str:
    """An option's field, or fields, in the words of the AI SDK."""
    first, *others = option.split("_")
    return _TWO_FIELDS.get(option) or "".join([first, *(word.capitalize() for word in others)])


def encode_json_error(_status: int, code: str, message: str, request_id: str) -> tuple[str, bytes]:
    """`{"error":{"code","message","request_id"}}`, for clients that are programs."""
    return "application/json", dumps({"error": {"code": code, "message": message, "request_id": request_id}})


def encode_text_error(_status: int, _code: str, message: str, request_id: str) -> tuple[str, bytes]:
    """The message as text, for clients that show the body as it is; the code is in `x-error-code`."""
    return "text/plain; charset=utf-8", explain_failure(message, request_id).encode(errors="replace")


_USAGE_NAMES: Final = {
    "input": "inputTokens",
    "output": "outputTokens",
    "cached": "cachedInputTokens",
    "cache_write": "cacheWriteInputTokens",
    "reasoning": "reasoningTokens",
    "cost": "cost",
}


def encode_usage(usage: Usage) -> dict[str, float]:
    """Token counts in the words that the AI SDK and AG-UI share; the cost, which both allow, in dollars."""
    return {_USAGE_NAMES[name]: count for name, count in msgspec.to_builtins(usage).items()}


def explain_failure(message: str, request_id: str) -> str:
    """The message with the request id in it, for clients that show nothing else."""
    return f"{message} (request {request_id})" if request_id else message
