"""An event loop with a simulated clock that jumps: waiting for a timer takes no time, and a test never sleeps.

When nothing is ready, the clock moves to the next timer at once, unless a thread that this loop is waiting for is
still running (see `busy`): real threads take real time. Nothing else moves it, so a busy machine changes nothing.
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

from winterbourne.override import override

__all__ = ["JumpingLoop", "jumping"]

P = ParamSpec("P")


class _JumpingSelector(selectors.DefaultSelector):
    now_s = 1000.0
    busy: Callable[[], bool] = staticmethod(lambda: False)

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(0)
        if not ready and self.busy():
            return super().select(min(timeout, 0.001))
        if not ready:
            self.now_s += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """A selector loop on a clock that jumps.

    Args:
        busy: Returns whether a thread is running that must end before the clock may jump.
    """

    def __init__(self, busy: Callable[[], bool] = lambda: False) -> None:
        self._jumps = _JumpingSelector()
        self._jumps.busy = busy
        super().__init__(self._jumps)

    @override
    def time(self) -> float:
        """Seconds, as `loop.time()` gives them: all the jumps so far."""
        return self._jumps.now_s


def jumping(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test on a JumpingLoop."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run
