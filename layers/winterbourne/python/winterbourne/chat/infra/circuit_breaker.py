"""Circuit breaker: pauses what keeps failing. A state machine: closed, open, half-open.

Closed: calls pass and consecutive failures are counted. Open: calls are refused until the open time has elapsed.
Half-open: one trial call runs and closes the breaker or opens it again; if its outcome is not recorded within another
open time, the next call is a trial too, and the first outcome of any counts.
"""

__all__ = ["CircuitBreaker"]


class CircuitBreaker:
    """One circuit breaker. Pure; the clock is passed in.

    Args:
        failure_threshold: How many consecutive failures open it.
        open_s: Seconds it stays open before a trial call may run.

    Attributes:
        is_closed: Whether calls pass. If not, it is open, and half-open once a trial call runs.
        generation: Grows whenever it opens, again after a trial that has failed, or closes.
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
            self._open_until = now + self._open_s
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
            self.generation += 1
            self._consecutive_failures = 0
            self._open_until = now + self._open_s
        return tripped
