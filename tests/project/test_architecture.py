"""`docs/architecture.md`: everything it names exists, and every old name leads to a current one."""

import contextlib
import importlib
import inspect
import re
from types import ModuleType

import pytest

from tests.stack import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text()
CURRENT_NAMES, _, OLD_NAMES = PAGE.partition("## Old names, new names")
PACKAGE = ROOT / "layers/winterbourne/python/winterbourne"


def resolve(dotted: str) -> object:
    """The module, or the attribute of a module, with this name."""
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError:
        module, _, name = dotted.rpartition(".")
        return getattr(importlib.import_module(module), name)


def rows(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^\| ([^|]+) \| ([^|]+) \|", text, re.MULTILINE)


class TestWhereIs:
    def test_every_name_exists(self) -> None:
        rows_of_names = [
            names for what, names in rows(CURRENT_NAMES.partition("## Where is")[2]) if what not in {"what", "---"}
        ]
        assert len(rows_of_names) > 50
        for names in rows_of_names:
            last = ""
            for name in re.findall(r"`([^`]+)`", names):
                if "/" in name:
                    assert (ROOT / name).exists()
                    continue
                last = name if not name.startswith(".") else last.rpartition(".")[0] + name
                assert resolve(f"winterbourne.{last}"), name

    def test_every_package_is_named(self) -> None:
        packages = {path.name for path in (PACKAGE / "chat").iterdir() if path.is_dir() and path.name != "__pycache__"}
        named = set(re.findall(r"^\| `(\w+)` \|", CURRENT_NAMES.partition("## The packages")[2], re.MULTILINE))
        assert named == packages


@pytest.mark.parametrize(
    ("old", "new", "names"), re.findall(r"^\| `([^`]+)` \| (.+) \| (.*) \|$", OLD_NAMES, re.MULTILINE)
)
def test_every_old_name_leads_to_one_that_exists(old: str, new: str, names: str) -> None:
    modules = [importlib.import_module(name) for name in re.findall(r"`([^`]+)`", new)]
    assert modules, old
    for name in re.findall(r"→ `([^`]+)`", names):
        assert any(has_name(module, name) for module in modules), name


def has_name(module: ModuleType, name: str) -> bool:
    """Whether the module has this name, which may start with the module's own."""
    own = module.__name__.rpartition(".")[2]
    parts = name.removeprefix(f"{own}.").split(".")
    with contextlib.suppress(AttributeError, KeyError):
        found: object = module
        for part in parts:
            found = getattr(found, part, None) or inspect.get_annotations(found)[part]  # type: ignore[arg-type]  # any object
        return True
    return False
