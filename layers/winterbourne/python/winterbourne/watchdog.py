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
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from winterbourne import lifecycle
from winterbourne.errors import DeadlineReached, ErrorReport, WinterbourneError
from winterbourne.logs import REQUEST_IDS

if TYPE_CHECKING:
    from winterbourne.connection import RuntimeClient
    from winterbourne.stream import ResponseStream

__all__ = ["EXIT_STALLED", "LOCK", "InFlight", "Watchdog"]

LOCK = threading.RLock()
"""Held to build bytes and send them in one step, and to read a reply: by the event loop or the watchdog's thread."""

EXIT_STALLED = 70
"""The exit status of a process whose loop stood still at a deadline; EX_SOFTWARE of sysexits.h."""

TICK_S = 0.125
STALLED_TICKS = 2
LAST_WORDS_S = 1.0  # before the deadline, for a response that has last words; the handler is cancelled before that
TRACE_S = 0.1  # before the deadline, for faulthandler
MAX_TRACE_WAIT_S = 86_400.0
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
        deadline: Unix time, in seconds; infinite if there is none.
        margin_s: How long before that its handler is cancelled, in seconds.
    """

    client: "RuntimeClient"
    stream: "ResponseStream | None"
    request_id: str
    deadline: float
    margin_s: float

    @property
    def is_in_danger(self) -> bool:
        """Whether its response has not ended though it should have by now."""
        margin_s = max(self.margin_s, LAST_WORDS_S if self.stream and self.stream.last_words else 0.0)
        return self.client.is_responding and time.time() >= self.deadline - margin_s

    def speak(self) -> None:
        """Send what is due, and what its reader was too slow for."""
        try:
            if self.stream:
                self.stream.speak(self.client)
        except Exception:  # noqa: BLE001 - a format may be anybody's; it is not asked again
            self.stream = None
        self.client.flush_now()

    def end(self, error: Exception) -> None:
        """End its response: with its last words, or else with error trailers or an error in its place."""
        try:
            is_whole = self._say_last_words(error)
        except Exception:  # noqa: BLE001 - a format or the stream error hook may be anybody's
            is_whole = False
        with contextlib.suppress(WinterbourneError):  # nobody is there to be told
            self.client.end_now(ErrorReport(error, self.request_id), is_whole=is_whole)

    def _say_last_words(self, error: Exception) -> bool:
        if self.stream and self.stream.last_words:
            return self.stream.ended or self.stream.speak(self.client, is_last=True)
        frame = lifecycle.error_frame(error)
        if frame and self.stream and self.stream.started:
            self.client.write(frame if isinstance(frame, bytes) else frame.encode())
        return False


class Watchdog:
    """Watches the event loop of one process; `start` it there.

    Args:
        end_process: Ends the process at once, with this exit status.

    Attributes:
        in_flight: The invocations under way; added and, under `LOCK`, removed by their pollers.
        wake: Set while there are any.
        traced: The invocation whose deadline faulthandler waits for; whoever cancels that sets None.
    """

    def __init__(self, end_process: Callable[[int], None] = os._exit) -> None:
        self.in_flight: set[InFlight] = set()
        self.wake = threading.Event()
        self.traced: InFlight | None = None
        self._end_process = end_process
        self._is_answered = True
        self._blocker = ""

    def start(self) -> None:
        """Start the thread, which ends with the process, or once the loop is closed."""
        self._loop, self._loop_thread = asyncio.get_running_loop(), threading.get_ident()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def _watch(self) -> None:
        missed = 0  # counted, not timed: a process that was frozen has not stood still
        while not self._loop.is_closed():
            self.wake.wait()
            time.sleep(TICK_S)
            if self._is_answered:
                missed = 0
                self._ask()
                continue
            missed += 1
            if missed == STALLED_TICKS:
                self._report()
            if missed >= STALLED_TICKS:
                self._act()

    def _ask(self) -> None:
        self._trace_at_deadline()
        self._is_answered = False
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._is_answered = True

    def _trace_at_deadline(self) -> None:
        """Have faulthandler's own thread, which needs no lock, write all stacks just before the next deadline."""
        with LOCK:
            soonest = min(self.in_flight, key=lambda each: each.deadline, default=None)
            if soonest is None or soonest is self.traced:
                return
            self.traced = soonest
            if 0 < (wait_s := soonest.deadline - TRACE_S - time.time()) < MAX_TRACE_WAIT_S:
                faulthandler.dump_traceback_later(wait_s, file=2)

    def _report(self) -> None:
        task = asyncio.current_task(self._loop)
        self._blocker = blocker = task.get_name() if task else "a callback"
        stack = "".join(traceback.format_stack(sys._current_frames().get(self._loop_thread), MAX_FRAMES))  # noqa: SLF001 - documented
        message = "the event loop stands still: %s blocks it, and with it every stream of this process\n%s"
        self._tell(logging.WARNING, message, blocker, stack)
        _aside(partial(lifecycle.stalled, blocker))

    def _act(self) -> None:
        with LOCK:
            in_flight = tuple(self.in_flight)
            if self._is_answered:
                return
            if any(each.is_in_danger for each in in_flight):
                self._end_all(in_flight)
            for each in in_flight:
                each.speak()

    def _end_all(self, in_flight: Iterable[InFlight]) -> None:
        """End all responses, then the process. Until it has ended, the lock keeps the loop from sending anything."""
        error = DeadlineReached(f"the event loop stood still until the deadline: {self._blocker} blocked it")
        for each in in_flight:
            each.end(error)
        message = "%s; its responses are ended, and so is this process (exit status %d)"
        self._tell(logging.ERROR, message, error, EXIT_STALLED)
        until = min(each.deadline for each in in_flight)
        for each in in_flight:
            each.client.finish_now(until)
        self._end_process(EXIT_STALLED)

    def _tell(self, level: int, message: str, *values: object) -> None:
        def tell() -> None:
            if len(self.in_flight) == 1:
                REQUEST_IDS.set((next(iter(self.in_flight)).request_id, None))
            _LOGGER.log(level, message, *values)

        _aside(tell)


def _aside(write: Callable[[], None]) -> None:
    """Write to the log, but wait for that only a little: the loop may stand still in a write of its own."""
    thread = threading.Thread(target=write, name="watchdog's log", daemon=True)
    thread.start()
    thread.join(MAX_LOG_S)
