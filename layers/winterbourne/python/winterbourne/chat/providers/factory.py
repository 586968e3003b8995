"""Factory for the provider that MODEL_PROVIDER selects, with those of MODEL_FALLBACK behind it.

Only its module is imported, and theirs when they are needed: each import costs cold start.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Final, TypeAlias, cast

from winterbourne.chat.core.provider import Provider
from winterbourne.chat.settings import ModelSettings, choose, expect_made

__all__ = ["PROVIDERS", "ProviderFactory", "make_provider"]

ProviderFactory: TypeAlias = Callable[[ModelSettings], Provider]
"""Makes a provider without any I/O; raises SettingsError if a setting that it needs is missing or invalid."""


def _make_of(module: str) -> ProviderFactory:
    return lambda settings: cast("Provider", import_module(f"winterbourne.chat.providers.{module}").make(settings))


PROVIDERS: Final[Mapping[str, ProviderFactory]] = {
    name: _make_of(name) for name in ("scripted", "openai", "anthropic", "bedrock")
}


def make_provider(settings: ModelSettings, own: Mapping[str, ProviderFactory] | None = None) -> Provider:
    """Make the provider that MODEL_PROVIDER selects, and what MODEL_FALLBACK adds to it, without any I/O.

    Args:
        settings: For its factory.
        own: Providers beside ours, by the names that both settings may have; one with a name of ours replaces it.

    Raises:
        SettingsError: The provider is unknown, or a setting it needs is missing or invalid; the message names the
            setting.
    """
    name = settings.model_provider
    made = expect_made("MODEL_PROVIDER", name, choose("MODEL_PROVIDER", name, PROVIDERS, own)(settings), Provider)
    if not settings.model_fallback:
        return made
    from winterbourne.chat.providers.failover import with_fallback  # noqa: PLC0415 - only if there is one

    return with_fallback(made, settings, PROVIDERS, own or {})
