"""Tool discovery: collects every `Tool` that the modules of a package declare."""

import importlib
import pkgutil
from types import ModuleType

from winterbourne.chat.errors import InvalidToolDeclaration
from winterbourne.chat.tool_runtime.declaration import Tool

__all__ = ["discover"]


def discover(package: ModuleType) -> list[Tool]:
    """Import the modules of a package, in the order of their names, and collect their tools.

    Modules whose names begin with an underscore are helpers and are skipped.

    Raises:
        InvalidToolDeclaration: Two tools have the same name.
    """
    found: dict[str, tuple[Tool, str]] = {}
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if not info.name.rpartition(".")[2].startswith("_"):
            module = importlib.import_module(info.name)
            for tool in (value for value in vars(module).values() if isinstance(value, Tool)):
                existing, place = found.setdefault(tool.name, (tool, info.name))
                if existing is not tool:
                    places = f"one in {place}, one in {info.name}"
                    raise InvalidToolDeclaration(f"Two tools are named {tool.name}: {places}.")
    return [tool for tool, _ in found.values()]
