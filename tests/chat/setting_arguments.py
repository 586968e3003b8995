"""`python -m tests.chat.setting_arguments` writes `setting_arguments.pyi`, every setting as an argument."""

import typing
from pathlib import Path

from winterbourne.chat import settings

FILE = Path(settings.__file__).with_name("setting_arguments.pyi")

HEAD = '''"""Every setting as an argument of `Chat` and `ToolWorker`; made of `settings`."""

from typing import TypedDict

class SettingArguments(TypedDict, total=False):
'''


def text() -> str:
    """The file as it has to be."""
    parts = typing.get_type_hints(settings.Settings).values()
    hints = [hint for part in parts for hint in typing.get_type_hints(part).items()]
    return HEAD + "".join(f"    {name}: {_name(hint)}\n" for name, hint in hints)


def _name(hint: typing.Any) -> str:
    args = typing.get_args(hint)
    return " | ".join("None" if arg is type(None) else arg.__name__ for arg in args) if args else str(hint.__name__)


if __name__ == "__main__":
    FILE.write_text(text())
