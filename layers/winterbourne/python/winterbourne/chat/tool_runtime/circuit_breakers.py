"""The circuit breakers of all tools, by name: a refused call becomes its outcome, an opening is counted as a metric."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from winterbourne.chat.infra.telemetry import measure
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.circuit_breaker import Allow, CircuitBreaker, Refuse
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.results import Outcome, failed

__all__ = ["CircuitBreakers"]

T = TypeVar("T")
_LOGGER: Final = logging.getLogger(__name__)


class CircuitBreakers:
    """One breaker for each name in the `breaker` option of tools; a tool without a name has none.

    Args:
        settings: TOOL_BREAKER_FAILURES and TOOL_BREAKER_OPEN_TIME.
        wall_clock: Seconds. The loop's clock may stop while the environment is frozen, which would keep breakers open.
    """

    def __init__(self, settings: Settings, wall_clock: Callable[[], float]) -> None:
        self._settings = settings
        self._now = wall_clock
        self._by_name: dict[str, CircuitBreaker] = {}

    def refusal_if_open(self, tool: Tool) -> Outcome | None:
        """The outcome of a call while the tool's breaker is open, else None."""
        retry_after_s = self._breaker_for(tool).remaining_open_s(self._now()) if tool.options.breaker else 0.0
        return _refusal_outcome(tool, retry_after_s) if retry_after_s else None

    async def guard(self, tool: Tool, timeout_at: float, work: Callable[[], Awaitable[T | Outcome]]) -> T | Outcome:
        """Do the work unless the breaker is open, and record how it ended.

        Args:
            tool: The tool whose breaker guards the work.
            timeout_at: When the tool's timeout expires, on the loop's clock; a cancellation from then on is a failure.
            work: Returns a result, or the outcome of a failure.

        Cancellation:
            Passes through to the work.
        """
        if not tool.options.breaker:
            return await work()
        allowed = self._breaker_for(tool).try_acquire(self._now())
        if isinstance(allowed, Refuse):
            return _refusal_outcome(tool, allowed.retry_after_s)
        try:
            result = await work()
        except asyncio.CancelledError:
            if asyncio.get_running_loop().time() >= timeout_at:
                self._record(tool, allowed, succeeded=False)
            raise
        self._record(tool, allowed, succeeded=not (isinstance(result, Outcome) and result.counts_as_failure))
        return result

    def _breaker_for(self, tool: Tool) -> CircuitBreaker:
        settings = self._settings
        new_breaker = CircuitBreaker(settings.tools.tool_breaker_failures, settings.tools.tool_breaker_open_time)
        return self._by_name.setdefault(tool.options.breaker, new_breaker)

    def _record(self, tool: Tool, allowed: Allow, *, succeeded: bool) -> None:
        if self._breaker_for(tool).record(allowed, succeeded=succeeded, now=self._now()):
            measure("BreakerOpenings", tool=tool.name)
            _LOGGER.warning("circuit breaker %s opened", tool.options.breaker)


def _refusal_outcome(tool: Tool, retry_after_s: float) -> Outcome:
    return failed(f"{tool.name} failed too often and is paused; it may be called again in {retry_after_s:.0f} seconds.")
