"""Call records: which decisions have been used, and what has become of the calls that run once."""

import msgspec

from winterbourne.chat.storage.base import Item, Store, encode_key

__all__ = ["CallRecords"]


class CallRecords(msgspec.Struct, eq=False):
    """Records in a store, each an item of its own. Every method may raise StorageUnavailable.

    Attributes:
        store: Holds them; they hold between processes if it is shared.
    """

    store: Store

    async def claim(self, key: str, body: bytes, expires_at_s: int) -> bool:
        """Write a record if there is none of this key, by one conditional write; returns whether it was written."""
        return await self.store.compare_and_set(_item(key, body, expires_at_s))

    async def read(self, key: str) -> bytes | None:
        """The record of this key, or None."""
        item = await self.store.get(*_key(key))
        return item.body if item else None

    async def write(self, key: str, body: bytes, expires_at_s: int) -> None:
        """Write a record that was claimed."""
        await self.store.put([_item(key, body, expires_at_s)])

    async def release(self, key: str) -> None:
        """Delete a record, so that it can be claimed again."""
        await self.store.delete([_key(key)])


def _key(key: str) -> tuple[str, str]:
    return encode_key("calls", key), "call"


def _item(key: str, body: bytes, expires_at_s: int) -> Item:
    pk, sk = _key(key)
    return Item(pk=pk, sk=sk, body=body, number=1, expires_at_s=expires_at_s)
