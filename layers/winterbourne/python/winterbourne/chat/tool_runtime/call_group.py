"""The calls of one model turn, side by side.

What every call gets, whatever its tool does: one ToolFinished and one ToolMessage.
"""

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from winterbourne.chat.core.events import Emit
from winterbourne.chat.core.messages import ToolCall, ToolMessage
from winterbourne.chat.tool_runtime.batching import Batch
from winterbourne.chat.tool_runtime.call_reporter import Call
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.executor import Workshop
from winterbourne.chat.tool_runtime.permits import Kind
from winterbourne.chat.tool_runtime.registry import Registry
from winterbourne.chat.tool_runtime.results import CANCELLED, Outcome, failed, timed_out
from winterbourne.chat.tool_runtime.shared_run import Listener, Run
from winterbourne.chat.tool_runtime.validated_call import Job

__all__ = ["GRACE_S", "Turn"]

_LOGGER: Final = logging.getLogger(__name__)

GRACE_S: Final = 0.25
"""A cancelled tool may close what it has open; one that ignores its cancellation is left after so many seconds."""


Seat: TypeAlias = tuple[Run, int]
"""A run, and which of its outcomes is meant."""


class Turn:
    """Made by `ToolRunner.turn`, used with `async with`."""

    def __init__(
        self, registry: Registry, workshop: Workshop, emit: Emit, *, deadline: float, request_id: str, caller: str
    ) -> None:
        self._registry = registry
        self._workshop = workshop
        self._emit = emit
        self._clock = asyncio.get_running_loop().time
        self._latest = deadline - workshop.settings.tool_answer_reserve
        self._request_id = request_id
        self._caller = caller
        self._place = Kind(workshop.settings.tool_concurrency)
        self._calls: list[Call] = []
        self._tasks: list[asyncio.Task[ToolMessage]] = []
        self._runs: set[Run] = set()
        self._broken: Exception | None = None
        self._left = False
        self._batches: dict[str, tuple[Batch[Job], Run]] = {}

    def start(self, asked: ToolCall) -> None:
        """Run a call, beginning in the next turn of the loop. May be called while the model goes on talking."""
        self._begin(asked, self._answer)

    def refuse(self, asked: ToolCall, why: str) -> None:
        """Run nothing: the call's last word is this error."""
        self._begin(asked, lambda call: call.finish(failed(why)))

    async def results(self) -> list[ToolMessage]:
        """Wait for all calls. After the block: at once, cancelled calls among them.

        Returns:
            Exactly one message per call, in the order in which the calls were started.

        Raises:
            Exception: What `emit` raised; leaving the block cancels the other calls.

        Cancellation: cancels all calls and waits for their last words.
        """
        if self._left:
            return [call.message for call in self._calls if call.message]
        messages = await asyncio.gather(*self._tasks)
        if messages:
            names = ", ".join(message.name for message in messages)
            _LOGGER.info("completed %d tool calls: [%s]", len(messages), names)
        return messages

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel and await whatever still runs; every call has its last word then.

        Raises:
            Exception: What `emit` raised, unless the block is left with an error already.
        """
        self._left = True
        try:
            await self._cancel()
            await self._last_words()
        except Exception:
            if error is None:  # else what the block was left with stands; a client that is gone breaks `emit` too
                raise

    # Private methods: the end

    async def _cancel(self) -> None:
        """Cancel and await all that runs; what ignores it for GRACE_S is left to the workshop."""
        try:
            await _cancelled(self._tasks)  # each ends within GRACE_S, whatever its tool does
            await _cancelled([run.task for run in self._runs if run.deserted], GRACE_S)
        finally:
            self._workshop.leave(run.task for run in self._runs if run.deserted and not run.task.done())

    async def _last_words(self) -> None:
        for call in self._calls:
            if not call.message:  # its task was cancelled before it had begun
                await self._finish_cancelled(call)
        for task in self._tasks:
            if not task.cancelled() and (error := task.exception()):
                raise error
        if self._broken:
            raise self._broken

    # Private methods: one call

    def _begin(self, asked: ToolCall, answer: Callable[[Call], Coroutine[Any, Any, ToolMessage]]) -> None:
        call = Call(asked, self._registry.label(asked.name), self._emit)
        self._calls.append(call)
        self._tasks.append(asyncio.create_task(answer(call)))

    async def _answer(self, call: Call) -> ToolMessage:
        try:
            outcome = await self._outcome(call)
        except asyncio.CancelledError:
            return await self._finish_cancelled(call)
        return await call.finish(outcome)

    async def _finish_cancelled(self, call: Call) -> ToolMessage:
        """Bounded, since a client that reads no more must not hold up a cancellation.

        What `emit` raises is kept for the end of the block: raised here, it would take the cancellation's place.
        """
        try:
            async with asyncio.timeout(GRACE_S):
                return await call.finish(CANCELLED)
        except Exception as error:  # noqa: BLE001  (kept, and raised by `_last_words`)
            self._broken = error
            return await call.finish(CANCELLED)  # the message; nothing is sent twice

    async def _outcome(self, call: Call) -> Outcome:
        job = self._registry.judge(call.asked, self._caller)
        if isinstance(job, Outcome):
            return job
        if answer := self._workshop.at_once(job):
            return answer
        try:
            async with asyncio.timeout_at(self._latest) as scope:
                return await self._joined(call, job, scope)
        except TimeoutError:
            if not scope.expired():
                raise
            return self._too_late(job.tool)

    async def _joined(self, call: Call, job: Job, scope: asyncio.Timeout) -> Outcome:
        """Take part in a run, under the timeout of a call that starts now."""
        seat = await self._seat(call, job)
        if isinstance(seat, Outcome):
            return seat
        run, number = seat
        self._runs.add(run)
        scope.reschedule(min(self._clock() + self._timeout_s(job.tool), self._latest))
        run.join(call.progressed)
        try:
            await call.started()
            return (await run.end())[number]
        finally:
            run.leave(call.progressed)

    async def _seat(self, call: Call, job: Job) -> Seat | Outcome:
        """A seat in a run that can be joined, else in a new one as soon as there is a place for it."""
        if seat := self._free_seat(job):
            return seat
        kinds = [self._place, *self._workshop.kinds(job.tool)]
        places = self._workshop.places
        if not places.take(kinds):
            await call.queued()
            await places.wait(kinds)
            if answer := self._workshop.at_once(job) or self._free_seat(job):
                places.give_back(kinds)
                return answer
        return self._new_seat(job, functools.partial(places.give_back, kinds))

    def _free_seat(self, job: Job) -> Seat | None:
        if run := self._workshop.under_way(job):
            return run, 0
        batch, run = self._batches.get(job.tool.name, (None, None))
        return (run, batch.add(job)) if batch and run and batch.open and not run.deserted else None

    def _new_seat(self, job: Job, release: Callable[[], None]) -> Seat:
        context_for = functools.partial(self._context, job.tool)
        if job.tool.batch:
            batch = Batch(job)
            run = self._workshop.start_batch(batch, job.tool.batch, context_for, release)
            self._batches[job.tool.name] = batch, run
        else:
            run = self._workshop.start(job, context_for, release)
        return run, 0

    def _context(self, tool: Tool, report: Listener) -> ToolContext:
        patience = self._clock() + self._timeout_s(tool)
        return ToolContext(
            request_id=self._request_id,
            caller=None if tool.shared else self._caller,
            deadline=min(patience, self._latest),
            patience=patience,
            max_progress_bytes=self._workshop.settings.tool_max_result_bytes,
            clients=self._workshop.clients,
            keys=self._workshop.keys(tool),
            threads=self._workshop.threads,
            report=report,
        )

    def _timeout_s(self, tool: Tool) -> float:
        return tool.options.timeout_s or self._workshop.settings.tool_execution_timeout

    def _too_late(self, tool: Tool) -> Outcome:
        if self._clock() >= self._latest:
            return timed_out(f"{tool.name} was stopped: the time that is left is needed for the answer.")
        return timed_out(f"{tool.name} did not finish within {self._timeout_s(tool):g} seconds and was stopped.")


# Private functions


async def _cancelled(tasks: Sequence[asyncio.Task[Any]], timeout_s: float | None = None) -> None:
    """Cancel what is not done and wait for it."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running, timeout=timeout_s)
