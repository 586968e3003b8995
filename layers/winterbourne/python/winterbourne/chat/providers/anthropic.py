"""Provider for Anthropic's Messages API, streamed.

https://docs.anthropic.com/en/api/messages-streaming
"""

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final

import msgspec
import orjson

from winterbourne.chat.core.documents import PDF, document_text
from winterbourne.chat.core.events import Usage
from winterbourne.chat.core.history import NATIVE_SUMMARY, native_start
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
from winterbourne.chat.providers.caching import Blocks, mark_prompt, split_system
from winterbourne.chat.providers.errors import ErrorHints, raise_if_error
from winterbourne.chat.providers.history import offered_tools, to_alternating_messages
from winterbourne.chat.providers.http_provider import HttpProvider
from winterbourne.chat.providers.lessons import Learned
from winterbourne.chat.providers.provider_config import configure
from winterbourne.chat.providers.reasoning import BINDING_BETA
from winterbourne.chat.providers.stream_parser import StreamParser, decode_leniently, encode_arguments, token_count
from winterbourne.chat.settings import ModelSettings
from winterbourne.override import override

__all__ = ["AnthropicParser", "AnthropicProvider", "make"]

DEFAULT_MODEL: Final = "claude-haiku-4-5"
_API_VERSION: Final = "2023-06-01"
_COMPACTION_BETA: Final = "compact-2026-01-12"  # …/docs/en/build-with-claude/compaction-threshold
_SUMMARY_FIELDS: Final = ("content", "encrypted_content")
_MIN_TRIGGER_TOKENS: Final = 50_000
_MARKABLE: Final = frozenset({"text", "image", "document", "tool_result"})


def _encode_tool_result(message: ToolMessage) -> dict[str, Any]:
    fields = {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": message.content}
    return {**fields, "is_error": message.is_error}


def _encode_block(part: UserPart | AssistantPart, *, cites: bool) -> dict[str, Any] | None:
    match part:
        case Text(text):
            return {"type": "text", "text": text} if text.strip() else None  # blank text is rejected
        case Image() | Document():
            return _encode_file(part, cites=cites)
        case ToolCall(id, name, arguments):
            return {"type": "tool_use", "id": id, "name": name, "input": orjson.Fragment(arguments)}
        case Reasoning():
            return _encode_reasoning(part)
    return None


def _encode_reasoning(part: Reasoning) -> dict[str, Any] | None:
    if part.opaque and part.opaque.field == NATIVE_SUMMARY:
        return _summary_block(part.opaque.fields)
    if part.redacted:
        return {"type": "redacted_thinking", "data": part.redacted}
    return {"type": "thinking", "thinking": part.text, "signature": part.signature} if part.signature else None


def _summary_block(fields: str) -> dict[str, Any] | None:
    """A summary of the provider's own as it goes back; nothing else of the fields, because clients send them."""
    with contextlib.suppress(ValueError, LookupError):
        kept = msgspec.json.decode(fields, type=dict[str, dict[str, str | None]])[NATIVE_SUMMARY]
        return {"type": "compaction", **{name: kept.get(name) for name in _SUMMARY_FIELDS}}
    return None


def _encode_file(part: Image | Document, *, cites: bool) -> dict[str, Any]:
    source = {"type": "base64", "media_type": part.media_type, "data": part.data}
    if part.url:
        source = {"type": "url", "url": part.url}
    if isinstance(part, Image):
        return {"type": "image", "source": source}
    if (text := document_text(part)) is not None:
        source = {"type": "text", "media_type": "text/plain", "data": text}
    elif not part.url:
        source["media_type"] = PDF  # some clients send it as application/octet-stream
    title = {"title": part.name} if part.name.strip() else {}
    return {"type": "document", "source": source, **title, **({"citations": {"enabled": True}} if cites else {})}


def _encode_tools(tools: Sequence[ToolSchema], choice: str, *, is_parallel: bool | None) -> dict[str, Any]:
    kinds: dict[str, dict[str, Any]] = {"auto": {"type": "auto"}, "none": {"type": "none"}, "required": {"type": "any"}}
    specs = [{"name": tool.name, "description": tool.description, "input_schema": tool.parameters} for tool in tools]
    chosen = kinds.get(choice, {"type": "tool", "name": choice})
    if is_parallel is False and choice != "none":
        chosen["disable_parallel_tool_use"] = True
    return {"tools": specs, "tool_choice": chosen}


def _mark(blocks: Blocks, at: int, *, control: dict[str, str]) -> None:
    blocks[at]["cache_control"] = control


class _Citation(msgspec.Struct):
    type: str = ""
    url: str = ""
    source: str = ""  # of a search result
    title: str = ""
    document_title: str | None = None
    document_index: int = 0
    cited_text: str = ""


class _Block(msgspec.Struct):
    type: str = ""
    id: str = ""
    name: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    input: Any = None
    citations: list[_Citation] | None = None  # of a whole message


class _Delta(_Block):
    content: Any = None
    encrypted_content: Any = None
    partial_json: Any = ""
    stop_reason: str | None = None
    citation: _Citation | None = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: "_Event | None" = None  # as it begins
    usage: Any = None
    error: Any = None
    content: list[_Block] | None = None  # of a whole message, as are the next fields
    stop_reason: str | None = None


_decode: Final = msgspec.json.Decoder(_Event).decode
_NO_DELTA: Final = _Delta()


def _is_summary(iteration: Any) -> bool:
    return isinstance(iteration, dict) and iteration.get("type") == "compaction"


class AnthropicParser(StreamParser[bytes]):
    """Parses one streamed message into events."""

    _usage: dict[str, int] = msgspec.field(default_factory=dict)
    _summaries: list[dict[str, Any]] = msgspec.field(default_factory=list)
    _block: _Block = msgspec.field(default_factory=_Block)

    @override
    def _handle_frame(self, frame: bytes) -> None:
        try:
            event = _decode(frame)
        except (ValueError, RecursionError):  # some gateways end every stream like OpenAI
            event = _Event("message_stop") if frame == b"[DONE]" else decode_leniently(frame, _Event)
        if event.type == "content_block_delta":
            self._handle_delta(event.index, event.delta or _NO_DELTA)
        else:
            self._handle_event(event, frame)

    def _handle_event(self, event: _Event, frame: bytes) -> None:
        if event.error or event.type in {"", "error"}:
            raise_if_error(frame, error=event.error, type=event.type)
        match event.type:
            case "content_block_start" if event.content_block:
                self._handle_block_start(event.index, event.content_block)
            case "content_block_stop":
                self._handle_block_stop(event.index)
            case "message_start" if event.message:
                self._update_usage(event.message.usage)
            case "message_delta":
                self._update_usage(event.usage)
                if event.delta and event.delta.stop_reason:
                    self.assembler.stop(event.delta.stop_reason)
            case "message_stop":
                if self.assembler.stop_reason is None:
                    self.assembler.stop()
                self.assembler.finish()
            case "message":
                self._handle_message(event)

    def _handle_block_start(self, index: int, block: _Block) -> None:
        self.assembler.next_content_block()
        self._block = block
        if block.type == "tool_use":
            self.assembler.start_tool_call(index, block.id, block.name)
            if block.input:  # compatible servers that do not stream arguments
                self.assembler.add_arguments(index, encode_arguments(block.input))
        elif block.text:
            self.assembler.add_text(block.text)
        elif block.thinking:
            self.assembler.add_reasoning(block.thinking)
        for citation in block.citations or ():
            self._cite(citation)

    def _cite(self, citation: _Citation) -> None:
        title, url = citation.document_title or citation.title, citation.url or citation.source
        kind = "" if url else PDF if citation.type == "page_location" else "text/plain"
        self.assembler.cite(citation.document_index, url, title, kind, citation.cited_text)

    def _handle_delta(self, index: int, delta: _Delta) -> None:
        """Handle what a delta has: some servers name its type otherwise, or not at all."""
        if delta.text:
            self.assembler.add_text(delta.text)
        if delta.partial_json:
            self.assembler.add_arguments(index, encode_arguments(delta.partial_json))
        if delta.thinking:
            self.assembler.add_reasoning(delta.thinking)
        if delta.citation:
            self._cite(delta.citation)
        if delta.signature and self._block.type == "thinking":
            self._block.signature += delta.signature
        if delta.content and self._block.type == "compaction":  # the whole of it
            summary = {name: getattr(delta, name) for name in _SUMMARY_FIELDS}
            self.assembler.add_reasoning("", NATIVE_SUMMARY)
            self.assembler.add_turn_fields({NATIVE_SUMMARY: summary})

    def _handle_block_stop(self, index: int) -> None:
        if self._block.type in {"thinking", "redacted_thinking", "compaction"}:
            self.assembler.end_reasoning(self._block.signature, self._block.data)
        self.assembler.mark_arguments_ended(index)

    def _handle_message(self, message: _Event) -> None:
        """Handle a whole message, of servers that do not stream."""
        for index, block in enumerate(message.content or ()):
            self._handle_block_start(index, block)
            self._handle_block_stop(index)
        self._update_usage(message.usage)
        if message.stop_reason:
            self.assembler.stop(message.stop_reason)

    def _update_usage(self, usage: Any) -> None:
        """Merge new token counts. Counts are cumulative, and those that did not change are not repeated."""
        usage = usage if isinstance(usage, dict) else {}
        details = usage.get("output_tokens_details")
        for name, value in (usage | (details if isinstance(details, dict) else {})).items():
            if (count := token_count(value)) is not None:
                self._usage[name] = count
            elif name == "iterations":
                self._summaries = [*filter(_is_summary, value if isinstance(value, list) else ())]
        parts = (self._usage, *self._summaries)  # whose tokens are not in the counts above
        written, cached, fresh, output_tokens = (
            sum(token_count(part.get(name)) or 0 for part in parts)
            for name in ("cache_creation_input_tokens", "cache_read_input_tokens", "input_tokens", "output_tokens")
        )
        thought = self._usage.get("thinking_tokens", 0)
        self.assembler.usage = Usage(fresh + written + cached, output_tokens, cached, written, thought)


class AnthropicProvider(HttpProvider):
    """Calls the Messages API through the shared connection pool."""

    name = "anthropic"
    default_model = DEFAULT_MODEL
    parser_type = AnthropicParser
    headers: ClassVar = {**HttpProvider.headers, "anthropic-version": _API_VERSION}
    ready_path = "/v1/models"  # https://platform.claude.com/docs/en/api/models/list
    key_header = ("x-api-key", "")
    output_lessons = frozenset({"output_config"})
    lessons: ClassVar = {**HttpProvider.lessons, **dict.fromkeys(("thinking", "output_config", "context_management"))}

    @override
    def _headers_for(self, request: ModelRequest) -> Mapping[str, str]:
        compacts = request.compact_at or native_start(request.messages)
        wanted = {BINDING_BETA: self._family(request.model_id).binds, _COMPACTION_BETA: compacts}
        betas = ",".join(beta for beta, is_wanted in wanted.items() if is_wanted)
        return {**self.headers, "anthropic-beta": betas} if betas else self.headers

    @override
    def _fit_reasoning(self, request: ModelRequest) -> tuple[ModelRequest, dict[str, Any]]:
        """Likewise, for what has been said since the newest summary of the provider's own."""
        start = native_start(request.messages)
        request, fields = super()._fit_reasoning(msgspec.structs.replace(request, messages=request.messages[start:]))
        if start or request.compact_at:
            trigger = {"type": "input_tokens", "value": max(request.compact_at, _MIN_TRIGGER_TOKENS)}
            edits = [{"type": "compact_20260112", "trigger": trigger}]
            fields = {"context_management": {"edits": edits}, **fields}
        return request, fields

    @override
    def _request_fields(
        self, request: ModelRequest, extra_body: dict[str, Any], learned: Learned
    ) -> tuple[str, dict[str, Any]]:
        schema = self._output(request, learned)[1] if request.output else None
        if schema:
            config = {**extra_body.get("output_config", {}), "format": {"type": "json_schema", "schema": schema}}
            extra_body = {**extra_body, "output_config": config}
        offered, choice = offered_tools(request), request.tool_choice if request.tools else "none"
        tools = _encode_tools(offered, choice, is_parallel=request.parallel_tool_calls) if offered else {}
        cites = request.output is None and self.capabilities(request.model_id).citations  # not both
        messages = to_alternating_messages(request, partial(_encode_block, cites=cites), _encode_tool_result)
        system: str | Blocks = request.system
        if places := self._cache_places(request, learned):
            texts = split_system(request.system, self._settings.system_prompt)
            system = [{"type": "text", "text": text} for text in texts]
            mark = partial(_mark, control={"type": "ephemeral", **({"ttl": "1h"} if "1h" in places else {})})
            mark_prompt(request, (tools.get("tools", []), system, messages), places, mark, _MARKABLE)
        return "/v1/messages", {
            "model": request.model_id or self._model_id,
            "max_tokens": request.max_tokens or self._settings.model_max_tokens,
            "stream": True,
            "system": system or None,
            "messages": messages,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stop_sequences": request.stop,
            **tools,
            **extra_body,
        }


def make(settings: ModelSettings) -> AnthropicProvider:
    """Make the provider for ANTHROPIC_BASE_URL.

    Raises:
        SettingsError: The URL, the key or MODEL_EXTRA_BODY is invalid, or Anthropic's own URL has no key.
    """
    key, url, url_setting = configure("anthropic", settings)
    return AnthropicProvider(settings, key, ErrorHints(key.setting, url_setting), url)
