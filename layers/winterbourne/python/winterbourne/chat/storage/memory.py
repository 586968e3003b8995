"""Items in a dict: for one execution environment, and gone with it."""

from collections.abc import Sequence

import msgspec

from winterbourne.chat.storage.base import Item, may_replace

__all__ = ["MemoryBackend"]


class MemoryBackend:
    """See `store.Backend`. Never waits, so it may be called from the event loop."""

    def __init__(self) -> None:
        self._partitions: dict[str, dict[str, Item]] = {}

    def get(self, pk: str, sk: str) -> Item | None:
        """See `store.Backend`."""
        return self._partitions.get(pk, {}).get(sk)

    def partition(self, pk: str) -> list[Item]:
        """See `store.Backend`."""
        return [item for _, item in sorted(self._partitions.get(pk, {}).items())]

    def newest(self, pk: str, limit: int, after: Item | None) -> list[Item]:
        """See `store.Backend`."""
        listed = sorted((item for item in self.partition(pk) if item.updated_ms), key=_age, reverse=True)
        return [item for item in listed if after is None or _age(item) < _age(after)][:limit]

    def put(self, items: Sequence[Item]) -> None:
        """See `store.Backend`."""
        for item in items:
            self._partitions.setdefault(item.pk, {})[item.sk] = item

    def replace(self, item: Item, now_s: float) -> bool:
        """See `store.Backend`."""
        if not may_replace(self.get(item.pk, item.sk), item, now_s):
            return False
        self.put([item])
        return True

    def add(self, pk: str, sk: str, amount: int, expires_at_s: int) -> int:
        """See `store.Backend`."""
        there = self.get(pk, sk) or Item(pk=pk, sk=sk, expires_at_s=expires_at_s)
        there = msgspec.structs.replace(there, number=there.number + amount)
        self.put([there])
        return there.number

    def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        """See `store.Backend`."""
        for pk, sk in keys:
            if partition := self._partitions.get(pk):
                partition.pop(sk, None)
                if not partition:
                    del self._partitions[pk]

    def sweep(self, now_s: float) -> None:
        """See `store.Backend`."""
        items = [item for partition in self._partitions.values() for item in partition.values()]
        self.delete([(item.pk, item.sk) for item in items if 0 < item.expires_at_s <= now_s])

    def close(self) -> None:
        """See `store.Backend`."""
        self._partitions.clear()


def _age(item: Item) -> tuple[int, str]:
    return item.updated_ms, item.sk
