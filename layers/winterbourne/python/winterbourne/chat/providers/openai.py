"""OpenAI's Chat Completions, streamed, and everything that speaks it: vLLM, Ollama, llama.cpp, Groq, LiteLLM, ...

https://platform.openai.com/docs/api-reference/chat-streaming
Compatible servers differ in small ways; what is known of them is taken in `OpenAIParser`, each with its comment.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec
import orjson

from winterbourne.chat.core.events import StopReason, Usage
from winterbourne.chat.core.messages import AssistantMessage, Image, Message, Text, ToolMessage, ToolSchema, UserMessage
from winterbourne.chat.errors import ModelGarbled, SettingsError
from winterbourne.chat.infra import http_pool
from winterbourne.chat.infra.redaction import redact_json
from winterbourne.chat.infra.sse_parser import SseParser
from winterbourne.chat.providers.api_key import ApiKey
from winterbourne.chat.providers.base import ModelRequest
from winterbourne.chat.providers.errors import Signposts, reported
from winterbourne.chat.providers.history import arguments, call_ids, mended, system_text
from winterbourne.chat.providers.http_model import HttpModel
from winterbourne.chat.providers.provider_config import base_url, extra_body
from winterbourne.chat.providers.stream_parser import TurnParser, decoded, encoded
from winterbourne.chat.settings import Settings

__all__ = ["OpenAIModel", "OpenAIParser", "body", "make"]

DEFAULT_MODEL: Final = "gpt-5.4-mini"
_VENDOR: Final = "api.openai.com"


def make(settings: Settings) -> "OpenAIModel":
    """The model of OPENAI_BASE_URL.

    Raises:
        SettingsError: OpenAI itself is meant and there is no key.
    """
    key = ApiKey(settings.openai_api_key, "OPENAI_API_KEY", settings)
    if not key.given and urlsplit(settings.openai_base_url).hostname == _VENDOR:
        raise SettingsError("OPENAI_API_KEY: needed for OpenAI; on AWS set MODEL_API_KEY_SECRET_ARN instead")
    return OpenAIModel(
        settings, key, Signposts(key.setting, "OPENAI_BASE_URL"), base_url(settings.openai_base_url, "OPENAI_BASE_URL")
    )


class OpenAIModel(HttpModel):
    """Chat Completions through the shared pool."""

    name = "openai"

    async def _prepare(self, request: ModelRequest, key: str) -> httpx.Request:
        new_names = urlsplit(self._base_url).hostname == _VENDOR
        content = redact_json(body(request, self._settings, new_names=new_names))
        headers = {"content-type": "application/json", "accept": "text/event-stream", "accept-encoding": "identity"}
        if key:
            headers["authorization"] = f"Bearer {key}"
        return http_pool.client().build_request(
            "POST", f"{self._base_url}/chat/completions", content=content, headers=headers, timeout=self._timeout
        )

    def _parser(self, request: ModelRequest) -> "OpenAIParser":
        return OpenAIParser(call_ids(request))


# What we send


def body(request: ModelRequest, settings: Settings, *, new_names: bool = False) -> bytes:
    """The request's JSON.

    Args:
        request: The turn.
        settings: For defaults and MODEL_EXTRA_BODY.
        new_names: `max_completion_tokens`, which OpenAI wants and others do not know.
    """
    said = {
        "model": request.model_id or settings.model_id or DEFAULT_MODEL,
        "messages": [*_system(request), *map(_message, filter(_speaks, mended(request.messages)))],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": request.temperature,
        "max_completion_tokens" if new_names else "max_tokens": request.max_tokens,
        **(_tools(request.tools, request.tool_choice) if request.tools else {}),
        **extra_body(settings),
    }
    return orjson.dumps({name: value for name, value in said.items() if value is not None})


def _system(request: ModelRequest) -> Iterator[dict[str, Any]]:
    if text := system_text(request):
        yield {"role": "system", "content": text}


def _speaks(message: Message) -> bool:
    """An assistant turn of nothing but thoughts is rejected as empty."""
    return not isinstance(message, AssistantMessage) or bool(message.text or message.tool_calls)


def _message(message: Message) -> dict[str, Any]:
    match message:
        case UserMessage():
            return {"role": "user", "content": _content(message)}
        case AssistantMessage():
            calls = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": arguments(call)},
                }
                for call in message.tool_calls
            ]
            said: dict[str, Any] = {"role": "assistant", "content": message.text or None}
            return {**said, "tool_calls": calls} if calls else said
        case ToolMessage():
            return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.content}
    raise TypeError(message)  # `mended` gives no others


def _content(message: UserMessage) -> str | list[dict[str, Any]]:
    # Some servers take only text as a string, and parts only for images.
    if all(isinstance(part, Text) for part in message.parts):
        return "".join(part.text for part in message.parts if isinstance(part, Text))
    return [_image(part) if isinstance(part, Image) else {"type": "text", "text": part.text} for part in message.parts]


def _image(image: Image) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": image.url or f"data:{image.media_type};base64,{image.data}"}}


def _tools(tools: Sequence[ToolSchema], choice: str) -> dict[str, Any]:
    named = choice not in {"auto", "none", "required"}
    return {
        "tools": [{"type": "function", "function": _function(tool)} for tool in tools],
        "tool_choice": {"type": "function", "function": {"name": choice}} if named else choice,
    }


def _function(tool: ToolSchema) -> dict[str, Any]:
    said = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {**said, "strict": True} if tool.strict else said


# What we hear


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _Fragment(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | list[dict[str, Any]] | None = None
    reasoning_content: str | None = None  # DeepSeek, older vLLM, LiteLLM
    reasoning: Any = None  # vLLM, Ollama, Groq, OpenRouter
    tool_calls: list[_Fragment] | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None
    object: Any = None
    message: Any = None
    detail: Any = None
    code: Any = None


_decode: Final = msgspec.json.Decoder(_Chunk).decode
_NO_FUNCTION: Final = _Function()
_REASONS: Final[dict[str, StopReason]] = {
    "length": "max_tokens",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


class OpenAIParser(TurnParser[bytes]):
    """The bytes of one streamed completion → events.

    Args:
        taken: Ids of the history's calls; some servers count from zero in every turn.
    """

    def __init__(self, taken: Collection[str] = ()) -> None:
        super().__init__(SseParser(error=ModelGarbled), taken)
        self._ids: dict[int, str] = {}  # what the provider calls the call that is open at an index
        self._last = 0
        self._refused = False

    def _take(self, frame: bytes) -> None:
        if frame == b"[DONE]":
            self._done()
            return
        chunk = decoded(frame, _decode, _Chunk)
        if chunk.usage:
            self._turn.usage = _usage(chunk.usage)
        for choice in chunk.choices or ():
            if not choice.index:  # several answers are never asked for
                self._choice(choice)
        if not chunk.choices:
            _check(chunk)

    def _choice(self, choice: _Choice) -> None:
        if delta := choice.delta:
            self._delta(delta)
        if reason := choice.finish_reason:
            self._turn.stop("refusal" if self._refused else _REASONS.get(reason, "stop"))

    def _delta(self, delta: _Delta) -> None:
        if (thought := delta.reasoning_content or delta.reasoning) and isinstance(thought, str):
            self._turn.think(thought)
        if content := delta.content:
            if isinstance(content, str):
                self._turn.text(content)
            else:
                self._parts(content)
        if delta.refusal:
            self._refused = True
            self._turn.text(delta.refusal)
        for fragment in delta.tool_calls or ():
            self._fragment(fragment)

    def _parts(self, parts: list[dict[str, Any]]) -> None:
        """Mistral's reasoning models send content in parts."""
        for part in parts:
            if text := part.get("text"):
                self._turn.text(str(text))
            for thought in part.get("thinking") or ():
                self._turn.think(str(thought.get("text", "")))

    def _fragment(self, fragment: _Fragment) -> None:
        function = fragment.function or _NO_FUNCTION
        index = self._last if fragment.index is None else fragment.index
        if self._begins(index, fragment.id or "", function.name or ""):
            self._ids[index] = fragment.id or ""
            self._turn.call(index, fragment.id or "", function.name or "")
        self._last = index
        if arguments := function.arguments:
            text = arguments if isinstance(arguments, str) else encoded(arguments)
            self._turn.arguments(index, text)

    def _begins(self, index: int, call_id: str, name: str) -> bool:
        """Whether a fragment begins a call.

        Ollama and shims before Gemini send every parallel call with index 0 and an id of its own, others without
        ids; some servers repeat id and name on every fragment.
        """
        call = self._turn.calls.get(index)
        if call is None:
            return True
        known = self._ids[index]
        if call_id:
            return call_id != known and bool(known or name)
        return bool(name) and (name != call.name or call.whole)

    def _done(self) -> None:
        if self._turn.stop_reason is None:  # some servers never say why
            self._turn.stop("refusal" if self._refused else "stop")
        self._turn.end()


def _check(chunk: _Chunk) -> None:
    """A chunk without choices brings usage, nothing at all, or one of the shapes of an error."""
    if chunk.error:
        raise reported(chunk.error)
    if chunk.object == "error" or chunk.detail or (chunk.message and not chunk.usage):
        raise reported({"message": chunk.message or chunk.detail, "code": chunk.code})


def _usage(usage: _Usage) -> Usage:
    details = usage.prompt_tokens_details
    cached = details.cached_tokens if details else None
    return Usage(usage.prompt_tokens or 0, usage.completion_tokens or 0, cached or 0)
