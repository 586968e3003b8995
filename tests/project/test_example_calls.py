"""`example_calls.py` has every public name; `tests/end_to_end/test_wheel.py` has a type checker read it."""

import ast
import importlib
from pathlib import Path

import pytest

CALLS = ast.parse(Path(__file__).with_name("example_calls.py").read_text())
PUBLIC = ("winterbourne", "winterbourne.chat", "winterbourne.local.testing")


def used(tree: ast.AST) -> set[str]:
    """Names and attributes wherever they are read, so not where they are imported."""
    nodes = list(ast.walk(tree))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_used(module: str) -> None:
    assert set(importlib.import_module(module).__all__) <= used(CALLS)


@pytest.mark.parametrize("module", PUBLIC)
def test_names_are_imported_from_where_they_are_public(module: str) -> None:
    imported = (node for node in CALLS.body if isinstance(node, ast.ImportFrom) and node.module == module)
    names = {alias.name for node in imported for alias in node.names}
    assert names == set(importlib.import_module(module).__all__) - {"__version__"}
