"""Decompresses responses a bounded piece at a time, before anybody reads them.

A few kilobytes of gzip may be gigabytes of text. httpx decompresses whatever one read of the socket brought in one go,
and encodings within encodings too, so a limit on what comes out of it comes too late. Here it comes out in pieces of
PIECE_BYTES, MAX_BYTES of it at most; encodings within encodings, and others than gzip and deflate, are refused. Words
that name no compression, which some servers put there, are passed over, as httpx does.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Final, cast

import httpx

__all__ = ["ACCEPT_ENCODING", "CHUNK_BYTES", "MAX_DECOMPRESSED_BYTES", "decompress", "decompress_sync"]

ACCEPT_ENCODING: Final = "gzip"
"""What requests ask for, unless they say otherwise."""

CHUNK_BYTES: Final = 64 * 1024
MAX_DECOMPRESSED_BYTES: Final = 32 * 1024 * 1024
"""Of one response, decompressed. Whoever reads it usually has a lower limit."""

_GZIP_OR_ZLIB_WBITS: Final = (
    32 + zlib.MAX_WBITS
)  # zlib's way to say: with the header of gzip (RFC 1952) or of zlib (RFC 1950)
_SUPPORTED_ENCODINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})  # RFC 9110, section 8.4.1
_KNOWN_ENCODINGS: Final = _SUPPORTED_ENCODINGS | {"br", "zstd", "compress", "x-compress", "dcb", "dcz"}
_ENCODED_BODY_HEADERS: Final = ("content-encoding", "content-length")


def decompress(response: httpx.Response) -> httpx.Response:
    """The response with a body that is read as it was before it was compressed; itself where it was not.

    Reading it raises httpx.DecodingError for another encoding, where it is broken or cut, and beyond MAX_BYTES.
    Closing it closes the response.
    """
    encodings = _content_encodings(response)
    stream = cast("httpx.AsyncByteStream", response.stream)
    return _with_stream(response, _AsyncBody(stream, encodings)) if encodings else response


def decompress_sync(response: httpx.Response) -> httpx.Response:
    """The same for responses of a sync client."""
    encodings = _content_encodings(response)
    stream = cast("httpx.SyncByteStream", response.stream)
    return _with_stream(response, _SyncBody(stream, encodings)) if encodings else response


def _content_encodings(response: httpx.Response) -> list[str]:
    names = (name.strip().lower() for name in response.headers.get("content-encoding", "").split(","))
    return [name for name in names if name in _KNOWN_ENCODINGS]


def _with_stream(response: httpx.Response, stream: httpx.AsyncByteStream | httpx.SyncByteStream) -> httpx.Response:
    headers = [
        (name, value) for name, value in response.headers.raw if name.lower().decode() not in _ENCODED_BODY_HEADERS
    ]
    return httpx.Response(response.status_code, headers=headers, stream=stream, extensions=response.extensions)


class _Inflater:
    """Compressed bytes in, pieces out. What follows the end of what was compressed is ignored, as browsers do."""

    def __init__(self, encodings: list[str]) -> None:
        self._encodings = encodings
        self._zlib = zlib.decompressobj(_GZIP_OR_ZLIB_WBITS)
        self._has_input = self._has_output = False
        self._remaining_bytes = MAX_DECOMPRESSED_BYTES

    def feed(self, data: bytes) -> Iterator[bytes]:
        if len(self._encodings) > 1 or self._encodings[0] not in _SUPPORTED_ENCODINGS:
            raise httpx.DecodingError(f"the response is encoded as {', '.join(self._encodings)[:100]}")
        self._has_input = has_more = True
        while has_more and not self._zlib.eof:
            chunk = self._inflate(data)
            data = self._zlib.unconsumed_tail
            has_more = bool(data) or len(chunk) == CHUNK_BYTES
            if chunk:
                yield chunk

    def close(self) -> None:
        if self._has_input and not self._zlib.eof:
            raise httpx.DecodingError("the compressed response is cut")

    def _inflate(self, data: bytes) -> bytes:
        try:
            chunk = self._zlib.decompress(data, CHUNK_BYTES)
        except zlib.error as error:
            if self._has_output or self._encodings != ["deflate"]:
                raise httpx.DecodingError("the compressed response is broken") from error
            self._zlib, self._has_output = (
                zlib.decompressobj(-zlib.MAX_WBITS),
                True,
            )  # some servers leave the header out
            return self._inflate(data)
        self._has_output = True
        self._remaining_bytes -= len(chunk)
        if self._remaining_bytes < 0:
            raise httpx.DecodingError(f"the response has more than {MAX_DECOMPRESSED_BYTES} bytes when decompressed")
        return chunk


class _AsyncBody(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, encodings: list[str]) -> None:
        self._stream = stream
        self._inflater = _Inflater(encodings)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._stream:
            for chunk in self._inflater.feed(data):
                yield chunk
                await asyncio.sleep(0)  # one read may bring megabytes, and others want their turn
        self._inflater.close()

    async def aclose(self) -> None:
        await self._stream.aclose()


class _SyncBody(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream, encodings: list[str]) -> None:
        self._stream = stream
        self._inflater = _Inflater(encodings)

    def __iter__(self) -> Iterator[bytes]:
        for data in self._stream:
            yield from self._inflater.feed(data)
        self._inflater.close()

    def close(self) -> None:
        self._stream.close()
