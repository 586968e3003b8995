"""Finds the secret values in settings and in stored secrets, to register them with `redaction`."""

import base64
import contextlib
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote

import orjson

__all__ = ["find_secrets", "find_secrets_in_urls", "unwrap_single_value"]

# Matches the last word of a field's name: `api_key` and `apiKey`, but neither `monkey` nor `keyboard`.
_SECRET_FIELD_NAME: Final = re.compile(
    r"(?:^|[^a-zA-Z])(?i:key|token|secret|password|passwd|passphrase|pwd|credential)(?i:s?)$"
    r"|(?<=[a-z0-9])(?:Key|Token|Secret|Password|Passwd|Passphrase|Pwd|Credential)s?$"
)
_URL_SECRET: Final = re.compile(
    r"://(?P<user>[^\s/@:]*):(?P<password>[^\s/]+)@"
    r"|://(?P<token>[^\s/@:]{16,})@"
    r"|[?&#](?:[^\s=&#]*(?:key|token|secret|password|signature)[^\s=&#]*|sig|code|pwd|auth)=(?P<value>[^\s&#,]+)",
    re.IGNORECASE,
)


def find_secrets(value: str, *, by_name: bool = True) -> Iterator[str]:
    """The secret values in a stored secret: a plain key, keys in JSON, a URL with a password.

    Args:
        value: The secret as it is stored.
        by_name: If a JSON object has fields with secret names, such as the `password` next to a database's user and
            host, yield only those. Use False if the names are those of callers or servers.
    """
    stored = None
    with contextlib.suppress(orjson.JSONDecodeError):
        stored = orjson.loads(value)
    for leaf in _leaf_values(stored, by_name=by_name) if isinstance(stored, dict | list) else [value]:
        yield leaf
        yield from find_secrets_in_urls(leaf)


def find_secrets_in_urls(value: str) -> Iterator[str]:
    """The secret values in text that may contain URLs: passwords, tokens, keys in query strings."""
    for match in _URL_SECRET.finditer(value) if "://" in value else ():
        found = match["password"] or match["token"] or match["value"]
        yield from {found, unquote(found)}
        if match["password"]:  # as HTTP basic authentication sends them (RFC 7617)
            pair = f"{unquote(match['user'])}:{unquote(found)}"
            yield base64.b64encode(pair.encode()).decode()


def unwrap_single_value(text: str) -> str:
    """`x` for `{"api_key": "x"}`, as the AWS console stores a secret; other text is only stripped."""
    with contextlib.suppress(orjson.JSONDecodeError):
        if isinstance(value := orjson.loads(text), dict) and len(value) == 1:
            return str(next(iter(value.values()))).strip()
    return text.strip()


def _leaf_values(value: Any, *, by_name: bool) -> Iterator[str]:
    match value:
        case str() | int():
            yield str(value)
        case dict():
            for name in (by_name and list(filter(_SECRET_FIELD_NAME.search, value))) or value:
                yield from _leaf_values(value[name], by_name=by_name)
        case list():
            for inner in value:
                yield from _leaf_values(inner, by_name=by_name)
