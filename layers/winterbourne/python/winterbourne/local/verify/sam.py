"""`sam` as a process: its output line by line, a limit to how long it takes, and its end if we are interrupted."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["LIMITS_S", "Sam", "SamFailed"]

LIMITS_S: Final = {"build": 900, "deploy": 3600, "delete": 3600}
"""How long each command may take; `sam` itself gives CloudFormation an hour."""

CONFIG: Final = Path(__file__).with_name("samconfig.toml")
"""In the place of the project's, whose stage `default` may name another account, bucket or way to roll back."""


class SamFailed(RuntimeError):
    """`sam` ended with an error, or took too long; the message has its last lines."""


@dataclass(frozen=True)
class Sam:
    """Runs `sam`, which writes to a file and, line by line, to a reader.

    Attributes:
        program: Its path.
        cwd: The project.
        log: The file with all that it says.
        say: Is handed each line.
    """

    program: str
    cwd: Path
    log: Path
    say: Callable[[str], None]

    def run(self, command: str, *options: str) -> None:
        """Run a command to its end. In a process group of its own, Ctrl-C reaches this process alone, which ends it.

        Raises:
            SamFailed: It ended with an error, or took longer than LIMITS_S.
            OSError: It cannot be started.
        """
        path = os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()])
        process = subprocess.Popen(  # noqa: S603 - with options of our own
            [self.program, command, "--config-file", str(CONFIG), *options],
            cwd=self.cwd,
            env={**os.environ, "SAM_CLI_TELEMETRY": "0", "PYTHONUNBUFFERED": "1", "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
        )
        timer = threading.Timer(LIMITS_S[command], _signal, (process, signal.SIGKILL))
        timer.daemon = True
        try:
            timer.start()
            lines = self._read(process)
            if process.wait():
                raise SamFailed(f"sam {command} ended with status {process.returncode}:\n" + "".join(lines[-15:]))
        finally:
            timer.cancel()
            _end(process)

    def _read(self, process: "subprocess.Popen[str]") -> list[str]:
        assert process.stdout  # noqa: S101 - it is a pipe
        lines = []
        with self.log.open("a", encoding="utf-8") as log:
            for line in process.stdout:
                lines.append(line)
                log.write(line)
                log.flush()
                if line.strip():
                    self.say(line.rstrip())
        return lines


def _end(process: "subprocess.Popen[str]", grace_s: float = 10) -> None:
    """End the process and its children, if it runs still; what CloudFormation does for it goes on."""
    _signal(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(grace_s)
    _signal(process, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()


def _signal(process: "subprocess.Popen[str]", number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
