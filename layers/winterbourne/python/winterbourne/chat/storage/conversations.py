"""Conversation store: continues a caller's conversations by id, lists (paginated by cursor), reads and deletes them.

The storage schema is in `conversation_items`, mutual exclusion between requests in `lease`.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Final, TypeAlias

import msgspec

from winterbourne.chat.core.messages import ChatRequest, Message
from winterbourne.chat.errors import ConversationNotFound
from winterbourne.chat.infra import redaction
from winterbourne.chat.settings import StorageSettings
from winterbourne.chat.storage.base import Item, Store
from winterbourne.chat.storage.conversation_items import (
    ConversationMetadata,
    conversation_key,
    conversations_partition,
    derive_title,
    join_items,
    merge_history,
    messages_partition,
    parse_metadata,
    split_into_items,
    truncate_from,
)
from winterbourne.chat.storage.lease import Lease, is_leased
from winterbourne.chat.storage.write_behind import WriteBehindQueue

__all__ = ["ConversationStore", "ConversationSummary", "Cursor", "OpenConversation"]

Cursor: TypeAlias = tuple[int, str]
"""Pagination cursor: `updated_ms` and `sk` of the last conversation of a page."""

DAY_S: Final = 86_400


class OpenConversation(msgspec.Struct, frozen=True):
    """A conversation while one request runs in it.

    Attributes:
        messages: The history to send to the model; the request's own messages are last.
        append: Saves one more message. Returns at once; it is written in the background.
    """

    messages: tuple[Message, ...]
    append: Callable[[Message], None]


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

    @contextlib.asynccontextmanager
    async def open(self, caller_id: str, request: ChatRequest) -> AsyncIterator[OpenConversation]:
        """Lease a conversation while the block runs; it is created by the first request with its id.

        If the id of a user message is stored already, that message and everything after it is replaced (a retry or an
        edit).

        Raises:
            ConversationBusy: Another request runs in it.
            InvalidHistory: The messages do not fit the stored ones.
            StorageUnavailable: It cannot be read or leased.

        Cancellation:
            Appended messages are still written, for FLUSH_TIMEOUT_S seconds at most.
        """
        pk = messages_partition(caller_id, request.conversation_id)
        async with self._lease(caller_id, request.conversation_id) as lease:
            if lease.metadata is None:
                merge_history((), request.messages)  # raises before anything is created
            metadata, items = await asyncio.gather(  # waits for both, even if one fails
                lease.acquire(derive_title(request.messages)), self._store.query_partition(pk), return_exceptions=True
            )
            if isinstance(metadata, BaseException):
                raise metadata
            if isinstance(items, BaseException):
                raise items
            stored = join_items(items, metadata.created_ms)
            kept = truncate_from(stored, request.messages)
            messages = merge_history([one.message for one in kept], request.messages)
            if len(kept) < len(stored):
                items = await self._truncate(items, stored[len(kept)].sk)
            positions = itertools.count()
            async with self._write_behind_queue(lease, metadata, items) as queue:

                def append(message: Message) -> None:
                    queue.put(split_into_items(message, pk, metadata.epoch, next(positions), lease.item_expires_at_s))

                for message in request.messages:
                    append(message)
                yield OpenConversation(messages, append)

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
        items = await self._store.query_newest(pk, limit, cursor)
        summaries = [self._summary(item, parse_metadata(item)) for item in items]
        return summaries, (items[-1].updated_ms, items[-1].sk) if len(items) == limit else None

    async def get(self, caller_id: str, conversation_id: str) -> tuple[ConversationSummary, list[Message]]:
        """One conversation and its messages.

        Raises:
            ConversationNotFound: This caller has no conversation with that id.
            StorageUnavailable: It cannot be read.
        """
        item = await self._store.get(*conversation_key(caller_id, conversation_id))
        if item is None:
            raise ConversationNotFound
        metadata = parse_metadata(item)
        items = await self._store.query_partition(messages_partition(caller_id, conversation_id))
        messages = [stored.message for stored in join_items(items, metadata.created_ms)]
        return self._summary(item, metadata), messages

    async def delete(self, caller_id: str, conversation_id: str) -> None:
        """Delete a conversation and its messages.

        Raises:
            ConversationNotFound: This caller has no conversation with that id.
            ConversationBusy: A request runs in it.
            StorageUnavailable: It was not deleted, or only in part; deleting it can be retried.
        """
        pk = messages_partition(caller_id, conversation_id)
        async with self._lease(caller_id, conversation_id) as lease:
            if lease.metadata is None:
                raise ConversationNotFound
            await lease.acquire("")
            await self._store.delete([(pk, item.sk) for item in await self._store.query_partition(pk)])
            await lease.delete_metadata()

    async def _truncate(self, items: list[Item], sk: str) -> list[Item]:
        """Delete the items from `sk` on; return the others."""
        await self._store.delete([(item.pk, item.sk) for item in items if item.sk >= sk])
        return [item for item in items if item.sk < sk]

    @contextlib.asynccontextmanager
    async def _write_behind_queue(
        self, lease: Lease, metadata: ConversationMetadata, items: list[Item]
    ) -> AsyncIterator[WriteBehindQueue]:
        """A queue that also rewrites old items once half their TTL is over: conversations in use do not expire."""
        needs_ttl_refresh = lease.item_expires_at_s - metadata.expires_at_s > self._ttl_s / 2
        async with WriteBehindQueue(self._store, lease.renew, self._lease_s / 3) as queue:
            if needs_ttl_refresh:
                queue.put([msgspec.structs.replace(item, expires_at_s=lease.item_expires_at_s) for item in items])
            yield queue
        if needs_ttl_refresh and queue.is_flushed:
            lease.extend_ttl()

    def _lease(self, caller_id: str, conversation_id: str) -> Lease:
        return Lease(self._store, caller_id, conversation_id, self._lease_s, self._ttl_s)

    def _summary(self, item: Item, metadata: ConversationMetadata) -> ConversationSummary:
        return ConversationSummary(
            id=metadata.id,
            title=redaction.redact(metadata.title),
            created_at=datetime.fromtimestamp(metadata.created_ms / 1000, UTC),
            updated_at=datetime.fromtimestamp(item.updated_ms / 1000, UTC),
            running=is_leased(metadata, self._store.now_ms()),
        )
