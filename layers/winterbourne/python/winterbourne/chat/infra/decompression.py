"""Streaming decompression of HTTP responses with bounded memory, as a protection against decompression bombs.

A few kilobytes of gzip may expand to gigabytes of text. httpx decompresses everything that one socket read brought in
one go, nested encodings included, so a limit on its output comes too late. Here the output comes in chunks of at most
CHUNK_BYTES, and MAX_DECOMPRESSED_BYTES in total. Nested encodings, and encodings other than gzip and deflate, are
rejected. Content-encoding values that name no compression, which some servers send, are ignored, as httpx does.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from winterbourne.chat.http_library import httpx
from winterbourne.override import override

__all__ = ["ACCEPT_ENCODING", "CHUNK_BYTES", "MAX_DECOMPRESSED_BYTES", "decompress"]

ACCEPT_ENCODING: Final = "gzip"
"""The `accept-encoding` header of requests that do not set their own."""

CHUNK_BYTES: Final = 64 * 1024
MAX_DECOMPRESSED_BYTES: Final = 32 * 1024 * 1024
"""Limit for one decompressed response. The caller usually has a lower one."""

# Makes zlib detect the header: gzip (RFC 1952) or zlib (RFC 1950).
_GZIP_OR_ZLIB_WBITS: Final = 32 + zlib.MAX_WBITS
_SUPPORTED_ENCODINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})  # RFC 9110, section 8.4.1
_KNOWN_ENCODINGS: Final = _SUPPORTED_ENCODINGS | {"br", "zstd", "compress", "x-compress", "dcb", "dcz"}


def decompress(response: httpx.Response) -> httpx.Response:
    """The response; if its body is compressed, that is decompressed while it is read, by sync and async readers alike.

    Reading it raises httpx.DecodingError if the encoding is unsupported, the data is corrupt or truncated, or the
    output exceeds MAX_DECOMPRESSED_BYTES. Closing it closes the original body.
    """
    names = (name.strip().lower() for name in response.headers.get("content-encoding", "").split(","))
    if encodings := [name for name in names if name in _KNOWN_ENCODINGS]:
        response.stream = _Body(response.stream, encodings)
        for name in ("content-encoding", "content-length"):
            response.headers.pop(name, None)
    return response


class _Body(httpx.AsyncByteStream, httpx.SyncByteStream):
    """The decompressed body of a response of either client. Ignores bytes after the compressed data, as browsers do."""

    def __init__(self, stream: Any, encodings: list[str]) -> None:
        self._stream = stream
        self._encodings = encodings
        self._zlib = zlib.decompressobj(_GZIP_OR_ZLIB_WBITS)
        self._has_input = self._has_output = False
        self._remaining_bytes = MAX_DECOMPRESSED_BYTES

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._stream:
            for chunk in self._feed(data):
                yield chunk
                await asyncio.sleep(0)  # one read may expand to megabytes: let other tasks run
        self._check_end()

    @override
    def __iter__(self) -> Iterator[bytes]:
        for data in self._stream:
            yield from self._feed(data)
        self._check_end()

    @override
    async def aclose(self) -> None:
        await self._stream.aclose()

    @override
    def close(self) -> None:
        self._stream.close()

    def _feed(self, data: bytes) -> Iterator[bytes]:
        if len(self._encodings) > 1 or self._encodings[0] not in _SUPPORTED_ENCODINGS:
            raise httpx.DecodingError(f"the response has an unsupported encoding: {', '.join(self._encodings)[:100]}")
        self._has_input = has_more = True
        while has_more and not self._zlib.eof:
            chunk = self._inflate(data)
            data = self._zlib.unconsumed_tail
            has_more = bool(data) or len(chunk) == CHUNK_BYTES
            if chunk:
                yield chunk

    def _check_end(self) -> None:
        if self._has_input and not self._zlib.eof:
            raise httpx.DecodingError("the compressed response is truncated")

    def _inflate(self, data: bytes) -> bytes:
        try:
            chunk = self._zlib.decompress(data, CHUNK_BYTES)
        except zlib.error as error:
            if self._has_output or self._encodings != ["deflate"]:
                raise httpx.DecodingError("the compressed response is corrupt") from error
            # Some servers omit the zlib header.
            self._zlib, self._has_output = zlib.decompressobj(-zlib.MAX_WBITS), True
            return self._inflate(data)
        self._has_output = True
        self._remaining_bytes -= len(chunk)
        if self._remaining_bytes < 0:
            raise httpx.DecodingError(f"the response has more than {MAX_DECOMPRESSED_BYTES} bytes when decompressed")
        return chunk
