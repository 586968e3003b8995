"""Settings that the local server passes to a chat function: the user's own, and defaults that let it run without AWS.

Other functions get none of them, only Lambda's environment variables and those given with `--env`.
"""

import difflib
from collections.abc import Iterator, Mapping
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
    return problems + list(_contradictions(config, settings))


def _likely_setting(name: str, variables: list[str]) -> str:
    """The setting whose name differs by a letter or two, or in case alone; empty if there is none."""
    upper = name.upper().replace("-", "_")
    close = difflib.get_close_matches(upper, variables, n=1, cutoff=0.9)
    swapped = [each for each in variables if sorted(each) == sorted(upper)]
    return (close or swapped or [""])[0]


def _contradictions(config: ServerConfig, settings: "Settings") -> Iterator[str]:
    timeout_s, margin_s, reserve_s = (
        config.function.timeout_s,
        settings.stream.deadline_margin,
        settings.tools.tool_answer_reserve,
    )
    model, environments = settings.model, 1 if config.function.managed_instances else config.concurrency
    if timeout_s <= margin_s:
        yield f"no answer has time: the timeout is {timeout_s:g} s, and DEADLINE_MARGIN {margin_s:g} s end it early"
    elif timeout_s <= margin_s + reserve_s:
        kept = f"DEADLINE_MARGIN ({margin_s:g}) and TOOL_ANSWER_RESERVE ({reserve_s:g})"
        yield f"no tool has time: the timeout is {timeout_s:g} s, and {kept} take all of it"
    if 0 < timeout_s - margin_s <= settings.stream.heartbeat_interval:
        yield f"no heartbeat is ever sent: HEARTBEAT_INTERVAL is {settings.stream.heartbeat_interval:g} s"
    if model.model_temperature is not None and model.model_temperature > model.model_temperature_max:
        yield "MODEL_TEMPERATURE is above MODEL_TEMPERATURE_MAX"
    if settings.http.http_pool_connections > settings.http.http_pool_maxsize:
        yield "HTTP_POOL_CONNECTIONS is above HTTP_POOL_MAXSIZE, which is as many as there can be"
    if settings.storage.store == "memory" and environments > 1:
        yield f"STORE=memory: each of up to {environments} processes keeps conversations of its own"
    if settings.auth.auth != "api_key" and (settings.auth.api_keys or settings.auth.api_keys_secret_arn):
        yield f"API_KEYS has no effect with AUTH={settings.auth.auth}"
    if settings.auth.auth != "jwt" and settings.auth.jwt_issuer:
        yield f"JWT_ISSUER has no effect with AUTH={settings.auth.auth}"
