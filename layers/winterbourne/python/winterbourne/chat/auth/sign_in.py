"""Where the page signs its readers in (AUTH=jwt with JWT_CLIENT_ID): what the issuer's discovery document says.

The server reads it, so that the page's policy can name the one host it speaks with, the token endpoint's.
https://openid.net/specs/openid-connect-discovery-1_0.html
"""

import logging
import re
import time
from collections.abc import Callable
from typing import Final

import msgspec

from winterbourne.chat.errors import SettingsError
from winterbourne.chat.infra import http_pool
from winterbourne.chat.infra.refreshing_cache import RefreshingCache
from winterbourne.chat.settings import AuthSettings

__all__ = ["SignIn", "SignInDiscovery"]

_LOGGER: Final = logging.getLogger(__name__)

MAX_AGE_S: Final = 3600.0
MAX_BYTES: Final = 100 * 1024

# The origin becomes part of a header: it has no character that could end a source or a directive there.
ORIGIN: Final = r"https://[\w.-]+(?::\d+)?|http://(?:127\.0\.0\.1|localhost):\d+"
ENDPOINT: Final = re.compile(rf"({ORIGIN})(?:[/?][!-~]*)?", re.ASCII)


class SignIn(msgspec.Struct, frozen=True, rename="camel"):
    """What the page signs in with, its `config.signIn`. Where the issuer has no place to sign out, that is empty."""

    authorization_endpoint: str
    token_endpoint: str
    end_session_endpoint: str
    client_id: str
    scope: str
    audience: str

    @property
    def token_origin(self) -> str:
        """The one origin that the page's scripts send requests to, beside their own."""
        return _origin(self.token_endpoint)


class _Metadata(msgspec.Struct, frozen=True):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    end_session_endpoint: str | None = None
    scopes_supported: tuple[str, ...] | None = None


class SignInDiscovery:
    """Reads the issuer's discovery document, and keeps it for an hour.

    Args:
        settings: JWT_ISSUER and JWT_CLIENT_ID are set.
        now: Wall clock, in seconds.

    Raises:
        SettingsError: The issuer's URL is neither https nor on this machine.
    """

    def __init__(self, settings: AuthSettings, now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._url = f"{settings.jwt_issuer.rstrip('/')}/.well-known/openid-configuration"
        if not ENDPOINT.fullmatch(self._url):
            raise SettingsError("JWT_CLIENT_ID needs a JWT_ISSUER with an https URL")
        self._cache = RefreshingCache("the token issuer's discovery document", self._fetch, now)

    async def get(self) -> SignIn | None:
        """How to sign in; None if the issuer cannot be asked now or its answer is of no use, which is logged."""
        try:
            return await self._cache.get(MAX_AGE_S)
        except Exception:
            _LOGGER.exception("the token issuer's discovery document cannot be read: the page cannot sign anybody in")
            return None

    async def _fetch(self) -> SignIn:
        async with http_pool.client().stream("GET", self._url) as response:
            response.raise_for_status()
            metadata = msgspec.json.decode(await http_pool.read_body(response, MAX_BYTES), type=_Metadata)
        return self._to_sign_in(metadata)

    def _to_sign_in(self, metadata: _Metadata) -> SignIn:
        if metadata.issuer != self._settings.jwt_issuer:
            raise ValueError("its issuer is not JWT_ISSUER, to the letter")
        endpoints = (metadata.authorization_endpoint, metadata.token_endpoint, metadata.end_session_endpoint or "")
        for url in filter(None, endpoints):
            _origin(url)
        # Who knows `offline_access` gives a refresh token for it; others refuse what they do not know.
        offline = "offline_access" if "offline_access" in (metadata.scopes_supported or ()) else ""
        scope = " ".join(filter(None, ("openid", self._settings.jwt_scope, offline)))
        return SignIn(*endpoints, self._settings.jwt_client_id, scope, self._settings.jwt_audience)


def _origin(url: str) -> str:
    if found := ENDPOINT.fullmatch(url):
        return found[1]
    raise ValueError("expected https URLs, or http ones on this machine")
