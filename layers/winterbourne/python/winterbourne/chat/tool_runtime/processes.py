"""Processes for tools with `isolation="process"`: a pool of workers, each of which runs the calls of one tool.

A worker runs one call at a time. It is started at the first call, used again, killed if a call is cancelled or times
out, and ends with this process; see `process_worker`. It is a guard against accidents, no sandbox against malice: the
process is handed its tool's keys and a short list of variables, but may do what this user may do.
"""

import asyncio
import contextlib
import contextvars
import functools
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from subprocess import PIPE, STDOUT, Popen
from typing import Any, BinaryIO, Final, TypeVar, cast

import msgspec
import orjson
from msgspec.structs import replace

from winterbourne.chat.errors import ToolError, ToolUnavailable
from winterbourne.chat.infra import redaction
from winterbourne.chat.infra.tracing import outgoing_headers
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Call, Tool
from winterbourne.chat.tool_runtime.keys import ToolKeys
from winterbourne.chat.tool_runtime.process_worker import ProcessCall, Reply, find_tool, read, write
from winterbourne.chat.tool_runtime.threads import ThreadPool

__all__ = ["ProcessPool", "extend_over_freezes"]

T = TypeVar("T")

_LOGGER: Final = logging.getLogger(__name__)

CLOSE_LIMIT_S: Final = 0.5

MAX_OUTPUT_CHARS: Final = 64 * 1024
"""What is logged of what a process writes to standard output and error during one call."""

MAX_LINE_CHARS: Final = 2000

TICK_S: Final = 0.1
"""How often the time of a call is counted."""

FROZEN_S: Final = 0.5
"""By how much a tick must be late to have been frozen, so that it does not count; a busy machine delays it by less."""

PASSED_VARIABLES: Final = (
    *("AWS_DEFAULT_REGION", "AWS_REGION", "HOME", "LAMBDA_TASK_ROOT", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH"),
    *("PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ"),
)
"""The variables that a process has besides PYTHONPATH."""


class ProcessPool(msgspec.Struct, eq=False):
    """The worker processes of one event loop.

    Attributes:
        limit: How many there may be, idle ones included; the caller limits the calls.
        threads: Where processes are started and waited for.
    """

    limit: int
    threads: ThreadPool
    _workers: "dict[asyncio.Future[_Worker], str]" = {}  # and their tools, the oldest first
    _busy: "set[asyncio.Future[_Worker]]" = set()

    def isolate(self, tool: Tool, keys: ToolKeys, max_progress_bytes: int, max_result_bytes: int) -> Call:
        """The tool's call, in a process.

        Raises:
            InvalidToolDeclaration: A process would not find it.

        Raises (when it is called):
            ToolError: What the tool raised, or one that says that its process ended.
            RuntimeError: The tool raised something else; the text is for the log.

        Cancellation:
            Kills the process.
        """
        find_tool(getattr(tool.function, "__module__", ""), tool.name)

        async def call(arguments: Any, context: ToolContext) -> Any:
            caller = None if tool.is_cache_shared else context.caller
            shown = {"request_id": context.request_id, "caller": caller, "max_progress_bytes": max_progress_bytes}
            shown["idempotency_key"] = context.idempotency_key
            values, secret_names = await keys.read_all(), list(keys.secret_names)
            encoded = msgspec.Raw(msgspec.json.encode(arguments))
            trace = outgoing_headers.get({})
            message = ProcessCall(encoded, max_result_bytes, values, secret_names, shown, trace=trace)
            return await self._call(tool, message, context)

        return call

    async def close(self) -> None:
        """Kill all processes, and wait for those that are starting, at most CLOSE_LIMIT_S."""
        if starts := list(self._workers):
            for start in starts:
                self._kill(start)
            await asyncio.wait(starts, timeout=CLOSE_LIMIT_S)

    async def _call(self, tool: Tool, message: ProcessCall, context: ToolContext) -> Any:
        loop = asyncio.get_running_loop()

        def report(data: orjson.Fragment) -> None:
            asyncio.run_coroutine_threadsafe(context.progress(data), loop)

        self._busy.add(start := self._take(tool))
        try:
            worker = await asyncio.shield(start)  # one that is still starting is of use to the next call
            message = replace(message, remaining_s=context.remaining_s)  # the start took some
            return await asyncio.shield(self._in_thread(functools.partial(worker.call, message, report)))
        except asyncio.CancelledError:
            if start.done():
                self._kill(start)
                self._start(tool)  # so that the next call need not wait for it
            raise
        finally:
            self._busy.discard(start)

    def _take(self, tool: Tool) -> "asyncio.Future[_Worker]":
        """An idle worker of the tool, or a new one, in place of the oldest idle one if there are too many."""
        self._workers = {start: name for start, name in self._workers.items() if _is_alive(start)}
        idle = [start for start in self._workers if start not in self._busy]
        if own := [start for start in idle if self._workers[start] == tool.name]:
            return own[0]
        if idle and len(self._workers) >= self.limit:
            self._kill(idle[0])
        return self._start(tool)

    def _start(self, tool: Tool) -> "asyncio.Future[_Worker]":
        start = self._in_thread(functools.partial(_Worker, tool))
        self._workers[start] = tool.name
        return start

    def _in_thread(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        future = self.threads.run(function)
        future.add_done_callback(asyncio.Future.exception)  # perhaps nobody waits for it any more
        return future

    def _kill(self, start: "asyncio.Future[_Worker]") -> None:
        self._workers.pop(start, None)
        if not start.done():
            start.add_done_callback(self._kill)
        elif not start.exception():
            start.result().process.kill()


class _Worker:
    """One process, from here; its methods block.

    Raises:
        Exception: As `call`; the process cannot be started, or its tool not be imported.
    """

    def __init__(self, tool: Tool) -> None:
        self._name = tool.name
        self._output_left, self._request = MAX_OUTPUT_CHARS, contextvars.copy_context()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._calls, self._replies = ours.makefile("wb"), ours.makefile("rb")
            self.process = _start_process(tool, theirs.fileno())
        threading.Thread(target=self._log_output, name="tool-output", daemon=True).start()
        self._last_reply(lambda _: None)

    def call(self, message: ProcessCall, report: Callable[[orjson.Fragment], None]) -> orjson.Fragment:
        """Run the tool.

        Raises:
            ToolError: As the tool raised it, or a ToolUnavailable that says that the process has ended.
            RuntimeError: The tool raised something else.
        """
        self._output_left, self._request = MAX_OUTPUT_CHARS, contextvars.copy_context()
        with contextlib.suppress(OSError, ValueError):  # then there is no reply
            write(self._calls, message)
        return self._last_reply(report)

    def _last_reply(self, report: Callable[[orjson.Fragment], None]) -> orjson.Fragment:
        with contextlib.suppress(OSError, ValueError):  # the process has ended, and perhaps all has been closed
            while reply := read(self._replies, Reply):
                if error := _ERRORS.get(reply.kind):
                    if reply.kind == "full":  # what its tool has kept would be in the way of later calls
                        self.process.kill()
                        self.process.wait()
                    raise error(reply.text)
                data = orjson.Fragment(bytes(reply.json))
                if reply.kind == "result":
                    return data
                report(data)
        self.process.kill()
        _LOGGER.warning("the process of tool %s has ended: %d", self._name, self.process.wait())
        raise ToolUnavailable(f"The process of {self._name} ended while it ran this call.")

    def _log_output(self) -> None:
        """Log what the process writes, until it has ended."""
        output, is_rest = cast("BinaryIO", self.process.stdout), False
        while line := output.readline(2 * MAX_LINE_CHARS):
            if self._output_left > 0 and not is_rest:
                self._output_left -= len(line)
                text = redaction.redact_prefix(line.decode(errors="replace").rstrip(), MAX_LINE_CHARS)
                self._request.run(_LOGGER.info, "tool %s wrote: %s", self._name, text, extra={"tool": self._name})
            is_rest = not line.endswith(b"\n")
        with contextlib.suppress(OSError), self.process, self._replies, self._calls:  # so that nothing is left of it
            pass


_ERRORS: Final = {"refused": ToolError, "unavailable": ToolUnavailable, "full": ToolUnavailable, "failed": RuntimeError}


def _start_process(tool: Tool, channel: int) -> Popen[bytes]:
    variables = {name: os.environ[name] for name in PASSED_VARIABLES if name in os.environ}
    variables["PYTHONPATH"] = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    code = "from winterbourne.chat.tool_runtime.process_worker import main; main()"
    module = getattr(tool.function, "__module__", "")
    command = [sys.executable, "-u", "-P", "-c", code, str(channel), module, tool.name, str(tool.options.memory_mb)]
    # Its standard input is closed when this process is gone, which ends it.
    return Popen(command, stdin=PIPE, stdout=PIPE, stderr=STDOUT, env=variables, pass_fds=[channel])  # noqa: S603


def _is_alive(start: "asyncio.Future[_Worker]") -> bool:
    """Whether a worker can be used, now or when it has started."""
    return not start.done() or (not start.exception() and start.result().process.poll() is None)


@contextlib.contextmanager
def extend_over_freezes(timeout: asyncio.Timeout, timeout_s: float, deadline: float) -> Iterator[None]:
    """Count the time of a call only while this process runs, so that a frozen call is not found to have timed out.

    Args:
        timeout: Is rescheduled to now when `timeout_s` seconds have been counted.
        timeout_s: How long the call may take.
        deadline: When it ends in any case, on the event loop's clock.
    """
    timeout.reschedule(deadline)
    clock = asyncio.create_task(_expire(timeout, timeout_s))
    try:
        yield
    finally:
        clock.cancel()


async def _expire(limit: asyncio.Timeout, left_s: float) -> None:
    loop = asyncio.get_running_loop()
    while left_s > 0:
        since, step_s = loop.time(), min(TICK_S, left_s)
        await asyncio.sleep(step_s)
        elapsed_s = loop.time() - since
        left_s -= elapsed_s if elapsed_s <= step_s + FROZEN_S else 0
    if not limit.expired():
        limit.reschedule(loop.time())
