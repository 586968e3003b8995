"""API keys and settings that tools read by variable name; each tool can read only those it declares.

A key may be stored in a secret instead: if the variable `NAME_SECRET_ARN` is set, that secret takes precedence over the
variable `NAME`.
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from winterbourne.chat.errors import InvalidToolDeclaration, ToolError
from winterbourne.chat.infra import redaction
from winterbourne.chat.infra.secret_values import find_secrets, unwrap_single_value
from winterbourne.chat.settings import is_secret

if TYPE_CHECKING:
    from winterbourne.chat.infra.secrets import Secret

__all__ = ["KeyRing", "ToolKeys"]

_LOGGER: Final = logging.getLogger(__name__)


class KeyRing(msgspec.Struct, frozen=True):
    """Reads keys and settings for all tools of a process; each secret is read once for all of them.

    Attributes:
        values: The environment variables, and all settings by the names of theirs; empty or None if one is not set.
        secrets: Those that a tool has asked for.
    """

    values: Mapping[str, object]
    secrets: "dict[str, Secret]" = {}

    def is_set(self, name: str) -> bool:
        """Whether the key or setting is set, directly or as a secret."""
        return bool(str(self.values.get(name) or "").strip() or self._secret_arn(name))

    def restricted_to(self, names: Iterable[str], keys: Collection[str] = ()) -> "ToolKeys":
        """The settings of these names and the keys that a tool declares.

        Keys are masked in all output from 7 characters on.
        """
        values = {name: self._value_or_secret(name) for name in (*names, *keys)}
        secret_names = {name for name in values if name in keys or is_secret(name)}
        for name in secret_names:
            if isinstance(value := values[name], str):
                redaction.register(*find_secrets(value, by_name=False))
        return ToolKeys(values, secret_names)

    def _value_or_secret(self, name: str) -> "Secret | str":
        if arn := self._secret_arn(name):
            from winterbourne.chat.infra.secrets import Secret  # noqa: PLC0415 - needs asyncio

            return self.secrets.setdefault(name, Secret(arn, f"{name}_SECRET_ARN"))
        value = self.values.get(name)
        return "" if value is None else str(value)

    def _secret_arn(self, name: str) -> str:
        return str(self.values.get(f"{name}_SECRET_ARN") or "")


class ToolKeys(msgspec.Struct, frozen=True):
    """The keys and settings that one tool may read, by the names of their variables, and which of them are secret."""

    values: "Mapping[str, Secret | str]"
    secret_names: Collection[str] = ()

    async def key(self, name: str) -> str:
        """The value of a key.

        Raises:
            InvalidToolDeclaration: The tool does not declare it.
            ToolError: It is not set.
            SettingsError: Its secret cannot be read.
        """
        value = self._lookup(name, "keys")
        value = unwrap_single_value(value if isinstance(value, str) else await value.read())
        if not value:
            _LOGGER.error("a tool cannot run: its key %s is not set", name)
            raise ToolError("This tool is not set up yet.")
        return value

    async def read_all(self) -> dict[str, str]:
        """All values as they are stored, for another process.

        Raises:
            SettingsError: A secret cannot be read.
        """
        return {name: value if isinstance(value, str) else await value.read() for name, value in self.values.items()}

    def setting(self, name: str) -> str:
        """The value of a setting that is not a secret; empty if it is not set.

        Raises:
            InvalidToolDeclaration: The tool does not declare it, or it is a secret, which only `key` reads.
        """
        value_or_secret = self._lookup(name, "needs")
        if not isinstance(value_or_secret, str) or name in self.secret_names:
            raise InvalidToolDeclaration(f"{name} is a secret: read it with `await context.key({name!r})`")
        return value_or_secret

    def _lookup(self, name: str, option: str) -> "Secret | str":
        if name not in self.values:
            raise InvalidToolDeclaration(f"the tool reads {name} without declaring it: @tool({option}=[{name!r}])")
        return self.values[name]
