"""Items in a dict: for one execution environment, and gone with it."""

from collections.abc import Sequence

import msgspec

from winterbourne.chat.storage.base import Item, is_next_version

__all__ = ["MemoryBackend"]


class MemoryBackend:
    """See `store.Backend`. Never waits, so it may be called from the event loop."""

    def __init__(self) -> None:
        self._partitions: dict[str, dict[str, Item]] = {}

    def get(self, pk: str, sk: str) -> Item | None:
        """See `store.Backend`."""
        return self._partitions.get(pk, {}).get(sk)

    def query_partition(self, pk: str) -> list[Item]:
        """See `store.Backend`."""
        return [item for _, item in sorted(self._partitions.get(pk, {}).items())]

    def query_newest(self, pk: str, limit: int, cursor: Item | None) -> list[Item]:
        """See `store.Backend`."""
        listed = sorted((item for item in self.query_partition(pk) if item.updated_ms), key=_recency_key, reverse=True)
        return [item for item in listed if cursor is None or _recency_key(item) < _recency_key(cursor)][:limit]

    def put(self, items: Sequence[Item]) -> None:
        """See `store.Backend`."""
        for item in items:
            self._partitions.setdefault(item.pk, {})[item.sk] = item

    def compare_and_set(self, item: Item, now_s: float) -> bool:
        """See `store.Backend`."""
        if not is_next_version(self.get(item.pk, item.sk), item, now_s):
            return False
        self.put([item])
        return True

    def increment(self, pk: str, sk: str, amount: int, expires_at_s: int) -> int:
        """See `store.Backend`."""
        counter = self.get(pk, sk) or Item(pk=pk, sk=sk, expires_at_s=expires_at_s)
        counter = msgspec.structs.replace(counter, number=counter.number + amount)
        self.put([counter])
        return counter.number

    def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        """See `store.Backend`."""
        for pk, sk in keys:
            if partition := self._partitions.get(pk):
                partition.pop(sk, None)
                if not partition:
                    del self._partitions[pk]

    def delete_expired(self, now_s: float) -> None:
        """See `store.Backend`."""
        items = [item for partition in self._partitions.values() for item in partition.values()]
        self.delete([(item.pk, item.sk) for item in items if 0 < item.expires_at_s <= now_s])

    def close(self) -> None:
        """See `store.Backend`."""
        self._partitions.clear()


def _recency_key(item: Item) -> tuple[int, str]:
    return item.updated_ms, item.sk
