"""Circuit breaker: pauses a tool that keeps failing. A state machine (closed, open, half-open), and its wrapper.

Closed: calls pass and consecutive failures are counted. Open: calls are refused until the open time has elapsed.
Half-open: one trial call runs and closes the breaker or opens it again; if its outcome is not recorded within another
open time, the next call is the trial.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec

from winterbourne.chat.errors import ToolError
from winterbourne.chat.infra.telemetry import measure
from winterbourne.chat.tool_runtime.call import ActiveCall
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Call, Tool
from winterbourne.chat.tool_runtime.results import Outcome, counts_as_failure, failed

__all__ = ["CircuitBreaker", "GuardedTool"]

_LOGGER: Final = logging.getLogger(__name__)


class CircuitBreaker:
    """One circuit breaker. Pure; the clock is passed in.

    Args:
        failure_threshold: How many consecutive failures open it.
        open_s: Seconds it stays open before a trial call may run.

    Attributes:
        is_closed: Whether calls pass. If not, it is open, and half-open once a trial call runs.
        generation: Grows with every change of the state and every trial call.
    """

    def __init__(self, failure_threshold: int, open_s: float) -> None:
        self.is_closed = True
        self.generation = 0
        self._failure_threshold = failure_threshold
        self._open_s = open_s
        self._consecutive_failures = 0
        self._open_until = 0.0

    def remaining_open_s(self, now: float) -> float:
        """For how many more seconds calls are refused; 0 if a call may run. Does not change the state."""
        return 0.0 if self.is_closed else max(0.0, self._open_until - now)

    def begin(self, now: float) -> int:
        """Note that a call runs, which must not be refused now. If the breaker was open, it is the trial call.

        Returns:
            The generation it belongs to, for `record`.
        """
        if not self.is_closed:
            self._start_generation(now)
        return self.generation

    def record(self, generation: int, *, succeeded: bool, now: float) -> bool:
        """Record once how a call ended. Calls of an earlier generation are ignored.

        Returns:
            Whether this opened the breaker.
        """
        if generation != self.generation:
            return False
        self._consecutive_failures = 0 if succeeded else self._consecutive_failures + 1
        tripped = self._consecutive_failures >= (self._failure_threshold if self.is_closed else 1)
        if tripped or (succeeded and not self.is_closed):
            self.is_closed = not tripped
            self._start_generation(now)
        return tripped

    def _start_generation(self, now: float) -> None:
        self.generation += 1
        self._consecutive_failures = 0
        self._open_until = now + self._open_s


class GuardedTool(msgspec.Struct, frozen=True):
    """A tool and its breaker, which other tools may share.

    Attributes:
        tool: Has a `breaker`.
        breaker: The one of that name.
        now: Wall clock, seconds. The loop's clock may stop while the environment is frozen, which would keep breakers
            open.
    """

    tool: Tool
    breaker: CircuitBreaker
    now: Callable[[], float]

    def refusal(self, _: ActiveCall) -> Outcome | None:
        """The outcome of a call while the breaker is open, else None."""
        retry_after_s = self.breaker.remaining_open_s(self.now())
        return failed(self._refusal_message(retry_after_s)) if retry_after_s else None

    def guard(self, call: Call) -> Call:
        """The call, refused while the breaker is open; how it ends is recorded.

        A cancellation counts as a failure from `context.patience` on, when the tool's timeout has expired, and if it is
        the tool's own.
        """

        async def guarded_call(arguments: Any, context: ToolContext) -> Any:
            if retry_after_s := self.breaker.remaining_open_s(self.now()):
                raise ToolError(self._refusal_message(retry_after_s))
            generation = self.breaker.begin(self.now())
            try:
                result = await call(arguments, context)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not (task and task.cancelling()) or asyncio.get_running_loop().time() >= context.patience:
                    self._record(generation, succeeded=False)
                raise
            except BaseException as error:
                self._record(generation, succeeded=not counts_as_failure(error))
                raise
            self._record(generation, succeeded=True)
            return result

        return guarded_call

    def _record(self, generation: int, *, succeeded: bool) -> None:
        if self.breaker.record(generation, succeeded=succeeded, now=self.now()):
            measure("BreakerOpenings", tool=self.tool.name)
            _LOGGER.warning("circuit breaker %s opened", self.tool.options.breaker)

    def _refusal_message(self, retry_after_s: float) -> str:
        name = self.tool.name
        return f"{name} failed too often and is paused; it may be called again in {retry_after_s:.0f} seconds."
