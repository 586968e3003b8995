"""Settings that tools need, by the names of their variables; a key may be in a secret instead.

Where there is a setting `NAME_SECRET_ARN`, the secret it names wins over the variable `NAME`.
"""

from chat.errors import ToolError
from chat.secrets import Secret, only_value
from chat.settings import Settings

__all__ = ["Keys", "given", "known"]


def known(name: str) -> bool:
    """Whether there is such a setting."""
    return name.lower() in Settings.__struct_fields__


def given(settings: Settings, name: str) -> bool:
    """Whether it is set, itself or as a secret."""
    return bool(getattr(settings, name.lower()) or _arn(settings, name))


class Keys:
    """Reads keys, and keeps the secrets that were read."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._secrets: dict[str, Secret] = {}

    async def read(self, name: str) -> str:
        """The value of a key.

        Raises:
            ToolError: It is not set.
            SettingsError: Its secret cannot be read.
        """
        if arn := _arn(self._settings, name):
            secret = self._secrets.setdefault(name, Secret(arn, f"{name}_SECRET_ARN"))
            return only_value(await secret.read())
        if value := str(getattr(self._settings, name.lower())):
            return value
        raise ToolError(f"{name} is not set.")


def _arn(settings: Settings, name: str) -> str:
    return str(getattr(settings, f"{name.lower()}_secret_arn", ""))
