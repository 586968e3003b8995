"""Programs a test needs on the machine: if one is missing, the test is skipped with a reason, or fails in CI."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

__all__ = ["chromium", "docker", "node", "python"]


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
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for candidate in sorted(root.glob(f"{version}.*/bin/python{version}")):
        return str(candidate)
    return _found(f"Python {version}", f"python{version}")


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
