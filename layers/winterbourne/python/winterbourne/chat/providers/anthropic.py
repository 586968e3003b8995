"""Provider for Anthropic's Messages API, streamed.

https://docs.anthropic.com/en/api/messages-streaming
"""

from collections.abc import Collection, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec
import orjson

from winterbourne.chat.core.events import StopReason, Usage
from winterbourne.chat.core.messages import (
    AssistantPart,
    Image,
    Reasoning,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UserPart,
)
from winterbourne.chat.errors import ModelGarbled, ModelStreamTruncated, SettingsError
from winterbourne.chat.infra import http_pool
from winterbourne.chat.infra.redaction import redact_json
from winterbourne.chat.infra.sse_parser import SseParser
from winterbourne.chat.providers.api_key import ApiKey
from winterbourne.chat.providers.base import ModelRequest
from winterbourne.chat.providers.errors import ErrorHints, mid_stream_error
from winterbourne.chat.providers.history import (
    arguments_json,
    build_system_prompt,
    to_alternating_messages,
    tool_call_ids,
)
from winterbourne.chat.providers.http_provider import HttpProvider
from winterbourne.chat.providers.provider_config import extra_body, parse_base_url
from winterbourne.chat.providers.stream_parser import StreamParser, decode_json, encode_arguments
from winterbourne.chat.settings import Settings

__all__ = ["AnthropicParser", "AnthropicProvider", "build_request_body", "make"]

DEFAULT_MODEL: Final = "claude-haiku-4-5"
_API_VERSION: Final = "2023-06-01"
_OFFICIAL_HOST: Final = "api.anthropic.com"


def make(settings: Settings) -> "AnthropicProvider":
    """Make the provider for ANTHROPIC_BASE_URL.

    Raises:
        SettingsError: The URL, the key or MODEL_EXTRA_BODY is invalid, or Anthropic's own URL has no key.
    """
    key = ApiKey(settings.model.anthropic_api_key, "ANTHROPIC_API_KEY", settings)
    if not key.is_set and urlsplit(settings.model.anthropic_base_url).hostname == _OFFICIAL_HOST:
        raise SettingsError("ANTHROPIC_API_KEY: needed for Anthropic; on AWS set MODEL_API_KEY_SECRET_ARN instead")
    return AnthropicProvider(
        settings,
        key,
        ErrorHints(key.setting, "ANTHROPIC_BASE_URL"),
        parse_base_url(settings.model.anthropic_base_url, "ANTHROPIC_BASE_URL"),
    )


class AnthropicProvider(HttpProvider):
    """Calls the Messages API through the shared connection pool."""

    name = "anthropic"

    async def _build_request(self, request: ModelRequest, key: str) -> httpx.Request:
        url = f"{self._base_url}/v1/messages"
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream",
            "accept-encoding": "identity",
            "anthropic-version": _API_VERSION,
        }
        if key:
            headers["x-api-key"] = key
        content = redact_json(build_request_body(request, self._settings))
        return http_pool.client().build_request("POST", url, content=content, headers=headers, timeout=self._timeout)

    def _make_parser(self, request: ModelRequest) -> "AnthropicParser":
        return AnthropicParser(tool_call_ids(request))


def build_request_body(request: ModelRequest, settings: Settings) -> bytes:
    """Build the JSON body of the request."""
    fields = {
        "model": request.model_id or settings.model.model_id or DEFAULT_MODEL,
        "max_tokens": request.max_tokens or settings.model.model_max_tokens,
        "stream": True,
        "system": build_system_prompt(request) or None,
        "messages": to_alternating_messages(request.messages, _encode_block, _encode_tool_result),
        "temperature": request.temperature,
        **(_encode_tools(request.tools, request.tool_choice) if request.tools else {}),
        **extra_body(settings),
    }
    return orjson.dumps({name: value for name, value in fields.items() if value is not None})


def _encode_tool_result(message: ToolMessage) -> dict[str, Any]:
    fields = {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": message.content}
    return {**fields, "is_error": message.is_error}


def _encode_block(part: UserPart | AssistantPart) -> dict[str, Any] | None:
    match part:
        case Text(text):
            return {"type": "text", "text": text} if text else None  # empty text is rejected
        case Image():
            return {"type": "image", "source": _encode_image_source(part)}
        case ToolCall(id, name):
            return {"type": "tool_use", "id": id, "name": name, "input": orjson.Fragment(arguments_json(part))}
        case Reasoning(_, _, redacted) if redacted:
            return {"type": "redacted_thinking", "data": redacted}
        case Reasoning(text, signature) if signature:
            return {"type": "thinking", "thinking": text, "signature": signature}
    return None  # reasoning of another provider


def _encode_image_source(image: Image) -> dict[str, Any]:
    if image.url:
        return {"type": "url", "url": image.url}
    return {"type": "base64", "media_type": image.media_type, "data": image.data}


def _encode_tools(tools: Sequence[ToolSchema], choice: str) -> dict[str, Any]:
    kinds = {"auto": {"type": "auto"}, "none": {"type": "none"}, "required": {"type": "any"}}
    return {
        "tools": [
            {"name": tool.name, "description": tool.description, "input_schema": tool.parameters} for tool in tools
        ],
        "tool_choice": kinds.get(choice, {"type": "tool", "name": choice}),
    }


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class _Message(msgspec.Struct):
    usage: _Usage | None = None


class _Block(msgspec.Struct):
    type: str = ""
    id: str = ""
    name: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    input: dict[str, Any] | None = None


class _Delta(msgspec.Struct):
    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: _Message | None = None
    usage: _Usage | None = None
    error: Any = None


_decode: Final = msgspec.json.Decoder(_Event).decode
_NO_DELTA: Final = _Delta()
_NO_BLOCK: Final = _Block()
_STOP_REASONS: Final[dict[str, StopReason]] = {
    "max_tokens": "max_tokens",
    "model_context_window_exceeded": "max_tokens",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "refusal": "refusal",
}


class AnthropicParser(StreamParser[bytes]):
    """Parses one streamed message into events.

    Args:
        used_ids: Ids of the calls in the history.
    """

    def __init__(self, used_ids: Collection[str] = ()) -> None:
        super().__init__(SseParser(make_error=ModelGarbled), used_ids)
        self._usage = _Usage()
        self._current_block = _NO_BLOCK
        self._signature = ""

    def _handle_frame(self, frame: bytes) -> None:
        event = decode_json(frame, _decode, _Event)
        match event.type:
            case "content_block_delta":
                self._handle_delta(event.index, event.delta or _NO_DELTA)
            case "content_block_start":
                self._handle_block_start(event.index, event.content_block or _NO_BLOCK)
            case "content_block_stop":
                self._handle_block_stop(event.index)
            case "message_start" if event.message and event.message.usage:
                self._update_usage(event.message.usage)
            case "message_delta":
                self._handle_message_delta(event)
            case "message_stop":
                self._assembler.finish()
            case "error":
                raise mid_stream_error(event.error)

    def _handle_block_start(self, index: int, block: _Block) -> None:
        self._assembler.next_content_block()
        self._current_block = block
        self._signature = block.signature
        if block.type == "tool_use":
            self._assembler.start_tool_call(index, block.id, block.name)
            if block.input:  # compatible servers that do not stream arguments
                self._assembler.add_arguments(index, encode_arguments(block.input))
        elif block.text:
            self._assembler.add_text(block.text)
        elif block.thinking:
            self._assembler.add_reasoning(block.thinking)

    def _handle_delta(self, index: int, delta: _Delta) -> None:
        match delta.type:
            case "text_delta" if delta.text:
                self._assembler.add_text(delta.text)
            case "input_json_delta":
                self._assembler.add_arguments(index, delta.partial_json)
            case "thinking_delta" if delta.thinking:
                self._assembler.add_reasoning(delta.thinking)
            case "signature_delta":
                self._signature += delta.signature

    def _handle_block_stop(self, index: int) -> None:
        match self._current_block.type:
            case "thinking":
                self._assembler.end_reasoning(self._signature)
            case "redacted_thinking":
                self._assembler.end_reasoning(redacted=self._current_block.data)
            case "tool_use":
                self._assembler.mark_arguments_ended(index)

    def _handle_message_delta(self, event: _Event) -> None:
        if event.usage:
            self._update_usage(event.usage)
        if event.delta and event.delta.stop_reason:
            self._assembler.set_stop_reason(_STOP_REASONS.get(event.delta.stop_reason, "stop"))

    def _update_usage(self, usage: _Usage) -> None:
        """Merge new token counts. Counts are cumulative, and those that did not change are not repeated."""
        for name in _Usage.__struct_fields__:
            if (value := getattr(usage, name)) is not None:
                setattr(self._usage, name, value)
        total = self._usage
        cached = total.cache_read_input_tokens or 0
        input_tokens = (total.input_tokens or 0) + (total.cache_creation_input_tokens or 0) + cached
        self._assembler.usage = Usage(input_tokens, total.output_tokens or 0, cached)

    def _handle_eof(self) -> None:
        raise ModelStreamTruncated("the model's stream ended before the model had finished")
