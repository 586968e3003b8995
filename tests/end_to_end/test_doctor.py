"""`make doctor` against a running local server: it finds nothing wrong, and sees the streamed response."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.artifact import ROOT
from tests.local_server import local_server

pytestmark = pytest.mark.slow


def doctor(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "winterbourne.local", "doctor", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_a_local_server_is_healthy(tmp_path: Path) -> None:
    cors = ["--cors-allow-origin", "https://app.example.com", "--cors-allow-method", "POST"]
    for header in ("content-type", "x-api-key"):
        cors += ["--cors-allow-header", header]
    with local_server(tmp_path, *cors) as server:
        done = doctor("--url", server.url, "--origin", "https://app.example.com")
    found = {line.split()[1]: line.split()[0] for line in done.stdout.splitlines()}
    assert found == dict.fromkeys(["reachable", "clock", "cors", "ready", "auth", "model", "streaming"], "ok"), (
        done.stdout
    )
    assert done.returncode == 0


def test_an_origin_that_is_not_allowed_is_told_how_to_allow_it(tmp_path: Path) -> None:
    with local_server(tmp_path, "--env", "SCRIPTED_WORDS_PER_SECOND=0") as server:
        done = doctor("--url", server.url, "--origin", "https://app.example.com")
    assert "make deploy PARAMETERS='AllowedOrigins=https://app.example.com'" in done.stdout
    assert done.returncode == 1
