"""`winterbourne function`: one function's own code, and nothing else."""

import sys
from pathlib import Path

import pytest

from winterbourne.local.function import main


@pytest.fixture(autouse=True)
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with one function in it."""
    for name in ("chat/app.py", "chat/tools/a.py", "chat/__pycache__/app.pyc", "chat/.editor", "other/app.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("winterbourne.local.artifact.lambdas_python", lambda: "3.1")
    return tmp_path


def test_has_its_folder_without_caches_and_hidden_files(functions: Path) -> None:
    assert main(["chat", "--into", "built"]) == 0
    built = {str(path.relative_to("built")) for path in Path("built").rglob("*") if path.is_file()}
    assert built == {"chat/app.py", "chat/tools/a.py"}


def test_is_empty_if_there_is_no_folder_of_that_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tool_worker", "--into", "built"]) == 0
    assert list(Path("built").iterdir()) == []
    expected = "winterbourne function: there is no folder tool_worker, so this function is empty\n"
    assert capsys.readouterr().err == expected


def test_is_not_mixed_with_what_is_there_already(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "--into", "other"]) == 1
    assert capsys.readouterr().err == "winterbourne function: other is not empty\n"


def test_that_does_not_compile_is_a_failure(functions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    this = f"{sys.version_info.major}.{sys.version_info.minor}"  # as if it were Lambda's
    monkeypatch.setattr("winterbourne.local.artifact.lambdas_python", lambda: this)
    (functions / "chat/app.py").write_text("x =")
    assert main(["chat", "--into", "built"]) == 1
