"""The pages of the reference, each made from the code by one function."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.reference import commands, python_api, settings
from tests.stack import ROOT

__all__ = ["FOLDER", "PAGES", "write"]

FOLDER: Final = ROOT / "docs" / "reference"

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "settings.md": settings.page,
    "python-api.md": python_api.page,
    "commands.md": commands.page,
}


def write(folder: Path = FOLDER) -> None:
    """Write every page."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")
