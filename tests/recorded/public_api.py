"""Public API that authors of tools and handlers import, and operators type, independent of module paths."""

import argparse
import inspect
import re
import sys
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from unittest import mock

import msgspec

import winterbourne
from tests.stack import ROOT
from winterbourne.chat.tool_runtime import declaration
from winterbourne.local.command_line import parse
from winterbourne.override import override

__all__ = ["command_line", "fields", "of_the_runtime", "of_tools"]

Names = dict[str, Any]

PLAIN_TYPES: Final = (str, int, float, tuple, type(None), type(inspect.Parameter.empty))


def fields(struct: type[msgspec.Struct]) -> Names:
    """Name, type and default of each field."""
    return {
        field.encode_name: {"type": _readable(field.type), "default": _plain(field.default)}
        for field in msgspec.structs.fields(struct)
    }


def of_the_runtime() -> Names:
    """What `winterbourne` exports."""
    return {name: _described(getattr(winterbourne, name)) for name in winterbourne.__all__}


def of_tools() -> Names:
    """What a module of tools imports."""
    return {
        "exported": sorted(declaration.__all__),
        "tool": _signature(inspect.unwrap(declaration.tool)),
        "ToolOptions": fields(declaration.ToolOptions),
        "ToolContext": _described(declaration.ToolContext),
    }


def command_line() -> Names:
    """The flags of the local server with their defaults."""
    with mock.patch.object(argparse.ArgumentParser, "parse_args", autospec=True) as parse_args:
        parse([])
    parser: argparse.ArgumentParser = parse_args.call_args.args[0]
    return {", ".join(action.option_strings): _default(action.default) for action in parser._actions}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _default(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.relative_to(ROOT)) if value.is_absolute() else str(value)
    return "the Python that runs it" if value == sys.executable else value


def _readable(kind: Any) -> str:
    """A type in readable form: `number >= 0 or none`."""
    origin, given = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return " ".join([_readable(given[0]), *(_limits(meta) for meta in given[1:])])
    if origin is Literal:
        return f"one of {', '.join(given)}"
    if origin in {typing.Union, types.UnionType}:
        return " or ".join(map(_readable, given))
    if origin is tuple:
        return f"tuple of {_readable(given[0])}"
    return "none" if kind is type(None) else str(kind.__name__)


def _limits(meta: msgspec.Meta) -> str:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "pattern": "like"}
    constraints = ((sign, getattr(meta, name)) for name, sign in signs.items())
    return " and ".join(f"{sign} {value}" for sign, value in constraints if value is not None)


def _described(thing: Any) -> Any:
    """The public members of a class, or how a function is called."""
    if not inspect.isclass(thing):
        return _signature(thing)
    ours = [one for one in thing.__mro__ if one.__module__.partition(".")[0] == thing.__module__.partition(".")[0]]
    members = {name: member for one in reversed(ours) for name, member in _members(one).items()}
    made = {} if issubclass(thing, BaseException) else {"()": _signature(thing)}
    return {**made, **{name: _member(member) for name, member in members.items()}}


def _members(one: type) -> Names:
    assigned = re.findall(r"^        self\.(\w+)(?: =|: )", inspect.getsource(one), re.MULTILINE)
    names = (*assigned, *inspect.get_annotations(one))
    found: Names = {**dict.fromkeys(names), **vars(one)}
    return {name: member for name, member in found.items() if not name.startswith("_")}


def _member(member: Any) -> str:
    if isinstance(member, property):
        return "property"
    if isinstance(member, classmethod | staticmethod):
        return _signature(member.__func__)
    return _signature(member) if inspect.isfunction(member) else "attribute"


def _signature(function: Any) -> str:
    """Names, kinds and defaults of parameters; their types are documented elsewhere."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return "()"
    bare = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
    parameters = [one if isinstance(one.default, PLAIN_TYPES) else one.replace(default=_Other()) for one in bare]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


class _Other:
    """A default that is not a plain value, such as the environment of the process."""

    @override
    def __repr__(self) -> str:
        return "…"
