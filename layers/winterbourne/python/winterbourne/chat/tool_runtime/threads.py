"""Thread pool for synchronous tools: reuses threads, and abandons those that outlive their timeout.

The caller limits how many run at once (see `permits`). A thread that cannot be stopped is counted here and replaced by
a new one, so that it holds no permit and no neighbour's place: a tool that is stuck in many is refused before others
are. All threads are daemons, so none delays the exit of the process.
"""

import asyncio
import contextvars
import functools
import queue
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, TypeVar

from winterbourne.chat.errors import ToolUnavailable
from winterbourne.chat.infra.telemetry import TOOL_TASK, measure

__all__ = ["STUCK_THREADS", "ThreadPool"]

STUCK_THREADS: Final = 4
"""How many times TOOL_ABANDONED_LIMIT threads may be stuck; then no tool gets a thread any more."""

T = TypeVar("T")


class ThreadPool:
    """The thread pool of one event loop.

    Args:
        abandoned_limit: With half as many stuck threads a tool is refused more of them; with STUCK_THREADS times as
            many, in all, every tool is.
    """

    def __init__(self, abandoned_limit: int = 8) -> None:
        self._abandoned_limit = abandoned_limit
        self._idle_workers: list[_Worker] = []
        self._abandoned: Counter[str] = Counter()
        self.abandoned_count = 0
        """Threads still running although their call was cancelled."""

    def run(self, function: Callable[[], T], tool: str = "") -> "asyncio.Future[T]":
        """Call a function in a thread, with a copy of this task's context variables.

        Args:
            function: Takes no arguments.
            tool: The tool whose thread it is; empty for none.

        Returns:
            A future with what the function returns or raises.

        Raises:
            ToolUnavailable: Too many threads of the tool, or in all, are stuck.

        Cancellation:
            Ends the wait at once; the thread cannot be stopped and is abandoned.
        """
        if tool and self._abandoned[tool] >= max(1, self._abandoned_limit // 2):
            text = f"{self._abandoned[tool]} earlier calls of {tool} are stuck; it can run again when they have ended."
            raise ToolUnavailable(text)
        if self.abandoned_count >= self._abandoned_limit * STUCK_THREADS:
            text = "Too many threads of earlier tools are stuck; this tool can run again after a restart."
            raise ToolUnavailable(text)
        worker = self._idle_workers.pop() if self._idle_workers else _Worker()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        worker.tool = tool
        future.add_done_callback(functools.partial(self._count_if_abandoned, worker))
        context = contextvars.copy_context()
        worker.jobs.put(lambda: self._run_job(worker, future, lambda: context.run(function)))
        return future

    def close(self) -> None:
        """Stop the idle threads. Busy ones end with the process."""
        while self._idle_workers:
            self._idle_workers.pop().jobs.put(None)

    def _run_job(self, worker: "_Worker", future: "asyncio.Future[Any]", function: Callable[[], Any]) -> None:
        """Runs in the thread: call the function and hand the outcome to the loop."""
        try:
            deliver = functools.partial(future.set_result, function())
        except StopIteration as error:  # no future can hold it
            deliver = functools.partial(future.set_exception, RuntimeError(f"a tool raised StopIteration: {error}"))
        except BaseException as error:  # noqa: BLE001 - also SystemExit: whoever awaits the future decides
            deliver = functools.partial(future.set_exception, error)
        try:
            future.get_loop().call_soon_threadsafe(self._on_job_done, worker, future, deliver)
        except RuntimeError:  # the loop is closed; nobody is waiting any more
            worker.jobs.put(None)

    def _on_job_done(self, worker: "_Worker", future: "asyncio.Future[Any]", deliver: Callable[[], None]) -> None:
        """Runs in the loop: the thread has finished its job."""
        if future.cancelled():
            self._count_abandoned(worker, -1)
            worker.jobs.put(None)  # it was replaced when it was abandoned
        else:
            self._idle_workers.append(worker)
            deliver()

    def _count_if_abandoned(self, worker: "_Worker", future: "asyncio.Future[Any]") -> None:
        """Runs in the loop: the function's outcome is there, or nobody waits for it any more."""
        if future.cancelled():
            self._count_abandoned(worker, 1)
            measure("AbandonedThreads")

    def _count_abandoned(self, worker: "_Worker", change: int) -> None:
        self.abandoned_count += change
        self._abandoned[worker.tool] += change


class _Worker:
    """A thread that runs the jobs of its queue one at a time, for one tool after another; None stops it."""

    def __init__(self) -> None:
        self.tool = ""
        self.jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="idle", daemon=True).start()

    def _run(self) -> None:
        while (job := self.jobs.get()) is not None:
            # Who looks which thread blocks the process goes by its name.
            threading.current_thread().name = f"{TOOL_TASK}{self.tool}" if self.tool else "helper"
            job()
            threading.current_thread().name = "idle"
            del job  # else it is kept alive while the thread waits for the next
