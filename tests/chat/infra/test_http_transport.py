"""HTTP over asyncio: what a server may send and what it may not, which connections are used again, limits and timeouts.

httpx's own transport and h11 are the oracles: the same response as theirs, or none.
"""

import asyncio
import contextlib
import datetime as dt
import gc
import itertools
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import h11
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.clock import jumping
from winterbourne.chat.infra import http_pool
from winterbourne.chat.infra.http_transport import (
    CHUNKED,
    MAX_HEAD_BYTES,
    MAX_LINES_BYTES,
    MAX_UNREAD_BYTES,
    UNTIL_CLOSE,
    AsyncioTransport,
    BodyReader,
    PoolStats,
)
from winterbourne.override import override

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED_HEAD = HEAD + b"transfer-encoding: chunked\r\n\r\n"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Serves each connection with `serve`, which need not end; counts them."""

    def __init__(self, serve: Serve) -> None:
        self.url = ""
        self.connections = 0
        self.heads: list[bytes] = []
        self.writers: list[asyncio.StreamWriter] = []
        self._serve = serve

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await self._serve(reader, writer)


@contextlib.asynccontextmanager
async def serving(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(serve)
    listener = await asyncio.start_server(server.connected, "127.0.0.1", 0, ssl=tls)
    host, port = listener.sockets[0].getsockname()
    server.url = f"http{'s' if tls else ''}://{host}:{port}/"
    try:
        yield server
    finally:
        listener.close()
        for writer in server.writers:
            writer.transport.abort()
        await asyncio.sleep(0)


def answering(*answers: bytes, closes: bool = False) -> Serve:
    """Answers each request with the next of these, all connections together; the last one again and again."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            if closes:
                writer.close()
                return

    return serve


@contextlib.asynccontextmanager
async def client(
    connections: int | None = None,
    idle: int | None = None,
    expiry_s: float | None = 5,
    verify: ssl.SSLContext | None = None,
    timeouts: float | httpx.Timeout | None = 5,
) -> AsyncIterator[tuple[httpx.AsyncClient, AsyncioTransport]]:
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=idle, keepalive_expiry=expiry_s)
    transport = AsyncioTransport(verify=verify or ssl.create_default_context(), limits=limits)
    async with httpx.AsyncClient(transport=transport, timeout=timeouts) as made:
        yield made, transport
    assert transport.stats() == PoolStats(0, 0, 0)


async def answer_to(raw: bytes, method: str = "GET", *, closes: bool = True) -> httpx.Response:
    async with serving(answering(raw, closes=closes)) as server, client() as (asking, _):
        return await asking.request(method, server.url)


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - there is no event for the condition
        await asyncio.sleep(0)


# Bodies


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%X%b\r\n%b\r\n" % (len(data), extension, data)


def split(data: bytes, at: list[int]) -> Iterator[bytes]:
    places = [0, *sorted(place % (len(data) + 1) for place in at), len(data)]
    return (data[begin:end] for begin, end in itertools.pairwise(places) if begin < end)


def read_by_us(length: int, pieces: Iterator[bytes]) -> tuple[bytes, bytes] | None:
    """The body and what follows it; None if it is refused or has no end."""
    reader, body = BodyReader(length), b""
    for piece in pieces:
        if reader.ended:
            reader.rest += piece
        elif not reader.error:
            body += reader.feed(piece)
    return None if reader.error or not reader.ended else (body, reader.rest)


def read_by_h11(pieces: Iterator[bytes]) -> tuple[bytes, bytes] | None:
    connection, body = h11.Connection(h11.CLIENT), b""
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(CHUNKED_HEAD)
    assert isinstance(connection.next_event(), h11.Response)
    try:
        for piece in pieces:
            connection.receive_data(piece)
            while isinstance(event := connection.next_event(), h11.Data | h11.EndOfMessage):
                body += event.data if isinstance(event, h11.Data) else b""
    except h11.RemoteProtocolError:
        return None
    return (body, connection.trailing_data[0]) if connection.their_state is h11.DONE else None


SPLITS = st.lists(st.integers(0, 10_000), max_size=8)
EXTENSIONS = st.sampled_from([b"", b" ", b";a", b";a=b", b'; a="b c" '])
TRAILERS = st.sampled_from([b"", b"x-sum: 1\r\n", b"a:\r\nb: c d\t\r\n"])
CHUNKS = st.lists(st.tuples(st.binary(min_size=1, max_size=300), EXTENSIONS), max_size=6)


@given(CHUNKS, TRAILERS, st.binary(max_size=20), SPLITS)
def test_a_chunked_body_is_the_same_however_it_is_split(
    chunks: list[tuple[bytes, bytes]], trailers: bytes, rest: bytes, at: list[int]
) -> None:
    raw = b"".join(chunk(*each) for each in chunks) + b"0\r\n" + trailers + b"\r\n" + rest
    assert read_by_us(CHUNKED, split(raw, at)) == (b"".join(data for data, _ in chunks), rest)


@given(st.data())
def test_broken_chunks_are_refused_or_read_as_h11_reads_them(data: st.DataObject) -> None:
    """A body that two readers understand differently is how a response is smuggled."""
    raw = bytearray(b"".join(chunk(*each) for each in data.draw(CHUNKS)) + b"0\r\n" + data.draw(TRAILERS) + b"\r\n")
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(raw)))
        new = data.draw(st.sampled_from([b"", b"\r", b"\n", b"\0", b"0", b"f", b"g", b"-", b";", b" ", b":", b"\r\n"]))
        raw[place : place + data.draw(st.integers(0, 2))] = new
    ours = read_by_us(CHUNKED, split(bytes(raw), data.draw(SPLITS)))
    assert ours is None or ours == read_by_h11(iter([bytes(raw)]))


@pytest.mark.parametrize(
    "raw",
    [
        b"-1\r\na\r\n0\r\n\r\n",
        b"+1\r\na\r\n0\r\n\r\n",
        b"0x1\r\na\r\n0\r\n\r\n",
        b"1_0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n",
        b"1\na\r\n0\r\n\r\n",
        b"1\r\na\n0\r\n\r\n",
        b"1\r\nab\r\n0\r\n\r\n",
        b" 1\r\na\r\n0\r\n\r\n",
        b"\r\n0\r\n\r\n",
        b"1;a\rb\r\na\r\n0\r\n\r\n",
        b"10000000000000000\r\n",
        b"0\r\nno trailer\r\n\r\n",
        b"0\r\na: b\r\n c\r\n\r\n",
        b"0\r\na: b\0\r\n\r\n",
        b"0\r\na : b\r\n\r\n",
        b"1;" + b"a" * MAX_LINES_BYTES,
        b"0\r\na: " + b"b" * MAX_LINES_BYTES,
    ],
)
def test_what_is_no_chunked_body_is_refused(raw: bytes) -> None:
    reader = BodyReader(CHUNKED)
    reader.feed(raw)
    assert reader.error
    assert not reader.ended


@given(st.binary(max_size=50), st.integers(0, 50), SPLITS)
def test_a_body_with_a_length_ends_there(data: bytes, length: int, at: list[int]) -> None:
    length = min(length, len(data))
    assert read_by_us(length, split(data, at)) == (data[:length], data[length:])


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    reader = BodyReader(UNTIL_CLOSE)
    assert reader.feed(b"a") == b"a"
    assert not reader.ended
    reader.close()
    assert reader.ended


# Responses

LINES = st.lists(
    st.sampled_from(
        [
            b"content-length: 2\r\n",
            b"content-length: 5\r\n",
            b"Content-Length: 2, 2\r\n",
            b"content-length: +2\r\n",
            b"content-length: -2\r\n",
            b"transfer-encoding: chunked\r\n",
            b"Transfer-Encoding: CHUNKED\r\n",
            b"transfer-encoding: gzip, chunked\r\n",
            b"transfer-encoding: identity\r\n",
            b"connection: close\r\n",
            b"connection: keep-alive\r\n",
            b"x: y\r\n",
            b"x: y\n",
            b"x: \0\r\n",
            b"x: a\rb\r\n",
            b" folded\r\n",
            b"no colon\r\n",
            b"x : y\r\n",
            b": y\r\n",
            b"\xff: \xff\r\n",
            b"x: \xff\r\n",
        ]
    ),
    max_size=4,
)
STARTS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 204 No Content\r\n",
        b"HTTP/1.1 304 Not Modified\r\n",
        b"HTTP/1.1 200\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 101 Switching\r\n",
        b"HTTP/2 200 OK\r\n",
        b"HTTP/1.1 20 OK\r\n",
        b"ICY 200 OK\r\n",
        b"HTTP/1.1 200 OK\n",
        b"\r\nHTTP/1.1 200 OK\r\n",
        b"",
    ]
)
BODIES = st.sampled_from(
    [b"", b"ok", b"okok", b"2\r\nok\r\n0\r\n\r\n", b"2\r\nok\r\n0\r\nx: y\r\n\r\n", b"2\r\nok\r\n"]
)


async def _fetch(transport: httpx.AsyncBaseTransport, url: str, method: str) -> tuple[int, Any, bytes] | None:
    async with httpx.AsyncClient(transport=transport) as asking:
        try:
            response = await asking.request(method, url)
        except (httpx.RemoteProtocolError, httpx.ReadError):
            return None
        return response.status_code, response.headers.raw, response.content


@settings(max_examples=100, deadline=None)
@given(STARTS, LINES, BODIES, st.sampled_from(["GET", "HEAD", "POST"]), SPLITS)
def test_a_response_is_as_httpx_reads_it_or_refused(
    start: bytes, lines: list[bytes], body: bytes, method: str, at: list[int]
) -> None:
    raw = start + b"".join(lines) + b"\r\n" + body

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in split(raw, at):
            writer.write(piece)
            await asyncio.sleep(0)
        writer.close()

    async def compare() -> None:
        async with serving(serve) as server:
            ours = AsyncioTransport(verify=CONTEXT, limits=httpx.Limits())
            theirs = httpx.AsyncHTTPTransport(verify=CONTEXT)
            expected = await _fetch(theirs, server.url, method)
            assert await _fetch(ours, server.url, method) == expected
            assert ours.stats() == PoolStats(0, 0, 0)

    asyncio.run(compare())


CONTEXT = ssl.create_default_context()


async def test_interim_responses_are_skipped() -> None:
    response = await answer_to(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK)
    assert (response.status_code, response.content) == (200, b"ok")


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" * 200 + OK,
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        HEAD + b"x: y\r\n" * MAX_HEAD_BYTES,
        HEAD + b"content-length: " + b"9" * 5000 + b"\r\n\r\n",
        HEAD + b"x: " + b"y" * 2 * MAX_HEAD_BYTES,
    ],
)
async def test_what_a_server_says_before_the_body_is_bounded(raw: bytes) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await answer_to(raw)


@pytest.mark.parametrize("raw", [b"", HEAD, HEAD + b"content-length: 3\r\n\r\nok", CHUNKED_HEAD + b"2\r\nok\r\n"])
async def test_a_response_that_breaks_off_is_an_error(raw: bytes) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await answer_to(raw)


async def test_a_response_says_what_httpx_says_of_it() -> None:
    response = await answer_to(b"HTTP/1.0 404 Gone Fishing\r\nX-Capital: A\r\n\r\nno")
    assert (response.http_version, response.reason_phrase) == ("HTTP/1.0", "Gone Fishing")
    assert response.headers.raw == [(b"X-Capital", b"A")]
    assert response.content == b"no"


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "//127.0.0.1/"])
async def test_other_schemes_are_refused(url: str) -> None:
    async with client() as (asking, _):
        with pytest.raises(httpx.UnsupportedProtocol):
            await asking.get(url)


@pytest.mark.parametrize("headers", [{"x": "a\r\nb: c"}, {"x": "a\0"}, {"x y": "z"}])
async def test_a_request_that_is_no_http_is_not_sent(headers: dict[str, str]) -> None:
    async with serving(answering(OK)) as server, client() as (asking, transport):
        with pytest.raises(httpx.LocalProtocolError):
            await asking.get(server.url, headers=headers)
        assert transport.stats().open == 0


async def test_what_is_unread_is_bounded() -> None:
    """GIVEN a server that sends without end WHEN the response is not read THEN the server has to wait."""
    full = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        writer.write(HEAD + b"content-length: 100000000\r\n\r\n")
        while True:
            writer.write(bytes(65536))
            if writer.transport.get_write_buffer_size() > 16 * MAX_UNREAD_BYTES:
                full.set()
            await asyncio.sleep(0)
            if full.is_set():
                await writer.drain()

    async with serving(serve) as server, client() as (asking, _), asking.stream("GET", server.url) as response:
        await full.wait()
        stream: Any = response.stream
        assert stream._stream._unread_bytes <= 2 * MAX_UNREAD_BYTES
        received = 0
        async for data in response.aiter_raw():
            received += len(data)
            if received > 40 * MAX_UNREAD_BYTES:  # more than was kept: it is read again
                break


# Requests


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece
        await asyncio.sleep(0)


async def test_a_body_may_be_a_stream() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = await reader.readuntil(b"0\r\n\r\n")
        writer.write(HEAD + b"content-length: %d\r\n\r\n%b" % (len(body), body))

    async with serving(echo) as server, client() as (asking, transport):
        response = await asking.post(server.url, content=pieces(b"one", b"two"))
        assert response.content == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        assert transport.stats().idle == 1


async def test_a_head_and_a_small_body_are_one_write() -> None:
    reads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reads.append(await reader.read(65536))
        writer.write(OK)

    async with serving(serve) as server, client() as (asking, _):
        await asking.post(server.url, content=b"x" * 1000)
    assert reads[0].endswith(b"x" * 1000)


@pytest.mark.parametrize("closes", [True, False])
async def test_an_answer_may_come_before_the_body_is_sent(closes: bool) -> None:  # noqa: FBT001 - set by parametrize
    """GIVEN a server that refuses a large body early, and reads no more of it THEN its answer is the response."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await writer.drain()
        if closes:
            writer.write_eof()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 16)
            await asyncio.sleep(0)

    async with serving(refuse) as server, client() as (asking, transport):
        response = await asking.post(server.url, content=endless())
        assert (response.status_code, response.content) == (413, b"no")
        assert transport.stats().open == 0


async def test_a_large_body_is_sent_as_the_server_takes_it() -> None:
    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(10_000_000)
        writer.write(OK)

    async with serving(count) as server, client() as (asking, transport):
        assert (await asking.post(server.url, content=bytes(10_000_000))).content == b"ok"
        assert transport.stats().idle == 1


# Connections


async def test_a_connection_is_used_again() -> None:
    answers = [OK, CHUNKED_HEAD + b"2\r\nok\r\n0\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"]
    async with serving(answering(*answers)) as server, client() as (asking, transport):
        assert [(await asking.get(server.url)).content for _ in range(4)] == [b"ok", b"ok", b"", b""]
        assert (server.connections, transport.stats()) == (1, PoolStats(1, 1, 0))


@pytest.mark.parametrize(
    ("answer", "headers"),
    [
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", {}),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", {}),
        (OK + b"HTTP/1.1 200 OK\r\n", {}),  # the beginning of an answer to the next request
        (CHUNKED_HEAD + b"2\r\nok\r\n0\r\n\r\n\r\n", {}),
        (HEAD + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", {}),
        (OK, {"connection": "close"}),
    ],
)
async def test_a_connection_that_is_not_as_it_should_be_is_not_used_again(
    answer: bytes, headers: dict[str, str]
) -> None:
    async with serving(answering(answer)) as server, client() as (asking, transport):
        for _ in range(2):
            assert (await asking.get(server.url, headers=headers)).content == b"ok"
            assert transport.stats().open == 0
        assert server.connections == 2


@pytest.mark.parametrize("last", [b"HTTP/1.1 408 Timeout\r\ncontent-length: 0\r\n\r\n", b""])
@pytest.mark.parametrize("is_seen", [True, False])
async def test_an_idle_connection_on_which_anything_arrives_is_not_used_again(last: bytes, is_seen: bool) -> None:  # noqa: FBT001
    """Not even if the loop has had no time to see it, as after a freeze."""
    async with serving(answering(OK)) as server, client() as (asking, transport):
        await asking.get(server.url)
        if last:
            server.writers[0].write(last)  # goes out at once
        else:
            server.writers[0].transport.abort()
            await asyncio.sleep(0)
        if is_seen:
            await until(lambda: transport.stats().open == 0)
        assert (await asking.post(server.url)).content == b"ok"
        assert server.connections == 2


async def test_an_idle_connection_is_kept_for_its_time() -> None:
    async def at(after_s: float) -> int:
        async with serving(answering(OK)) as server, client(expiry_s=5) as (asking, _):
            await asking.get(server.url)
            await asyncio.sleep(after_s)
            await asking.get(server.url)
            return server.connections

    counted = []

    @jumping
    async def run() -> None:
        counted.extend([await at(4), await at(6)])

    await asyncio.to_thread(run)
    assert counted == [1, 2]


async def test_only_so_many_are_kept() -> None:
    ready = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await ready.wait()
        writer.write(OK)

    async with serving(serve) as server, client(idle=2) as (asking, transport):
        requests = [asyncio.create_task(asking.get(server.url)) for _ in range(5)]
        await until(lambda: server.connections == 5)
        ready.set()
        await asyncio.gather(*requests)
        assert transport.stats() == PoolStats(2, 2, 0)


async def test_who_waits_is_served_in_turn_and_another_hosts_idle_connection_makes_room() -> None:
    async with (
        serving(answering(OK)) as one,
        serving(answering(OK)) as other,
        client(connections=1) as (asking, transport),
    ):
        order: list[int] = []

        async def ask(number: int) -> None:
            await asking.get((one, other)[number % 2].url)
            order.append(number)

        await asyncio.gather(*[ask(number) for number in range(6)])
        assert order == [0, 1, 2, 3, 4, 5]
        assert one.connections == other.connections == 3
        assert transport.stats() == PoolStats(1, 1, 0)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"")


async def test_a_request_that_is_cancelled_while_it_waits_leaves_no_trace() -> None:
    async with serving(silent) as server, client(connections=1) as (asking, transport):
        running = asyncio.create_task(asking.get(server.url))
        await until(lambda: server.connections)
        waiting = [asyncio.create_task(asking.get(server.url)) for _ in range(2)]
        await until(lambda: transport.stats().waiting == 2)
        waiting[0].cancel()
        await until(lambda: transport.stats().waiting == 1)
        running.cancel()
        await until(lambda: server.connections == 2)  # the other one's
        assert transport.stats() == PoolStats(1, 0, 0)
        waiting[1].cancel()
        await asyncio.gather(running, *waiting, return_exceptions=True)
        assert transport.stats() == PoolStats(0, 0, 0)


async def test_a_connection_that_is_granted_to_a_request_just_cancelled_goes_to_the_next() -> None:
    ready = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            await ready.wait()
            writer.write(OK)

    async with serving(serve) as server, client(connections=1) as (asking, transport):
        first, second, third = [asyncio.create_task(asking.get(server.url)) for _ in range(3)]
        await until(lambda: transport.stats().waiting == 2 and server.connections)
        release = transport.release

        def release_and_cancel(connection: Any) -> None:
            release(connection)
            second.cancel()

        transport.release = release_and_cancel  # type: ignore[method-assign]
        ready.set()
        assert (await first).content == (await third).content == b"ok"
        with pytest.raises(asyncio.CancelledError):
            await second
        assert (server.connections, transport.stats()) == (1, PoolStats(1, 1, 0))


async def test_a_connection_that_is_lost_when_it_is_granted_is_replaced() -> None:
    async with serving(answering(OK)) as server, client(connections=1) as (asking, transport):
        requests = [asyncio.create_task(asking.get(server.url)) for _ in range(2)]
        await until(lambda: transport.stats().waiting == 1)
        release = transport.release

        def release_and_lose(connection: Any) -> None:
            transport.release = release  # type: ignore[method-assign]
            release(connection)
            connection.abort()

        transport.release = release_and_lose  # type: ignore[method-assign]
        assert [(await request).content for request in requests] == [b"ok"] * 2
        assert (server.connections, transport.stats()) == (2, PoolStats(1, 1, 0))


async def test_a_request_cancelled_when_its_response_was_complete_harms_no_other() -> None:
    """GIVEN a connection that the next request already has WHEN the request before is cancelled THEN it goes on."""
    async with serving(answering(OK)) as server, client(connections=1) as (asking, transport):
        waits = [asyncio.create_task(asking.get(server.url)) for _ in range(2)]
        await until(lambda: transport.stats().waiting == 1)
        release = transport.release

        def release_and_cancel(connection: Any) -> None:
            release(connection)
            waits[0].cancel()

        transport.release = release_and_cancel  # type: ignore[method-assign]
        assert (await waits[1]).content == b"ok"
        with pytest.raises(asyncio.CancelledError):
            await waits[0]
        assert server.connections == 1


async def test_a_response_that_is_not_read_to_its_end_costs_its_connection() -> None:
    async with serving(answering(CHUNKED_HEAD + b"2\r\nok\r\n")) as server, client() as (asking, transport):
        async with asking.stream("GET", server.url):
            assert transport.stats() == PoolStats(1, 0, 0)
        assert transport.stats() == PoolStats(0, 0, 0)


async def test_a_connection_is_idle_as_soon_as_all_has_arrived() -> None:
    async with serving(answering(OK)) as server, client() as (asking, transport):
        async with asking.stream("GET", server.url) as response:
            assert transport.stats() == PoolStats(1, 1, 0)
            assert (await asking.get(server.url)).content == b"ok"
            assert await response.aread() == b"ok"
        assert server.connections == 1


class Kept(BaseHTTPRequestHandler):
    """Keeps its connections, whatever becomes of the event loops at their other ends."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    @override
    def log_request(self, code: object = "", size: object = "") -> None: ...


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the loop that had them ended without closing them
def test_a_second_event_loop_has_connections_of_its_own() -> None:
    limits = httpx.Limits(max_connections=1)
    transport = AsyncioTransport(verify=ssl.create_default_context(), limits=limits)
    asking = httpx.AsyncClient(transport=transport, timeout=5)

    async def ask() -> int:
        return (await asking.get(f"http://127.0.0.1:{server.server_port}/")).status_code

    with ThreadingHTTPServer(("127.0.0.1", 0), Kept) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever).start()
        try:
            assert [asyncio.run(ask()) for _ in range(3)] == [200, 200, 200]
            asyncio.run(asking.aclose())
        finally:
            server.shutdown()
    assert transport.stats() == PoolStats(0, 0, 0)
    gc.collect()  # the sockets left behind, while the warning is ignored


# Failures and timeouts


async def test_a_body_is_not_complete_because_the_client_is_closed() -> None:
    async with (
        serving(answering(HEAD + b"\r\nok")) as server,
        client() as (asking, transport),
        asking.stream("GET", server.url) as response,
    ):
        await transport.aclose()
        with pytest.raises(httpx.ReadError):
            await response.aread()


async def test_no_request_is_sent_that_failed_while_its_connection_was_opened() -> None:
    got: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await got.put(await reader.read(1))
        await got.put(b"")
        del writer

    async with serving(serve) as server, client() as (asking, transport), asyncio.timeout(30):
        request = asyncio.create_task(asking.post(server.url))
        await until(lambda: transport.stats().open)
        await asyncio.sleep(0)
        await transport.aclose()
        with pytest.raises(httpx.ReadError):
            await request
        assert await got.get() == b""


async def test_a_port_that_is_none() -> None:
    async with client() as (asking, _):
        with pytest.raises(httpx.LocalProtocolError):
            await asking.get("http://localhost:65616/")  # not port 80


async def test_a_server_that_refuses_connections() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    async with client() as (asking, _):
        with pytest.raises(httpx.ConnectError):
            await asking.get(url)


async def test_a_connection_that_breaks() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED_HEAD + b"2\r\nok\r\n")
        await writer.drain()
        option = b"\x01\0\0\0\0\0\0\0"  # linger for no time: a reset
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
        await asyncio.sleep(0.05)
        writer.transport.abort()

    async with serving(serve) as server, client() as (asking, _):
        with pytest.raises(httpx.ReadError):
            await asking.get(server.url)


@pytest.mark.parametrize(
    ("kind", "error"),
    [("connect", httpx.ConnectTimeout), ("read", httpx.ReadTimeout), ("pool", httpx.PoolTimeout)],
)
@jumping
async def test_each_phase_has_its_timeout(kind: str, error: type[Exception]) -> None:
    timeout = httpx.Timeout(None, **{kind: 5.0})
    async with serving(silent) as server, client(connections=1, timeouts=timeout) as (asking, transport):
        running = [asyncio.create_task(asking.get(server.url))] if kind == "pool" else []
        await until(lambda: transport.stats().open or not running)
        url = server.url.replace("http:", "https:") if kind == "connect" else server.url  # no handshake is answered
        began = asyncio.get_running_loop().time()
        with pytest.raises(error):
            await asking.get(url)
        assert 4.9 <= asyncio.get_running_loop().time() - began <= 5.1
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@jumping
async def test_a_server_that_reads_no_more_is_a_write_timeout() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(3600)
        await reader.read()

    async with serving(serve) as server, client(timeouts=httpx.Timeout(None, write=5)) as (asking, _):
        with pytest.raises(httpx.WriteTimeout):
            await asking.post(server.url, content=bytes(50_000_000))


@jumping
async def test_the_read_timeout_is_for_each_read() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED_HEAD)
        for pause_s in (4, 4, 4, 6):
            await asyncio.sleep(pause_s)
            writer.write(b"2\r\nok\r\n")

    async with serving(serve) as server, client() as (asking, _), asking.stream("GET", server.url) as response:
        body = response.aiter_raw()
        assert [await anext(body) for _ in range(3)] == [b"ok"] * 3
        with pytest.raises(httpx.ReadTimeout):
            await anext(body)


# TLS and proxies


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for localhost, in one file."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pier")])
    now = dt.datetime.now(tz=dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


async def test_tls_is_http_1_1_to_a_server_whose_name_is_checked(certificate: Path) -> None:
    names: list[str | None] = []
    serving_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving_tls.load_cert_chain(certificate)
    serving_tls.set_alpn_protocols(["h2", "http/1.1"])
    serving_tls.sni_callback = lambda _, name, __: names.append(name)
    protocols: list[str | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protocols.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await answering(OK)(reader, writer)

    trusting = ssl.create_default_context(cafile=str(certificate))
    async with serving(serve, serving_tls) as server, client(verify=trusting) as (asking, transport):
        named = server.url.replace("127.0.0.1", "localhost")
        assert [(await asking.get(named)).content for _ in range(2)] == [b"ok"] * 2
        assert (names, protocols, transport.stats().idle) == (["localhost"], ["http/1.1"], 1)
        with pytest.raises(httpx.ConnectError, match="IP address mismatch"):
            await asking.get(server.url)
        elsewhere = await asking.get(server.url, extensions={"sni_hostname": "localhost"})
        assert elsewhere.content == b"ok"
    async with serving(serve, serving_tls) as server, client() as (asking, _):
        with pytest.raises(httpx.ConnectError, match="self-signed"):
            await asking.get(server.url.replace("127.0.0.1", "localhost"))


LENGTH = 500_000  # at the end asyncio still holds more than it hands over at once


@pytest.mark.parametrize(
    ("head", "is_closed", "is_whole"),
    [
        (b"connection: close\r\ncontent-length: %d\r\n" % LENGTH, False, True),
        (b"connection: close\r\ncontent-length: %d\r\n" % LENGTH, True, True),
        (b"", True, True),
        (b"", False, False),
    ],
)
async def test_a_body_over_tls_is_whole_or_an_error(
    head: bytes,
    is_closed: bool,  # noqa: FBT001 - set by parametrize
    is_whole: bool,  # noqa: FBT001 - set by parametrize
    certificate: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """GIVEN a slow reader WHEN the server has sent all, and ends the connection with TLS's close or without it."""
    ended = asyncio.Event()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read, written = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(read, written, server_side=True)

        async def run(step: Callable[[], Any]) -> Any:
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    writer.write(written.read())
                    read.write(await reader.read(65536))

        await run(tls.do_handshake)
        await run(lambda: tls.read(65536))
        tls.write(HEAD + head + b"\r\n" + bytes(LENGTH))
        if is_closed:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.unwrap()
        writer.write(written.read())
        writer.close()
        await writer.wait_closed()
        ended.set()

    trusting = ssl.create_default_context(cafile=str(certificate))
    async with serving(serve) as server, client(verify=trusting) as (asking, _):
        url = server.url.replace("http://127.0.0.1", "https://localhost")
        async with asking.stream("GET", url) as response:
            await ended.wait()
            for _ in range(20):
                await asyncio.sleep(0)
            with contextlib.nullcontext() if is_whole else pytest.raises(httpx.ReadError):
                assert len(await response.aread()) == LENGTH
    assert not caplog.records


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_proxy_of_the_environment_is_used_but_where_no_proxy_says_so(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def get(url: str) -> bytes:
        if kind == "async":
            return (await http_pool.client().get(url)).content
        return (await asyncio.to_thread(http_pool.sync_client().get, url)).content

    async with serving(answering(OK)) as proxy, serving(answering(OK.replace(b"ok", b"no"))) as direct:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.1")
        try:
            assert await get("http://pier.example/") == b"ok"
            assert await get(direct.url.replace("127.0.0.1", "127.1")) == b"no"
            assert await get(direct.url) == b"no"  # this machine
            assert proxy.connections == 1
        finally:
            await http_pool.close()


@pytest.mark.parametrize("host", http_pool.NEVER_PROXIED)
async def test_no_proxy_is_told_what_is_for_this_machine_or_a_containers_credentials(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example:3128")
    try:
        for client in (http_pool.client(), http_pool.sync_client()):
            assert client._transport_for_url(httpx.URL(f"http://{host}:8080/")) is client._transport
            assert client._transport_for_url(httpx.URL("http://pier.example/")) is not client._transport
    finally:
        await http_pool.close()
