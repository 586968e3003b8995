"""A circuit breaker as a table: closed, open, half-open. Pure; the clock is passed in.

Closed, calls pass and failures in a row are counted. Open, calls are refused until the pause is over. Half-open, one
call may try: it closes the breaker or opens it again; if nothing is heard of it for another pause, the next may try.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

__all__ = ["MOVES", "Allow", "Answer", "Breaker", "Refuse", "State", "Step"]


class State(enum.Enum):
    """Where a breaker stands."""

    CLOSED = enum.auto()
    OPEN = enum.auto()
    HALF_OPEN = enum.auto()


class Step(enum.Enum):
    """What can happen to a breaker. `TRIPPED` is the failure that is one too many; `PAUSED` the end of the pause."""

    SUCCEEDED = enum.auto()
    FAILED = enum.auto()
    TRIPPED = enum.auto()
    PAUSED = enum.auto()


MOVES: Final[Mapping[tuple[State, Step], State]] = MappingProxyType(
    {
        (State.CLOSED, Step.SUCCEEDED): State.CLOSED,
        (State.CLOSED, Step.FAILED): State.CLOSED,
        (State.CLOSED, Step.TRIPPED): State.OPEN,
        (State.OPEN, Step.PAUSED): State.HALF_OPEN,
        (State.HALF_OPEN, Step.PAUSED): State.HALF_OPEN,
        (State.HALF_OPEN, Step.SUCCEEDED): State.CLOSED,
        (State.HALF_OPEN, Step.TRIPPED): State.OPEN,
    }
)
"""Every move there is; any other pair is a mistake in this module and raises KeyError."""


class Allow(NamedTuple):
    """The call may run. `round` names the time it belongs to: what is heard of it later counts only then."""

    round: int


class Refuse(NamedTuple):
    """The call must not run; it may be tried again in so many seconds."""

    wait_s: float


Answer: TypeAlias = Allow | Refuse


class Breaker:
    """One breaker.

    Args:
        failures: So many in a row open it.
        open_s: Seconds it stays open before one call may try.
    """

    def __init__(self, failures: int, open_s: float) -> None:
        self.state = State.CLOSED
        self._limit = failures
        self._open_s = open_s
        self._failures = 0
        self._until = 0.0
        self._round = 0

    def refuses_s(self, now: float) -> float:
        """For how many more seconds calls are refused; 0 where one may run. Changes nothing."""
        return 0.0 if self.state is State.CLOSED else max(0.0, self._until - now)

    def ask(self, now: float) -> Answer:
        """Whether a call may run now. It is the one that may try, if the breaker was open."""
        if wait_s := self.refuses_s(now):
            return Refuse(wait_s)
        if self.state is not State.CLOSED:
            self._step(Step.PAUSED, now)
        return Allow(self._round)

    def record(self, allowed: Allow, *, succeeded: bool, now: float) -> bool:
        """How an allowed call ended, once. Calls of an earlier round are not heard.

        Returns:
            Whether this opened the breaker.
        """
        if allowed.round != self._round:
            return False
        self._failures = 0 if succeeded else self._failures + 1
        tripped = self._failures >= (self._limit if self.state is State.CLOSED else 1)
        self._step(Step.SUCCEEDED if succeeded else Step.TRIPPED if tripped else Step.FAILED, now)
        return tripped

    # Private methods

    def _step(self, step: Step, now: float) -> None:
        before, self.state = self.state, MOVES[self.state, step]
        if before is not self.state or step is Step.PAUSED:
            self._round += 1
            self._failures = 0
            self._until = now + self._open_s
