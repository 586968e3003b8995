"""The lock files: complete, consistent, and made by `make lock` from what both pyproject.toml and the user declare."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.artifact import BIN, ROOT

ENGINE = "layers/winterbourne/pyproject.toml"
FILES = "layers/winterbourne/python/winterbourne/local/files/locks"
RUNTIME, CHAT, DEV = (f"{FILES}/{name}.txt" for name in ("runtime", "chat", "dev"))
DEVELOPMENT = "requirements-dev.txt"
DEPENDENCIES = "layers/dependencies/requirements.txt"
CLIENTS = "tests/contract/clients/requirements.txt"
INSTRUCTOR = "tests/contract/clients/instructor.txt"
LINTERS = "tests/contract/clients/linters.txt"
LOCKS = (RUNTIME, CHAT, DEV, DEVELOPMENT, DEPENDENCIES, CLIENTS, INSTRUCTOR, LINTERS)


def pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))


def declared_names(*extras: str) -> set[str]:
    """The package names the engine requires, with these extras, normalized as in the lock files."""
    project = tomllib.loads((ROOT / ENGINE).read_text())["project"]
    wanted = [*project["dependencies"], *(name for extra in extras for name in project["optional-dependencies"][extra])]
    return {re.split(r"[\[<>=!~; ]", name)[0].lower() for name in wanted} - {"winterbourne"}


class TestEveryLock:
    @pytest.mark.parametrize("lock", LOCKS)
    def test_names_each_version_with_its_hashes(self, lock: str) -> None:
        entries = re.split(r"^(?=[\w.-]+==)", (ROOT / lock).read_text(), flags=re.MULTILINE)
        assert [e.split()[0] for e in entries if e.strip() and "--hash=sha256:" not in e] == []

    @pytest.mark.parametrize("lock", LOCKS)
    def test_names_no_url(self, lock: str) -> None:
        assert not re.search(r"https?://|--(extra-)?index-url|--find-links", (ROOT / lock).read_text())

    @pytest.mark.parametrize("shipped", [RUNTIME, CHAT, DEV, DEPENDENCIES])
    def test_is_tested_with_what_is_shipped(self, shipped: str) -> None:
        development = pins(DEVELOPMENT)
        assert {name: development.get(name) for name in pins(shipped)} == pins(shipped)

    def test_has_every_declared_requirement(self) -> None:
        group = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["dev"]
        assert declared_names() <= set(pins(RUNTIME))
        assert declared_names("chat") <= set(pins(CHAT))
        assert declared_names("chat", "local", "dev") <= set(pins(DEV))
        assert {re.split(r"\[", name)[0].lower() for name in group} <= set(pins(DEVELOPMENT))

    def test_boto3_is_left_to_lambda(self) -> None:
        assert not {"boto3", "botocore"} & set(pins(CHAT))

    def test_the_runtime_layer_brings_h11_and_nothing_else(self) -> None:
        assert set(pins(RUNTIME)) == {"h11"}


@pytest.mark.slow
def test_make_lock_makes_these_very_files(tmp_path: Path) -> None:
    """With `UPGRADE=` it keeps the versions, so the files are unchanged unless a name was added by hand."""
    declared = (
        ENGINE,
        "pyproject.toml",
        *(lock.replace(".txt", ".in") for lock in (DEPENDENCIES, CLIENTS, INSTRUCTOR, LINTERS)),
    )
    inputs = ("Makefile", "development.mk", *declared)
    for name in (*LOCKS, *inputs):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(BIN.parent)
    command = ["make", "--silent", "--old-file=.venv/uv", "lock", "UPGRADE="]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for lock in LOCKS:
        assert (tmp_path / lock).read_text() == (ROOT / lock).read_text(), lock
