"""What finishes a build: the same files give the same bytes, whoever built them and when."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.stack import ROOT
from winterbourne.local.artifact import empty_folder, finish, lambdas_python, write_zip


def written(folder: Path, mode: int = 0o644) -> Path:
    (folder / "python").mkdir(parents=True)
    for name in ("wrapper", "python/app.py"):
        (folder / name).write_text("x = 1\n")
        (folder / name).chmod(mode)
    (folder / "wrapper").chmod(mode | 0o100)
    return folder


@pytest.fixture
def without_lambdas_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("winterbourne.local.artifact.lambdas_python", lambda: "3.1")


class TestFinish:
    def test_gives_every_file_one_date_and_one_of_two_modes(self, tmp_path: Path, without_lambdas_python: Any) -> None:
        folder = written(tmp_path / "built", 0o600)
        assert finish(folder, "/opt")
        status = {path.name: path.stat() for path in (folder, *folder.rglob("*"))}
        assert {each.st_mtime for each in status.values()} == {946_684_800}
        modes = {name: each.st_mode & 0o777 for name, each in status.items()}
        assert modes == {"built": 0o755, "python": 0o755, "wrapper": 0o755, "app.py": 0o644}

    def test_says_that_nothing_is_compiled_without_lambdas_python(
        self, tmp_path: Path, without_lambdas_python: Any, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert finish(written(tmp_path / "built"), "/opt")
        assert not list(tmp_path.rglob("*.pyc"))
        assert capfd.readouterr().err.startswith("python3.1 is not on PATH: nothing is compiled ahead")

    @pytest.mark.parametrize(("code", "compiles"), [("x = 1", True), ("x =", False)])
    def test_tells_whether_all_modules_compile(
        self, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, compiles: bool
    ) -> None:
        this = f"{sys.version_info.major}.{sys.version_info.minor}"  # as if it were Lambda's
        monkeypatch.setattr("winterbourne.local.artifact.lambdas_python", lambda: this)
        (tmp_path / "app.py").write_text(code)
        assert finish(tmp_path, "/opt") is compiles
        for compiled in tmp_path.rglob("*.pyc"):
            assert b"/opt/app.py" in compiled.read_bytes()

    def test_a_command_that_does_not_start_is_no_python(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(sys, "executable", "/no/such/python")
        monkeypatch.setenv("PATH", str(tmp_path))
        assert finish(written(tmp_path / "built"), "/opt")


class TestLambdasPython:
    @pytest.fixture(autouse=True)
    def _of_no_project(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "layers/x86_64").mkdir(parents=True)
        monkeypatch.setattr(sys, "prefix", str(tmp_path / "project/.venv"))
        monkeypatch.chdir(tmp_path / "layers/x86_64")

    @pytest.mark.parametrize("folder", ["", "layers/x86_64", "project"])
    def test_is_that_of_the_template_around_the_working_directory_or_the_environment(
        self, folder: str, tmp_path: Path
    ) -> None:
        template = tmp_path / folder / "template.yaml"
        template.parent.mkdir(exist_ok=True)
        template.write_text("Resources:\n  ChatFunction:\n    Properties:\n      Runtime: python3.12\n")
        assert lambdas_python() == "3.12"

    def test_is_the_templates_own_where_there_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "template.yaml").write_text("Resources: {}\n")
        assert f"Runtime: python{lambdas_python()}\n" in (ROOT / "template.yaml").read_text()


class TestZip:
    def test_has_the_same_bytes_for_the_same_files(self, tmp_path: Path, without_lambdas_python: Any) -> None:
        for name in ("one", "other"):
            folder = written(tmp_path / name, 0o644 if name == "one" else 0o600)
            finish(folder, "/opt")
            os.utime(folder / "wrapper", (1, 1))
            write_zip(folder, tmp_path / "new" / f"{name}.zip")
        assert (tmp_path / "new/one.zip").read_bytes() == (tmp_path / "new/other.zip").read_bytes()

    def test_keeps_what_can_be_executed(self, tmp_path: Path, without_lambdas_python: Any) -> None:
        folder = written(tmp_path / "built")
        finish(folder, "/opt")
        write_zip(folder, file := tmp_path / "layer.zip")
        with zipfile.ZipFile(file) as archive:
            modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in archive.infolist()}
        assert modes == {"python/app.py": 0o644, "wrapper": 0o755}


class TestEmptyFolder:
    def test_is_made_if_it_is_not_there(self, tmp_path: Path) -> None:
        assert empty_folder(tmp_path / "a/b").is_dir()

    def test_is_refused_if_something_is_in_it(self, tmp_path: Path) -> None:
        with pytest.raises(FileExistsError, match="is not empty"):
            empty_folder(written(tmp_path / "built"))


def test_nothing_of_it_needs_more_than_the_standard_library() -> None:
    code = "import sys, winterbourne.local.layer, winterbourne.local.function; print({'h11', 'httpx'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"
