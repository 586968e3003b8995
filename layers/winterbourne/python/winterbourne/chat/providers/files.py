"""The body of a request with large images or documents: these are sent from where they are, and not copied."""

import hashlib
from collections.abc import AsyncIterator

import httpx
import msgspec

from winterbourne.chat.core.documents import in_pieces

__all__ = ["Body"]


class Body(msgspec.Struct, frozen=True):
    """The body of an HTTP request: JSON with marks, and what they stand for. It is never in memory in one piece.

    Attributes:
        content: The JSON text.
        data: Base64 text, by the numbers in the marks.
    """

    content: bytes
    data: list[str]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """All of it, in order, for httpx; from the start each time."""
        for piece in in_pieces(self.content, self.data):
            yield piece

    def sent_by(self, request: httpx.Request) -> httpx.Request:
        """The request with this as its body; Signature Version 4 asks for its digest."""
        length = sum(map(len, in_pieces(self.content, self.data)))
        headers = {**request.headers, "content-length": str(length)}
        extensions = {**request.extensions, "sha256": self._sha256}
        return httpx.Request(request.method, request.url, content=self, headers=headers, extensions=extensions)

    def _sha256(self) -> str:
        digest = hashlib.sha256()
        for piece in in_pieces(self.content, self.data):
            digest.update(piece)
        return digest.hexdigest()
