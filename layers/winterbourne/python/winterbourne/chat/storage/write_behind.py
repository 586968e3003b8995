"""Write-behind queue: items are queued without waiting, and a background task writes them to the store."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from winterbourne.chat.errors import StorageUnavailable
from winterbourne.chat.infra.telemetry import measure
from winterbourne.chat.storage.base import Item, Store

__all__ = ["WriteBehindQueue"]

_LOGGER: Final = logging.getLogger(__name__)

WRITE_INTERVAL_S: Final = 1.0
"""How much of an answer may be lost with its process, in seconds; also the least time between two periodic writes."""

CLOSING_INTERVAL_S: Final = 0.5
"""How long a failed write waits for its next attempt while the queue closes, in seconds: what is not written then is
lost."""


class WriteBehindQueue(msgspec.Struct, eq=False, dict=True):
    """Writes items to the store, in order and one write at a time, from `start` to `close`.

    Of two items with the same key, only the later one is written if both are waiting.

    Attributes:
        store: Where the items are written.
        renew_interval_s: Seconds between two calls of `renew_lease`; also the longest that a failed write waits for its
            next attempt: two seconds at first, and twice as long each time.
        collect: Called before each write and every WRITE_INTERVAL_S seconds; returns further items to be written.
        renew_lease: Called that often, never during a write; None if there is no lease.
        check_lease: Called before each write; if it returns False, the items are dropped: another request may have
            replaced or deleted what they belong to.
        written: Called after each write that has succeeded.
    """

    store: Store
    renew_interval_s: float
    collect: Callable[[], Sequence[Item]] = tuple
    renew_lease: Callable[[], Awaitable[None]] | None = None
    check_lease: Callable[[], Awaitable[bool]] | None = None
    written: Callable[[], None] = lambda: None
    _pending: dict[tuple[str, str], Item] = {}
    _wake_up: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    _is_closing: bool = False

    @property
    def is_flushed(self) -> bool:
        """Whether all queued items have been written."""
        return not self._pending

    def put(self, items: Sequence[Item]) -> None:
        """Queue items to be written soon. Never waits."""
        self._add(items)
        self._wake_up.set()

    def write_soon(self) -> None:
        """Write what is to be collected as soon as the write under way is done. Never waits."""
        self._wake_up.set()

    def start(self) -> None:
        """Start writing."""
        self._task = asyncio.create_task(self._run())

    async def close(self, until: float) -> None:
        """Write what is left, until this time of the event loop's clock; what is not written by then is abandoned.

        A store that fails meanwhile is tried again.
        """
        self._is_closing = True
        self._wake_up.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._task
        if not self.is_flushed and self.renew_lease:
            measure("ConversationsCut")
            _LOGGER.error("the last %s items of a conversation could not be saved", len(self._pending))

    async def _run(self) -> None:
        loop, pause_s = asyncio.get_running_loop(), WRITE_INTERVAL_S
        renew_at, write_at = loop.time() + self.renew_interval_s, loop.time() + pause_s
        while not self._is_closing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(renew_at, write_at)):
                    await self._wake_up.wait()
            self._wake_up.clear()
            is_written = await self._flush()
            if loop.time() >= renew_at:
                renew_at += self.renew_interval_s
                if self.renew_lease:
                    await self.renew_lease()
            pause_s = WRITE_INTERVAL_S if is_written else min(2 * pause_s, self.renew_interval_s)
            write_at = loop.time() + pause_s
        while not await self._flush():  # noqa: ASYNC110 - not polling: each is an attempt, until `close` cancels it
            await asyncio.sleep(CLOSING_INTERVAL_S)

    def _add(self, items: Sequence[Item]) -> None:
        self._pending.update({(item.pk, item.sk): item for item in items})

    async def _flush(self) -> bool:
        """Write the pending items. If that fails, they stay pending for the next flush; `Store` has logged why."""
        self._add(self.collect())
        if items := dict(self._pending):
            try:
                if self.check_lease and not await self.check_lease():
                    self._pending.clear()
                    return True
                await self.store.put(list(items.values()))
            except StorageUnavailable:
                return False
            self.written()
            for key, item in items.items():
                if self._pending[key] is item:
                    del self._pending[key]
        return True
