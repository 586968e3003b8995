"""Validation of the provider settings other than the API key: base URL and extra request fields."""

import functools
from typing import Any
from urllib.parse import urlsplit

import orjson

from winterbourne.chat.errors import SettingsError
from winterbourne.chat.settings import Settings

__all__ = ["extra_body", "parse_base_url"]


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


def extra_body(settings: Settings) -> dict[str, Any]:
    """The fields of MODEL_EXTRA_BODY, for options that have no setting of their own; they override our fields.

    Raises:
        SettingsError: The value is not a JSON object.
    """
    return _parse_json_object(settings.model.model_extra_body) if settings.model.model_extra_body else {}


@functools.cache
def _parse_json_object(text: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise SettingsError("MODEL_EXTRA_BODY: expected a JSON object")
    return value
