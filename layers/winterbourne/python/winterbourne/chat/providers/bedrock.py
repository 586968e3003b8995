"""Provider for Amazon Bedrock's ConverseStream, for every model that Bedrock offers.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
"""

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar, Final
from urllib.parse import quote

import msgspec
import orjson

from winterbourne.chat.core.documents import DOCUMENT_TYPES, PDF, document_type
from winterbourne.chat.core.events import Usage
from winterbourne.chat.core.messages import (
    AssistantPart,
    Document,
    Image,
    Reasoning,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UserPart,
)
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.errors import ModelGarbled
from winterbourne.chat.http_library import httpx
from winterbourne.chat.infra import redaction
from winterbourne.chat.infra.event_stream import EventStreamDecoder, EventStreamMessage
from winterbourne.chat.infra.sigv4 import sign
from winterbourne.chat.infra.telemetry import measure
from winterbourne.chat.providers.caching import Blocks, mark_prompt, split_system
from winterbourne.chat.providers.errors import ErrorHints, mid_stream_error, parse_body
from winterbourne.chat.providers.history import offered_tools, to_alternating_messages
from winterbourne.chat.providers.http_provider import HttpProvider, tool_call_ids
from winterbourne.chat.providers.lessons import Learned
from winterbourne.chat.providers.provider_config import configure, parse_guardrail
from winterbourne.chat.providers.reasoning import BINDING_BETA, fit_reasoning
from winterbourne.chat.providers.stream_parser import (
    FrameDecoder,
    StreamParser,
    decode_leniently,
    encode_arguments,
    text_of,
    token_count,
)
from winterbourne.chat.settings import ModelSettings
from winterbourne.override import override

__all__ = ["BedrockParser", "BedrockProvider", "make"]

DEFAULT_MODEL: Final = "global.amazon.nova-2-lite-v1:0"  # in every region, without an access request
_ACCESS_HINT: Final = "the role's permission to ask the model (parameters ModelId and BedrockModels of the template)"
_MARKABLE: Final = frozenset({"text", "image", "toolResult"})  # not after a document
_MODEL_OPTIONS: Final = "additionalModelRequestFields"
_UNANSWERED: Final = "(no answer)"
_NO_WORDS: Final = "(a document without words)"
_MAX_NAME_CHARS: Final = 190  # of 200, so that a number fits behind
_CREDENTIALS_HINT: Final = "the AWS credentials"
_MAX_TRACE_DEPTH: Final = 8
_MAX_TRACE_CHARS: Final = 500

_LOGGER: Final = logging.getLogger(__name__)


def _encode_tool_result(message: ToolMessage) -> dict[str, Any]:
    status = "error" if message.is_error else "success"
    return {"toolResult": {"toolUseId": message.tool_call_id, "content": [{"text": message.content}], "status": status}}


def _encode_block(part: UserPart | AssistantPart, *, cites: bool) -> dict[str, Any] | None:  # noqa: PLR0911 - one for each part
    match part:
        case Text(text):
            return {"text": text} if text.strip() else None  # blank text is rejected
        case Image():
            return _encode_image(part)
        case Document():
            return _encode_document(part, cites=cites)
        case ToolCall(id, name, arguments):
            return {"toolUse": {"toolUseId": id, "name": name, "input": orjson.Fragment(arguments)}}
        case Reasoning(_, _, redacted) if redacted:
            return {"reasoningContent": {"redactedContent": redacted}}
        case Reasoning(text, signature) if signature:
            return {"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}}
    return None  # reasoning of another provider


def _encode_image(image: Image) -> dict[str, Any]:
    if image.url:  # in a history that was stored under another provider
        return {"text": "[an image that cannot be shown to this model]"}
    kind = image.media_type.removeprefix("image/")
    return {"image": {"format": "jpeg" if kind == "jpg" else kind, "source": {"bytes": image.data}}}


def _encode_document(document: Document, *, cites: bool) -> dict[str, Any]:
    kind = DOCUMENT_TYPES[document_type(document.media_type, document.name)]
    fields = {"format": kind, "name": _clean_name(document.name), "source": {"bytes": document.data}}
    return {"document": fields | ({"citations": {"enabled": True}} if cites else {})}


def _clean_name(name: str) -> str:
    """A document's name in the signs that are allowed; the model reads it."""
    stem = name.rpartition(".")[0] or name
    return " ".join(re.sub(r"[^a-zA-Z0-9()\[\]-]+", " ", stem).split())[:_MAX_NAME_CHARS].strip() or "document"


def _fit_document_turns(turns: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Messages within the rules for documents: their names differ, text is beside them, and no tool's result."""
    names: set[str] = set()
    for turn in turns:
        blocks = turn["content"]
        documents = [block["document"] for block in blocks if "document" in block]
        for document in documents:
            name, number = document["name"], 1
            while document["name"] in names:
                number += 1
                document["name"] = f"{name} ({number})"
            names.add(document["name"])
        results = [block for block in blocks if "toolResult" in block]
        if documents and results:
            yield turn | {"content": results}
            yield {"role": "assistant", "content": [{"text": _UNANSWERED}]}
            blocks = [block for block in blocks if "toolResult" not in block]
        if documents and not any("text" in block for block in blocks):
            blocks = [*blocks, {"text": _NO_WORDS}]
        yield turn | {"content": blocks}


def _encode_tools(tools: Sequence[ToolSchema], choice: str) -> dict[str, Any]:
    kinds: dict[str, Any] = {"auto": {"auto": {}}, "none": {"auto": {}}, "required": {"any": {}}}
    fields: dict[str, Any] = {"tools": [{"toolSpec": _encode_tool_spec(tool)} for tool in tools]}
    return {**fields, "toolChoice": kinds.get(choice, {"tool": {"name": choice}})} if choice else fields


def _encode_tool_spec(tool: ToolSchema) -> dict[str, Any]:
    fields = {"name": tool.name, "inputSchema": {"json": tool.parameters}}
    return {**fields, "description": tool.description} if tool.description else fields


def _mark(blocks: Blocks, at: int, *, point: dict[str, str]) -> None:
    blocks.insert(at + 1, {"cachePoint": point})


def _encode_output(schema: dict[str, Any]) -> dict[str, Any]:
    text = orjson.dumps(schema).decode()  # a string in this API
    return {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": text, "name": "response"}}}}


class _ToolUse(msgspec.Struct, rename="camel"):
    tool_use_id: str = ""
    name: str = ""
    input: Any = None


class _ReasoningContent(msgspec.Struct, rename="camel"):
    text: str = ""
    signature: str = ""
    redacted_content: str = ""


class _Citation(msgspec.Struct, rename="camel"):
    title: str = ""
    source: str = ""
    source_content: Any = None
    location: Any = None  # an object with one place, by its kind


class _Delta(msgspec.Struct, rename="camel"):
    text: str = ""
    citation: _Citation | None = None
    tool_use: _ToolUse | None = None
    reasoning_content: _ReasoningContent | None = None


class _Event(msgspec.Struct, rename="camel"):
    """The fields of all event types in one struct; which are set depends on the event's type."""

    content_block_index: int = 0
    start: _Delta | None = None
    delta: _Delta | None = None
    stop_reason: str = ""
    usage: Any = None
    trace: Any = None


_decode: Final = msgspec.json.Decoder(_Event).decode
_NO_DELTA: Final = _Delta()


class BedrockParser(StreamParser[EventStreamMessage]):
    """Parses one streamed conversation turn into events."""

    frame_decoder: FrameDecoder = msgspec.field(default_factory=partial(EventStreamDecoder, ModelGarbled))
    _reasoning: _ReasoningContent | None = None
    _last_text: str = ""

    @override
    def _handle_frame(self, frame: EventStreamMessage) -> None:
        headers = frame.headers
        if headers.get(":message-type") != "event":
            message = parse_body(frame.payload) or headers.get(":error-message", "")
            code = headers.get(":exception-type") or headers.get(":error-code", "")
            raise mid_stream_error({"code": code, "message": message})
        try:
            event = _decode(frame.payload)
        except (ValueError, RecursionError):
            event = decode_leniently(frame.payload, _Event)
        match headers.get(":event-type"):
            case "contentBlockDelta":
                self._handle_delta(event.content_block_index, event.delta or _NO_DELTA)
            case "contentBlockStart":
                self._handle_block_start(event.content_block_index, event.start)
            case "contentBlockStop":
                self._handle_block_stop(event.content_block_index)
            case "messageStop":
                if event.stop_reason == "guardrail_intervened" and self.can_retract:  # its message is what came last
                    self.assembler.retract(self._last_text)
                self.assembler.stop(event.stop_reason)
            case "metadata":
                _report_interventions(event.trace)
                self._handle_metadata(event.usage)

    def _handle_block_start(self, index: int, start: _Delta | None) -> None:
        self.assembler.next_content_block()
        if start and (use := start.tool_use):
            self.assembler.start_tool_call(index, use.tool_use_id, use.name)

    def _handle_delta(self, index: int, delta: _Delta) -> None:
        if delta.text:
            self._last_text = delta.text
            self.assembler.add_text(delta.text)
        if delta.tool_use and delta.tool_use.input:
            self.assembler.add_arguments(index, encode_arguments(delta.tool_use.input))
        if reasoning := delta.reasoning_content:
            self._handle_reasoning(reasoning)
        if delta.citation:
            self._cite(delta.citation)

    def _cite(self, citation: _Citation) -> None:
        places = citation.location if isinstance(citation.location, dict) else {}
        kind, place = next(((kind, place) for kind, place in places.items() if isinstance(place, dict)), ("", {}))
        url = citation.source if kind == "searchResultLocation" else text_of(place.get("url"))
        media_type = "" if url else PDF if kind == "documentPage" else "text/plain"
        index, text = token_count(place.get("documentIndex")) or 0, text_of(citation.source_content)
        self.assembler.cite(index, url, citation.title, media_type, text)

    def _handle_reasoning(self, reasoning: _ReasoningContent) -> None:
        block = self._reasoning = self._reasoning or _ReasoningContent()
        block.signature += reasoning.signature
        block.redacted_content += reasoning.redacted_content
        if reasoning.text:
            self.assembler.add_reasoning(reasoning.text)

    def _handle_block_stop(self, index: int) -> None:
        if block := self._reasoning:
            self.assembler.end_reasoning(block.signature, block.redacted_content)
            self._reasoning = None
        self.assembler.mark_arguments_ended(index)

    def _handle_metadata(self, usage: Any) -> None:
        """Handle the last event of the stream."""
        if isinstance(usage, dict):
            counts = {name: token_count(value) or 0 for name, value in usage.items()}.get
            cached, written = counts("cacheReadInputTokens", 0), counts("cacheWriteInputTokens", 0)
            input_tokens = counts("inputTokens", 0) + cached + written
            self.assembler.usage = Usage(input_tokens, counts("outputTokens", 0), cached, written)
        if self.assembler.stop_reason:
            self.assembler.finish()


def _report_interventions(trace: Any) -> None:
    """Log which policies of a guardrail have acted, and on what they were asked to watch for: never on which words."""
    guardrail = trace.get("guardrail") if isinstance(trace, dict) else None
    if acted := sorted(set(_interventions(guardrail, "guardrail", _MAX_TRACE_DEPTH))):
        measure("GuardrailInterventions")
        _LOGGER.warning("the guardrail intervened: %s", redaction.redact(", ".join(acted)[:_MAX_TRACE_CHARS]))


def _interventions(value: Any, where: str, depth: int) -> Iterator[str]:
    """`list of findings:name or type:action` for each finding in a trace that was acted upon."""
    if isinstance(value, dict) and value.get("action") not in {None, "NONE"}:
        yield ":".join(str(each) for each in (where, value.get("name") or value.get("type"), value["action"]) if each)
    elif isinstance(value, dict) and depth:
        for name, entry in value.items():
            yield from _interventions(entry, name, depth - 1)
    elif isinstance(value, list) and depth:
        for entry in value:
            yield from _interventions(entry, where, depth - 1)


class BedrockProvider(HttpProvider):
    """Calls ConverseStream through the shared pool, with a Bedrock API key or signed with the AWS credentials."""

    name = "bedrock"
    default_model = DEFAULT_MODEL
    takes_image_urls = False
    ready_path = "/"  # the runtime lists no models, and the role may do no more than ask one
    parser_type = BedrockParser
    headers: ClassVar = {**HttpProvider.headers, "accept": "application/vnd.amazon.eventstream"}
    output_lessons = frozenset({"outputConfig"})
    lessons: ClassVar = {**HttpProvider.lessons, "outputConfig": None}

    @override
    def _fit_reasoning(self, request: ModelRequest) -> tuple[ModelRequest, dict[str, Any]]:
        """Likewise, where the fields of the model are."""
        options = self._extra_body.get(_MODEL_OPTIONS, {})
        if not isinstance(options, dict):
            return request, self._extra_body
        family = self._family(request.model_id)
        request, options = fit_reasoning(request, family, options, self._settings)
        if family.binds:
            options = {"anthropic_beta": [BINDING_BETA], **options}
        return request, {**self._extra_body, _MODEL_OPTIONS: options or None}

    @override
    def _request_fields(
        self, request: ModelRequest, extra_body: dict[str, Any], learned: Learned
    ) -> tuple[str, dict[str, Any]]:
        schema = self._output(request, learned)[1] if request.output else None
        max_tokens = request.max_tokens or self._settings.model_max_tokens
        limits = {"temperature": request.temperature, "topP": request.top_p, "stopSequences": request.stop}
        limits = {name: value for name, value in limits.items() if value is not None and name not in learned}
        # There is no tool choice `none`: the tools are left out instead, unless the history has calls, which require
        # them. If the model calls one all the same, the conversation does not run it.
        tools = offered_tools(request) if request.tool_choice != "none" or tool_call_ids(request) else ()
        cites = request.output is None and self.capabilities(request.model_id).citations
        encode = partial(_encode_block, cites=cites)
        messages = list(_fit_document_turns(to_alternating_messages(request, encode, _encode_tool_result)))
        choice = "" if "tool_choice" in learned else request.tool_choice
        guardrail = parse_guardrail(self._settings.bedrock_guardrail)
        tool_config = _encode_tools(tools, choice) if tools else {}
        system: Blocks = [{"text": request.system}] if request.system else []
        if places := self._cache_places(request, learned):
            system = [{"text": text} for text in split_system(request.system, self._settings.system_prompt)]
            mark = partial(_mark, point={"type": "default", **({"ttl": "1h"} if "1h" in places else {})})
            kinds = {"text"} if "answers" in self.capabilities(request.model_id).cache else _MARKABLE
            mark_prompt(request, (tool_config.get("tools", []), system, messages), places, mark, kinds)
        return f"/model/{quote(request.model_id or self._model_id, safe='')}/converse-stream", {
            "messages": messages,
            "system": system or None,
            "inferenceConfig": {"maxTokens": max_tokens, **limits},
            "toolConfig": tool_config or None,
            "outputConfig": _encode_output(schema) if schema else None,
            "guardrailConfig": guardrail and {**guardrail, "trace": "enabled"},
            **extra_body,
        }

    @override
    async def _sign(self, http_request: httpx.Request) -> None:
        await sign(http_request, "bedrock", self._settings.bedrock_region or self._settings.aws_region)


def make(settings: ModelSettings) -> BedrockProvider:
    """Make the provider for BEDROCK_REGION.

    Raises:
        SettingsError: No region is configured, or BEDROCK_BASE_URL, the key, BEDROCK_GUARDRAIL or MODEL_EXTRA_BODY is
            invalid.
    """
    key, url, url_setting = configure("bedrock", settings)
    error_hints = ErrorHints(key.setting if key.is_set else _CREDENTIALS_HINT, url_setting, _ACCESS_HINT)
    return BedrockProvider(settings, key, error_hints, url)
