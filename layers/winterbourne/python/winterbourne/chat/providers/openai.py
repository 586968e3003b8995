"""Provider for OpenAI and compatible servers, such as vLLM, Ollama, Groq and LiteLLM, by streamed Chat Completions.

https://platform.openai.com/docs/api-reference/chat-streaming
OpenAI itself is asked by its Responses API, which is in `openai_responses`.
Compatible servers differ in small ways; `OpenAIParser` accepts the known differences, each with a comment.
"""

import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import msgspec

from winterbourne.chat.core.documents import PDF, placeholder
from winterbourne.chat.core.events import Usage
from winterbourne.chat.core.messages import (
    AssistantMessage,
    AssistantPart,
    Document,
    Image,
    Message,
    Reasoning,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UserMessage,
    UserPart,
)
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.providers.caching import cache_key
from winterbourne.chat.providers.capabilities import Family
from winterbourne.chat.providers.errors import ErrorHints, mid_stream_error, raise_if_error
from winterbourne.chat.providers.history import ANY_IDS, IdRule, Turn, fit_history
from winterbourne.chat.providers.http_provider import HttpProvider
from winterbourne.chat.providers.lessons import Learned
from winterbourne.chat.providers.opaque import UNSIGNED_CALL, call_fields, turn_fields
from winterbourne.chat.providers.output_format import openai_output
from winterbourne.chat.providers.provider_config import ApiKey, configure
from winterbourne.chat.providers.stream_parser import (
    StreamParser,
    decode_leniently,
    encode_arguments,
    text_of,
    token_count,
)
from winterbourne.chat.settings import ModelSettings
from winterbourne.override import override

__all__ = ["OpenAIParser", "OpenAIProvider", "make"]

DEFAULT_MODEL: Final = "gpt-5.4-mini"
_OFFICIAL_HOST: Final = "api.openai.com"
_OPENAI_HOSTS: Final = ("openai.com", "azure.com")
_PDF_HOSTS: Final = (*_OPENAI_HOSTS, "openrouter.ai")
_OPENAI_IDS: Final = IdRule(re.compile(r".{1,40}", re.DOTALL), 40)
_MISTRAL_IDS: Final = IdRule(re.compile(r"[a-zA-Z0-9]{9}"), 9)
_UNANSWERED: Final = "(no answer)"
_LOGGER: Final = logging.getLogger(__name__)
_CHAT_OPTIONS: Final = ("stop", "seed", "presence_penalty", "frequency_penalty")
_CHAT_ONLY: Final = """
    audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens messages
    modalities n prediction presence_penalty reasoning_effort response_format seed stop verbosity web_search_options
"""
"""The fields of a request that Chat Completions has, and Responses has not."""
_MISTRAL: Final = re.compile(r"(mis|mix|minis|magis|codes|devs|pix|vox)tral", re.IGNORECASE)


def _fit_history(request: ModelRequest, host: str, *, is_mistral: bool) -> Iterator[Turn]:
    """The history within the server's rules.

    OpenAI takes short ids only. Mistral takes ids of nine letters and digits, and after results no question before the
    model's answer. Other servers get every id back as they made it: in LiteLLM's, Gemini's signature is kept.
    """
    rule, last = _MISTRAL_IDS if is_mistral else _OPENAI_IDS if host.endswith(_OPENAI_HOSTS) else ANY_IDS, None
    for message in fit_history(request, rule):
        if is_mistral and isinstance(last, ToolMessage) and isinstance(message, UserMessage):
            yield AssistantMessage((Text(_UNANSWERED),))
        yield (last := message)


def _has_reasoning_content(messages: Sequence[Message]) -> bool:
    """Whether the server has sent `reasoning_content`: it then wants the field in every turn that called a tool."""
    turns = (message for message in messages if isinstance(message, AssistantMessage))
    parts = (part for turn in turns for part in turn.parts if isinstance(part, Reasoning))
    return any(part.opaque and part.opaque.field == "reasoning_content" for part in parts)


def _encode_message(message: Turn, *, has_opaque: bool, demanded: Collection[str]) -> dict[str, Any]:
    match message:
        case UserMessage(parts):
            return {"role": "user", "content": _encode_content(parts)}
        case AssistantMessage(parts):
            turn = _encode_turn(parts, has_opaque=has_opaque)
            if has_opaque and (demanded or any(isinstance(part, Reasoning) for part in parts)):
                turn |= turn_fields(parts, demanded)
            if "thought_signature" in demanded and "tool_calls" in turn:
                turn["tool_calls"][0] = {**UNSIGNED_CALL, **turn["tool_calls"][0]}
            return turn
        case ToolMessage(call_id, _, content):
            return {"role": "tool", "tool_call_id": call_id, "content": content}


def _encode_content(parts: Sequence[UserPart]) -> str | list[dict[str, Any]]:
    # Some servers accept text without images only as a string, so parts are sent only if there is an image.
    texts = [part.text for part in parts if isinstance(part, Text)]
    if len(texts) == len(parts):
        return "".join(texts)
    said = (part for part in parts if not isinstance(part, Text) or part.text.strip())  # blank text is rejected
    return [*map(_encode_part, said)]


def _encode_part(part: UserPart) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Image(media_type, data, url):
            return {"type": "image_url", "image_url": {"url": url or f"data:{media_type};base64,{data}"}}
        case Document(media_type, name, url=url) if url:  # which Responses alone take
            return {"type": "text", "text": placeholder(media_type, name)}
        case Document(_, name, data):
            file = {"filename": name or "document.pdf", "file_data": f"data:{PDF};base64,{data}"}
            return {"type": "file", "file": file}


def _encode_turn(parts: Sequence[AssistantPart], *, has_opaque: bool) -> dict[str, Any]:
    text = "".join(part.text for part in parts if isinstance(part, Text))
    calls = [_encode_call(part, has_opaque=has_opaque) for part in parts if isinstance(part, ToolCall)]
    return {"role": "assistant", "content": text if text.strip() else None, **({"tool_calls": calls} if calls else {})}


def _encode_call(call: ToolCall, *, has_opaque: bool) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    opaque = call_fields(call) if has_opaque and call.opaque else {}
    return {"id": call.id, "type": "function", "function": function, **opaque}


def _encode_tools(tools: Sequence[ToolSchema], choice: str) -> dict[str, Any]:
    is_named_tool = choice not in {"auto", "none", "required"}
    functions = ({"name": tool.name, "description": tool.description, "parameters": tool.parameters} for tool in tools)
    return {
        "tools": [{"type": "function", "function": function} for function in functions],
        "tool_choice": {"type": "function", "function": {"name": choice}} if is_named_tool else choice,
    }


def _response_format(output: dict[str, Any] | None) -> dict[str, Any] | None:
    if not output or output["type"] == "json_object":
        return output
    return {"type": "json_schema", "json_schema": {name: output[name] for name in output if name != "type"}}


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: Any = None


class _ToolCallDelta(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None
    extra_content: Any = None  # the Gemini API
    provider_specific_fields: Any = None  # LiteLLM


class _ThinkingBlock(msgspec.Struct):
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


class _Delta(msgspec.Struct):
    content: Any = None  # a string; of some models a list of parts
    reasoning_content: Any = None  # DeepSeek, older vLLM, LiteLLM
    reasoning: Any = None  # vLLM, Ollama, Groq, OpenRouter
    tool_calls: list[_ToolCallDelta] | None = None
    function_call: _Function | None = None  # what `tool_calls` was before there could be several
    refusal: str | None = None
    thinking_blocks: Any = None  # LiteLLM, for Claude; next to `reasoning_content`
    reasoning_details: Any = None  # OpenRouter, next to `reasoning`
    extra_content: Any = None  # the Gemini API
    error: Any = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Delta | None = None
    message: _Delta | None = None  # whole, of servers that do not stream
    text: str | None = None  # of the older Completions
    finish_reason: str | None = None
    native_finish_reason: str | None = None  # OpenRouter: that of the provider behind it
    error: Any = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None
    code: Any = None


_decode: Final = msgspec.json.Decoder(_Chunk).decode
_CALL_FIELDS: Final = ("extra_content", "provider_specific_fields")
_NO_FUNCTION: Final = _Function()


class OpenAIParser(StreamParser[bytes]):
    """Parses one streamed completion into events."""

    # The provider's own id of the call that is open at an index.
    _ids: dict[int, str] = msgspec.field(default_factory=dict)
    # Id and arguments of a call whose name has not come yet.
    _unnamed: dict[int, tuple[str, str]] = msgspec.field(default_factory=dict)
    _last_index: int = 0
    _has_messages: bool = False

    @override
    def _handle_frame(self, frame: bytes) -> None:
        if frame == b"[DONE]":
            if self.assembler.stop_reason is None:  # some servers never send a finish reason
                self._stop()
            self.assembler.finish()
            return
        try:
            chunk = _decode(frame)
        except (ValueError, RecursionError):
            chunk = decode_leniently(frame, _Chunk)
        if chunk.usage:
            self.assembler.usage = _to_usage(chunk.usage)
        for choice in chunk.choices or ():
            if choice.index:  # we never ask for more than one choice
                continue
            if choice.delta:
                self._handle_delta(choice.delta)
            if choice.message or choice.text or choice.error or (choice.delta and choice.delta.error):
                self._handle_unusual_choice(choice)
            if choice.finish_reason:
                _raise_if_error(chunk, frame)
                self._stop(choice.finish_reason, choice.native_finish_reason or "")
        _raise_if_error(chunk, frame)

    def _handle_unusual_choice(self, choice: _Choice) -> None:
        """Handle an error, or a message that is not streamed; after the deltas it consists of it says nothing new."""
        if error := choice.error or (choice.delta and choice.delta.error):
            raise mid_stream_error(error)
        if self._has_messages or not self.assembler.has_answer:
            self._has_messages = True
            self._handle_delta(choice.message or _Delta(choice.text))

    def _handle_delta(self, delta: _Delta) -> None:
        if (
            delta.reasoning_content
            or delta.reasoning
            or delta.thinking_blocks
            or delta.reasoning_details
            or delta.extra_content
        ):
            self._handle_reasoning(delta)
        if content := delta.content:
            if isinstance(content, str):
                self.assembler.add_text(content)
            else:
                self._handle_content_parts(content)
        if delta.refusal:
            self.assembler.has_refused = True
            self.assembler.add_text(delta.refusal)
        for fragment in delta.tool_calls or ():
            self._handle_tool_call_delta(fragment)
        if delta.function_call:
            self._handle_tool_call_delta(_ToolCallDelta(function=delta.function_call))

    def _handle_reasoning(self, delta: _Delta) -> None:
        field, text = "reasoning", delta.reasoning
        if delta.reasoning_content:
            field, text = "reasoning_content", delta.reasoning_content
        blocks = _thinking_blocks(delta.thinking_blocks)
        if any(block.thinking for block in blocks):  # the same text, and where a block ends
            text = None
        if text := text_of(text):
            self.assembler.add_reasoning(text, field)
        for block in blocks:
            self._handle_thinking_block(block, field if delta.reasoning_content else "")
        if isinstance(details := delta.reasoning_details, list) and details:
            self.assembler.add_turn_fields({"reasoning_details": details})
        if isinstance(extra := delta.extra_content, dict) and extra and not _marks_thought(extra):
            self.assembler.add_turn_fields({"extra_content": extra})

    def _handle_thinking_block(self, block: _ThinkingBlock, field: str) -> None:
        """Handle a block or a piece of one, whose end only the next one shows."""
        if self.assembler.signature and (block.thinking or block.data):
            self.assembler.end_reasoning()
        if block.thinking:
            self.assembler.add_reasoning(block.thinking, field)
        if block.signature:
            self.assembler.sign_reasoning(block.signature)
        if block.data:
            self.assembler.end_reasoning(redacted=block.data)

    def _handle_content_parts(self, parts: Any) -> None:
        """Handle content in parts, as Mistral's reasoning models send it. Parts without text are left out."""
        for part in parts if isinstance(parts, list) else (parts,):
            is_reasoning = isinstance(part, dict) and part.get("type") in ("thinking", "reasoning")
            if text := text_of(part):
                (self.assembler.add_reasoning if is_reasoning else self.assembler.add_text)(text)

    def _handle_tool_call_delta(self, fragment: _ToolCallDelta) -> None:
        function = fragment.function or _NO_FUNCTION
        index = self._last_index if fragment.index is None else fragment.index
        self._last_index = index
        call_id, name = fragment.id or "", function.name or ""
        arguments = function.arguments or ""
        if not isinstance(arguments, str):
            arguments = encode_arguments(arguments)
        if index in self._unnamed or not (name or index in self.assembler.calls):
            known_id, known_arguments = self._unnamed.pop(index, ("", ""))
            call_id, arguments = call_id or known_id, known_arguments + arguments
            if not name:
                self._unnamed[index] = call_id, arguments
                return
        if self._starts_tool_call(index, call_id, name):
            self._ids[index] = call_id
            self.assembler.start_tool_call(index, call_id, name)
        fields = {name: value for name in _CALL_FIELDS if isinstance(value := getattr(fragment, name), dict) and value}
        if fields:
            self.assembler.sign_tool_call(index, fields)
        if arguments:
            self.assembler.add_arguments(index, arguments)

    def _starts_tool_call(self, index: int, call_id: str, name: str) -> bool:
        """Whether a fragment starts a new call.

        Ollama and compatibility layers for Gemini send every parallel call with index 0 and an id of its own, others
        without ids; some servers repeat id and name in every fragment.
        """
        call = self.assembler.calls.get(index)
        if call is None:
            return True
        known_id = self._ids[index]
        if call_id:
            return call_id != known_id and bool(known_id or name)
        return bool(name) and (name != call.name or call.is_complete)

    def _stop(self, reason: str = "", native_reason: str = "") -> None:
        if reason.lower() in {"null", "none"}:
            return
        for index, (call_id, arguments) in self._unnamed.items():  # the model is told that there is no such tool
            self._ids[index] = call_id
            self.assembler.start_tool_call(index, call_id, "")
            self.assembler.add_arguments(index, arguments)
        self._unnamed.clear()
        self.assembler.stop(reason, native_reason)


def _thinking_blocks(value: Any) -> list[_ThinkingBlock]:
    try:
        return msgspec.convert(value or [], list[_ThinkingBlock])
    except msgspec.ValidationError:
        return []


def _marks_thought(extra_content: dict[str, Any]) -> bool:
    """Whether this only says that the delta's text is a thought, which is not true of the whole turn."""
    google = extra_content.get("google")
    return isinstance(google, dict) and bool(google.get("thought")) and "thought_signature" not in google


def _raise_if_error(chunk: _Chunk, frame: bytes) -> None:
    if chunk.error or chunk.code or not chunk.choices:
        raise_if_error(frame, error=chunk.error, code=chunk.code)


def _to_usage(usage: Any) -> Usage:
    usage = usage if isinstance(usage, dict) else {}
    cached = _detail(usage, "prompt_tokens_details", "cached_tokens")
    written = _detail(usage, "prompt_tokens_details", "cache_write_tokens")
    reasoning = _detail(usage, "completion_tokens_details", "reasoning_tokens")
    counts = {"input": usage.get("prompt_tokens"), "output": usage.get("completion_tokens")}
    counts |= {"cached": cached, "cache_write": written, "reasoning": reasoning}
    return Usage(**{name: token_count(count) or 0 for name, count in counts.items()})


def _detail(usage: dict[str, Any], group: str, name: str) -> Any:
    return details.get(name) if isinstance(details := usage.get(group), dict) else None


def _wants_responses(settings: ModelSettings, extra_body: Mapping[str, Any]) -> bool:
    """Whether to ask by Responses: as OPENAI_API says, else OpenAI itself, if MODEL_EXTRA_BODY was written for it."""
    is_official = urlsplit(settings.openai_base_url).hostname == _OFFICIAL_HOST
    if settings.openai_api != "auto" or not is_official:
        return settings.openai_api == "responses"
    if chat_only := ", ".join(filter(extra_body.__contains__, _CHAT_ONLY.split())):
        _LOGGER.warning("OpenAI is asked by Chat Completions, because MODEL_EXTRA_BODY has %s", chat_only)
    return not chat_only


class OpenAIProvider(HttpProvider):
    """Calls Responses or Chat Completions through the shared connection pool."""

    name = "openai"
    default_model = DEFAULT_MODEL
    parser_type = OpenAIParser
    signs_reasoning = False
    lessons: ClassVar = {
        **HttpProvider.lessons,
        "max_tokens": "max_completion_tokens",
        "max_completion_tokens": "max_tokens",
        **dict.fromkeys(("stream_options", "parallel_tool_calls", "reasoning_effort", "include", "effort", "summary")),
        **dict.fromkeys(("response_format", "json_schema", "context_management")),
        **dict.fromkeys(("call_ids", "opaque", "reasoning_content", "reasoning_details", "thought_signature")),
    }

    output_lessons = frozenset({"response_format", "json_schema"})
    constrain = staticmethod(openai_output)

    def __init__(self, settings: ModelSettings, api_key: ApiKey, error_hints: ErrorHints, base_url: str) -> None:
        super().__init__(settings, api_key, error_hints, base_url)
        self._wants_responses = self._uses_responses = _wants_responses(settings, self._extra_body)
        if self._wants_responses:
            from winterbourne.chat.providers import openai_responses  # noqa: PLC0415 - only if it is asked

            self._responses = openai_responses
            self._parsers["responses"] = openai_responses.ResponsesParser

    @override
    def capabilities(self, model_id: str) -> Family:
        """What a model takes; Responses alone has fewer options than Chat Completions."""
        known = super().capabilities(model_id)
        if not self._wants_responses:
            return msgspec.structs.replace(known, compacts=False)
        takes_urls = self._uses_responses and bool(known.documents)
        options = known.options if self._settings.openai_api == "auto" else known.options & self._responses.OPTIONS
        return msgspec.structs.replace(known, options=options, document_urls=takes_urls)

    @override
    def _asks_elsewhere(self, status: int, path: str) -> bool:
        """Whether Chat Completions are asked from now on, because the server has no Responses.

        If Chat Completions are not found either, it is not for that.
        """
        if status not in {404, 405} or not self._wants_responses:
            return False
        self._uses_responses = not path.endswith(self._responses.PATH)
        if not self._uses_responses:
            _LOGGER.warning("the server has no Responses (HTTP %d): it is asked by Chat Completions", status)
        return not self._uses_responses

    @override
    def _request_fields(
        self, request: ModelRequest, extra_body: dict[str, Any], learned: Learned
    ) -> tuple[str, dict[str, Any]]:
        model = request.model_id or self._model_id
        output = self._output(request, learned)[1] if request.output else None
        if self._uses_responses and not self._needs_chat(request):
            effort = extra_body.pop("reasoning_effort", None)
            fields = self._responses.request_fields(request, model, learned, output, effort)
            return self._responses.PATH, {**fields, **self._key(request, learned), **extra_body}
        fields = self._chat_fields(request, extra_body, model, learned, output)
        return "/chat/completions", {**self._key(request, learned), **fields}

    def _needs_chat(self, request: ModelRequest) -> bool:
        """Whether a request has an option that Responses lacks, and Chat Completions may be asked instead."""
        is_auto = self._settings.openai_api == "auto"
        return is_auto and any(getattr(request, name) is not None for name in _CHAT_OPTIONS)

    def _key(self, request: ModelRequest, learned: Learned) -> dict[str, str]:
        """What leads alike requests to one cache."""
        has_key = request.conversation_id and "key" in self._cache_places(request, learned)
        return {"prompt_cache_key": cache_key(request.conversation_id)} if has_key else {}

    def _chat_fields(
        self,
        request: ModelRequest,
        extra_body: dict[str, Any],
        model: str,
        learned: Learned,
        output: dict[str, Any] | None,
    ) -> dict[str, Any]:
        """The fields; OpenAI itself requires `max_completion_tokens`, which other servers do not know."""
        settings = self._settings
        host = urlsplit(settings.openai_base_url).hostname or ""
        is_official = host == _OFFICIAL_HOST
        demanded = set(learned)
        if _has_reasoning_content(request.messages):
            demanded.add("reasoning_content")
        family = self._family(request.model_id)
        thinking = extra_body.get("thinking", self._extra_body.get("thinking"))
        kind = thinking.get("type") if isinstance(thinking, dict) else None
        if kind == "enabled" or (family.echoes and kind != "disabled" and (family.thinks or request.reasoning)):
            demanded.add("reasoning_content")
        encode = partial(_encode_message, has_opaque=not (is_official or "opaque" in learned), demanded=demanded)
        # Mistral's own API, or its models on another server, whose chat templates are as strict.
        is_mistral = "call_ids" in learned or host.endswith("mistral.ai") or bool(_MISTRAL.search(model))
        return {
            "model": model,
            "messages": [
                *([{"role": "system", "content": request.system}] if request.system else ()),
                *map(encode, _fit_history(request, host, is_mistral=is_mistral)),
            ],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stop": request.stop,
            "seed": request.seed,
            "presence_penalty": request.presence_penalty,
            "frequency_penalty": request.frequency_penalty,
            "parallel_tool_calls": request.parallel_tool_calls if request.tools else None,
            "response_format": _response_format(output),
            "max_completion_tokens" if is_official else "max_tokens": request.max_tokens,
            **(_encode_tools(request.tools, request.tool_choice) if request.tools else {}),
            **extra_body,
        }


def make(settings: ModelSettings) -> "OpenAIProvider":
    """Make the provider for OPENAI_BASE_URL.

    Raises:
        SettingsError: The URL, the key or MODEL_EXTRA_BODY is invalid, or OpenAI's own URL has no key.
    """
    key, url, url_setting = configure("openai", settings)
    return OpenAIProvider(settings, key, ErrorHints(key.setting, url_setting), url)
