"""`python -m tests.chat.setting_arguments` writes what type checkers know of settings and of a tool's options."""

import json
import typing
from collections.abc import Mapping
from pathlib import Path

from winterbourne.chat import settings
from winterbourne.chat.tool_runtime import declaration

SETTINGS = Path(settings.__file__).with_name("setting_arguments.pyi")
OPTIONS = Path(declaration.__file__).with_name("option_arguments.pyi")

Hints = Mapping[str, typing.Any]


def texts() -> dict[Path, str]:
    """The files as they have to be."""
    parts = typing.get_type_hints(settings.Settings).values()
    hints = {name: hint for part in parts for name, hint in typing.get_type_hints(part).items()}
    options = {"name": str, **typing.get_type_hints(declaration.ToolOptions)}
    return {
        SETTINGS: _text("Every setting as an argument of `Chat` and `ToolWorker`; made of `settings`", hints),
        OPTIONS: _text("Every option as an argument of `tool` and `remote_tool`; made of `ToolOptions`", options),
    }


def _text(sentence: str, hints: Hints) -> str:
    lines = [f"    {name}: {type_name(hint)}\n" for name, hint in hints.items()]
    used = [name for name in ("Callable", "Sequence") if any(name in line for line in lines)]
    imports = f"from collections.abc import {', '.join(used)}\n" * bool(used)
    typed = "Literal, TypedDict" if any("Literal" in line for line in lines) else "TypedDict"
    kind = "SettingArguments" if "`settings`" in sentence else "OptionArguments"
    head = f'"""{sentence}."""\n\n{imports}from typing import {typed}\n\nclass {kind}(TypedDict, total=False):\n'
    return head + "".join(lines)


def type_name(hint: typing.Any) -> str:
    """A type as it is written in these files."""
    args = typing.get_args(hint)
    if hint is typing.Any:  # `approval`, the only one that may be a function
        return "bool | Callable[..., object]"
    if typing.get_origin(hint) is tuple:  # of which any sequence can be made
        return f"Sequence[{type_name(args[0])}]"
    if typing.get_origin(hint) is typing.Literal:
        return f"Literal[{', '.join(map(json.dumps, args))}]"
    return " | ".join(map(type_name, args)) if args else "None" if hint is type(None) else str(hint.__name__)


if __name__ == "__main__":
    for path, text in texts().items():
        path.write_text(text)
