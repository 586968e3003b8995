"""`sam` as a process: what it says is passed on and kept, and it ends with us."""

import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.local.verify.account import VARIABLES
from winterbourne.local.verify import sam
from winterbourne.local.verify.interrupt import Interrupted, Interrupts
from winterbourne.local.verify.sam import Sam, SamFailed


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def program(tmp_path: Path, said: list[str]) -> Sam:
    return Sam(str(tmp_path / "sam"), tmp_path, tmp_path / "log", said.append)


def does(program: Sam, code: str) -> None:
    path = Path(program.program)
    path.write_text(f"#!/bin/sh\n{code}\n")
    path.chmod(0o755)


def test_each_line_is_passed_on_and_kept(program: Sam, said: list[str]) -> None:
    does(program, 'echo "$1 $2"; echo; echo "two lines" >&2')
    program.run("build", "--parallel")
    assert said == ["build --config-file", "two lines"]
    assert program.log.read_text() == "build --config-file\n\ntwo lines\n"


@pytest.mark.doors  # sam itself, six seconds
def test_what_the_project_says_of_its_own_deployments_does_not_hold(
    program: Sam, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as an account: what is made in another one than we look into would never be deleted."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in {**VARIABLES, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    (program.cwd / "samconfig.toml").write_text('version = 0.1\n[default.global.parameters]\nprofile = "other"\n')
    with pytest.raises(SamFailed, match="Could not connect"):
        replace(program, program=str(Path(sys.executable).with_name("sam"))).run(
            "delete", "--stack-name", "a", "--region", "eu-central-1", "--no-prompts"
        )
    assert "other" not in " ".join(said)


def test_a_failure_has_its_last_lines(program: Sam) -> None:
    does(program, "echo why; exit 3")
    with pytest.raises(SamFailed, match=r"sam deploy ended with status 3:\nwhy"):
        program.run("deploy")


def test_it_finds_the_programs_beside_our_python_and_no_telemetry_is_sent(program: Sam, said: list[str]) -> None:
    does(program, 'echo "$SAM_CLI_TELEMETRY"; command -v python')
    program.run("build")
    assert said[0] == "0"
    assert Path(said[1]).parent.samefile(Path(sys.executable).parent)


def test_it_ends_with_its_children_if_we_are_interrupted(program: Sam, said: list[str]) -> None:
    does(program, "sleep 60 & echo $!; wait")

    def interrupt() -> None:
        while not said:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    with Interrupts(lambda: None) as interrupts:
        threading.Thread(target=interrupt).start()
        with pytest.raises(Interrupted):
            program.run("deploy")
    assert interrupts.number == signal.SIGINT
    while is_running(int(said[0])):
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether it is neither gone nor waits only to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_it_ends_if_it_takes_too_long(program: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sam.LIMITS_S, "deploy", 0.05)
    does(program, "sleep 60")
    with pytest.raises(SamFailed, match="status -9"):
        program.run("deploy")
