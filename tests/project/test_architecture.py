"""`docs/architecture.md` says what is so: every place it names is there, and every old name leads to a new one."""

import contextlib
import importlib
import inspect
import re
from types import ModuleType

import pytest

from tests.stack import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text()
PLACES, _, OLD = PAGE.partition("## Old names, new names")
PACKAGE = ROOT / "layers/winterbourne/python/winterbourne"


def resolved(dotted: str) -> object:
    """The module, or what a module has under this name."""
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError:
        module, _, name = dotted.rpartition(".")
        return getattr(importlib.import_module(module), name)


def rows(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^\| ([^|]+) \| ([^|]+) \|", text, re.MULTILINE)


class TestWhereIs:
    def test_every_place_is_there(self) -> None:
        places = [names for what, names in rows(PLACES.partition("## Where is")[2]) if what not in {"what", "---"}]
        assert len(places) > 50
        for names in places:
            last = ""
            for name in re.findall(r"`([^`]+)`", names):
                if "/" in name:
                    assert (ROOT / name).exists()
                    continue
                last = name if not name.startswith(".") else last.rpartition(".")[0] + name
                assert resolved(f"winterbourne.{last}"), name

    def test_every_package_is_named(self) -> None:
        rooms = {path.name for path in (PACKAGE / "chat").iterdir() if path.is_dir() and path.name != "__pycache__"}
        named = set(re.findall(r"^\| `(\w+)` \|", PLACES.partition("## The packages")[2], re.MULTILINE))
        assert named == rooms


@pytest.mark.parametrize(("old", "new", "names"), re.findall(r"^\| `([^`]+)` \| (.+) \| (.*) \|$", OLD, re.MULTILINE))
def test_every_old_name_leads_to_one_that_is_there(old: str, new: str, names: str) -> None:
    modules = [importlib.import_module(name) for name in re.findall(r"`([^`]+)`", new)]
    assert modules, old
    for name in re.findall(r"→ `([^`]+)`", names):
        assert any(is_in(module, name) for module in modules), name


def is_in(module: ModuleType, name: str) -> bool:
    """Whether the module has this name, which may begin with the module's own."""
    own = module.__name__.rpartition(".")[2]
    parts = name.removeprefix(f"{own}.").split(".")
    with contextlib.suppress(AttributeError, KeyError):
        here: object = module
        for part in parts:
            here = getattr(here, part, None) or inspect.get_annotations(here)[part]  # type: ignore[arg-type]
        return True
    return False
