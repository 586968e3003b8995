"""Selects the authentication scheme: AUTH is `api_key` (the default), `jwt`, `iam` or `none`.

A scheme identifies the `Caller` of a request or rejects it before it costs anything; it does not decide what a caller
may do (no authorization). No key or token is ever logged or quoted in an error. Only the selected scheme's module is
imported: every import is part of a cold start.
"""

# ruff: noqa: PLC0415 - as said above

from winterbourne.chat.auth.base import Authenticator
from winterbourne.chat.settings import AuthSettings

__all__ = ["make_authenticator"]


def make_authenticator(settings: AuthSettings) -> Authenticator:
    """Make the authenticator that AUTH names; its `prepare` logs a warning if it accepts everybody or nobody.

    Raises:
        SettingsError: A setting that the scheme needs is missing or invalid.
    """
    match settings.auth:
        case "api_key":
            from winterbourne.chat.auth.api_key import make_api_key_authenticator

            return make_api_key_authenticator(settings)
        case "jwt":
            from winterbourne.chat.auth.jwt import JwtAuthenticator

            return JwtAuthenticator(settings)
        case "iam":
            from winterbourne.chat.auth.iam import IamAuthenticator

            return IamAuthenticator()
        case "none":
            from winterbourne.chat.auth.none import AnonymousAuthenticator

            return AnonymousAuthenticator()
