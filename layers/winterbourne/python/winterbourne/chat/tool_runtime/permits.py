"""Counting semaphores with one queue: limit how many calls run at once, per turn, per tool, and in threads.

A call acquires a permit of every semaphore it needs, or waits and holds none, so a call waiting for a scarce permit
never blocks calls that do not need it. When permits are released, the longest-waiting call that can proceed goes first.
"""

import asyncio
from collections.abc import Sequence

import msgspec

__all__ = ["Permits", "Semaphore"]


class Semaphore(msgspec.Struct, eq=False):
    """A counting semaphore: `available` permits are free."""

    available: int


class Permits:
    """Acquires permits of several semaphores at once, and keeps the queue of waiters."""

    def __init__(self) -> None:
        self._waiters: list[tuple[Sequence[Semaphore], asyncio.Future[None]]] = []

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
        """Release one permit of each semaphore, and grant permits to waiters that can proceed, longest wait first."""
        for semaphore in semaphores:
            semaphore.available += 1
        waiters, self._waiters = self._waiters, []
        for index, waiter in enumerate(waiters):
            if not any(semaphore.available for semaphore in semaphores):  # the rest wait for permits that others hold
                self._waiters += waiters[index:]
                break
            if waiter[1].cancelled() or not self.try_acquire(waiter[0]):
                self._waiters.append(waiter)
            else:
                waiter[1].set_result(None)
