"""Settings that tools need, by the names of their variables: each tool is handed those that it names and no other.

A key may be in a secret instead: where there is a setting `NAME_SECRET_ARN`, the secret it names wins over the
variable `NAME`.
"""

from collections.abc import Iterable, Mapping

from winterbourne.chat.errors import ToolError, ToolMisdeclared
from winterbourne.chat.infra.secrets import Secret, only_value
from winterbourne.chat.settings import SECRET, Settings

__all__ = ["KeyRing", "Keys", "given", "known"]


def known(name: str) -> bool:
    """Whether there is such a setting."""
    return name.lower() in Settings.__struct_fields__


def given(settings: Settings, name: str) -> bool:
    """Whether it is set, itself or as a secret."""
    return bool(getattr(settings, name.lower()) or _arn(settings, name))


class KeyRing:
    """Reads settings for all tools of a process; each secret is read once for all of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._secrets: dict[str, Secret] = {}

    def only(self, names: Iterable[str]) -> "Keys":
        """What a tool is handed that names these."""
        return Keys({name: self._held(name) for name in names})

    def _held(self, name: str) -> Secret | str:
        if arn := _arn(self._settings, name):
            return self._secrets.setdefault(name, Secret(arn, f"{name}_SECRET_ARN"))
        value = getattr(self._settings, name.lower())
        return "" if value is None else str(value)


class Keys:
    """The settings that one tool may read, by the names of their variables."""

    def __init__(self, held: Mapping[str, Secret | str]) -> None:
        self._held = held

    async def key(self, name: str) -> str:
        """The value of a key.

        Raises:
            ToolMisdeclared: The tool does not name it.
            ToolError: It is not set.
            SettingsError: Its secret cannot be read.
        """
        held = self._named(name)
        value = only_value(await held.read()) if isinstance(held, Secret) else held
        if not value:
            raise ToolError(f"{name} is not set.")
        return value

    def setting(self, name: str) -> str:
        """The value of a setting that is no secret; empty where it is not set.

        Raises:
            ToolMisdeclared: The tool does not name it, or it is a secret: that is what `key` is for.
        """
        held = self._named(name)
        if isinstance(held, Secret) or name.lower().endswith(SECRET):
            raise ToolMisdeclared(f"{name} is a secret: read it with `await context.key({name!r})`")
        return held

    def _named(self, name: str) -> Secret | str:
        if name not in self._held:
            raise ToolMisdeclared(f"the tool reads {name} without naming it: @tool(needs=[{name!r}])")
        return self._held[name]


def _arn(settings: Settings, name: str) -> str:
    return str(getattr(settings, f"{name.lower()}_secret_arn", ""))
