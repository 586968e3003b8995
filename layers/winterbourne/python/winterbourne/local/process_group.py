"""A process of a function and its children: started, signalled and ended together."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ["ProcessGroup"]

WATCHED: Final = ("/bin/sh", "-c", 'exec 3<&0; (cat <&3 >/dev/null; kill 0) & exec "$@" 3<&- </dev/null', "sh")
"""Runs a command beside a child that signals the group once the pipe that is its input is closed, as by our end."""


class ProcessGroup:
    """A running process whose output goes to one pipe; made by `start`.

    Attributes:
        pid: Its process id, which is that of the group as well.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process, self.pid = process, process.pid

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        output: int,
        pass_fds: Sequence[int] = (),
        ends_with_us: bool = False,
    ) -> "ProcessGroup":
        """Start it; `output` is the file descriptor for its standard output and error.

        With `ends_with_us` it gets a SIGTERM if this process ends without it, as it does when it is killed.

        Raises:
            OSError: It cannot be started.
        """
        process = await asyncio.create_subprocess_exec(
            *(WATCHED if ends_with_us else ()),
            *command,
            cwd=cwd,
            env=env,
            stdin=asyncio.subprocess.PIPE if ends_with_us else asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=pass_fds,
            # A process group of its own gets no Ctrl-C from the terminal and can be frozen as a whole. It stays in our
            # session, so that the kernel ends it (SIGHUP, SIGCONT) if we are killed while it is frozen.
            process_group=0,
        )
        return cls(process)

    async def wait(self) -> int:
        """Wait until the process has exited; returns its exit code, negative after a signal."""
        return await self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of the group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def terminate(self, grace_s: float) -> None:
        """SIGTERM, and SIGKILL after `grace_s` seconds. No process is left when this returns."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), grace_s)
        finally:  # also if there are only children that outlived the process
            self.signal(signal.SIGKILL)
        await self._process.wait()
