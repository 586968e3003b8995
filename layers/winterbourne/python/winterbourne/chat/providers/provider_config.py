"""The configuration of an HTTP provider: its API key, its base URL, its guardrail, the extra fields of its requests."""

import os
import re
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from winterbourne.chat.errors import SettingsError
from winterbourne.chat.infra import redaction
from winterbourne.chat.infra.aws_calls import public_endpoint
from winterbourne.chat.infra.secret_values import unwrap_single_value
from winterbourne.chat.infra.secrets import Secret
from winterbourne.chat.settings import ModelSettings

__all__ = ["CONFIGURED", "ApiKey", "configure", "parse_base_url", "parse_extra_body", "parse_guardrail"]

_ARN_SETTING: Final = "MODEL_API_KEY_SECRET_ARN"
_KEYS: Final = {
    "openai": ("OPENAI_API_KEY", "api.openai.com"),
    "anthropic": ("ANTHROPIC_API_KEY", "api.anthropic.com"),
    "bedrock": ("AWS_BEARER_TOKEN_BEDROCK", ""),
}
"""The variable of each provider's key, and the host that takes no request without one."""
CONFIGURED: Final = _KEYS.keys()
"""The providers that `configure` knows."""

# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_GuardrailStreamConfiguration.html
_GUARDRAIL: Final = (
    r"(?P<guardrailIdentifier>[a-z0-9]+|arn:aws(?:-[^:]+)?:bedrock:[a-z0-9-]{1,20}:\d{12}:guardrail/[a-z0-9]+)"
    r":(?P<guardrailVersion>[1-9]\d{0,7}|DRAFT)(?::(?P<streamProcessingMode>sync|async))?"
)


class ApiKey:
    """A provider's API key, from its environment variable or, if one is configured, from a secret.

    Args:
        value: The variable's value; may be empty.
        setting: The variable's name.
        secret_arn: The ARN of the secret; may be empty.
        arn_setting: The name of the variable that holds it.

    Attributes:
        setting: The name of the variable that counts, of the two, for error messages.

    Raises:
        SettingsError: The value cannot be sent in a header.
    """

    def __init__(self, value: str, setting: str, secret_arn: str, arn_setting: str = _ARN_SETTING) -> None:
        self._arn_setting = arn_setting
        self._secret = Secret(secret_arn, arn_setting) if secret_arn else None
        self.setting = arn_setting if secret_arn else setting
        self.value = "" if secret_arn else _validate_header_value(value.strip(), setting)
        """The key from the variable; empty if there is none or a secret is configured, which takes precedence."""
        self.is_set = bool(secret_arn or self.value)
        """Whether a key or a secret is configured."""
        redaction.register(self.value)

    @classmethod
    def of(cls, name: str) -> "ApiKey":
        """The key in the environment variable of this name or, if that is set, in the secret `NAME_SECRET_ARN`.

        Args:
            name: The variable's name, such as `PIER_API_KEY`.
        """
        arn_setting = f"{name}_SECRET_ARN"
        return cls(os.environ.get(name, ""), name, os.environ.get(arn_setting, ""), arn_setting)

    async def read(self) -> str:
        """The key, to be read for each request since it may be rotated; empty if none is configured.

        Raises:
            SettingsError: The secret cannot be read, or its value cannot be sent in a header.
        """
        if self._secret is None:
            return self.value
        return _validate_header_value(unwrap_single_value(await self._secret.read()), self._arn_setting)

    async def refresh(self, rejected_key: str) -> str:
        """Read the secret again after the provider has rejected a key, since it may have been rotated.

        Args:
            rejected_key: The key that was sent.

        Returns:
            The key to try instead; empty if there is no other one.

        Raises:
            SettingsError: As for `read`.
        """
        if self._secret is None:
            return ""
        stored = await self._secret.read()
        if unwrap_single_value(stored) == rejected_key:  # otherwise another request has already refreshed it
            self._secret.invalidate(stored)
        key = await self.read()
        return key if key != rejected_key else ""


def configure(provider: str, settings: ModelSettings) -> tuple[ApiKey, str, str]:
    """The key of a provider of ours, its base URL, and the setting that this comes from.

    Raises:
        SettingsError: One of its settings is missing or invalid.
    """
    name, official_host = _KEYS[provider]
    own_arn = getattr(settings, f"{name}_SECRET_ARN".lower(), "")
    secret = (settings.model_api_key_secret_arn, _ARN_SETTING)
    key = ApiKey(getattr(settings, name.lower()), name, *(secret if secret[0] else (own_arn, f"{name}_SECRET_ARN")))
    region = settings.bedrock_region or settings.aws_region
    setting = f"{provider.upper()}_BASE_URL"
    url = getattr(settings, setting.lower())
    if provider == "bedrock":
        parse_guardrail(settings.bedrock_guardrail)
        if not region and not (key.is_set and url):
            raise SettingsError("BEDROCK_REGION: needed if AWS_REGION is not set")
        setting = setting if url else "BEDROCK_REGION"
        url = url or public_endpoint("bedrock-runtime", region)
    if not key.is_set and official_host and urlsplit(url).hostname == official_host:
        on_aws = f"on AWS set {_ARN_SETTING} instead, or for MODEL_FALLBACK {name}_SECRET_ARN"
        raise SettingsError(f"{name}: needed for {official_host}; {on_aws}")
    return key, parse_base_url(url, setting), setting


def parse_guardrail(text: str) -> dict[str, str] | None:
    """BEDROCK_GUARDRAIL as the fields of a request, without their defaults; None if none is set.

    Raises:
        SettingsError: The value is not like id:version.
    """
    if not text:
        return None
    if not (found := re.fullmatch(_GUARDRAIL, text, re.ASCII)):
        raise SettingsError("BEDROCK_GUARDRAIL: expected id:version or ARN:version, or either with :async after it")
    return {name: value for name, value in found.groupdict().items() if value}


def parse_base_url(value: str, setting: str) -> str:
    """Validate a base URL and strip its trailing slashes.

    Raises:
        SettingsError: The value is not an http or https URL.
    """
    try:
        parts = urlsplit(value)
        is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_valid = False
    if not is_valid or not value.isascii() or not value.isprintable() or " " in value:
        raise SettingsError(f"{setting}: expected an address such as https://example.com/v1")
    return value.rstrip("/")


def parse_extra_body(text: str) -> dict[str, Any]:
    """The fields of MODEL_EXTRA_BODY, for options that have no setting of their own; they override our fields.

    Raises:
        SettingsError: The value is not a JSON object.
    """
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        raise SettingsError("MODEL_EXTRA_BODY: expected a JSON object") from error


def _validate_header_value(key: str, setting: str) -> str:
    if not key.isascii() or not key.replace(" ", "").isprintable():
        raise SettingsError(f"{setting}: a key may contain only printable ASCII characters")
    return key
