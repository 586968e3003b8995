"""CONTRIBUTING.md: the files and names of its steps exist."""

import re
from pathlib import Path

import pytest

from tests.stack import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CHAT = ROOT / "layers/winterbourne/python/winterbourne/chat"
# Where the paths of its steps begin.
TOOLS, PROVIDERS, CONTRACT = (
    ROOT / name for name in ("functions/chat/tools", "tests/chat/providers", "tests/contract/providers")
)
FOLDERS = (ROOT, CHAT, CHAT.parent, TOOLS, PROVIDERS, CONTRACT)
CODE = sorted({text for text in re.findall(r"`([^`\n]+)`", PAGE) if "NAME" not in text})
PATHS = [text for text in CODE if re.fullmatch(r"(?!docs/)[\w./-]*(/[\w.-]+|\.(py|yaml|md|mk|in))/?", text)]
NAMES = [text for text in CODE if re.fullmatch(r"_?[A-Za-z]+[A-Z_][A-Za-z_]*", text)]
SOURCES = [ROOT / "template.yaml", *CHAT.rglob("*.py"), *(ROOT / "functions").rglob("*.py")]


def test_there_are_some() -> None:
    assert len(PATHS) > 20
    assert len(NAMES) > 15


@pytest.mark.parametrize("path", PATHS)
def test_a_file_exists(path: str) -> None:
    assert [folder for folder in FOLDERS if (folder / path).exists()]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_occurs_in_the_source(name: str) -> None:
    assert _occurs(name, SOURCES)


def _occurs(name: str, files: list[Path]) -> bool:
    return any(re.search(rf"\b{name}\b", file.read_text(encoding="utf-8")) for file in files)
