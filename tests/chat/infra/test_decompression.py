"""Compressed responses are read within a bound, piece by piece, or not at all."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.infra.decompression import CHUNK_BYTES, MAX_DECOMPRESSED_BYTES, decompress, decompress_sync


class Body(httpx.AsyncByteStream, httpx.SyncByteStream):
    """Pieces, one a read; says whether it was closed, and how many were read."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.read = 0
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            self.read += 1
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


def response(encoding: str | None, *pieces: bytes, **more: Any) -> httpx.Response:
    headers = {"content-type": "text/plain", "content-length": "7"}
    if encoding is not None:
        headers["content-encoding"] = encoding
    return httpx.Response(200, headers=headers, stream=Body(*pieces), **more)


def nothing_but_zeros(count: int, pack: Callable[[bytes], bytes] = gzip.compress) -> bytes:
    return pack(bytes(count))


@pytest.mark.parametrize("encoding", [None, "", "identity", "Identity, identity", "utf-8", "none", "aws-chunked"])
def test_what_is_not_compressed_is_left_alone(encoding: str | None) -> None:
    plain = response(encoding, b"a")
    assert decompress(plain) is plain
    assert decompress_sync(plain) is plain


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("X-GZIP", gzip.compress), ("deflate", zlib.compress)]
)
async def test_what_is_compressed_reads_as_it_was(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    text = b"the tide is in " * 10_000
    for take in (2, 1000, 10**6):
        packed = pack(text)
        pieces = [packed[at : at + take] for at in range(0, len(packed), take)]
        read = decompress(response(encoding, *pieces))
        assert b"".join([piece async for piece in read.aiter_raw()]) == text
        assert b"".join(decompress_sync(response(encoding, *pieces)).iter_raw()) == text
        assert dict(read.headers) == {"content-type": "text/plain"}


@given(st.binary(max_size=500), st.integers(1, 50))
def test_any_bytes_cut_anywhere(data: bytes, take: int) -> None:
    packed = gzip.compress(data)
    pieces = [packed[at : at + take] for at in range(0, len(packed), take)]
    assert b"".join(decompress_sync(response("gzip", *pieces)).iter_raw()) == data


async def test_words_that_name_no_compression_are_passed_over() -> None:
    assert await decompress(response("aws-chunked, gzip", gzip.compress(b"the tide"))).aread() == b"the tide"


async def test_deflate_without_its_header_is_read_too_as_some_servers_send_it() -> None:
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(b"the tide") + packer.flush()
    assert await decompress(response("deflate", packed[:3], packed[3:])).aread() == b"the tide"


async def test_a_large_body_lets_others_have_their_turn() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await decompress(response("gzip", nothing_but_zeros(100 * CHUNK_BYTES))).aread()
    counting.cancel()
    assert turns >= 100


async def test_a_stream_that_is_flushed_comes_as_it_is_sent() -> None:
    packer = zlib.compressobj(wbits=31)
    first = packer.compress(b"one ") + packer.flush(zlib.Z_SYNC_FLUSH)
    body = Body(first, packer.compress(b"two") + packer.flush())
    read = decompress(httpx.Response(200, headers={"content-encoding": "gzip"}, stream=body)).aiter_raw()
    assert await anext(read) == b"one "
    assert body.read == 1
    assert [piece async for piece in read] == [b"two"]


async def test_it_comes_in_pieces_so_that_a_lower_limit_is_met_in_time() -> None:
    bomb = nothing_but_zeros(16 * 1024 * 1024)
    async for piece in decompress(response("gzip", bomb)).aiter_raw():
        assert len(piece) <= CHUNK_BYTES
    sizes = list(map(len, decompress_sync(response("gzip", bomb)).iter_raw()))
    assert (max(sizes), sum(sizes)) == (CHUNK_BYTES, 16 * 1024 * 1024)


async def test_there_is_a_limit_for_those_who_have_none() -> None:
    bomb = nothing_but_zeros(MAX_DECOMPRESSED_BYTES + 1)
    with pytest.raises(httpx.DecodingError, match=f"more than {MAX_DECOMPRESSED_BYTES} bytes"):
        await decompress(response("gzip", bomb)).aread()
    with pytest.raises(httpx.DecodingError, match=f"more than {MAX_DECOMPRESSED_BYTES} bytes"):
        decompress_sync(response("gzip", bomb)).read()


@pytest.mark.parametrize(
    "encoding", ["gzip, gzip", "gzip,deflate", "identity, gzip, gzip", "br", "zstd", "compress", "gzip," * 10_000]
)
async def test_other_encodings_and_those_within_others_are_refused_before_they_are_read(encoding: str) -> None:
    twice = response(encoding, gzip.compress(nothing_but_zeros(10_000_000)))
    with pytest.raises(httpx.DecodingError, match=r"^the response has an unsupported encoding: .{2,100}$"):
        await decompress(twice).aread()


@pytest.mark.parametrize(
    "sent", [b"no gzip at all", gzip.compress(b"x" * 100, mtime=0)[:-20], gzip.compress(b"x", mtime=0)[:5]]
)
async def test_what_is_broken_or_cut_is_an_error(sent: bytes) -> None:
    with pytest.raises(httpx.DecodingError, match=r"compressed response is (corrupt|truncated)"):
        await decompress(response("gzip", sent)).aread()


async def test_no_body_at_all_is_none() -> None:
    assert await decompress(response("gzip")).aread() == b""


async def test_what_follows_the_end_is_ignored() -> None:
    assert await decompress(response("gzip", gzip.compress(b"all") + b"\0\0", b"more")).aread() == b"all"


async def test_closing_it_closes_the_response() -> None:
    body = Body(gzip.compress(b"a"))
    await decompress(httpx.Response(200, headers={"content-encoding": "gzip"}, stream=body)).aclose()
    assert body.closed
    body = Body(gzip.compress(b"a"))
    decompress_sync(httpx.Response(200, headers={"content-encoding": "gzip"}, stream=body)).close()
    assert body.closed


def test_what_httpx_knows_of_a_response_stays() -> None:
    read = decompress(response("gzip", b"", extensions={"http_version": b"HTTP/1.1"}))
    assert (read.status_code, read.http_version) == (200, "HTTP/1.1")
