"""What an operator gives a provider beside its key, checked."""

import functools
from typing import Any
from urllib.parse import urlsplit

import orjson

from winterbourne.chat.errors import SettingsError
from winterbourne.chat.settings import Settings

__all__ = ["extra_body", "parse_base_url"]


def parse_base_url(value: str, setting: str) -> str:
    """The address without its last slash.

    Raises:
        SettingsError: It is no http or https address.
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
    """The JSON object of MODEL_EXTRA_BODY, for what no other setting says; its names win over ours.

    Raises:
        SettingsError: It is no JSON object.
    """
    return _parse_json_object(settings.model_extra_body) if settings.model_extra_body else {}


@functools.cache
def _parse_json_object(text: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise SettingsError("MODEL_EXTRA_BODY: expected a JSON object")
    return value
