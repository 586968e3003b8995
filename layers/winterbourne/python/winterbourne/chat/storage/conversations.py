"""Conversations that are kept: continued by id, listed, read and deleted, each caller's own.

Knows when what is kept, not how it lies in the store (`items`) nor who may write (`lease`).
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
from winterbourne.chat.errors import RequestRejected, StoreUnavailable
from winterbourne.chat.infra import redaction
from winterbourne.chat.settings import Settings
from winterbourne.chat.storage.base import Item, Store
from winterbourne.chat.storage.conversation_items import (
    Head,
    continued,
    head_key,
    heads_key,
    join,
    messages_key,
    rewound,
    split,
    title_of,
)
from winterbourne.chat.storage.lease import Lease, is_running
from winterbourne.chat.storage.write_behind import Writer

__all__ = ["Conversations", "Record"]

A = TypeVar("A")
B = TypeVar("B")

Cursor = tuple[Annotated[int, Meta(ge=1, le=2**53)], Annotated[str, Meta(min_length=1, max_length=512)]]
"""`updated_ms` and `sk` of the last conversation of a page."""

DAY_S: Final = 86_400
PAGE: Final = 30
LARGEST_PAGE: Final = 100


class Record(msgspec.Struct, frozen=True):
    """One request's part of a conversation.

    Args:
        messages: Everything said so far, the request's own messages last; what a model is to be asked.
        append: Keeps one more message. Returns at once; the writing goes on beside.
    """

    messages: tuple[Message, ...]
    append: Callable[[Message], None]


class Conversations:
    """The conversations of all callers.

    Args:
        store: Where they are kept.
        settings: CONVERSATION_TTL_DAYS and CONVERSATION_LEASE.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._kept_s = settings.conversation_ttl_days * DAY_S
        self._lease_s = settings.conversation_lease

    @contextlib.asynccontextmanager
    async def open(self, caller: Caller, request: ChatRequest) -> AsyncIterator[Record]:
        """Have a conversation for oneself while the block runs; it begins with the first request that names its id.

        A request that brings the whole history itself (`store` is False) is not kept. A message of the user whose id
        is kept already takes its place: what followed it is forgotten, so that a request can be repeated.

        Raises:
            RequestRejected: 409 while another request runs in it; 400 for messages that do not fit what is kept.
            StoreUnavailable: It cannot be read.

        Cancellation:
            What was appended is still written, for FLUSH_TIMEOUT_S seconds at most.
        """
        if not request.store:
            yield Record(request.messages, _forget)
            return
        lease = self._lease(caller, request.conversation_id)
        await lease.read()
        if lease.head is None:
            continued((), request.messages)  # nothing is begun by messages that do not fit
        pk = messages_key(caller.id, request.conversation_id)
        async with _given_back(lease), self._record(lease, pk, request) as record:
            yield record

    async def page(self, caller: Caller, query: Mapping[str, str]) -> bytes:
        """`GET /conversations`: a caller's conversations as JSON, the latest first.

        Args:
            caller: Whose.
            query: `limit` (30, at most 100) and `after`, the `next` of the page before.

        Raises:
            RequestRejected: 400, one of them cannot be.
            StoreUnavailable: They cannot be read.
        """
        pk, limit = heads_key(caller.id), _limit(query.get("limit", ""))
        items = await self._store.newest(pk, limit, _decoded(pk, query.get("after", "")))
        listed = [_shown(msgspec.json.decode(item.body, type=Head), item.updated_ms, self._now_ms()) for item in items]
        following = _encoded(items[-1]) if len(items) == limit else None
        return msgspec.json.encode({"conversations": listed, "next": following})

    async def show(self, caller: Caller, conversation_id: str) -> bytes:
        """`GET /conversations/{id}`: one conversation with its messages, as JSON.

        Raises:
            RequestRejected: 404, this caller has none of that id.
            StoreUnavailable: It cannot be read.
        """
        item = await self._store.get(*head_key(caller.id, conversation_id))
        if item is None:
            raise _not_found()
        head = msgspec.json.decode(item.body, type=Head)
        stored = join(await self._store.partition(messages_key(caller.id, conversation_id)), head.created_ms)
        shown = _shown(head, item.updated_ms, self._now_ms())
        return msgspec.json.encode(shown | {"messages": [one.message for one in stored]})

    async def delete(self, caller: Caller, conversation_id: str) -> None:
        """`DELETE /conversations/{id}`: answered with 204.

        Raises:
            RequestRejected: 404, this caller has none of that id; 409 while a request runs in it.
            StoreUnavailable: It is not deleted, or not all of it; it can be deleted again.
        """
        lease = self._lease(caller, conversation_id)
        await lease.read()
        if lease.head is None:
            raise _not_found()
        pk = messages_key(caller.id, conversation_id)
        async with _given_back(lease):
            await lease.take("")
            await self._store.delete([(pk, item.sk) for item in await self._store.partition(pk)])
            await lease.remove()

    # Private methods

    @contextlib.asynccontextmanager
    async def _record(self, lease: Lease, pk: str, request: ChatRequest) -> AsyncIterator[Record]:
        head, items = await _both(lease.take(title_of(request.messages)), self._store.partition(pk))
        stored = join(items, head.created_ms)
        kept = rewound(stored, request.messages)
        messages = continued([one.message for one in kept], request.messages)
        if len(kept) < len(stored):
            items = await self._cut(items, stored[len(kept)].sk)
        places = itertools.count()
        async with self._refreshing(lease, head, items) as writer:

            def append(message: Message) -> None:
                writer.put(split(message, pk, head.epoch, next(places), lease.expires_at_s))

            for message in request.messages:
                append(message)
            yield Record(messages, append)

    async def _cut(self, items: list[Item], sk: str) -> list[Item]:
        """Forget what lies at `sk` and behind it; what stays."""
        await self._store.delete([(item.pk, item.sk) for item in items if item.sk >= sk])
        return [item for item in items if item.sk < sk]

    @contextlib.asynccontextmanager
    async def _refreshing(self, lease: Lease, head: Head, items: list[Item]) -> AsyncIterator[Writer]:
        """A writer which, when half their time is over, also writes the old messages anew: what is used is kept."""
        is_ageing = lease.expires_at_s - head.expires_at_s > self._kept_s / 2
        async with Writer(self._store, lease.renew, self._lease_s / 3) as writer:
            if is_ageing:
                writer.put([msgspec.structs.replace(item, expires_at_s=lease.expires_at_s) for item in items])
            yield writer
        if is_ageing and writer.is_done:
            lease.postpone()

    def _lease(self, caller: Caller, conversation_id: str) -> Lease:
        return Lease(self._store, caller.id, conversation_id, self._lease_s, self._kept_s)

    def _now_ms(self) -> int:
        return int(self._store.now() * 1000)


@contextlib.asynccontextmanager
async def _given_back(lease: Lease) -> AsyncIterator[None]:
    """At the end of the block others may have the conversation."""
    try:
        yield
    finally:
        with contextlib.suppress(StoreUnavailable):  # the store has logged it; the lease ends by itself
            await lease.give_back()


def _forget(_: Message) -> None:
    """Keep nothing."""


async def _both(one: Awaitable[A], other: Awaitable[B]) -> tuple[A, B]:
    """Wait for both, also where one fails."""
    first, second = await asyncio.gather(one, other, return_exceptions=True)
    if isinstance(first, BaseException):
        raise first
    if isinstance(second, BaseException):
        raise second
    return first, second


def _shown(head: Head, updated_ms: int, now_ms: int) -> dict[str, object]:
    return {
        "id": head.id,
        "title": redaction.redact(head.title),
        "created_at": datetime.fromtimestamp(head.created_ms / 1000, UTC),
        "updated_at": datetime.fromtimestamp(updated_ms / 1000, UTC),
        "running": is_running(head, now_ms),
    }


def _limit(text: str) -> int:
    if not text:
        return PAGE
    if text in map(str, range(1, LARGEST_PAGE + 1)):
        return int(text)
    raise RequestRejected(400, "invalid_limit", f"limit: expected a number from 1 to {LARGEST_PAGE}")


def _encoded(item: Item) -> str:
    """Where the next page begins; opaque to the caller."""
    return base64.urlsafe_b64encode(msgspec.json.encode((item.updated_ms, item.sk))).decode()


def _decoded(pk: str, cursor: str) -> Item | None:
    if not cursor:
        return None
    try:
        updated_ms, sk = msgspec.json.decode(base64.urlsafe_b64decode(cursor), type=Cursor)
    except ValueError:  # of base64 and of msgspec
        raise RequestRejected(400, "invalid_cursor", "after: expected the next of a page before") from None
    return Item(pk=pk, sk=sk, updated_ms=updated_ms)


def _not_found() -> RequestRejected:
    """The refusal where there is no such conversation, or it is somebody else's: nobody is told which."""
    return RequestRejected(404, "conversation_not_found", "there is no such conversation")
