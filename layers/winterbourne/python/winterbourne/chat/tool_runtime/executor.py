"""Tool executor: the tools of an execution environment, and the whole life of a call: resolve, permits, run, report.

Independent of providers and wire formats: takes ToolCalls, emits events, returns ToolMessages.
"""

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from winterbourne.chat.core.events import (
    Emit,
    ToolApprovalRequested,
    ToolFinished,
    ToolProgressed,
    ToolQueued,
    ToolStarted,
    ToolStatus,
)
from winterbourne.chat.core.messages import ApprovalKind, ToolMessage, ToolSchema
from winterbourne.chat.core.tool_schemas import portable_tools
from winterbourne.chat.errors import InputRequired, InvalidToolDeclaration, ToolError, ToolUnavailable
from winterbourne.chat.infra import http_retry
from winterbourne.chat.infra.exception_text import EXCEPTION_REDACTOR, ArgumentRedactor, exception_class_name
from winterbourne.chat.infra.telemetry import TOOL_TASK, measure
from winterbourne.chat.infra.tracing import NO_SPAN, SPAN
from winterbourne.chat.settings import ToolSettings
from winterbourne.chat.tool_runtime.approvals import Approvals, tell_edits
from winterbourne.chat.tool_runtime.call import ActiveCall, CallRecords, PreparedTool, RunSlot, ToolRun, Turn
from winterbourne.chat.tool_runtime.call_group import CANCEL_GRACE_S, ToolCallGroup, cancel_and_wait
from winterbourne.chat.tool_runtime.context import HttpClients, Report, ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.keys import KeyRing
from winterbourne.chat.tool_runtime.permits import Permits, Semaphore
from winterbourne.chat.tool_runtime.prepare import ToolPreparer
from winterbourne.chat.tool_runtime.progress import CoalescedProgress
from winterbourne.chat.tool_runtime.results import (
    CANCELLED,
    Outcome,
    batch_outcomes,
    completed,
    failed,
    handle_exception,
    outcome_for_exception,
    timed_out,
)
from winterbourne.chat.tool_runtime.threads import ThreadPool

__all__ = ["ToolExecutor"]

_LOGGER: Final = logging.getLogger(__name__)
_HOW_IT_ENDED: Final[Mapping[ToolStatus, str]] = {
    "completed": "executed in",
    "failed": "failed after",
    "timed_out": "timed out after",
    "cancelled": "was stopped after",
    "denied": "was denied after",
}


class ToolExecutor:
    """Created once, with or without a running event loop, and used in one loop.

    Args:
        tools: Any number, from any source; their names must differ.
        settings: The limits.
        records: Where decisions and calls that run once are recorded; without it there are no such tools.
        keys: Every key and setting by the name of its variable; tools may read those they declare.
        log_messages: Whether the log may contain the arguments of tools.
        clients: Where tools get their HTTP clients; by default the shared connection pool.
        send_stop: Stops a call in another function, by its key.
        wall_clock: Seconds; measures the age of cached results and the open time of circuit breakers.

    Attributes:
        schemas: The tools as the model sees them.
        threads: Where synchronous tools run.

    Raises:
        InvalidToolDeclaration: Two tools have the same name.
    """

    def __init__(
        self,
        tools: Iterable[Tool],
        settings: ToolSettings | None = None,
        *,
        records: CallRecords | None = None,
        keys: Mapping[str, object] | None = None,
        log_messages: bool = False,
        clients: HttpClients | None = None,
        send_stop: Callable[[str], Awaitable[None]] | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings = settings or ToolSettings()
        self._log_messages = log_messages
        self._clients = clients or HttpClients()
        self._send_stop = send_stop
        self._permits = Permits()
        self.threads = ThreadPool(settings.tool_abandoned_limit)
        self._approvals = Approvals(settings, records, self.threads, wall_clock, log_reasons=log_messages)
        ring = KeyRing(keys or {})
        self._preparer = ToolPreparer(settings, ring, self.threads, self._run_calls, wall_clock, self._approvals)
        self._stuck_tasks: set[asyncio.Task[Any]] = set()
        self._tools: dict[str, PreparedTool] = {}
        self.schemas: tuple[ToolSchema, ...] = ()
        for tool in tools:
            self.add(tool)

    def add(self, tool: Tool) -> None:
        """Add a tool, such as one of an MCP server that was listed late.

        Raises:
            InvalidToolDeclaration: Its name is taken, or its options contradict each other.
        """
        if tool.name in self._tools:
            raise InvalidToolDeclaration(f"Two tools are named {tool.name}.")
        self._tools[tool.name] = self._preparer.prepare(tool)
        self.schemas += tuple(portable_tools([tool.schema]))

    def remove(self, names: Collection[str]) -> None:
        """Remove tools. Calls that run go on."""
        self._tools = {name: tool for name, tool in self._tools.items() if name not in names}
        self.schemas = tuple(schema for schema in self.schemas if schema.name not in names)

    @property
    def unavailable(self) -> dict[str, str]:
        """Tools that lack a key or setting, each with the name of the variable."""
        return {name: tool.missing_setting for name, tool in self._tools.items() if tool.missing_setting}

    def turn(
        self,
        emit: Emit,
        *,
        deadline: float = float("inf"),
        request_id: str = "",
        caller_id: str = "",
        conversation_id: str = "",
        question: str = "",
        approvals: ApprovalKind = "none",
    ) -> ToolCallGroup:
        """Create the call group of one model turn, an async context manager.

        Args:
            emit: Receives the events; called from any number of tasks.
            deadline: Of the invocation, on the event loop's clock, in seconds; tools end TOOL_ANSWER_RESERVE before it.
            request_id: For the tools' contexts.
            caller_id: For the tools' contexts, and for results that are cached per caller.
            conversation_id: What approvals and idempotency keys belong to.
            question: What is answered; part of the idempotency keys.
            approvals: What the client can ask a person.
        """
        deadline -= self._settings.tool_answer_reserve
        turn = Turn(
            emit,
            deadline,
            request_id,
            caller_id,
            Semaphore(self._settings.tool_concurrency),
            conversation_id=conversation_id,
            question=question,
            approvals=approvals,
        )
        return ToolCallGroup(self, turn, self._settings.tool_calls_per_turn)

    @property
    def abandoned_count(self) -> int:
        """Threads and tasks of tools that ignored their cancellation and are still running."""
        return self.threads.abandoned_count + len(self._stuck_tasks)

    async def check_ready(self) -> None:
        """Raise if so many tools are stuck that this environment should end."""
        if self.abandoned_count >= self._settings.tool_abandoned_limit:
            raise ToolUnavailable(f"{self.abandoned_count} tool threads and tasks are stuck")

    def retire_if_stuck(self, retire: Callable[[], None]) -> None:
        """Call `retire` if so many tools are stuck that this environment should end; a new one has none."""
        if (count := self.abandoned_count) >= self._settings.tool_abandoned_limit:
            _LOGGER.warning("retiring this environment: %d tool threads and tasks are stuck", count)
            retire()

    async def close(self) -> None:
        """Graceful shutdown: cancel stuck tasks once more, wait briefly, and stop all processes and idle threads."""
        await cancel_and_wait(self._stuck_tasks, CANCEL_GRACE_S)
        await self._preparer.close()
        self.threads.close()

    def adopt_stuck(self, tasks: Iterable[asyncio.Task[Any]]) -> None:
        """Keep track of tasks that did not end when they were cancelled."""
        for task in tasks:
            self._stuck_tasks.add(task)
            task.add_done_callback(self._stuck_tasks.discard)
            _LOGGER.warning("a tool ignored its cancellation; %d such tasks are still running", len(self._stuck_tasks))

    async def execute(self, call: ActiveCall) -> ToolMessage | None:
        """Resolve a call, run it, and finish it; None if a person is asked first, and it is not finished now.

        Raises:
            Exception: What `emit` raises.

        Cancellation:
            The call is finished as cancelled, within CANCEL_GRACE_S.
        """
        span = SPAN.get()
        with span.tool(self._label(call), call.tool_call.id) if span else NO_SPAN:
            try:
                is_decided = call.decisions is not None
                tool = (is_decided and await self._approvals.check(call, self._tools)) or self._resolve(call)
                outcome = tool if isinstance(tool, Outcome) else await self._outcome(call, tool)
                if call.input_required:
                    await self._approvals.ask_for_input(call, call.input_required)
                    await self._emit_approval(call)
            except asyncio.CancelledError:
                return None if call.approval else await self.finish_cancelled(call)
            if call.approval or outcome is None:
                return None
            return await self.finish(call, tell_edits(call, outcome) if call.is_edited else outcome)

    async def _emit_approval(self, call: ActiveCall) -> None:
        if call.approval:
            await call.turn.emit((ToolApprovalRequested(call.tool_call.id, call.tool_call.name, call.approval),))

    def _resolve(self, call: ActiveCall) -> PreparedTool | Outcome:
        """Validate a call's arguments: its tool, or the failed outcome of a call that cannot run."""
        name = call.tool_call.name
        if (tool := self._tools.get(name)) is None:
            return failed(f"There is no tool named {name}; the tools are {', '.join(self._tools) or 'none'}.")
        if missing := tool.missing_setting:
            return failed(f"{name} is not set up here: {missing} is not set. Tell the user; do not call it again.")
        try:
            call.arguments = tool.declared.validate_arguments(call.tool_call.arguments)
            if tool.on_start:
                call.identify()
        except BaseException as error:  # noqa: BLE001 - a tool's own type may raise anything, even SystemExit
            cause = error.__cause__ if isinstance(error, ToolError) else error
            if cause:
                self._log_argument_error(call, cause)
            return outcome_for_exception(name, error)
        return tool

    async def _outcome(self, call: ActiveCall, tool: PreparedTool) -> Outcome | None:
        """Find or start a run and wait for it; the tool's timeout starts once it has its permits.

        None if a person is asked first.
        """
        timeout = asyncio.timeout_at(call.turn.deadline)
        try:
            async with timeout:
                if (refused := await self._pass_gates(call, tool)) or call.approval:
                    return refused
                found = _take_shortcut(call, tool) or await self._acquire_slot(call, tool)
                if isinstance(found, Outcome):
                    return found
                if tool.declared.options.isolation:
                    from winterbourne.chat.tool_runtime.processes import extend_over_freezes  # noqa: PLC0415 - is loaded

                    with extend_over_freezes(timeout, tool.timeout_s, call.turn.deadline):
                        return await self._await_run(call, *found)
                timeout.reschedule(min(_now() + tool.timeout_s, call.turn.deadline))
                return await self._await_run(call, *found)
        except TimeoutError:
            if not timeout.expired():
                raise
        if _now() >= call.turn.deadline:
            return timed_out(f"{tool.declared.name} was stopped because the remaining time is needed for the answer.")
        return timed_out(f"{tool.declared.name} did not finish within {tool.timeout_s:g} seconds and was stopped.")

    async def _pass_gates(self, call: ActiveCall, tool: PreparedTool) -> Outcome | None:
        """Wait for what a call must wait for: an outcome if it must not be run. Asks a person, or uses the decision."""
        for gate in tool.gates:
            if refused := await gate(call, self._make_context(call, tool)):
                return refused
            if call.approval:
                await self._emit_approval(call)
                return None
        return await self._approvals.use_up(call) if call.decision else None

    async def _acquire_slot(self, call: ActiveCall, tool: PreparedTool) -> Outcome | RunSlot:
        """A slot in a new run as soon as its permits are acquired, or in one that was started meanwhile."""
        turn, semaphores = call.turn, (call.turn.semaphore, *tool.semaphores)
        if _now() >= turn.deadline:  # started and stopped at once, it might take effect all the same
            return timed_out(f"{tool.declared.name} was not run: the remaining time is needed for the answer.")
        if not self._permits.try_acquire(semaphores):
            await turn.emit((ToolQueued(call.tool_call.id, call.tool_call.name),))
            await self._permits.acquire_queued(semaphores)
            if found := _take_shortcut(call, tool):
                self._permits.release(semaphores)
                return found
        return self._start_run(call, tool, semaphores), 0

    def _start_run(self, call: ActiveCall, tool: PreparedTool, semaphores: Sequence[Semaphore]) -> ToolRun:
        calls, subscribers = [call], list[ActiveCall]()
        progress = CoalescedProgress(functools.partial(self._publish_progress, subscribers))
        context = self._make_context(call, tool, progress.report)
        name = f"{TOOL_TASK}{tool.declared.name}"  # who blocks the event loop is known by it
        task = asyncio.create_task(tool.run(tool, calls, context), name=name)
        run = ToolRun(calls, task, subscribers, semaphores, progress)
        run.task.add_done_callback(lambda _: self._release(run))
        for notify in tool.on_start:
            notify(run)
        return run

    def _make_context(self, call: ActiveCall, tool: PreparedTool, report: Report | None = None) -> ToolContext:
        turn, timeout_at = call.turn, _now() + tool.timeout_s
        return ToolContext(
            request_id=turn.request_id,
            idempotency_key=call.idempotency_key,
            input_response=call.input_response,
            takes_forms=turn.approvals == "form",
            caller=None if tool.hides_caller else turn.caller_id,
            deadline=min(timeout_at, turn.deadline),
            patience=timeout_at,
            max_progress_bytes=self._settings.tool_max_result_bytes,
            clients=self._clients,
            keys=tool.keys,
            threads=self.threads,
            report=report,
            send_stop=self._send_stop,
            tool=tool.declared.name,
        )

    async def _await_run(self, call: ActiveCall, run: ToolRun, index: int) -> Outcome:
        """Subscribe to a run and wait for its outcome. The last call to leave a run cancels it."""
        call.run, call.started_at = run, _now()
        run.subscribers.append(call)
        try:
            await call.turn.emit((ToolStarted(call.tool_call.id, call.tool_call.name),))
            await asyncio.wait((run.task,))
            return run.task.result()[index]
        finally:
            run.subscribers.remove(call)
            if not run.subscribers:
                run.task.cancel()
                self._release(run)

    def _release(self, run: ToolRun) -> None:
        """Release a run's permits, once: when it is done or abandoned. Its result is worth more than old progress."""
        if run.progress.sender:
            run.progress.sender.cancel()
        semaphores, run.semaphores = run.semaphores, ()
        if semaphores:
            self._permits.release(semaphores)

    async def _run_calls(self, tool: PreparedTool, calls: list[ActiveCall], context: ToolContext) -> list[Outcome]:
        """Run a tool: an outcome for each call, whatever the tool does.

        Cancellation:
            Passes through only if this task was cancelled from outside: a tool that cancels itself has failed.
        """
        if not self._log_messages:  # for this task only
            EXCEPTION_REDACTOR.set(ArgumentRedactor(*(call.tool_call.arguments for call in calls)))
        http_retry.deadline.set(context.deadline)
        try:
            if tool.batch is None or len(calls) == 1:
                return [completed(await tool.call(calls[0].arguments, context), tool.max_result_bytes)]
            values = await tool.batch([call.arguments for call in calls], context)
            return batch_outcomes(tool.declared.name, values, tool.max_result_bytes)
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) and task.cancelling():
                raise
            outcome = failed(f"{tool.declared.name} cancelled itself.")
        except BaseException as error:  # noqa: BLE001 - SystemExit too: a tool that calls sys.exit must not end the process
            calls[0].input_required = error if isinstance(error, InputRequired) else None
            outcome = handle_exception(tool.declared.name, error)
        return [outcome] * len(calls)

    async def _publish_progress(self, subscribers: Sequence[ActiveCall], data: bytes) -> None:
        """Emit progress for every unfinished call that waits for a run.

        A disconnected client is not the tool's fault, and other calls may share the run: what `emit` raises is kept
        and raised by `finish`.
        """
        for call in tuple(subscribers):
            if call.message or call.emit_error:
                continue
            try:
                await call.turn.emit((ToolProgressed(call.tool_call.id, call.tool_call.name, data),))
            except Exception as error:  # noqa: BLE001 - kept, and raised by `finish`
                call.emit_error = error

    async def finish(self, call: ActiveCall, outcome: Outcome) -> ToolMessage:
        """Emit the terminal event, once; later outcomes are ignored. The log line and the metrics follow the event.

        Raises:
            Exception: What `emit` raises; the call is finished nevertheless.
        """
        if call.message:
            return call.message
        call_id, name = call.tool_call.id, call.tool_call.name
        content = outcome.error or outcome.result.decode()
        call.message = ToolMessage(call_id, name, content, is_error=outcome.status != "completed")
        duration_s = 0.0 if call.started_at is None else _now() - call.started_at
        duration_ms = round(duration_s * 1000)
        finished = ToolFinished(
            call_id, name, outcome.status, duration_ms, outcome.result, outcome.error, outcome.cached
        )
        try:
            if call.emit_error:
                raise call.emit_error
            # A call that never ran is started and finished in one batch, unless it was shown in an earlier answer.
            is_new = call.started_at is None and call.decisions is None
            await call.turn.emit((ToolStarted(call_id, name), finished) if is_new else (finished,))
        finally:
            self._log_and_measure(call, outcome, duration_s)
        return call.message

    async def finish_cancelled(self, call: ActiveCall) -> ToolMessage:
        """Finish within CANCEL_GRACE_S, since a client that no longer reads must not hold up a cancellation.

        What `emit` raises is kept for the end of the group: raised here, it would replace the cancellation.
        """
        try:
            async with asyncio.timeout(CANCEL_GRACE_S):
                return await self.finish(call, CANCELLED)
        except Exception as error:  # noqa: BLE001 - kept, and raised at the end of the group
            call.emit_error = error
            return await self.finish(call, CANCELLED)  # returns the message; nothing is sent twice

    def _label(self, call: ActiveCall) -> str:
        """What its tool is called in metrics: a model may make up any name, and labels must stay few."""
        return call.tool_call.name if call.tool_call.name in self._tools else "unknown"

    def _log_and_measure(self, call: ActiveCall, outcome: Outcome, duration_s: float) -> None:
        label = self._label(call)
        if span := SPAN.get():
            span.note_call(outcome.status, call.tool_call.arguments, outcome.error or outcome.result.decode())
        ids = {"tool": label, "tool_call_id": call.tool_call.id[:128], "tool_status": outcome.status}
        extra = {**ids, "tool_duration_ms": round(duration_s * 1000), "tool_ran": call.started_at is not None}
        _LOGGER.info("tool %s %s %.3fs", label, _HOW_IT_ENDED[outcome.status], duration_s, extra=extra)
        measure("ToolCalls", tool=label)
        measure("ToolDuration", duration_s * 1000, tool=label)
        if outcome.status == "failed":
            measure("ToolErrors", tool=label)
        if outcome.status == "timed_out":
            measure("ToolTimeouts", tool=label)

    def _log_argument_error(self, call: ActiveCall, error: BaseException) -> None:
        names = call.tool_call.name, exception_class_name(error)
        token = EXCEPTION_REDACTOR.set(None if self._log_messages else ArgumentRedactor(call.tool_call.arguments))
        try:
            _LOGGER.warning("the arguments of tool %s could not be validated: %s", *names, exc_info=error)
        finally:
            EXCEPTION_REDACTOR.reset(token)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _take_shortcut(call: ActiveCall, tool: PreparedTool) -> Outcome | RunSlot | None:
    """What makes a run unnecessary: a cached result, a refusal, or a run to join."""
    return next((found for shortcut in tool.shortcuts if (found := shortcut(call))), None)
