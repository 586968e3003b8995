"""MODEL_EXTRA_BODY: what an operator wants in every request that no other setting says."""

import functools
from typing import Any

import orjson

from chat.errors import SettingsError
from chat.settings import Settings

__all__ = ["extra_body"]


def extra_body(settings: Settings) -> dict[str, Any]:
    """The JSON object of MODEL_EXTRA_BODY; its names win over ours.

    Raises:
        SettingsError: It is no JSON object.
    """
    return _parsed(settings.model_extra_body) if settings.model_extra_body else {}


@functools.cache
def _parsed(text: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise SettingsError("MODEL_EXTRA_BODY: expected a JSON object")
    return value
