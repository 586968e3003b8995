"""A provider's API key, from its environment variable or from the secret in MODEL_API_KEY_SECRET_ARN."""

from winterbourne.chat.errors import SettingsError
from winterbourne.chat.infra import redaction
from winterbourne.chat.infra.secrets import Secret, unwrap_single_value
from winterbourne.chat.settings import Settings

__all__ = ["ApiKey"]

_ARN_SETTING = "MODEL_API_KEY_SECRET_ARN"


class ApiKey:
    """One API key. If a secret is configured, it takes precedence over the variable.

    Args:
        value: The variable's value; may be empty.
        setting: The variable's name.
        settings: Supplies the secret's ARN.
    """

    def __init__(self, value: str, setting: str, settings: Settings) -> None:
        arn = settings.model.model_api_key_secret_arn
        self._secret = Secret(arn, _ARN_SETTING) if arn else None
        self.setting = _ARN_SETTING if arn else setting
        self._value = "" if arn else _validate_header_value(value.strip(), setting)
        redaction.register(self._value)

    @property
    def is_set(self) -> bool:
        """Whether a key or a secret is configured."""
        return bool(self._secret or self._value)

    async def read(self) -> str:
        """The key; empty if none is configured.

        Raises:
            SettingsError: The secret cannot be read, or its value cannot be sent in a header.
        """
        return (
            _validate_header_value(unwrap_single_value(await self._secret.read()), _ARN_SETTING)
            if self._secret
            else self._value
        )

    async def refresh(self, rejected_key: str) -> str:
        """The key to use after the provider rejected `rejected_key`; empty if there is no other one.

        The secret is read again, since it may have been rotated.
        """
        if self._secret is None:
            return ""
        stored = await self._secret.read()
        if unwrap_single_value(stored) == rejected_key:  # otherwise another request has already refreshed it
            self._secret.invalidate(stored)
        key = await self.read()
        return key if key != rejected_key else ""


def _validate_header_value(key: str, setting: str) -> str:
    if not key.isascii() or not key.replace(" ", "").isprintable():
        raise SettingsError(f"{setting}: a key may contain only printable ASCII characters")
    return key
