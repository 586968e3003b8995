"""Tool executor: runs validated calls, and holds what runs share across turns and conversations.

Semaphores, a thread pool, a result cache, single-flight for identical calls, circuit breakers, retries and batches are
combined here. `ToolCallGroup` decides who waits for a run, and for how long.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from winterbourne.chat.errors import ToolError
from winterbourne.chat.infra import redaction
from winterbourne.chat.infra.exception_text import EXCEPTION_REDACTOR, ArgumentRedactor
from winterbourne.chat.infra.telemetry import measure
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.batching import CallBatch
from winterbourne.chat.tool_runtime.cache import CacheKey, ResultCache
from winterbourne.chat.tool_runtime.circuit_breakers import CircuitBreakers
from winterbourne.chat.tool_runtime.context import HttpClients, ToolContext
from winterbourne.chat.tool_runtime.declaration import BatchCall, Tool
from winterbourne.chat.tool_runtime.keys import KeyRing, ToolKeys
from winterbourne.chat.tool_runtime.permits import Permits, Semaphore
from winterbourne.chat.tool_runtime.results import Outcome, encode
from winterbourne.chat.tool_runtime.retry import with_retry
from winterbourne.chat.tool_runtime.shared_run import ProgressCallback, SharedRun, handle_exception, run_to_outcome
from winterbourne.chat.tool_runtime.threads import ThreadPool
from winterbourne.chat.tool_runtime.validated_call import ValidatedCall

__all__ = ["ContextFactory", "ToolExecutor"]

T = TypeVar("T")
_LOGGER: Final = logging.getLogger(__name__)
ContextFactory: TypeAlias = Callable[[ProgressCallback], ToolContext]
"""Makes the context of a run; takes the callback for its progress."""


class ToolExecutor:
    """Runs validated calls, for all conversations of a process.

    Args:
        settings: The limits.
        http_clients: The HTTP clients in the contexts of runs.
        wall_clock: Seconds; measures the age of cached results and the open time of circuit breakers.
    """

    def __init__(self, settings: Settings, http_clients: HttpClients, wall_clock: Callable[[], float]) -> None:
        self.settings = settings
        self.http_clients = http_clients
        self._key_ring = KeyRing(settings)
        self.thread_pool = ThreadPool(settings.tools.tool_abandoned_limit)
        self.permits = Permits()
        self._thread_semaphore = Semaphore(settings.tools.tool_executor_max_workers)
        self._tool_semaphores: dict[str, Semaphore] = {}
        self._cache = ResultCache(settings.tools.tool_cache_bytes, wall_clock)
        self._breakers = CircuitBreakers(settings, wall_clock)
        self._in_flight: dict[CacheKey, SharedRun] = {}
        self._stuck_tasks: set[asyncio.Task[Any]] = set()

    @property
    def abandoned_count(self) -> int:
        """Threads and tasks of tools that ignored their cancellation and are still running."""
        return self.thread_pool.abandoned_count + len(self._stuck_tasks)

    def required_semaphores(self, tool: Tool) -> list[Semaphore]:
        """The semaphores a run of this tool must acquire, besides that of its turn."""
        limit = tool.options.concurrency
        tool_semaphores = [self._tool_semaphores.setdefault(tool.name, Semaphore(limit))] if limit else []
        return [*tool_semaphores, self._thread_semaphore] if tool.blocking else tool_semaphores

    def keys_for(self, tool: Tool) -> ToolKeys:
        """The settings that a tool may read: those it declares."""
        return self._key_ring.restricted_to((*tool.options.needs, *tool.optional_settings))

    def cached_or_refused(self, call: ValidatedCall) -> Outcome | None:
        """The outcome if no run is needed: a cached result, or a refusal because the breaker is open; else None."""
        if call.cache_key and (result := self._cache.get(call.cache_key)) is not None:
            measure("CacheHits", tool=call.tool.name)
            return Outcome("completed", redaction.redact_json(result))  # a secret may have been registered since
        return self._breakers.refusal_if_open(call.tool)

    def in_flight(self, call: ValidatedCall) -> SharedRun | None:
        """The run of an identical call, which may be joined (single-flight)."""
        return self._in_flight.get(call.cache_key) if call.cache_key else None

    def start(self, call: ValidatedCall, make_context: ContextFactory, release: Callable[[], None]) -> SharedRun:
        """Start a run. `release` is called once, when the run is done or abandoned."""

        def on_done() -> None:
            release()
            if call.cache_key:
                del self._in_flight[call.cache_key]

        run = SharedRun(lambda run: self._execute(call, make_context(run.publish_progress)), on_done)
        if call.cache_key:
            self._in_flight[call.cache_key] = run
        return run

    def start_batch(
        self,
        batch: CallBatch[ValidatedCall],
        batch_call: BatchCall,
        make_context: ContextFactory,
        release: Callable[[], None],
    ) -> SharedRun:
        """Start a run of all calls in the batch when its window closes; the outcomes are in the order of the calls."""
        return SharedRun(
            lambda run: self._execute_batch(batch, batch_call, make_context(run.publish_progress)), release
        )

    def adopt_stuck(self, tasks: Iterable[asyncio.Task[Any]]) -> None:
        """Keep track of tasks that did not end when they were cancelled."""
        for task in tasks:
            self._stuck_tasks.add(task)
            task.add_done_callback(self._stuck_tasks.discard)
            _LOGGER.warning("a tool ignored its cancellation; %d such tasks are still running", len(self._stuck_tasks))

    async def close(self, grace_s: float) -> None:
        """Cancel stuck tasks once more, wait for them at most `grace_s`, and stop the idle threads."""
        for task in self._stuck_tasks:
            task.cancel()
        if self._stuck_tasks:
            await asyncio.wait(self._stuck_tasks, timeout=grace_s)
        self.thread_pool.close()

    async def _execute(self, call: ValidatedCall, context: ToolContext) -> Sequence[Outcome]:
        tool = call.tool
        self._redact_arguments_from_log(call)

        async def call_tool() -> Outcome:
            return self._completed_outcome(tool, await call.tool.call(call.arguments, context))

        outcome = await self._breakers.guard(tool, context.patience, lambda: _run_with_retry(tool, call_tool))
        self._cache_result(call, outcome)
        return [outcome]

    async def _execute_batch(
        self, batch: CallBatch[ValidatedCall], batch_call: BatchCall, context: ToolContext
    ) -> Sequence[Outcome]:
        tool = batch.calls[0].tool
        await asyncio.sleep(tool.options.batch_window_s)
        calls = batch.close()
        if len(calls) == 1:
            return await self._execute(calls[0], context)

        self._redact_arguments_from_log(*calls)

        async def call_tool_batch() -> Sequence[Outcome]:
            return self._batch_outcomes(tool, len(calls), await batch_call([call.arguments for call in calls], context))

        outcomes = await self._breakers.guard(tool, context.patience, lambda: _run_with_retry(tool, call_tool_batch))
        if isinstance(outcomes, Outcome):
            return [outcomes] * len(calls)
        for call, outcome in zip(calls, outcomes, strict=True):
            self._cache_result(call, outcome)
        return outcomes

    def _redact_arguments_from_log(self, *calls: ValidatedCall) -> None:
        """Redact the arguments of these calls in logged exceptions, from here on and only in the task of this run."""
        if not self.settings.log.log_messages:
            EXCEPTION_REDACTOR.set(ArgumentRedactor(*(call.arguments_json for call in calls)))

    def _batch_outcomes(self, tool: Tool, count: int, values: Sequence[Any]) -> Sequence[Outcome]:
        if len(values) != count:
            raise ToolError(f"{tool.name} got a batch of {count} calls and returned {len(values)} results.")
        return [self._batch_item_outcome(tool, value) for value in values]

    def _batch_item_outcome(self, tool: Tool, value: Any) -> Outcome:
        if isinstance(value, Exception):
            return handle_exception(tool.name, value)
        try:
            return self._completed_outcome(tool, value)
        except ToolError as error:
            return handle_exception(tool.name, error)

    def _completed_outcome(self, tool: Tool, value: Any) -> Outcome:
        return Outcome(
            "completed", encode(value, tool.options.max_result_bytes or self.settings.tools.tool_max_result_bytes)
        )

    def _cache_result(self, call: ValidatedCall, outcome: Outcome) -> None:
        if call.cache_key and outcome.status == "completed":
            self._cache.put(call.cache_key, outcome.result, call.tool.options.cache_ttl_s or 0)


async def _run_with_retry(tool: Tool, work: Callable[[], Awaitable[T]]) -> T | Outcome:
    """Do the work with as many retries as the tool's options allow."""
    return await run_to_outcome(tool.name, lambda: with_retry(tool.name, tool.options.retries, work))
