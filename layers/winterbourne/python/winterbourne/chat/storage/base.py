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

from winterbourne.chat.errors import StorageUnavailable
from winterbourne.chat.infra.telemetry import measure

__all__ = ["Backend", "Item", "Store", "encode_key", "is_next_version"]

T = TypeVar("T")

_LOGGER: Final = logging.getLogger(__name__)

TTL_SWEEP_INTERVAL_S: Final = 60.0
MAX_KEY_PART_CHARS: Final = 512  # DynamoDB takes 2048 bytes of pk and 1024 of sk


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

    def query_partition(self, pk: str) -> list[Item]:
        """All items of a partition, by sort key."""
        ...

    def query_newest(self, pk: str, limit: int, cursor: Item | None) -> list[Item]:
        """Items with `updated_ms`, the latest first, from the one after `after`; fewer than `limit` only at the end."""
        ...

    def put(self, items: Sequence[Item]) -> None:
        """Write, whatever was there. Not atomic over several."""

    def compare_and_set(self, item: Item, now_s: float) -> bool:
        """Write if what is there has a `number` one less; nothing, or something expired, counts as 0."""
        ...

    def increment(self, pk: str, sk: str, amount: int, expires_at_s: int) -> int:
        """Add to an item's `number` and return the sum, atomically."""
        ...

    def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        """Remove items by (pk, sk); what is not there is no error."""

    def delete_expired(self, now_s: float) -> None:
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
        self,
        make_backend: Callable[[], Backend],
        *,
        threads: int,
        is_shared: bool,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.is_shared = is_shared
        self.now = now
        self._thread_pool = ThreadPoolExecutor(threads, thread_name_prefix="store") if threads else None
        self._make_backend = make_backend
        self._backend_lock = threading.Lock()
        self._backend: Backend | None = None
        self._next_sweep_at_s = 0.0
        if self._thread_pool:
            self._thread_pool.submit(self._get_backend)

    async def get(self, pk: str, sk: str) -> Item | None:
        """One item, or None."""
        item = await self._call_backend(lambda backend: backend.get(pk, sk))
        return next(self._unexpired([item] if item else []), None)

    async def query_partition(self, pk: str) -> list[Item]:
        """All items of a partition, by sort key."""
        return list(self._unexpired(await self._call_backend(lambda backend: backend.query_partition(pk))))

    async def query_newest(self, pk: str, limit: int, cursor: Item | None = None) -> list[Item]:
        """At most `limit` items with `updated_ms`, the latest first; of `after` only the keys and the time count."""
        found: list[Item] = []
        while (missing := limit - len(found)) > 0:
            page = await self._query_page(pk, missing, cursor)
            found += self._unexpired(page)
            if len(page) < missing:
                break
            cursor = page[-1]
        return found

    async def put(self, items: Sequence[Item]) -> None:
        """Write items, whatever was there; several are not one transaction."""
        await self._delete_expired_if_due()
        await self._call_backend(lambda backend: backend.put(items))

    async def compare_and_set(self, item: Item) -> bool:
        """Write an item if what is there has a `number` one less (nothing there: 0); say whether it was written."""
        await self._delete_expired_if_due()
        return await self._call_backend(lambda backend: backend.compare_and_set(item, self.now()))

    async def increment(self, pk: str, sk: str, amount: int, expires_at_s: int) -> int:
        """Add to a counter and return what it is now; `expires_at_s` holds from its first addition."""
        await self._delete_expired_if_due()
        return await self._call_backend(lambda backend: backend.increment(pk, sk, amount, expires_at_s))

    async def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        """Remove items by (pk, sk)."""
        await self._call_backend(lambda backend: backend.delete(keys))

    async def close(self) -> None:
        """Let go of everything; nothing may be called afterwards."""
        await self._call_backend(lambda backend: backend.close())
        if self._thread_pool:
            self._thread_pool.shutdown(wait=False)

    async def _query_page(self, pk: str, limit: int, cursor: Item | None) -> list[Item]:
        return await self._call_backend(lambda backend: backend.query_newest(pk, limit, cursor))

    async def _call_backend(self, operation: Callable[[Backend], T]) -> T:
        try:
            if self._thread_pool is None:
                return operation(self._get_backend())
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread_pool, lambda: operation(self._get_backend()))
        except Exception as error:
            measure("StoreErrors")
            _LOGGER.error("the store did not do its part: %r", error)  # noqa: TRY400 - no trace: it may come often
            raise StorageUnavailable from error

    def _get_backend(self) -> Backend:
        with self._backend_lock:
            if self._backend is None:
                self._backend = self._make_backend()
            return self._backend

    async def _delete_expired_if_due(self) -> None:
        if self.now() >= self._next_sweep_at_s:
            self._next_sweep_at_s = self.now() + TTL_SWEEP_INTERVAL_S
            await self._call_backend(lambda backend: backend.delete_expired(self.now()))

    def _unexpired(self, items: Iterable[Item]) -> Iterator[Item]:
        now_s = self.now()
        return (item for item in items if not 0 < item.expires_at_s <= now_s)


def encode_key(*parts: str) -> str:
    """Parts → one key in ASCII. Different parts never give the same key, whatever characters they have."""
    return "#".join(map(_encode_key_part, parts))


def is_next_version(current: Item | None, item: Item, now_s: float) -> bool:
    """Whether `item` is the next version of what is there. Nothing, or something expired, is version 0."""
    if current is None or 0 < current.expires_at_s <= now_s:
        return item.number == 1
    return item.number == current.number + 1


def _encode_key_part(part: str) -> str:
    quoted = quote(part, safe=":/@+=", errors="surrogatepass")
    if len(quoted) <= MAX_KEY_PART_CHARS:
        return quoted
    # Nothing that was quoted has two percent signs in a row.
    return "%%" + hashlib.sha256(quoted.encode()).hexdigest()
