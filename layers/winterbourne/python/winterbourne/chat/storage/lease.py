"""Conversation lease: only one request at a time may run in a conversation.

The lease is part of the conversation's metadata and is written with optimistic locking on its version, so if two
requests acquire it at once, one fails. It is renewed while the request runs; if an environment dies, it expires. What
changes the metadata and acquires nothing, a new title, leaves the epoch as it is: the lease then takes over the newer
version, and is not lost.
"""

import asyncio
import contextlib
import logging
from typing import Final

import msgspec

from winterbourne.chat.errors import ConversationBusy, StorageError, StorageUnavailable
from winterbourne.chat.storage.base import Item, Store
from winterbourne.chat.storage.conversation_items import (
    FORMAT_VERSION,
    ConversationMetadata,
    conversation_key,
    parse_metadata,
    unreadable_metadata,
)

__all__ = ["RELEASE_TIMEOUT_S", "Lease", "is_leased"]

_LOGGER: Final = logging.getLogger(__name__)

RELEASE_TIMEOUT_S: Final = 0.5
"""How long a request that changes no message waits for the release, in seconds."""

RELEASE_WAITS_S: Final = (0.1, 0.2, 0.4)
"""A lease that is held is looked at again after each: what an answer leaves to be saved is saved after its end, and a
client may ask again at once."""


class Lease:
    """The lease on one conversation, and the conversation's metadata, which holds it: load, acquire, release.

    Args:
        store: Holds the metadata.
        caller_id: The owner of the conversation.
        conversation_id: The conversation.
        lease_s: Seconds until a lease that is not renewed expires.
        ttl_s: Seconds until the metadata expires after its last change.

    Attributes:
        metadata: As it was loaded or written last; None if there is no such conversation.
        is_readable: Whether the metadata that was loaded could be read; if not, `metadata` stands in for it.
    """

    def __init__(self, store: Store, caller_id: str, conversation_id: str, lease_s: float, ttl_s: int) -> None:
        self._store = store
        self._id = conversation_id
        self._key = conversation_key(caller_id, conversation_id)
        self._lease_s = lease_s
        self.ttl_s = ttl_s
        self._version = 0
        self._is_held = False
        self._acquisition: asyncio.Task[ConversationMetadata] | None = None
        self.metadata: ConversationMetadata | None = None
        self.is_readable = True

    async def load(self) -> None:
        """Load the metadata: whether the conversation exists and is leased. Waits a moment for a lease's release."""
        await self._load()
        for wait_s in RELEASE_WAITS_S:
            if self.metadata is None or not is_leased(self.metadata, self._store.now_ms()):
                break
            await asyncio.sleep(wait_s)
            await self._load()

    async def release(self, until: float) -> None:
        """Release the lease if it is held, also one whose acquisition is still under way.

        If storage is unavailable until then (the event loop's clock), it expires by itself.
        """
        with contextlib.suppress(StorageError, TimeoutError):  # `Store` has logged it
            async with asyncio.timeout_at(until):
                if self._acquisition:
                    await self._acquisition
                if self._is_held and self.metadata:
                    self._is_held = False
                    await self._write_next_version(self.metadata, 0)

    async def acquire(self, title: str) -> ConversationMetadata:
        """Acquire the lease, based on the metadata that was loaded.

        Args:
            title: The title if the conversation has none.

        Raises:
            ConversationBusy: Another request holds the lease or has acquired it since then.

        Cancellation:
            The acquisition goes on, and `release` waits for it: a lease that nobody knows of would block the
            conversation until it expires.
        """
        self._acquisition = asyncio.create_task(self._acquire(title))
        return await asyncio.shield(self._acquisition)

    async def _load(self) -> None:
        item = await self._store.get(*self._key)
        self._version = item.number if item else 0
        self.metadata = parse_metadata(item) if item else None
        self.is_readable = item is None or self.metadata is not None
        if item and not self.is_readable:  # its messages are still there
            self.metadata = unreadable_metadata(self._id, item.updated_ms)

    async def _acquire(self, title: str) -> ConversationMetadata:
        now_ms, metadata = self._store.now_ms(), self.metadata
        if metadata is None:
            metadata = ConversationMetadata(
                id=self._id, title=title, created_ms=now_ms, epoch=now_ms, expires_at_s=self.item_expires_at_s
            )
        elif is_leased(metadata, now_ms):
            raise ConversationBusy
        else:
            title = metadata.title or title
            metadata = msgspec.structs.replace(metadata, title=title, epoch=max(now_ms, metadata.epoch + 1))
        if not await self._write_next_version(metadata, self._lease_s):
            raise ConversationBusy
        self._is_held = True
        return metadata

    async def renew(self) -> None:
        """Extend the lease. If storage is unavailable, it stays held until it expires; a lost lease is logged."""
        if self._is_held and self.metadata:
            with contextlib.suppress(StorageUnavailable):  # `Store` has logged it; there is time for another attempt
                await self._renew(self.metadata)

    async def check(self) -> bool:
        """Whether the lease is held; one that has expired is renewed, unless another request has acquired it since.

        Raises:
            StorageUnavailable: It has expired, and perhaps another request has acquired it.
        """
        if self._is_held and self.metadata and not is_leased(self.metadata, self._store.now_ms()):
            await self._renew(self.metadata)
        return self._is_held

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
        return int(self._store.now()) + self.ttl_s

    async def _renew(self, metadata: ConversationMetadata) -> None:
        self._is_held = await self._write_next_version(metadata, self._lease_s)
        if not self._is_held:
            _LOGGER.error("the lease was lost: not renewed in time, another request has acquired the conversation")

    async def _write_next_version(self, metadata: ConversationMetadata, lease_s: float) -> bool:
        """Write the metadata as the next version; False if another request has acquired it (optimistic locking)."""
        (pk, sk), now_ms, known = self._key, self._store.now_ms(), self.metadata
        lease_until_ms = now_ms + int(lease_s * 1000) if lease_s else 0
        metadata = msgspec.structs.replace(metadata, lease_until_ms=lease_until_ms, version=FORMAT_VERSION)
        for _ in range(2):
            number, body = self._version + 1, msgspec.json.encode(metadata)
            item = Item(pk=pk, sk=sk, body=body, number=number, updated_ms=now_ms, expires_at_s=self.item_expires_at_s)
            if await self._store.compare_and_set(item):
                self._version, self.metadata = number, metadata
                return True
            stored = await self._store.get(pk, sk)
            newer = parse_metadata(stored) if stored else None
            if not (stored and newer and known) or newer.epoch != known.epoch:
                break
            if metadata.epoch != known.epoch and is_leased(newer, now_ms):  # renewed by the request before, after all
                break
            self._version = stored.number
            metadata = msgspec.structs.replace(metadata, title=newer.title or metadata.title)
        return False


def is_leased(metadata: ConversationMetadata, now_ms: float) -> bool:
    """Whether a request holds the lease."""
    return metadata.lease_until_ms > now_ms
