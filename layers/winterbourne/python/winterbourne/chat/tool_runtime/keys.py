"""Settings that tools need, by the names of their variables: each tool is handed those that it names and no other.

A key may be in a secret instead: where there is a setting `NAME_SECRET_ARN`, the secret it names wins over the
variable `NAME`.
"""

from collections.abc import Iterable, Mapping

from winterbourne.chat.errors import InvalidToolDeclaration, ToolError
from winterbourne.chat.infra.secrets import Secret, unwrap_single_value
from winterbourne.chat.settings import SECRET_SUFFIXES, Settings

__all__ = ["KeyRing", "ToolKeys", "is_known_setting", "is_set"]


def is_known_setting(name: str) -> bool:
    """Whether there is such a setting."""
    return name.lower() in Settings.__struct_fields__


def is_set(settings: Settings, name: str) -> bool:
    """Whether it is set, itself or as a secret."""
    return bool(getattr(settings, name.lower()) or _secret_arn(settings, name))


class KeyRing:
    """Reads settings for all tools of a process; each secret is read once for all of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._secrets: dict[str, Secret] = {}

    def restricted_to(self, names: Iterable[str]) -> "ToolKeys":
        """What a tool is handed that names these."""
        return ToolKeys({name: self._value_or_secret(name) for name in names})

    def _value_or_secret(self, name: str) -> Secret | str:
        if arn := _secret_arn(self._settings, name):
            return self._secrets.setdefault(name, Secret(arn, f"{name}_SECRET_ARN"))
        value = getattr(self._settings, name.lower())
        return "" if value is None else str(value)


class ToolKeys:
    """The settings that one tool may read, by the names of their variables."""

    def __init__(self, values: Mapping[str, Secret | str]) -> None:
        self._values = values

    async def key(self, name: str) -> str:
        """The value of a key.

        Raises:
            ToolMisdeclared: The tool does not name it.
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
        """The value of a setting that is no secret; empty where it is not set.

        Raises:
            ToolMisdeclared: The tool does not name it, or it is a secret: that is what `key` is for.
        """
        value_or_secret = self._lookup(name)
        if isinstance(value_or_secret, Secret) or name.lower().endswith(SECRET_SUFFIXES):
            raise InvalidToolDeclaration(f"{name} is a secret: read it with `await context.key({name!r})`")
        return value_or_secret

    def _lookup(self, name: str) -> Secret | str:
        if name not in self._values:
            raise InvalidToolDeclaration(f"the tool reads {name} without naming it: @tool(needs=[{name!r}])")
        return self._values[name]


def _secret_arn(settings: Settings, name: str) -> str:
    return str(getattr(settings, f"{name.lower()}_secret_arn", ""))
