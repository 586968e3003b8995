"""Programs a test needs on the machine: if one is missing, the test is skipped with a reason, or fails in CI."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

__all__ = ["chromium", "docker", "find_python", "node", "python"]


def chromium() -> str:
    """The path of a Chromium binary."""
    return _found("Chromium", "chromium", "chromium-browser", "google-chrome")


def node() -> str:
    """The path of Node, with npm beside it."""
    _found("npm", "npm")
    return _found("Node", "node")


def docker() -> str:
    """The path of the Docker client, with an engine named by DOCKER_HOST or at the usual socket."""
    if not os.environ.get("DOCKER_HOST") and not Path("/var/run/docker.sock").exists():
        _missing("a Docker engine")
    return _found("Docker", "docker")


def python(version: str) -> str:
    """The path of a `python3.X` of that version, on PATH or where pyenv keeps them."""
    return find_python(version) or _missing(f"Python {version}")


def find_python(version: str) -> str | None:
    """The same, or None. Each candidate is tried: pyenv puts commands on PATH that only say where a Python is."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    on_path = [str(Path(folder) / f"python{version}") for folder in os.get_exec_path()]
    candidates = [*on_path, *map(str, sorted(root.glob(f"{version}.*/bin/python{version}")))]
    return next(filter(None, (_executable(candidate, version) for candidate in candidates)), None)


def _executable(candidate: str, version: str) -> str:
    """The Python that really runs; empty if none does, or one of another version."""
    script = "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"
    try:
        done = subprocess.run([candidate, "-I", "-c", script], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    of_version, _, executable = done.stdout.strip().partition(" ")
    return executable if of_version == version else ""


def _found(what: str, *names: str) -> str:
    for name in names:
        if path := shutil.which(name):
            return path
    return _missing(what)


def _missing(what: str) -> NoReturn:
    reason = f"{what} is not installed on this machine"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
