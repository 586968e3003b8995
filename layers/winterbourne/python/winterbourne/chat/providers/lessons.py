"""What a model's refusals teach: what a refusal is about, and later requests as that model takes them. Pure.

Servers and models differ in what they take, and only their refusals say so. A lesson is a field of the request, with
the field to send instead, if any, or one of the names below, for what is no field.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from winterbourne.chat.core.history import with_parts
from winterbourne.chat.core.messages import (
    TOOL_CHOICE_AUTO,
    AssistantMessage,
    AssistantPart,
    Message,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.core.request_checks import limit_older_media
from winterbourne.chat.providers.errors import any_of, parse_body, parse_error_object

__all__ = [
    "ASKS_TO_THINK",
    "FOR_EVERY_MODEL",
    "LEAST_LIMIT",
    "MAX_TOKENS",
    "Learned",
    "apply_lessons",
    "max_tokens_allowed",
    "refused_for",
    "room_left",
]

Learned = Mapping[str, str | None]

FOR_EVERY_MODEL: Final[Learned] = dict.fromkeys(
    (
        *("tools", "tool_choice", "single_calls", "system", "images", "temperature"),
        *("cache", "cache_1h", "cache_tools", "cache_system", "cache_answers", "cache_messages"),
    )
)
"""The lessons that `apply_lessons` knows, a field that some models of every provider refuse, and marks for a cache."""

ASKS_TO_THINK: Final = frozenset({"reasoning_effort", "effort", "thinking", "reasoning"})
"""The fields that ask for reasoning."""

MAX_TOKENS: Final = "the most tokens of an answer"
"""The lesson that is a number: the most that `max_tokens` may be."""

LEAST_LIMIT: Final = 16
"""Less is another number of a refusal, such as a version; or too little for an answer."""

_TOO_MANY_TOKENS: Final = r"""
    max\w*[ _]?tokens.*(too large|at most|maximum|exceed|range|less than|> \d)
    maximum tokens.*exceed
    \d+ in the (completion|output)
"""
_WINDOW: Final = r"context (?:length|window)\D{1,20}(\d+)"
_INPUT: Final = r"(\d+) (?:input|in the messages|in the functions|of \w+ input)\b"

_QUOTED: Final = r"""(?<!\w)(['"])(?:(?!\1)\S)*\s(?:(?!\1).)*\1(?!\w)"""
"""What is quoted and no name: a caller may have written it, such as a part of a tool's schema."""

_MAX_SEARCHED_CHARS: Final = 1000  # the patterns' time must not depend on what the provider sends
_UNSUPPORTED: Final = r"""
    unsupported|(not|n't).support|no endpoints found that support
    unrecogni[sz]ed|unknown|unexpected|extra
    not.(allowed|permitted|accepted|available)|cannot be used|incompatible|instead|forbidden|deprecated
    no longer|only
"""
_OPAQUE: Final = r"(reasoning(_content|_details)?|thinking_blocks|extra_content|provider_specific_fields)\b"
_TOOL_USE: Final = r"['\"`]?(tools?|(tool|function).?(use|usage|call(s|ing)?))\b(?!.?choice|[\[.])"
_CACHE: Final = r"(prompt.?)?cach(e|ing).?(control|point|key)?"
_REASONS: Final = {  # not compiled at the start of the process: most processes never see a refusal
    "cache_1h": rf"{_CACHE}.{{0,60}}\bttl\b|\bttl\b.{{0,60}}{_CACHE}",
    **{
        f"cache_{name}": rf"\b{place}[./\[]\d.{{0,60}}cache.?(control|point)"
        for name, place in (("tools", "tools"), ("system", "system"), ("answers", "messages"), ("messages", "messages"))
    },
    "cache": r"cache.?(control|point|key)|prompt.?cach",
    "single_calls": r"single tool.?calls? at once",
    "call_ids": r"tool call ids? .*length( of)? 9|roles must alternate|unexpected role",
    "system": r"""
        (system|developer).(role|prompt|message|instruction)s?['\"`]? (is |are )?not (support|enabled|allowed)
        not support ['\"`]?(the )?(system|developer)\b
        roles must alternate
    """,
    "images": r"""
        (not|n't|that) support(s|ed)? (image|vision|multi.?modal)
        unknown variant `image_url`
        not a multimodal
        image\w* (input )?(is |are )?not supported
    """,
    "reasoning_effort": r"not support thinking",  # Ollama
    "tool_choice": r"(not|n't|that) .{0,60}tool.?choice|tool.?choice.{0,60}(not|incompatible)",
    "tools": rf"""
        (not|n't|un|that) ?support(ed|s)?( (the|param(eter)?s?))?:? [\[{{(]*{_TOOL_USE}
        {_TOOL_USE}['\"`]*.{{0,9}} (not( be)?|un) ?(support|enabled|available|allowed|permitted)
        {_TOOL_USE}: extra inputs
        (supplied|param(eter)?):? {_TOOL_USE}['\"`]*\.?$
        tool choice requires --
        tools param requires
        roles must alternate
    """,
    "opaque": rf"""
        (unsupported|unknown|additional propert).{{0,80}}\b{_OPAQUE}
        \b{_OPAQUE}.{{0,80}}(unsupported|extra input)
    """,
    "include": r"encrypted content is not supported",
    "encrypted_content": r"""
        encrypted.content.{0,200}(not be |invalid)|invalid_encrypted_content
        invalid \W?(signature|data)\W? in \W?(redacted_)?thinking
        thinking\W? blocks.{0,60} cannot be modified
        reasoningcontent is not supported
    """,  # reasoning that another model made, of which a client of /v1 cannot say whose it is
    "reasoning_content": r"reasoning_content",
    "reasoning_details": r"reasoning.details",
    "thought_signature": r"thought_?signature",
}


def refused_for(body: bytes) -> list[str]:
    """What a refusal may be about: what has another name than a field's, then every word that may be a field.

    `tools` is no such word: most refusals that have it are about one tool.
    """
    value, text = parse_body(body), _own_words(body)
    reasons = [name for name, pattern in _REASONS.items() if any_of(pattern).search(text)]
    error = value.get("error") if isinstance(value, dict) else None
    parameter = str(error.get("param")) if isinstance(error, dict) else ""
    words = re.findall(r"\w+", f"{parameter} {text}") if any_of(_UNSUPPORTED).search(text) else []
    return [*reasons, *(word for word in words if word != "tools")]


def max_tokens_allowed(body: bytes, sent: int | None) -> str | None:
    """The most tokens of an answer that a refusal of more allows; None if it is about something else."""
    text = _refusal_of_tokens(body)
    is_beyond = bool(any_of(r"exclusive|(lower|less) than(?! or)").search(text))
    numbers = map(int, re.findall(r"\d+", text))
    allowed = [number - is_beyond for number in numbers if LEAST_LIMIT <= number < (sent or 0)]
    return str(max(allowed)) if allowed else None


def room_left(body: bytes) -> int | None:
    """How many tokens a refusal of more leaves for the answer to its history; None if it does not say."""
    text = _refusal_of_tokens(body)
    window, sent = any_of(_WINDOW).search(text), re.findall(_INPUT, text)
    return int(window[1]) - sum(map(int, sent)) if window and sent else None


def _refusal_of_tokens(body: bytes) -> str:
    """The text of a refusal of too many tokens; empty for any other."""
    text = _own_words(body)
    return text if any_of(_TOO_MANY_TOKENS).search(text) else ""


def _own_words(body: bytes) -> str:
    return re.sub(_QUOTED, "", " ".join(parse_error_object(parse_body(body)))[:_MAX_SEARCHED_CHARS])


def apply_lessons(request: ModelRequest, learned: Learned) -> tuple[ModelRequest, Learned]:
    """A request as a model takes it that has taught this, and what of it is left for the encoder."""
    messages = request.messages
    if "images" in learned:  # the newest ones are refused, so that the user is told
        messages = limit_older_media(messages, images=0)
    if "single_calls" in learned:
        messages = tuple(_one_call_a_turn(messages))
    if "system" in learned and request.system:
        messages = (UserMessage((Text(request.system),)), *messages)
        request = msgspec.structs.replace(request, system="")
    if "tools" in learned:
        request = msgspec.structs.replace(request, tools=(), tool_choice=TOOL_CHOICE_AUTO)
        messages = tuple(map(_told_as_text, messages))
    if limit := learned.get(MAX_TOKENS):
        request = msgspec.structs.replace(request, max_tokens=min(request.max_tokens or int(limit), int(limit)))
    if request.tool_choice == "none":  # another choice was refused, while this one may be taken
        learned = {name: learned[name] for name in learned if name != "tool_choice"}
    elif "tool_choice" in learned:
        request = msgspec.structs.replace(request, tool_choice=TOOL_CHOICE_AUTO)
    return msgspec.structs.replace(request, messages=messages), learned


def _one_call_a_turn(messages: Iterable[Message]) -> Iterator[Message]:
    later: list[ToolCall] = []
    for message in messages:
        if isinstance(message, AssistantMessage):
            later = list(message.tool_calls[1:])
            yield msgspec.structs.replace(message, parts=tuple(part for part in message.parts if part not in later))
        else:
            yield message
            if isinstance(message, ToolMessage) and later:
                yield AssistantMessage((later.pop(0),))


def _told_as_text(message: Message) -> Message:
    if isinstance(message, ToolMessage):
        return UserMessage((Text(f"[result of {message.name}: {message.content}]"),))
    return with_parts(message, _call_as_text)


def _call_as_text(part: AssistantPart) -> AssistantPart:
    return Text(f"\n[called {part.name} with {part.arguments or '{}'}]") if isinstance(part, ToolCall) else part
