"""Tool discovery: collects every `Tool` that the modules of a package declare.

What cannot be used is left out, with an error in the log and a metric: one module does not take the others down.
"""

import importlib
import inspect
import logging
import pkgutil
import traceback
from collections.abc import Iterable
from types import ModuleType
from typing import Final

from winterbourne.chat.errors import InvalidToolDeclaration
from winterbourne.chat.infra import telemetry
from winterbourne.chat.infra.exception_text import exception_class_name, format_message
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor

__all__ = ["add_tools", "discover"]

_LOGGER: Final = logging.getLogger(__name__)


def discover(package: ModuleType) -> list[Tool]:
    """Import the modules of a package, in the order of their names, and collect their tools.

    Modules whose names begin with an underscore are helpers and are skipped. Left out are modules that cannot be
    imported or declare a tool that is invalid, and of two tools with the same name the second.
    """
    found: dict[str, tuple[Tool, str]] = {}
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if not info.name.rpartition(".")[2].startswith("_"):
            for tool in _tools_of(info.name, is_package=info.ispkg):
                existing, place = found.setdefault(tool.name, (tool, info.name))
                if existing is not tool:
                    reason = f"Two tools are named {tool.name}: one in {place}, one in {info.name}."
                    _leave_out(info.name, InvalidToolDeclaration(reason))
    return [tool for tool, _ in found.values()]


def add_tools(executor: ToolExecutor, tools: Iterable[Tool]) -> None:
    """Add the tools that can be used, and log their names, which the local server shows.

    Left out are those whose name is taken, and those that need a setting that does not exist.
    """
    for tool in tools:
        try:
            executor.add([tool])
        except InvalidToolDeclaration as error:
            _leave_out(tool.function.__module__ if tool.function else tool.name, error)
    _LOGGER.info("tools", extra={"tools_offered": [schema.name for schema in executor.schemas]})


def _leave_out(module: str, error: BaseException) -> None:
    """Log that a module of tools, or a tool in it, cannot be used, and count it.

    The local server reads the field `left_out` and does not start.
    """
    reason = f"{_file_of(module, error)}: {_explain(error)}"
    telemetry.count_left_out()
    known = isinstance(error, InvalidToolDeclaration)
    _LOGGER.error("left out: %s", reason, exc_info=None if known else error, extra={"left_out": reason})


def _tools_of(name: str, *, is_package: bool) -> list[Tool]:
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - boundary: a module may raise anything when it is imported
        _leave_out(name, error)
        return []
    tools = [value for value in vars(module).values() if isinstance(value, Tool)]
    functions = [own for own, each in inspect.getmembers(module, inspect.isfunction) if each.__module__ == name]
    if functions and not tools and not is_package:
        _LOGGER.warning("%s has no tool: none of its functions (%s) has @tool", name, ", ".join(functions))
    return tools


def _explain(error: BaseException) -> str:
    text = " ".join(format_message(error).split())
    return text if isinstance(error, InvalidToolDeclaration) else f"{exception_class_name(error)}: {text}"


def _file_of(module: str, error: BaseException) -> str:
    """The file of a module, with the line that raised the error if that is known."""
    path = module.replace(".", "/")
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        places.append((error.filename or "", error.lineno))
    for file in (f"{path}/__init__.py", f"{path}.py"):
        if lines := [line for name, line in places if name.endswith(f"/{file}")]:
            return f"{file}, line {lines[-1]}"
    return f"{path}.py"
