"""Result cache for identical calls: in memory, limited by TTL and size, for the life of the environment."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cachetools import TLRUCache

import msgspec

__all__ = ["CacheKey", "ResultCache"]


class CacheKey(msgspec.Struct, frozen=True):
    """What makes two calls identical. `caller_id` is empty if all callers share the results."""

    tool: str
    caller_id: str
    arguments: bytes


class _CacheEntry(msgspec.Struct, frozen=True):
    result: bytes
    ttl_s: float
    size: int


class ResultCache:
    """JSON results by key; the least recently used (LRU) are evicted first.

    Args:
        max_bytes: Limit of all keys and results together.
        clock: Wall clock, seconds; the monotonic clock may stop while the environment is frozen.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._cache: TLRUCache[CacheKey, _CacheEntry] | None = None

    def get(self, key: CacheKey) -> bytes | None:
        """The cached result, or None if there is none that is still fresh."""
        entry = self._cache.get(key) if self._cache is not None else None
        return entry.result if entry else None

    def put(self, key: CacheKey, result: bytes, ttl_s: float) -> None:
        """Cache a result for `ttl_s` seconds, unless it alone is larger than the cache."""
        size = len(result) + len(key.tool) + len(key.caller_id) + len(key.arguments)
        if ttl_s and size <= self._max_bytes:
            self._ensure_cache()[key] = _CacheEntry(result, ttl_s, size)

    def _ensure_cache(self) -> "TLRUCache[CacheKey, _CacheEntry]":
        if self._cache is None:
            from cachetools import TLRUCache  # noqa: PLC0415 - 3 ms that only caching tools need

            self._cache = TLRUCache(self._max_bytes, ttu=_expiry, timer=self._clock, getsizeof=_entry_size)
        return self._cache


def _expiry(_: CacheKey, entry: _CacheEntry, now: float) -> float:
    return now + entry.ttl_s


def _entry_size(entry: _CacheEntry) -> int:
    return entry.size
