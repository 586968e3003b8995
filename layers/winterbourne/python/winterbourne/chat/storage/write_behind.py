"""Writing beside the stream: items are handed over in passing, and a task of its own puts them into the store."""

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
"""What the end of a request may wait for its last writes; less than the margin that is left before a deadline."""


class WriteBehindQueue:
    """Puts items into the store, in order, while the block runs; leaving it waits for the last ones.

    Args:
        store: Where they go.
        renew: Called every `renew_interval_s` seconds, never beside a write.

    Cancellation:
        Of the block: still waits for the last writes, FLUSH_TIMEOUT_S at most. Of that waiting: gives them up.
    """

    def __init__(self, store: Store, renew: Callable[[], Awaitable[None]], renew_interval_s: float) -> None:
        self._store = store
        self._renew = renew
        self._renew_interval_s = renew_interval_s
        self._renew_at = 0.0
        self._pending: list[Item] = []
        self._wake_up = asyncio.Event()
        self._is_closing = False

    @property
    def is_flushed(self) -> bool:
        """Whether everything was written."""
        return not self._pending

    def put(self, items: Sequence[Item]) -> None:
        """Have items written soon. Never waits."""
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
            _LOGGER.error("the last %s items of a conversation could not be kept", len(self._pending))

    async def _run(self) -> None:
        while not self._is_closing:
            await self._wait_for_work()
            await self._flush()
            if asyncio.get_running_loop().time() >= self._renew_at:
                self._renew_at += self._renew_interval_s
                await self._renew()
        await self._flush()

    async def _wait_for_work(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._renew_at):
                await self._wake_up.wait()
        self._wake_up.clear()

    async def _flush(self) -> None:
        """Write what waits. What the store does not take waits for the next occasion; the store has logged why."""
        if items := self._pending[:]:
            with contextlib.suppress(StorageUnavailable):
                await self._store.put(items)
                del self._pending[: len(items)]
