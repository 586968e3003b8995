"""The events that a conversation emits, as closed unions.

Providers emit `ModelEvent`, the tool executor emits `ToolEvent`; a `ChatEvent` is either of them or one of the
conversation's own events. Wire formats encode chat events into frames; `typing.assert_never` makes an event that one of
them forgets a type error. Events travel in batches: everything that one network read brought leaves in one write.

Independent of wire formats and vendors.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from winterbourne.chat.core.messages import Approval, Opaque, Source, Usage

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
    "SourceCited",
    "StopReason",
    "TerminalEvent",
    "TextDelta",
    "ToolApprovalRequested",
    "ToolArgumentsDelta",
    "ToolCallDropped",
    "ToolCallReady",
    "ToolCallSigned",
    "ToolCallStarted",
    "ToolEvent",
    "ToolFinished",
    "ToolProgressed",
    "ToolQueued",
    "ToolStarted",
    "ToolStatus",
    "TurnEnded",
    "TurnRetracted",
    "TurnStarted",
    "Usage",
]

StopReason: TypeAlias = Literal[
    "stop", "tool_calls", "max_tokens", "content_filter", "refusal", "max_turns", "approval", "pause"
]
"""Why a turn or a conversation ended. Only a conversation ends with `max_turns` or, while calls wait for a person, with
`approval`; only a turn with `pause`."""

ToolStatus: TypeAlias = Literal["completed", "failed", "timed_out", "cancelled", "denied"]
"""How a tool call ended; `denied` by a person, so that it was not run."""


class _Event(msgspec.Struct, frozen=True, gc=False, tag=True):
    """What all events have in common: the name of its class is the `type` of an event in a stream log."""


class TextDelta(_Event, frozen=True):
    """More of the answer's text. Never empty."""

    text: str


class ReasoningDelta(_Event, frozen=True):
    """More of the model's reasoning. Never empty."""

    text: str


class ReasoningEnded(_Event, frozen=True):
    """A block of reasoning is complete; the message part `Reasoning` explains what is opaque.

    Without text before it, it only carries opaque data, of a block or of the whole turn.
    """

    signature: str = ""
    redacted: str = ""
    opaque: Opaque | UnsetType = UNSET


class _ToolCallEvent(_Event, frozen=True):
    """What the events of a tool call have in common: the call's id and the tool's name."""

    id: str
    name: str


class ToolCallStarted(_ToolCallEvent, frozen=True):
    """The model has begun a tool call; its arguments follow."""


class ToolArgumentsDelta(_Event, frozen=True):
    """More of a call's arguments: a fragment of JSON text, split anywhere. Never empty."""

    id: str
    json: str


class ToolCallReady(_ToolCallEvent, frozen=True):
    """A call's arguments are complete. Emitted exactly once per call that may be run, after its ToolCallStarted."""

    arguments: str
    opaque: Opaque | UnsetType = UNSET


class ToolCallSigned(_Event, frozen=True):
    """Opaque data of a call that came only after its ToolCallReady; replaces what came with that."""

    id: str
    opaque: Opaque


class ToolCallDropped(_ToolCallEvent, frozen=True):
    """A call that was begun will neither be ready nor run: its model has failed. Other calls of the turn are ready."""


class SourceCited(_Event, frozen=True):
    """The model cites a source for the text before this event; an answer may cite one source often."""

    source: Source


class TurnRetracted(_Event, frozen=True):
    """What this turn has said so far is void, its reasoning, sources and calls included: it begins anew.

    No call of the turn has been ready. Emitted only for clients that can drop what they have shown. `failed` names the
    model that has failed, as `provider:model`; it is empty if the model goes on.
    """

    failed: str = ""


class TurnEnded(_Event, frozen=True):
    """The model has finished its turn; the last event of a provider's stream. `model` names it as `provider:model`."""

    stop_reason: StopReason
    usage: Usage = Usage()
    model: str = ""


ModelEvent: TypeAlias = (
    TextDelta
    | ReasoningDelta
    | ReasoningEnded
    | ToolCallStarted
    | ToolArgumentsDelta
    | ToolCallReady
    | ToolCallSigned
    | ToolCallDropped
    | SourceCited
    | TurnRetracted
    | TurnEnded
)
"""What a provider yields."""


class ToolQueued(_ToolCallEvent, frozen=True):
    """A call is waiting for a permit; emitted only if it has to wait."""


class ToolStarted(_ToolCallEvent, frozen=True):
    """A call has started. If its arguments turn out to be invalid, a failed ToolFinished follows.

    A call that a person has decided on has none if it is not run.
    """


class ToolProgressed(_ToolCallEvent, frozen=True):
    """A running tool reports progress. `data` is JSON text."""

    data: bytes


class ToolApprovalRequested(_ToolCallEvent, frozen=True):
    """A call waits for a person: the last of it in this answer. Its ToolCallReady came before."""

    approval: Approval


class ToolFinished(_ToolCallEvent, frozen=True):
    """The one last event of a call. `result` is JSON text, empty on failure; `error` is empty on success.

    `cached` is set if the call did not run: its result is that of an identical one before.
    """

    status: ToolStatus
    duration_ms: int
    result: bytes = b""
    error: str = ""
    cached: bool | UnsetType = UNSET


ToolEvent: TypeAlias = ToolQueued | ToolStarted | ToolProgressed | ToolApprovalRequested | ToolFinished
"""What happens to a tool call that the server runs."""


class ConversationStarted(_Event, frozen=True):
    """The first event. `message_id` identifies the answer that follows."""

    conversation_id: str
    message_id: str
    model: str


class TurnStarted(_Event, frozen=True):
    """The model is being asked; `turn` counts from 1. Its TurnEnded comes after the results of the turn's tools."""

    turn: int


class ConversationEnded(_Event, frozen=True):
    """Terminal event of a conversation that was answered.

    `stop_reason` is `tool_calls` only if the model called the client's own tools, and `approval` if calls wait for a
    person.
    """

    stop_reason: StopReason
    usage: Usage
    turns: int


class ConversationFailed(_Event, frozen=True):
    """Terminal event of a conversation that failed. What was emitted before stays valid.

    `message` and the fields after it are those of the `ChatError`, for callers; `request_id` leads to its log line.
    """

    code: str
    message: str
    request_id: str = ""
    status: int = 500
    is_transient: bool = False
    retry_after_s: float | None = None


class ConversationStopped(_Event, frozen=True):
    """Terminal event of a conversation stopped by its user or by the shutdown of the execution environment."""

    reason: Literal["user", "shutdown"]


TerminalEvent: TypeAlias = ConversationEnded | ConversationFailed | ConversationStopped
"""The last event of an answer, exactly one."""

ChatEvent: TypeAlias = ConversationStarted | TurnStarted | ModelEvent | ToolEvent | TerminalEvent
"""What an encoder is given."""

EventBatch: TypeAlias = Sequence[ChatEvent]
"""Events that leave in one write."""

Emit: TypeAlias = Callable[[EventBatch], Awaitable[None]]
"""Sends a batch. Runs without waiting until the bytes are on the socket; then waits only under backpressure."""
