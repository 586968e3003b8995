"""The breakers of all tools, by name: refusals as outcomes, openings as a metric."""

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
    """One breaker for each name that tools give in their options; tools without a name have none.

    Args:
        settings: TOOL_BREAKER_FAILURES and TOOL_BREAKER_OPEN_TIME.
        wall_clock: Seconds. The loop's clock may stand still while the environment is frozen, and pauses would not end.
    """

    def __init__(self, settings: Settings, wall_clock: Callable[[], float]) -> None:
        self._settings = settings
        self._now = wall_clock
        self._by_name: dict[str, CircuitBreaker] = {}

    def refusal_if_open(self, tool: Tool) -> Outcome | None:
        """What a call is told while the tool's breaker is open."""
        retry_after_s = self._breaker_for(tool).remaining_open_s(self._now()) if tool.options.breaker else 0.0
        return _refusal_outcome(tool, retry_after_s) if retry_after_s else None

    async def guard(self, tool: Tool, timeout_at: float, work: Callable[[], Awaitable[T | Outcome]]) -> T | Outcome:
        """Do a piece of work unless the breaker is open, and tell the breaker how it went.

        Args:
            tool: Whose breaker.
            timeout_at: When the work has had all its time, on the loop's clock; being cancelled then is a failure.
            work: Ends with a result, or with the outcome of a failure.

        Cancellation: passes through to the work.
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
        self._record(tool, allowed, succeeded=not (isinstance(result, Outcome) and result.fault))
        return result

    def _breaker_for(self, tool: Tool) -> CircuitBreaker:
        settings = self._settings
        new_breaker = CircuitBreaker(settings.tool_breaker_failures, settings.tool_breaker_open_time)
        return self._by_name.setdefault(tool.options.breaker, new_breaker)

    def _record(self, tool: Tool, allowed: Allow, *, succeeded: bool) -> None:
        if self._breaker_for(tool).record(allowed, succeeded=succeeded, now=self._now()):
            measure("BreakerOpenings", tool=tool.name)
            _LOGGER.warning("breaker %s opened", tool.options.breaker)


def _refusal_outcome(tool: Tool, retry_after_s: float) -> Outcome:
    return failed(
        f"{tool.name} failed too often and is not called now; it may be tried again in {retry_after_s:.0f} seconds."
    )
