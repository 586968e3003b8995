"""Lifecycle of one execution environment: starts, freezes, thaws, times out and stops a process as Lambda does.

Owns the process and its Runtime API; the environment pool decides which invocation goes to which environment.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from winterbourne.local.function_config import FunctionConfig, environment_variables
from winterbourne.local.invocation import FunctionError, Invocation
from winterbourne.local.logs import LogPipe, split_frames, split_lines
from winterbourne.local.process_group import ProcessGroup
from winterbourne.local.response_limits import ResponseLimits
from winterbourne.local.runtime_api import RuntimeApi, RuntimeCallbacks

__all__ = ["EnvironmentCallbacks", "ExecutionEnvironment"]

INIT_TIMEOUT_S: Final = 10.0
"""Lambda limits the init phase to ten seconds; if the function's timeout is longer, that applies instead."""

SHUTDOWN_GRACE_S: Final = 2.0
"""Grace period between SIGTERM and SIGKILL, as in Lambda's shutdown phase with an extension."""


@dataclass(frozen=True)
class EnvironmentCallbacks:
    """Called by an environment when its state changes.

    Attributes:
        on_ready: It can take one more invocation.
        on_unavailable: It can take one invocation fewer.
        on_log_record: One record of the function's log or of the platform's.
    """

    on_ready: Callable[["ExecutionEnvironment"], None]
    on_unavailable: Callable[["ExecutionEnvironment"], None]
    on_log_record: Callable[[str], None]


class ExecutionEnvironment:
    """One execution environment.

    Args:
        function: The function to run.
        response_limits: Limits of streamed responses.
        number: Its number in the pool, from 1.
        callbacks: Called when its state changes.
        freeze_when_idle: Whether its process is frozen while it has no invocation.
    """

    def __init__(
        self,
        function: FunctionConfig,
        response_limits: ResponseLimits,
        number: int,
        callbacks: EnvironmentCallbacks,
        *,
        freeze_when_idle: bool,
    ) -> None:
        self._number, self._is_cold_start = number, True
        self._function, self._callbacks = function, callbacks
        self._freeze_when_idle = freeze_when_idle and not function.managed_instances
        api_callbacks = RuntimeCallbacks(self._on_ready, self._on_unavailable, self._on_response_done)
        self._api = RuntimeApi(function, response_limits, api_callbacks)
        self._process: ProcessGroup | None = None
        self._exit_error: FunctionError | None = None
        self._started_at = self._init_ms = 0.0
        self._log_pipes: list[LogPipe] = []
        self.in_flight: dict[Invocation, asyncio.Task[None]] = {}
        """The invocations that the process has, each with the task that enforces its timeout."""
        self._shutting_down = False

    async def run(self) -> FunctionError | None:
        """Start the process and wait until it exits. Cancelling this ends the process, even if it is frozen.

        Returns:
            Why the process failed before it first asked for an invocation; None if it did ask.
        """
        async with self._api:
            with (
                contextlib.closing(LogPipe(split_lines, self._log)) as lines,
                contextlib.closing(LogPipe(split_frames, self._log)) as frames,
            ):
                self._log_pipes = [lines, frames]
                await self._start_process(lines, frames)
                try:
                    exit_code = await self._wait_for_exit()
                finally:
                    await self._shut_down()
                await self._api.drain(SHUTDOWN_GRACE_S)
        reason = f"signal: {signal.Signals(-exit_code).name}" if exit_code < 0 else f"exit status {exit_code}"
        exited = FunctionError.from_message("Runtime.ExitError", f"Runtime exited with error: {reason}")
        error = self._exit_error or self._api.init_error or exited
        self._log(f"Environment {self._number} ended: {error.type}: {error.message}")
        if not self._api.initialized:
            status = "timeout" if error.type == "Sandbox.Timedout" else "error"
            init_ms = (time.perf_counter() - self._started_at) * 1000
            self._log(
                f"INIT_REPORT Init Duration: {init_ms:.2f} ms\tPhase: init\tStatus: {status}\tError Type: {error.type}"
            )
        for invocation in list(self.in_flight):
            await invocation.finish(error)
        self._complete_all()
        return None if self._api.initialized else replace(error, at_init=True)

    def dispatch(self, invocation: Invocation) -> None:
        """Thaw the process and hand it an invocation. Call this at most once for each `on_ready`."""
        self._send_signal(signal.SIGCONT)
        invocation.started_at = time.perf_counter()
        self.in_flight[invocation] = asyncio.get_running_loop().create_task(self._enforce_timeout(invocation))
        self._log(f"START RequestId: {invocation.request_id} Version: $LATEST")
        self._api.dispatch(invocation)

    def freeze(self) -> None:
        """Freeze the process (SIGSTOP) until the next invocation, if `freeze_when_idle` is set."""
        if self._freeze_when_idle:
            self._send_signal(signal.SIGSTOP)

    async def _start_process(self, lines: LogPipe, frames: LogPipe) -> None:
        self._started_at = time.perf_counter()
        log_stream = f"{datetime.now(UTC):%Y/%m/%d}/[$LATEST]{secrets.token_hex(16)}"
        env = environment_variables(
            self._function, os.environ, runtime_api=self._api.address, log_stream=log_stream, log_fd=frames.write_fd
        )
        try:
            self._process = await ProcessGroup.start(
                self._function.command,
                cwd=self._function.task_root,
                env=env,
                output=lines.write_fd,
                pass_fds=[frames.write_fd],
            )
        except OSError as error:
            message = f"{error.strerror}: {self._function.command[0]}"
            self._exit_error = FunctionError.from_message("Runtime.InvalidEntrypoint", message)
        finally:
            lines.close_write_end()
            frames.close_write_end()

    async def _wait_for_exit(self) -> int:
        if self._process is None:
            return 1
        timeout_s = max(INIT_TIMEOUT_S, self._function.timeout_s)
        timer = asyncio.get_running_loop().call_later(timeout_s, self._on_init_timeout)
        try:
            return await self._process.wait()
        finally:
            timer.cancel()

    async def _shut_down(self) -> None:
        """Graceful shutdown: SIGTERM, then SIGKILL after the grace period. No process is left when this returns."""
        self._shutting_down = True
        for timeout_task in self.in_flight.values():
            timeout_task.cancel()
        if self._process is not None:
            await self._process.terminate(SHUTDOWN_GRACE_S)

    def _send_signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.signal(number)

    def _on_ready(self) -> None:
        """The process asks for the next invocation, so the previous one is done and its log is complete."""
        for pipe in self._log_pipes:
            pipe.drain()
        if not self._init_ms:
            self._init_ms = (time.perf_counter() - self._started_at) * 1000
        if not self._function.managed_instances:
            self._complete_all()
        if not self._shutting_down:  # a process that is exiting must not be frozen or get more work
            self._callbacks.on_ready(self)

    def _on_unavailable(self) -> None:
        if not self._shutting_down:
            self._callbacks.on_unavailable(self)

    def _on_response_done(self, invocation: Invocation) -> None:
        """A response is complete. If a process runs several invocations, only this tells that one is done."""
        if self._function.managed_instances:
            self._complete_invocation(invocation)

    def _complete_all(self) -> None:
        for invocation in list(self.in_flight):
            self._complete_invocation(invocation)

    def _complete_invocation(self, invocation: Invocation) -> None:
        """Stop the timeout, log the END and REPORT records, and mark the invocation as done."""
        self.in_flight[invocation].cancel()
        self._log_report(invocation)
        del self.in_flight[invocation]
        self._is_cold_start = False
        invocation.runtime_done.set()

    def _log_report(self, invocation: Invocation) -> None:
        duration_ms = (time.perf_counter() - invocation.started_at) * 1000
        request_id, error = invocation.request_id, invocation.error
        init = f"\tInit Duration: {self._init_ms:.2f} ms" if self._is_cold_start else ""
        status = f"\tStatus: error\tError Type: {error.type}" if error else ""
        if error:
            self._log(f"FAILED RequestId: {request_id} {error.type} {error.document.decode(errors='replace')}")
        self._log(f"END RequestId: {request_id}")
        self._log(
            f"REPORT RequestId: {request_id}\tDuration: {duration_ms:.2f} ms\t"
            f"Billed Duration: {int(duration_ms) + 1} ms\tMemory Size: {self._function.memory_mb} MB\t"
            f"Max Memory Used: {self._peak_memory_mb()} MB{init}{status}"
        )

    def _peak_memory_mb(self) -> int:
        """Peak memory of the process in MB; 0 if the system does not report it."""
        pid = self._process.pid if self._process else 0
        with contextlib.suppress(OSError, StopIteration, ValueError):
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
            return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024
        return 0

    async def _enforce_timeout(self, invocation: Invocation) -> None:
        """Fail the invocation at its timeout and kill the process, unless it runs concurrent invocations."""
        await asyncio.sleep(self._function.timeout_s)
        timestamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        message = f"{timestamp} {invocation.request_id} Task timed out after {self._function.timeout_s:.2f} seconds"
        self._log(message)
        timed_out = FunctionError.from_message("Sandbox.Timedout", message)
        await self._api.finish_invocation(invocation, timed_out)
        if not self._function.managed_instances:
            self._exit_error = timed_out
            self._send_signal(signal.SIGKILL)

    def _on_init_timeout(self) -> None:
        if not self._api.initialized:
            self._exit_error = FunctionError.from_message("Sandbox.Timedout", "The function did not start in time.")
            self._send_signal(signal.SIGKILL)

    def _log(self, record: str) -> None:
        if len(self.in_flight) == 1:
            next(iter(self.in_flight)).log.append(record)
        self._callbacks.on_log_record(record)
