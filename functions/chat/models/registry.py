"""Which module speaks for which MODEL_PROVIDER. Only the chosen one is imported: each import costs cold start."""

from importlib import import_module
from typing import Final, cast

from chat.errors import SettingsError
from chat.models.base import Model
from chat.settings import Settings

__all__ = ["PROVIDERS", "make_model"]

# Each module has a `make(settings) -> Model`.
PROVIDERS: Final = {
    "scripted": "chat.models.scripted",
    "openai": "chat.models.openai",
    "anthropic": "chat.models.anthropic",
    "bedrock": "chat.models.bedrock",
}


def make_model(settings: Settings) -> Model:
    """Make the model that the settings choose. No I/O happens here.

    Raises:
        SettingsError: There is no such provider, or it lacks a setting it cannot do without; the message names it.
    """
    if settings.model_provider not in PROVIDERS:
        raise SettingsError(f"MODEL_PROVIDER: expected one of {', '.join(PROVIDERS)}")
    return cast("Model", import_module(PROVIDERS[settings.model_provider]).make(settings))
