"""Stream endpoint: sends a conversation's latest answer once more, from its start, and follows it until it has ended.

For clients that have lost their stream, or come to it later, in any wire format: the events are in the stream log.
"""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from typing import Final

import msgspec

from winterbourne.chat.core.answer_messages import without_retracted
from winterbourne.chat.core.events import (
    ConversationEnded,
    ConversationFailed,
    ConversationStarted,
    ConversationStopped,
    EventBatch,
)
from winterbourne.chat.core.messages import Message, Usage
from winterbourne.chat.core.supervisor import EventWriter, supervise
from winterbourne.chat.errors import ConversationNotFound, RequestRejected
from winterbourne.chat.formats.base import Encoder, Format, ResumedAnswer
from winterbourne.chat.http.service import RequestContext, reply
from winterbourne.chat.settings import StreamSettings
from winterbourne.chat.storage.base import time_limit
from winterbourne.chat.storage.conversations import ConversationStore
from winterbourne.chat.storage.stream_log import LogHeader, StreamLog

__all__ = ["StreamEndpoint"]

RETRY_FIELD: Final = b"retry: 1000\n"
"""After how many milliseconds an EventSource comes back; a field of the first event."""


class StreamEndpoint(msgspec.Struct, frozen=True):
    """Sends answers again.

    Attributes:
        settings: Heartbeats, and the margin before the deadline.
        conversations: Has the logs, and the messages of before.
    """

    settings: StreamSettings
    conversations: ConversationStore

    async def handle(self, wire_format: Format, context: RequestContext) -> None:
        """Send the latest answer of the conversation in the path: what there is of it, then the rest as it comes.

        204 if there is no answer within the last hour. If the format numbers its frames, only those after the number in
        `Last-Event-ID` or `?after=` are sent, and 204 if there are none; the number counts for nothing if `?answer=`
        has another message's id. In the other formats it is also 204 if the user has stopped the answer.

        Raises:
            StorageUnavailable: The log cannot be read.

        Cancellation:
            Ends this stream; the answer goes on.
        """
        conversation_id = context.path_params["id"]
        log, answer = await self._find(wire_format, conversation_id, context)
        after = _last_frame(context, log) if log else 0
        if log is None or not _has_more(wire_format, answer, log, after):
            await reply(context.stream, 204, b"", {})
        elif context.request.method == "HEAD":  # nobody reads what would be followed
            await reply(context.stream, 200, b"", _encoder(wire_format, answer).headers)
        else:
            await self._send(wire_format, answer, log, after, context)

    async def reconnect(
        self, wire_format: Format, encoder: Encoder, conversation_id: str, context: RequestContext
    ) -> None:
        """Send the latest answer to a client whose POST asks for it; without one, the kept messages alone.

        Raises:
            StorageUnavailable: They cannot be read.
        """
        log, answer = await self._find(wire_format, conversation_id, context)
        await self._send(wire_format, msgspec.structs.replace(answer, encoder=encoder), log, 0, context)

    async def _find(
        self, wire_format: Format, conversation_id: str, context: RequestContext
    ) -> tuple[StreamLog | None, ResumedAnswer]:
        caller_id, history = context.caller.id, None
        async with time_limit():
            log = await self.conversations.latest_log(caller_id, conversation_id)
            if wire_format.shows_history:
                history = await self._history(caller_id, conversation_id, log)
        header = log.header if log else LogHeader()
        return log, ResumedAnswer(
            conversation_id=conversation_id,
            client_tools=frozenset(header.client_tools),
            approvals=header.approvals or "none",
            retractable=header.retractable or "nothing",
            history=history,
        )

    async def _history(self, caller_id: str, conversation_id: str, log: StreamLog | None) -> Sequence[Message] | None:
        """What was kept before the answer, or with it if it has ended; None if nothing is kept, or not the answer."""
        if log and not log.header.is_kept:
            return None
        if log and not log.is_ended:
            return await self.conversations.history_before(caller_id, conversation_id, log)
        with suppress(ConversationNotFound):
            return (await self.conversations.get(caller_id, conversation_id))[1]
        return None

    async def _send(
        self, wire_format: Format, answer: ResumedAnswer, log: StreamLog | None, after: int, context: RequestContext
    ) -> None:
        encoder = _encoder(wire_format, answer)
        encode = _numbered(encoder, after) if wire_format.numbers_frames else encoder.encode
        stream, request_id = context.stream, context.request.request_id
        writer = EventWriter(encode, stream.put, encoder.heartbeat, request_id, lock=stream.lock)
        # Nothing at the end: as below, the answer goes on.
        stream.start_on_write(encoder, lambda is_last: b"" if is_last else writer.last_words(is_last))
        if wire_format.numbers_frames:
            await stream.write(RETRY_FIELD)
        deadline = context.request.deadline - self.settings.deadline_margin
        never = asyncio.get_running_loop().create_future  # a stop ends the answer, and its log says so
        run = self._replay(wire_format, answer, log, writer)
        interval_s = self.settings.heartbeat_interval
        await supervise(run, writer, wait_for_stop=never, deadline=deadline, heartbeat_interval_s=interval_s)

    async def _replay(
        self, wire_format: Format, answer: ResumedAnswer, log: StreamLog | None, writer: EventWriter
    ) -> None:
        if log is None or (log.is_ended and answer.history is not None):  # by which the answer is told
            await _close_run(answer, log, writer)
            return
        if events := _events(wire_format, log):
            await writer.emit(events)
        try:
            async with aclosing(self.conversations.logs.follow(log)) as batches:
                async for batch in batches:
                    await writer.emit(batch)
        except asyncio.CancelledError:
            writer.closed = True  # the answer goes on: a client that is told of no end comes back for the rest
            raise


def _encoder(wire_format: Format, answer: ResumedAnswer) -> Encoder:
    if wire_format.resume is None:
        raise RequestRejected(400, "unsupported_parameter", "this format sends no answer again")
    return wire_format.resume(answer)


async def _close_run(answer: ResumedAnswer, log: StreamLog | None, writer: EventWriter) -> None:
    """Begin and end a run in which nothing is said but the history. An answer that failed is not told as a good one."""
    end = log.events[-1] if log else None
    end = end if isinstance(end, ConversationFailed) else ConversationEnded("stop", Usage(), 0)
    await writer.emit((ConversationStarted(answer.conversation_id, "", ""), end))


def _last_frame(context: RequestContext, log: StreamLog) -> int:
    """The number of the last frame that the client has of this answer, as far as it says so."""
    query = context.request.query
    if "answer" in query and not any(getattr(one, "message_id", "") == query["answer"] for one in log.events[:1]):
        return 0
    text = context.request.headers.get("last-event-id") or query.get("after", "")
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def _events(wire_format: Format, log: StreamLog) -> EventBatch:
    """What is sent of an answer; what its message had before this request is in the history, if that is shown.

    What was taken back is left out, but for readers that count frames.
    """
    events = log.events if wire_format.shows_history else log.whole
    return events if wire_format.numbers_frames else without_retracted(events)


def _has_more(wire_format: Format, answer: ResumedAnswer, log: StreamLog, after: int) -> bool:
    if not log.is_ended:
        return True
    if wire_format.numbers_frames:
        encoder = _encoder(wire_format, answer)
        return sum(bool(encoder.encode((event,))) for event in _events(wire_format, log)) > after
    return log.events[-1] != ConversationStopped("user")


def _numbered(encoder: Encoder, after: int) -> Callable[[EventBatch], bytes]:
    """Encode with an `id:` before each frame: its number, from 1. Those that the client has are left out."""
    numbers = itertools.count(1)

    def encode(batch: EventBatch) -> bytes:
        numbered = ((next(numbers), frame) for event in batch if (frame := encoder.encode((event,))))
        return b"".join(b"id: %d\n%b" % (number, frame) for number, frame in numbered if number > after)

    return encode
