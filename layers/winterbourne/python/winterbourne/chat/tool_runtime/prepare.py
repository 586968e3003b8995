"""Prepares a tool when it is added: composes what its options ask for around its call, and looks for its keys."""

import functools
import inspect
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from winterbourne.chat.errors import InvalidToolDeclaration
from winterbourne.chat.infra.circuit_breaker import CircuitBreaker
from winterbourne.chat.settings import ToolSettings
from winterbourne.chat.tool_runtime.approvals import Approvals, wait_for_turn
from winterbourne.chat.tool_runtime.cache import CachedTool, ResultCache
from winterbourne.chat.tool_runtime.call import ActiveCall, CallRecords, Gate, PreparedTool, RunCalls, RunSlot, ToolRun
from winterbourne.chat.tool_runtime.circuit_breaker import GuardedTool
from winterbourne.chat.tool_runtime.declaration import Call, Tool
from winterbourne.chat.tool_runtime.keys import KeyRing, ToolKeys
from winterbourne.chat.tool_runtime.permits import Semaphore
from winterbourne.chat.tool_runtime.results import Outcome
from winterbourne.chat.tool_runtime.retry import with_retry
from winterbourne.chat.tool_runtime.threads import ThreadPool

if TYPE_CHECKING:
    from winterbourne.chat.tool_runtime.processes import ProcessPool

__all__ = ["ToolPreparer"]

_LOGGER: Final = logging.getLogger(__name__)


class ToolPreparer(msgspec.Struct, eq=False, dict=True):
    """Prepares the tools of one executor, and holds what they share: keys, cached results, circuit breakers, threads.

    Attributes:
        settings: The limits.
        key_ring: A tool is unavailable if a key or setting that it needs is not set here.
        threads: Where blocking tools run.
        run: Runs the calls of a run.
        now: Wall clock, seconds; measures the age of cached results and the open time of circuit breakers.
        approvals: Asks a person about calls, and has the records of calls that run once.
    """

    settings: ToolSettings
    key_ring: KeyRing
    threads: ThreadPool
    run: RunCalls
    now: Callable[[], float]
    approvals: Approvals
    _breakers: dict[str, CircuitBreaker] = {}

    __repr__ = object.__repr__  # without the secrets in the settings

    def __post_init__(self) -> None:
        """Make what the tools share."""
        limit = self.settings.tool_executor_max_workers
        self._thread_semaphore, self._process_semaphore = Semaphore(limit), Semaphore(limit)
        self._results = ResultCache(self.settings.tool_cache_bytes, self.now)

    @functools.cached_property
    def processes(self) -> "ProcessPool":
        """Where tools with `isolation="process"` run."""
        from winterbourne.chat.tool_runtime.processes import ProcessPool  # noqa: PLC0415 - few chats have such a tool

        return ProcessPool(self.settings.tool_executor_max_workers, self.threads)

    async def close(self) -> None:
        """End the processes, if there are any."""
        if "processes" in vars(self):
            await self.processes.close()

    def prepare(self, tool: Tool) -> PreparedTool:
        """The tool with its wrappers: the breaker guards a run with all its retries.

        Raises:
            InvalidToolDeclaration: Its batches wait longer than its timeout, or it has `approval` or `once` and this is
                no chat.
        """
        timeout_s = tool.options.timeout_s or self.settings.tool_execution_timeout
        if tool.batch and tool.options.batch_window_s >= timeout_s:
            text = f"Tool {tool.name}: batch_window_s must be less than {timeout_s:g} s, its timeout."
            raise InvalidToolDeclaration(text)
        wrappers: list[Callable[[Call], Call]] = []
        shortcuts: list[Callable[[ActiveCall], Outcome | RunSlot | None]] = []
        on_start: list[Callable[[ToolRun], None]] = []
        run, options = self.run, tool.options
        keys = self.key_ring.restricted_to((*options.needs, *tool.optional_settings), options.keys)
        max_result_bytes = options.max_result_bytes or self.settings.tool_max_result_bytes
        if options.retries:
            wrappers.append(functools.partial(with_retry, tool.name, options.retries))
        if options.breaker:
            breaker = CircuitBreaker(self.settings.tool_breaker_failures, self.settings.tool_breaker_open_time)
            guarded = GuardedTool(tool, self._breakers.setdefault(options.breaker, breaker), self.now)
            wrappers.append(guarded.guard)
            shortcuts.append(guarded.refusal)
        if options.cache_ttl_s is not None:
            cached = CachedTool(tool, self._results)
            shortcuts = [cached.find, *shortcuts, cached.join]  # an open breaker refuses no cached result
            on_start.append(cached.share)
        if tool.batch:
            from winterbourne.chat.tool_runtime.batching import Batching  # noqa: PLC0415 - few tools have it

            batching = Batching(tool.name, options.batch_window_s, run)
            run = batching.run
            shortcuts.append(batching.join)
            on_start.append(batching.open)
        if options.once:
            from winterbourne.chat.tool_runtime.once import OnceTool  # noqa: PLC0415 - likewise

            once = OnceTool(tool.name, self._require_records(tool), timeout_s, max_result_bytes, self.now)
            wrappers.append(once.guard)
        return PreparedTool(
            declared=tool,
            call=_wrap(self._isolate(tool, keys, max_result_bytes), wrappers),
            batch=_wrap(tool.batch, wrappers) if tool.batch else None,
            run=run,
            gates=self._gates(tool),
            shortcuts=shortcuts,
            on_start=on_start,
            missing_setting=self._first_missing_setting(tool),
            keys=keys,
            semaphores=self._semaphores(tool),
            timeout_s=timeout_s,
            max_result_bytes=max_result_bytes,
            hides_caller=tool.is_cache_shared,
        )

    def _gates(self, tool: Tool) -> list[Gate]:
        gates: list[Gate] = [] if tool.options.is_eager else [wait_for_turn]
        if tool.options.approval:
            self._require_records(tool)
            gates.insert(0, functools.partial(self.approvals.ask_if_needed, tool))
            if not self.approvals.has_key:
                _LOGGER.warning("no SIGNING_KEY is set: what tool %s asks only this process understands", tool.name)
        if tool.options.once:
            from winterbourne.chat.tool_runtime.once import set_idempotency_key  # noqa: PLC0415 - few tools have it

            gates.append(set_idempotency_key)
        return gates

    def _require_records(self, tool: Tool) -> CallRecords:
        if self.approvals.records is None:
            raise InvalidToolDeclaration(f"Tool {tool.name}: `approval` and `once` need a store, as a chat has it.")
        return self.approvals.records

    def _semaphores(self, tool: Tool) -> list[Semaphore]:
        limit = tool.options.concurrency
        own = self._process_semaphore if tool.options.isolation else self._thread_semaphore if tool.blocking else None
        return [*([Semaphore(limit)] if limit else []), *([own] if own else [])]

    def _isolate(self, tool: Tool, keys: ToolKeys, max_result_bytes: int) -> Call:
        """The tool's call in a process or a thread, if it runs in one."""
        if tool.options.isolation:
            return self.processes.isolate(tool, keys, self.settings.tool_max_result_bytes, max_result_bytes)
        if not tool.blocking or inspect.isgeneratorfunction(tool.function):
            return tool.call
        return lambda arguments, context: self.threads.run(functools.partial(tool.call, arguments, context), tool.name)

    def _first_missing_setting(self, tool: Tool) -> str:
        """The first key or setting that the tool needs and that is not set; empty if all are set."""
        needed = (*tool.options.keys, *tool.options.needs)
        missing = next((name for name in needed if not self.key_ring.is_set(name)), "")
        if missing:
            _LOGGER.warning("tool %s is not available: %s is not set", tool.name, missing)
        return missing


def _wrap(call: Call, wrappers: list[Callable[[Call], Call]]) -> Call:
    """The call inside the wrappers, of which the first is the innermost."""
    return functools.reduce(lambda wrapped, wrapper: wrapper(wrapped), wrappers, call)
