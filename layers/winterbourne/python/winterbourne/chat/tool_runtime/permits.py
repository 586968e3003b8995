"""Counting semaphores with one queue: limit how many calls run at once, per turn, per tool, and in threads.

A call acquires a permit of every semaphore it needs, or waits and holds none, so a call waiting for a scarce permit
never blocks calls that do not need it. When permits are released, the longest-waiting call that can proceed goes first.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Iterator, Sequence

import msgspec

__all__ = ["Permits", "Semaphore"]


class Semaphore(msgspec.Struct, eq=False):
    """A counting semaphore: `available` permits are free."""

    available: int


class Permits(msgspec.Struct, eq=False):
    """Acquires permits of several semaphores at once, and keeps the queue of waiters."""

    # Those that wait for the same semaphores queue one after another, each with its number among all that came.
    _queues: dict[tuple[Semaphore, ...], deque[tuple[int, asyncio.Future[None]]]] = {}
    _numbers: Iterator[int] = msgspec.field(default_factory=itertools.count)

    def try_acquire(self, semaphores: Sequence[Semaphore]) -> bool:
        """Acquire one permit of each semaphore, or none at all."""
        if not all(semaphore.available for semaphore in semaphores):
            return False
        for semaphore in semaphores:
            semaphore.available -= 1
        return True

    async def acquire_queued(self, semaphores: Sequence[Semaphore]) -> None:
        """Queue until one permit of each semaphore is acquired.

        Cancellation:
            Leaves the queue; permits that were just granted go to the next waiter.
        """
        granted = asyncio.get_running_loop().create_future()
        self._queues.setdefault(tuple(semaphores), deque()).append((next(self._numbers), granted))
        try:
            await granted  # a cancelled one stays in its queue until its turn comes
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.release(semaphores)
            raise

    def release(self, semaphores: Sequence[Semaphore]) -> None:
        """Release one permit of each semaphore, and grant permits to waiters that can proceed, longest wait first."""
        for semaphore in semaphores:
            semaphore.available += 1
        while self._queues and (kind := self._next_to_proceed()) is not None:
            self.try_acquire(kind)
            self._queues[kind].popleft()[1].set_result(None)

    def _next_to_proceed(self) -> tuple[Semaphore, ...] | None:
        """The semaphores of the longest-waiting call that can proceed; drops calls that have left their queue."""
        for kind, queue in list(self._queues.items()):
            while queue and queue[0][1].cancelled():
                queue.popleft()
            if not queue:
                del self._queues[kind]
        ready = (kind for kind in self._queues if all(semaphore.available for semaphore in kind))
        return min(ready, key=lambda kind: self._queues[kind][0][0], default=None)
