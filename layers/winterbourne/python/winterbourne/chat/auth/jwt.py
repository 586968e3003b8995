"""Callers known by a signed token: AUTH=jwt. PyJWT checks it; imported only where that is asked for.

Knows issuer, audience and the issuer's published keys. https://www.rfc-editor.org/rfc/rfc8725 says what to refuse.
"""

import contextlib
import logging
from typing import Any, Final

import jwt

from winterbourne.chat.auth.base import Caller, credential, unavailable
from winterbourne.chat.errors import RequestRejected, SettingsError
from winterbourne.chat.http.request import Request
from winterbourne.chat.infra import http_pool
from winterbourne.chat.infra.refreshing_cache import Refreshed
from winterbourne.chat.settings import Settings

__all__ = ["Tokens"]

_LOGGER: Final = logging.getLogger(__name__)

# Public keys only: with HS256 somebody could sign with the published key, and `none` needs no key at all.
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
KEYS_MAX_AGE_S: Final = 3600.0
MAX_KEYS_BYTES: Final = 100 * 1024
UNKNOWN_KEY_MAX_AGE_S: Final = 10.0
"""A token signed with a key we do not know may follow a rotation: the keys are read again, but not more often."""

# OpenID Connect Core 1.0, section 2: `sub` has 255 ASCII characters at most. It becomes part of a key in the store.
LONGEST_SUBJECT: Final = 255


class Tokens:
    """Callers known by a token of one issuer.

    Raises:
        SettingsError: JWT_ISSUER or JWT_AUDIENCE is missing, or JWT_JWKS_URL is no https URL.
    """

    def __init__(self, settings: Settings) -> None:
        if not settings.jwt_issuer or not settings.jwt_audience:
            raise SettingsError("AUTH=jwt needs JWT_ISSUER and JWT_AUDIENCE")
        self._settings = settings
        self._url = settings.jwt_jwks_url or f"{settings.jwt_issuer.rstrip('/')}/.well-known/jwks.json"
        if not self._url.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
            raise SettingsError("JWT_JWKS_URL: expected an https URL")
        self._keys = Refreshed("the token issuer's keys", self._fetch)

    async def prepare(self) -> None:
        """See `auth.Authenticator`."""
        with contextlib.suppress(RequestRejected):
            await self._known(KEYS_MAX_AGE_S)

    async def identify(self, request: Request) -> Caller:
        """See `auth.Authenticator`. Who a token speaks of is its `sub`."""
        token = credential(request)
        claims = self._claims(token, await self._key(token))
        if not self._settings.jwt_scope or self._settings.jwt_scope in _scopes(claims):
            return Caller(f"jwt:{claims['sub']}", claims["sub"])
        raise _refused(403, "insufficient_scope", f"this needs the scope {self._settings.jwt_scope}")

    # Private methods

    def _claims(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                issuer=self._settings.jwt_issuer,
                audience=self._settings.jwt_audience,
                leeway=self._settings.jwt_clock_skew,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise _refused(401, "invalid_token", "the token has expired") from None
        except jwt.PyJWTError:
            raise _refused(401, "invalid_token", "the token is not valid here") from None
        if 0 < len(claims["sub"]) <= LONGEST_SUBJECT and claims["sub"].isascii():
            return claims
        raise _refused(401, "invalid_token", "the token's subject is empty, too long or not ASCII")

    async def _key(self, token: str) -> jwt.PyJWK:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise _refused(401, "invalid_token", "this is not a token") from None
        if header.get("alg") not in ALGORITHMS:
            raise _refused(
                401, "invalid_token", "the token must be signed with one of RS256, RS384, RS512, ES256, ES384, ES512"
            )
        for max_age_s in (KEYS_MAX_AGE_S, UNKNOWN_KEY_MAX_AGE_S):
            fitting = [key for key in await self._known(max_age_s) if header.get("kid") in {None, key.key_id}]
            if len(fitting) == 1:
                return fitting[0]
        raise _refused(401, "invalid_token", "the token is signed with a key that its issuer does not publish")

    async def _known(self, max_age_s: float) -> list[jwt.PyJWK]:
        try:
            return (await self._keys.get(max_age_s)).keys
        except Exception as error:
            _LOGGER.exception("the token issuer's keys cannot be read")
            raise unavailable("tokens cannot be checked now") from error

    async def _fetch(self) -> jwt.PyJWKSet:
        async with http_pool.client().stream("GET", self._url) as response:
            response.raise_for_status()
            return jwt.PyJWKSet.from_json((await http_pool.body(response, MAX_KEYS_BYTES)).decode())


def _scopes(claims: dict[str, Any]) -> list[Any]:
    """RFC 8693 has one string, `scope`; others have a list or the name `scp`."""
    scopes = claims.get("scope") or claims.get("scp")
    if isinstance(scopes, str):
        return scopes.split()
    return scopes if isinstance(scopes, list) else []


def _refused(status: int, error: str, message: str) -> RequestRejected:
    """https://www.rfc-editor.org/rfc/rfc6750#section-3"""
    challenge = f'Bearer realm="chat", error="{error}", error_description="{message}"'
    code = "unauthorized" if status == 401 else "forbidden"
    return RequestRejected(status, code, message, {"www-authenticate": challenge})
