"""One execution environment: the function process, started, frozen, thawed, timed and ended as Lambda does it.

Knows the process and its Runtime API; which invocation goes where is the fleet's to say.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from winterbourne.local.environment import Function, variables
from winterbourne.local.invocation import FunctionError, Invocation
from winterbourne.local.logs import FrameSplitter, LineSplitter, LogPipe, Splitter
from winterbourne.local.response_limits import Shape
from winterbourne.local.runtime_api import Events, RuntimeApi, Seat

__all__ = ["Listener", "Sandbox"]

INIT_LIMIT_S: Final = 10.0
"""Lambda's init phase has ten seconds; a function with a longer timeout gets that."""

SHUTDOWN_S: Final = 2.0
"""What a process gets between SIGTERM and SIGKILL, as Lambda's shutdown phase with an extension."""


@dataclass(frozen=True)
class Listener:
    """Who wants to know what happens in an environment.

    Args:
        ready: It can take one invocation more.
        withdrawn: It can take one less.
        log: One record of the function's log, or of the platform's own.
    """

    ready: Callable[["Sandbox"], None]
    withdrawn: Callable[["Sandbox"], None]
    log: Callable[[str], None]


@dataclass
class _Underway:
    invocation: Invocation
    begun_at: float
    watch: asyncio.Task[None]


class Sandbox:
    """One execution environment.

    Args:
        number: Which of its fleet, from 1.
        function: What runs in it.
        shape: Limits of its responses.
        freezes: Whether it stands still while it has nothing to do.
        listener: Who is told.
    """

    def __init__(self, number: int, function: Function, shape: Shape, listener: Listener, *, freezes: bool) -> None:
        self._number, self._cold = number, True
        self._function, self._listener = function, listener
        self._freezes = freezes and not function.managed_instances
        events = Events(self._ready, self._withdrawn, self._answered, self._init_failed)
        self._api = RuntimeApi(self._seat(shape), events)
        self._process: asyncio.subprocess.Process | None = None
        self._verdict: FunctionError | None = None
        self._started_at = self._init_ms = 0.0
        self._pipes: list[LogPipe] = []
        self._underway: dict[str, _Underway] = {}
        self._ending = False

    async def run(self) -> FunctionError | None:
        """Live from the start of the process to its end. Cancelling it ends the process, frozen or not.

        Returns:
            Why the process never came so far as to take an invocation; None if it did.
        """
        async with self._api:
            with self._pipe(LineSplitter()) as lines, self._pipe(FrameSplitter()) as frames:
                await self._start(lines, frames)
                try:
                    code = await self._wait()
                finally:
                    await self._end()
        error = self._verdict or FunctionError.of("Runtime.ExitError", f"Runtime exited with error: {_exit(code)}")
        self._log(f"Environment {self._number} ended: {error.type}: {error.message}")
        await self._fail_all(error)
        return None if self._api.initialized else error

    def give(self, invocation: Invocation) -> None:
        """Thaw, and hand over an invocation. Only after `ready` has promised a place."""
        self._signal(signal.SIGCONT)
        watch = asyncio.get_running_loop().create_task(self._watch(invocation))
        self._underway[invocation.request_id] = _Underway(invocation, time.perf_counter(), watch)
        self._log(f"START RequestId: {invocation.request_id} Version: $LATEST")
        self._api.give(invocation)

    def rest(self) -> None:
        """Stand still until the next invocation."""
        if self._freezes:
            self._signal(signal.SIGSTOP)

    # Private methods: the process

    def _seat(self, shape: Shape) -> Seat:
        function = self._function
        return Seat(
            function_arn=function.arn,
            timeout_s=function.timeout_s,
            places=function.managed_instances or 1,
            snap_start=function.snap_start,
            shape=shape,
        )

    async def _start(self, lines: LogPipe, frames: LogPipe) -> None:
        self._started_at = time.perf_counter()
        environment = variables(
            self._function,
            runtime_api=self._api.address,
            log_stream=f"{datetime.now(UTC):%Y/%m/%d}/[$LATEST]{secrets.token_hex(16)}",
            log_fd=frames.write_fd,
            users=os.environ,
        )
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._function.command,
                cwd=self._function.task_root,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=lines.write_fd,
                stderr=lines.write_fd,
                pass_fds=[frames.write_fd],
                # A group of its own gets no Ctrl-C from the terminal and is frozen as a whole. In our session it stays,
                # so that the kernel ends it (SIGHUP, SIGCONT) should we be killed while it is frozen.
                process_group=0,
            )
        except OSError as error:
            self._verdict = FunctionError.of(
                "Runtime.InvalidEntrypoint", f"{error.strerror}: {self._function.command[0]}"
            )
        finally:
            lines.release()
            frames.release()

    async def _wait(self) -> int:
        if self._process is None:
            return 1
        limit_s = max(INIT_LIMIT_S, self._function.timeout_s)
        timer = asyncio.get_running_loop().call_later(limit_s, self._init_expired)
        try:
            return await self._process.wait()
        finally:
            timer.cancel()

    async def _end(self) -> None:
        """No process is left when this returns."""
        self._ending = True
        for underway in self._underway.values():
            underway.watch.cancel()
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)
        try:
            await asyncio.wait_for(self._process.wait(), SHUTDOWN_S)
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self._process.wait()
        finally:
            # Children of the function that outlived it.
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    @contextlib.contextmanager
    def _pipe(self, splitter: Splitter) -> Iterator[LogPipe]:
        pipe = LogPipe(splitter, self._log)
        self._pipes.append(pipe)
        try:
            yield pipe
        finally:
            pipe.close()

    # Private methods: what happens to it

    def _ready(self) -> None:
        """The process asks for an invocation: the one before is over, and its log is complete."""
        for pipe in self._pipes:
            pipe.drain()
        if not self._init_ms:
            self._init_ms = (time.perf_counter() - self._started_at) * 1000
        if not self._function.managed_instances:
            self._settle_all()
        if not self._ending:  # else it would be frozen on its way out, or given more to do
            self._listener.ready(self)

    def _withdrawn(self) -> None:
        if not self._ending:
            self._listener.withdrawn(self)

    def _answered(self, invocation: Invocation) -> None:
        """A response is complete. Where one process has many invocations, that is all that ends one."""
        if self._function.managed_instances:
            self._settle(invocation)

    def _settle_all(self) -> None:
        for underway in list(self._underway.values()):
            self._settle(underway.invocation)

    def _settle(self, invocation: Invocation) -> None:
        """Nothing more is done for the invocation."""
        underway = self._underway[invocation.request_id]
        underway.watch.cancel()
        self._report(underway)
        del self._underway[invocation.request_id]
        self._cold = False
        invocation.settled.set()

    def _report(self, underway: _Underway) -> None:
        duration_ms = (time.perf_counter() - underway.begun_at) * 1000
        request_id, error = underway.invocation.request_id, underway.invocation.error
        init = f"\tInit Duration: {self._init_ms:.2f} ms" if self._cold else ""
        status = f"\tStatus: error\tError Type: {error.type}" if error else ""
        if error:
            self._log(f"FAILED RequestId: {request_id} {error.type} {error.document.decode(errors='replace')}")
        self._log(f"END RequestId: {request_id}")
        self._log(
            f"REPORT RequestId: {request_id}\tDuration: {duration_ms:.2f} ms\t"
            f"Billed Duration: {int(duration_ms) + 1} ms\tMemory Size: {self._function.memory_mb} MB\t"
            f"Max Memory Used: {self._memory_mb()} MB{init}{status}"
        )

    def _memory_mb(self) -> int:
        """The most the process has used; 0 where the system does not say."""
        pid = self._process.pid if self._process else 0
        with contextlib.suppress(OSError, StopIteration, ValueError):
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
            return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024
        return 0

    async def _watch(self, invocation: Invocation) -> None:
        """When its time is up the invocation fails, and the environment ends with it unless it has others too."""
        await asyncio.sleep(self._function.timeout_s)
        when = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        message = f"{when} {invocation.request_id} Task timed out after {self._function.timeout_s:.2f} seconds"
        self._log(message)
        timed_out = FunctionError.of("Sandbox.Timedout", message)
        await self._api.abandon(invocation, timed_out)
        if not self._function.managed_instances:
            self._verdict = timed_out
            self._signal(signal.SIGKILL)

    def _init_expired(self) -> None:
        if not self._api.initialized:
            self._verdict = FunctionError.of("Sandbox.Timedout", "The function did not start in time.")
            self._signal(signal.SIGKILL)

    def _init_failed(self, error: FunctionError) -> None:
        self._verdict = error

    async def _fail_all(self, error: FunctionError) -> None:
        for underway in list(self._underway.values()):
            await underway.invocation.finish(error)
        self._settle_all()

    def _log(self, record: str) -> None:
        if len(self._underway) == 1:
            next(iter(self._underway.values())).invocation.log.append(record)
        self._listener.log(record)


def _exit(code: int) -> str:
    return f"signal: {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
