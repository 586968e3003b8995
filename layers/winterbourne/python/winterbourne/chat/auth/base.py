"""The authentication protocol that every scheme implements, and the identity of a caller."""

from collections.abc import Mapping
from typing import Any, Final, Protocol, runtime_checkable

import msgspec

from winterbourne.chat.errors import RequestRejected

__all__ = [
    "ANONYMOUS",
    "Authenticator",
    "Caller",
    "Credentials",
    "auth_unavailable",
    "extract_credential",
    "unauthorized",
]


class Caller(msgspec.Struct, frozen=True):
    """An identified caller.

    Attributes:
        id: Under which conversations and limits are stored; it never changes, and no other scheme gives it to another.
        name: For the log.
    """

    id: str
    name: str


ANONYMOUS: Final = Caller("anonymous", "anonymous")


class Credentials(Protocol):
    """What a request proves its caller by."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The HTTP headers, names in lower case."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What the door has verified of the caller, and its `kind`; else empty.

        iam: the caller whose signature AWS has verified, as in `requestContext.authorizer.iam`; jwt: the claims that a
        Cognito authorizer has verified; authorizer: what a Lambda authorizer says.
        """

    @property
    def client(self) -> str:
        """The address of the peer that the door vouches for; empty if it vouches for none."""


@runtime_checkable
class Authenticator(Protocol):
    """An authentication scheme. Its methods run on the event loop and must not block.

    It may also have an async method `check_ready` without arguments, for `/readyz`: it raises anything if no caller can
    be identified at the moment.
    """

    async def prepare(self) -> None:
        """Fetch what is needed while the environment starts. If that fails, it is logged and requests try again."""

    async def authenticate(self, request: Credentials, /) -> Caller:
        """Identify the caller of one request, before it costs anything.

        Raises:
            RequestRejected: 401 if the caller is unknown, 403 if not allowed, 503 if this cannot be checked now.
        """


def extract_credential(request: Credentials) -> str:
    """The key or token from `authorization: Bearer …`, else from `x-api-key`.

    A CDN that signs its requests overwrites `authorization`.

    Raises:
        RequestRejected: 401 if neither is sent.
    """
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    if key := request.headers.get("x-api-key", "").strip():
        return key
    raise unauthorized("An API key or token is needed.")


def auth_unavailable(message: str) -> RequestRejected:
    """503: credentials cannot be checked at the moment."""
    return RequestRejected(503, "auth_unavailable", message, {"retry-after": "10"})


def unauthorized(message: str) -> RequestRejected:
    """401: the key or token is missing or not valid."""
    return RequestRejected(401, "unauthorized", message, {"www-authenticate": 'Bearer realm="chat"'})
