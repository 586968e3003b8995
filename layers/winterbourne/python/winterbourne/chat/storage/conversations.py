"""Conversation store: continues a caller's conversations by id, lists (paginated by cursor), reads and deletes them.

The storage schema is in `conversation_items`, mutual exclusion between requests in `lease`.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from winterbourne.chat.core.answer_messages import messages_of
from winterbourne.chat.core.events import EventBatch
from winterbourne.chat.core.history import is_placeholder, new_messages, with_new_questions
from winterbourne.chat.core.messages import ChatRequest, Message, Summary, UserMessage
from winterbourne.chat.errors import ConversationBusy, ConversationNotFound
from winterbourne.chat.infra import redaction
from winterbourne.chat.settings import StorageSettings
from winterbourne.chat.storage.base import WAIT_TIMEOUT_S, Item, Store, time_limit
from winterbourne.chat.storage.conversation_items import (
    FORMAT_VERSION,
    ConversationMetadata,
    StoredMessage,
    conversation_key,
    conversations_partition,
    derive_title,
    join_items,
    merge_history,
    message_key,
    messages_partition,
    parse_metadata,
    parse_summary,
    split_into_items,
    summary_item,
    truncate_from,
    unreadable_metadata,
)
from winterbourne.chat.storage.lease import RELEASE_TIMEOUT_S, Lease, is_leased
from winterbourne.chat.storage.stream_log import (
    POLL_INTERVAL_S,
    StreamLog,
    StreamLogs,
    StreamLogWriter,
    is_of_kept,
    latest_log,
    log_header,
    log_partition,
)
from winterbourne.chat.storage.write_behind import WriteBehindQueue

__all__ = ["ConversationStore", "ConversationSummary", "Cursor", "OpenConversation"]

T = TypeVar("T")

Cursor: TypeAlias = tuple[int, str]
"""Pagination cursor: `updated_ms` and `sk` of the last conversation of a page."""

DAY_S: Final = 86_400
MAX_BYTES_ON_LOOP: Final = 200_000
SET_TITLE_ATTEMPTS: Final = 5
"""Requests change what is said of a conversation when they begin, every few seconds, and when they end."""
MAX_TIME_MS: Final = 253_402_300_799_000  # the end of the year 9999


class OpenConversation:
    """A conversation while one request runs in it: leased from `start` to `close`.

    Made by `ConversationStore.open`.

    Attributes:
        messages: The history to send to the model, once started: the stored one with the request's own messages last,
            or that of the request if it brings the whole.
        summary: The newest summary of its beginning, once started; None if there is none.
    """

    def __init__(self, store: Store, lease: Lease, caller_id: str, request: ChatRequest, logs: StreamLogs) -> None:
        self.messages = request.messages
        self.summary: Summary | None = None
        self._store = store
        self._lease = lease
        self._pk = messages_partition(caller_id, request.conversation_id)
        self._log_pk = log_partition(caller_id, request.conversation_id)
        self._request = request
        self._logs = logs
        self._log: StreamLogWriter | None = None  # once started
        self._queue = WriteBehindQueue(store, logs.lease_s / 3, renew_lease=lease.renew, check_lease=lease.check)
        self._position = 0
        self._epoch = self._expires_at_s = 0
        self._refreshes_ttl = False

    async def start(self) -> None:
        """Lease and load the conversation; it is created by the first request with its id.

        If the id of a user message is stored already, that message and everything after it is replaced (a retry or an
        edit); so is what the request says. Of an answer whose process died, what it had logged is kept.

        Raises:
            ConversationBusy: Another request runs in it.
            InvalidHistory: The messages do not fit the stored ones.
            RequestRejected: 409 for decisions on calls that do not wait.
            StorageUnavailable: It cannot be read or leased.

        Cancellation:
            `close` releases what has been acquired.
        """
        lease = self._lease
        await lease.load()
        request = _only_new(self._request, is_kept=lease.metadata is not None)
        if lease.metadata is None:
            merge_history((), request.messages, request.decisions)  # raises before anything is created
        metadata, contents = await asyncio.gather(  # waits for both, even if one fails
            lease.acquire(derive_title(request.messages)),
            _read_items(self._store, self._pk, self._log_pk, lease.metadata),
            return_exceptions=True,
        )
        if isinstance(metadata, BaseException):
            raise metadata
        if isinstance(contents, BaseException):
            raise contents
        stored = await _join_items(contents.all, metadata.created_ms)
        self.summary = parse_summary(contents.stored)
        kept = truncate_from(stored, request)
        if request.store:
            self.messages = merge_history([one.message for one in kept], request.messages, request.decisions)
        if len(kept) < len(stored):
            contents = await self._truncate(contents, stored[len(kept)].sk)
        self._epoch, self._expires_at_s = metadata.epoch, lease.item_expires_at_s
        self._queue.put(contents.logged)
        if self._expires_at_s - metadata.expires_at_s > lease.ttl_s / 30:  # old messages do not go before the last
            self._refreshes_ttl = True
            self._queue.put([replace(item, expires_at_s=self._expires_at_s) for item in contents.all])
        header, touch_s = log_header(request, self.messages, is_kept=True), self._logs.lease_s / 3
        self._log = StreamLogWriter(self._store, self._log_pk, self._epoch * 1000, header, touch_s, self._expires_at_s)
        self._queue.collect, self._queue.written = self._log.items, self._log.written
        self._queue.start()
        for message in request.messages:
            self.append(message)

    def log(self, batch: EventBatch) -> None:
        """Log events of the answer. Returns at once; they are written in the background."""
        if self._log and self._log.append(batch):
            self._queue.write_soon()

    def append(self, message: Message) -> None:
        """Save one more message. Returns at once; it is written in the background."""
        self._queue.put(split_into_items(message, self._pk, self._epoch, self._position, self._expires_at_s))
        self._position += 1

    def keep_summary(self, summary: Summary) -> None:
        """Save a summary in place of the one before. Returns at once; it is written in the background."""
        self._queue.put([summary_item(summary, self._pk, self._expires_at_s)])

    async def close(self, until: float) -> None:
        """Save what is left and release the lease, until this time of the event loop's clock."""
        if self._log:
            await self._queue.close(until)
            if self._refreshes_ttl and self._queue.is_flushed:
                self._lease.extend_ttl()
        await self._lease.release(until)
        if self._log and self._queue.is_flushed:
            await self._logs.drop_older(self._log_pk, self._epoch * 1000, until)

    async def _truncate(self, contents: "_Items", sk: str) -> "_Items":
        """Delete the items from `sk` on; return the others. The question goes last: a retry finds it by its id."""
        await self._store.delete([(item.pk, item.sk) for item in reversed(contents.stored) if item.sk >= sk])
        return _Items(*([item for item in items if item.sk < sk] for items in (contents.stored, contents.logged)))


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
        settings: KEEP, CONVERSATION_TTL_DAYS and CONVERSATION_LEASE.

    Attributes:
        keeps_all: Whether all conversations are kept that their clients have named.
        is_shared: Whether other execution environments see the same conversations.
        logs: The stream logs of their answers, and of those that are not kept.
    """

    def __init__(self, store: Store, settings: StorageSettings) -> None:
        self._store = store
        self._ttl_s = settings.conversation_ttl_days * DAY_S
        self.keeps_all = settings.keep == "always"
        self.is_shared = store.is_shared
        self.logs = StreamLogs(store, settings.conversation_lease)

    def open(self, caller_id: str, request: ChatRequest) -> OpenConversation:
        """The conversation that a request is about. Nothing is read or written before it is started."""
        lease = self._lease(caller_id, request.conversation_id)
        return OpenConversation(self._store, lease, caller_id, request, self.logs)

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
        """One conversation and its messages; those of an answer that runs, as far as it was a second ago.

        Raises:
            ConversationNotFound: This caller has no conversation with that id.
            StorageUnavailable: It cannot be read.
        """
        item = await self._store.get(*conversation_key(caller_id, conversation_id))
        if item is None:
            raise ConversationNotFound
        metadata = parse_metadata(item) or unreadable_metadata(conversation_id, item.updated_ms)
        keys = messages_partition(caller_id, conversation_id), log_partition(caller_id, conversation_id)
        items = await _read_items(self._store, *keys, metadata)
        messages = [stored.with_id() for stored in await _join_items(items.all, metadata.created_ms)]
        summary = self._summary(item, metadata)
        current = with_new_questions(messages)  # and while it runs, a call without a result was not interrupted
        return summary, [one for one in current if not (summary.running and is_placeholder(one))]

    async def latest_log(self, caller_id: str, conversation_id: str, attempts: int = 5) -> StreamLog | None:
        """The log of the conversation's latest answer; None if there is none to be read, or a later answer without one.

        A request that has just begun to answer is given a second (four polls) to begin its log: its client may have
        lost the stream with the first byte.

        Raises:
            StorageUnavailable: It cannot be read.
        """
        log = await self.logs.read(caller_id, conversation_id)
        item = await self._store.get(*conversation_key(caller_id, conversation_id))
        metadata = parse_metadata(item) if item else None
        is_latest = metadata is None or (log is not None and metadata.epoch * 1000 <= log.epoch)
        if attempts > 1 and not is_latest and metadata and is_leased(metadata, self._store.now_ms()):
            await asyncio.sleep(POLL_INTERVAL_S)
            return await self.latest_log(caller_id, conversation_id, attempts - 1)
        if log is None or not log.header.is_kept:
            return log
        return log if item and is_latest else None  # an older release deletes and goes on without logs

    async def history_before(self, caller_id: str, conversation_id: str, log: StreamLog) -> list[Message]:
        """The messages kept before an answer, its question included.

        Raises:
            StorageUnavailable: They cannot be read.
        """
        items = await self._store.query_partition(messages_partition(caller_id, conversation_id))
        first = message_key(log.epoch // 1000, log.header.position)
        earlier = [item for item in items if item.sk < first]
        return with_new_questions(stored.with_id() for stored in await _join_items(earlier, 0))

    async def set_title(
        self, caller_id: str, conversation_id: str, title: str, if_title: str | None = None
    ) -> ConversationSummary:
        """Give a conversation another title, also while a request runs in it.

        Args:
            caller_id: Whose it is.
            conversation_id: Which one.
            title: Its new title, redacted and on one line.
            if_title: The title that it must have now, or it stays as it is; None for any.

        Raises:
            ConversationNotFound: This caller has no conversation with that id, or none that this version can read.
            ConversationBusy: It was changed again and again meanwhile.
            StorageUnavailable: It may have its old title.
        """
        for _ in range(SET_TITLE_ATTEMPTS):
            item = await self._store.get(*conversation_key(caller_id, conversation_id))
            if item is None or (metadata := parse_metadata(item)) is None:
                raise ConversationNotFound
            if if_title not in {None, metadata.title}:
                return self._summary(item, metadata)
            metadata = replace(metadata, title=title, version=FORMAT_VERSION)
            item = replace(item, number=item.number + 1, body=msgspec.json.encode(metadata))
            if await self._store.compare_and_set(item):  # and its place in the list is what it was
                return self._summary(item, metadata)
        raise ConversationBusy

    async def delete(self, caller_id: str, conversation_id: str) -> None:
        """Delete a conversation with all that belongs to it, also what this version cannot read, or what lost the rest.

        Raises:
            ConversationNotFound: This caller has no conversation with that id.
            ConversationBusy: A request runs in it.
            StorageUnavailable: It was not deleted, or only in part; deleting it can be retried.
        """
        keys = messages_partition(caller_id, conversation_id), log_partition(caller_id, conversation_id)
        lease = self._lease(caller_id, conversation_id)
        try:
            async with time_limit(WAIT_TIMEOUT_S - RELEASE_TIMEOUT_S):
                await lease.load()
                if lease.metadata and lease.is_readable:
                    await lease.acquire("")
                items, logs = [await self._store.query_partition(pk) for pk in keys]
                if not items and lease.metadata is None:
                    raise ConversationNotFound
                await self._store.delete([(item.pk, item.sk) for item in (*items, *logs)])
                await lease.delete_metadata()
        finally:
            await lease.release(asyncio.get_running_loop().time() + RELEASE_TIMEOUT_S)

    def _lease(self, caller_id: str, conversation_id: str) -> Lease:
        return Lease(self._store, caller_id, conversation_id, self.logs.lease_s, self._ttl_s)

    def _summary(self, item: Item, metadata: ConversationMetadata) -> ConversationSummary:
        return ConversationSummary(
            id=metadata.id,
            title=redaction.redact(metadata.title),
            created_at=_as_datetime(metadata.created_ms),
            updated_at=_as_datetime(item.updated_ms),
            running=is_leased(metadata, self._store.now_ms()),
        )


def _only_new(request: ChatRequest, *, is_kept: bool) -> ChatRequest:
    """The request with those messages that are to be stored: of a whole history, those that are not yet.

    What a client without a store of its own says of itself (AG-UI's context) stands among messages with ids without one
    and is not kept.
    """
    if request.store:
        return request
    new = request.messages
    if is_kept:
        new = new_messages(new, {tool.name for tool in request.client_tools})
    named = tuple(message for message in new if not isinstance(message, UserMessage) or message.id)
    has_question = any(isinstance(message, UserMessage) for message in named)
    return replace(request, messages=named if has_question else new)


class _Items(msgspec.Struct):
    """The items of a conversation's messages: those stored, and those that are only in the log of its latest answer."""

    stored: list[Item]
    logged: list[Item]

    @property
    def all(self) -> list[Item]:
        """All of them, in order."""
        return sorted((*self.stored, *self.logged), key=lambda item: item.sk)


async def _read_items(store: Store, pk: str, log_pk: str, metadata: ConversationMetadata | None) -> _Items:
    items, log_items = await asyncio.gather(store.query_partition(pk), store.query_partition(log_pk))
    if metadata is None:
        return _Items(items, [])
    return _Items(items, await _off_loop_if_large(log_items, lambda: _only_logged(items, log_items, pk)))


def _only_logged(stored: Sequence[Item], log_items: Sequence[Item], pk: str) -> list[Item]:
    """The items of those messages that the latest answer has logged but not stored: those of a turn under way."""
    of_kept = [item for item in log_items if is_of_kept(item)]  # those of others expire long before
    log = latest_log(of_kept)
    if not log or (stored and stored[-1].sk >= message_key(log.epoch // 1000 + 1, 0)):  # a later request has saved them
        return []
    epoch = log.epoch // 1000
    saved = {item.sk[: len(message_key(0, 0))] for item in stored}
    if log.header.position and message_key(epoch, log.header.position - 1) not in saved:  # its question was replaced
        return []
    return [
        item
        for position, message in enumerate(messages_of(log.events), log.header.position)
        if message_key(epoch, position) not in saved
        for item in split_into_items(message, pk, epoch, position, of_kept[-1].expires_at_s)
    ]


async def _join_items(items: Sequence[Item], first_epoch: int) -> list[StoredMessage]:
    return await _off_loop_if_large(items, lambda: join_items(items, first_epoch))


async def _off_loop_if_large(items: Sequence[Item], parse: Callable[[], T]) -> T:
    """What `parse` returns of these items, called in a thread if it takes more than a few milliseconds."""
    is_large = sum(len(item.body) for item in items) > MAX_BYTES_ON_LOOP
    return await asyncio.to_thread(parse) if is_large else parse()


def _as_datetime(epoch_ms: int) -> datetime:
    """A stored time, cut to what a datetime can be."""
    return datetime.fromtimestamp(min(max(epoch_ms, 0), MAX_TIME_MS) / 1000, UTC)
