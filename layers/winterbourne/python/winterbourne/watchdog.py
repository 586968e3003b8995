"""The watchdog: a thread that notices when the event loop stands still, says what blocks it, and saves the responses.

While an invocation is in flight it asks the loop for a sign of life, eight times a second; between invocations it
sleeps. A handler or tool that blocks the loop, with `time.sleep` or a blocking socket, is named in the log. Meanwhile
the thread sends what is due on each response (heartbeats), and shortly before a deadline it ends all of them and the
process: whatever blocks the loop cannot be stopped, and would take the next invocations too.

It cannot run while C code holds the interpreter's lock, and says so once that lets go; shortly before a deadline
`faulthandler` writes the line to stderr.
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
from asyncio.base_events import BaseEventLoop
from collections.abc import Callable, Iterable, Mapping
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from types import FrameType

from winterbourne.connection import RuntimeClient
from winterbourne.errors import DeadlineReached, ErrorReport
from winterbourne.lifecycle import error_frame, stalled
from winterbourne.logs import REQUEST_IDS
from winterbourne.protocol import RuntimeApiProtocol, State
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
ACKNOWLEDGED_S = 0.005  # between two looks
MAX_FRAMES = 8
RUN_ONCE = BaseEventLoop._run_once.__code__  # type: ignore[attr-defined]  # noqa: SLF001 - the one turn of the loop

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
            if stream and (stream.ended or stream.last_words):
                is_whole = stream.ended or stream.speak(client.start_now, is_last=True)
            elif stream and stream.started and (frame := as_bytes(error_frame(error))):
                client.write(frame)
        with contextlib.suppress(Exception):  # it has ended, or nobody is there to be told
            if client.state is State.HANDLING:
                client.send_now(lambda protocol: protocol.send_error(report))
            elif is_whole:
                client.send_now(RuntimeApiProtocol.end_response)
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
        self._missed = 0
        self._writers: list[threading.Thread] = []

    def start(self) -> None:
        """Start the thread, which ends with the process, or once the loop is closed."""
        watch = partial(self._watch, asyncio.get_running_loop(), threading.get_ident())
        threading.Thread(target=watch, name="watchdog", daemon=True).start()

    def _watch(self, loop: asyncio.AbstractEventLoop, loop_thread: int) -> None:
        self._is_answered.set()
        cpu = getattr(time, "pthread_getcpuclockid", lambda _: time.CLOCK_PROCESS_CPUTIME_ID)(loop_thread)
        while not loop.is_closed():
            self.wake.clear()
            if not self.in_flight:
                self.wake.wait()
            begun, used, used_by_loop = time.monotonic(), time.process_time(), time.clock_gettime(cpu)
            time.sleep(TICK_S)
            # A process that is frozen, or gets no processor time, uses none.
            held_s = min(time.monotonic() - begun, time.process_time() - used)
            is_loops = time.clock_gettime(cpu) - used_by_loop > held_s / 2
            self._look(loop, loop_thread, held_s, is_loops=is_loops)

    def _look(self, loop: asyncio.AbstractEventLoop, loop_thread: int, held_s: float, *, is_loops: bool) -> None:
        frames = sys._current_frames()  # noqa: SLF001 - documented; not kept, for they keep all that they refer to
        blocker, is_idle = _running(loop), _is_idle(frames[loop_thread])
        if held_s >= TICK_S * STALLED_TICKS:
            suspects = {blocker: frames[loop_thread]} if is_loops else _others(frames, loop_thread)
            self._report(f"stood still for {held_s:.1f} s", "held the interpreter's lock", suspects)
        if is_idle or self._is_answered.is_set():
            self._missed = 0
            self._trace_at_deadline()
        if is_idle:  # a sign of life; asking for another would cost the loop a turn
            self._is_answered.set()
        elif self._is_answered.is_set():
            self._is_answered.clear()
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._is_answered.set)
        else:
            self._missed += 1  # counted, not timed: a process that was frozen has not stood still
            if self._missed == STALLED_TICKS:
                self._report("stands still", "blocks it", {blocker: frames[loop_thread]})
            if self._missed >= STALLED_TICKS:
                self._act(blocker)

    def _trace_at_deadline(self) -> None:
        """Have faulthandler's own thread, which needs no lock, write all stacks just before the next deadline."""
        with LOCK:
            due = [each for each in tuple(self.in_flight) if each.deadline_ms]
            soonest = min(due, key=lambda each: each.deadline_ms, default=None)
            if soonest and soonest is not self.traced:
                self.traced = soonest
                wait_s = (soonest.deadline_ms - TRACE_MS) / 1000 - time.time()
                faulthandler.dump_traceback_later(max(0.001, wait_s), file=2)

    def _report(self, how: str, why: str, suspects: Mapping[str, FrameType]) -> None:
        names = ", ".join(suspects)
        stacks = "\n".join("".join(traceback.format_stack(frame, MAX_FRAMES)) for frame in suspects.values())

        def write() -> None:
            message = "the event loop %s: %s %s, and with it every stream of this process\n%s"
            _LOGGER.warning(message, how, names, why, stacks)
            stalled(names, has_ended=False)

        self._writers = [self._aside(write)]

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

        def write() -> None:
            _LOGGER.error("%s; its responses are ended, and so is this process (exit status %d)", error, EXIT_STALLED)
            stalled(blocker, has_ended=True)

        until = min(each.deadline_ms for each in in_flight if each.deadline_ms) / 1000
        self._writers.append(self._aside(write))
        while (in_flight := [each for each in in_flight if not each.client.is_acknowledged()]) and time.time() < until:
            time.sleep(ACKNOWLEDGED_S)
        for thread in filter(threading.Thread.is_alive, self._writers):
            thread.join(MAX_LOG_S)
        self._end_process(EXIT_STALLED)

    def _aside(self, write: Callable[[], None]) -> threading.Thread:
        """Write to the log on a thread of its own: the loop may stand still in a write to it."""
        context = copy_context()
        if len(self.in_flight) == 1:
            context.run(REQUEST_IDS.set, (next(iter(self.in_flight)).request_id, None))
        thread = threading.Thread(target=context.run, args=(write,), name="watchdog's log", daemon=True)
        with contextlib.suppress(RuntimeError):  # no thread is to be had
            thread.start()
        return thread


def _is_idle(frame: FrameType) -> bool:
    """Whether this is the frame of asyncio's own loop that waits for something to do."""
    caller = frame.f_back
    return caller is not None and caller.f_code is RUN_ONCE and frame.f_code.co_name == "select"


def _running(loop: asyncio.AbstractEventLoop) -> str:
    task = asyncio.current_task(loop)
    return task.get_name() if task else "a callback"


def _others(frames: Mapping[int, FrameType], loop_thread: int) -> dict[str, FrameType]:
    """The frames of all threads but the loop's and this one, by name."""
    names = {each.ident: each.name for each in threading.enumerate()}
    others = frames.keys() - {loop_thread, threading.get_ident()}
    return {names.get(each, "a thread"): frames[each] for each in others}


WATCHDOG = Watchdog()
"""The watchdog of this process."""
