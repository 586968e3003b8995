"""The body of a request with large images or documents: these are sent from where they are, and not copied."""

import hashlib
from collections.abc import AsyncIterator

import msgspec

from winterbourne.chat.http_library import httpx
from winterbourne.large_body import LargeBody

__all__ = ["Body"]


class Body(msgspec.Struct, frozen=True):
    """The body of an HTTP request, which is never in memory in one piece.

    Attributes:
        content: JSON, and what stays beside it.
    """

    content: LargeBody

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """All of it, in order, for httpx; from the start each time."""
        for piece in self.content.pieces():
            yield piece

    def sent_by(self, request: httpx.Request) -> httpx.Request:
        """The request with this as its body; Signature Version 4 asks for its digest."""
        headers = {**request.headers, "content-length": str(sum(map(len, self.content.pieces())))}
        extensions = {**request.extensions, "sha256": self._sha256}
        return httpx.Request(request.method, request.url, content=self, headers=headers, extensions=extensions)

    def _sha256(self) -> str:
        digest = hashlib.sha256()
        for piece in self.content.pieces():
            digest.update(piece)
        return digest.hexdigest()
