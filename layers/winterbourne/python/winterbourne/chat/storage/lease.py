"""Conversation lease: only one request at a time may run in a conversation.

The lease is part of the conversation's metadata and is written with optimistic locking on its version, so if two
requests acquire it at once, one fails. It is renewed while the request runs; if an environment dies, it expires.
"""

import contextlib
import logging
from typing import Final, Self

import msgspec

from winterbourne.chat.errors import ConversationBusy, StorageUnavailable
from winterbourne.chat.storage.base import Item, Store
from winterbourne.chat.storage.conversation_items import ConversationMetadata, conversation_key, parse_metadata

__all__ = ["Lease", "is_leased"]

_LOGGER: Final = logging.getLogger(__name__)


class Lease:
    """The lease on one conversation, and the conversation's metadata, which holds it; released at the end of the block.

    Args:
        store: Holds the metadata.
        caller_id: The owner of the conversation.
        conversation_id: The conversation.
        lease_s: Seconds until a lease that is not renewed expires.
        ttl_s: Seconds until the metadata expires after its last change.
    """

    def __init__(self, store: Store, caller_id: str, conversation_id: str, lease_s: float, ttl_s: int) -> None:
        self._store = store
        self._id = conversation_id
        self._key = conversation_key(caller_id, conversation_id)
        self._lease_s = lease_s
        self._ttl_s = ttl_s
        self._version = 0
        self._is_held = False
        self.metadata: ConversationMetadata | None = None

    async def __aenter__(self) -> Self:
        """Load the metadata: whether the conversation exists and is leased."""
        item = await self._store.get(*self._key)
        self._version = item.number if item else 0
        self.metadata = parse_metadata(item) if item else None
        return self

    async def __aexit__(self, *_: object) -> None:
        """Release the lease if it is held. If storage is unavailable, it expires by itself."""
        if self._is_held and self.metadata:
            self._is_held = False
            with contextlib.suppress(StorageUnavailable):  # `Store` has logged it
                await self._write_next_version(self.metadata, 0)

    async def acquire(self, title: str) -> ConversationMetadata:
        """Acquire the lease, based on the metadata that was loaded when the block was entered.

        Args:
            title: The title if the conversation is new.

        Raises:
            ConversationBusy: Another request holds the lease or has acquired it since then.
        """
        now_ms, metadata = self._store.now_ms(), self.metadata
        if metadata is None:
            metadata = ConversationMetadata(
                id=self._id, title=title, created_ms=now_ms, epoch=now_ms, expires_at_s=self.item_expires_at_s
            )
        elif is_leased(metadata, now_ms):
            raise ConversationBusy
        else:
            metadata = msgspec.structs.replace(metadata, epoch=max(now_ms, metadata.epoch + 1))
        if not await self._write_next_version(metadata, self._lease_s):
            raise ConversationBusy
        self._is_held = True
        return metadata

    async def renew(self) -> None:
        """Extend the lease. If storage is unavailable, it stays held until it expires; a lost lease is logged."""
        if self._is_held and self.metadata:
            try:
                self._is_held = await self._write_next_version(self.metadata, self._lease_s)
            except StorageUnavailable:
                return  # `Store` has logged it, and there is time for another attempt
            if not self._is_held:
                _LOGGER.error("the lease was lost: not renewed in time, another request has acquired the conversation")

    def extend_ttl(self) -> None:
        """Remember that all messages were rewritten; the next write of the metadata stores the new expiry."""
        if self.metadata:
            self.metadata = msgspec.structs.replace(self.metadata, expires_at_s=self.item_expires_at_s)

    async def delete_metadata(self) -> None:
        """Delete the metadata, and with it the lease. The messages must have been deleted already."""
        await self._store.delete([self._key])
        self._is_held = False

    @property
    def item_expires_at_s(self) -> int:
        """When an item that is written now expires."""
        return int(self._store.now()) + self._ttl_s

    async def _write_next_version(self, metadata: ConversationMetadata, lease_s: float) -> bool:
        """Write the metadata as the next version; False if another request did so first (optimistic locking)."""
        now_ms = self._store.now_ms()
        metadata = msgspec.structs.replace(metadata, lease_until_ms=now_ms + int(lease_s * 1000) if lease_s else 0)
        pk, sk = self._key
        number, body = self._version + 1, msgspec.json.encode(metadata)
        item = Item(pk=pk, sk=sk, body=body, number=number, updated_ms=now_ms, expires_at_s=self.item_expires_at_s)
        if not await self._store.compare_and_set(item):
            return False
        self._version, self.metadata = number, metadata
        return True


def is_leased(metadata: ConversationMetadata, now_ms: float) -> bool:
    """Whether a request holds the lease."""
    return metadata.lease_until_ms > now_ms
