"""API keys and settings that tools read by variable name; each tool can read only those it declares.

A key may be stored in a secret instead: if the setting `NAME_SECRET_ARN` is set, that secret takes precedence over the
variable `NAME`.
"""

from collections.abc import Iterable, Mapping

from winterbourne.chat.errors import InvalidToolDeclaration, ToolError
from winterbourne.chat.infra.secrets import Secret, unwrap_single_value
from winterbourne.chat.settings import VARIABLES, Settings, is_secret

__all__ = ["KeyRing", "ToolKeys", "is_known_setting", "is_set"]


def is_known_setting(name: str) -> bool:
    """Whether a setting of this name exists."""
    return name in VARIABLES


def is_set(settings: Settings, name: str) -> bool:
    """Whether the setting is set, directly or as a secret."""
    return bool(settings.values()[name] or _secret_arn(settings, name))


class KeyRing:
    """Reads settings for all tools of a process; each secret is read once for all of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._secrets: dict[str, Secret] = {}

    def restricted_to(self, names: Iterable[str]) -> "ToolKeys":
        """The settings of a tool that declares these names."""
        return ToolKeys({name: self._value_or_secret(name) for name in names})

    def _value_or_secret(self, name: str) -> Secret | str:
        if arn := _secret_arn(self._settings, name):
            return self._secrets.setdefault(name, Secret(arn, f"{name}_SECRET_ARN"))
        value = self._settings.values()[name]
        return "" if value is None else str(value)


class ToolKeys:
    """The settings that one tool may read, by the names of their variables."""

    def __init__(self, values: Mapping[str, Secret | str]) -> None:
        self._values = values

    async def key(self, name: str) -> str:
        """The value of a key.

        Raises:
            InvalidToolDeclaration: The tool does not declare it.
            ToolError: It is not set.
            SettingsError: Its secret cannot be read.
        """
        value_or_secret = self._lookup(name)
        value = (
            unwrap_single_value(await value_or_secret.read())
            if isinstance(value_or_secret, Secret)
            else value_or_secret
        )
        if not value:
            raise ToolError(f"{name} is not set.")
        return value

    def setting(self, name: str) -> str:
        """The value of a setting that is not a secret; empty if it is not set.

        Raises:
            InvalidToolDeclaration: The tool does not declare it, or it is a secret, which only `key` reads.
        """
        value_or_secret = self._lookup(name)
        if isinstance(value_or_secret, Secret) or is_secret(name):
            raise InvalidToolDeclaration(f"{name} is a secret: read it with `await context.key({name!r})`")
        return value_or_secret

    def _lookup(self, name: str) -> Secret | str:
        if name not in self._values:
            raise InvalidToolDeclaration(f"the tool reads {name} without declaring it: @tool(needs=[{name!r}])")
        return self._values[name]


def _secret_arn(settings: Settings, name: str) -> str:
    return str(settings.values().get(f"{name}_SECRET_ARN", ""))
