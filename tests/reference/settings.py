"""The page of the settings."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
from msgspec import inspect

from tests.reference import markdown
from tests.reference.sources import ENGINE, load
from tests.stack import source
from winterbourne.chat.auth.factory import SCHEMES
from winterbourne.chat.providers import anthropic, bedrock, openai
from winterbourne.chat.providers.factory import PROVIDERS
from winterbourne.chat.settings import VARIABLES, Settings, is_secret
from winterbourne.chat.settings_variable import _RESERVED
from winterbourne.chat.storage.factory import STORES
from winterbourne.local.chat_settings import local_settings

__all__ = ["INTERNAL", "page", "variables_read"]

GROUPS: Final = {
    "model": "Model",
    "tools": "Tools",
    "http": "HTTP",
    "stream": "Answer",
    "doors": "Doors",
    "request": "Request",
    "auth": "Callers",
    "limits": "Limits",
    "storage": "Storage",
    "log": "Log",
    "traces": "Traces",
}

VALUES: Final[Mapping[str, Mapping[str, Any]]] = {"model_provider": PROVIDERS, "auth": SCHEMES}
STORE_VALUES: Final = {"memory": "`memory`", "file": "`file:PATH`", "dynamodb": "`dynamodb:TABLE`"}
DEFAULT_MODELS: Final = {"openai": openai, "anthropic": anthropic, "bedrock": bedrock}

INTERNAL: Final = {
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_SAM_LOCAL",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "SETTINGS",
    "_HANDLER",
    "_LAMBDA_TELEMETRY_LOG_FD",
    "_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET",
    "_X_AMZN_TRACE_ID",
}
"""Variables that Lambda sets for its runtime, and nobody else."""


def page() -> str:
    """The page."""
    groups = "\n\n".join(_group(name, title) for name, title in GROUPS.items())
    return markdown.fill("settings.md", index=_index(), groups=groups, local=_local())


def variables_read() -> set[str]:
    """Every variable that the source reads by its name, but for settings, and those of the function of `verify`."""
    paths = (path for path in sorted(ENGINE.rglob("*.py")) if "files/verify" not in path.as_posix())
    text = "\n".join(path.read_text("utf-8") for path in paths)
    return {*re.findall(r"""environ(?:ment)?(?:\.get\(|\.pop\(|\[)"(\w+)\"""", text)} - VARIABLES


def _index() -> str:
    rows = ((title, " · ".join(map(_link, _names(group)))) for group, title in GROUPS.items())
    return "\n".join(f"- {title}: {links}" for title, links in rows)


def _group(name: str, title: str) -> str:
    part = type(getattr(Settings(), name))
    about = load()[f"chat.settings.{part.__name__}"].docstring.value
    struct = inspect.type_info(part)
    assert isinstance(struct, inspect.StructType)
    return "\n\n".join([f"## {title}", about, *(_setting(part.__name__, field) for field in struct.fields)])


def _setting(part: str, field: inspect.Field) -> str:
    name = field.name
    docstring = load()[f"chat.settings.{part}"][name].docstring
    if docstring is None:
        raise ValueError(f"the setting {name} has no docstring below it, which says what it means")
    meaning = docstring.value
    facts = [
        f"`{name}`: {_values(name, field.type)}",
        f"default {_default(name, field.default)}",
        _set_by(name.upper()),
    ]
    return f"### `{name.upper()}`\n\n{_linked(markdown.prose(meaning), name)}\n\n{'; '.join(facts)}."


def _values(name: str, kind: inspect.Type) -> str:
    if name in VALUES:
        return f"{', '.join(f'`{value}`' for value in VALUES[name])}, or one of your own"
    if name == "store":
        return ", ".join(STORE_VALUES[scheme] for scheme in STORES) + ", or `SCHEME:NAME`"
    match kind:
        case inspect.UnionType(types=types):
            return _values(name, types[0])
        case inspect.BoolType():
            return "`true` or `false`"
        case inspect.IntType() | inspect.FloatType():
            return f"{'whole number' if isinstance(kind, inspect.IntType) else 'number'}, {_range(kind)}"
    words = _words(name) if isinstance(kind, inspect.LiteralType) else "text"
    return "text, secret" if is_secret(name.upper()) else words


def _words(name: str) -> str:
    """The few that a setting may be, in the order of the source."""
    [declared] = {part.__annotations__.get(name) for part in Settings.__annotations__.values()} - {None}
    return ", ".join(f"`{word}`" for word in get_args(declared) if word)


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    if kind.gt is not None:
        return f"more than {kind.gt:g}"
    return f"from {kind.ge:g} to {kind.le:g}" if kind.le is not None else f"{kind.ge:g} or more"


def _default(name: str, value: Any) -> str:
    if name == "model_id":
        return ", ".join(f"`{module.DEFAULT_MODEL}` ({provider})" for provider, module in DEFAULT_MODELS.items())
    if value in {"", None}:
        return "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    text = f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
    return f"{text} ({_bytes(value)})" if name.endswith("_bytes") else text


def _bytes(value: int) -> str:
    return f"{value >> 20} MiB" if value >= 1 << 20 else f"{value >> 10} KiB"


def _set_by(variable: str) -> str:
    """What sets it in a deployment."""
    if re.fullmatch(_RESERVED, variable):
        return "set by Lambda"
    if is_secret(variable):
        return "in a deployment [a secret](#keys-and-secrets)"
    if variable in _variables():
        return _set_by_template(_variables()[variable])
    entry = f"template parameter `Settings={variable}=…`"
    return f"{entry}, with the ARN in `SecretArns` too" if variable.endswith("_ARN") else entry


def _set_by_template(value: Any) -> str:
    """Which parameter sets a variable, and what of the stack's own it has otherwise, or by that parameter."""
    shown = " and ".join(f"`{each}`" for each in dict.fromkeys(_parameters(value)))
    own = [name for name in source()["Resources"] if re.search(rf"\b{name}\b", str(value))]
    if not shown:
        return "in a deployment the stack's name"
    if not own:
        return f"template parameter {shown}"
    is_choice = any(f"'Ref': {each!r}" in str(value) for each in _parameters(value))
    resource = f"the stack's own `{own[0]}`"
    return f"template parameter {shown}, else {resource}" if is_choice else f"{resource}, by template parameter {shown}"


def _variables() -> dict[str, Any]:
    variables: dict[str, Any] = source()["Resources"]["ChatFunction"]["Properties"]["Environment"]["Variables"]
    return variables


def _parameters(node: Any) -> Iterator[str]:
    """The parameters that a value, or a condition, of the template depends on."""
    template = source()
    match node:
        case {"Ref": str(name)} if name in template["Parameters"]:
            yield name
        case {"Fn::If": [str(condition), *values]}:
            yield from _parameters(template["Conditions"][condition])
            yield from _parameters(values)
        case dict() | list():
            for each in node.values() if isinstance(node, dict) else node:
                yield from _parameters(each)


def _local() -> str:
    """What `winterbourne run` sets for a chat."""
    settings = local_settings(Path("…"))
    return markdown.table(("setting", "value"), ((_link(name), f"`{value}`") for name, value in settings.items()))


def _names(group: str) -> list[str]:
    return [name.upper() for name in msgspec.structs.asdict(getattr(Settings(), group))]


def _link(variable: str) -> str:
    return f"[`{variable}`]({markdown.anchor(variable)})"


def _linked(text: str, own_name: str) -> str:
    """The text with a link wherever it names another setting."""

    others = VARIABLES - {own_name.upper()}
    pattern = r"`[^`]*`|\b[A-Z]+(?:_[A-Z]+)*\b(?!=)"
    return re.sub(pattern, lambda match: _link(match[0]) if match[0] in others else match[0], text)
