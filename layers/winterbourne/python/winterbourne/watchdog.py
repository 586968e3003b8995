"""The watchdog: a thread that notices when the event loop stands still, says what blocks it, and saves the responses.

While an invocation is in flight it asks the loop for a sign of life, eight times a second; between invocations it
sleeps. A handler or tool that blocks the loop, with `time.sleep` or a blocking socket, is named in the log. Meanwhile
the thread sends what is due on each response (heartbeats), and shortly before a deadline it ends all of them and the
process: whatever blocks the loop cannot be stopped, and would take the next invocations too.

It cannot run while C code holds the interpreter's lock; then `faulthandler` writes the line to stderr.
"""

import asyncio
import contextlib
import faulthandler
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from types import FrameType

from winterbourne.connection import RuntimeClient
from winterbourne.errors import DeadlineReached, ErrorReport, WinterbourneError
from winterbourne.lifecycle import error_frame, stalled
from winterbourne.logs import REQUEST_IDS
from winterbourne.protocol import State
from winterbourne.stream import ResponseStream, as_bytes
from winterbourne.write_lock import LOCK

__all__ = ["EXIT_STALLED", "WATCHDOG", "InFlight", "Watchdog"]

EXIT_STALLED = 70
"""The exit status of a process whose loop stood still at a deadline; EX_SOFTWARE of sysexits.h."""

TICK_S = 0.125
STALLED_TICKS = 2
LAST_WORDS_MS = 1000  # before the deadline, for a response that has last words; the handler is cancelled before that
TRACE_MS = 100  # before the deadline, for faulthandler
MAX_LOG_S = 0.5  # the log may be what blocks
MAX_FRAMES = 8

_LOGGER = logging.getLogger(__name__)


@dataclass(eq=False)
class InFlight:
    """An invocation that is under way.

    Attributes:
        client: Has its connection.
        stream: Its response; None if that is buffered.
        request_id: Its id.
        deadline_ms: Unix time, in milliseconds; 0 if there is none.
        margin_ms: How many milliseconds before that its handler is cancelled.
    """

    client: RuntimeClient
    stream: ResponseStream | None
    request_id: str
    deadline_ms: int
    margin_ms: int

    def is_in_danger(self) -> bool:
        """Whether its response has not ended though it should have by now."""
        margin_ms = max(self.margin_ms, LAST_WORDS_MS if self.stream and self.stream.last_words else 0)
        is_late = 0 < self.deadline_ms <= time.time() * 1000 + margin_ms
        return is_late and self.client.state in {State.HANDLING, State.STREAMING}

    def speak(self) -> None:
        """Send what is due, and what its reader was too slow for."""
        try:
            if self.stream:
                self.stream.speak(self.client.start_now)
        except Exception:  # noqa: BLE001 - a format may be anybody's; it is not asked again
            self.stream = None
        self.client.flush_now()

    def end(self, error: Exception) -> None:
        """End its response: with its last words, or else with error trailers or an error in its place."""
        stream, client, is_whole = self.stream, self.client, False
        report = ErrorReport(error, self.request_id)
        with contextlib.suppress(Exception):  # a format or the stream error hook may be anybody's
            if stream and stream.last_words:
                is_whole = stream.ended or stream.speak(client.start_now, is_last=True)
            elif stream and stream.started and (frame := as_bytes(error_frame(error))):
                client.write(frame)
        with contextlib.suppress(WinterbourneError):  # it has ended, or nobody is there to be told
            if client.state is State.HANDLING:
                client.send_now(lambda protocol: protocol.send_error(report))
            elif is_whole:
                client.send_now(lambda protocol: protocol.end_response())
            else:
                client.send_now(lambda protocol: protocol.fail_response(report))


class Watchdog:
    """Watches the event loop of one process; `start` it there.

    Args:
        end_process: Ends the process at once, with this exit status.

    Attributes:
        in_flight: The invocations under way; added and, under `LOCK`, removed by their pollers.
        wake: To be set when there is one.
        traced: The invocation whose deadline faulthandler waits for; whoever cancels that sets None.
    """

    def __init__(self, end_process: Callable[[int], None] = os._exit) -> None:
        self.in_flight: set[InFlight] = set()
        self.wake, self._is_answered = threading.Event(), threading.Event()
        self.traced: InFlight | None = None
        self._end_process = end_process

    def start(self) -> None:
        """Start the thread, which ends with the process, or once the loop is closed."""
        watch = partial(self._watch, asyncio.get_running_loop(), threading.get_ident())
        threading.Thread(target=watch, name="watchdog", daemon=True).start()

    def _watch(self, loop: asyncio.AbstractEventLoop, loop_thread: int) -> None:
        missed, blocker = 0, ""  # counted, not timed: a process that was frozen has not stood still
        self._is_answered.set()
        while not loop.is_closed():
            self.wake.clear()
            if not self.in_flight:
                self.wake.wait()
            time.sleep(TICK_S)
            if self._is_answered.is_set():
                missed = 0
                self._trace_at_deadline()
                self._is_answered.clear()
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(self._is_answered.set)
                continue
            missed += 1
            if missed == STALLED_TICKS:
                task = asyncio.current_task(loop)
                blocker = task.get_name() if task else "a callback"
                self._report(blocker, sys._current_frames().get(loop_thread))  # noqa: SLF001 - documented
            if missed >= STALLED_TICKS:
                self._act(blocker)

    def _trace_at_deadline(self) -> None:
        """Have faulthandler's own thread, which needs no lock, write all stacks just before the next deadline."""
        with LOCK:
            due = [each for each in self.in_flight if each.deadline_ms]
            soonest = min(due, key=lambda each: each.deadline_ms, default=None)
            if soonest and soonest is not self.traced:
                self.traced = soonest
                wait_s = (soonest.deadline_ms - TRACE_MS) / 1000 - time.time()
                faulthandler.dump_traceback_later(max(0.001, wait_s), file=2)

    def _report(self, blocker: str, frame: FrameType | None) -> None:
        stack = "".join(traceback.format_stack(frame, MAX_FRAMES))
        message = "the event loop stands still: %s blocks it, and with it every stream of this process\n%s"
        self._aside(partial(_LOGGER.warning, message, blocker, stack))
        self._aside(partial(stalled, blocker))

    def _act(self, blocker: str) -> None:
        with LOCK:
            in_flight = tuple(self.in_flight)
            if self._is_answered.is_set():
                return
            if any(each.is_in_danger() for each in in_flight):
                self._end_all(in_flight, blocker)
            for each in in_flight:
                each.speak()

    def _end_all(self, in_flight: Iterable[InFlight], blocker: str) -> None:
        """End all responses, then the process. Until it has ended, the lock keeps the loop from sending anything."""
        error = DeadlineReached(f"the event loop stood still until the deadline: {blocker} blocked it")
        for each in in_flight:
            each.end(error)
        message = "%s; its responses are ended, and so is this process (exit status %d)"
        self._aside(partial(_LOGGER.error, message, error, EXIT_STALLED))
        until = min(each.deadline_ms for each in in_flight if each.deadline_ms) / 1000
        for each in in_flight:
            each.client.flush_now(until)
        self._end_process(EXIT_STALLED)

    def _aside(self, write: Callable[[], None]) -> None:
        """Write to the log, but wait for that only a little: the loop may stand still in a write of its own."""
        context = copy_context()
        if len(self.in_flight) == 1:
            context.run(REQUEST_IDS.set, (next(iter(self.in_flight)).request_id, None))
        thread = threading.Thread(target=context.run, args=(write,), name="watchdog's log", daemon=True)
        with contextlib.suppress(RuntimeError):  # no thread is to be had
            thread.start()
            thread.join(MAX_LOG_S)


WATCHDOG = Watchdog()
"""The watchdog of this process."""
