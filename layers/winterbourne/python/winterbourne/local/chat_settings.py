"""Settings that the local server passes to a chat function: the user's own, and defaults that let it run without AWS.

Other functions get none of them, only Lambda's environment variables and those given with `--env`.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from winterbourne.local.server import ServerConfig

if TYPE_CHECKING:
    from winterbourne.chat.settings import Settings

__all__ = ["find_problems", "is_chat", "local_settings", "user_settings"]


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


def find_problems(config: ServerConfig, environ: Mapping[str, str]) -> list[str]:
    """What in the settings of a chat can hardly be meant: misspelt variables, and values that contradict each other."""
    from winterbourne.chat.errors import SettingsError  # noqa: PLC0415 - needed only for a chat function
    from winterbourne.chat.settings import VARIABLES, Settings  # noqa: PLC0415 - likewise

    misspelt = ((name, _likely_setting(name, list(VARIABLES))) for name in sorted(environ) if name not in VARIABLES)
    problems = [f"{name} is not a setting; is {likely} meant?" for name, likely in misspelt if likely]
    try:
        settings = Settings.from_environment(config.function.variables)
    except SettingsError:  # the function itself reports it
        return problems
    return problems + _contradictions(config, settings)


def _likely_setting(name: str, variables: list[str]) -> str:
    """The setting whose name differs by a letter or two, or in case alone; empty if there is none."""
    upper = name.upper().replace("-", "_")
    close = difflib.get_close_matches(upper, variables, n=1, cutoff=0.9)
    swapped = [each for each in variables if sorted(each) == sorted(upper)]
    return (close or swapped or [""])[0]


def _contradictions(config: ServerConfig, settings: "Settings") -> list[str]:
    timeout_s, margin_s = config.function.timeout_s, settings.stream.deadline_margin
    reserve_s, heartbeat_s = settings.tools.tool_answer_reserve, settings.stream.heartbeat_interval
    environments = 1 if config.function.managed_instances else config.concurrency
    model, http, auth = settings.model, settings.http, settings.auth
    keeps_apart = settings.storage.store == "memory" and environments > 1
    has_keys = bool(auth.api_keys or auth.api_keys_secret_arn)
    answer_s, times = timeout_s - margin_s, f"the timeout is {timeout_s:g} s, DEADLINE_MARGIN {margin_s:g} s"
    problems = {
        f"no answer has time: {times}": answer_s <= 0,
        f"no tool has time: {times}, TOOL_ANSWER_RESERVE {reserve_s:g} s": 0 < answer_s <= reserve_s,
        f"no heartbeat is ever sent: HEARTBEAT_INTERVAL is {heartbeat_s:g} s": 0 < answer_s <= heartbeat_s,
        "MODEL_TEMPERATURE is above MODEL_TEMPERATURE_MAX": (model.model_temperature or 0)
        > model.model_temperature_max,
        "HTTP_POOL_CONNECTIONS is above HTTP_POOL_MAXSIZE": http.http_pool_connections > http.http_pool_maxsize,
        f"STORE=memory: each of up to {environments} processes keeps conversations of its own": keeps_apart,
        f"API_KEYS has no effect with AUTH={auth.auth}": auth.auth != "api_key" and has_keys,
        f"JWT_ISSUER has no effect with AUTH={auth.auth}": auth.auth != "jwt" and bool(auth.jwt_issuer),
    }
    return [text for text, applies in problems.items() if applies]
