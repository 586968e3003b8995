"""Results kept for identical calls: by time and by size, in memory, for as long as the environment lives."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cachetools import TLRUCache

__all__ = ["Key", "ResultCache"]


class Key(NamedTuple):
    """What makes two calls identical. `caller` is empty where results are shared by all callers."""

    tool: str
    caller: str
    arguments: bytes


class _Item(NamedTuple):
    result: bytes
    ttl_s: float
    size: int


class ResultCache:
    """JSON results by key; the least recently used ones make room.

    Args:
        max_bytes: Of all keys and results together.
        clock: Seconds of wall clock; the monotonic one may stand still while the environment is frozen.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._items: TLRUCache[Key, _Item] | None = None

    def get(self, key: Key) -> bytes | None:
        """A result that is still fresh."""
        item = self._items.get(key) if self._items is not None else None
        return item.result if item else None

    def put(self, key: Key, result: bytes, ttl_s: float) -> None:
        """Keep a result for so many seconds, unless it alone is larger than the cache."""
        size = len(result) + sum(map(len, key))
        if ttl_s and size <= self._max_bytes:
            self._made()[key] = _Item(result, ttl_s, size)

    def _made(self) -> "TLRUCache[Key, _Item]":
        if self._items is None:
            from cachetools import TLRUCache  # noqa: PLC0415  (3 ms that only caching tools need)

            self._items = TLRUCache(self._max_bytes, ttu=_expiry, timer=self._clock, getsizeof=_size)
        return self._items


def _expiry(_: Key, item: _Item, now: float) -> float:
    return now + item.ttl_s


def _size(item: _Item) -> int:
    return item.size
