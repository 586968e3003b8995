"""Counted places: how many calls may run at once, per conversation, per tool, and in threads.

A call takes one place of each kind it needs, or waits and holds none, so that a call which waits for a rare place
never blocks those that do not need it. First come, first served among those that could go on.
"""

import asyncio
from collections.abc import Sequence

__all__ = ["Permits", "Semaphore"]


class Semaphore:
    """A kind of place, and how many of it are free."""

    __slots__ = ("available",)

    def __init__(self, count: int) -> None:
        self.available = count


class Permits:
    """Hands out places of any kinds, and keeps the queue for them."""

    def __init__(self) -> None:
        self._waiters: list[tuple[Sequence[Semaphore], asyncio.Future[None]]] = []

    def try_acquire(self, semaphores: Sequence[Semaphore]) -> bool:
        """Take one place of each kind, or none at all."""
        if not all(semaphore.available for semaphore in semaphores):
            return False
        for kind in semaphores:
            kind.available -= 1
        return True

    async def acquire_queued(self, semaphores: Sequence[Semaphore]) -> None:
        """Queue until one place of each kind was taken.

        Cancellation: leaves the queue; a place that was just handed over goes to the next.
        """
        granted = asyncio.get_running_loop().create_future()
        waiter = (semaphores, granted)
        self._waiters.append(waiter)
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.release(semaphores)
            else:
                self._waiters.remove(waiter)
            raise

    def release(self, semaphores: Sequence[Semaphore]) -> None:
        """Free the places and hand them to those who have waited longest."""
        for semaphore in semaphores:
            semaphore.available += 1
        waiters, self._waiters = self._waiters, []
        for index, waiter in enumerate(waiters):
            if not any(kind.available for kind in semaphores):  # whoever follows waits for what others hold
                self._waiters += waiters[index:]
                break
            if waiter[1].cancelled() or not self.try_acquire(waiter[0]):
                self._waiters.append(waiter)
            else:
                waiter[1].set_result(None)
