"""Writing beside the stream: items are handed over in passing, and a task of its own puts them into the store."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Self

from winterbourne.chat.errors import StoreUnavailable
from winterbourne.chat.infra.telemetry import measure
from winterbourne.chat.storage.base import Item, Store

__all__ = ["Writer"]

_LOGGER: Final = logging.getLogger(__name__)

FLUSH_TIMEOUT_S: Final = 2.0
"""What the end of a request may wait for its last writes; less than the margin that is left before a deadline."""


class Writer:
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
        self._waiting: list[Item] = []
        self._woken = asyncio.Event()
        self._closing = False

    @property
    def is_done(self) -> bool:
        """Whether everything was written."""
        return not self._waiting

    def put(self, items: Sequence[Item]) -> None:
        """Have items written soon. Never waits."""
        self._waiting += items
        self._woken.set()

    async def __aenter__(self) -> Self:
        self._renew_at = asyncio.get_running_loop().time() + self._renew_interval_s
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        self._woken.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                await self._task
        if not self.is_done:
            measure("ConversationsCut")
            _LOGGER.error("the last %s items of a conversation could not be kept", len(self._waiting))

    # Private methods

    async def _run(self) -> None:
        while not self._closing:
            await self._nap()
            await self._write()
            if asyncio.get_running_loop().time() >= self._renew_at:
                self._renew_at += self._renew_interval_s
                await self._renew()
        await self._write()

    async def _nap(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._renew_at):
                await self._woken.wait()
        self._woken.clear()

    async def _write(self) -> None:
        """Write what waits. What the store does not take waits for the next occasion; the store has logged why."""
        if items := self._waiting[:]:
            with contextlib.suppress(StoreUnavailable):
                await self._store.put(items)
                del self._waiting[: len(items)]
