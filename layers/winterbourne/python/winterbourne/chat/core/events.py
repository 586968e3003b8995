"""Everything a conversation can say: two closed unions.

`ModelEvent` is what a model says, `ToolEvent` what the tool runner says, `ChatEvent` what the conversation says:
those two and its own words. Frontends turn chat events into frames; `typing.assert_never` keeps them complete.
Events travel in batches: everything that one read of the network brought, so that it leaves in one write.

Knows nothing of wire formats and of vendors.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeAlias

import msgspec

__all__ = [
    "ChatEvent",
    "ConversationEnded",
    "ConversationFailed",
    "ConversationStarted",
    "ConversationStopped",
    "Emit",
    "EventBatch",
    "ModelEvent",
    "ReasoningDelta",
    "ReasoningEnded",
    "StopReason",
    "TextDelta",
    "ToolArgumentsDelta",
    "ToolCallReady",
    "ToolCallStarted",
    "ToolEvent",
    "ToolFinished",
    "ToolProgressed",
    "ToolQueued",
    "ToolStarted",
    "ToolStatus",
    "TurnEnded",
    "TurnStarted",
    "Usage",
]

StopReason: TypeAlias = Literal["stop", "tool_calls", "max_tokens", "content_filter", "refusal", "max_turns", "pause"]
"""Why a turn or a conversation ended. `max_turns` is the conversation's own; `pause` only a model's."""

ToolStatus: TypeAlias = Literal["completed", "failed", "timed_out", "cancelled"]


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens, as the provider counted them. `cached` is the part of `input` read from the provider's cache."""

    input: int = 0
    output: int = 0
    cached: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.input + other.input, self.output + other.output, self.cached + other.cached)


# What a model says


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    """More of the answer. Never empty."""

    text: str


class ReasoningDelta(msgspec.Struct, frozen=True, gc=False):
    """More of what the model thinks aloud. Never empty."""

    text: str


class ReasoningEnded(msgspec.Struct, frozen=True, gc=False):
    """One block of reasoning is whole; see `messages.Reasoning` for the opaque strings."""

    signature: str = ""
    redacted: str = ""


class ToolCallStarted(msgspec.Struct, frozen=True, gc=False):
    """The model has named a call; its arguments follow."""

    id: str
    name: str


class ToolArgumentsDelta(msgspec.Struct, frozen=True, gc=False):
    """More of a call's arguments: a piece of JSON text, cut anywhere. Never empty."""

    id: str
    json: str


class ToolCallReady(msgspec.Struct, frozen=True, gc=False):
    """A call's arguments are complete. Comes exactly once per call that may be run, after its ToolCallStarted."""

    id: str
    name: str
    arguments: str


class TurnEnded(msgspec.Struct, frozen=True, gc=False):
    """The model has finished its turn; the last event of a model's stream."""

    stop_reason: StopReason
    usage: Usage = Usage()


ModelEvent: TypeAlias = (
    TextDelta | ReasoningDelta | ReasoningEnded | ToolCallStarted | ToolArgumentsDelta | ToolCallReady | TurnEnded
)


# What the tool runner says


class ToolQueued(msgspec.Struct, frozen=True, gc=False):
    """A call waits for a free place; only sent when it has to wait."""

    id: str
    name: str


class ToolStarted(msgspec.Struct, frozen=True, gc=False):
    """A call is being run. Its arguments may yet prove bad; then a ToolFinished says so."""

    id: str
    name: str


class ToolProgressed(msgspec.Struct, frozen=True, gc=False):
    """A running tool reports. `data` is JSON text."""

    id: str
    name: str
    data: bytes


class ToolFinished(msgspec.Struct, frozen=True, gc=False):
    """The one final word on a call. `result` is JSON text and empty on failure; `error` is empty on success."""

    id: str
    name: str
    status: ToolStatus
    duration_ms: int
    result: bytes = b""
    error: str = ""


ToolEvent: TypeAlias = ToolQueued | ToolStarted | ToolProgressed | ToolFinished


# What the conversation itself says


class ConversationStarted(msgspec.Struct, frozen=True, gc=False):
    """The first event. `message_id` names the answer that follows."""

    conversation_id: str
    message_id: str
    model: str


class TurnStarted(msgspec.Struct, frozen=True, gc=False):
    """The model is asked; `turn` counts from 1. Its TurnEnded comes after the results of its tools."""

    turn: int


class ConversationEnded(msgspec.Struct, frozen=True, gc=False):
    """The last event of a conversation that was answered.

    `stop_reason` is `tool_calls` only where the caller's own tools were asked for.
    """

    stop_reason: StopReason
    usage: Usage
    turns: int


class ConversationFailed(msgspec.Struct, frozen=True, gc=False):
    """The last event of a conversation that broke. What was said before stays valid."""

    code: str
    message: str


class ConversationStopped(msgspec.Struct, frozen=True, gc=False):
    """The last event of a conversation that was stopped: by its user, or by the end of the environment's life."""

    reason: Literal["user", "shutdown"]


ChatEvent: TypeAlias = (
    ConversationStarted
    | TurnStarted
    | ModelEvent
    | ToolEvent
    | ConversationEnded
    | ConversationFailed
    | ConversationStopped
)

EventBatch: TypeAlias = Sequence[ChatEvent]

Emit: TypeAlias = Callable[[EventBatch], Awaitable[None]]
"""Where events go. Synchronous until the bytes are on the socket; waits only while the client reads too slowly."""
