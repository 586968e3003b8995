"""The Makefile: which Python it takes for `.venv`, when it makes that anew, and which engine it upgrades to."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
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


def make(project: Path, *arguments: str, target: str = ".venv/pyvenv.cfg") -> "subprocess.CompletedProcess[str]":
    """Make a target; by default `.venv` alone, without what is installed in it."""
    environ = {
        name: value for name, value in os.environ.items() if name not in {"PYTHON", "MAKEFLAGS", "WINTERBOURNE_WHEELS"}
    }
    environ["PATH"] = f"{project / 'fake'}:{environ['PATH']}"
    command = ["make", target, *arguments]
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


@pytest.mark.parametrize("target", ["build", "deploy"])
def test_a_stage_that_is_not_there_is_one_sentence_that_lists_those_there_are(project: Path, target: str) -> None:
    shutil.copy(ROOT / "samconfig.toml", project)
    done = subprocess.run(
        ["make", target, "STAGE=nosuch"], cwd=project, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode
    assert done.stderr.splitlines()[0] == "there is no stage nosuch in samconfig.toml; there are: default dev prod "
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
    (project / ".venv/bin/activate").write_text("VIRTUAL_ENV=/where/it/was/made")  # moved since
    assert make(project, asked).returncode == 0
    assert f"{project}/.venv" in (project / ".venv/bin/activate").read_text()
    python.unlink()
    python.symlink_to("/no/such/python")
    (project / ".venv/run").touch()
    assert make(project, asked).returncode == 0
    assert subprocess.run([python, "-c", "import pip"], check=False).returncode == 0
    assert not (project / ".venv/run").exists()  # what it stands for is gone too
    python.unlink()
    script(python, "3.10.4")
    assert make(project).returncode


def wheel(folder: Path, version: str) -> str:
    """Write a wheel with nothing in it; returns its hash."""
    folder.mkdir(exist_ok=True)
    file = folder / f"winterbourne-{version}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        metadata = f"Metadata-Version: 2.1\nName: winterbourne\nVersion: {version}\n"
        archive.writestr(f"winterbourne-{version}.dist-info/METADATA", metadata)
        archive.writestr(f"winterbourne-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"winterbourne-{version}.dist-info/RECORD", "")
    return hashlib.sha256(file.read_bytes()).hexdigest()


class TestUpgrade:
    def test_writes_the_newest_wheel_of_the_folder_and_its_hash(self, project: Path) -> None:
        digests = {version: wheel(project / "wheels", version) for version in ("0.9.0", "0.10.0", "0.2.0")}
        (project / "local.mk").write_text("WINTERBOURNE_WHEELS ?= wheels\n")
        done = make(project, "MAKE=true", target="upgrade")  # without what it makes afterwards
        assert done.returncode == 0, done.stderr
        expected = f"winterbourne[chat,local]==0.10.0 --hash=sha256:{digests['0.10.0']}\n"
        assert (project / "requirements.txt").read_text() == expected

    def test_without_a_folder_is_one_sentence(self, project: Path) -> None:
        done = make(project, target="upgrade")
        assert done.returncode
        assert "WINTERBOURNE_WHEELS names no folder: say in which one the wheels of the engine are" in done.stderr
        assert not (project / "requirements.txt").exists()

    def test_without_a_wheel_leaves_everything_as_it_is(self, project: Path) -> None:
        """The public index is never asked for that name."""
        (project / "wheels").mkdir()
        (project / "requirements.txt").write_text("as it was\n")
        assert make(project, "WINTERBOURNE_WHEELS=wheels", target="upgrade").returncode
        assert (project / "requirements.txt").read_text() == "as it was\n"

    def test_is_not_for_the_engines_own_repository(self, project: Path) -> None:
        shutil.copy(ROOT / "development.mk", project)
        done = make(project, target="upgrade")
        assert done.returncode
        assert "this is the engine itself" in done.stderr
