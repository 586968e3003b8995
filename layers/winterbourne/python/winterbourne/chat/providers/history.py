"""A history as providers require it: the second pass of history normalization, after `core.history`. Pure.

Every call gets one result, every result has its call, and user and assistant messages alternate where they must.
"""

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
    """Drop system messages and put the results of each turn's calls directly after it, exactly one per call.

    Histories come from callers and from streams that broke. Providers reject a call without a result and a result
    without a call, so a missing result becomes an error result and a surplus one is dropped. Call ids may repeat in
    later turns: a result belongs to the turn before it.
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
    """Encode the normalized history as content blocks in alternating user and assistant messages.

    All results of one model turn go into one user message, together with the user's next message.

    Args:
        messages: The history.
        make_block: Encodes a part as a provider's block; returns None to omit the part.
        make_result_block: Encodes a tool's result as a provider's block.
    """
    turns: list[dict[str, Any]] = []
    for message in normalize_for_provider(messages):
        role = "assistant" if isinstance(message, AssistantMessage) else "user"
        parts = () if isinstance(message, (ToolMessage, SystemMessage)) else message.parts
        blocks = [block for part in parts if (block := make_block(part))]
        if isinstance(message, ToolMessage):
            blocks = [make_result_block(message)]
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    return turns


def build_system_prompt(request: ModelRequest) -> str:
    """Join all system instructions: `request.system` (settings first, then the caller's), then system messages."""
    texts = (message.text for message in request.messages if isinstance(message, SystemMessage))
    return "\n\n".join(text for text in (request.system, *texts) if text)


def tool_call_ids(request: ModelRequest) -> set[str]:
    """The ids of all tool calls in the history."""
    return {
        call.id for message in request.messages if isinstance(message, AssistantMessage) for call in message.tool_calls
    }


def arguments_json(call: ToolCall) -> str:
    """A call's arguments as the text of a JSON object, as providers require; broken ones are wrapped in an object.

    Valid arguments stay as the model wrote them, so that they match the provider's prompt cache, and because orjson
    parses deeper JSON than it serializes.
    """
    try:
        is_object = isinstance(orjson.loads(call.arguments or "{}"), dict)
    except orjson.JSONDecodeError:
        is_object = False
    return (call.arguments or "{}") if is_object else orjson.dumps({"broken_arguments": call.arguments}).decode()


def _missing_result(call: ToolCall) -> ToolMessage:
    return ToolMessage(call.id, call.name, "there is no result", is_error=True)
