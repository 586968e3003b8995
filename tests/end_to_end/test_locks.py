"""The lock files: complete, consistent, and made by `make lock` from the requirements in both pyproject.toml."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.artifact import ROOT

DEVELOPMENT = "requirements-dev.txt"
DEPENDENCIES = "layers/dependencies/requirements.txt"
RUNTIME = "layers/winterbourne/requirements.txt"
CLIENTS = "tests/contract/clients/requirements.txt"
LOCKS = (DEVELOPMENT, DEPENDENCIES, RUNTIME, CLIENTS)


def pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))


def declared_names(project: str, group: str = "") -> set[str]:
    """The package names a pyproject.toml requires, normalized as in the lock files."""
    table = tomllib.loads((ROOT / project).read_text())
    wanted = table["dependency-groups"][group] if group else table["project"]["dependencies"]
    return {re.split(r"[\[<>=!~; ]", name)[0].lower() for name in wanted}


class TestEveryLock:
    @pytest.mark.parametrize("lock", LOCKS)
    def test_names_each_version_with_its_hashes(self, lock: str) -> None:
        entries = re.split(r"^(?=[\w.-]+==)", (ROOT / lock).read_text(), flags=re.MULTILINE)
        assert [e.split()[0] for e in entries if e.strip() and "--hash=sha256:" not in e] == []

    @pytest.mark.parametrize("lock", LOCKS)
    def test_names_no_url(self, lock: str) -> None:
        assert not re.search(r"https?://|--(extra-)?index-url|--find-links", (ROOT / lock).read_text())

    @pytest.mark.parametrize("shipped", [DEPENDENCIES, RUNTIME])
    def test_is_tested_with_what_is_shipped(self, shipped: str) -> None:
        development = pins(DEVELOPMENT)
        assert {name: development.get(name) for name in pins(shipped)} == pins(shipped)

    def test_has_every_declared_requirement(self) -> None:
        assert declared_names("pyproject.toml") <= set(pins(DEPENDENCIES))
        assert declared_names("layers/winterbourne/pyproject.toml") <= set(pins(RUNTIME))
        assert declared_names("pyproject.toml", "dev") <= set(pins(DEVELOPMENT))

    def test_the_runtime_layer_brings_h11_and_nothing_else(self) -> None:
        assert set(pins(RUNTIME)) == {"h11"}


@pytest.mark.slow
def test_make_lock_makes_these_very_files(tmp_path: Path) -> None:
    """With `UPGRADE=` it keeps the versions, so the files are unchanged unless a name was added by hand."""
    inputs = ("Makefile", "pyproject.toml", "layers/winterbourne/pyproject.toml", CLIENTS.replace(".txt", ".in"))
    for name in (*LOCKS, *inputs):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to((ROOT / ".venv").resolve())
    command = ["make", "--silent", "--old-file=.venv/dev", "lock", "UPGRADE="]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for lock in LOCKS:
        assert (tmp_path / lock).read_text() == (ROOT / lock).read_text(), lock
