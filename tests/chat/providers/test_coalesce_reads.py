"""Coalescing reads: a body is yielded as one item per socket read, however HTTP frames it."""

import contextlib
import zlib
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.upstream import Exchange, Script, upstream
from winterbourne.chat.infra import http_pool
from winterbourne.chat.providers.coalesce_reads import coalesce_reads


@contextlib.asynccontextmanager
async def body(script: Script) -> AsyncIterator[AsyncIterator[bytes]]:
    async with upstream(script) as server:
        client = http_pool.client()
        response = await client.send(client.build_request("GET", server.url), stream=True)
        try:
            async with contextlib.aclosing(coalesce_reads(response)) as items:
                yield items
        finally:
            await response.aclose()


def responding_with(data: bytes) -> Script:
    async def script(exchange: Exchange) -> None:
        exchange.writer.write(data)
        await exchange.writer.drain()
        exchange.writer.write_eof()

    return script


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class TestChunks:
    async def test_chunks_of_one_read_are_one_item(self) -> None:
        async with body(responding_with(CHUNKED + b"2\r\nab\r\n1\r\nc\r\n3\r\ndef\r\n0\r\n\r\n")) as items:
            assert [item async for item in items] == [b"abcdef"]

    async def test_half_a_chunk_does_not_wait_for_its_other_half(self) -> None:
        async def script(exchange: Exchange) -> None:
            exchange.writer.write(CHUNKED + b"2\r\nab\r\n4\r\ncd")
            await exchange.gone()

        async with body(script) as items:
            assert await anext(items) == b"abcd"

    async def test_data_before_broken_framing_is_yielded_first(self) -> None:
        async with body(responding_with(CHUNKED + b"2\r\nab\r\nnonsense\r\n")) as items:
            assert await anext(items) == b"ab"
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(items)

    async def test_a_truncated_body_is_an_error_and_not_an_end(self) -> None:
        async with body(responding_with(CHUNKED + b"2\r\nab\r\n")) as items:
            assert await anext(items) == b"ab"
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(items)


class TestOtherBodies:
    @pytest.mark.parametrize(
        "head",
        [
            b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 6\r\n\r\n",
            b"HTTP/1.0 200 OK\r\n\r\n",
        ],
    )
    async def test_bodies_that_are_not_chunked(self, head: bytes) -> None:
        async with body(responding_with(head + b"abcdef")) as items:
            assert b"".join([item async for item in items]) == b"abcdef"

    async def test_compressed_bodies(self) -> None:
        data = zlib.compress(b"abcdef")
        head = b"HTTP/1.1 200 OK\r\ncontent-encoding: deflate\r\ncontent-length: %d\r\n\r\n" % len(data)
        async with body(responding_with(head + data)) as items:
            assert b"".join([item async for item in items]) == b"abcdef"

    async def test_without_access_to_the_parser_each_chunk_is_an_item(self) -> None:
        chunks = httpx.Response(200, stream=_Chunks())
        assert [item async for item in coalesce_reads(chunks)] == [b"ab", b"c"]


class _Chunks(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"c"
