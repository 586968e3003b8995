"""Write-behind queue: items are queued without waiting, and a background task writes them to the store."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Self

from winterbourne.chat.errors import StorageUnavailable
from winterbourne.chat.infra.telemetry import measure
from winterbourne.chat.storage.base import Item, Store

__all__ = ["WriteBehindQueue"]

_LOGGER: Final = logging.getLogger(__name__)

FLUSH_TIMEOUT_S: Final = 2.0
"""How long the end of a request waits for its last writes, in seconds."""


class WriteBehindQueue:
    """Writes items to the store, in order, while the block runs; leaving the block waits for the last writes.

    Args:
        store: Where the items are written.
        renew_lease: Called every `renew_interval_s` seconds, never during a write.
        renew_interval_s: Seconds between two calls of `renew_lease`.

    Cancellation:
        If the block is cancelled, the last writes are still awaited, for FLUSH_TIMEOUT_S at most; if that wait is
        cancelled too, they are abandoned.
    """

    def __init__(self, store: Store, renew_lease: Callable[[], Awaitable[None]], renew_interval_s: float) -> None:
        self._store = store
        self._renew_lease = renew_lease
        self._renew_interval_s = renew_interval_s
        self._renew_at = 0.0
        self._pending: list[Item] = []
        self._wake_up = asyncio.Event()
        self._is_closing = False

    @property
    def is_flushed(self) -> bool:
        """Whether all queued items have been written."""
        return not self._pending

    def put(self, items: Sequence[Item]) -> None:
        """Queue items to be written soon. Never waits."""
        self._pending += items
        self._wake_up.set()

    async def __aenter__(self) -> Self:
        self._renew_at = asyncio.get_running_loop().time() + self._renew_interval_s
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_closing = True
        self._wake_up.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                await self._task
        if not self.is_flushed:
            measure("ConversationsCut")
            _LOGGER.error("the last %s items of a conversation could not be saved", len(self._pending))

    async def _run(self) -> None:
        while not self._is_closing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._renew_at):
                    await self._wake_up.wait()
            self._wake_up.clear()
            await self._flush()
            if asyncio.get_running_loop().time() >= self._renew_at:
                self._renew_at += self._renew_interval_s
                await self._renew_lease()
        await self._flush()

    async def _flush(self) -> None:
        """Write the pending items. If that fails, they stay pending for the next flush; `Store` has logged why."""
        if items := self._pending[:]:
            with contextlib.suppress(StorageUnavailable):
                await self._store.put(items)
                del self._pending[: len(items)]
