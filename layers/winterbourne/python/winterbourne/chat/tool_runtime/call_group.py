"""Tool call group: runs the tool calls of one model turn concurrently.

Every call gets exactly one ToolFinished and one ToolMessage, whatever its tool does.
"""

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from winterbourne.chat.core.events import Emit
from winterbourne.chat.core.messages import ToolCall, ToolMessage
from winterbourne.chat.tool_runtime.batching import CallBatch
from winterbourne.chat.tool_runtime.call_reporter import CallReporter
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor
from winterbourne.chat.tool_runtime.permits import Semaphore
from winterbourne.chat.tool_runtime.registry import ToolRegistry
from winterbourne.chat.tool_runtime.results import CANCELLED, Outcome, failed, timed_out
from winterbourne.chat.tool_runtime.shared_run import ProgressCallback, SharedRun
from winterbourne.chat.tool_runtime.validated_call import ValidatedCall

__all__ = ["CANCEL_GRACE_S", "ToolCallGroup"]

_LOGGER: Final = logging.getLogger(__name__)

CANCEL_GRACE_S: Final = 0.25
"""Seconds a cancelled tool has to clean up; one that ignores its cancellation is abandoned after that."""


RunSlot: TypeAlias = tuple[SharedRun, int]
"""A run, and the index of the call's outcome in it."""


class ToolCallGroup:
    """The calls of one model turn: starts each at once, and gives it exactly one terminal event and one result.

    Created by `ToolRunner.turn`, used with `async with`.
    """

    def __init__(
        self,
        registry: ToolRegistry,
        executor: ToolExecutor,
        emit: Emit,
        *,
        deadline: float,
        request_id: str,
        caller_id: str,
    ) -> None:
        self._registry = registry
        self._executor = executor
        self._emit = emit
        self._clock = asyncio.get_running_loop().time
        self._tool_deadline = deadline - executor.settings.tools.tool_answer_reserve
        self._request_id = request_id
        self._caller_id = caller_id
        self._turn_semaphore = Semaphore(executor.settings.tools.tool_concurrency)
        self._reporters: list[CallReporter] = []
        self._tasks: list[asyncio.Task[ToolMessage]] = []
        self._runs: set[SharedRun] = set()
        self._emit_error: Exception | None = None
        self._has_exited = False
        self._batches: dict[str, tuple[CallBatch[ValidatedCall], SharedRun]] = {}

    def start(self, tool_call: ToolCall) -> None:
        """Start a call in the next iteration of the event loop. May be called while the model is still streaming."""
        self._start_task(tool_call, self._run_call)

    def refuse(self, tool_call: ToolCall, reason: str) -> None:
        """Run nothing: finish the call with this error."""
        self._start_task(tool_call, lambda reporter: reporter.finish(failed(reason)))

    async def results(self) -> list[ToolMessage]:
        """Wait for all calls. After the block, returns at once and includes cancelled calls.

        Returns:
            Exactly one message per call, in the order in which the calls were started.

        Raises:
            Exception: What `emit` raised; leaving the block cancels the other calls.

        Cancellation:
            Cancels all calls and waits for their terminal events.
        """
        if self._has_exited:
            return [reporter.message for reporter in self._reporters if reporter.message]
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
        """Cancel and await whatever still runs, until every call has its terminal event.

        Raises:
            Exception: What `emit` raised, unless the block already ends with an error.
        """
        self._has_exited = True
        try:
            await self._cancel_all()
            await self._finish_all()
        except Exception:
            if error is None:  # else the block's own error stands; if the client is gone, `emit` fails too
                raise

    async def _cancel_all(self) -> None:
        """Cancel and await all tasks; the executor adopts those that ignore it for CANCEL_GRACE_S."""
        try:
            await _cancel_and_wait(self._tasks)  # each ends within CANCEL_GRACE_S, whatever its tool does
            await _cancel_and_wait([run.task for run in self._runs if run.is_abandoned], CANCEL_GRACE_S)
        finally:
            self._executor.adopt_stuck(run.task for run in self._runs if run.is_abandoned and not run.task.done())

    async def _finish_all(self) -> None:
        for reporter in self._reporters:
            if not reporter.message:  # its task was cancelled before it began
                await self._finish_cancelled(reporter)
        for task in self._tasks:
            if not task.cancelled() and (error := task.exception()):
                raise error
        if self._emit_error:
            raise self._emit_error

    def _start_task(
        self, tool_call: ToolCall, run_call: Callable[[CallReporter], Coroutine[Any, Any, ToolMessage]]
    ) -> None:
        reporter = CallReporter(tool_call, self._registry.metric_label(tool_call.name), self._emit)
        self._reporters.append(reporter)
        self._tasks.append(asyncio.create_task(run_call(reporter)))

    async def _run_call(self, reporter: CallReporter) -> ToolMessage:
        try:
            outcome = await self._execute(reporter)
        except asyncio.CancelledError:
            return await self._finish_cancelled(reporter)
        return await reporter.finish(outcome)

    async def _finish_cancelled(self, reporter: CallReporter) -> ToolMessage:
        """Finish within CANCEL_GRACE_S, since a client that no longer reads must not hold up a cancellation.

        What `emit` raises is kept for the end of the block: raised here, it would replace the cancellation.
        """
        try:
            async with asyncio.timeout(CANCEL_GRACE_S):
                return await reporter.finish(CANCELLED)
        except Exception as error:  # noqa: BLE001 - kept, and raised by `_finish_all`
            self._emit_error = error
            return await reporter.finish(CANCELLED)  # returns the message; nothing is sent twice

    async def _execute(self, reporter: CallReporter) -> Outcome:
        call = self._registry.resolve(reporter.tool_call, self._caller_id)
        if isinstance(call, Outcome):
            return call
        if ready := self._executor.cached_or_refused(call):
            return ready
        try:
            async with asyncio.timeout_at(self._tool_deadline) as timeout:
                return await self._await_shared_run(reporter, call, timeout)
        except TimeoutError:
            if not timeout.expired():
                raise
            return self._timeout_outcome(call.tool)

    async def _await_shared_run(
        self, reporter: CallReporter, call: ValidatedCall, call_timeout: asyncio.Timeout
    ) -> Outcome:
        """Subscribe to a run and wait for its outcome; the call's timeout starts once it has a slot."""
        slot = await self._acquire_slot(reporter, call)
        if isinstance(slot, Outcome):
            return slot
        run, index = slot
        self._runs.add(run)
        call_timeout.reschedule(min(self._clock() + self._timeout_s(call.tool), self._tool_deadline))
        run.subscribe(reporter.report_progress)
        try:
            await reporter.report_started()
            return (await run.wait())[index]
        finally:
            run.unsubscribe(reporter.report_progress)

    async def _acquire_slot(self, reporter: CallReporter, call: ValidatedCall) -> RunSlot | Outcome:
        """A slot in a run that can be joined, else in a new run as soon as its permits are acquired."""
        if slot := self._join_existing_run(call):
            return slot
        semaphores = [self._turn_semaphore, *self._executor.required_semaphores(call.tool)]
        permits = self._executor.permits
        if not permits.try_acquire(semaphores):
            await reporter.report_queued()
            await permits.acquire_queued(semaphores)
            if ready := self._executor.cached_or_refused(call) or self._join_existing_run(call):
                permits.release(semaphores)
                return ready
        return self._start_run(call, functools.partial(permits.release, semaphores))

    def _join_existing_run(self, call: ValidatedCall) -> RunSlot | None:
        if run := self._executor.in_flight(call):
            return run, 0
        batch, run = self._batches.get(call.tool.name, (None, None))
        return (run, batch.add(call)) if batch and run and batch.is_open and not run.is_abandoned else None

    def _start_run(self, call: ValidatedCall, release: Callable[[], None]) -> RunSlot:
        make_context = functools.partial(self._make_context, call.tool)
        if call.tool.batch:
            batch = CallBatch(call)
            run = self._executor.start_batch(batch, call.tool.batch, make_context, release)
            self._batches[call.tool.name] = batch, run
        else:
            run = self._executor.start(call, make_context, release)
        return run, 0

    def _make_context(self, tool: Tool, on_progress: ProgressCallback) -> ToolContext:
        timeout_at = self._clock() + self._timeout_s(tool)
        return ToolContext(
            request_id=self._request_id,
            caller=None if tool.is_cache_shared else self._caller_id,
            deadline=min(timeout_at, self._tool_deadline),
            patience=timeout_at,
            max_progress_bytes=self._executor.settings.tools.tool_max_result_bytes,
            clients=self._executor.http_clients,
            keys=self._executor.keys_for(tool),
            threads=self._executor.thread_pool,
            report=on_progress,
        )

    def _timeout_s(self, tool: Tool) -> float:
        return tool.options.timeout_s or self._executor.settings.tools.tool_execution_timeout

    def _timeout_outcome(self, tool: Tool) -> Outcome:
        if self._clock() >= self._tool_deadline:
            return timed_out(f"{tool.name} was stopped because the remaining time is needed for the answer.")
        return timed_out(f"{tool.name} did not finish within {self._timeout_s(tool):g} seconds and was stopped.")


async def _cancel_and_wait(tasks: Sequence[asyncio.Task[Any]], timeout_s: float | None = None) -> None:
    """Cancel the tasks that are not done, and wait for them at most `timeout_s`."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running, timeout=timeout_s)
