"""The images and documents of a request: large ones are sent beside its JSON, so that they are not copied. Pure."""

import hashlib
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Final

import httpx
import msgspec

from winterbourne.chat.core.documents import TEXT_TYPES, document_type, with_user_parts
from winterbourne.chat.core.messages import Document, Text, UserPart
from winterbourne.chat.core.provider import ModelRequest

__all__ = ["Body", "take_out_data"]

MIN_CHARS: Final = 32 * 1024
"""Of base64 from which a file is sent from where it is: less is as quickly copied."""

_PIECE_CHARS: Final = 256 * 1024
_MARK: Final = f"file-{uuid.uuid4().hex}-"  # nobody can write it into a request


def take_out_data(request: ModelRequest) -> tuple[ModelRequest, list[str]]:
    """A request with a mark in the place of each large file's base64, and what the marks stand for.

    So that it need not be copied: to be encoded, searched for secrets, and buffered. Text is sent as such, and stays.
    """
    taken: list[str] = []

    def slim(part: UserPart) -> UserPart:
        if isinstance(part, Text) or len(part.data) < MIN_CHARS:
            return part
        if isinstance(part, Document) and document_type(part.media_type, part.name) in TEXT_TYPES:
            return part
        taken.append(part.data)
        return msgspec.structs.replace(part, data=f"{_MARK}{len(taken) - 1};")

    return msgspec.structs.replace(request, messages=with_user_parts(request.messages, slim)), taken


class Body(msgspec.Struct, frozen=True):
    """The body of an HTTP request: JSON with marks, and what they stand for. It is never in memory in one piece.

    Attributes:
        content: The JSON text.
        data: Base64 text, by the numbers in the marks.
    """

    content: bytes
    data: list[str]

    def pieces(self) -> Iterator[bytes]:
        """All of it, in order."""
        rest = iter(re.split(rf"{_MARK}(\d+);".encode(), self.content))
        yield next(rest)
        for number in rest:
            data = self.data[int(number)]
            for start in range(0, len(data), _PIECE_CHARS):
                yield data[start : start + _PIECE_CHARS].encode()
            yield next(rest)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The same, for httpx; from the start each time."""
        for piece in self.pieces():
            yield piece

    def sent_by(self, request: httpx.Request) -> httpx.Request:
        """The request with this as its body; Signature Version 4 asks for its digest."""
        headers = {**request.headers, "content-length": str(sum(map(len, self.pieces())))}
        extensions = {**request.extensions, "sha256": self._sha256}
        return httpx.Request(request.method, request.url, content=self, headers=headers, extensions=extensions)

    def _sha256(self) -> str:
        digest = hashlib.sha256()
        for piece in self.pieces():
            digest.update(piece)
        return digest.hexdigest()
