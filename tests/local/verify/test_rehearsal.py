"""`winterbourne verify` as a process: `sam` is a stand-in, AWS a server of moto's, the function a real one."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local.verify.account import ROOT, client_of, put_sam, serve
from tests.local.verify.sam_stand_in import KEYS

pytestmark = pytest.mark.slow

KEY = json.dumps({"first": "sesame-sesame"})


class Rehearsal:
    """An account that is served, and a folder for what comes of it."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder, self.client = folder, client_of(variables)
        put_sam(folder)
        self._environ = {**os.environ, **variables, "PATH": f"{folder}:{os.environ['PATH']}"}

    def start(self, *arguments: str, wait: str = "", by_make: bool = False) -> "subprocess.Popen[bytes]":
        orders = json.dumps({"folder": str(self.folder), "key": KEY, "wait": wait})
        words = ["--yes", "--report", str(self.folder / "report"), *arguments]
        command = [sys.executable, "-m", "winterbourne.local", "verify", *words]
        if by_make:  # which finds in its folder of programs our Python, and the stand-in
            (self.folder / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
            (self.folder / "python").chmod(0o755)
            installed = [f"--old-file=.venv/{name}" for name in ("dev", "uv", "engine", "pyvenv.cfg")]
            command = ["make", "verify", f"bin={self.folder}", f"ARGS={' '.join(words)}", *installed]
        with (self.folder / "screen").open("wb") as screen:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env={**self._environ, "STAND_IN": orders},
                stdout=screen,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, text: str, file: str = "screen") -> None:
        while not (self.folder / file).exists() or text not in self.read(file):
            time.sleep(0.05)

    def read(self, file: str) -> str:
        return (self.folder / file).read_text()

    @property
    def claims(self) -> dict[str, Any]:
        return {each["id"]: each for each in json.loads(self.read("report.json"))["claims"]}

    @property
    def stacks(self) -> list[str]:
        return [each["StackName"] for each in self.client("cloudformation").describe_stacks()["Stacks"]]


@pytest.fixture
def rehearsal(tmp_path: Path) -> Iterator[Rehearsal]:
    with serve() as variables:
        made = Rehearsal(tmp_path, dict(variables))
        made.client("secretsmanager").create_secret(Name=KEYS, SecretString=KEY)
        try:
            yield made
        finally:
            made.client("secretsmanager").delete_secret(SecretId=KEYS, ForceDeleteWithoutRecovery=True)
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                os.kill(int(made.read("pid")), signal.SIGTERM)


def test_measures_what_was_deployed_and_deletes_it(rehearsal: Rehearsal) -> None:
    process = rehearsal.start("--only", "first-byte,terminal-frame,trailers,empty-bodies,keys,cors")
    assert process.wait() == 0, rehearsal.read("screen")
    assert {claim["verdict"] for claim in rehearsal.claims.values()} == {"proved"}
    assert len(rehearsal.claims) == 6
    assert rehearsal.claims["keys"]["figures"] == {"without": 401, "wrong": 401, "right": 200}
    assert rehearsal.stacks == []
    page = rehearsal.read("report.md")
    assert "6 proved, 0 failed, 0 not measured" in page
    assert "Nothing is left behind." in page


def end_group(pid: int) -> None:
    """As a terminal does at Ctrl-C."""
    os.killpg(pid, signal.SIGINT)


def end_one(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)


@pytest.mark.doors
@pytest.mark.parametrize("end", [end_group, end_one])
def test_make_verify_ends_sam_and_deletes_what_it_has_begun(rehearsal: Rehearsal, end: Callable[[int], None]) -> None:
    process = rehearsal.start("--only", "keys", wait="deploy", by_make=True)
    rehearsal.wait_for("deploy", "done")
    assert len(rehearsal.stacks) == 1
    end(process.pid)
    assert process.wait(), rehearsal.read("screen")
    assert rehearsal.stacks == []
    assert rehearsal.claims["keys"]["words"] == "the run was interrupted"


@pytest.mark.doors
def test_a_run_that_was_killed_leaves_a_stack_that_the_next_one_finds(rehearsal: Rehearsal) -> None:
    process = rehearsal.start("--only", "keys", wait="deploy")
    rehearsal.wait_for("deploy", "done")
    process.kill()
    process.wait()
    (rehearsal.folder / "done").unlink()
    (left,) = rehearsal.stacks
    assert rehearsal.start("--leftovers").wait() == 0
    assert f"The stack {left} is of a run that will be over by" in rehearsal.read("screen")
    rehearsal.client("cloudformation").delete_stack(StackName=left)
