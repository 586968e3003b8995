"""Anthropic's Messages, streamed.

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
from winterbourne.chat.providers.errors import Signposts, reported
from winterbourne.chat.providers.history import alternating, arguments, call_ids, system_text
from winterbourne.chat.providers.http_model import HttpModel
from winterbourne.chat.providers.provider_config import base_url, extra_body
from winterbourne.chat.providers.stream_parser import TurnParser, decoded, encoded
from winterbourne.chat.settings import Settings

__all__ = ["AnthropicModel", "AnthropicParser", "body", "make"]

DEFAULT_MODEL: Final = "claude-haiku-4-5"
_VERSION: Final = "2023-06-01"
_VENDOR: Final = "api.anthropic.com"


def make(settings: Settings) -> "AnthropicModel":
    """The model of ANTHROPIC_BASE_URL.

    Raises:
        SettingsError: Anthropic itself is meant and there is no key.
    """
    key = ApiKey(settings.anthropic_api_key, "ANTHROPIC_API_KEY", settings)
    if not key.given and urlsplit(settings.anthropic_base_url).hostname == _VENDOR:
        raise SettingsError("ANTHROPIC_API_KEY: needed for Anthropic; on AWS set MODEL_API_KEY_SECRET_ARN instead")
    return AnthropicModel(
        settings,
        key,
        Signposts(key.setting, "ANTHROPIC_BASE_URL"),
        base_url(settings.anthropic_base_url, "ANTHROPIC_BASE_URL"),
    )


class AnthropicModel(HttpModel):
    """Messages through the shared pool."""

    name = "anthropic"

    async def _prepare(self, request: ModelRequest, key: str) -> httpx.Request:
        url = f"{self._base_url}/v1/messages"
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream",
            "accept-encoding": "identity",
            "anthropic-version": _VERSION,
        }
        if key:
            headers["x-api-key"] = key
        content = redact_json(body(request, self._settings))
        return http_pool.client().build_request("POST", url, content=content, headers=headers, timeout=self._timeout)

    def _parser(self, request: ModelRequest) -> "AnthropicParser":
        return AnthropicParser(call_ids(request))


# What we send


def body(request: ModelRequest, settings: Settings) -> bytes:
    """The request's JSON."""
    said = {
        "model": request.model_id or settings.model_id or DEFAULT_MODEL,
        "max_tokens": request.max_tokens or settings.model_max_tokens,
        "stream": True,
        "system": system_text(request) or None,
        "messages": alternating(request.messages, _block, _result),
        "temperature": request.temperature,
        **(_tools(request.tools, request.tool_choice) if request.tools else {}),
        **extra_body(settings),
    }
    return orjson.dumps({name: value for name, value in said.items() if value is not None})


def _result(message: ToolMessage) -> dict[str, Any]:
    said = {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": message.content}
    return {**said, "is_error": message.is_error}


def _block(part: UserPart | AssistantPart) -> dict[str, Any] | None:
    match part:
        case Text(text):
            return {"type": "text", "text": text} if text else None  # empty text is rejected
        case Image():
            return {"type": "image", "source": _source(part)}
        case ToolCall(id, name):
            return {"type": "tool_use", "id": id, "name": name, "input": orjson.Fragment(arguments(part))}
        case Reasoning(_, _, redacted) if redacted:
            return {"type": "redacted_thinking", "data": redacted}
        case Reasoning(text, signature) if signature:
            return {"type": "thinking", "thinking": text, "signature": signature}
    return None  # thoughts of another provider


def _source(image: Image) -> dict[str, Any]:
    if image.url:
        return {"type": "url", "url": image.url}
    return {"type": "base64", "media_type": image.media_type, "data": image.data}


def _tools(tools: Sequence[ToolSchema], choice: str) -> dict[str, Any]:
    kinds = {"auto": {"type": "auto"}, "none": {"type": "none"}, "required": {"type": "any"}}
    return {
        "tools": [
            {"name": tool.name, "description": tool.description, "input_schema": tool.parameters} for tool in tools
        ],
        "tool_choice": kinds.get(choice, {"type": "tool", "name": choice}),
    }


# What we hear


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
_REASONS: Final[dict[str, StopReason]] = {
    "max_tokens": "max_tokens",
    "model_context_window_exceeded": "max_tokens",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "refusal": "refusal",
}


class AnthropicParser(TurnParser[bytes]):
    """The bytes of one streamed message → events.

    Args:
        taken: Ids of the history's calls.
    """

    def __init__(self, taken: Collection[str] = ()) -> None:
        super().__init__(SseParser(error=ModelGarbled), taken)
        self._usage = _Usage()
        self._block = _NO_BLOCK
        self._signature = ""

    def _take(self, frame: bytes) -> None:
        event = decoded(frame, _decode, _Event)
        match event.type:
            case "content_block_delta":
                self._delta(event.index, event.delta or _NO_DELTA)
            case "content_block_start":
                self._start(event.index, event.content_block or _NO_BLOCK)
            case "content_block_stop":
                self._stop(event.index)
            case "message_start" if event.message and event.message.usage:
                self._count(event.message.usage)
            case "message_delta":
                self._stopping(event)
            case "message_stop":
                self._turn.end()
            case "error":
                raise reported(event.error)

    def _start(self, index: int, block: _Block) -> None:
        self._turn.next_block()
        self._block = block
        self._signature = block.signature
        if block.type == "tool_use":
            self._turn.call(index, block.id, block.name)
            if block.input:  # compatible servers that do not stream arguments
                self._turn.arguments(index, encoded(block.input))
        elif block.text:
            self._turn.text(block.text)
        elif block.thinking:
            self._turn.think(block.thinking)

    def _delta(self, index: int, delta: _Delta) -> None:
        match delta.type:
            case "text_delta" if delta.text:
                self._turn.text(delta.text)
            case "input_json_delta":
                self._turn.arguments(index, delta.partial_json)
            case "thinking_delta" if delta.thinking:
                self._turn.think(delta.thinking)
            case "signature_delta":
                self._signature += delta.signature

    def _stop(self, index: int) -> None:
        match self._block.type:
            case "thinking":
                self._turn.thought(self._signature)
            case "redacted_thinking":
                self._turn.thought(redacted=self._block.data)
            case "tool_use":
                self._turn.stopped(index)

    def _stopping(self, event: _Event) -> None:
        if event.usage:
            self._count(event.usage)
        if event.delta and event.delta.stop_reason:
            self._turn.stop(_REASONS.get(event.delta.stop_reason, "stop"))

    def _count(self, usage: _Usage) -> None:
        """Counts are cumulative, and those that do not change are not repeated."""
        for name in _Usage.__struct_fields__:
            if (value := getattr(usage, name)) is not None:
                setattr(self._usage, name, value)
        counted = self._usage
        cached = counted.cache_read_input_tokens or 0
        read = (counted.input_tokens or 0) + (counted.cache_creation_input_tokens or 0) + cached
        self._turn.usage = Usage(read, counted.output_tokens or 0, cached)

    def _end(self) -> None:
        raise ModelStreamTruncated("the model's stream ended before the model had finished")
