"""What is opaque in a history: which of it goes back to the server that is asked, and in which field. Pure.

A provider requires back what it sent with a turn or a call, such as a signature, and only the one that made it
understands it. What fields a server knows is told by what it sent, never by its name.
"""

import contextlib
import math
from collections.abc import Container, Sequence
from functools import lru_cache, partial
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import orjson
from msgspec import UNSET, Raw

from winterbourne.chat.core.history import NATIVE_SUMMARY, with_parts
from winterbourne.chat.core.messages import (
    TOOL_CHOICE_AUTO,
    AssistantMessage,
    AssistantPart,
    Message,
    Opaque,
    Reasoning,
    Source,
    Text,
    ToolCall,
    UserMessage,
)
from winterbourne.chat.core.provider import ModelRequest

__all__ = [
    "CALL_FIELDS",
    "UNSIGNED_CALL",
    "call_fields",
    "drop_foreign",
    "drop_unreadable",
    "fit_thinking",
    "origin_of",
    "turn_fields",
]

# The only fields that a history can add to a request: clients send it.
_TEXT_FIELDS: Final = ("reasoning_content", "reasoning")
CALL_FIELDS: Final = ("extra_content", "provider_specific_fields")
"""Of a call: the Gemini API's, and LiteLLM's."""

_THINKING_OPTIONS: Final = ("thinking", "reasoning_config")
_NO_SIGNATURE: Final = "skip_thought_signature_validator"  # https://ai.google.dev/gemini-api/docs/thought-signatures
_DETAIL_WITHOUT_SIGNATURE: Final = {
    "type": "reasoning.encrypted",
    "data": _NO_SIGNATURE,
    "format": "google-gemini-v1",
    "index": 0,
}
UNSIGNED_CALL: Final = {"extra_content": {"google": {"thought_signature": _NO_SIGNATURE}}}
"""The fields of a call that Gemini takes although it has not made it, or its signature was lost."""


@lru_cache
def origin_of(provider: str, base_url: str, model_id: str) -> str:
    """A tag for what a server and a model make: a digest of each, since clients see it and may not learn either."""
    server = f"{provider} {urlsplit(base_url).hostname}"
    return ".".join(sha256(name.encode()).hexdigest()[:8] for name in (server, model_id))


def drop_foreign(request: ModelRequest, origin: str) -> ModelRequest:
    """The request without what another server or model made. What has no tag stays."""
    drop = partial(_without_foreign, origin=origin)
    return msgspec.structs.replace(request, messages=tuple(with_parts(message, drop) for message in request.messages))


def _without_foreign(part: AssistantPart, origin: str) -> AssistantPart:
    """Another model of the same server still shows which field that server reads."""
    if isinstance(part, Text | Source) or not (opaque := part.opaque) or opaque.origin in {"", origin}:
        return part
    if isinstance(part, ToolCall):
        return msgspec.structs.replace(part, opaque=UNSET)
    is_same_server = opaque.origin.partition(".")[0] == origin.partition(".")[0]
    return Reasoning("", opaque=Opaque(field=opaque.field) if opaque.field and is_same_server else UNSET)


def fit_thinking(
    request: ModelRequest, options: dict[str, Any], *, is_signed: bool = True
) -> tuple[ModelRequest, dict[str, Any]]:
    """Make a request and its thinking options agree with what providers that think require.

    Thinking excludes a forced call, and for Claude a temperature. It is left out where the request allows fewer tokens
    than its budget, and within a tool loop without the reasoning that the loop began with, because the client did not
    send it back or another model made it.

    Args:
        request: What `drop_foreign` left of it.
        options: The fields of the request's body, or of a part of it, that switch thinking on.
        is_signed: Whether only signed reasoning counts.
    """
    thinking = [value for name in _THINKING_OPTIONS if isinstance(value := options.get(name), dict)]
    kinds = {value.get("type") for value in thinking}
    budgets = (value.get("budget_tokens") for value in thinking)
    is_too_short = any(isinstance(tokens, int) and tokens >= (request.max_tokens or math.inf) for tokens in budgets)
    if "enabled" in kinds and (is_too_short or _lacks_reasoning(request.messages, is_signed=is_signed)):
        others = {name: value for name, value in options.items() if name not in _THINKING_OPTIONS}
        return _drop_reasoning(request), others
    if not kinds & {"enabled", "adaptive"}:
        return request, options
    choice = "none" if request.tool_choice == "none" else TOOL_CHOICE_AUTO
    temperature = None if is_signed else request.temperature
    return msgspec.structs.replace(request, tool_choice=choice, temperature=temperature), options


def _lacks_reasoning(messages: Sequence[Message], *, is_signed: bool) -> bool:
    """Whether a tool loop is in progress that began with a turn without reasoning."""
    loop: list[AssistantMessage] = []
    for message in reversed(messages):
        if isinstance(message, AssistantMessage):
            if not loop and not message.tool_calls:
                return False
            loop.append(message)
        elif isinstance(message, UserMessage) and loop:
            break
    reasoning = [part for turn in loop[-1:] for part in turn.parts if isinstance(part, Reasoning)]
    return bool(loop) and not any(
        part.signature or part.redacted or (part.text and not is_signed) for part in reasoning
    )


def drop_unreadable(request: ModelRequest) -> ModelRequest:
    """The request without the reasoning that its provider cannot read; if there is none, without its own summaries."""
    rest = _drop_reasoning(request)
    return rest if rest != request else _drop_reasoning(request, keeps_summaries=False)


def _drop_reasoning(request: ModelRequest, *, keeps_summaries: bool = True) -> ModelRequest:
    def is_kept(part: AssistantPart) -> bool:
        return not isinstance(part, Reasoning) or (keeps_summaries and _is_summary(part))

    def rest(message: Message) -> Message:
        if not isinstance(message, AssistantMessage):
            return message
        return msgspec.structs.replace(message, parts=tuple(filter(is_kept, message.parts)))

    return msgspec.structs.replace(request, messages=tuple(map(rest, request.messages)))


def _is_summary(part: Reasoning) -> bool:
    return bool(part.opaque and part.opaque.field == NATIVE_SUMMARY)


def turn_fields(parts: Sequence[AssistantPart], demanded: Container[str] = ()) -> dict[str, Any]:
    """The fields of an assistant message beside text and calls, for an OpenAI-compatible server: those that it sent.

    Those that it demands and has not sent, or that were lost, have a value that stands in for them.
    """
    fields: dict[str, Any] = {}
    blocks, texts = [], dict[str, str]()
    details: list[Any] = []
    for part in parts:
        if not isinstance(part, Reasoning) or not (opaque := part.opaque):
            continue
        if part.signature or part.redacted:
            thought = {"type": "thinking", "thinking": part.text, "signature": part.signature}
            blocks.append({"type": "redacted_thinking", "data": part.redacted} if part.redacted else thought)
        texts[opaque.field] = texts.get(opaque.field, "") + part.text
        raw = _raw_fields(opaque)
        details += _raw_entries(raw.get("reasoning_details"))
        if "extra_content" in raw:
            fields["extra_content"] = orjson.Fragment(bytes(raw["extra_content"]))
    if calls := [part for part in parts if isinstance(part, ToolCall)]:  # elsewhere not needed, and once an error
        if "reasoning_content" in demanded:
            fields["reasoning_content"] = ""
        if "reasoning_details" in demanded and not details:
            details = [{**_DETAIL_WITHOUT_SIGNATURE, "id": calls[0].id}]
        fields |= {name: texts[name] for name in _TEXT_FIELDS if texts.get(name)}
    if blocks:
        fields["thinking_blocks"] = blocks
    if details:
        fields["reasoning_details"] = details
    return fields


def call_fields(call: ToolCall) -> dict[str, Any]:
    """The fields of a call beside its function, likewise."""
    raw = _raw_fields(call.opaque) if call.opaque else {}
    return {name: orjson.Fragment(bytes(raw[name])) for name in CALL_FIELDS if name in raw}


def _raw_fields(opaque: Opaque) -> dict[str, Raw]:
    """The fields as they were written; none if a client sends back what is not an object."""
    with contextlib.suppress(ValueError, RecursionError):
        orjson.loads(opaque.fields or "{}")  # msgspec does not look into what it leaves raw
        return msgspec.json.decode(opaque.fields or "{}", type=dict[str, Raw])
    return {}


def _raw_entries(entries: Raw | None) -> list[orjson.Fragment]:
    with contextlib.suppress(ValueError):
        return [orjson.Fragment(bytes(value)) for value in msgspec.json.decode(entries or b"[]", type=list[Raw])]
    return []
