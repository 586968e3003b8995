"""Heartbeat, deadline and stop around one conversation, and its last word.

Whatever happens, the stream ends with exactly one of ConversationEnded, ConversationFailed and ConversationStopped,
and nothing follows it. Knows neither what is said nor in which format.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol

from winterbourne.chat.core.events import (
    ChatEvent,
    ConversationEnded,
    ConversationFailed,
    ConversationStopped,
    EventBatch,
)
from winterbourne.chat.errors import INTERNAL_ERROR_MESSAGE, ChatError, DeadlineReached
from winterbourne.chat.infra import redaction, telemetry

__all__ = ["Encoder", "EventWriter", "supervise"]

# What a cancelled conversation may take to tidy up before the last word is said without it.
CANCEL_GRACE_S: Final = 1.0

TERMINAL_EVENTS: Final = (ConversationEnded, ConversationFailed, ConversationStopped)

_LOGGER: Final = logging.getLogger(__name__)


class Encoder(Protocol):
    """Turns events into one format's bytes; may give none for an event that the format has no word for."""

    def encode(self, batch: EventBatch, /) -> bytes:
        """The frames of a batch, in order."""
        ...


class EventWriter:
    """Where a conversation's events leave: encoded and on the wire before anything else runs.

    Args:
        encoder: Of the client's format.
        write: Puts bytes on the wire at once; waits while the client reads too slowly.
        heartbeat: What is sent into a silence; empty where the format has nothing that a client would ignore.
    """

    def __init__(self, encoder: Encoder, write: Callable[[bytes], Awaitable[None]], heartbeat: bytes) -> None:
        self._encoder = encoder
        self._write = write
        self._heartbeat = heartbeat
        self._closed = False
        self._last_write_at = asyncio.get_running_loop().time()

    async def emit(self, batch: EventBatch) -> None:
        """Send a batch; after the last word, nothing."""
        if self._closed:
            return
        # Closed before it waits: whoever is cancelled while the client reads slowly has said its word already.
        self._closed = isinstance(batch[-1], TERMINAL_EVENTS)
        if data := self._encoder.encode(batch):
            self._last_write_at = asyncio.get_running_loop().time()
            await self._write(data)

    async def send_heartbeats(self, interval_s: float) -> None:
        """Send a heartbeat whenever nothing was sent for `interval_s`; ends after the last word."""
        loop = asyncio.get_running_loop()
        while self._heartbeat and not self._closed:
            idle_s = loop.time() - self._last_write_at
            if idle_s >= interval_s:
                self._last_write_at = loop.time()
                telemetry.measure("Heartbeats")
                await self._write(self._heartbeat)
            else:
                await asyncio.sleep(interval_s - idle_s)


async def supervise(
    conversation: Coroutine[Any, Any, None],
    writer: EventWriter,
    *,
    wait_for_stop: Callable[[], Awaitable[None]],
    deadline: float,
    heartbeat_interval_s: float,
) -> None:
    """Run a conversation to its last word.

    Args:
        conversation: The conversation; emits into the outlet, its ConversationEnded too.
        writer: Where the last word goes when the conversation cannot say it.
        wait_for_stop: Returns when the user wants an end.
        deadline: When the last word must be said at the latest, on the event loop's clock.
        heartbeat_interval_s: Seconds of silence before a heartbeat.

    Cancellation:
        Cancels the conversation, waits for it at most TIDY_S seconds, says that the stream was stopped and raises.
    """
    conversation_task = asyncio.create_task(conversation)
    helper_tasks = [
        asyncio.create_task(writer.send_heartbeats(heartbeat_interval_s)),
        asyncio.create_task(_wait_for_stop_request(wait_for_stop)),
    ]
    try:
        terminal_event = await _await_terminal_event(conversation_task, helper_tasks[1], deadline)
    except asyncio.CancelledError:
        await _cancel_and_wait(conversation_task)
        telemetry.note(stop_reason="shutdown")
        await writer.emit((ConversationStopped("shutdown"),))
        raise
    finally:
        await _cancel_and_wait(*helper_tasks)
    if terminal_event:
        await writer.emit((terminal_event,))


async def _await_terminal_event(
    conversation_task: asyncio.Task[None], stop_task: asyncio.Task[None], deadline: float
) -> ChatEvent | None:
    """The last word that is still to be said; None where the conversation said its own."""
    remaining_s = max(0.0, deadline - asyncio.get_running_loop().time())
    done, _ = await asyncio.wait(
        {conversation_task, stop_task}, timeout=remaining_s, return_when=asyncio.FIRST_COMPLETED
    )
    if conversation_task in done:
        return _failure_event(
            asyncio.CancelledError() if conversation_task.cancelled() else conversation_task.exception()
        )
    await _cancel_and_wait(conversation_task)
    if stop_task in done:
        telemetry.measure("Stops")
        telemetry.note(stop_reason="user")
        return ConversationStopped("user")
    return _failure_event(DeadlineReached("the time for one request is up"))


def _failure_event(error: BaseException | None) -> ChatEvent | None:
    if error is None:
        return None
    telemetry.measure("Errors")
    telemetry.note(error_type=type(error).__name__)
    if isinstance(error, ChatError):
        _LOGGER.error("the conversation failed: %s", error, exc_info=error)
        return ConversationFailed(error.code, redaction.redact(str(error)))
    _LOGGER.error("the conversation broke", exc_info=error)
    return ConversationFailed("internal_error", INTERNAL_ERROR_MESSAGE)


async def _wait_for_stop_request(wait_for_stop: Callable[[], Awaitable[None]]) -> None:
    """Return when a stop was asked for. Where that cannot be found out, the conversation goes on without it."""
    try:
        await wait_for_stop()
    except Exception:
        _LOGGER.exception("stop requests cannot be seen for this conversation")
        await asyncio.get_running_loop().create_future()


async def _cancel_and_wait(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    done, still_running = await asyncio.wait(tasks, timeout=CANCEL_GRACE_S)
    for task in done:
        with contextlib.suppress(asyncio.CancelledError):
            if error := task.exception():
                _LOGGER.error("while tidying up", exc_info=error)
    if still_running:
        _LOGGER.error("not tidied up in %s s: %s", CANCEL_GRACE_S, ", ".join(task.get_name() for task in still_running))
