"""A history as providers take it: every call answered, every answer asked for. Pure; shared by the providers."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from winterbourne.chat.core.messages import (
    AssistantMessage,
    AssistantPart,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
    UserPart,
)
from winterbourne.chat.providers.base import ModelRequest

__all__ = [
    "arguments_json",
    "build_system_prompt",
    "normalize_for_provider",
    "to_alternating_messages",
    "tool_call_ids",
]


def normalize_for_provider(messages: Sequence[Message]) -> list[Message]:
    """The messages without system ones, where each call is followed at once by its one result.

    Histories come from callers and from streams that broke. Providers reject a call without a result as well as a
    result without a call, so a missing result becomes an error result and one too many is left out. Ids may come
    again in later turns: a result belongs to the turn before it.
    """
    normalized: list[Message] = []
    results: dict[str, ToolMessage] = {}
    for message in reversed(messages):
        match message:
            case ToolMessage():
                results[message.tool_call_id] = message
            case AssistantMessage():
                normalized += (results.get(call.id) or _missing_result(call) for call in reversed(message.tool_calls))
                normalized.append(message)
                results = {}
            case UserMessage():
                normalized.append(message)
    return normalized[::-1]


def to_alternating_messages(
    messages: Sequence[Message],
    make_block: Callable[[UserPart | AssistantPart], dict[str, Any] | None],
    make_result_block: Callable[[ToolMessage], dict[str, Any]],
) -> list[dict[str, Any]]:
    """The messages in content blocks, user and assistant in turn.

    All results of one model turn go into one user message, together with what the user says next.

    Args:
        messages: The history.
        make_block: Makes a provider's block of a part; None leaves the part out.
        make_result_block: Makes a provider's block of a tool's result.
    """
    turns: list[dict[str, Any]] = []
    for message in normalize_for_provider(messages):
        role = "assistant" if isinstance(message, AssistantMessage) else "user"
        parts = () if isinstance(message, (ToolMessage, SystemMessage)) else message.parts
        blocks = [made for part in parts if (made := make_block(part))]
        if isinstance(message, ToolMessage):
            blocks = [make_result_block(message)]
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    return turns


def build_system_prompt(request: ModelRequest) -> str:
    """All instructions, the request's own first."""
    texts = (message.text for message in request.messages if isinstance(message, SystemMessage))
    return "\n\n".join(text for text in (request.system, *texts) if text)


def tool_call_ids(request: ModelRequest) -> set[str]:
    """The ids of all earlier calls."""
    return {
        call.id for message in request.messages if isinstance(message, AssistantMessage) for call in message.tool_calls
    }


def arguments_json(call: ToolCall) -> str:
    """A call's arguments as JSON text of an object, which is what providers take back; broken ones within one.

    What the model wrote goes back as it is: its provider's cache knows it, and orjson reads deeper JSON than it writes.
    """
    try:
        is_object = isinstance(orjson.loads(call.arguments or "{}"), dict)
    except orjson.JSONDecodeError:
        is_object = False
    return (call.arguments or "{}") if is_object else orjson.dumps({"broken_arguments": call.arguments}).decode()


def _missing_result(call: ToolCall) -> ToolMessage:
    return ToolMessage(call.id, call.name, "there is no result", is_error=True)
