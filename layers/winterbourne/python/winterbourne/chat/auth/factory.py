"""Selects the authentication scheme: AUTH is `api_key` (the default), `jwt`, `iam` or `none`.

A scheme identifies the `Caller` of a request or rejects it before it costs anything; it does not decide what a caller
may do (no authorization). No key or token is ever logged or quoted in an error.
"""

from winterbourne.chat.auth.api_key import make_api_key_authenticator
from winterbourne.chat.auth.base import Authenticator
from winterbourne.chat.auth.iam import IamAuthenticator
from winterbourne.chat.auth.none import AnonymousAuthenticator
from winterbourne.chat.settings import Settings

__all__ = [
    "make_authenticator",
]


def make_authenticator(settings: Settings) -> Authenticator:
    """Make the authenticator that AUTH names; its `prepare` logs a warning if it accepts everybody or nobody.

    Raises:
        SettingsError: A setting that the scheme needs is missing or invalid.
    """
    match settings.auth:
        case "api_key":
            return make_api_key_authenticator(settings)
        case "jwt":
            from winterbourne.chat.auth.jwt import JwtAuthenticator  # noqa: PLC0415 - PyJWT is heavy

            return JwtAuthenticator(settings)
        case "iam":
            return IamAuthenticator()
        case "none":
            return AnonymousAuthenticator()
