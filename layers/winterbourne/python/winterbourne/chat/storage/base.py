"""Item store: a small key-value table, shared by conversations, stop signals and rate limits.

`Store` is the async wrapper around one of three backends: memory, SQLite, DynamoDB. SQLite, which blocks, runs in a
thread; DynamoDB's methods are async. So storage never delays a token. It does not interpret the items.

An item is addressed by a partition key `pk` and a sort key `sk`. Reads are strongly consistent: they see every write
that has returned before.
"""

import asyncio
import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol, TypeAlias, TypeVar
from urllib.parse import quote

import msgspec

from winterbourne.chat.errors import StorageUnavailable
from winterbourne.chat.infra.telemetry import measure

__all__ = ["WAIT_TIMEOUT_S", "Backend", "Item", "Store", "encode_key", "is_next_version", "read_item", "time_limit"]

T = TypeVar("T")
Result: TypeAlias = T | Awaitable[T]

_LOGGER: Final = logging.getLogger(__name__)

TTL_SWEEP_INTERVAL_S: Final = 60.0
WAIT_TIMEOUT_S: Final = 2.0
"""How long a request may wait for the store before the first byte of its response, in seconds, all waits together."""

MAX_KEY_PART_CHARS: Final = 512  # DynamoDB allows 2048 bytes for pk and 1024 for sk


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One stored item.

    Attributes:
        pk: Partition key, in ASCII.
        sk: Sort key; orders the items of a partition.
        body: At most 350 KB, so that it fits into one DynamoDB item.
        number: The version (optimistic locking by compare-and-set) or the count (`increment`); else free to use: the
            number of parts of a message, the time of a stop signal.
        updated_ms: Epoch milliseconds by which `query_newest` orders; items with 0 are left out there.
        expires_at_s: Epoch seconds at which the item expires; 0 is never.
    """

    pk: str
    sk: str
    body: bytes = b""
    number: int = 0
    updated_ms: int = 0
    expires_at_s: int = 0


class Backend(Protocol):
    """A storage backend: it blocks, and is called in the threads of a `Store`; or it is async, and `Store` awaits it.

    A store with several threads, or with none, calls it several times at once. Any exception becomes a
    StorageUnavailable. It may still return expired items; the store leaves them out.
    """

    def get(self, pk: str, sk: str, /) -> Result[Item | None]:
        """One item, or None."""

    def query_partition(self, pk: str, /) -> Result[list[Item]]:
        """All items of a partition, by sort key."""

    def query_newest(self, pk: str, limit: int, cursor: Item | None, /) -> Result[list[Item]]:
        """Items with `updated_ms`, newest first, starting after `cursor`; fewer than `limit` only on the last page."""

    def put(self, items: Sequence[Item], /) -> Result[None]:
        """Write items unconditionally. Several items are not written atomically."""

    def compare_and_set(self, item: Item, now_s: float, /) -> Result[bool]:
        """Write if the stored `number` is one less (optimistic locking); a missing or expired item counts as 0."""

    def increment(self, pk: str, sk: str, amount: int, expires_at_s: int, /) -> Result[int]:
        """Add to an item's `number` and return the sum, atomically. `expires_at_s` is set by the first call only."""

    def delete(self, keys: Sequence[tuple[str, str]], /) -> Result[None]:
        """Delete items by (pk, sk); a missing item is not an error."""

    def delete_expired(self, now_s: float, /) -> Result[None]:
        """Delete expired items, unless the database does so by itself."""

    def close(self) -> Result[None]:
        """Close files and connections."""


class Store:
    """A store: calls a backend without blocking the event loop. Several chats and requests share it.

    Args:
        connect: Makes the backend; called at once if there are threads, in one, and again by the next operation if it
            failed.
        threads: Size of the thread pool; with 0 the backend is called directly and must not block: its methods may be
            async.
        is_shared: Whether other execution environments see the same items.
        now: Wall clock, in epoch seconds.

    Attributes:
        is_shared: As given.
        now: As given.

    Every method may raise StorageUnavailable.

    Cancellation:
        Stops waiting for the operation but not the operation itself: whether it takes effect is unknown.
    """

    def __init__(
        self, connect: Callable[[], Backend], *, threads: int, is_shared: bool, now: Callable[[], float] = time.time
    ) -> None:
        self.is_shared = is_shared
        self.now = now
        self._thread_pool = ThreadPoolExecutor(threads, thread_name_prefix="store") if threads else None
        self._connect = connect
        self._backend_lock = threading.Lock()
        self._backend: Backend | None = None
        self._next_sweep_at_s = 0.0
        self._running: set[asyncio.Future[Any]] = set()
        if self._thread_pool:
            self._thread_pool.submit(self._get_backend)

    def now_ms(self) -> int:
        """The time by `now`, in epoch milliseconds."""
        return int(self.now() * 1000)

    async def check_ready(self) -> None:
        """Read an item that nobody writes."""
        await self.get("readiness", "readiness")

    async def get(self, pk: str, sk: str) -> Item | None:
        """One item, or None."""
        item = await self._call_backend(lambda backend: backend.get(pk, sk))
        return next(self._unexpired([item] if item else []), None)

    async def query_partition(self, pk: str) -> list[Item]:
        """All items of a partition, by sort key."""
        return list(self._unexpired(await self._call_backend(lambda backend: backend.query_partition(pk))))

    async def query_newest(self, pk: str, limit: int, cursor: Item | None = None) -> list[Item]:
        """At most `limit` items with `updated_ms`, newest first; only the keys and the time of `cursor` are used."""
        found: list[Item] = []
        while (missing := limit - len(found)) > 0:
            page = await self._query_page(pk, missing, cursor)
            found += self._unexpired(page)
            if len(page) < missing:
                break
            cursor = page[-1]
        return found

    async def put(self, items: Sequence[Item]) -> None:
        """Write items unconditionally; several items are not one transaction."""
        await self._delete_expired_if_due()
        await self._call_backend(lambda backend: backend.put(items))

    async def compare_and_set(self, item: Item) -> bool:
        """Write an item if the stored `number` is one less (no item: 0); return whether it was written."""
        await self._delete_expired_if_due()
        return await self._call_backend(lambda backend: backend.compare_and_set(item, self.now()))

    async def increment(self, pk: str, sk: str, amount: int, expires_at_s: int) -> int:
        """Add to a counter and return the sum; `expires_at_s` is set by the first addition only."""
        await self._delete_expired_if_due()
        return await self._call_backend(lambda backend: backend.increment(pk, sk, amount, expires_at_s))

    async def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        """Delete items by (pk, sk); a missing item is not an error."""
        await self._call_backend(lambda backend: backend.delete(keys))

    async def close(self) -> None:
        """Close the backend and the thread pool; the store cannot be used afterwards."""
        try:
            async with time_limit():
                if self._running:
                    await asyncio.wait(self._running)
                await self._call_backend(lambda backend: backend.close())
        finally:
            if self._thread_pool:
                self._thread_pool.shutdown(wait=False, cancel_futures=True)

    async def _query_page(self, pk: str, limit: int, cursor: Item | None) -> list[Item]:
        return await self._call_backend(lambda backend: backend.query_newest(pk, limit, cursor))

    async def _call_backend(self, operation: Callable[[Backend], Result[T]]) -> T:
        try:
            call: Callable[[], Any] = lambda: operation(self._get_backend())  # noqa: E731 - for its type
            loop, threads = asyncio.get_running_loop(), self._thread_pool
            result: Result[T] = await self._finish(loop.run_in_executor(threads, call)) if threads else call()
            return await self._finish(result) if isinstance(result, Awaitable) else result
        except Exception as error:
            measure("StoreErrors")
            _LOGGER.error("the storage operation failed: %r", error)  # noqa: TRY400 - no traceback: this may be frequent
            raise StorageUnavailable from error

    async def _finish(self, result: Awaitable[T]) -> T:
        """Wait for an operation, which goes on if nobody waits any more, and begins even if no thread is free yet."""
        running = asyncio.ensure_future(result)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return await asyncio.shield(running)

    def _get_backend(self) -> Backend:
        with self._backend_lock:
            if self._backend is None:
                self._backend = self._connect()
            return self._backend

    async def _delete_expired_if_due(self) -> None:
        if self.now() >= self._next_sweep_at_s:
            self._next_sweep_at_s = self.now() + TTL_SWEEP_INTERVAL_S
            await self._call_backend(lambda backend: backend.delete_expired(self.now()))

    def _unexpired(self, items: Iterable[Item]) -> Iterator[Item]:
        now_s = self.now()
        return (item for item in items if not 0 < item.expires_at_s <= now_s)


@contextlib.asynccontextmanager
async def time_limit(timeout_s: float = WAIT_TIMEOUT_S) -> AsyncIterator[None]:
    """Bound all the waits for the store in a block together.

    Raises:
        StorageUnavailable: They took longer than `timeout_s` seconds.
    """
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        measure("StoreErrors")
        _LOGGER.error("the store did not answer within %.1f s", timeout_s)  # noqa: TRY400 - as in `Store`
        raise StorageUnavailable from None


def read_item(pk: str, sk: str, *, body: object, **numbers: object) -> Item:
    """An item with the values that a database holds; one of another type counts as missing.

    So an item that this version cannot read hides no other, and can be deleted.
    """
    text = body.encode() if isinstance(body, str) else body
    return Item(
        pk=pk,
        sk=sk,
        body=text if isinstance(text, bytes) else b"",
        **{name: value for name, value in numbers.items() if isinstance(value, int)},
    )


def encode_key(*parts: str) -> str:
    """Join parts into one ASCII key. Different parts never give the same key, whatever characters they contain."""
    return "#".join(map(_encode_key_part, parts))


def is_next_version(current: Item | None, item: Item, now_s: float) -> bool:
    """Whether `item` is the next version of the stored item; a missing or expired item is version 0."""
    if current is None or 0 < current.expires_at_s <= now_s:
        return item.number == 1
    return item.number == current.number + 1


def _encode_key_part(part: str) -> str:
    quoted = quote(part, safe=":/@+=", errors="surrogatepass")
    if len(quoted) <= MAX_KEY_PART_CHARS:
        return quoted
    # Quoted text never has two percent signs in a row, so a hash cannot collide with it.
    return "%%" + hashlib.sha256(quoted.encode()).hexdigest()
