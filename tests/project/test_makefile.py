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

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "Makefile", tmp_path)
    return tmp_path


def script(path: Path, version: str) -> Path:
    """A stand-in for an interpreter that is too old."""
    return command(path, f'[ "$1" = --version ] && echo Python {version}')


def command(path: Path, code: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{code}\n")
    path.chmod(0o755)
    return path


def make(
    project: Path, *arguments: str, target: str = ".venv/pyvenv.cfg", **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Make a target; by default `.venv` alone, without what is installed in it."""
    ours = {"PYTHON", "MAKEFLAGS", "MAKELEVEL", "WINTERBOURNE_WHEELS"}
    environ = {name: value for name, value in os.environ.items() if name not in ours} | variables
    environ["PATH"] = f"{project / 'fake'}:{environ['PATH']}"
    command = ["make", target, *arguments]
    return subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, check=False, timeout=250)


def sentence(done: "subprocess.CompletedProcess[str]") -> str:
    """The one line that a failed `make` prints, before its own."""
    assert done.returncode
    line, own = done.stderr.splitlines()
    assert own.startswith("make: *** ")
    return line


@pytest.mark.parametrize("arguments", [(), ("PYTHON=fake/python3",), ("PYTHON=/no/such/python",)])
def test_a_python_that_does_not_do_is_one_sentence_that_names_one_that_does(
    project: Path, arguments: tuple[str, ...]
) -> None:
    script(project / "fake/python3", "3.10.4")
    command(project / "fake/python3.14", "exit 0")
    said = sentence(make(project, *arguments))
    assert said.startswith("Winterbourne needs Python 3.11 or later, and ")
    assert said.endswith("; name another: make PYTHON=python3.14 .venv/pyvenv.cfg")
    assert ("3.10.4" in said) == ("/no/such" not in str(arguments))
    assert not (project / ".venv").exists()


def test_a_shim_that_refuses_is_one_sentence(project: Path) -> None:
    refusal = "echo 'pyenv: python3.12: command not found' >&2; echo >&2; echo 'it exists in 3.12.1' >&2; exit 127"
    for version in ("3.14", "3.13", "3.12"):
        command(project / f"fake/python{version}", refusal)
    command(project / "fake/python3.11", "exit 0")
    assert sentence(make(project, "PYTHON=python3.12")) == (
        "Winterbourne needs Python 3.11 or later, and python3.12 is not there, or does not start;"
        " name another: make PYTHON=python3.11 .venv/pyvenv.cfg"
    )


def test_where_no_python_does_one_sentence_says_to_install_one(project: Path) -> None:
    """No other is named: the next sentence would name it again."""
    for version in ("3", "3.14", "3.13", "3.12", "3.11"):
        script(project / f"fake/python{version}", "3.10.4")
    assert sentence(make(project)) == (
        "Winterbourne needs Python 3.11 or later, and python3 is Python 3.10.4;"
        " install another, with venv and pip, and name it: make PYTHON=python3.14 .venv/pyvenv.cfg"
    )


def test_a_python_without_venv_or_pip_is_one_sentence_that_names_the_package(project: Path) -> None:
    """Debian's python3 without python3-venv."""
    for version in ("3", "3.14", "3.13", "3.12", "3.11"):
        command(project / f"fake/python{version}", 'case "$2" in *ensurepip*) exit 1;; esac')
    assert sentence(make(project)) == (
        "python3 cannot make .venv, for it came without venv and pip: install them (on Debian and Ubuntu:"
        " apt install python3-venv), or install another, with venv and pip, and name it:"
        " make PYTHON=python3.14 .venv/pyvenv.cfg"
    )
    assert "apt install python3.12-venv" in sentence(make(project, "PYTHON=python3.12"))


def test_a_venv_of_somebody_else_is_one_sentence(project: Path) -> None:
    (project / ".venv").mkdir()
    command(project / "fake/rm", "echo 'rm: cannot remove: Permission denied' >&2; exit 1")
    said = sentence(make(project, f"PYTHON={sys.executable}"))
    assert said == ".venv is unfit and cannot be removed, perhaps because it is another user's: remove it yourself"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose `.venv` was made, which takes seconds, but has nothing in it."""
    project = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "Makefile", project)
    assert make(project, f"PYTHON={sys.executable}").returncode == 0
    return project


@pytest.fixture
def equipped(made: Path) -> Path:
    """The same with nothing that an earlier test has left beside it."""
    for path in made.iterdir():
        if path.is_dir() and path.name != ".venv":
            shutil.rmtree(path)
        elif path.name not in {".venv", "Makefile"}:
            path.unlink()
    return made


@pytest.fixture
def ready(equipped: Path) -> Path:
    """The same with all that has to be there before packages are installed."""
    locks = equipped / f".venv/lib/python3.{sys.version_info.minor}/site-packages/winterbourne/local/files/locks"
    locks.mkdir(parents=True, exist_ok=True)
    pin = "==0.0.1 --hash=sha256:" + "0" * 64 + "\n"
    for name in ("chat", "dev"):
        (locks / f"{name}.txt").write_text(f"uv{pin}h11{pin}")
    (equipped / "layers/dependencies").mkdir(parents=True)
    for name in ("requirements.txt", "layers/dependencies/requirements.txt", ".venv/engine"):
        (equipped / name).touch()
    return equipped


class TestWithoutNetwork:
    """Nothing answers at the package index's address."""

    def make(
        self, project: Path, target: str, url: str = "http://127.0.0.1:9/simple"
    ) -> "subprocess.CompletedProcess[str]":
        dead = {"PIP_INDEX_URL": url, "UV_DEFAULT_INDEX": url, "PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1"}
        dead |= dict.fromkeys(("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_INDEX"), "")
        return make(project, "--old-file=.venv/engine", target=target, UV_HTTP_RETRIES="0", **dead)

    @pytest.mark.parametrize("target", ["run", "test", "lock"])
    def test_is_one_sentence(self, ready: Path, target: str) -> None:
        said = sentence(self.make(ready, target))
        assert said.startswith("no package can be fetched, for the package index does not answer: look at the network")

    def test_is_one_sentence_of_uv_too(self, ready: Path) -> None:
        (ready / ".venv/bin/uv").symlink_to(Path(sys.executable).with_name("uv"))
        (ready / ".venv/uv").touch()
        assert sentence(self.make(ready, "test")).startswith(
            "no package can be fetched, for the package index does not"
        )

    def test_is_not_said_of_a_package_that_does_not_fit(self, ready: Path) -> None:
        (ready / "index").mkdir()
        *reasons, last, _ = self.make(ready, "run", (ready / "index").as_uri()).stderr.splitlines()
        assert any("No matching distribution found for uv==0.0.1" in reason for reason in reasons)
        assert last == "nothing is installed; the reason is above"


@pytest.mark.parametrize("target", ["build", "deploy"])
def test_a_stage_that_is_not_there_is_one_sentence_that_lists_those_there_are(project: Path, target: str) -> None:
    shutil.copy(ROOT / "samconfig.toml", project)
    done = subprocess.run(
        ["make", target, "STAGE=nosuch"], cwd=project, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode
    assert done.stderr.splitlines()[0] == "there is no stage nosuch in samconfig.toml; there are: default dev prod "
    assert not (project / ".venv").exists()


def test_an_unfit_venv_is_made_anew_and_a_fit_one_is_kept(project: Path, made: Path) -> None:
    asked = f"PYTHON={sys.executable}"
    python = project / ".venv/bin/python"
    script(project / "fake/python3", "3.10.4")
    shutil.copytree(made / ".venv", project / ".venv", symlinks=True)  # and so not where it was made
    assert make(project, asked).returncode == 0
    assert f"{project}/.venv" in (project / ".venv/bin/activate").read_text()
    fit = (project / ".venv/pyvenv.cfg").stat().st_mtime_ns
    assert make(project).returncode == 0  # although python3 is too old
    assert make(project, asked).returncode == 0
    assert (project / ".venv/pyvenv.cfg").stat().st_mtime_ns == fit
    python.unlink()
    python.symlink_to("/no/such/python")
    (project / ".venv/run").touch()
    assert make(project, asked).returncode == 0
    assert subprocess.run([python, "-c", "import pip"], check=False).returncode == 0
    assert not (project / ".venv/run").exists()  # what it stands for is gone too
    python.unlink()
    script(python, "3.10.4")
    assert make(project).returncode


@pytest.mark.parametrize(
    ("door", "needs"), [("web", "development"), ("agentcore", "development"), ("rest", "the function")]
)
def test_run_installs_uvicorn_for_the_doors_that_it_serves(door: str, needs: str) -> None:
    done = make(ROOT, "--dry-run", "--always-make", f"ARGS=--port 1 --door {door}", target="run")
    assert f"installing what {needs} needs" in done.stdout


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
    def test_writes_the_newest_wheel_of_the_folder_and_its_hash(self, equipped: Path) -> None:
        digests = {version: wheel(equipped / "wheels", version) for version in ("0.9.0", "0.10.0", "0.2.0")}
        (equipped / "local.mk").write_text("WINTERBOURNE_WHEELS ?= wheels\n")
        done = make(equipped, "MAKE=true", target="upgrade")  # without what it makes afterwards
        assert done.returncode == 0, done.stderr
        expected = f"winterbourne[chat,local]==0.10.0 --hash=sha256:{digests['0.10.0']}\n"
        assert (equipped / "requirements.txt").read_text() == expected

    def test_without_a_folder_is_one_sentence(self, equipped: Path) -> None:
        done = make(equipped, target="upgrade")
        assert done.returncode
        assert "WINTERBOURNE_WHEELS names no folder: say in which one the wheels of the engine are" in done.stderr
        assert not (equipped / "requirements.txt").exists()

    def test_without_a_wheel_leaves_everything_as_it_is(self, equipped: Path) -> None:
        """The public index is never asked for that name."""
        (equipped / "wheels").mkdir()
        (equipped / "requirements.txt").write_text("as it was\n")
        assert make(equipped, "WINTERBOURNE_WHEELS=wheels", target="upgrade").returncode
        assert (equipped / "requirements.txt").read_text() == "as it was\n"

    def test_is_not_for_the_engines_own_repository(self, equipped: Path) -> None:
        shutil.copy(ROOT / "development.mk", equipped)
        done = make(equipped, target="upgrade")
        assert done.returncode
        assert "this is the engine itself" in done.stderr
