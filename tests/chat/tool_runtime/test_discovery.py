"""Tool discovery: every tool in the modules of a package is registered."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from chat import tools
from winterbourne.chat.errors import InvalidToolDeclaration
from winterbourne.chat.tool_runtime.discovery import discover

TOOL = '''
from winterbourne.chat.tool_runtime.declaration import tool

@tool
async def {name}() -> int:
    """Some tool."""
    return 1
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of an empty package named found_tools."""
    folder = tmp_path / "found_tools"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "found_tools"]:
        del sys.modules[name]


def import_package() -> ModuleType:
    importlib.invalidate_caches()
    return importlib.import_module("found_tools")


def test_every_module_of_the_package_is_a_tool_module(package: Path) -> None:
    (package / "b.py").write_text(TOOL.format(name="second"))
    (package / "a.py").write_text(TOOL.format(name="first") + TOOL.format(name="also"))
    assert [tool.name for tool in discover(import_package())] == ["first", "also", "second"]


def test_a_tool_that_another_module_imports_is_found_once(package: Path) -> None:
    (package / "a.py").write_text(TOOL.format(name="first"))
    (package / "b.py").write_text("from found_tools.a import first")
    assert [tool.name for tool in discover(import_package())] == ["first"]


def test_modules_with_an_underscore_are_helpers(package: Path) -> None:
    (package / "_helper.py").write_text("raise RuntimeError")
    assert discover(import_package()) == []


def test_duplicate_names_are_an_error_that_names_both_modules(package: Path) -> None:
    (package / "a.py").write_text(TOOL.format(name="same"))
    (package / "b.py").write_text(TOOL.format(name="same"))
    with pytest.raises(InvalidToolDeclaration, match=r"named same: one in found_tools\.a, one in found_tools\.b"):
        discover(import_package())


def test_the_shipped_tools_are_found() -> None:
    names = {"calculate", "convert_currency", "current_time", "get_stock_quote", "get_weather"}
    assert names <= {tool.name for tool in discover(tools)}
