"""What the providers' requests have in common: a normalized history as blocks, and the arguments of calls. Pure."""

import contextlib
from collections.abc import Callable
from typing import Any

import orjson

from winterbourne.chat.core.messages import (
    AssistantMessage,
    AssistantPart,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserPart,
)
from winterbourne.chat.core.provider import ModelRequest

__all__ = ["arguments_json", "to_alternating_messages"]


def to_alternating_messages(
    request: ModelRequest,
    make_block: Callable[[UserPart | AssistantPart], dict[str, Any] | None],
    make_result_block: Callable[[ToolMessage], dict[str, Any]],
) -> list[dict[str, Any]]:
    """Encode the history as content blocks in alternating user and assistant messages.

    All results of one model turn go into one user message, together with the user's next message.

    Args:
        request: Its history is encoded, without system messages.
        make_block: Encodes a part as a provider's block; returns None to omit the part.
        make_result_block: Encodes a tool's result as a provider's block.
    """
    turns: list[dict[str, Any]] = []
    for message in request.messages:
        if isinstance(message, SystemMessage):
            continue
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
    return orjson.dumps({"broken_arguments": call.arguments}).decode()
