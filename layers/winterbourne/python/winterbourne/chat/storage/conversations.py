"""Conversation store: continues a caller's conversations by id, lists (paginated by cursor), reads and deletes them.

The storage schema is in `conversation_items`, mutual exclusion between requests in `lease`.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, TypeAlias

import msgspec

from winterbourne.chat.core.messages import ChatRequest, Message
from winterbourne.chat.errors import ConversationNotFound
from winterbourne.chat.infra import redaction
from winterbourne.chat.settings import StorageSettings
from winterbourne.chat.storage.base import WAIT_TIMEOUT_S, Item, Store, time_limit
from winterbourne.chat.storage.conversation_items import (
    ConversationMetadata,
    StoredMessage,
    conversation_key,
    conversations_partition,
    derive_title,
    join_items,
    merge_history,
    messages_partition,
    parse_metadata,
    split_into_items,
    truncate_from,
    unreadable_metadata,
    without_open_end,
)
from winterbourne.chat.storage.lease import RELEASE_TIMEOUT_S, Lease, is_leased
from winterbourne.chat.storage.write_behind import WriteBehindQueue

__all__ = ["ConversationStore", "ConversationSummary", "Cursor", "OpenConversation"]

Cursor: TypeAlias = tuple[int, str]
"""Pagination cursor: `updated_ms` and `sk` of the last conversation of a page."""

DAY_S: Final = 86_400
MAX_BYTES_ON_LOOP: Final = 200_000
MAX_TIME_MS: Final = 253_402_300_799_000  # the end of the year 9999


class OpenConversation:
    """A conversation while one request runs in it: leased from `start` to `close`.

    Made by `ConversationStore.open`.

    Attributes:
        messages: The history to send to the model, once started; the request's own messages are last.
        draft: Returns the messages that are not finished, to be saved as they are every second; None is one that has
            not begun.
    """

    def __init__(self, store: Store, lease: Lease, pk: str, request: ChatRequest, renew_interval_s: float) -> None:
        self.messages: tuple[Message, ...] = ()
        self.draft: Callable[[], Sequence[Message | None]] = tuple
        self._store = store
        self._lease = lease
        self._pk = pk
        self._request = request
        self._queue = WriteBehindQueue(store, lease.renew, renew_interval_s, self._draft_items)
        self._position = 0
        self._epoch = self._expires_at_s = 0
        self._refreshes_ttl = False
        self._is_started = False

    async def start(self) -> None:
        """Lease and load the conversation; it is created by the first request with its id.

        If the id of a user message is stored already, that message and everything after it is replaced (a retry or an
        edit).

        Raises:
            ConversationBusy: Another request runs in it.
            InvalidHistory: The messages do not fit the stored ones.
            StorageUnavailable: It cannot be read or leased.

        Cancellation:
            `close` releases what has been acquired.
        """
        lease, new = self._lease, self._request.messages
        await lease.load()
        if lease.metadata is None:
            merge_history((), new)  # raises before anything is created
        metadata, items = await asyncio.gather(  # waits for both, even if one fails
            lease.acquire(derive_title(new)), self._store.query_partition(self._pk), return_exceptions=True
        )
        if isinstance(metadata, BaseException):
            raise metadata
        if isinstance(items, BaseException):
            raise items
        stored = await _join_items(items, metadata.created_ms)
        kept = truncate_from(stored, new)
        self.messages = merge_history([one.message for one in kept], new)
        if len(kept) < len(stored):
            items = await self._truncate(items, stored[len(kept)].sk)
        self._epoch, self._expires_at_s = metadata.epoch, lease.item_expires_at_s
        if self._expires_at_s - metadata.expires_at_s > lease.ttl_s / 2:  # conversations in use do not expire
            self._refreshes_ttl = True
            self._queue.put([msgspec.structs.replace(item, expires_at_s=self._expires_at_s) for item in items])
        self._queue.start()
        self._is_started = True
        for message in new:
            self.append(message)

    def append(self, message: Message) -> None:
        """Save one more message. Returns at once; it is written in the background."""
        self._queue.put(self._items(message, self._position))
        self._position += 1

    async def close(self, until: float) -> None:
        """Save what is left and release the lease, until this time of the event loop's clock."""
        if self._is_started:
            await self._queue.close(until)
            if self._refreshes_ttl and self._queue.is_flushed:
                self._lease.extend_ttl()
        await self._lease.release(until)

    def _draft_items(self) -> list[Item]:
        """What is not finished, in the place of the finished messages: they replace it."""
        places = enumerate(self.draft(), self._position)
        return [item for at, message in places if message for item in self._items(without_open_end(message), at)]

    def _items(self, message: Message, position: int) -> list[Item]:
        return split_into_items(message, self._pk, self._epoch, position, self._expires_at_s)

    async def _truncate(self, items: list[Item], sk: str) -> list[Item]:
        """Delete the items from `sk` on; return the others."""
        await self._store.delete([(item.pk, item.sk) for item in items if item.sk >= sk])
        return [item for item in items if item.sk < sk]


class ConversationSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown of a conversation without its messages. `running`: whether a request runs in it."""

    id: str
    title: str
    created_at: datetime
    updated_at: datetime
    running: bool


class ConversationStore:
    """The conversations of all callers.

    Args:
        store: Holds their items.
        settings: CONVERSATION_TTL_DAYS and CONVERSATION_LEASE.
    """

    def __init__(self, store: Store, settings: StorageSettings) -> None:
        self._store = store
        self._ttl_s = settings.conversation_ttl_days * DAY_S
        self._lease_s = settings.conversation_lease

    def open(self, caller_id: str, request: ChatRequest) -> OpenConversation:
        """The conversation that a request is about. Nothing is read or written before it is started."""
        pk = messages_partition(caller_id, request.conversation_id)
        lease = self._lease(caller_id, request.conversation_id)
        return OpenConversation(self._store, lease, pk, request, self._lease_s / 3)

    async def list_page(
        self, caller_id: str, limit: int, after: Cursor | None = None
    ) -> tuple[list[ConversationSummary], Cursor | None]:
        """At most `limit` of the caller's conversations, newest first, starting after the cursor.

        Returns:
            The conversations, and the cursor of the next page; None after the last page.

        Raises:
            StorageUnavailable: They cannot be read.
        """
        pk = conversations_partition(caller_id)
        cursor = Item(pk=pk, updated_ms=after[0], sk=after[1]) if after else None
        found: list[ConversationSummary] = []
        while missing := limit - len(found):
            items = await self._store.query_newest(pk, missing, cursor)
            found += (self._summary(item, metadata) for item in items if (metadata := parse_metadata(item)))
            if len(items) < missing:
                return found, None
            cursor = items[-1]
        return found, (cursor.updated_ms, cursor.sk) if cursor else None

    async def get(self, caller_id: str, conversation_id: str) -> tuple[ConversationSummary, list[Message]]:
        """One conversation and its messages.

        Raises:
            ConversationNotFound: This caller has no conversation with that id.
            StorageUnavailable: It cannot be read.
        """
        item = await self._store.get(*conversation_key(caller_id, conversation_id))
        if item is None:
            raise ConversationNotFound
        metadata = parse_metadata(item) or unreadable_metadata(conversation_id, item.updated_ms)
        items = await self._store.query_partition(messages_partition(caller_id, conversation_id))
        messages = [stored.message for stored in await _join_items(items, metadata.created_ms)]
        return self._summary(item, metadata), messages

    async def delete(self, caller_id: str, conversation_id: str) -> None:
        """Delete a conversation and its messages, also those that this version cannot read, or that lost the rest.

        Raises:
            ConversationNotFound: This caller has no conversation with that id.
            ConversationBusy: A request runs in it.
            StorageUnavailable: It was not deleted, or only in part; deleting it can be retried.
        """
        pk = messages_partition(caller_id, conversation_id)
        lease = self._lease(caller_id, conversation_id)
        try:
            async with time_limit(WAIT_TIMEOUT_S - RELEASE_TIMEOUT_S):
                await lease.load()
                if lease.metadata and lease.is_readable:
                    await lease.acquire("")
                items = await self._store.query_partition(pk)
                if not items and lease.metadata is None:
                    raise ConversationNotFound
                await self._store.delete([(pk, item.sk) for item in items])
                await lease.delete_metadata()
        finally:
            await lease.release(asyncio.get_running_loop().time() + RELEASE_TIMEOUT_S)

    def _lease(self, caller_id: str, conversation_id: str) -> Lease:
        return Lease(self._store, caller_id, conversation_id, self._lease_s, self._ttl_s)

    def _summary(self, item: Item, metadata: ConversationMetadata) -> ConversationSummary:
        return ConversationSummary(
            id=metadata.id,
            title=redaction.redact(metadata.title),
            created_at=_as_datetime(metadata.created_ms),
            updated_at=_as_datetime(item.updated_ms),
            running=is_leased(metadata, self._store.now_ms()),
        )


async def _join_items(items: Sequence[Item], first_epoch: int) -> list[StoredMessage]:
    """`join_items`, in a thread if that takes more than a few milliseconds."""
    if sum(len(item.body) for item in items) <= MAX_BYTES_ON_LOOP:
        return join_items(items, first_epoch)
    return await asyncio.to_thread(join_items, items, first_epoch)


def _as_datetime(epoch_ms: int) -> datetime:
    """A stored time, cut to what a datetime can be."""
    return datetime.fromtimestamp(min(max(epoch_ms, 0), MAX_TIME_MS) / 1000, UTC)
