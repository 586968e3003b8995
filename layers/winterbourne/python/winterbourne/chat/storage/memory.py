"""In-memory storage backend: a dict per partition, local to one execution environment and lost with it."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import msgspec

from winterbourne.chat.storage.base import Item, is_next_version
from winterbourne.chat.storage.conversation_items import conversation_of, parse_metadata
from winterbourne.chat.storage.lease import is_leased

__all__ = ["MemoryBackend"]

DEFAULT_MAX_BYTES: Final = 64 * 2**20

ITEM_OVERHEAD_BYTES: Final = 600
"""What an item needs besides its keys and its body, rounded up."""

_Key: TypeAlias = tuple[str, str]


class MemoryBackend:
    """A `Backend` in memory. Never blocks, so it may be called from the event loop.

    Beyond `max_bytes`, the conversations that were not used for longest are dropped, each with all its messages, and so
    are the oldest stop signals. Counters and records of calls are kept until they expire, and a conversation while it
    is leased.

    Args:
        max_bytes: How much all items may need.
        now: Wall clock, seconds.
    """

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES, now: Callable[[], float] = time.time) -> None:
        self._max_bytes = max_bytes
        self._now = now
        self._bytes = 0
        self._partitions: dict[str, dict[str, Item]] = {}
        # Items that go together, the least recently used first.
        self._evictable: OrderedDict[_Key, set[_Key]] = OrderedDict()

    def get(self, pk: str, sk: str) -> Item | None:
        """Look the item up in its partition."""
        self._touch(pk, sk)
        return self._partitions.get(pk, {}).get(sk)

    def query_partition(self, pk: str) -> list[Item]:
        """All items of the partition, sorted on every call."""
        self._touch(pk, "")
        return [item for _, item in sorted(self._partitions.get(pk, {}).items())]

    def query_newest(self, pk: str, limit: int, cursor: Item | None) -> list[Item]:
        """Sort the partition by time and sort key, skip to the cursor and cut at `limit`."""
        listed = sorted((item for item in self.query_partition(pk) if item.updated_ms), key=_recency_key, reverse=True)
        return [item for item in listed if cursor is None or _recency_key(item) < _recency_key(cursor)][:limit]

    def put(self, items: Sequence[Item]) -> None:
        """Replace the items in the dict."""
        self.delete([(item.pk, item.sk) for item in items])
        for item in items:
            self._partitions.setdefault(item.pk, {})[item.sk] = item
            self._bytes += _size(item)
            if group := _group(item.pk, item.sk):
                self._evictable.setdefault(group, set()).add((item.pk, item.sk))
                self._evictable.move_to_end(group)
        self._evict()

    def compare_and_set(self, item: Item, now_s: float) -> bool:
        """Check the version, then put; atomic because only one thread calls it."""
        if not is_next_version(self.get(item.pk, item.sk), item, now_s):
            return False
        self.put([item])
        return True

    def increment(self, pk: str, sk: str, amount: int, expires_at_s: int) -> int:
        """Read, add and put; atomic because only one thread calls it."""
        counter = self.get(pk, sk) or Item(pk=pk, sk=sk, expires_at_s=expires_at_s)
        counter = msgspec.structs.replace(counter, number=counter.number + amount)
        self.put([counter])
        return counter.number

    def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        """Remove the items, and partitions that become empty."""
        for pk, sk in keys:
            if item := self._partitions.get(pk, {}).pop(sk, None):
                self._bytes -= _size(item)
                self._forget(pk, sk)

    def delete_expired(self, now_s: float) -> None:
        """Scan all partitions for expired items and delete them."""
        items = [item for partition in self._partitions.values() for item in partition.values()]
        self.delete([(item.pk, item.sk) for item in items if 0 < item.expires_at_s <= now_s])

    def close(self) -> None:
        """Drop all items."""
        self._partitions.clear()
        self._evictable.clear()
        self._bytes = 0

    def _forget(self, pk: str, sk: str) -> None:
        """What is left to do when an item was removed: drop what has become empty."""
        if not self._partitions[pk]:
            del self._partitions[pk]
        if (group := _group(pk, sk)) and (keys := self._evictable.get(group)):
            keys.discard((pk, sk))
            if not keys:
                del self._evictable[group]

    def _touch(self, pk: str, sk: str) -> None:
        if (group := _group(pk, sk)) and group in self._evictable:
            self._evictable.move_to_end(group)

    def _evict(self) -> None:
        for group in list(self._evictable)[:-1] if self._bytes > self._max_bytes else ():
            if not self._is_leased(*group):
                self.delete(list(self._evictable[group]))
            if self._bytes <= self._max_bytes:
                return

    def _is_leased(self, pk: str, sk: str) -> bool:
        item = self._partitions.get(pk, {}).get(sk)
        metadata = parse_metadata(item) if item and item.body else None
        return metadata is not None and is_leased(metadata, self._now() * 1000)


def _group(pk: str, sk: str) -> _Key | None:
    """The items that are dropped together: a conversation or a single item; None if it is never dropped."""
    return None if pk.startswith(("limits#", "calls#")) else conversation_of(pk, sk) or (pk, sk)


def _size(item: Item) -> int:
    return len(item.pk) + len(item.sk) + len(item.body) + ITEM_OVERHEAD_BYTES


def _recency_key(item: Item) -> tuple[int, str]:
    return item.updated_ms, item.sk
