"""A circuit breaker as a table: closed, open, half-open. Pure; the clock is passed in.

Closed, calls pass and failures in a row are counted. Open, calls are refused until the pause is over. Half-open, one
call may try: it closes the breaker or opens it again; if nothing is heard of it for another pause, the next may try.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

import msgspec

__all__ = ["TRANSITIONS", "Allow", "CircuitBreaker", "Decision", "Refuse", "State", "Trigger"]


class State(enum.Enum):
    """Where a breaker stands."""

    CLOSED = enum.auto()
    OPEN = enum.auto()
    HALF_OPEN = enum.auto()


class Trigger(enum.Enum):
    """What can happen to a breaker. `TRIPPED` is the failure that is one too many; `PAUSED` the end of the pause."""

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
"""Every move there is; any other pair is a mistake in this module and raises KeyError."""


class Allow(msgspec.Struct, frozen=True):
    """The call may run. `round` names the time it belongs to: what is heard of it later counts only then."""

    generation: int


class Refuse(msgspec.Struct, frozen=True):
    """The call must not run; it may be tried again in so many seconds."""

    retry_after_s: float


Decision: TypeAlias = Allow | Refuse


class CircuitBreaker:
    """One breaker.

    Args:
        failures: So many in a row open it.
        open_s: Seconds it stays open before one call may try.
    """

    def __init__(self, failure_threshold: int, open_s: float) -> None:
        self.state = State.CLOSED
        self._failure_threshold = failure_threshold
        self._open_s = open_s
        self._consecutive_failures = 0
        self._open_until = 0.0
        self._generation = 0

    def remaining_open_s(self, now: float) -> float:
        """For how many more seconds calls are refused; 0 where one may run. Changes nothing."""
        return 0.0 if self.state is State.CLOSED else max(0.0, self._open_until - now)

    def try_acquire(self, now: float) -> Decision:
        """Whether a call may run now. It is the one that may try, if the breaker was open."""
        if retry_after_s := self.remaining_open_s(now):
            return Refuse(retry_after_s)
        if self.state is not State.CLOSED:
            self._transition(Trigger.OPEN_TIME_ELAPSED, now)
        return Allow(self._generation)

    def record(self, allowed: Allow, *, succeeded: bool, now: float) -> bool:
        """How an allowed call ended, once. Calls of an earlier round are not heard.

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
