"""The settings the local server gives a chat function: the user's own, and what lets it run at once.

Any other function gets nothing of this, only Lambda's environment and what `--env` gives.
"""

from collections.abc import Mapping
from pathlib import Path

__all__ = ["is_chat", "local_settings", "user_settings"]


def is_chat(task_root: Path) -> bool:
    """Whether a task root holds a chat function, as source or built."""
    app = task_root / "chat" / "app.py"
    return app.exists() and "winterbourne.chat" in app.read_text(encoding="utf-8")


def user_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Those of the user's environment variables that are settings of the engine."""
    import msgspec  # noqa: PLC0415 - a function that is no chat needs neither

    from winterbourne.chat.settings import Settings  # noqa: PLC0415 - likewise

    names = [field.encode_name for field in msgspec.structs.fields(Settings)]
    return {name: environ[name] for name in names if environ.get(name)}


def local_settings(scratch: Path) -> dict[str, str]:
    """What differs from a deployment: everyone may call, and all processes share one store in `scratch`."""
    return {"AUTH": "none", "STORE": f"file:{scratch / 'store.sqlite3'}"}
