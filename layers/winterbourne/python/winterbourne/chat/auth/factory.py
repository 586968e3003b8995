"""Selects the authentication scheme: AUTH is `api_key` (the default), `jwt`, `iam`, `none`, or one of your own.

A scheme identifies the `Caller` of a request or rejects it before it costs anything; it does not decide what a caller
may do (no authorization). No key or token is ever logged or quoted in an error. Only the selected scheme's module is
imported: every import is part of a cold start.
"""

# ruff: noqa: PLC0415 - as said above

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from winterbourne.chat.auth.base import Authenticator
from winterbourne.chat.errors import SettingsError
from winterbourne.chat.settings import AuthSettings

__all__ = ["AuthFactory", "make_authenticator"]


AuthFactory: TypeAlias = Callable[[AuthSettings], Authenticator]
"""Makes an authenticator without any I/O; raises SettingsError if a setting that it needs is missing or invalid."""

_NONE: Final[Mapping[str, AuthFactory]] = {}


def make_authenticator(settings: AuthSettings, own: Mapping[str, AuthFactory] = _NONE) -> Authenticator:
    """Make the authenticator that AUTH names; its `prepare` logs a warning if it accepts everybody or nobody.

    Args:
        settings: For its factory.
        own: Schemes beside ours, by the names that AUTH may have; one with a name of ours replaces it.

    Raises:
        SettingsError: The scheme is unknown, or a setting that it needs is missing or invalid.
    """
    factories = {**SCHEMES, **own}
    if settings.auth not in factories:
        raise SettingsError(f"AUTH: expected one of {', '.join(factories)}")
    return factories[settings.auth](settings)


def _api_key(settings: AuthSettings) -> Authenticator:
    from winterbourne.chat.auth.api_key import make_api_key_authenticator

    return make_api_key_authenticator(settings)


def _jwt(settings: AuthSettings) -> Authenticator:
    from winterbourne.chat.auth.jwt import JwtAuthenticator

    return JwtAuthenticator(settings)


def _iam(_: AuthSettings) -> Authenticator:
    from winterbourne.chat.auth.iam import IamAuthenticator

    return IamAuthenticator()


def _none(_: AuthSettings) -> Authenticator:
    from winterbourne.chat.auth.none import AnonymousAuthenticator

    return AnonymousAuthenticator()


SCHEMES: Final[Mapping[str, AuthFactory]] = {"api_key": _api_key, "jwt": _jwt, "iam": _iam, "none": _none}
