"""Settings that the local server passes to a chat function: the user's own, and defaults that let it run without AWS.

Other functions get none of them, only Lambda's environment variables and those given with `--env`.
"""

from collections.abc import Mapping
from pathlib import Path

__all__ = ["is_chat", "local_settings", "user_settings"]


def is_chat(task_root: Path) -> bool:
    """Whether a task root contains a chat function, as source or built: `chat/app.py` uses the engine."""
    app = task_root / "chat" / "app.py"
    return app.is_file() and b"winterbourne.chat" in app.read_bytes()


def user_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The user's environment variables that are settings of the chat engine."""
    from winterbourne.chat.settings import VARIABLES  # noqa: PLC0415 - needed only for a chat function

    return {name: environ[name] for name in VARIABLES if environ.get(name)}


def local_settings(scratch: Path) -> dict[str, str]:
    """What differs from a deployment: no authentication, and one store in `scratch` shared by all processes."""
    return {"AUTH": "none", "STORE": f"file:{scratch / 'store.sqlite3'}"}
