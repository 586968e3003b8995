"""Tool discovery: collects the tools of packages, modules and functions, and makes the executor that offers them.

What cannot be used is left out, with an error in the log and a metric: one module does not take the others down.
"""

import importlib
import inspect
import logging
import os
import pkgutil
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Final, TypeAlias, cast

from winterbourne.chat.errors import InvalidToolDeclaration, SettingsError
from winterbourne.chat.infra import telemetry
from winterbourne.chat.infra.exception_text import exception_class_name, format_message
from winterbourne.chat.settings import Settings, misspelt_variables
from winterbourne.chat.tool_runtime import declaration
from winterbourne.chat.tool_runtime.call import CallRecords
from winterbourne.chat.tool_runtime.declaration import Function, Tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor

__all__ = ["ToolSource", "add_tools", "discover", "make_executor"]

ToolSource: TypeAlias = ModuleType | Tool | Function
"""A package or module with tools, a tool, or a function that becomes one."""

_LOGGER: Final = logging.getLogger(__name__)


def discover(sources: ToolSource | Iterable[ToolSource]) -> list[Tool]:
    """Collect tools, importing the modules of packages in the order of their names.

    Left out are modules that cannot be imported or declare a tool that is invalid, and of two tools with the same name
    the second.

    Args:
        sources: One or several of: a package, all of whose modules and packages are searched, but for those whose names
            begin with an underscore; a module; a tool; a typed function with a docstring, which becomes a tool.

    Raises:
        SettingsError: They are nothing of the kind.
    """
    found: dict[str, tuple[Tool, str]] = {}
    is_one = isinstance(sources, ModuleType | Tool) or callable(sources)
    if not is_one and (isinstance(sources, str | Mapping) or not isinstance(sources, Iterable)):
        raise SettingsError(f"tools: expected a package, a module, a function, or a list of them, not {sources!r}")
    for source in cast("Iterable[ToolSource]", [sources] if is_one else sources):
        for tool, place in _find(source):
            existing, first_place = found.setdefault(tool.name, (tool, place))
            if existing is not tool:
                reason = f"Two tools are named {tool.name}: one in {first_place}, one in {place}."
                _leave_out(place, InvalidToolDeclaration(reason))
    return [tool for tool, _ in found.values()]


def make_executor(
    settings: Settings,
    tools: Iterable[Tool],
    records: CallRecords | None = None,
    send_stop: Callable[[str], Awaitable[None]] | None = None,
) -> ToolExecutor:
    """Make the executor with the tools that can be used, and warn of variables that are nearly those of settings.

    `records` and `send_stop` are as `ToolExecutor` takes them.
    """
    keys, offered = {**os.environ, **settings.values()}, list(tools)
    log = settings.log.log_messages
    executor = ToolExecutor((), settings.tools, records=records, keys=keys, log_messages=log, send_stop=send_stop)
    add_tools(executor, (each for each in offered if not each.offered_if or keys.get(each.offered_if)))
    declared = {name for each in offered for name in (*each.options.keys, *each.options.needs)}
    known = declared | {f"{name}_SECRET_ARN" for name in declared}
    for name, likely in misspelt_variables(os.environ, known).items():
        _LOGGER.warning("%s is not a setting; is %s meant?", name, likely)
    return executor


def add_tools(executor: ToolExecutor, tools: Iterable[Tool]) -> None:
    """Add the tools that can be used, and log their names, which the local server shows.

    Left out are those whose name is taken.
    """
    for tool in tools:
        try:
            executor.add(tool)
        except InvalidToolDeclaration as error:
            _leave_out(_module_of(tool), error)
    offered = [schema.name for schema in executor.schemas]
    _LOGGER.info("tools", extra={"tools_offered": offered, "tools_unavailable": executor.unavailable})


def _find(source: ToolSource) -> Iterator[tuple[Tool, str]]:
    """The tools of one source, each with the name of its module."""
    if isinstance(source, ModuleType):
        yield from ((tool, source.__name__) for tool in vars(source).values() if isinstance(tool, Tool))
        for info in pkgutil.iter_modules(getattr(source, "__path__", ()), f"{source.__name__}."):
            if not info.name.rpartition(".")[2].startswith("_") and (module := _import(info.name)):
                yield from _find(module)
        _warn_of_plain_folders(source)
        return
    try:
        declared = source if isinstance(source, Tool) else declaration.tool()(source)
    except InvalidToolDeclaration as error:
        _leave_out(getattr(source, "__module__", ""), error)
    else:
        yield declared, _module_of(declared)


def _warn_of_plain_folders(package: ModuleType) -> None:
    entries = (entry for folder in getattr(package, "__path__", ()) for entry in os.scandir(folder))
    for entry in entries:
        is_plain = entry.is_dir() and entry.name.isidentifier() and not entry.name.startswith("_")
        if is_plain and not os.path.exists(f"{entry.path}/__init__.py"):
            _LOGGER.warning("%s.%s is not searched for tools: it has no __init__.py", package.__name__, entry.name)


def _module_of(tool: Tool) -> str:
    return tool.function.__module__ if tool.function else tool.name


def _leave_out(module: str, error: BaseException) -> None:
    """Log that a module of tools, or a tool in it, cannot be used, and count it.

    The local server reads the field `left_out` and does not start.
    """
    known, text = isinstance(error, InvalidToolDeclaration), " ".join(format_message(error).split())
    reason = f"{_file_of(module, error)}: {'' if known else f'{exception_class_name(error)}: '}{text}"
    telemetry.count_left_out()
    _LOGGER.error("left out: %s", reason, exc_info=None if known else error, extra={"left_out": reason})


def _import(name: str) -> ModuleType | None:
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - boundary: a module may raise anything when it is imported
        _leave_out(name, error)
        return None
    functions = [own for own, each in inspect.getmembers(module, inspect.isfunction) if each.__module__ == name]
    is_tool_module = any(isinstance(value, Tool) for value in vars(module).values())
    if functions and not is_tool_module and not hasattr(module, "__path__"):
        _LOGGER.warning("%s has no tool: none of its functions (%s) has @tool", name, ", ".join(functions))
    return module


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
