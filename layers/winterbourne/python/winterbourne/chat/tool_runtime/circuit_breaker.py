"""Circuit breaker: pauses a tool that keeps failing. A state machine (closed, open, half-open), and its wrapper.

Closed: calls pass and consecutive failures are counted. Open: calls are refused until the open time has elapsed.
Half-open: one trial call runs and closes the breaker or opens it again; if its outcome is not recorded within another
open time, the next call is the trial.
"""

import asyncio
import enum
import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import msgspec

from winterbourne.chat.errors import ToolError
from winterbourne.chat.infra.telemetry import measure
from winterbourne.chat.tool_runtime.call import ActiveCall
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Call, Tool
from winterbourne.chat.tool_runtime.results import Outcome, counts_as_failure, failed

__all__ = ["TRANSITIONS", "Allow", "CircuitBreaker", "Decision", "GuardedTool", "Refuse", "State", "Trigger"]

_LOGGER: Final = logging.getLogger(__name__)


class State(enum.Enum):
    """The state of a breaker."""

    CLOSED = enum.auto()
    OPEN = enum.auto()
    HALF_OPEN = enum.auto()


class Trigger(enum.Enum):
    """What can happen to a breaker. `TRIPPED` is a failure that opens it; a plain `FAILED` does not."""

    SUCCEEDED = enum.auto()
    FAILED = enum.auto()
    TRIPPED = enum.auto()
    OPEN_TIME_ELAPSED = enum.auto()


TRANSITIONS: Final[Mapping[tuple[State, Trigger], State]] = MappingProxyType(
    {
        (State.CLOSED, Trigger.SUCCEEDED): State.CLOSED,
        (State.CLOSED, Trigger.FAILED): State.CLOSED,
        (State.CLOSED, Trigger.TRIPPED): State.OPEN,
        (State.OPEN, Trigger.OPEN_TIME_ELAPSED): State.HALF_OPEN,
        (State.HALF_OPEN, Trigger.OPEN_TIME_ELAPSED): State.HALF_OPEN,
        (State.HALF_OPEN, Trigger.SUCCEEDED): State.CLOSED,
        (State.HALF_OPEN, Trigger.TRIPPED): State.OPEN,
    }
)
"""All transitions; any other pair is a bug in this module and raises KeyError."""


class Allow(msgspec.Struct, frozen=True):
    """The call may run. Its outcome counts only if the breaker is still in the same `generation` by then."""

    generation: int


class Refuse(msgspec.Struct, frozen=True):
    """The call must not run; it may be tried again in `retry_after_s` seconds."""

    retry_after_s: float


Decision: TypeAlias = Allow | Refuse


class CircuitBreaker:
    """One circuit breaker. Pure; the clock is passed in.

    Args:
        failure_threshold: How many consecutive failures open it.
        open_s: Seconds it stays open before a trial call may run.
    """

    def __init__(self, failure_threshold: int, open_s: float) -> None:
        self.state = State.CLOSED
        self._failure_threshold = failure_threshold
        self._open_s = open_s
        self._consecutive_failures = 0
        self._open_until = 0.0
        self._generation = 0

    def remaining_open_s(self, now: float) -> float:
        """For how many more seconds calls are refused; 0 if a call may run. Does not change the state."""
        return 0.0 if self.state is State.CLOSED else max(0.0, self._open_until - now)

    def try_acquire(self, now: float) -> Decision:
        """Decide whether a call may run now. If the breaker was open, it is the trial call."""
        if retry_after_s := self.remaining_open_s(now):
            return Refuse(retry_after_s)
        if self.state is not State.CLOSED:
            self._transition(Trigger.OPEN_TIME_ELAPSED, now)
        return Allow(self._generation)

    def record(self, allowed: Allow, *, succeeded: bool, now: float) -> bool:
        """Record once how an allowed call ended. Calls of an earlier generation are ignored.

        Returns:
            Whether this opened the breaker.
        """
        if allowed.generation != self._generation:
            return False
        self._consecutive_failures = 0 if succeeded else self._consecutive_failures + 1
        tripped = self._consecutive_failures >= (self._failure_threshold if self.state is State.CLOSED else 1)
        self._transition(Trigger.SUCCEEDED if succeeded else Trigger.TRIPPED if tripped else Trigger.FAILED, now)
        return tripped

    def _transition(self, trigger: Trigger, now: float) -> None:
        before, self.state = self.state, TRANSITIONS[self.state, trigger]
        if before is not self.state or trigger is Trigger.OPEN_TIME_ELAPSED:
            self._generation += 1
            self._consecutive_failures = 0
            self._open_until = now + self._open_s


class GuardedTool:
    """A tool and its breaker, which other tools may share.

    Args:
        tool: Has a `breaker`.
        breaker: The one of that name.
        wall_clock: Seconds. The loop's clock may stop while the environment is frozen, which would keep breakers open.
    """

    def __init__(self, tool: Tool, breaker: CircuitBreaker, wall_clock: Callable[[], float]) -> None:
        self._tool = tool
        self._breaker = breaker
        self._now = wall_clock

    def refusal(self, _: ActiveCall) -> Outcome | None:
        """The outcome of a call while the breaker is open, else None."""
        retry_after_s = self._breaker.remaining_open_s(self._now())
        return failed(self._refusal_message(retry_after_s)) if retry_after_s else None

    def guard(self, call: Call) -> Call:
        """The call, refused while the breaker is open; how it ends is recorded.

        A cancellation counts as a failure from `context.patience` on, when the tool's timeout has expired, and if it is
        the tool's own.
        """

        async def guarded_call(arguments: Any, context: ToolContext) -> Any:
            decision = self._breaker.try_acquire(self._now())
            if isinstance(decision, Refuse):
                raise ToolError(self._refusal_message(decision.retry_after_s))
            try:
                result = await call(arguments, context)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not (task and task.cancelling()) or asyncio.get_running_loop().time() >= context.patience:
                    self._record(decision, succeeded=False)
                raise
            except BaseException as error:
                self._record(decision, succeeded=not counts_as_failure(error))
                raise
            self._record(decision, succeeded=True)
            return result

        return guarded_call

    def _record(self, allowed: Allow, *, succeeded: bool) -> None:
        if self._breaker.record(allowed, succeeded=succeeded, now=self._now()):
            measure("BreakerOpenings", tool=self._tool.name)
            _LOGGER.warning("circuit breaker %s opened", self._tool.options.breaker)

    def _refusal_message(self, retry_after_s: float) -> str:
        name = self._tool.name
        return f"{name} failed too often and is paused; it may be called again in {retry_after_s:.0f} seconds."
