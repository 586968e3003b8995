"""`make test-pythons`: each Python that is here is run, whatever became of the one before; CI needs all of them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import pythons, requirements
from tests.stack import ROOT

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

PYTEST = """#!/bin/sh
echo "$0 $*" >>{log}
case "$0" in *3.12*) exit 1;; esac
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The Pythons that are here: stand-ins that note how they were called; the tests fail under 3.12."""
    found = {version: str(tmp_path / f"python{version}") for version in ("3.11", "3.12", "3.13")}
    for path in found.values():
        Path(path).write_text(PYTEST.format(log=tmp_path / "log"))
        Path(path).chmod(0o755)
    monkeypatch.setattr(pythons, "find_python", found.get)
    monkeypatch.setattr(pythons, "environment", lambda _, python: Path(python))
    monkeypatch.delenv("CI", raising=False)
    return found


def test_says_what_it_runs_goes_on_after_a_failure_and_fails(
    here: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert not pythons.main(["-n", "2", "tests/runtime"])
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "running under Python 3.11, 3.12, 3.13; not here: 3.14"
    assert [line.split(",")[0] for line in lines[-3:]] == [
        "Python 3.11: passed",
        "Python 3.12: failed",
        "Python 3.13: passed",
    ]
    called = (tmp_path / "log").read_text().splitlines()
    assert called == [f"{python} -m pytest -n 2 tests/runtime" for python in here.values()]


def test_one_may_be_left_out(here: dict[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    assert pythons.main(["--without", "3.12"])
    assert capfd.readouterr().out.startswith("running under Python 3.11, 3.13; not here: 3.14\n")


def test_the_successor_of_httpx_has_one_run_of_its_own_under_this_python(
    here: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    made: list[tuple[str, str]] = []

    def environment(name: str, python: str) -> Path:
        made.append((name, python))
        return Path(here["3.11"])

    monkeypatch.setattr(pythons, "environment", environment)
    assert pythons.main(["--httpx2", "tests/chat"])
    assert made == [("httpx2", sys.executable)]
    assert capfd.readouterr().out.splitlines()[-1].startswith("httpx2: passed, ")


@pytest.mark.parametrize(("ci", "passes"), [("", True), ("true", False)])
def test_in_ci_a_python_may_not_be_missing(
    here: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *, ci: str, passes: bool
) -> None:
    monkeypatch.setenv("CI", ci)
    here["3.14"] = here.pop("3.12")
    Path(here["3.14"]).write_text("#!/bin/sh")
    assert pythons.main([]) == passes
    assert ("Python 3.12: is not here, and CI needs it" in capfd.readouterr().out) != passes


def test_an_environment_that_cannot_be_made_is_a_failure_of_that_python_alone(
    here: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def environment(version: str, python: str) -> Path:
        if version == "3.11":
            raise subprocess.CalledProcessError(1, "uv")
        return Path(python)

    monkeypatch.setattr(pythons, "environment", environment)
    assert not pythons.main(["--without", "3.12"])
    assert "Python 3.11: its environment cannot be made\nPython 3.13: passed" in capfd.readouterr().out


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only lock, which lists nothing."""
    path = tmp_path / "lock.txt"
    path.write_text("")
    monkeypatch.setattr(pythons, "LOCKS", (path,))
    return path


@pytest.mark.slow
def test_an_environment_has_pip_and_the_engine(lock: Path, tmp_path: Path) -> None:
    python = pythons.environment(VERSION, sys.executable, tmp_path)
    subprocess.run([python, "-c", "import winterbourne, pip"], check=True, cwd=tmp_path)


@pytest.mark.slow
def test_what_imports_httpx_gets_its_successor_where_that_is_tried(lock: Path, tmp_path: Path) -> None:
    locked = re.split(r"\n(?=\S)", (ROOT / "requirements-dev.txt").read_text())
    wanted = re.compile("(httpx2?|httpcore2?|anyio|certifi|h11|idna|truststore|typing-extensions)==")
    lock.write_text("\n".join(filter(wanted.match, locked)))
    python = pythons.environment("httpx2", sys.executable, tmp_path)
    script = """
import sys, winterbourne
assert not {"httpx", "httpx2"} & set(sys.modules)
from winterbourne.chat.http_library import httpx
import httpcore, httpx2, httpx._client
assert (httpcore.__name__, httpx, httpx._client.Client) == ("httpcore2", httpx2, httpx2.Client)
"""
    subprocess.run([python, "-c", script], check=True, cwd=tmp_path)


@pytest.mark.slow
def test_an_environment_is_made_once_for_each_lock(lock: Path, tmp_path: Path) -> None:
    quick = tmp_path / "python"  # it leaves out pip, which takes seconds
    quick.write_text(f'#!/bin/sh\nexec {sys.executable} "$@" --without-pip\n')
    quick.chmod(0o755)

    def made() -> float:
        python = pythons.environment(VERSION, str(quick), tmp_path)
        subprocess.run([python, "-c", "import winterbourne"], check=True, cwd=tmp_path)
        return (tmp_path / VERSION / "pyvenv.cfg").stat().st_mtime_ns

    first = made()
    assert made() == first
    lock.write_text("# another")
    second = made()
    assert second != first
    (tmp_path / VERSION / "bin/python").unlink()
    assert made() != second


class TestFindingAPython:
    @pytest.fixture(autouse=True)
    def _nothing_is_here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))

    def command(self, path: Path, script: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def test_a_command_that_only_says_where_it_is_or_is_of_another_version_is_none(self, tmp_path: Path) -> None:
        self.command(tmp_path / "python3.12", "exit 127")
        self.command(tmp_path / "pyenv/versions/3.12.9/bin/python3.12", f'exec {sys.executable} "$@"')
        self.command(tmp_path / "python3.10", f'exec {sys.executable} "$@"')
        assert requirements.find_python("3.10") is None
        assert (requirements.find_python("3.12") is None) == (VERSION != "3.12")

    @pytest.mark.parametrize("folder", ["", "pyenv/versions/{}.1/bin"])
    def test_one_on_path_or_where_pyenv_keeps_them_is_found(self, folder: str, tmp_path: Path) -> None:
        self.command(tmp_path / folder.format(VERSION) / f"python{VERSION}", f'exec {sys.executable} "$@"')
        found = requirements.find_python(VERSION)
        assert found is not None
        assert Path(found).samefile(sys.executable)
