"""Processes of uvicorn, a stock ASGI server, that serve an application; one at a time, a new one after each change.

A process listens on a port of loopback once the application has started; requests wait for that.
"""

import asyncio
import contextlib
import re
import signal
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

from winterbourne.local.execution_environment import INIT_TIMEOUT_S
from winterbourne.local.function_config import FunctionConfig
from winterbourne.local.invocation import FunctionError
from winterbourne.local.logs import LogPipe, split_lines
from winterbourne.local.process_group import ProcessGroup
from winterbourne.local.tasks import cancel_all

__all__ = ["AsgiServers", "Connection"]

UVICORN: Final = ("-m", "uvicorn", "--host", "127.0.0.1", "--ws", "none", "--no-proxy-headers", "--no-access-log")
LOG_LEVEL: Final = ("--log-level", "warning")
POLL_S: Final = 0.02
LAST_LINES: Final = 20

_EXCEPTION: Final = re.compile(r"(?:\S*[./])?(\w+): (.+)")  # of an interpreter, too: its path, "No module named …"

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class AsgiServers:
    """Starts, replaces and stops the processes.

    Args:
        function: The application; its handler is `MODULE:OBJECT`.
        variables: Makes a process's environment variables from the address where it is to listen.
        grace_s: Seconds between SIGTERM and SIGKILL.
        log: Gets each line that a process writes.
    """

    def __init__(
        self,
        function: FunctionConfig,
        variables: Callable[[str], Mapping[str, str]],
        grace_s: float,
        log: Callable[[str], None],
    ) -> None:
        self._function, self._variables, self._grace_s, self._log = function, variables, grace_s, log
        self._current: _Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def start_environment(self) -> None:
        """Start a process without waiting for it."""
        server = self._current = _Server(self._log)
        server.task = asyncio.create_task(self._run(server))
        self._tasks.add(server.task)
        server.task.add_done_callback(self._tasks.discard)
        server.task.add_done_callback(lambda _: server.reserved.close())  # a task may be cancelled before it begins

    def replace_environments(self) -> None:
        """Give the next requests a new process; the one that runs now ends when it has answered."""
        if self._current:
            self._current.retire()
        self.start_environment()

    async def initialized(self, timeout_s: float) -> FunctionError | None:
        """Wait until the process listens; returns the error if it failed to start."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(timeout_s), self.connection():
                return None
        return self._current.error() if self._current else None

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection to the process, once it listens; closed at the end. A process that has exited is replaced.

        Raises:
            ConnectionError: The process did not start.
            TimeoutError: It did not start in time.
        """
        if self._current is None or self._current.task.done():
            self.start_environment()
        assert self._current  # noqa: S101 - it is started by now
        async with asyncio.timeout(INIT_TIMEOUT_S):
            reader, writer = await self._current.connect()
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def stop(self) -> None:
        """Stop every process, and wait until they have exited."""
        await cancel_all(self._tasks)

    async def _run(self, server: "_Server") -> None:
        command = (self._function.python, *UVICORN, *LOG_LEVEL, "--port", str(server.port), self._function.handler)
        env = self._variables(f"127.0.0.1:{server.port}")
        with contextlib.closing(LogPipe(split_lines, server.note)) as lines:
            server.process = await ProcessGroup.start(
                command, cwd=self._function.task_root, env=env, output=lines.write_fd, ends_with_us=True
            )
            lines.close_write_end()
            try:
                await server.process.wait()
            finally:
                await server.process.terminate(self._grace_s)


class _Server:
    """One process, from before its start."""

    task: asyncio.Task[None]

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self.process: ProcessGroup | None = None
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        # Bound but not listened on, the port is given to nobody else, and the server may listen there: both reuse it.
        self.reserved = socket.socket()
        self.reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.reserved.bind(("127.0.0.1", 0))
        self.port: int = self.reserved.getsockname()[1]

    def note(self, line: str) -> None:
        self.last_lines.append(line)
        self._log(line)

    def retire(self) -> None:
        """End the process when it has answered what it was asked."""
        if self.process:
            self.process.signal(signal.SIGTERM)
        else:
            self.task.cancel()

    async def connect(self) -> Connection:
        while True:
            try:
                return await asyncio.open_connection("127.0.0.1", self.port)
            except ConnectionRefusedError:
                if self.task.done():
                    raise ConnectionRefusedError(self.error().sentence) from None
                await asyncio.sleep(POLL_S)

    def error(self) -> FunctionError:
        """Why the process does not serve, as the last of its lines that names what went wrong tells it."""
        found = filter(None, map(_EXCEPTION.fullmatch, reversed(self.last_lines)))
        kind, text = next((match.groups() for match in found), ("Runtime.ExitError", "The application did not start."))
        return FunctionError.from_message(str(kind), str(text))
