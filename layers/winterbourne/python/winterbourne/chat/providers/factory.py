"""Factory for the provider that MODEL_PROVIDER selects. Only its module is imported: each import costs cold start."""

from importlib import import_module
from typing import Final, cast

from winterbourne.chat.core.provider import Provider
from winterbourne.chat.errors import SettingsError
from winterbourne.chat.settings import ModelSettings

__all__ = ["PROVIDERS", "make_provider"]

# Each module has a `make(settings) -> Provider`.
PROVIDERS: Final = {
    "scripted": "winterbourne.chat.providers.scripted",
    "openai": "winterbourne.chat.providers.openai",
    "anthropic": "winterbourne.chat.providers.anthropic",
    "bedrock": "winterbourne.chat.providers.bedrock",
}


def make_provider(settings: ModelSettings) -> Provider:
    """Make the provider that MODEL_PROVIDER selects, without any I/O.

    Raises:
        SettingsError: The provider is unknown, or a setting it needs is missing or invalid; the message names the
            setting.
    """
    if settings.model_provider not in PROVIDERS:
        raise SettingsError(f"MODEL_PROVIDER: expected one of {', '.join(PROVIDERS)}")
    return cast("Provider", import_module(PROVIDERS[settings.model_provider]).make(settings))
