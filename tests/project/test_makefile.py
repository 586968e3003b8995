"""The Makefile: which Python it takes for `.venv`, and when it makes that anew."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "Makefile", tmp_path)
    return tmp_path


def script(path: Path, version: str) -> Path:
    """A stand-in for an interpreter that is too old."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo Python {version}\n')
    path.chmod(0o755)
    return path


def make(project: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Make `.venv` alone, without what is installed in it."""
    environ = {name: value for name, value in os.environ.items() if name not in {"PYTHON", "MAKEFLAGS"}}
    environ["PATH"] = f"{project / 'fake'}:{environ['PATH']}"
    command = ["make", ".venv/pyvenv.cfg", *arguments]
    return subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("arguments", [(), ("PYTHON=fake/python3",), ("PYTHON=/no/such/python",)])
def test_a_python_that_does_not_do_is_one_sentence_that_names_the_variable(
    project: Path, arguments: tuple[str, ...]
) -> None:
    script(project / "fake/python3", "3.10.4")
    done = make(project, *arguments)
    sentence = done.stderr.splitlines()[0]
    assert done.returncode
    assert sentence.startswith("Winterbourne needs Python 3.11 or later, and ")
    assert "make PYTHON=python3.12" in sentence
    assert ("3.10.4" in sentence) == ("/no/such" not in str(arguments))
    assert not (project / ".venv").exists()


def test_an_unfit_venv_is_made_anew_and_a_fit_one_is_kept(project: Path) -> None:
    asked = f"PYTHON={sys.executable}"
    python = project / ".venv/bin/python"
    script(project / "fake/python3", "3.10.4")
    assert make(project, asked).returncode == 0
    made = (project / ".venv/pyvenv.cfg").stat().st_mtime_ns
    assert make(project).returncode == 0  # although python3 is too old
    assert make(project, asked).returncode == 0
    assert (project / ".venv/pyvenv.cfg").stat().st_mtime_ns == made
    python.unlink()
    python.symlink_to("/no/such/python")
    (project / ".venv/run").touch()
    assert make(project, asked).returncode == 0
    assert subprocess.run([python, "-c", "import pip"], check=False).returncode == 0
    assert not (project / ".venv/run").exists()  # what it stands for is gone too
    python.unlink()
    script(python, "3.10.4")
    assert make(project).returncode
