"""Settings that the local server passes to a chat function: the user's own, and defaults that let it run without AWS.

Other functions get none of them, only Lambda's environment variables and those given with `--env`.
"""

import re
import secrets
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from winterbourne.local.console import LIMITS
from winterbourne.local.doors import DOORS
from winterbourne.local.server import ServerConfig

if TYPE_CHECKING:
    from winterbourne.chat.settings import Settings

__all__ = ["find_problems", "is_chat", "local_settings", "named_variables", "signing_key", "user_settings"]

_PLATFORM: Final = re.compile(
    r"(AWS_)?(LAMBDA|EXECUTION|REGION|DEFAULT)\w*|PYTHON[A-Z]*|(LD_|LC_|XDG_)\w*|[A-Z]*PATH|PWD|OLDPWD"
)
_OF_THE_SHELL: Final = {"HOME", "HOSTNAME", "LANG", "LOGNAME", "SHELL", "SHLVL", "TERM", "TZ", "USER"}
_QUOTED_NAME: Final = re.compile(r"""["']([A-Z][A-Z0-9_]*)["']""")


def is_chat(task_root: Path) -> bool:
    """Whether a task root contains a chat function, as source or built: `chat/app.py` uses the engine."""
    app = task_root / "chat" / "app.py"
    return app.is_file() and b"winterbourne.chat" in app.read_bytes()


def named_variables(task_root: Path) -> set[str]:
    """Names of environment variables in the function's code: of keys that its tools declare, of what it reads itself.

    Those that Lambda, Python or a shell define are none of them.
    """
    sources = (path.read_text(encoding="utf-8", errors="replace") for path in task_root.rglob("*.py"))
    names = {name for source in sources for name in _QUOTED_NAME.findall(source)}
    return {name for name in names - _OF_THE_SHELL if not _PLATFORM.fullmatch(name)}


def user_settings(environ: Mapping[str, str], named: Iterable[str]) -> dict[str, str]:
    """The user's environment variables that are settings of the engine, or that the function's code names.

    Of a key's name, the variable with its secret's ARN belongs to it.
    """
    from winterbourne.chat.settings import VARIABLES  # noqa: PLC0415 - needed only for a chat function

    keys = {f"{name}{end}" for name in named for end in ("", "_SECRET_ARN")}
    return {name: environ[name] for name in {*VARIABLES, *keys} if environ.get(name)}


def local_settings(scratch: Path, door: str = "url", timeout_s: float = 0) -> dict[str, str]:
    """What differs from a deployment: the scripted model, no authentication, no limits, one store for all processes.

    Behind a server nothing tells a chat its deadline and where it is, so that settings do.
    """
    server = DOORS[door].server
    told = {"REQUEST_TIMEOUT": f"{timeout_s:g}", "ASGI_DOOR": server.setting} if server else {}
    store = f"file:{scratch / 'store.sqlite3'}"
    return {"MODEL_PROVIDER": "scripted", "AUTH": "none", "STORE": store, **dict.fromkeys(LIMITS, "0"), **told}


def signing_key(folder: Path) -> str:
    """The key in a file of this folder, which is made if it is not there, for its owner alone.

    It should last as long as the store: what is asked before a restart can then be decided after it, and only once.
    """
    file = folder / "signing.key"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(32), encoding="ascii")
    return file.read_text(encoding="ascii").strip()


def find_problems(config: ServerConfig, environ: Mapping[str, str], named: Container[str] = ()) -> list[str]:
    """What in the settings of a chat can hardly be meant: misspelt variables, and values that contradict each other."""
    from winterbourne.chat.errors import SettingsError  # noqa: PLC0415 - needed only for a chat function
    from winterbourne.chat.settings import Settings, misspelt_variables  # noqa: PLC0415 - likewise

    misspelt = misspelt_variables(environ, named)
    problems = [f"{name} is not a setting; is {likely} meant?" for name, likely in misspelt.items()]
    try:
        settings = Settings.from_environment(config.function.variables)
    except SettingsError:  # the function itself reports it
        return problems
    return problems + _contradictions(config, settings)


def _contradictions(config: ServerConfig, settings: "Settings") -> list[str]:
    timeout_s, margin_s = config.function.timeout_s, settings.stream.deadline_margin
    reserve_s, heartbeat_s = settings.tools.tool_answer_reserve, settings.stream.heartbeat_interval
    environments = 1 if config.function.managed_instances or DOORS[config.door].server else config.concurrency
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
        "AUTH=iam: requests here have no caller's identity, so each is refused": auth.auth == "iam",
        f"API_KEYS has no effect with AUTH={auth.auth}": auth.auth != "api_key" and has_keys,
        f"JWT_ISSUER has no effect with AUTH={auth.auth}": auth.auth != "jwt" and bool(auth.jwt_issuer),
        f"JWT_CLIENT_ID has no effect with AUTH={auth.auth}": auth.auth != "jwt" and bool(auth.jwt_client_id),
    }
    return [text for text, applies in problems.items() if applies]
