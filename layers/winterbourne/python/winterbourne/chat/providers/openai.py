"""Provider for OpenAI and compatible servers, such as vLLM, Ollama, Groq and LiteLLM, by streamed Chat Completions.

https://platform.openai.com/docs/api-reference/chat
OpenAI itself is asked by its Responses API, which is in `openai_responses`.
"""

import logging
import re
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar, Final

import msgspec

from winterbourne.chat.core.documents import PDF, placeholder
from winterbourne.chat.core.messages import (
    TOOL_CHOICES,
    AssistantMessage,
    AssistantPart,
    Document,
    Image,
    Message,
    Reasoning,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
    UserPart,
)
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.providers.caching import cache_key
from winterbourne.chat.providers.capabilities import Family
from winterbourne.chat.providers.errors import ErrorHints
from winterbourne.chat.providers.history import ANY_IDS, IdRule, Turn, fit_history
from winterbourne.chat.providers.http_provider import HttpProvider
from winterbourne.chat.providers.lessons import Learned
from winterbourne.chat.providers.opaque import UNSIGNED_CALL, call_fields, turn_fields
from winterbourne.chat.providers.openai_chunks import OpenAIParser
from winterbourne.chat.providers.output_format import openai_output
from winterbourne.chat.providers.provider_config import ApiKey, configure
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


def _encode_tools(request: ModelRequest) -> dict[str, Any]:
    choice = request.tool_choice
    return {
        "tools": [{"type": "function", "function": msgspec.structs.asdict(tool)} for tool in request.tools],
        "tool_choice": choice if choice in TOOL_CHOICES else {"type": "function", "function": {"name": choice}},
        "parallel_tool_calls": request.parallel_tool_calls,
    }


def _response_format(output: dict[str, Any] | None) -> dict[str, Any] | None:
    if not output or output["type"] == "json_object":
        return output
    return {"type": "json_schema", "json_schema": {name: output[name] for name in output if name != "type"}}


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
        self._is_official = self._host == _OFFICIAL_HOST
        self._wants_responses = self._uses_responses = self._prefers_responses()
        if self._wants_responses:
            from winterbourne.chat.providers import openai_responses  # noqa: PLC0415 - only if it is asked

            self._responses = openai_responses
            self._parsers["responses"] = openai_responses.ResponsesParser

    def _prefers_responses(self) -> bool:
        """Whether to ask by Responses: as OPENAI_API says, else OpenAI itself, if MODEL_EXTRA_BODY fits them."""
        api = self._settings.openai_api
        if api != "auto" or not self._is_official:
            return api == "responses"
        if chat_only := ", ".join(filter(self._extra_body.__contains__, _CHAT_ONLY.split())):
            _LOGGER.warning("OpenAI is asked by Chat Completions, because MODEL_EXTRA_BODY has %s", chat_only)
        return not chat_only

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
        output = self._output(request, learned)[1] if request.output else None
        own = {"model": request.model_id or self._model_id, **self._key(request, learned)}
        if self._uses_responses and not self._needs_chat(request):
            effort = extra_body.pop("reasoning_effort", None)
            fields = self._responses.request_fields(request, learned, output, effort)
            return self._responses.PATH, {**own, **fields, **extra_body}
        demanded = {*learned, *(["reasoning_content"] if self._echoes(request, extra_body) else [])}
        return "/chat/completions", {**own, **self._chat_fields(request, demanded, output), **extra_body}

    def _echoes(self, request: ModelRequest, extra_body: dict[str, Any]) -> bool:
        """Whether the server wants `reasoning_content` in every turn that called a tool: it thinks, or has sent it."""
        family, thinking = self._family(request.model_id), {**self._extra_body, **extra_body}.get("thinking")
        kind = thinking.get("type") if isinstance(thinking, dict) else None
        thinks = kind == "enabled" or (family.echoes and kind != "disabled" and (family.thinks or request.reasoning))
        return bool(thinks) or _has_reasoning_content(request.messages)

    def _needs_chat(self, request: ModelRequest) -> bool:
        """Whether a request has an option that Responses lacks, and Chat Completions may be asked instead."""
        is_auto = self._settings.openai_api == "auto"
        return is_auto and any(getattr(request, name) is not None for name in _CHAT_OPTIONS)

    def _key(self, request: ModelRequest, learned: Learned) -> dict[str, str]:
        """What leads alike requests to one cache."""
        has_key = request.conversation_id and "key" in self._cache_places(request, learned)
        return {"prompt_cache_key": cache_key(request.conversation_id)} if has_key else {}

    def _chat_fields(
        self, request: ModelRequest, demanded: Collection[str], output: dict[str, Any] | None
    ) -> dict[str, Any]:
        """The fields; OpenAI itself requires `max_completion_tokens`, which other servers do not know."""
        has_opaque = not (self._is_official or "opaque" in demanded)
        encode = partial(_encode_message, has_opaque=has_opaque, demanded=demanded)
        names = {"seed": "random_seed"} if self._host.endswith("mistral.ai") else {}  # https://docs.mistral.ai/api
        # Mistral's own API, or its models on another server, whose chat templates are as strict.
        is_mistral = bool(names) or bool(_MISTRAL.search(request.model_id or self._model_id))
        history = _fit_history(request, self._host, is_mistral=is_mistral or "call_ids" in demanded)
        system = [{"role": "system", "content": request.system}] if request.system else []
        return {
            "messages": [*system, *map(encode, history)],
            "stream": True,
            "stream_options": {"include_usage": True},
            **{names.get(name, name): getattr(request, name) for name in ("temperature", "top_p", *_CHAT_OPTIONS)},
            "response_format": _response_format(output),
            "max_completion_tokens" if self._is_official else "max_tokens": request.max_tokens,
            **(_encode_tools(request) if request.tools else {}),
        }


def make(settings: ModelSettings) -> "OpenAIProvider":
    """Make the provider for OPENAI_BASE_URL.

    Raises:
        SettingsError: The URL, the key or MODEL_EXTRA_BODY is invalid, or OpenAI's own URL has no key.
    """
    key, url, url_setting = configure("openai", settings)
    return OpenAIProvider(settings, key, ErrorHints(key.setting, url_setting), url)
