"""From a checked call to a run under way: places, threads, kept results, identical calls, breakers, retries, batches.

What runs share across turns and conversations lives here. Who waits for a run, and for how long, is the turns'
business.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from winterbourne.chat.errors import ToolError
from winterbourne.chat.infra import redaction
from winterbourne.chat.infra.exception_text import HIDDEN, Hidden
from winterbourne.chat.infra.telemetry import measure
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.batching import Batch
from winterbourne.chat.tool_runtime.cache import Key, ResultCache
from winterbourne.chat.tool_runtime.circuit_breakers import Breakers
from winterbourne.chat.tool_runtime.context import Clients, ToolContext
from winterbourne.chat.tool_runtime.declaration import BatchCall, Tool
from winterbourne.chat.tool_runtime.keys import KeyRing, Keys
from winterbourne.chat.tool_runtime.permits import Kind, Places
from winterbourne.chat.tool_runtime.results import Outcome, encode
from winterbourne.chat.tool_runtime.retry import retried
from winterbourne.chat.tool_runtime.shared_run import Listener, Run, failure_of, outcome_of
from winterbourne.chat.tool_runtime.threads import Threads
from winterbourne.chat.tool_runtime.validated_call import Job

__all__ = ["ContextFor", "Workshop"]

T = TypeVar("T")
_LOGGER: Final = logging.getLogger(__name__)
ContextFor: TypeAlias = Callable[[Listener], ToolContext]
"""Makes the context of a run from where its progress goes."""


class Workshop:
    """Where jobs become runs.

    Args:
        settings: The limits.
        clients: For the contexts of runs.
        wall_clock: Seconds; what kept results age by, and pauses of breakers.
    """

    def __init__(self, settings: Settings, clients: Clients, wall_clock: Callable[[], float]) -> None:
        self.settings = settings
        self.clients = clients
        self._keys = KeyRing(settings)
        self.threads = Threads(settings.tool_abandoned_limit)
        self.places = Places()
        self._thread_places = Kind(settings.tool_executor_max_workers)
        self._tool_places: dict[str, Kind] = {}
        self._cache = ResultCache(settings.tool_cache_bytes, wall_clock)
        self._breakers = Breakers(settings, wall_clock)
        self._under_way: dict[Key, Run] = {}
        self._left: set[asyncio.Task[Any]] = set()

    @property
    def abandoned(self) -> int:
        """Threads and tasks of tools that did not end when they were told to, and still run."""
        return self.threads.abandoned + len(self._left)

    def kinds(self, tool: Tool) -> list[Kind]:
        """The places a run of this tool needs, beside its conversation's."""
        limit = tool.options.concurrency
        own = [self._tool_places.setdefault(tool.name, Kind(limit))] if limit else []
        return [*own, self._thread_places] if tool.blocking else own

    def keys(self, tool: Tool) -> Keys:
        """The settings that a tool may read: those it names."""
        return self._keys.only((*tool.options.needs, *tool.reads))

    def at_once(self, job: Job) -> Outcome | None:
        """What can be answered without a run: a result that is still fresh, or that the breaker is open."""
        if job.key and (result := self._cache.get(job.key)) is not None:
            measure("CacheHits", tool=job.tool.name)
            return Outcome("completed", redaction.redact_json(result))  # a secret may have become known meanwhile
        return self._breakers.refusal(job.tool)

    def under_way(self, job: Job) -> Run | None:
        """The run of an identical job, which may be joined."""
        return self._under_way.get(job.key) if job.key else None

    def start(self, job: Job, context_for: ContextFor, release: Callable[[], None]) -> Run:
        """Run a job. `release` is called once, when it is over or deserted."""

        def over() -> None:
            release()
            if job.key:
                del self._under_way[job.key]

        run = Run(lambda run: self._one(job, context_for(run.report)), over)
        if job.key:
            self._under_way[job.key] = run
        return run

    def start_batch(
        self, batch: Batch[Job], call: BatchCall, context_for: ContextFor, release: Callable[[], None]
    ) -> Run:
        """Run the jobs that a batch has when its window closes; the outcomes are in their order."""
        return Run(lambda run: self._many(batch, call, context_for(run.report)), release)

    def leave(self, tasks: Iterable[asyncio.Task[Any]]) -> None:
        """Take over tasks that did not end when they were cancelled."""
        for task in tasks:
            self._left.add(task)
            task.add_done_callback(self._left.discard)
            _LOGGER.warning("a tool ignored its cancellation and was left behind; %d are now", len(self._left))

    async def close(self, grace_s: float) -> None:
        """Cancel what was left behind once more, wait a little, and let the idle threads end."""
        for task in self._left:
            task.cancel()
        if self._left:
            await asyncio.wait(self._left, timeout=grace_s)
        self.threads.close()

    # Private methods

    async def _one(self, job: Job, context: ToolContext) -> Sequence[Outcome]:
        tool = job.tool
        self._hide_from_log(job)

        async def work() -> Outcome:
            return self._completed(tool, await job.tool.call(job.arguments, context))

        outcome = await self._breakers.guard(tool, context.patience, lambda: _tried(tool, work))
        self._keep(job, outcome)
        return [outcome]

    async def _many(self, batch: Batch[Job], call: BatchCall, context: ToolContext) -> Sequence[Outcome]:
        tool = batch.jobs[0].tool
        await asyncio.sleep(tool.options.batch_window_s)
        jobs = batch.close()
        if len(jobs) == 1:
            return await self._one(jobs[0], context)

        self._hide_from_log(*jobs)

        async def work() -> Sequence[Outcome]:
            return self._answers(tool, len(jobs), await call([job.arguments for job in jobs], context))

        outcomes = await self._breakers.guard(tool, context.patience, lambda: _tried(tool, work))
        if isinstance(outcomes, Outcome):
            return [outcomes] * len(jobs)
        for job, outcome in zip(jobs, outcomes, strict=True):
            self._keep(job, outcome)
        return outcomes

    def _hide_from_log(self, *jobs: Job) -> None:
        """Their arguments, from here on, in this run's own task and context."""
        if not self.settings.log_messages:
            HIDDEN.set(Hidden(*(job.text for job in jobs)))

    def _answers(self, tool: Tool, count: int, values: Sequence[Any]) -> Sequence[Outcome]:
        if len(values) != count:
            raise ToolError(f"{tool.name} was asked {count} things at once and gave {len(values)} answers.")
        return [self._answer(tool, value) for value in values]

    def _answer(self, tool: Tool, value: Any) -> Outcome:
        if isinstance(value, Exception):
            return failure_of(tool.name, value)
        try:
            return self._completed(tool, value)
        except ToolError as error:
            return failure_of(tool.name, error)

    def _completed(self, tool: Tool, value: Any) -> Outcome:
        return Outcome("completed", encode(value, tool.options.max_result_bytes or self.settings.tool_max_result_bytes))

    def _keep(self, job: Job, outcome: Outcome) -> None:
        if job.key and outcome.status == "completed":
            self._cache.put(job.key, outcome.result, job.tool.options.cache_ttl_s or 0)


async def _tried(tool: Tool, work: Callable[[], Awaitable[T]]) -> T | Outcome:
    """As often as the tool's options say."""
    return await outcome_of(tool.name, lambda: retried(tool.name, tool.options.retries, work))
