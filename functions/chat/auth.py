"""Who may call: a request's headers → a `Caller`, or a refusal before anything costs money.

AUTH chooses the one way in: `api_key` (the default, closed until there are keys), `jwt`, `iam`, or `none` by name.
Knows nothing of what a caller then does. No key and no token is ever logged or quoted in an error.
"""

import contextlib
import hashlib
import hmac
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeAlias

import msgspec

from chat import redaction, secrets
from chat.errors import RequestRejected, SettingsError
from chat.refreshed import Refreshed
from chat.request import Request
from chat.settings import Settings

__all__ = [
    "ANONYMOUS",
    "Anyone",
    "ApiKeys",
    "Authenticator",
    "Caller",
    "Iam",
    "credential",
    "make_authenticator",
    "parse_keys",
    "unavailable",
]

_LOGGER: Final = logging.getLogger(__name__)

UNKNOWN_KEY_MAX_AGE_S: Final = 10.0
"""An unknown key may be a new one: then the secret is read again, but not more often than this."""


class Caller(msgspec.Struct, frozen=True):
    """Who calls. What is kept is kept under `id`, which never changes; `name` is for the log."""

    id: str
    name: str


ANONYMOUS: Final = Caller("anonymous", "anonymous")

Keys: TypeAlias = tuple[tuple[bytes, Caller], ...]
"""The digest of each key with its caller."""


class Authenticator(Protocol):
    """One way to tell who calls."""

    async def prepare(self) -> None:
        """Fetch what is needed, while the environment starts. Where that fails the log says so; requests try again."""

    async def identify(self, request: Request) -> Caller:
        """The caller.

        Raises:
            RequestRejected: 401 where it is not known who calls, 403 where they may not, 503 where it cannot be told.
        """
        ...


def make_authenticator(settings: Settings) -> Authenticator:
    """The way in that AUTH names; `prepare` then says loudly when it is open, or shut for everybody.

    Raises:
        SettingsError: A setting that this way needs is missing or wrong.
    """
    match settings.auth:
        case "api_key":
            return _api_keys(settings)
        case "jwt":
            from chat.auth_jwt import Tokens  # noqa: PLC0415  (PyJWT is heavy)

            return Tokens(settings)
        case "iam":
            return Iam()
        case "none":
            return Anyone()


def credential(request: Request) -> str:
    """The key or token: `authorization: Bearer …`, else `x-api-key`, which a signing CDN leaves alone.

    Raises:
        RequestRejected: 401, there is none.
    """
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    if key := request.headers.get("x-api-key", "").strip():
        return key
    raise _unauthorized("send a key as authorization: Bearer, or as x-api-key")


class ApiKeys:
    """Callers known by a key.

    Args:
        read: Gives the keys as JSON, see `parse_keys`.
        now: Wall clock, seconds.
    """

    def __init__(self, read: Callable[[], Awaitable[str]], now: Callable[[], float] = time.time) -> None:
        self._read = read
        self._keys = Refreshed("the API keys", self._fetch, now)

    async def prepare(self) -> None:
        """See `Authenticator`."""
        with contextlib.suppress(RequestRejected):
            await self._known(secrets.MAX_AGE_S)

    async def identify(self, request: Request) -> Caller:
        """See `Authenticator`. A key that was just added is known after UNKNOWN_KEY_MAX_AGE_S seconds at most."""
        key = credential(request)
        for max_age_s in (secrets.MAX_AGE_S, UNKNOWN_KEY_MAX_AGE_S):
            if caller := _owner(key, await self._known(max_age_s)):
                return caller
        raise _unauthorized("this key is not known")

    async def _known(self, max_age_s: float) -> Keys:
        try:
            return await self._keys.get(max_age_s)
        except Exception as error:
            _LOGGER.exception("the API keys cannot be read")
            raise unavailable("keys cannot be checked now") from error

    async def _fetch(self) -> Keys:
        if keys := parse_keys(await self._read()):
            return keys
        _LOGGER.warning("AUTH=api_key and no keys: every call is refused; set API_KEYS_SECRET_ARN or API_KEYS")
        return keys


class Iam:
    """Callers that the function URL has let in by their AWS signature (AuthType AWS_IAM)."""

    async def prepare(self) -> None:
        """See `Authenticator`."""

    async def identify(self, request: Request) -> Caller:
        """See `Authenticator`. https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads"""
        # The unique id stays with one principal; an ARN may be given to another after it was deleted.
        if user := request.identity.get("userId"):
            return Caller(f"iam:{user}", request.identity.get("userArn") or user)
        raise RequestRejected(403, "forbidden", "the function URL did not say who calls: its AuthType must be AWS_IAM")


class Anyone:
    """No check at all."""

    async def prepare(self) -> None:
        """See `Authenticator`."""
        _LOGGER.warning("AUTH=none: anyone who finds this URL may call it, and the model's bill is yours")

    async def identify(self, request: Request) -> Caller:
        """See `Authenticator`."""
        del request
        return ANONYMOUS


def unavailable(message: str) -> RequestRejected:
    """The refusal where it cannot be told now who calls."""
    return RequestRejected(503, "auth_unavailable", message, {"retry-after": "10"})


def parse_keys(text: str) -> Keys:
    """Keys as JSON → each key's digest with its caller.

    Raises:
        SettingsError: Not of that shape, or an empty key. The message quotes nothing.
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


# Private functions


def _api_keys(settings: Settings) -> ApiKeys:
    if arn := settings.api_keys_secret_arn:
        return ApiKeys(lambda: secrets.read(arn, "API_KEYS_SECRET_ARN"))
    keys = settings.api_keys or "{}"
    parse_keys(keys)

    async def read() -> str:
        return keys

    return ApiKeys(read)


def _owner(key: str, known: Keys) -> Caller | None:
    """Compare with every key, in a time that tells nothing of which one was near, nor where it differed."""
    digest, owner = _digest(key), None
    for other, caller in known:
        if hmac.compare_digest(digest, other):
            owner = caller
    return owner


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _unauthorized(message: str) -> RequestRejected:
    return RequestRejected(401, "unauthorized", message, {"www-authenticate": 'Bearer realm="chat"'})
