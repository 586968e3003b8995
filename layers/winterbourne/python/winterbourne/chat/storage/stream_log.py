"""Stream log: the events of an answer, appended to the store while it streams, for readers who come back or come later.

A log is a series of bytes, one line of JSON for each event, after a first line with the header. It is stored in
chunks, one item each: the last chunk is open and is written anew whenever there is more; one that has reached
CHUNK_BYTES is closed, and the next one follows. A reader reads all chunks once and then only the open one. Each answer
has a log of its own, by its epoch, and a conversation's partition holds the latest of them.

Any wire format can encode the events; readers may be in other processes.
"""

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import AsyncGenerator, Sequence
from typing import Final, TypeAlias, cast

import msgspec
from msgspec import UNSET, UnsetType

from winterbourne.chat.core.answer_messages import continued_turns, events_of
from winterbourne.chat.core.events import (
    ChatEvent,
    ConversationFailed,
    ConversationStarted,
    EventBatch,
    ReasoningDelta,
    TextDelta,
    TurnEnded,
)
from winterbourne.chat.core.messages import ApprovalKind, ChatRequest, Message, Retractable
from winterbourne.chat.core.supervisor import TERMINAL_EVENTS
from winterbourne.chat.errors import AnswerLost, StorageUnavailable
from winterbourne.chat.infra.redaction import redact_json
from winterbourne.chat.storage.base import Item, Store, encode_key, time_limit
from winterbourne.chat.storage.write_behind import WriteBehindQueue

__all__ = [
    "LOG_TTL_S",
    "POLL_INTERVAL_S",
    "LogHeader",
    "LoggedAnswer",
    "StreamLog",
    "StreamLogWriter",
    "StreamLogs",
    "is_of_kept",
    "latest_log",
    "log_header",
    "log_partition",
]

LOG_TTL_S: Final = 3600
"""How long an answer can be read again. The log of a kept one expires with its conversation: if the answer broke off,
what there is of it is in the log alone."""

POLL_INTERVAL_S: Final = 0.25
"""Least time between two reads of one reader, in seconds."""

CHUNK_BYTES: Final = 700
"""Where a chunk is closed: DynamoDB counts a write by started kilobytes, keys and attribute names included."""

EPOCH_CHARS: Final = 17
"""How many decimal digits a chunk's sort key begins with: its answer's epoch."""

MAX_CHUNK_BYTES: Final = 350_000
"""As much as one item holds."""

MAX_PENDING_EVENTS: Final = 4096
"""So many events, which take 16 KB at least, are written at once, however short the time since the last write."""

URGENT_EVENTS: Final = frozenset({ConversationStarted, TurnEnded, *TERMINAL_EVENTS})
"""What is written at once: that there is an answer, and what ends a turn or the answer."""

_LOGGER: Final = logging.getLogger(__name__)


class LogHeader(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The first line of a log.

    Attributes:
        version: Of the format of logs. Lines that this version cannot read are left out.
        position: Where the answer's first message is among the messages of its request, if they are kept.
        client_tools: Names of the tools that the client runs.
        approvals: What the client can ask a person, if it can.
        retractable: What it can have taken back.
        is_kept: Whether the conversation is kept.
        earlier: What the answer had said before this request, if the request goes on with a message of before.
    """

    version: int = 1
    position: int = 0
    client_tools: tuple[str, ...] = ()
    approvals: ApprovalKind | UnsetType = UNSET
    retractable: Retractable | UnsetType = UNSET
    is_kept: bool = False
    earlier: tuple[Message, ...] = ()


_Line: TypeAlias = str | list[str] | LogHeader | ChatEvent
"""Text is by far the most common: its line is the bare string. A list of one string is reasoning."""

_encode_lines: Final = msgspec.json.Encoder().encode_lines
_decode_line: Final = msgspec.json.Decoder(_Line).decode


class StreamLogWriter:
    """Collects the events of one answer, and makes the items that a `WriteBehindQueue` writes.

    Args:
        store: For its clock.
        pk: The conversation's partition of logs.
        epoch: Of the answer, in microseconds; no two answers of a conversation have the same.
        header: What readers are told beside the events.
        touch_interval_s: After so many seconds without an event, the open chunk is written as it is, as a sign of life.
        expires_at_s: When the items expire, in epoch seconds.
    """

    def __init__(
        self, store: Store, pk: str, epoch: int, header: LogHeader, touch_interval_s: float, expires_at_s: int
    ) -> None:
        self._now = store.now
        self._pk = pk
        self._epoch = epoch
        self._touch_interval_ms = touch_interval_s * 1000
        self._expires_at_s = expires_at_s
        self._pending: list[ChatEvent] = []
        self._chunk = redact_json(_to_lines([header]))  # the open one, as written last; this goes with the first events
        self._number = 0
        self._lived_ms = float("inf")
        self._touch_at_ms = self._written_ms = self._collected_ms = float("inf")
        self._is_ended = False

    def append(self, batch: EventBatch) -> bool:
        """Take the next events; returns whether they are to be written at once."""
        now_ms = self._now() * 1000  # as `_live`, in place: a token's way is as long as the functions it goes through
        if now_ms > self._lived_ms + self._touch_interval_ms:
            self._live()
        self._lived_ms = now_ms
        pending = self._pending
        pending += batch  # encoded all at once, when they are written: that costs a fifth
        is_urgent = type(batch[0]) in URGENT_EVENTS or type(batch[-1]) in URGENT_EVENTS
        return is_urgent or len(pending) >= MAX_PENDING_EVENTS

    def items(self) -> list[Item]:
        """The chunks to write: what was appended since the last call, or a sign of life if that is due."""
        now_ms = self._live()
        if self._is_ended:
            self._pending.clear()
        if self._is_ended or (not self._pending and now_ms < self._touch_at_ms):
            return []
        self._touch_at_ms = now_ms + self._touch_interval_ms
        self._collected_ms, self._written_ms = now_ms, min(self._written_ms, now_ms)
        data = self._chunk + _encode(self._pending)
        self._pending.clear()
        starts = range(0, max(len(data), 1), MAX_CHUNK_BYTES)
        return [self._item(data[start : start + MAX_CHUNK_BYTES], now_ms) for start in starts]

    def written(self) -> None:
        """Say that what was collected last is stored."""
        self._live()  # before it counts: the process may have been frozen in that write
        self._written_ms = self._collected_ms

    def _live(self) -> int:
        """The time. If the process was frozen until a lease after its last write, nothing more is added to the log.

        By then readers may have been told that the answer is lost; a write that was under way may have come after that.
        While a store hangs, in contrast, this is called.
        """
        now_ms = int(self._now() * 1000)
        was_frozen = now_ms > self._lived_ms + self._touch_interval_ms
        self._lived_ms = now_ms
        if was_frozen and now_ms > self._written_ms + 3 * self._touch_interval_ms and not self._is_ended:
            self._is_ended = True
            _LOGGER.error("the log of an answer breaks off: its process was frozen for the time of a lease")
        return now_ms

    def _item(self, body: bytes, now_ms: int) -> Item:
        sk = _chunk_key(self._epoch, self._number)
        is_closed = len(body) >= CHUNK_BYTES
        self._chunk, self._number = (b"", self._number + 1) if is_closed else (body, self._number)
        return Item(pk=self._pk, sk=sk, body=body, number=now_ms, expires_at_s=self._expires_at_s)


class StreamLog:
    """One answer's log, as far as it has been read.

    Args:
        pk: Its partition.
        epoch: Of the answer, in microseconds.

    Attributes:
        header: What the writer says beside the events.
        events: All that was read.
        written_ms: When the writer gave its last sign of life, in epoch milliseconds.
        open: The open chunk, as far as it has been read; it may not be there yet.
    """

    def __init__(self, pk: str, epoch: int) -> None:
        self.epoch = epoch
        self.header = LogHeader()
        self.events: list[ChatEvent] = []
        self.written_ms = 0
        self._number = 0
        self.open = Item(pk=pk, sk=_chunk_key(epoch, 0))
        self._rest = b""
        self._is_damaged = False

    @property
    def is_ended(self) -> bool:
        """Whether the answer has ended."""
        return bool(self.events) and isinstance(self.events[-1], TERMINAL_EVENTS)

    @property
    def whole(self) -> list[ChatEvent]:
        """The events of the whole message: those of before this request come right after its start."""
        return [*self.events[:1], *events_of(self.header.earlier), *self.events[1:]]

    def add(self, item: Item) -> None:
        """Take the open chunk as it is now."""
        *lines, self._rest = (self._rest + item.body[len(self.open.body) :]).split(b"\n")
        self.open, self.written_ms = item, item.number
        if len(item.body) >= CHUNK_BYTES:
            self._number += 1
            self.open = msgspec.structs.replace(item, sk=_chunk_key(self.epoch, self._number), body=b"")
        for line in filter(None, lines):
            self._add_line(line)

    def ended_by(self, event: ConversationFailed, now_ms: int) -> Item:
        """The open chunk with a terminal event in the writer's place."""
        body = self.open.body + b"\n" + _encode([event])  # the last line may have been cut
        return msgspec.structs.replace(self.open, body=body, number=now_ms)

    def _add_line(self, line: bytes) -> None:
        decoded = _decode(line)
        if decoded is None and not self._is_damaged:
            self._is_damaged = True
            _LOGGER.error("lines of a stream log cannot be read and are left out")  # without their content
        if decoded is None or self.is_ended:
            return
        match decoded:
            case LogHeader():
                self.header = decoded
            case str():
                self.events.append(TextDelta(decoded))
            case list():
                self.events.append(ReasoningDelta("".join(decoded)))
            case _:
                self.events.append(decoded)


class StreamLogs(msgspec.Struct, frozen=True):
    """The stream logs of all callers.

    Attributes:
        store: Holds them.
        lease_s: After so many seconds without a sign of life, the writer of an answer counts as dead.
    """

    store: Store
    lease_s: float

    def open(self, caller_id: str, request: ChatRequest) -> "LoggedAnswer":
        """The log of an answer whose conversation is not kept. Nothing is written before its first event."""
        return LoggedAnswer(self.store, log_partition(caller_id, request.conversation_id), request, self)

    async def read(self, caller_id: str, conversation_id: str) -> StreamLog | None:
        """The log of the conversation's latest answer; None if it has none, or only one that is over an hour old.

        Raises:
            StorageUnavailable: It cannot be read.
        """
        log = latest_log(await self.store.query_partition(log_partition(caller_id, conversation_id)))
        is_old = log is not None and self.store.now_ms() - log.written_ms > LOG_TTL_S * 1000
        return None if is_old else log

    async def follow(self, log: StreamLog) -> AsyncGenerator[Sequence[ChatEvent]]:
        """Yield the events that are appended to a log, up to its terminal event.

        If its writer gives no sign of life for the time of a lease, the log is ended with a ConversationFailed, for all
        its readers. While the store cannot be read, nothing is known of the writer, and nothing is written.

        Raises:
            StorageUnavailable: The store cannot be read for the time of a lease, or the end cannot be written.
        """
        while not log.is_ended:
            await asyncio.sleep(POLL_INTERVAL_S)
            known = len(log.events)
            await self._read_more(log)
            if len(log.events) > known:
                yield log.events[known:]

    async def _read_more(self, log: StreamLog) -> None:
        """Read the open chunk, and end the log if its writer was silent before and still is."""
        was_silent, chunk, item = self._is_silent(log), log.open, None
        tolerated = () if was_silent else (StorageUnavailable,)
        with contextlib.suppress(*tolerated):
            async with time_limit():
                item = await self.store.get(chunk.pk, chunk.sk)
        if item:
            log.add(item)
        has_read_all = log.open.sk == chunk.sk  # a slow reader finds old chunks first
        if was_silent and has_read_all and self._is_silent(log) and not log.is_ended:
            await self._end_lost(log, item)

    def _is_silent(self, log: StreamLog) -> bool:
        return self.store.now_ms() - log.written_ms > self.lease_s * 1000

    async def drop_older(self, pk: str, epoch: int, until: float) -> None:
        """Delete the logs of answers before one that is kept, which nobody writes or reads any more.

        What is not deleted until this time of the event loop's clock expires.
        """
        silent_since_ms = self.store.now_ms() - self.lease_s * 1000
        with contextlib.suppress(StorageUnavailable, TimeoutError):  # `Store` has logged it
            async with asyncio.timeout_at(until):
                items = await self.store.query_partition(pk)
                older = [item for item in items if item.sk < _chunk_key(epoch, 0) and item.number < silent_since_ms]
                if older:
                    await self.store.delete([(item.pk, item.sk) for item in older])

    async def _end_lost(self, log: StreamLog, stored: Item | None) -> None:
        """End the log as it is stored now; one that was deleted meanwhile is ended for this reader alone."""
        lost = AnswerLost()
        _LOGGER.error("the process that gave an answer is gone: no sign of life for %s s", self.lease_s)
        event = ConversationFailed(lost.code, lost.public_message, status=lost.status, is_transient=lost.is_transient)
        item = log.ended_by(event, self.store.now_ms())
        if stored or not log.open.body:
            await self.store.put([item])
        log.add(item)


class LoggedAnswer:
    """An answer whose events are logged, though its conversation is not kept."""

    def __init__(self, store: Store, pk: str, request: ChatRequest, logs: StreamLogs) -> None:
        epoch = store.now_ms() * 1000 + random.randrange(1, 1000)  # 0 is a kept one
        expires_at_s = int(store.now()) + 2 * LOG_TTL_S  # half for the answer itself, half from its end
        header = log_header(request, request.messages, is_kept=False)
        self._writer = StreamLogWriter(store, pk, epoch, header, logs.lease_s / 3, expires_at_s)
        self._queue = WriteBehindQueue(store, logs.lease_s / 3, self._writer.items, written=self._writer.written)
        self._is_started = False

    def log(self, batch: EventBatch) -> None:
        """Log events. Returns at once; they are written in the background, from the first ones on."""
        if not self._is_started:
            self._is_started = True
            self._queue.start()
        if self._writer.append(batch):
            self._queue.write_soon()

    async def close(self, until: float) -> None:
        """Write what is left, until this time of the event loop's clock. The log is there until it expires."""
        if self._is_started:
            await self._queue.close(until)


def log_header(request: ChatRequest, history: Sequence[Message], *, is_kept: bool) -> LogHeader:
    """The first line of the log of the answer to a request with this history; its conversation is kept, or is not."""
    tools = tuple(tool.name for tool in request.client_tools)
    position = len(request.messages) if is_kept else 0
    earlier = continued_turns(history, request.message_id)
    asks = UNSET if request.approvals == "none" else request.approvals
    takes_back = UNSET if request.retractable == "nothing" else request.retractable
    return LogHeader(
        position=position, client_tools=tools, approvals=asks, retractable=takes_back, is_kept=is_kept, earlier=earlier
    )


def log_partition(caller_id: str, conversation_id: str) -> str:
    """The partition key of one conversation's logs."""
    return encode_key("stream", caller_id, conversation_id)


def is_of_kept(item: Item) -> bool:
    """Whether a chunk is of an answer whose conversation is kept: their epochs are whole milliseconds."""
    return item.sk[EPOCH_CHARS - 3 : EPOCH_CHARS] == "000"


def latest_log(items: Sequence[Item]) -> StreamLog | None:
    """The log of the latest answer in a partition, read as far as it is there."""
    items = [item for item in items if item.sk[:EPOCH_CHARS].isdecimal()]  # a later version may keep others here
    if not items:
        return None
    log = StreamLog(items[-1].pk, int(items[-1].sk[:EPOCH_CHARS]))
    for item in items:
        if item.sk == log.open.sk:
            log.add(item)
    return log


def _chunk_key(epoch: int, number: int) -> str:
    return f"{epoch:0{EPOCH_CHARS}}#{number:06}"


def _encode(batch: EventBatch) -> bytes:
    return _to_lines([_shorten(event) for event in batch])


def _to_lines(lines: Sequence[_Line]) -> bytes:
    try:
        return _encode_lines(lines)
    except UnicodeEncodeError:  # half of an emoji, whose other half is in the next event
        return b"".join(json.dumps(msgspec.to_builtins(line)).encode() + b"\n" for line in lines)


def _shorten(event: ChatEvent) -> _Line:
    if type(event) is TextDelta:
        return event.text
    return [event.text] if type(event) is ReasoningDelta else event


def _decode(line: bytes) -> _Line | None:
    """A line's value; None if this version cannot read it."""
    try:
        return cast("_Line", _decode_line(line))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        with contextlib.suppress(msgspec.MsgspecError, ValueError, RecursionError):
            return cast("_Line", msgspec.convert(json.loads(line), _Line))
    return None
