"""No authentication: AUTH=none, which has to be asked for by name."""

import logging
from typing import Final

from winterbourne.chat.auth.base import ANONYMOUS, Caller
from winterbourne.chat.http.request import Request

_LOGGER: Final = logging.getLogger(__name__)

__all__ = ["AnonymousAuthenticator"]


class AnonymousAuthenticator:
    """No check at all."""

    async def prepare(self) -> None:
        """See `Authenticator`."""
        _LOGGER.warning("AUTH=none: anyone who finds this URL may call it, and the model's bill is yours")

    async def authenticate(self, request: Request) -> Caller:
        """See `Authenticator`."""
        del request
        return ANONYMOUS
