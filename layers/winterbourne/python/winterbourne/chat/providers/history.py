"""What the providers' requests have in common: a history within a provider's rules, and as content blocks. Pure."""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import msgspec
import orjson

from winterbourne.chat.core.history import without_sources
from winterbourne.chat.core.messages import (
    AssistantMessage,
    AssistantPart,
    Source,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UserMessage,
    UserPart,
)
from winterbourne.chat.core.provider import ModelRequest

__all__ = ["IdRule", "Turn", "arguments_json", "fit_history", "offered_tools", "to_alternating_messages"]

OPENING: Final = "(The assistant begins the conversation.)"
"""The user turn before an answer that no question precedes, such as a greeting."""

EMPTY_RESULT: Final = "(no output)"

_SEPARATOR: Final = Text("\n\n")


class IdRule(msgspec.Struct, frozen=True):
    """Which ids or names a provider takes: those that match the whole pattern, `size` characters at most."""

    pattern: re.Pattern[str]
    size: int

    def fit(self, text: str) -> str:
        """The text itself, or always the same other one that fits: what is allowed of it, and a hash."""
        if self.pattern.fullmatch(text):
            return text
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        fitted = f"{re.sub(r'[^a-zA-Z0-9_-]+', '_', text)[-self.size :]}_{digest}"[-self.size :]
        return fitted if self.pattern.fullmatch(fitted) else f"x_{fitted}"[: self.size]


NAME_RULE: Final = IdRule(re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,63}"), 64)
"""The names of tools that every provider takes."""

BLOCK_IDS: Final = IdRule(re.compile(r"[a-zA-Z0-9_-]{1,64}"), 64)
"""The ids of calls that Anthropic and Bedrock take."""

ANY_IDS: Final = IdRule(re.compile(r".*", re.DOTALL), 64)


Turn: TypeAlias = UserMessage | AssistantMessage | ToolMessage


def fit_history(request: ModelRequest, id_rule: IdRule) -> list[Turn]:
    """A request's history within the rules that providers have for the order of messages, and for ids and names.

    It begins with the user, adjacent messages of one role are joined, no result is blank, and the arguments of calls
    are JSON objects. Names of called tools that are not offered, such as those that a model made up, have a form that
    every provider takes. System messages are left out.

    Args:
        request: Its history is normalized.
        id_rule: Which ids of calls the provider takes. They become unique in the history as well.
    """
    history: list[Turn] = []
    for message in _fit_calls(request, id_rule):
        last = history[-1] if history else None
        if last is None and not isinstance(message, UserMessage):
            history.append(UserMessage((Text(OPENING),)))
        if isinstance(message, UserMessage | AssistantMessage) and type(message) is type(last):
            parts = (*last.parts, _SEPARATOR, *message.parts)
            history[-1] = msgspec.structs.replace(message, parts=parts)
        else:
            history.append(message)
    return history


def _fit_calls(request: ModelRequest, id_rule: IdRule) -> Iterator[Turn]:
    names = [tool.name for tool in request.tools]
    used: set[str] = set()
    fitted: dict[str, str] = {}  # the ids of the latest turn
    for message in request.messages:
        match message:
            case AssistantMessage(parts):
                calls = (part for part in parts if isinstance(part, ToolCall))
                fitted = {call.id: _unused(call.id, id_rule, used) for call in calls}
                said = without_sources(parts) if any(isinstance(part, Source) for part in parts) else parts
                yield msgspec.structs.replace(message, parts=tuple(_fit_part(part, fitted, names) for part in said))
            case ToolMessage(call_id):
                content = message.content if message.content.strip() else EMPTY_RESULT
                yield msgspec.structs.replace(message, tool_call_id=fitted[call_id], content=content)
            case UserMessage():
                yield message


def _unused(call_id: str, id_rule: IdRule, used: set[str]) -> str:
    fitted, number = id_rule.fit(call_id), 1
    while fitted in used:
        number += 1
        fitted = id_rule.fit(f"{number}_{call_id}")  # before it: in LiteLLM's ids, Gemini's signature is at the end
    used.add(fitted)
    return fitted


def _fit_part(part: AssistantPart, ids: dict[str, str], names: Sequence[str]) -> AssistantPart:
    if not isinstance(part, ToolCall):
        return part
    name = part.name if part.name in names else NAME_RULE.fit(part.name)
    return msgspec.structs.replace(part, id=ids[part.id], name=name, arguments=arguments_json(part))


def offered_tools(request: ModelRequest) -> tuple[ToolSchema, ...]:
    """The request's tools; if there are none, those that its history calls: a history with calls requires tools."""
    turns = (message for message in request.messages if isinstance(message, AssistantMessage))
    names = dict.fromkeys(NAME_RULE.fit(call.name) for turn in turns for call in turn.tool_calls)
    called = (ToolSchema(name, "Not available any more.", {"type": "object", "properties": {}}) for name in names)
    return request.tools or tuple(called)


def to_alternating_messages(
    request: ModelRequest,
    make_block: Callable[[UserPart | AssistantPart], dict[str, Any] | None],
    make_result_block: Callable[[ToolMessage], dict[str, Any]],
) -> list[dict[str, Any]]:
    """Encode the history as content blocks in alternating user and assistant messages.

    All results of one model turn go into one user message, together with the user's next message.

    Args:
        request: Its history is encoded, without system messages, within the rules of Anthropic and Bedrock.
        make_block: Encodes a part as a provider's block; returns None to omit the part.
        make_result_block: Encodes a tool's result as a provider's block.
    """
    turns: list[dict[str, Any]] = []
    for message in fit_history(request, BLOCK_IDS):
        if isinstance(message, ToolMessage):
            blocks = [make_result_block(message)]
        else:
            blocks = [block for part in message.parts if (block := make_block(part))]
        role = "assistant" if isinstance(message, AssistantMessage) else "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    return turns


def arguments_json(call: ToolCall) -> str:
    """A call's arguments as the text of a JSON object, as providers require; broken ones are wrapped in an object.

    Valid arguments stay as the model wrote them, so that they match the provider's prompt cache, and because orjson
    parses deeper JSON than it serializes.
    """
    with contextlib.suppress(orjson.JSONDecodeError):
        if isinstance(orjson.loads(call.arguments or "{}"), dict):
            return call.arguments or "{}"
    with contextlib.suppress(ValueError, RecursionError):  # half a character, which orjson does not take
        if isinstance(value := json.loads(call.arguments, parse_constant=str), dict):
            text = json.dumps(value, ensure_ascii=False)
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return orjson.dumps({"broken_arguments": call.arguments}).decode()
