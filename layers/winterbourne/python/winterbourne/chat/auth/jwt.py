"""JWT authentication (AUTH=jwt): PyJWT verifies the bearer token; imported only if this scheme is selected.

Checks signature (against the issuer's published JWKS), issuer, audience and expiry, and rejects what
https://www.rfc-editor.org/rfc/rfc8725 says to reject.
"""

import contextlib
import logging
from typing import Any, Final

import jwt

from winterbourne.chat.auth.base import Caller, Credentials, auth_unavailable, extract_credential
from winterbourne.chat.errors import RequestRejected, SettingsError
from winterbourne.chat.infra import http_pool
from winterbourne.chat.infra.refreshing_cache import RefreshingCache
from winterbourne.chat.settings import AuthSettings

__all__ = ["JwtAuthenticator", "make"]

_LOGGER: Final = logging.getLogger(__name__)

# Asymmetric algorithms only: with HS256 anyone could sign with the published key, and `none` needs no key at all.
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
JWKS_MAX_AGE_S: Final = 3600.0
MAX_JWKS_BYTES: Final = 100 * 1024
UNKNOWN_KEY_MAX_AGE_S: Final = 10.0
"""An unknown key may follow a key rotation, so the JWKS is read again, but at most once in this many seconds."""

# OpenID Connect Core 1.0, section 2: `sub` has 255 ASCII characters at most. It becomes part of a storage key.
MAX_SUBJECT_CHARS: Final = 255

MAX_TOKEN_CHARS: Final = 16 * 1024
"""Far more than any issuer puts into a header."""


class JwtAuthenticator:
    """Authenticates callers by a JWT of one issuer.

    Raises:
        SettingsError: JWT_ISSUER or JWT_AUDIENCE is missing, or JWT_JWKS_URL is neither https nor on this machine.
    """

    def __init__(self, settings: AuthSettings) -> None:
        if not settings.jwt_issuer or not settings.jwt_audience:
            raise SettingsError("AUTH=jwt needs JWT_ISSUER and JWT_AUDIENCE")
        self._settings = settings
        self._jwks_url = settings.jwt_jwks_url or f"{settings.jwt_issuer.rstrip('/')}/.well-known/jwks.json"
        if not self._jwks_url.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
            raise SettingsError("JWT_JWKS_URL: expected an https URL")
        self._jwks = RefreshingCache("the token issuer's keys", self._fetch_jwks)

    async def prepare(self) -> None:
        """Fetch the issuer's keys. If that fails, it is logged and the next request tries again."""
        with contextlib.suppress(RequestRejected):
            await self._get_public_keys(JWKS_MAX_AGE_S)

    async def check_ready(self) -> None:
        """Raise if there are no keys of the issuer to verify tokens with."""
        await self._get_public_keys(JWKS_MAX_AGE_S)

    async def authenticate(self, request: Credentials) -> Caller:
        """Verify the token and its scope; the caller is its `sub`."""
        token = extract_credential(request)
        claims = self._verify_claims(token, await self._get_signing_key(token))
        if not self._settings.jwt_scope or self._settings.jwt_scope in _scopes(claims):
            return Caller(f"jwt:{claims['sub']}", claims["sub"])
        raise _bearer_error(403, "insufficient_scope", f"the scope {self._settings.jwt_scope} is required")

    def _verify_claims(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
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
            raise _bearer_error(401, "invalid_token", "the token has expired") from None
        except jwt.PyJWTError as error:
            # The claim, for operators; never a value of the token.
            claim = error.claim if isinstance(error, jwt.MissingRequiredClaimError) else ""
            _LOGGER.warning("a token was refused: %s %s", type(error).__name__, claim)
            raise _bearer_error(401, "invalid_token", "the token is not valid for this service") from None
        if 0 < len(claims["sub"]) <= MAX_SUBJECT_CHARS and claims["sub"].isascii():
            return claims
        raise _bearer_error(401, "invalid_token", "the token's subject is empty, too long or not ASCII")

    async def _get_signing_key(self, token: str) -> jwt.PyJWK:
        try:
            if len(token) > MAX_TOKEN_CHARS:
                raise jwt.DecodeError
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, UnicodeEncodeError):
            raise _bearer_error(401, "invalid_token", "the token is malformed") from None
        if header.get("alg") not in ALGORITHMS:
            raise _bearer_error(401, "invalid_token", f"the token must be signed with one of {', '.join(ALGORITHMS)}")
        for max_age_s in (JWKS_MAX_AGE_S, UNKNOWN_KEY_MAX_AGE_S):
            keys = await self._get_public_keys(max_age_s)
            candidates = [key for key in keys if header.get("kid") in {None, key.key_id}]
            if len(candidates) == 1:
                return candidates[0]
        raise _bearer_error(401, "invalid_token", "the token is signed with a key that its issuer does not publish")

    async def _get_public_keys(self, max_age_s: float) -> list[jwt.PyJWK]:
        try:
            return (await self._jwks.get(max_age_s)).keys
        except Exception as error:
            _LOGGER.exception("the token issuer's keys cannot be read")
            raise auth_unavailable("tokens cannot be verified at the moment") from error

    async def _fetch_jwks(self) -> jwt.PyJWKSet:
        async with http_pool.client().stream("GET", self._jwks_url) as response:
            response.raise_for_status()
            return jwt.PyJWKSet.from_json((await http_pool.read_body(response, MAX_JWKS_BYTES)).decode())


make: Final = JwtAuthenticator


def _scopes(claims: dict[str, Any]) -> list[Any]:
    """The scopes of a token: RFC 8693 defines one string, `scope`; some issuers use a list or the name `scp`."""
    scopes = claims.get("scope") or claims.get("scp")
    if isinstance(scopes, str):
        return scopes.split()
    return scopes if isinstance(scopes, list) else []


def _bearer_error(status: int, error: str, message: str) -> RequestRejected:
    """A rejection with a `WWW-Authenticate: Bearer` challenge. https://www.rfc-editor.org/rfc/rfc6750#section-3"""
    challenge = f'Bearer realm="chat", error="{error}", error_description="{message}"'
    code = "unauthorized" if status == 401 else "forbidden"
    return RequestRejected(status, code, message, {"www-authenticate": challenge})
