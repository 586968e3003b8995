"""In-memory storage backend: a dict per partition, local to one execution environment and lost with it."""

from collections.abc import Sequence

import msgspec

from winterbourne.chat.storage.base import Item, is_next_version

__all__ = ["MemoryBackend"]


class MemoryBackend:
    """A `Backend` in memory. Never blocks, so it may be called from the event loop."""

    def __init__(self) -> None:
        self._partitions: dict[str, dict[str, Item]] = {}

    def get(self, pk: str, sk: str) -> Item | None:
        """Look the item up in its partition."""
        return self._partitions.get(pk, {}).get(sk)

    def query_partition(self, pk: str) -> list[Item]:
        """All items of the partition, sorted on every call."""
        return [item for _, item in sorted(self._partitions.get(pk, {}).items())]

    def query_newest(self, pk: str, limit: int, cursor: Item | None) -> list[Item]:
        """Sort the partition by time and sort key, skip to the cursor and cut at `limit`."""
        listed = sorted((item for item in self.query_partition(pk) if item.updated_ms), key=_recency_key, reverse=True)
        return [item for item in listed if cursor is None or _recency_key(item) < _recency_key(cursor)][:limit]

    def put(self, items: Sequence[Item]) -> None:
        """Replace the items in the dict."""
        for item in items:
            self._partitions.setdefault(item.pk, {})[item.sk] = item

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
            if partition := self._partitions.get(pk):
                partition.pop(sk, None)
                if not partition:
                    del self._partitions[pk]

    def delete_expired(self, now_s: float) -> None:
        """Scan all partitions for expired items and delete them."""
        items = [item for partition in self._partitions.values() for item in partition.values()]
        self.delete([(item.pk, item.sk) for item in items if 0 < item.expires_at_s <= now_s])

    def close(self) -> None:
        """Drop all items."""
        self._partitions.clear()


def _recency_key(item: Item) -> tuple[int, str]:
    return item.updated_ms, item.sk
