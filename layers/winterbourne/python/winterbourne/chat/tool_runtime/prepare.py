"""Prepares a tool when it is added: composes what its options ask for around its call, and looks for its keys."""

import functools
import logging
from collections.abc import Callable
from typing import Any, Final

from winterbourne.chat.errors import InvalidToolDeclaration
from winterbourne.chat.settings import ToolSettings
from winterbourne.chat.tool_runtime.batching import Batching, check_size
from winterbourne.chat.tool_runtime.cache import CachedTool, ResultCache
from winterbourne.chat.tool_runtime.call import ActiveCall, PreparedTool, RunCalls, RunSlot, ToolRun
from winterbourne.chat.tool_runtime.circuit_breaker import CircuitBreaker, GuardedTool
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Call, Tool
from winterbourne.chat.tool_runtime.keys import KeyRing
from winterbourne.chat.tool_runtime.permits import Semaphore
from winterbourne.chat.tool_runtime.results import Outcome
from winterbourne.chat.tool_runtime.retry import with_retry
from winterbourne.chat.tool_runtime.threads import ThreadPool

__all__ = ["ToolPreparer"]

_LOGGER: Final = logging.getLogger(__name__)


class ToolPreparer:
    """Prepares the tools of one executor, and holds what they share: keys, cached results, circuit breakers, threads.

    Args:
        settings: The limits.
        key_ring: A tool is unavailable if a key or setting that it needs is not set here.
        threads: Where blocking tools run.
        run: Runs the calls of a run.
        now: Wall clock, seconds; measures the age of cached results and the open time of circuit breakers.
    """

    def __init__(
        self, settings: ToolSettings, key_ring: KeyRing, threads: ThreadPool, run: RunCalls, now: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._key_ring = key_ring
        self._threads = threads
        self._thread_semaphore = Semaphore(settings.tool_executor_max_workers)
        self._run = run
        self._now = now
        self._results = ResultCache(settings.tool_cache_bytes, now)
        self._breakers: dict[str, CircuitBreaker] = {}

    def prepare(self, tool: Tool) -> PreparedTool:
        """The tool with its wrappers: the breaker guards a run with all its retries.

        Raises:
            InvalidToolDeclaration: Its batches wait longer than its timeout.
        """
        timeout_s = tool.options.timeout_s or self._settings.tool_execution_timeout
        if tool.batch and tool.options.batch_window_s >= timeout_s:
            text = f"Tool {tool.name}: batch_window_s must be less than {timeout_s:g} s, its timeout."
            raise InvalidToolDeclaration(text)
        wrappers: list[Callable[[Call], Call]] = []
        shortcuts: list[Callable[[ActiveCall], Outcome | RunSlot | None]] = []
        on_start: list[Callable[[ToolRun], None]] = []
        run, options = self._run, tool.options
        if options.retries:
            wrappers.append(functools.partial(with_retry, tool.name, options.retries))
        if options.breaker:
            breaker = CircuitBreaker(self._settings.tool_breaker_failures, self._settings.tool_breaker_open_time)
            guarded = GuardedTool(tool, self._breakers.setdefault(options.breaker, breaker), self._now)
            wrappers.append(guarded.guard)
            shortcuts.append(guarded.refusal)
        if options.cache_ttl_s is not None:
            cached = CachedTool(tool, self._results)
            shortcuts = [cached.find, *shortcuts, cached.join]  # an open breaker refuses no cached result
            on_start.append(cached.share)
        if tool.batch:
            batching = Batching(tool.name, options.batch_window_s, run)
            run = batching.run
            shortcuts.append(batching.join)
            on_start.append(batching.open)
        return PreparedTool(
            declared=tool,
            compares_calls=options.cache_ttl_s is not None or tool.batch is not None,
            call=_wrap(self._in_thread(tool.call) if tool.blocking else tool.call, wrappers),
            batch=_wrap(check_size(tool.name, tool.batch), wrappers) if tool.batch else None,
            run=run,
            shortcuts=shortcuts,
            on_start=on_start,
            missing_setting=self._first_missing_setting(tool),
            keys=self._key_ring.restricted_to((*options.needs, *tool.optional_settings), options.keys),
            semaphores=self._semaphores(tool),
            timeout_s=timeout_s,
            max_result_bytes=options.max_result_bytes or self._settings.tool_max_result_bytes,
            hides_caller=tool.is_cache_shared,
        )

    def _semaphores(self, tool: Tool) -> list[Semaphore]:
        limit = tool.options.concurrency
        return [*([Semaphore(limit)] if limit else []), *([self._thread_semaphore] if tool.blocking else [])]

    def _in_thread(self, function: Callable[[Any, ToolContext], Any]) -> Call:
        return lambda arguments, context: self._threads.run(functools.partial(function, arguments, context))

    def _first_missing_setting(self, tool: Tool) -> str:
        """The first key or setting that the tool needs and that is not set; empty if all are set."""
        needed = (*tool.options.keys, *tool.options.needs)
        missing = next((name for name in needed if not self._key_ring.is_set(name)), "")
        if missing:
            _LOGGER.warning("tool %s is not available: %s is not set", tool.name, missing)
        return missing


def _wrap(call: Call, wrappers: list[Callable[[Call], Call]]) -> Call:
    """The call inside the wrappers, of which the first is the innermost."""
    return functools.reduce(lambda wrapped, wrapper: wrapper(wrapped), wrappers, call)
