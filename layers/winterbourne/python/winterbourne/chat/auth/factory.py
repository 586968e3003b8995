"""Selects the authentication scheme: AUTH is `api_key` (the default), `jwt`, `iam`, `none`, or one of your own.

A scheme identifies the `Caller` of a request or rejects it before it costs anything; it does not decide what a caller
may do (no authorization). No key or token is ever logged or quoted in an error. Only the selected scheme's module is
imported: every import is part of a cold start.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Final, TypeAlias, cast

from winterbourne.chat.auth.base import Authenticator
from winterbourne.chat.settings import AuthSettings, choose, expect_made

__all__ = ["SCHEMES", "AuthFactory", "make_authenticator"]

AuthFactory: TypeAlias = Callable[[AuthSettings], Authenticator]
"""Makes an authenticator without any I/O; raises SettingsError if a setting that it needs is missing or invalid."""


def _make_of(module: str) -> AuthFactory:
    return lambda settings: cast("Authenticator", import_module(f"winterbourne.chat.auth.{module}").make(settings))


SCHEMES: Final[Mapping[str, AuthFactory]] = {name: _make_of(name) for name in ("api_key", "jwt", "iam", "none")}


def make_authenticator(settings: AuthSettings, own: Mapping[str, AuthFactory] | None = None) -> Authenticator:
    """Make the authenticator that AUTH names; its `prepare` logs a warning if it accepts everybody or nobody.

    Args:
        settings: For its factory.
        own: Schemes beside ours, by the names that AUTH may have; one with a name of ours replaces it.

    Raises:
        SettingsError: The scheme is unknown, or a setting that it needs is missing or invalid.
    """
    return expect_made("AUTH", settings.auth, choose("AUTH", settings.auth, SCHEMES, own)(settings), Authenticator)
