"""What the local server knows of the chat function: what to let through, and what to set so that it runs at once.

Any other function gets nothing of this, only Lambda's environment and what `--env` gives.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

__all__ = ["is_chat", "local_settings", "users_settings"]

_FIELD: Final = re.compile(r"^    ([a-z][a-z0-9_]*): ", re.MULTILINE)


def is_chat(task_root: Path) -> bool:
    """Whether a task root holds the chat function, as source or built."""
    return _settings_module(task_root).exists()


def users_settings(task_root: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Those of the user's environment variables that are settings of the function.

    The names are read from the text of its settings module: importing the function here would cost its start twice,
    and what a built copy was built for need not be this machine.
    """
    names = [name.upper() for name in _FIELD.findall(_settings_module(task_root).read_text(encoding="utf-8"))]
    return {name: environ[name] for name in names if environ.get(name)}


def local_settings(scratch: Path) -> dict[str, str]:
    """What differs from a deployment: everyone may call, and all processes share one store in `scratch`."""
    return {"AUTH": "none", "STORE": f"file:{scratch / 'store.sqlite3'}"}


def _settings_module(task_root: Path) -> Path:
    return task_root / "chat" / "settings.py"
