"""Source files: which changes under a task root are noticed."""

import os
from pathlib import Path

import pytest

from winterbourne.local.source_files import SourceFiles


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "a.py").write_text("x = 1")
    return tmp_path


def test_nothing_has_changed_at_first(root: Path) -> None:
    assert SourceFiles(root).changed() == []


def test_a_change_is_reported_once(root: Path) -> None:
    files = SourceFiles(root)
    (root / "tools" / "a.py").write_text("x = 12")
    assert files.changed() == ["tools/a.py"]
    assert files.changed() == []


@pytest.mark.parametrize("name", ["tools/b.py", "instructions.md", "prices.json", "new/folder/c.py"])
def test_new_and_removed_files_are_changes(root: Path, name: str) -> None:
    files = SourceFiles(root)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("y")
    assert files.changed() == [name]
    (root / name).unlink()
    assert files.changed() == [name]


@pytest.mark.parametrize("name", ["local.log", "store.sqlite3", ".git/x.py", "__pycache__/a.py", ".a.py.swp", "a.pyc"])
def test_what_a_run_or_an_editor_writes_is_none(root: Path, name: str) -> None:
    files = SourceFiles(root)
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text("y")
    assert files.changed() == []


def test_a_broken_link_is_no_file(root: Path) -> None:
    (root / "gone.py").symlink_to(root / "nowhere.py")
    assert SourceFiles(root).changed() == []


def test_the_compiled_form_of_a_changed_module_is_removed(root: Path) -> None:
    """Otherwise Python would use it where size and second of the source are the same."""
    compiled = root / "tools" / "__pycache__" / "a.cpython-311.pyc"
    compiled.parent.mkdir()
    compiled.touch()
    files = SourceFiles(root)
    os.utime(root / "tools" / "a.py", (1, 1))
    files.changed()
    assert not compiled.exists()
