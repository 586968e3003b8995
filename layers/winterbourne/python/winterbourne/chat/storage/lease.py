"""One request at a time: a conversation belongs to the request that took it, until it is given back or left behind.

The lease stands in the conversation's head and is written with the head's version, so of two requests that take it at
once one fails. It is renewed while the request runs; when an environment dies, it ends by itself.
"""

import logging
from typing import Final

import msgspec

from winterbourne.chat.errors import RequestRejected, StorageUnavailable
from winterbourne.chat.storage.base import Item, Store
from winterbourne.chat.storage.conversation_items import ConversationMetadata, conversation_key

__all__ = ["Lease", "is_leased"]

_LOGGER: Final = logging.getLogger(__name__)


class Lease:
    """The head of one conversation, and the right to write to it.

    Args:
        store: Where it is kept.
        caller_id: Whose it is.
        conversation_id: Its name.
        lease_s: Seconds until a lease that is not renewed ends.
        kept_s: Seconds the head is kept after its last change.
    """

    def __init__(self, store: Store, caller_id: str, conversation_id: str, lease_s: float, ttl_s: int) -> None:
        self._store = store
        self._conversation_id = conversation_id
        self._key = conversation_key(caller_id, conversation_id)
        self._lease_s = lease_s
        self._ttl_s = ttl_s
        self._version = 0
        self._is_held = False
        self.metadata: ConversationMetadata | None = None

    async def read(self) -> None:
        """Find out whether the conversation exists, and who has it."""
        item = await self._store.get(*self._key)
        self._version = item.number if item else 0
        self.metadata = msgspec.json.decode(item.body, type=ConversationMetadata) if item else None

    async def acquire(self, title: str) -> ConversationMetadata:
        """Have the conversation for ourselves, from the state that was read.

        Args:
            title: Of a conversation that is new.

        Raises:
            RequestRejected: 409, somebody else has it or took it since.
        """
        now_ms = self._now_ms()
        if self.metadata is None:
            new = ConversationMetadata(
                id=self._conversation_id,
                title=title,
                created_ms=now_ms,
                epoch=now_ms,
                expires_at_s=self.item_expires_at_s,
            )
            return await self._acquire(new)
        if is_leased(self.metadata, now_ms):
            raise self._busy_error()
        return await self._acquire(msgspec.structs.replace(self.metadata, epoch=max(now_ms, self.metadata.epoch + 1)))

    async def renew(self) -> None:
        """Have it for another while. Where that fails the lease goes on for now; the log says so."""
        if self._is_held and self.metadata:
            try:
                self._is_held = await self._write_next_version(self.metadata, self._lease_s)
            except StorageUnavailable:
                return  # the store has logged it, and there is time for another attempt
            if not self._is_held:
                _LOGGER.error("another request has taken the conversation: this one had not renewed its lease in time")

    def extend_ttl(self) -> None:
        """All messages were written anew and expire when something does that is written now."""
        if self.metadata:
            self.metadata = msgspec.structs.replace(self.metadata, expires_at_s=self.item_expires_at_s)

    async def release(self) -> None:
        """Let the next request have it, if it is ours.

        Raises:
            StoreUnavailable: The lease ends by itself.
        """
        if self._is_held and self.metadata:
            self._is_held = False
            await self._write_next_version(self.metadata, 0)

    async def delete_metadata(self) -> None:
        """Let there be no such conversation any more. Its messages must be gone already."""
        await self._store.delete([self._key])
        self._is_held = False

    @property
    def item_expires_at_s(self) -> int:
        """When something that is written now expires."""
        return int(self._store.now()) + self._ttl_s

    async def _acquire(self, metadata: ConversationMetadata) -> ConversationMetadata:
        if not await self._write_next_version(metadata, self._lease_s):
            raise self._busy_error()
        self._is_held = True
        return metadata

    async def _write_next_version(self, metadata: ConversationMetadata, lease_s: float) -> bool:
        """Write the head as the version after the last we know of; False where there is another one."""
        now_ms = self._now_ms()
        metadata = msgspec.structs.replace(metadata, lease_until_ms=now_ms + int(lease_s * 1000) if lease_s else 0)
        pk, sk = self._key
        number, body = self._version + 1, msgspec.json.encode(metadata)
        item = Item(pk=pk, sk=sk, body=body, number=number, updated_ms=now_ms, expires_at_s=self.item_expires_at_s)
        if not await self._store.compare_and_set(item):
            return False
        self._version, self.metadata = number, metadata
        return True

    def _busy_error(self) -> RequestRejected:
        message = "another request is running in this conversation"
        return RequestRejected(409, "conversation_busy", message, {"retry-after": "1"})

    def _now_ms(self) -> int:
        return int(self._store.now() * 1000)


def is_leased(metadata: ConversationMetadata, now_ms: float) -> bool:
    """Whether a request has the conversation."""
    return metadata.lease_until_ms > now_ms
