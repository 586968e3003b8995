"""A tool call in progress, the model turn it belongs to, its tool, and the run it waits for.

The data that the executor, the call group and the wrappers around a run share.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeAlias

import msgspec

from winterbourne.chat.core.events import Emit
from winterbourne.chat.core.messages import Approval, ApprovalKind, Decision, ToolCall, ToolMessage
from winterbourne.chat.errors import InputRequired
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Call, Tool
from winterbourne.chat.tool_runtime.keys import ToolKeys
from winterbourne.chat.tool_runtime.permits import Semaphore
from winterbourne.chat.tool_runtime.progress import CoalescedProgress
from winterbourne.chat.tool_runtime.results import Outcome

__all__ = ["ActiveCall", "CallRecords", "Gate", "PreparedTool", "RunCalls", "RunSlot", "ToolRun", "Turn"]


class Turn(msgspec.Struct, frozen=True, eq=False):
    """What the calls of one model turn have in common.

    Attributes:
        emit: Receives the events; what it raises is raised to whoever awaits the call.
        deadline: When tools must end, on the event loop's clock, in seconds.
        request_id: For the tools' contexts.
        caller_id: For the tools' contexts, and for results that are cached per caller.
        semaphore: Limits how many runs of the turn are in flight.
        all_started: Set when the model's turn has ended, so that no more calls can come.
        open_batches: By tool; the runs that calls may still join, see `batching`.
        conversation_id: What approvals and idempotency keys belong to.
        question: What is answered; part of the idempotency keys.
        approvals: What the client can ask a person.
    """

    emit: Emit
    deadline: float
    request_id: str
    caller_id: str
    semaphore: Semaphore
    all_started: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    open_batches: "dict[str, ToolRun]" = {}
    conversation_id: str = ""
    question: str = ""
    approvals: ApprovalKind = "none"


class ActiveCall(msgspec.Struct, eq=False):
    """One tool call, and what is known and has been reported about it.

    Attributes:
        tool_call: The call as the model wrote it.
        arguments: Validated, once the call is resolved.
        identity: The arguments as JSON text that equal calls have in common, if the tool compares calls; from before
            the run, which may change them. Empty if they cannot be compared: such a call runs by itself.
        run: The run it waits for, or has waited for.
        started_at: Its duration is measured from here, on the event loop's clock; None until it runs.
        message: The message for the model; None until the call is finished.
        emit_error: What `emit` raised when it could not be raised further.
        decisions: What a person has decided, if it waited for that; some may be on other calls.
        decision: The one of these that was signed for this call; None until it is found.
        is_edited: Whether that person has changed the arguments.
        input_required: What it needs to go on, if it has stopped for that.
        input_response: What it stopped for, once a person has filled it in: its state, and the answer.
        approval: What a person is asked, if it waits for that now; it is not finished in this answer.
        idempotency_key: What the same call has in common whenever it is run, if it is to be run once; else empty.
    """

    turn: Turn
    tool_call: ToolCall
    arguments: Any = None
    identity: bytes = b""
    run: "ToolRun | None" = None
    started_at: float | None = None
    message: ToolMessage | None = None
    emit_error: Exception | None = None
    decisions: Sequence[Decision] | None = None
    decision: Decision | None = None
    is_edited: bool = False
    approval: Approval | None = None
    input_required: InputRequired | None = None
    input_response: tuple[str, dict[str, Any]] | None = None
    idempotency_key: str = ""

    def identify(self) -> None:
        """Set the identity."""
        with contextlib.suppress(TypeError, ValueError, RecursionError):
            self.identity = msgspec.json.encode(self.arguments, order="sorted")


class CallRecords(Protocol):
    """Records of calls that outlive a process. Every method may raise StorageUnavailable."""

    async def claim(self, key: str, body: bytes, expires_at_s: int, /) -> bool:
        """Write a record if there is none of this key; returns whether it was written."""

    async def read(self, key: str, /) -> bytes | None:
        """The record of this key, or None."""

    async def write(self, key: str, body: bytes, expires_at_s: int, /) -> None:
        """Write a record that was claimed."""

    async def release(self, key: str, /) -> None:
        """Delete a record, so that it can be claimed again."""


class ToolRun(msgspec.Struct, eq=False):
    """One run of a tool in its own task, so that a tool that ignores its cancellation holds up no caller.

    Attributes:
        calls: The calls whose arguments it runs with: one, or those of a batch.
        task: Returns an outcome for each of `calls`, whatever the tool does, unless it is cancelled.
        subscribers: The calls that wait for it. Without any it is abandoned, and must not be joined.
        semaphores: Those whose permits it holds; empty once they are released.
        progress: What it reports, to all that wait for it.
    """

    calls: list[ActiveCall]
    task: "asyncio.Task[Sequence[Outcome]]"
    subscribers: list[ActiveCall]
    semaphores: Sequence[Semaphore]
    progress: CoalescedProgress


RunSlot: TypeAlias = tuple[ToolRun, int]
"""A run, and the index of a call's outcome in it."""

RunCalls: TypeAlias = Callable[["PreparedTool", list[ActiveCall], ToolContext], Coroutine[Any, Any, Sequence[Outcome]]]
"""Runs a tool for some calls, and returns an outcome for each of them."""

Gate: TypeAlias = Callable[[ActiveCall, ToolContext], Awaitable[Outcome | None]]
"""Holds up a call; returns its outcome if it must not be run."""


class PreparedTool(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """A tool and what all its calls have in common; made once, when the tool is added.

    The wrappers that the tool's options ask for are composed here, so that other tools never pass through them.

    Attributes:
        declared: The tool as its author declared it.
        call: The tool's call, wrapped.
        batch: The tool's batch function, wrapped.
        run: Runs the calls of a run.
        gates: Awaited before a call is run, in order: each may find its outcome, or ask a person first.
        shortcuts: Each may find a call's outcome, or a run to join, so that no run is started for it.
        on_start: Each is called with every run that is started, so that calls which equal others can share it.
        missing_setting: A setting that the tool needs and that is not set; empty if it can run.
        semaphores: What a run must acquire besides the turn's own.
        hides_caller: Whether the tool must not depend on the caller, since all callers share its results.
    """

    declared: Tool
    call: Call
    batch: Call | None
    run: RunCalls
    gates: Sequence[Gate]
    shortcuts: Sequence[Callable[[ActiveCall], Outcome | RunSlot | None]]
    on_start: Sequence[Callable[[ToolRun], None]]
    missing_setting: str
    keys: ToolKeys
    semaphores: Sequence[Semaphore]
    timeout_s: float
    max_result_bytes: int
    hides_caller: bool
