"""Settings that tools need, by the names of their variables: each tool is handed those that it names and no other.

A key may be in a secret instead: where there is a setting `NAME_SECRET_ARN`, the secret it names wins over the
variable `NAME`.
"""

from collections.abc import Collection

from chat import redaction
from chat.errors import ToolError, ToolMisdeclared
from chat.secrets import Secret, only_value
from chat.settings import SECRET, Settings

__all__ = ["KeyRing", "Keys", "given", "known"]


def known(name: str) -> bool:
    """Whether there is such a setting."""
    return name.lower() in Settings.__struct_fields__


def given(settings: Settings, name: str) -> bool:
    """Whether it is set, itself or as a secret."""
    return bool(getattr(settings, name.lower()) or _arn(settings, name))


class KeyRing:
    """Reads settings, and keeps the secrets that were read, for all tools of a process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._secrets: dict[str, Secret] = {}

    def only(self, names: Collection[str]) -> "Keys":
        """What a tool is handed that names these."""
        return Keys(self, frozenset(names))

    async def key(self, name: str) -> str:
        """The value of a key; see `Keys.key`."""
        if arn := _arn(self._settings, name):
            secret = self._secrets.setdefault(name, Secret(arn, f"{name}_SECRET_ARN"))
            return only_value(await secret.read())
        if value := self.setting(name):
            redaction.remember(value)
            return value
        raise ToolError(f"{name} is not set.")

    def setting(self, name: str) -> str:
        """The value of a setting; see `Keys.setting`."""
        return str(getattr(self._settings, name.lower()))


class Keys:
    """The settings that one tool may read.

    Args:
        ring: Reads them.
        names: Of their variables.
    """

    def __init__(self, ring: KeyRing, names: frozenset[str] = frozenset()) -> None:
        self._ring = ring
        self._names = names

    async def key(self, name: str) -> str:
        """The value of a key.

        Raises:
            ToolMisdeclared: The tool does not name it.
            ToolError: It is not set.
            SettingsError: Its secret cannot be read.
        """
        self._expect_named(name)
        return await self._ring.key(name)

    def setting(self, name: str) -> str:
        """The value of a setting that is no secret; empty where it is not set.

        Raises:
            ToolMisdeclared: The tool does not name it, or it is a secret: that is what `key` is for.
        """
        self._expect_named(name)
        if name.lower().endswith(SECRET):
            raise ToolMisdeclared(f"{name} is a secret: read it with `await context.key({name!r})`")
        return self._ring.setting(name)

    def _expect_named(self, name: str) -> None:
        if name not in self._names:
            raise ToolMisdeclared(f"the tool reads {name} without naming it: @tool(needs=[{name!r}])")


def _arn(settings: Settings, name: str) -> str:
    return str(getattr(settings, f"{name.lower()}_secret_arn", ""))
