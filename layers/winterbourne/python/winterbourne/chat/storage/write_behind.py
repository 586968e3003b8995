"""Write-behind queue: items are queued without waiting, and a background task writes them to the store."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from winterbourne.chat.errors import StorageUnavailable
from winterbourne.chat.infra.telemetry import measure
from winterbourne.chat.storage.base import Item, Store

__all__ = ["WriteBehindQueue"]

_LOGGER: Final = logging.getLogger(__name__)

DRAFT_INTERVAL_S: Final = 1.0
"""How much of an answer may be lost with its process, in seconds; also the least time between two drafts."""


class WriteBehindQueue:
    """Writes items to the store, in order and one write at a time, from `start` to `close`.

    Of two items with the same key, only the later one is written if both are waiting.

    Args:
        store: Where the items are written.
        renew_lease: Called every `renew_interval_s` seconds, never during a write.
        renew_interval_s: Seconds between two calls of `renew_lease`.
        draft: Called every DRAFT_INTERVAL_S seconds; returns the items of what is not finished, to be written as it is.

    """

    def __init__(
        self,
        store: Store,
        renew_lease: Callable[[], Awaitable[None]],
        renew_interval_s: float,
        draft: Callable[[], Sequence[Item]] = tuple,
    ) -> None:
        self._store = store
        self._renew_lease = renew_lease
        self._renew_interval_s = renew_interval_s
        self._draft = draft
        self._pending: dict[tuple[str, str], Item] = {}
        self._drafted: dict[tuple[str, str], Item] = {}  # what the next draft, or what is finished, need not repeat
        self._wake_up = asyncio.Event()
        self._is_closing = False

    @property
    def is_flushed(self) -> bool:
        """Whether all queued items have been written."""
        return not self._pending

    def put(self, items: Sequence[Item]) -> None:
        """Queue items to be written soon. Never waits."""
        for item in items:
            if self._drafted.pop((item.pk, item.sk), None) != item:
                self._pending[item.pk, item.sk] = item
        self._wake_up.set()

    def start(self) -> None:
        """Start writing."""
        self._task = asyncio.create_task(self._run())

    async def close(self, until: float) -> None:
        """Write what is left, until this time of the event loop's clock; what is not written by then is abandoned."""
        self._is_closing = True
        self._wake_up.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._task
        if not self.is_flushed:
            measure("ConversationsCut")
            _LOGGER.error("the last %s items of a conversation could not be saved", len(self._pending))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        renew_at, draft_at = loop.time() + self._renew_interval_s, loop.time() + DRAFT_INTERVAL_S
        while not self._is_closing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(renew_at, draft_at)):
                    await self._wake_up.wait()
            self._wake_up.clear()
            is_draft_due = loop.time() >= draft_at and not self._is_closing
            if is_draft_due:
                self._put_draft()
            is_written = await self._flush()
            if loop.time() >= renew_at:
                renew_at += self._renew_interval_s
                await self._renew_lease()
            if is_draft_due:  # while the store fails, the lease's next renewal is soon enough
                draft_at = loop.time() + DRAFT_INTERVAL_S if is_written else renew_at
        await self._flush()

    def _put_draft(self) -> None:
        for item in self._draft():
            key = item.pk, item.sk
            if self._drafted.get(key) != item:
                self._drafted[key] = self._pending[key] = item

    async def _flush(self) -> bool:
        """Write the pending items. If that fails, they stay pending for the next flush; `Store` has logged why."""
        if items := dict(self._pending):
            try:
                await self._store.put(list(items.values()))
            except StorageUnavailable:
                return False
            for key, item in items.items():
                if self._pending[key] is item:
                    del self._pending[key]
        return True
