"""Decompression of HTTP responses: in bounded chunks, up to a size limit, and of supported encodings only."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.infra.decompression import CHUNK_BYTES, MAX_DECOMPRESSED_BYTES, decompress
from winterbourne.override import override


class Body(httpx.AsyncByteStream, httpx.SyncByteStream):
    """A response body that yields one chunk a read; counts the reads and records whether it was closed."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = chunks
        self.read = 0
        self.closed = False

    @override
    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            self.read += 1
            yield chunk

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk

    @override
    def close(self) -> None:
        self.closed = True

    @override
    async def aclose(self) -> None:
        self.closed = True


def response(encoding: str | None, *chunks: bytes, **options: Any) -> httpx.Response:
    headers = {"content-type": "text/plain", "content-length": "7"}
    if encoding is not None:
        headers["content-encoding"] = encoding
    return httpx.Response(200, headers=headers, stream=Body(*chunks), **options)


def compressed_zeros(count: int, compress: Callable[[bytes], bytes] = gzip.compress) -> bytes:
    return compress(bytes(count))


@pytest.mark.parametrize("encoding", [None, "", "identity", "Identity, identity", "utf-8", "none", "aws-chunked"])
def test_an_uncompressed_response_is_returned_unchanged(encoding: str | None) -> None:
    uncompressed = response(encoding, b"a")
    assert decompress(uncompressed) is uncompressed


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("X-GZIP", gzip.compress), ("deflate", zlib.compress)]
)
async def test_a_compressed_response_is_decompressed(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    text = b"the tide is in " * 10_000
    for size in (2, 1000, 10**6):
        compressed = compress(text)
        chunks = [compressed[start : start + size] for start in range(0, len(compressed), size)]
        read = decompress(response(encoding, *chunks))
        assert b"".join([chunk async for chunk in read.aiter_raw()]) == text
        assert b"".join(decompress(response(encoding, *chunks)).iter_raw()) == text
        assert dict(read.headers) == {"content-type": "text/plain"}


@given(st.binary(max_size=500), st.integers(1, 50))
def test_any_bytes_are_decompressed_however_they_are_chunked(data: bytes, size: int) -> None:
    compressed = gzip.compress(data)
    chunks = [compressed[start : start + size] for start in range(0, len(compressed), size)]
    assert b"".join(decompress(response("gzip", *chunks)).iter_raw()) == data


async def test_encodings_that_are_no_compression_are_skipped() -> None:
    assert await decompress(response("aws-chunked, gzip", gzip.compress(b"the tide"))).aread() == b"the tide"


async def test_deflate_without_its_header_as_some_servers_send_it_is_decompressed() -> None:
    compressor = zlib.compressobj(wbits=-15)
    compressed = compressor.compress(b"the tide") + compressor.flush()
    assert await decompress(response("deflate", compressed[:3], compressed[3:])).aread() == b"the tide"


async def test_a_large_body_does_not_block_the_event_loop() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await decompress(response("gzip", compressed_zeros(100 * CHUNK_BYTES))).aread()
    counting.cancel()
    assert turns >= 100


async def test_flushed_data_is_passed_on_at_once() -> None:
    compressor = zlib.compressobj(wbits=31)
    first = compressor.compress(b"one ") + compressor.flush(zlib.Z_SYNC_FLUSH)
    body = Body(first, compressor.compress(b"two") + compressor.flush())
    chunks = decompress(httpx.Response(200, headers={"content-encoding": "gzip"}, stream=body)).aiter_raw()
    assert await anext(chunks) == b"one "
    assert body.read == 1
    assert [chunk async for chunk in chunks] == [b"two"]


async def test_it_is_read_in_chunks_so_that_a_lower_limit_applies_in_time() -> None:
    bomb = compressed_zeros(16 * 1024 * 1024)
    async for chunk in decompress(response("gzip", bomb)).aiter_raw():
        assert len(chunk) <= CHUNK_BYTES
    sizes = list(map(len, decompress(response("gzip", bomb)).iter_raw()))
    assert (max(sizes), sum(sizes)) == (CHUNK_BYTES, 16 * 1024 * 1024)


async def test_there_is_a_limit_for_readers_that_set_none() -> None:
    bomb = compressed_zeros(MAX_DECOMPRESSED_BYTES + 1)
    with pytest.raises(httpx.DecodingError, match=f"more than {MAX_DECOMPRESSED_BYTES} bytes"):
        await decompress(response("gzip", bomb)).aread()
    with pytest.raises(httpx.DecodingError, match=f"more than {MAX_DECOMPRESSED_BYTES} bytes"):
        decompress(response("gzip", bomb)).read()


@pytest.mark.parametrize(
    "encoding", ["gzip, gzip", "gzip,deflate", "identity, gzip, gzip", "br", "zstd", "compress", "gzip," * 10_000]
)
async def test_unsupported_and_nested_encodings_are_rejected_before_they_are_read(encoding: str) -> None:
    twice = response(encoding, gzip.compress(compressed_zeros(10_000_000)))
    with pytest.raises(httpx.DecodingError, match=r"^the response has an unsupported encoding: .{2,100}$"):
        await decompress(twice).aread()


@pytest.mark.parametrize(
    "body", [b"no gzip at all", gzip.compress(b"x" * 100, mtime=0)[:-20], gzip.compress(b"x", mtime=0)[:5]]
)
async def test_a_corrupt_or_truncated_body_is_an_error(body: bytes) -> None:
    with pytest.raises(httpx.DecodingError, match=r"compressed response is (corrupt|truncated)"):
        await decompress(response("gzip", body)).aread()


async def test_an_empty_body_stays_empty() -> None:
    assert await decompress(response("gzip")).aread() == b""


async def test_data_after_the_end_is_ignored() -> None:
    assert await decompress(response("gzip", gzip.compress(b"all") + b"\0\0", b"more")).aread() == b"all"


async def test_closing_it_closes_the_response() -> None:
    body = Body(gzip.compress(b"a"))
    await decompress(httpx.Response(200, headers={"content-encoding": "gzip"}, stream=body)).aclose()
    assert body.closed
    body = Body(gzip.compress(b"a"))
    decompress(httpx.Response(200, headers={"content-encoding": "gzip"}, stream=body)).close()
    assert body.closed


def test_the_status_and_extensions_of_the_response_are_kept() -> None:
    read = decompress(response("gzip", b"", extensions={"http_version": b"HTTP/1.1"}))
    assert (read.status_code, read.http_version) == (200, "HTTP/1.1")
