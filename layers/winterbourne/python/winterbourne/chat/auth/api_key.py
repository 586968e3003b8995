"""API key authentication (AUTH=api_key, the default): rejects every call until keys are configured."""

import contextlib
import hashlib
import hmac
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import msgspec

from winterbourne.chat.auth.base import Caller, Credentials, auth_unavailable, extract_credential, unauthorized
from winterbourne.chat.errors import RequestRejected, SettingsError
from winterbourne.chat.infra import redaction, secrets
from winterbourne.chat.infra.refreshing_cache import RefreshingCache
from winterbourne.chat.settings import AuthSettings

__all__ = ["UNKNOWN_KEY_MAX_AGE_S", "ApiKeyAuthenticator", "KeyDigests", "make", "parse_keys"]

_LOGGER: Final = logging.getLogger(__name__)


UNKNOWN_KEY_MAX_AGE_S: Final = 10.0
"""An unknown key may be a new one, so the secret is read again, but at most once in this many seconds."""


KeyDigests: TypeAlias = tuple[tuple[bytes, Caller], ...]
"""The SHA-256 digest of each key with its caller."""


class ApiKeyAuthenticator:
    """Authenticates callers by API key.

    Args:
        read: Returns the keys as JSON, in the shape that `parse_keys` expects.
        now: Wall clock, seconds.
    """

    def __init__(self, read: Callable[[], Awaitable[str]], now: Callable[[], float] = time.time) -> None:
        self._read = read
        self._keys = RefreshingCache("the API keys", self._fetch_keys, now)

    async def prepare(self) -> None:
        """Read the keys. If that fails, it is logged and the next request tries again."""
        with contextlib.suppress(RequestRejected):
            await self._get_keys(secrets.MAX_AGE_S)

    async def check_ready(self) -> None:
        """Raise if the keys cannot be read, or if there are none."""
        if not await self._get_keys(secrets.MAX_AGE_S):
            raise SettingsError("there are no API keys, so nobody can call")

    async def authenticate(self, request: Credentials) -> Caller:
        """Look up the caller of the key. A new key is accepted after UNKNOWN_KEY_MAX_AGE_S seconds at most."""
        key = extract_credential(request)
        for max_age_s in (secrets.MAX_AGE_S, UNKNOWN_KEY_MAX_AGE_S):
            if caller := _find_caller(key, await self._get_keys(max_age_s)):
                return caller
        raise unauthorized("the API key is not known")

    async def _get_keys(self, max_age_s: float) -> KeyDigests:
        try:
            return await self._keys.get(max_age_s)
        except Exception as error:
            _LOGGER.exception("the API keys cannot be read")
            raise auth_unavailable("API keys cannot be verified at the moment") from error

    async def _fetch_keys(self) -> KeyDigests:
        if keys := parse_keys(await self._read()):
            return keys
        _LOGGER.warning("AUTH=api_key and no keys: every call is refused; set API_KEYS_SECRET_ARN or API_KEYS")
        return keys


def parse_keys(text: str) -> KeyDigests:
    """Parse API keys from JSON, `{"name": "key"}` or `{"name": ["key", "next key"]}`, and register them for redaction.

    Raises:
        SettingsError: The JSON does not have that shape, or a key or name is empty. The message quotes none of it.
    """
    try:
        named = msgspec.json.decode(text, type=dict[str, str | list[str]])
    except msgspec.DecodeError:
        raise SettingsError('API keys must be JSON: {"name": "key"} or {"name": ["key", "next key"]}') from None
    pairs = [(name, key) for name, keys in named.items() for key in ([keys] if isinstance(keys, str) else keys)]
    if not all(name and key for name, key in pairs):
        raise SettingsError("an API key or its name is empty")
    redaction.register(*(key for _, key in pairs))
    return tuple((_digest(key), Caller(f"key:{name}", name)) for name, key in pairs)


def make(settings: AuthSettings) -> ApiKeyAuthenticator:
    """Make an authenticator with the keys from the secret that API_KEYS_SECRET_ARN names, else from API_KEYS.

    Raises:
        SettingsError: API_KEYS is malformed.
    """
    if arn := settings.api_keys_secret_arn:
        return ApiKeyAuthenticator(lambda: secrets.read_secret(arn, "API_KEYS_SECRET_ARN"))
    keys = settings.api_keys or "{}"
    parse_keys(keys)

    async def read() -> str:
        return keys

    return ApiKeyAuthenticator(read)


def _find_caller(key: str, keys: KeyDigests) -> Caller | None:
    """Compare with every known key in constant time: timing reveals neither a near match nor where it differs."""
    digest, found = _digest(key), None
    for known_digest, caller in keys:
        if hmac.compare_digest(digest, known_digest):
            found = caller
    return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
