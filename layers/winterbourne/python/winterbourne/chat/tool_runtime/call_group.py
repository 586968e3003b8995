"""Tool call group: owns the tasks of one model turn's tool calls, which run concurrently and are cancelled together.

Every call gets exactly one ToolFinished and one ToolMessage, whatever its tool does, unless a person is asked first.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Protocol, Self

import msgspec

from winterbourne.chat.core.messages import Approval, Decision, ToolCall, ToolMessage
from winterbourne.chat.tool_runtime.call import ActiveCall, Turn
from winterbourne.chat.tool_runtime.results import Outcome, failed

__all__ = ["CANCEL_GRACE_S", "CallExecutor", "ToolCallGroup", "cancel_and_wait"]

_LOGGER: Final = logging.getLogger(__name__)

_MAX_NAME_CHARS: Final = 64  # a model may make up a name of any length

CANCEL_GRACE_S: Final = 0.25
"""Seconds a cancelled tool has to clean up; one that ignores its cancellation is abandoned after that."""


class CallExecutor(Protocol):
    """The group's interface to the tool executor."""

    def execute(self, call: ActiveCall, /) -> Coroutine[Any, Any, ToolMessage | None]:
        """Run a call and finish it, unless a person is asked first; if it is cancelled, finish it as cancelled."""

    def finish(self, call: ActiveCall, outcome: Outcome, /) -> Coroutine[Any, Any, ToolMessage]:
        """Finish a call with this outcome, unless it is finished."""

    def finish_cancelled(self, call: ActiveCall, /) -> Coroutine[Any, Any, ToolMessage]:
        """Finish a call as cancelled, unless it is finished."""

    def adopt_stuck(self, tasks: Iterable[asyncio.Task[Any]], /) -> None:
        """Keep track of tasks that ignored their cancellation."""


class ToolCallGroup(msgspec.Struct, eq=False):
    """The calls of one model turn: starts each at once, and gives it exactly one terminal event and one result.

    Created by `ToolExecutor.turn`, used with `async with`.

    Attributes:
        executor: Runs the calls.
        turn: What they have in common.
        max_calls: So many of those that are started are run.
        pending: What a person is asked, by the ids of the calls that wait; complete once the block has been left.
    """

    executor: CallExecutor
    turn: Turn
    max_calls: int
    pending: dict[str, Approval] = {}
    _tasks: dict[ActiveCall, asyncio.Task[ToolMessage | None]] = {}
    _has_exited: bool = False

    def start(
        self, tool_call: ToolCall, decisions: Sequence[Decision] | None = None, *, idempotency_key: str = ""
    ) -> None:
        """Start a call in the next iteration of the event loop. May be called while the model is still streaming.

        A call beyond the limit is refused: a model that repeats itself, or a client, may ask for thousands.

        Args:
            tool_call: The call.
            decisions: For a call of an earlier answer: it is run if one of these allows it, else it is told why not.
            idempotency_key: That of a call that another function runs once.
        """
        if len(self._tasks) >= self.max_calls:
            self.refuse(tool_call, f"Only {self.max_calls} tool calls are run in one turn; this one was not.")
            return
        call = ActiveCall(self.turn, tool_call, decisions=decisions, idempotency_key=idempotency_key)
        self._tasks[call] = asyncio.create_task(self.executor.execute(call))

    def refuse(self, tool_call: ToolCall, reason: str) -> None:
        """Run nothing: finish the call with this error."""
        call = ActiveCall(self.turn, tool_call)
        self._tasks[call] = asyncio.create_task(self.executor.finish(call, failed(reason)))

    async def results(self) -> list[ToolMessage]:
        """Wait for all calls; no call is started any more. After the block, returns at once, with cancelled calls.

        Returns:
            Exactly one message per call, in the order in which the calls were started; none for `pending` ones.

        Raises:
            Exception: What `emit` raised; leaving the block cancels the other calls.

        Cancellation:
            Cancels all calls and waits for their terminal events.
        """
        if self._has_exited:
            return [call.message for call in self._tasks if call.message]
        self.turn.all_started.set()
        messages = [message for message in await asyncio.gather(*self._tasks.values()) if message]
        if messages:
            completed, others = _names(messages, is_error=False), _names(messages, is_error=True)
            rest = f"; {len(others)} did not complete: [{', '.join(others)}]" if others else ""
            _LOGGER.info("completed %d tool calls: [%s]%s", len(completed), ", ".join(completed), rest)
        return messages

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel and await whatever still runs, until every call has its terminal event.

        Raises:
            Exception: What `emit` raised, unless the block already ends with an error.
        """
        self._has_exited = True
        await self._cancel_all()
        for call in self._tasks:
            if not (call.message or call.approval):  # its task was cancelled before it began
                await self.executor.finish_cancelled(call)
        self.pending = {call.tool_call.id: call.approval for call in self._tasks if call.approval}
        tasks = self._tasks.items()
        errors = [call.emit_error or (None if task.cancelled() else task.exception()) for call, task in tasks]
        if error is None:  # else the block's own error stands; if the client is gone, `emit` fails too
            for emit_error in filter(None, errors):
                raise emit_error

    async def _cancel_all(self) -> None:
        """Cancel and await all tasks; the executor adopts those that ignore it for CANCEL_GRACE_S."""
        try:
            await cancel_and_wait(self._tasks.values())  # each ends within CANCEL_GRACE_S, whatever its tool does
            await cancel_and_wait(self._abandoned_tasks(), CANCEL_GRACE_S)
        finally:
            if stuck := self._abandoned_tasks():
                self.executor.adopt_stuck(stuck)

    def _abandoned_tasks(self) -> set[asyncio.Task[Any]]:
        """The tasks of runs that go on although nobody waits for them."""
        runs = [call.run for call in self._tasks if call.run]
        return {run.task for run in runs if not run.subscribers and not run.task.done()}


def _names(messages: Iterable[ToolMessage], *, is_error: bool) -> list[str]:
    return [message.name[:_MAX_NAME_CHARS] for message in messages if message.is_error == is_error]


async def cancel_and_wait(tasks: Iterable[asyncio.Task[Any]], timeout_s: float | None = None) -> None:
    """Cancel the tasks that are not done, and wait for them at most `timeout_s`."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running, timeout=timeout_s)
