"""Runs `python -m winterbourne.local` as a real process, for every test that needs the local server."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import STDOUT

import pytest

from tests.coverage_variables import COVERAGE

__all__ = ["DOOR", "LocalServer", "local_server"]

ROOT = Path(__file__).resolve().parents[1]
START_S = 20
DOOR = os.environ.get("DOOR", "url")
"""The door through which `tests/end_to_end` goes, where a test names none itself: one of `run --door`."""
SOURCE = (sys.executable, "-m", "winterbourne.local", "run")


@dataclass(frozen=True)
class LocalServer:
    """A running `python -m winterbourne.local`."""

    url: str
    invoke_url: str
    log: Path
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def local_server(folder: Path, *flags: str, command: Sequence[str] = SOURCE) -> Iterator[LocalServer]:
    """Start the local server on a free port with these flags; stop it and its processes at the end."""
    ready, log = folder / "ready.json", folder / "local.log"
    addresses = ["--port", "0", "--ready-file", str(ready), "--log", str(log)]
    addresses += [flag for name, value in COVERAGE.items() for flag in ("--env", f"{name}={value}")]
    addresses += [] if DOOR == "url" or "--door" in flags else ["--door", DOOR]
    environ = {**os.environ, "XDG_STATE_HOME": str(folder)}
    with (folder / "screen.log").open("wb") as screen:
        process = subprocess.Popen([*command, *addresses, *flags], cwd=ROOT, env=environ, stdout=screen, stderr=STDOUT)
        try:
            started = _await(ready, process, folder / "screen.log")
            yield LocalServer(started["url"], started["invoke_url"], log, process)
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            finally:
                process.kill()


def _await(ready: Path, process: subprocess.Popen[bytes], screen: Path) -> dict[str, str]:
    for _ in range(START_S * 50):
        if ready.exists():
            return dict(json.loads(ready.read_text()))
        if process.poll() is not None:
            break
        time.sleep(0.02)
    pytest.fail(f"python -m winterbourne.local did not start:\n{screen.read_text()}")
