"""A new user's machine: Python, make, a package index and the engine's wheel; nothing of this repository."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from winterbourne import __version__

__all__ = ["NOT_SOURCE", "NewUser", "build_wheel"]

ROOT: Final = Path(__file__).resolve().parents[1]
NOT_SOURCE: Final = (
    ".venv",
    ".git",
    ".aws-sam",
    ".*_cache",
    ".hypothesis",
    ".bench",
    ".clients",
    ".coverage",
    ".pythons",
    "node_modules",
    "dist",
)
START_S: Final = 180  # the packages of a chat are installed first


def build_wheel(into: Path, scratch: Path, version: str = __version__) -> Path:
    """Build the engine's wheel, of this version or as if it were of another."""
    source = ROOT
    if version != __version__:
        source = scratch / f"source-{version}"
        shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*NOT_SOURCE, "__pycache__", "tests/artifacts"))
        for name in ("layers/winterbourne/python/winterbourne/__init__.py", "template.yaml"):
            (source / name).write_text((source / name).read_text().replace(__version__, version))
    uv = Path(sys.executable).with_name("uv")
    options = ["--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(into)]
    subprocess.run([uv, "build", *options, source / "layers/winterbourne"], check=True)
    return into / f"winterbourne-{version}-py3-none-any.whl"


class NewUser:
    """Somebody's shell on such a machine.

    Args:
        home: An empty folder; it becomes HOME.
    """

    def __init__(self, home: Path) -> None:
        ours = {"PYTHONPATH", "VIRTUAL_ENV", "PYTEST_ADDOPTS", "MAKEFLAGS", "MAKELEVEL", "WINTERBOURNE_WHEELS"}
        inherited = {name: value for name, value in os.environ.items() if name not in ours}
        # What was downloaded before need not be downloaded again; a cache is no part of this repository.
        cache = os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache/uv")
        path = [part for part in inherited["PATH"].split(":") if not part.startswith(str(ROOT))]
        path.insert(0, f"{sys.base_prefix}/bin")
        self.environment = {**inherited, "HOME": str(home), "PATH": ":".join(path), "UV_CACHE_DIR": cache}

    def run(self, command: str, folder: Path, **variables: str) -> str:
        """The output of a command that succeeds."""
        done = subprocess.run(
            ["bash", "-euc", command],
            cwd=folder,
            env={**self.environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout

    @contextlib.contextmanager
    def serving(self, project: Path, command: str = "make run") -> Iterator[str]:
        """Start the chat by a command, on a free port; its URL. Ctrl-C stops it at the end."""
        ready, screen = project / "ready.json", project / "screen.log"
        ready.unlink(missing_ok=True)
        environment = {**self.environment, "PORT": "0", "ARGS": f"--ready-file {ready.name}"}
        with screen.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-euc", command],
                cwd=project,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                yield _await(ready, process, screen)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGINT)
                try:
                    process.wait(timeout=20)
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)


def _await(ready: Path, process: "subprocess.Popen[bytes]", screen: Path) -> str:
    for _ in range(START_S * 20):
        if ready.exists():
            return str(json.loads(ready.read_text())["url"])
        if process.poll() is not None:
            break
        time.sleep(0.05)
    pytest.fail(f"the chat did not start:\n{screen.read_text()}")
