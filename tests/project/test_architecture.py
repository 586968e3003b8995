"""`docs/architecture.md`: every place it names exists, and every old name leads to a new one."""

import ast
import functools
import re
from pathlib import Path

import pytest

from tests.stack import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text()
PLACES, _, OLD_NAMES = PAGE.partition("## Old names, new names")
LAYER = ROOT / "layers/winterbourne/python"


def source(module: str) -> Path | None:
    """The file of a module; it is not imported, since importing an app starts it."""
    folder = LAYER if module.startswith("winterbourne") else ROOT / "functions"
    path = folder.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()), None)


@functools.cache
def names_in(file: Path) -> frozenset[str]:
    """Top-level names, and `Class.member` for methods, fields and attributes."""
    names: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        names |= targets(node)
        if isinstance(node, ast.ClassDef):
            members = {name for inner in node.body for name in targets(inner)}
            stored = (inner for inner in ast.walk(node) if isinstance(inner, ast.Attribute))
            members |= {inner.attr for inner in stored if isinstance(inner.ctx, ast.Store)}
            names |= {f"{node.name}.{member}" for member in members}
    return frozenset(names)


def targets(node: ast.stmt) -> set[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return {node.name}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
        case ast.Assign():
            return {target.id for target in node.targets if isinstance(target, ast.Name)}
    return set()


def exists(dotted: str) -> bool:
    module, _, name = dotted.rpartition(".")
    return bool(source(dotted)) or bool((file := source(module)) and name in names_in(file))


class TestWhereIs:
    def test_every_place_exists(self) -> None:
        rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", PLACES.partition("## Where is")[2], re.MULTILINE)
        places = [names for what, names in rows if what not in {"what", "---"}]
        assert len(places) > 50
        for names in places:
            last = ""
            for name in re.findall(r"`([^`]+)`", names):
                if "/" in name:
                    assert (ROOT / name).exists()
                    continue
                last = name if not name.startswith(".") else last.rpartition(".")[0] + name
                assert exists(f"winterbourne.{last}"), name

    def test_every_package_is_named(self) -> None:
        folders = (LAYER / "winterbourne/chat").iterdir()
        packages = {path.name for path in folders if path.is_dir() and path.name != "__pycache__"}
        named = set(re.findall(r"^\| `(\w+)` \|", PLACES.partition("## The packages")[2], re.MULTILINE))
        assert named == packages


@pytest.mark.parametrize(
    ("old", "new", "names"), re.findall(r"^\| `([^`]+)` \| (.+) \| (.*) \|$", OLD_NAMES, re.MULTILINE)
)
def test_every_old_name_leads_to_one_that_exists(old: str, new: str, names: str) -> None:
    modules = re.findall(r"`([^`]+)`", new)
    files = [source(module) for module in modules]
    assert files
    assert all(files), old
    for name in re.findall(r"→ `([^`]+)`", names):
        module, _, rest = name.partition(".")  # where a module was split, its name comes first
        is_split = len(files) > 1 and module in {module.rpartition(".")[2] for module in modules}
        assert any(file and (rest if is_split else name) in names_in(file) for file in files), name
