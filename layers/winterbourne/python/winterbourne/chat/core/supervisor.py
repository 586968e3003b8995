"""Heartbeat, deadline and stop around one conversation, and its last word.

Whatever happens, the stream ends with exactly one of ConversationEnded, ConversationFailed and ConversationStopped,
and nothing follows it. Knows neither what is said nor in which format.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol

from winterbourne.chat.core.events import Batch, ChatEvent, ConversationEnded, ConversationFailed, ConversationStopped
from winterbourne.chat.errors import BROKEN, ChatError, DeadlineReached
from winterbourne.chat.infra import redaction, telemetry

__all__ = ["Encoder", "Outlet", "pump"]

# What a cancelled conversation may take to tidy up before the last word is said without it.
TIDY_S: Final = 1.0

LAST_WORDS: Final = (ConversationEnded, ConversationFailed, ConversationStopped)

_LOGGER: Final = logging.getLogger(__name__)


class Encoder(Protocol):
    """Turns events into one format's bytes; may give none for an event that the format has no word for."""

    def encode(self, batch: Batch, /) -> bytes:
        """The frames of a batch, in order."""
        ...


class Outlet:
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
        self._written_at = asyncio.get_running_loop().time()

    async def emit(self, batch: Batch) -> None:
        """Send a batch; after the last word, nothing."""
        if self._closed:
            return
        # Closed before it waits: whoever is cancelled while the client reads slowly has said its word already.
        self._closed = isinstance(batch[-1], LAST_WORDS)
        if data := self._encoder.encode(batch):
            self._written_at = asyncio.get_running_loop().time()
            await self._write(data)

    async def beat(self, interval_s: float) -> None:
        """Send a heartbeat whenever nothing was sent for `interval_s`; ends after the last word."""
        loop = asyncio.get_running_loop()
        while self._heartbeat and not self._closed:
            silent_s = loop.time() - self._written_at
            if silent_s >= interval_s:
                self._written_at = loop.time()
                telemetry.measure("Heartbeats")
                await self._write(self._heartbeat)
            else:
                await asyncio.sleep(interval_s - silent_s)


async def pump(
    talk: Coroutine[Any, Any, None],
    outlet: Outlet,
    *,
    stopped: Callable[[], Awaitable[None]],
    deadline: float,
    heartbeat_interval_s: float,
) -> None:
    """Run a conversation to its last word.

    Args:
        talk: The conversation; emits into the outlet, its ConversationEnded too.
        outlet: Where the last word goes when the conversation cannot say it.
        stopped: Returns when the user wants an end.
        deadline: When the last word must be said at the latest, on the event loop's clock.
        heartbeat_interval_s: Seconds of silence before a heartbeat.

    Cancellation:
        Cancels the conversation, waits for it at most TIDY_S seconds, says that the stream was stopped and raises.
    """
    talking = asyncio.create_task(talk)
    helpers = [asyncio.create_task(outlet.beat(heartbeat_interval_s)), asyncio.create_task(_until(stopped))]
    try:
        last_word = await _outcome(talking, helpers[1], deadline)
    except asyncio.CancelledError:
        await _cancel(talking)
        telemetry.note(stop_reason="shutdown")
        await outlet.emit((ConversationStopped("shutdown"),))
        raise
    finally:
        await _cancel(*helpers)
    if last_word:
        await outlet.emit((last_word,))


# Private functions


async def _outcome(talking: asyncio.Task[None], stopping: asyncio.Task[None], deadline: float) -> ChatEvent | None:
    """The last word that is still to be said; None where the conversation said its own."""
    left_s = max(0.0, deadline - asyncio.get_running_loop().time())
    done, _ = await asyncio.wait({talking, stopping}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
    if talking in done:
        return _verdict(asyncio.CancelledError() if talking.cancelled() else talking.exception())
    await _cancel(talking)
    if stopping in done:
        telemetry.measure("Stops")
        telemetry.note(stop_reason="user")
        return ConversationStopped("user")
    return _verdict(DeadlineReached("the time for one request is up"))


def _verdict(error: BaseException | None) -> ChatEvent | None:
    if error is None:
        return None
    telemetry.measure("Errors")
    telemetry.note(error_type=type(error).__name__)
    if isinstance(error, ChatError):
        _LOGGER.error("the conversation failed: %s", error, exc_info=error)
        return ConversationFailed(error.code, redaction.redact(str(error)))
    _LOGGER.error("the conversation broke", exc_info=error)
    return ConversationFailed("internal_error", BROKEN)


async def _until(stopped: Callable[[], Awaitable[None]]) -> None:
    """Return when a stop was asked for. Where that cannot be found out, the conversation goes on without it."""
    try:
        await stopped()
    except Exception:
        _LOGGER.exception("stop requests cannot be seen for this conversation")
        await asyncio.get_running_loop().create_future()


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    done, late = await asyncio.wait(tasks, timeout=TIDY_S)
    for task in done:
        with contextlib.suppress(asyncio.CancelledError):
            if error := task.exception():
                _LOGGER.error("while tidying up", exc_info=error)
    if late:
        _LOGGER.error("not tidied up in %s s: %s", TIDY_S, ", ".join(task.get_name() for task in late))
