"""The supervisor of one conversation: sends heartbeats, enforces the deadline, honours stop requests.

Whatever happens, it emits exactly one terminal event (ConversationEnded, ConversationFailed or ConversationStopped) and
nothing after it. Independent of the content and of the wire format.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeAlias

import msgspec

from winterbourne.chat.core.events import (
    ConversationEnded,
    ConversationFailed,
    ConversationStopped,
    EventBatch,
    TerminalEvent,
)
from winterbourne.chat.errors import ChatError, DeadlineReached, ModelRefused
from winterbourne.chat.infra import redaction, telemetry

__all__ = ["TERMINAL_EVENTS", "EventWriter", "supervise"]

# How long a cancelled conversation may take to clean up before the terminal event is sent without waiting for it.
CANCEL_GRACE_S: Final = 1.0

TERMINAL_EVENTS: Final = (ConversationEnded, ConversationFailed, ConversationStopped)

_Task: TypeAlias = asyncio.Task[None]

_LOGGER: Final = logging.getLogger(__name__)


class EventWriter(msgspec.Struct):
    """Writes a conversation's events: they are encoded and on the wire before anything else runs.

    Attributes:
        encode: Encodes a batch in the client's format; the result is empty if the format cannot express it. An empty
            batch returns what is held back.
        write: Puts bytes on the wire at once; returns what to await then, without the lock, while the client reads too
            slowly (backpressure).
        heartbeat: Sent while the stream is idle; empty if the format has no bytes that clients ignore.
        request_id: The id that a failure is told with, to find it in the log.
        log: Takes each batch, to keep it for readers who come later; returns at once. None if nothing is kept.
        lock: Held from the encoding of a batch until it is on the wire: the runtime's watchdog writes from a thread.
        heartbeat_interval_s: Seconds of silence before a heartbeat.
        last_write_at: When bytes were written last, on the event loop's clock.
        closed: Whether the terminal event has been emitted.
        failure: The terminal event, if it is a failure.
    """

    encode: Callable[[EventBatch], bytes]
    write: Callable[[bytes], Awaitable[None] | None]
    heartbeat: bytes
    request_id: str = ""
    log: Callable[[EventBatch], None] | None = None
    lock: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    heartbeat_interval_s: float = math.inf
    last_write_at: float = 0.0
    closed: bool = False
    failure: ConversationFailed | None = None

    async def emit(self, batch: EventBatch) -> None:
        """Send a batch; does nothing after the terminal event."""
        with self.lock:
            if self.closed:
                return
            # Set before waiting: a task that is cancelled during backpressure has the terminal event on the wire.
            self.closed = isinstance(batch[-1], TERMINAL_EVENTS)
            if self.log:
                self.log(batch)
            if not (data := self.encode(batch)):
                return
            self.last_write_at = asyncio.get_running_loop().time()
            rest = self.write(data)
        if rest:
            await rest

    async def send_heartbeats(self) -> None:
        """Send a heartbeat whenever nothing was sent for `heartbeat_interval_s` seconds, until the terminal event."""
        loop = asyncio.get_running_loop()
        while self.heartbeat and not self.closed:
            with self.lock:
                if data := self._heartbeat_due(loop.time()):
                    telemetry.measure("Heartbeats")
                idle_s = loop.time() - self.last_write_at
                rest = self.write(data) if data else asyncio.sleep(self.heartbeat_interval_s - idle_s)
            if rest:
                await rest

    def last_words(self, is_last: bool, /) -> bytes:  # noqa: FBT001 - as the runtime's watchdog calls it
        """What the watchdog sends, from its thread and under the lock, while the event loop stands still.

        Args:
            is_last: Whether it ends the response: the terminal event, unless that was emitted. The log of the answer is
                not told: it ends with the process, and its readers see that.
        """
        if self.closed or not is_last:
            return self._heartbeat_due(time.monotonic())  # the loop's clock, which may keep the time of its last turn
        self.closed = True
        return self.encode((_failed(DeadlineReached(), self.request_id),))

    def _heartbeat_due(self, now: float) -> bytes:
        if self.closed or not self.heartbeat or now - self.last_write_at < self.heartbeat_interval_s:
            return b""
        self.last_write_at = now
        return self.encode(()) + self.heartbeat


async def supervise(
    conversation: Coroutine[Any, Any, None],
    writer: EventWriter,
    *,
    wait_for_stop: Callable[[], Awaitable[None]],
    deadline: float,
    heartbeat_interval_s: float,
) -> bool:
    """Run a conversation until its terminal event is sent.

    Args:
        conversation: Emits its events through `writer`, ConversationEnded included.
        writer: Sends the terminal event if the conversation did not emit one.
        wait_for_stop: Returns when the user has requested a stop.
        deadline: When a running conversation is cancelled, on the event loop's clock; the terminal event follows within
            CANCEL_GRACE_S seconds.
        heartbeat_interval_s: Seconds of silence before a heartbeat.

    Returns:
        Whether it has not failed: it came to its own end, or the user has stopped it.

    Cancellation:
        Cancels the conversation, waits for it at most CANCEL_GRACE_S seconds, emits ConversationStopped and re-raises.
    """
    writer.last_write_at = asyncio.get_running_loop().time()
    writer.heartbeat_interval_s = heartbeat_interval_s
    conversation_task = asyncio.create_task(conversation)
    heartbeat_task = asyncio.create_task(writer.send_heartbeats())
    stop_task = asyncio.create_task(_wait_for_stop_request(wait_for_stop))
    # In a task of its own: what it waits for resumes it alone, and not everything that awaits this coroutine.
    supervision = asyncio.create_task(_supervise(conversation_task, heartbeat_task, stop_task, writer, deadline))
    try:
        return await asyncio.shield(supervision)
    except asyncio.CancelledError:
        if conversation_task.done() and not writer.closed:  # how it ended is about to be told
            await asyncio.wait((supervision,), timeout=CANCEL_GRACE_S)
        tasks = (conversation_task, heartbeat_task, stop_task, supervision)
        if running := [task for task in tasks if not task.done()]:
            await _cancel_and_wait(*running)
        if not writer.closed:
            telemetry.note(stop_reason="shutdown")
            await writer.emit((ConversationStopped("shutdown"),))
        raise


async def _supervise(conversation: _Task, heartbeat: _Task, stop: _Task, writer: EventWriter, deadline: float) -> bool:
    try:
        terminal_event = await _await_terminal_event(conversation, stop, deadline, writer.request_id)
    finally:
        await _cancel_and_wait(heartbeat, stop)
    if terminal_event:
        writer.failure = terminal_event if isinstance(terminal_event, ConversationFailed) else None
        await writer.emit((terminal_event,))
    return not isinstance(terminal_event, ConversationFailed)


async def _await_terminal_event(
    conversation: _Task, stop: _Task, deadline: float, request_id: str
) -> TerminalEvent | None:
    """The terminal event that is still to be sent; None if the conversation emitted its own."""
    remaining_s = max(0.0, deadline - asyncio.get_running_loop().time())
    done, _ = await asyncio.wait({conversation, stop}, timeout=remaining_s, return_when=asyncio.FIRST_COMPLETED)
    if conversation in done:
        error = asyncio.CancelledError() if conversation.cancelled() else conversation.exception()
        return _failure_event(error, request_id)
    await _cancel_and_wait(conversation)
    if stop in done:
        telemetry.measure("Stops")
        telemetry.note(stop_reason="user")
        return ConversationStopped("user")
    return _failure_event(DeadlineReached("the time limit for this request was reached"), request_id)


def _failure_event(error: BaseException | None, request_id: str) -> TerminalEvent | None:
    """The event with what the caller is told; the log gets the error itself."""
    if error is None:
        return None
    is_callers = isinstance(error, ChatError) and error.status < 500 and type(error) is not ModelRefused
    telemetry.count_error(type(error).__name__, is_callers=is_callers)
    if isinstance(error, ChatError):
        told = error
        _LOGGER.error("the conversation failed (%s): %s", error.code, error, exc_info=error)
    else:
        told = ChatError()
        _LOGGER.error("the conversation failed with an unexpected error", exc_info=error)
    return _failed(told, request_id)


def _failed(told: ChatError, request_id: str) -> ConversationFailed:
    message = redaction.redact(told.public_message)
    return ConversationFailed(told.code, message, request_id, told.status, told.is_transient, told.retry_after_s)


async def _wait_for_stop_request(wait_for_stop: Callable[[], Awaitable[None]]) -> None:
    """Return when a stop was requested. If the wait fails, log it and never return: the conversation goes on."""
    try:
        await wait_for_stop()
    except Exception:
        _LOGGER.exception("stop requests cannot be read for this conversation")
        await asyncio.get_running_loop().create_future()


async def _cancel_and_wait(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    done, still_running = await asyncio.wait(tasks, timeout=CANCEL_GRACE_S)
    for task in done:
        with contextlib.suppress(asyncio.CancelledError):
            if error := task.exception():
                _LOGGER.error("a supervised task failed", exc_info=error)
    if still_running:
        names = ", ".join(task.get_name() for task in still_running)
        _LOGGER.error("still running %s s after cancellation: %s", CANCEL_GRACE_S, names)
