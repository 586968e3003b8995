"""Counted places: how many calls may run at once, per conversation, per tool, and in threads.

A call takes one place of each kind it needs, or waits and holds none, so that a call which waits for a rare place
never blocks those that do not need it. First come, first served among those that could go on.
"""

import asyncio
from collections.abc import Sequence

__all__ = ["Kind", "Places"]


class Kind:
    """A kind of place, and how many of it are free."""

    __slots__ = ("free",)

    def __init__(self, count: int) -> None:
        self.free = count


class Places:
    """Hands out places of any kinds, and keeps the queue for them."""

    def __init__(self) -> None:
        self._queue: list[tuple[Sequence[Kind], asyncio.Future[None]]] = []

    def take(self, kinds: Sequence[Kind]) -> bool:
        """Take one place of each kind, or none at all."""
        if not all(kind.free for kind in kinds):
            return False
        for kind in kinds:
            kind.free -= 1
        return True

    async def wait(self, kinds: Sequence[Kind]) -> None:
        """Queue until one place of each kind was taken.

        Cancellation: leaves the queue; a place that was just handed over goes to the next.
        """
        handed = asyncio.get_running_loop().create_future()
        entry = (kinds, handed)
        self._queue.append(entry)
        try:
            await handed
        except asyncio.CancelledError:
            if handed.done() and not handed.cancelled():
                self.give_back(kinds)
            else:
                self._queue.remove(entry)
            raise

    def give_back(self, kinds: Sequence[Kind]) -> None:
        """Free the places and hand them to those who have waited longest."""
        for kind in kinds:
            kind.free += 1
        waiting, self._queue = self._queue, []
        for number, entry in enumerate(waiting):
            if not any(kind.free for kind in kinds):  # whoever follows waits for what others hold
                self._queue += waiting[number:]
                break
            if entry[1].cancelled() or not self.take(entry[0]):
                self._queue.append(entry)
            else:
                entry[1].set_result(None)
