"""Conversation store: continues a caller's conversations by id, lists (paginated by cursor), reads and deletes them.

The storage schema is in `conversation_items`, mutual exclusion between requests in `lease`.
"""

import asyncio
import base64
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from winterbourne.chat.auth.base import Caller
from winterbourne.chat.core.messages import ChatRequest, Message
from winterbourne.chat.errors import RequestRejected, StorageUnavailable
from winterbourne.chat.infra import redaction
from winterbourne.chat.settings import Settings
from winterbourne.chat.storage.base import Item, Store
from winterbourne.chat.storage.conversation_items import (
    ConversationMetadata,
    conversation_key,
    conversations_partition,
    derive_title,
    join_items,
    merge_history,
    messages_partition,
    split_into_items,
    truncate_from,
)
from winterbourne.chat.storage.lease import Lease, is_leased
from winterbourne.chat.storage.write_behind import WriteBehindQueue

__all__ = ["ConversationStore", "OpenConversation"]

A = TypeVar("A")
B = TypeVar("B")

Cursor = tuple[Annotated[int, Meta(ge=1, le=2**53)], Annotated[str, Meta(min_length=1, max_length=512)]]
"""Pagination cursor: `updated_ms` and `sk` of the last conversation of a page."""

DAY_S: Final = 86_400
DEFAULT_PAGE_SIZE: Final = 30
MAX_PAGE_SIZE: Final = 100


class OpenConversation(msgspec.Struct, frozen=True):
    """A conversation while one request runs in it.

    Attributes:
        messages: The history to send to the model; the request's own messages are last.
        append: Saves one more message. Returns at once; it is written in the background.
    """

    messages: tuple[Message, ...]
    append: Callable[[Message], None]


class ConversationStore:
    """The conversations of all callers.

    Args:
        store: Holds their items.
        settings: CONVERSATION_TTL_DAYS and CONVERSATION_LEASE.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._ttl_s = settings.storage.conversation_ttl_days * DAY_S
        self._lease_s = settings.storage.conversation_lease

    @contextlib.asynccontextmanager
    async def open(self, caller: Caller, request: ChatRequest) -> AsyncIterator[OpenConversation]:
        """Lease a conversation while the block runs; it is created by the first request with its id.

        A request that carries the whole history itself (`store` is False) is not saved. If the id of a user message is
        stored already, that message and everything after it is replaced (a retry or an edit).

        Raises:
            RequestRejected: 409 while another request runs in it; 400 if the messages do not fit the stored ones.
            StorageUnavailable: It cannot be read or leased.

        Cancellation:
            Appended messages are still written, for FLUSH_TIMEOUT_S seconds at most.
        """
        if not request.store:
            yield OpenConversation(request.messages, _discard)
            return
        lease = self._lease(caller, request.conversation_id)
        await lease.read()
        if lease.metadata is None:
            merge_history((), request.messages)  # raises before anything is created
        pk = messages_partition(caller.id, request.conversation_id)
        async with _releasing(lease), self._open_leased(lease, pk, request) as conversation:
            yield conversation

    async def list_page(self, caller: Caller, query: Mapping[str, str]) -> bytes:
        """`GET /conversations`: one page of a caller's conversations as JSON, newest first.

        Args:
            caller: The owner of the conversations.
            query: `limit` (default 30, at most 100) and `after`, the cursor: `next` of the previous page.

        Raises:
            RequestRejected: 400 if `limit` or `after` is invalid.
            StorageUnavailable: They cannot be read.
        """
        pk, limit = conversations_partition(caller.id), _parse_limit(query.get("limit", ""))
        items = await self._store.query_newest(pk, limit, _decode_cursor(pk, query.get("after", "")))
        summaries = [
            _summary(msgspec.json.decode(item.body, type=ConversationMetadata), item.updated_ms, self._now_ms())
            for item in items
        ]
        next_cursor = _encode_cursor(items[-1]) if len(items) == limit else None
        return msgspec.json.encode({"conversations": summaries, "next": next_cursor})

    async def get(self, caller: Caller, conversation_id: str) -> bytes:
        """`GET /conversations/{id}`: one conversation with its messages, as JSON.

        Raises:
            RequestRejected: 404 if this caller has no conversation with that id.
            StorageUnavailable: It cannot be read.
        """
        item = await self._store.get(*conversation_key(caller.id, conversation_id))
        if item is None:
            raise _not_found_error()
        metadata = msgspec.json.decode(item.body, type=ConversationMetadata)
        stored = join_items(
            await self._store.query_partition(messages_partition(caller.id, conversation_id)), metadata.created_ms
        )
        summary = _summary(metadata, item.updated_ms, self._now_ms())
        return msgspec.json.encode(summary | {"messages": [one.message for one in stored]})

    async def delete(self, caller: Caller, conversation_id: str) -> None:
        """`DELETE /conversations/{id}`: delete a conversation and its messages.

        Raises:
            RequestRejected: 404 if this caller has no conversation with that id; 409 while a request runs in it.
            StorageUnavailable: It was not deleted, or only in part; deleting it can be retried.
        """
        lease = self._lease(caller, conversation_id)
        await lease.read()
        if lease.metadata is None:
            raise _not_found_error()
        pk = messages_partition(caller.id, conversation_id)
        async with _releasing(lease):
            await lease.acquire("")
            await self._store.delete([(pk, item.sk) for item in await self._store.query_partition(pk)])
            await lease.delete_metadata()

    @contextlib.asynccontextmanager
    async def _open_leased(self, lease: Lease, pk: str, request: ChatRequest) -> AsyncIterator[OpenConversation]:
        metadata, items = await _gather_both(
            lease.acquire(derive_title(request.messages)), self._store.query_partition(pk)
        )
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

    def _lease(self, caller: Caller, conversation_id: str) -> Lease:
        return Lease(self._store, caller.id, conversation_id, self._lease_s, self._ttl_s)

    def _now_ms(self) -> int:
        return int(self._store.now() * 1000)


@contextlib.asynccontextmanager
async def _releasing(lease: Lease) -> AsyncIterator[None]:
    """Release the lease at the end of the block."""
    try:
        yield
    finally:
        with contextlib.suppress(StorageUnavailable):  # `Store` has logged it; the lease expires by itself
            await lease.release()


def _discard(_: Message) -> None:
    """Save nothing: the `append` of a request with `store` False."""


async def _gather_both(one: Awaitable[A], other: Awaitable[B]) -> tuple[A, B]:
    """Wait for both to end, even if one fails; then raise the first error."""
    first, second = await asyncio.gather(one, other, return_exceptions=True)
    if isinstance(first, BaseException):
        raise first
    if isinstance(second, BaseException):
        raise second
    return first, second


def _summary(metadata: ConversationMetadata, updated_ms: int, now_ms: int) -> dict[str, object]:
    return {
        "id": metadata.id,
        "title": redaction.redact(metadata.title),
        "created_at": datetime.fromtimestamp(metadata.created_ms / 1000, UTC),
        "updated_at": datetime.fromtimestamp(updated_ms / 1000, UTC),
        "running": is_leased(metadata, now_ms),
    }


def _parse_limit(text: str) -> int:
    if not text:
        return DEFAULT_PAGE_SIZE
    if text in map(str, range(1, MAX_PAGE_SIZE + 1)):
        return int(text)
    raise RequestRejected(400, "invalid_limit", f"limit: expected a number from 1 to {MAX_PAGE_SIZE}")


def _encode_cursor(item: Item) -> str:
    """Make the cursor of the next page; opaque to the caller."""
    return base64.urlsafe_b64encode(msgspec.json.encode((item.updated_ms, item.sk))).decode()


def _decode_cursor(pk: str, cursor: str) -> Item | None:
    if not cursor:
        return None
    try:
        updated_ms, sk = msgspec.json.decode(base64.urlsafe_b64decode(cursor), type=Cursor)
    except ValueError:  # raised by both base64 and msgspec
        raise RequestRejected(400, "invalid_cursor", "after: expected the value of next from a previous page") from None
    return Item(pk=pk, sk=sk, updated_ms=updated_ms)


def _not_found_error() -> RequestRejected:
    """The same 404 whether the conversation does not exist or belongs to another caller, so as not to reveal which."""
    return RequestRejected(404, "conversation_not_found", "there is no such conversation")
