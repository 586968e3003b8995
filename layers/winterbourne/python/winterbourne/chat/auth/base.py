"""Authentication: the protocol every scheme implements, and who a caller is."""

from typing import Final, Protocol

import msgspec

from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.http.request import Request

__all__ = ["ANONYMOUS", "Authenticator", "Caller", "auth_unavailable", "extract_credential", "unauthorized"]


class Caller(msgspec.Struct, frozen=True):
    """Who calls. What is kept is kept under `id`, which never changes; `name` is for the log."""

    id: str
    name: str


ANONYMOUS: Final = Caller("anonymous", "anonymous")


class Authenticator(Protocol):
    """One way to tell who calls."""

    async def prepare(self) -> None:
        """Fetch what is needed, while the environment starts. Where that fails the log says so; requests try again."""

    async def authenticate(self, request: Request) -> Caller:
        """The caller.

        Raises:
            RequestRejected: 401 where it is not known who calls, 403 where they may not, 503 where it cannot be told.
        """
        ...


def extract_credential(request: Request) -> str:
    """The key or token: `authorization: Bearer …`, else `x-api-key`, which a signing CDN leaves alone.

    Raises:
        RequestRejected: 401, there is none.
    """
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    if key := request.headers.get("x-api-key", "").strip():
        return key
    raise unauthorized("send a key as authorization: Bearer, or as x-api-key")


def auth_unavailable(message: str) -> RequestRejected:
    """The refusal where it cannot be told now who calls."""
    return RequestRejected(503, "auth_unavailable", message, {"retry-after": "10"})


def unauthorized(message: str) -> RequestRejected:
    """401: no key or token, or one that is not known."""
    return RequestRejected(401, "unauthorized", message, {"www-authenticate": 'Bearer realm="chat"'})
