"""No authentication (AUTH=none): everybody may call. Never the default."""

import logging
from typing import Final

from winterbourne.chat.auth.base import ANONYMOUS, Caller, Credentials
from winterbourne.chat.settings import AuthSettings

_LOGGER: Final = logging.getLogger(__name__)

__all__ = ["AnonymousAuthenticator", "make"]


class AnonymousAuthenticator:
    """Accepts every request as the anonymous caller."""

    async def prepare(self) -> None:
        """Log a warning that everybody may call."""
        _LOGGER.warning("AUTH=none: anyone who finds this URL may call it, at your cost")

    async def authenticate(self, _: Credentials) -> Caller:
        """The anonymous caller, whatever the request."""
        return ANONYMOUS


def make(_: AuthSettings) -> AnonymousAuthenticator:
    """Make the authenticator; it needs no settings."""
    return AnonymousAuthenticator()
