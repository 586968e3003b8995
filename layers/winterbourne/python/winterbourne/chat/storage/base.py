"""Where things are kept: a small table of items, shared by conversations, stop requests and limits.

`Store` is the async shell around one of three plain, blocking backends: memory, SQLite, DynamoDB. It runs them in
threads of its own, so that nothing kept ever delays a token. Knows nothing of what is kept.

An item stands under a partition key `pk` and a sort key `sk`. Reads see every write that has returned before.
"""

import asyncio
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, TypeVar
from urllib.parse import quote

import msgspec

from winterbourne.chat.errors import StoreUnavailable
from winterbourne.chat.infra.telemetry import measure

__all__ = ["Backend", "Item", "Store", "key", "may_replace"]

T = TypeVar("T")

_LOGGER: Final = logging.getLogger(__name__)

SWEEP_INTERVAL_S: Final = 60.0
LONGEST_KEY_PART: Final = 512  # DynamoDB takes 2048 bytes of pk and 1024 of sk


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One kept thing.

    Args:
        pk: Partition key; see `key`.
        sk: Sort key; a partition is read in its order.
        body: At most 350 KB, so that it fits into one item of DynamoDB.
        number: The version of an item that is replaced, the count of a counter; otherwise free.
        updated_ms: Epoch milliseconds by which `newest` orders; 0 leaves the item out of that.
        expires_at_s: Epoch seconds after which the item is gone; 0 is never.
    """

    pk: str
    sk: str
    body: bytes = b""
    number: int = 0
    updated_ms: int = 0
    expires_at_s: int = 0


class Backend(Protocol):
    """What a backend does, blocking. Expired items may still be there; the shell hides them."""

    def get(self, pk: str, sk: str) -> Item | None:
        """One item."""

    def partition(self, pk: str) -> list[Item]:
        """All items of a partition, by sort key."""
        ...

    def newest(self, pk: str, limit: int, after: Item | None) -> list[Item]:
        """Items with `updated_ms`, the latest first, from the one after `after`; fewer than `limit` only at the end."""
        ...

    def put(self, items: Sequence[Item]) -> None:
        """Write, whatever was there. Not atomic over several."""

    def replace(self, item: Item, now_s: float) -> bool:
        """Write if what is there has a `number` one less; nothing, or something expired, counts as 0."""
        ...

    def add(self, pk: str, sk: str, amount: int, expires_at_s: int) -> int:
        """Add to an item's `number` and return the sum, atomically."""
        ...

    def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        """Remove items by (pk, sk); what is not there is no error."""

    def sweep(self, now_s: float) -> None:
        """Remove what has expired, if the backend does not do so by itself."""

    def close(self) -> None:
        """Let go of files and connections."""


class Store:
    """A backend, off the event loop.

    Args:
        make: Makes the backend; called at once, in the first thread, and again with the next call if it failed.
        threads: How many calls may be under way; 0 calls the backend directly, which then must not block.
        shared: Whether other execution environments see the same items.
        now: Wall clock, seconds.

    Every method may raise `StoreUnavailable`.

    Cancellation:
        Stops the waiting, not the call: whether it still takes effect is unknown.
    """

    def __init__(
        self, make: Callable[[], Backend], *, threads: int, shared: bool, now: Callable[[], float] = time.time
    ) -> None:
        self.shared = shared
        self.now = now
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="store") if threads else None
        self._make = make
        self._making = threading.Lock()
        self._backend: Backend | None = None
        self._sweep_at_s = 0.0
        if self._threads:
            self._threads.submit(self._made)

    async def get(self, pk: str, sk: str) -> Item | None:
        """One item, or None."""
        item = await self._call(lambda backend: backend.get(pk, sk))
        return next(self._alive([item] if item else []), None)

    async def partition(self, pk: str) -> list[Item]:
        """All items of a partition, by sort key."""
        return list(self._alive(await self._call(lambda backend: backend.partition(pk))))

    async def newest(self, pk: str, limit: int, after: Item | None = None) -> list[Item]:
        """At most `limit` items with `updated_ms`, the latest first; of `after` only the keys and the time count."""
        found: list[Item] = []
        while (missing := limit - len(found)) > 0:
            page = await self._page(pk, missing, after)
            found += self._alive(page)
            if len(page) < missing:
                break
            after = page[-1]
        return found

    async def put(self, items: Sequence[Item]) -> None:
        """Write items, whatever was there; several are not one transaction."""
        await self._sweep()
        await self._call(lambda backend: backend.put(items))

    async def replace(self, item: Item) -> bool:
        """Write an item if what is there has a `number` one less (nothing there: 0); say whether it was written."""
        await self._sweep()
        return await self._call(lambda backend: backend.replace(item, self.now()))

    async def add(self, pk: str, sk: str, amount: int, expires_at_s: int) -> int:
        """Add to a counter and return what it is now; `expires_at_s` holds from its first addition."""
        await self._sweep()
        return await self._call(lambda backend: backend.add(pk, sk, amount, expires_at_s))

    async def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        """Remove items by (pk, sk)."""
        await self._call(lambda backend: backend.delete(keys))

    async def close(self) -> None:
        """Let go of everything; nothing may be called afterwards."""
        await self._call(lambda backend: backend.close())
        if self._threads:
            self._threads.shutdown(wait=False)

    # Private methods

    async def _page(self, pk: str, limit: int, after: Item | None) -> list[Item]:
        return await self._call(lambda backend: backend.newest(pk, limit, after))

    async def _call(self, do: Callable[[Backend], T]) -> T:
        try:
            if self._threads is None:
                return do(self._made())
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, lambda: do(self._made()))
        except Exception as error:
            measure("StoreErrors")
            _LOGGER.error("the store did not do its part: %r", error)  # noqa: TRY400  (no trace: it may come often)
            raise StoreUnavailable from error

    def _made(self) -> Backend:
        with self._making:
            if self._backend is None:
                self._backend = self._make()
            return self._backend

    async def _sweep(self) -> None:
        if self.now() >= self._sweep_at_s:
            self._sweep_at_s = self.now() + SWEEP_INTERVAL_S
            await self._call(lambda backend: backend.sweep(self.now()))

    def _alive(self, items: Iterable[Item]) -> Iterator[Item]:
        now_s = self.now()
        return (item for item in items if not 0 < item.expires_at_s <= now_s)


def key(*parts: str) -> str:
    """Parts → one key in ASCII. Different parts never give the same key, whatever characters they have."""
    return "#".join(map(_key_part, parts))


def may_replace(there: Item | None, item: Item, now_s: float) -> bool:
    """Whether `item` is the next version of what is there. Nothing, or something expired, is version 0."""
    if there is None or 0 < there.expires_at_s <= now_s:
        return item.number == 1
    return item.number == there.number + 1


def _key_part(part: str) -> str:
    quoted = quote(part, safe=":/@+=", errors="surrogatepass")
    if len(quoted) <= LONGEST_KEY_PART:
        return quoted
    # Nothing that was quoted has two percent signs in a row.
    return "%%" + hashlib.sha256(quoted.encode()).hexdigest()
