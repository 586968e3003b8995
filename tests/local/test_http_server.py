"""HTTP/1.1 server of the local server: framing, streaming, backpressure, disconnects and failing handlers."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.local.sinks import until
from winterbourne.local.http_server import (
    MAX_HEAD_BYTES,
    BodyTooLarge,
    Exchange,
    Handler,
    HttpServer,
    IncompleteRequest,
    RequestPolicy,
)


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[HttpServer]:
    async with HttpServer(handler) as server:
        await server.listen("127.0.0.1")
        yield server


@contextlib.asynccontextmanager
async def streaming(handler: Handler) -> AsyncIterator[AsyncIterator[bytes]]:
    async with serving(handler) as server, httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{server.port}/"
        async with client.stream("GET", url) as response:
            yield response.aiter_bytes()


async def send_raw(server: HttpServer, *parts: bytes) -> bytes:
    """Send raw bytes, each part in its own turn, and read until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def echo(exchange: Exchange) -> None:
    body = await exchange.read_body(1_000_000)
    request_line = f"{exchange.method} {exchange.target} {exchange.trailers} ".encode()
    await exchange.respond(200, [("content-type", "text/plain")], request_line + body)


class TestARequest:
    async def test_is_answered_with_its_length(self) -> None:
        async with serving(echo) as server, httpx.AsyncClient() as client:
            response = await client.post(f"http://127.0.0.1:{server.port}/x?y", content=b"hi")
        assert response.text == "POST /x?y [] hi"
        assert response.headers["content-length"] == "15"

    async def test_many_share_one_connection(self) -> None:
        peers = set()

        async def handler(exchange: Exchange) -> None:
            peers.add(exchange._writer.get_extra_info("peername"))
            await exchange.respond(200, [])

        async with serving(handler) as server, httpx.AsyncClient() as client:
            for _ in range(3):
                await client.get(f"http://127.0.0.1:{server.port}/")
        assert len(peers) == 1

    async def test_trailers_are_there_after_the_body(self) -> None:
        async with serving(echo) as server:
            head = (
                b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n"
            )
            answer = await send_raw(server, head, b"2\r\nhi\r\n0\r\nA: b\r\n\r\n")
        assert answer.endswith(b"POST / [('a', 'b')] hi")

    async def test_with_expect_100_continue_gets_a_100(self) -> None:
        async with serving(echo) as server:
            head = (
                b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
            )
            answer = await send_raw(server, head, b"hi")
        assert answer.startswith(b"HTTP/1.1 100 ")

    async def test_that_is_not_http_gets_a_400(self) -> None:
        async with serving(echo) as server:
            assert (await send_raw(server, b"\x16\x03\x01 nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400 ")

    async def test_that_turns_out_not_to_be_http_during_its_response_is_only_cut_off(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def handler(exchange: Exchange) -> None:
            await exchange.start_response(200, [])
            await exchange.read_body(100)

        async with serving(handler) as server:
            head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            assert (await send_raw(server, head, b"nonsense\r\n")).startswith(b"HTTP/1.1 200 ")
        gc.collect()  # an exception that nobody retrieved is logged with its task's last reference
        assert not caplog.records

    async def test_with_too_large_a_body_gets_a_413_and_closes_the_connection(self) -> None:
        async def handler(exchange: Exchange) -> None:
            with pytest.raises(BodyTooLarge):
                await exchange.read_body(1)
            await exchange.respond(413, [])

        async with serving(handler) as server:
            answer = await send_raw(server, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhi")
        assert answer.startswith(b"HTTP/1.1 413 ")

    async def test_that_breaks_off_is_incomplete(self) -> None:
        seen = []

        async def handler(exchange: Exchange) -> None:
            try:
                await exchange.read_body(100)
            except IncompleteRequest as error:
                seen.append(error)
                raise

        async with serving(handler) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhi")
            writer.close()
            await until(lambda: bool(seen))

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
    @given(st.data())
    def test_split_anywhere_it_is_parsed_the_same(self, data: st.DataObject) -> None:
        request = (
            b"PUT /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nhi\r\n0\r\nT: u\r\n\r\n"
        )
        cuts = sorted(data.draw(st.lists(st.integers(0, len(request)), max_size=4)))
        parts = [request[a:b] for a, b in zip([0, *cuts], [*cuts, len(request)], strict=True)]

        async def run() -> bytes:
            async with serving(echo) as server:
                return await send_raw(server, *parts)

        assert asyncio.run(run()).endswith(b"PUT /a [('t', 'u')] hi")


class TestAResponse:
    @pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
    async def test_that_may_have_no_body_has_none(self, method: str, status: int) -> None:
        async def handler(exchange: Exchange) -> None:
            await exchange.start_response(status, [("x", "y")])
            await exchange.write(b"never")
            await exchange.end_response()

        async with serving(handler) as server, httpx.AsyncClient() as client:
            for _ in range(2):
                response = await client.request(method, f"http://127.0.0.1:{server.port}/")
                assert (response.status_code, response.content, response.headers["x"]) == (status, b"", "y")

    async def test_to_head_has_the_length_of_the_body_that_is_left_out(self) -> None:
        async def handler(exchange: Exchange) -> None:
            await exchange.respond(200, [], b"never")

        async with serving(handler) as server, httpx.AsyncClient() as client:
            for _ in range(2):
                response = await client.head(f"http://127.0.0.1:{server.port}/")
                assert (response.content, response.headers["content-length"]) == (b"", "5")

    async def test_is_sent_piece_by_piece(self) -> None:
        more = asyncio.Event()

        async def handler(exchange: Exchange) -> None:
            await exchange.start_response(200, [])
            await exchange.write(b"one")
            await more.wait()
            await exchange.write(b"two")
            await exchange.end_response()

        async with streaming(handler) as pieces:
            assert await anext(pieces) == b"one"
            more.set()
            assert await anext(pieces) == b"two"

    async def test_that_is_complete_from_the_start_is_one_write(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pieces: list[bytes] = []

        async def handler(exchange: Exchange) -> None:
            monkeypatch.setattr(exchange._writer, "write", pieces.append)
            await exchange.respond(200, [], b"hi")
            monkeypatch.undo()
            exchange.abort()

        async with serving(handler) as server:
            await send_raw(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        (piece,) = pieces
        assert piece.endswith(b"\r\n\r\nhi")

    async def test_aborted_is_visibly_incomplete_after_what_was_written(self) -> None:
        async def handler(exchange: Exchange) -> None:
            await exchange.start_response(200, [])
            await exchange.write(b"half")
            exchange.abort()

        async with streaming(handler) as pieces:
            assert await anext(pieces) == b"half"
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(pieces)

    async def test_that_http_does_not_allow_is_rejected_before_a_byte_is_sent(self) -> None:
        async def handler(exchange: Exchange) -> None:
            with pytest.raises(ValueError, match="header"):
                await exchange.start_response(200, [("a b", "c")])
            await exchange.respond(502, [])

        async with serving(handler) as server, httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{server.port}/")).status_code == 502

    async def test_waits_for_a_slow_reader(self) -> None:
        written = 0

        async def handler(exchange: Exchange) -> None:
            nonlocal written
            await exchange.start_response(200, [])
            for _ in range(64):
                await exchange.write(bytes(1024 * 1024))
                written += 1
            await exchange.end_response()

        async with serving(handler) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            await reader.readline()
            before = -1
            while before != written:
                before = written
                await asyncio.sleep(0.05)
            assert written < 32
            writer.transport.abort()

    async def test_fails_with_a_connection_error_when_the_client_has_disconnected(self) -> None:
        failed = asyncio.Event()

        async def handler(exchange: Exchange) -> None:
            await exchange.start_response(200, [])
            try:
                while True:
                    await exchange.write(bytes(1024))
            except ConnectionError:
                failed.set()
                raise

        async with serving(handler) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readline()
            writer.transport.abort()
            await asyncio.wait_for(failed.wait(), 10)


class TestAHandlerThatFails:
    async def test_before_the_response_gives_a_500_and_a_log_line(self, caplog: pytest.LogCaptureFixture) -> None:
        async def handler(exchange: Exchange) -> None:
            raise LookupError("lost")

        async with serving(handler) as server, httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{server.port}/")).status_code == 500
        assert "lost" in caplog.text

    async def test_during_the_response_breaks_it_off(self, caplog: pytest.LogCaptureFixture) -> None:
        async def handler(exchange: Exchange) -> None:
            await exchange.start_response(200, [])
            raise LookupError("lost")

        async with serving(handler) as server, httpx.AsyncClient() as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(f"http://127.0.0.1:{server.port}/")
        assert "lost" in caplog.text


class TestTheAddress:
    async def test_in_use_is_reported_in_one_sentence(self) -> None:
        async with serving(echo) as server:
            with pytest.raises(OSError, match=f"127.0.0.1:{server.port} is in use"):
                await HttpServer(echo).listen("127.0.0.1", server.port)

    async def test_is_free_again_when_the_server_is_closed(self) -> None:
        ended = asyncio.Event()

        async def handler(exchange: Exchange) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        async with serving(handler) as server:
            client = socket.create_connection(("127.0.0.1", server.port))
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: bool(server._connections))
            await asyncio.sleep(0)
        assert not server._connections
        client.close()
        async with HttpServer(echo) as other:
            await other.listen("127.0.0.1", server.port)


IMPATIENT = RequestPolicy(head_timeout_s=0.1, idle_timeout_s=0.1, body_timeout_s=0.1)


class TestUnusualRequests:
    @pytest.mark.parametrize(
        ("target", "seen"),
        [
            (b"http://elsewhere.example/pier?x=1", b"/pier?x=1 elsewhere.example"),
            (b"HTTP://elsewhere.example:81", b"/ elsewhere.example:81"),
            (b"https://elsewhere.example?x", b"/?x elsewhere.example"),
            (b"//elsewhere.example/x", b"//elsewhere.example/x here"),
        ],
    )
    async def test_the_absolute_form_is_path_and_host(self, target: bytes, seen: bytes) -> None:
        async def handler(exchange: Exchange) -> None:
            await exchange.respond(200, [], f"{exchange.target} {exchange.header('host')}".encode())

        async with serving(handler) as server:
            answer = await send_raw(server, b"GET %b HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n" % target)
        assert answer.endswith(b"\r\n\r\n" + seen)

    @pytest.mark.parametrize(
        "request_",
        [
            b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
            b"CONNECT here:443 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET ftp://x/y HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /\xc3\xa5 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n",
        ],
    )
    async def test_what_is_no_request_here_gets_one_400_and_the_connection_is_closed(self, request_: bytes) -> None:
        async with serving(echo) as server:
            answer = await send_raw(server, request_, b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1 ") == 1

    async def test_an_unknown_transfer_encoding_gets_a_501(self) -> None:
        async with serving(echo) as server:
            head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
            assert (await send_raw(server, head)).startswith(b"HTTP/1.1 501 ")

    async def test_after_two_lengths_the_connection_is_closed(self) -> None:
        head = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        async with serving(echo) as server:
            answer = await send_raw(server, head + b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.count(b"HTTP/1.1 200 ") == 1
        assert b"connection: close" in answer.lower()

    async def test_an_upgrade_is_not_taken_and_the_next_request_is_read(self) -> None:
        ask = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade%b\r\nUpgrade: websocket\r\n\r\n"
        async with serving(echo) as server:
            answer = await send_raw(server, ask % b"" + ask % b", close")
        assert answer.count(b"HTTP/1.1 200 ") == 2

    async def test_a_head_of_a_megabyte_is_read(self) -> None:
        async def handler(exchange: Exchange) -> None:
            await exchange.respond(200, [], str(len(exchange.header("x-cause"))).encode())

        async with serving(handler) as server:
            cause = b"x" * 1024 * 1024
            answer = await send_raw(
                server, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Cause: " + cause + b"\r\n\r\n"
            )
        assert answer.endswith(b"1048576")

    async def test_a_larger_one_gets_a_431(self) -> None:
        async with serving(echo) as server:
            answer = await send_raw(server, b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD_BYTES)
        assert answer.startswith(b"HTTP/1.1 431 ")


class TestTextInHeaders:
    @pytest.mark.parametrize("text", ["plain", "Å", "港", "🚢"])
    async def test_is_utf_8_in_both_directions(self, text: str) -> None:
        async def handler(exchange: Exchange) -> None:
            await exchange.respond(200, [("x-back", exchange.header("x-there"))])

        async with serving(handler) as server:
            head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-There: %b\r\n\r\n"
            answer = await send_raw(server, head % text.encode())
        assert b"x-back: " + text.encode() + b"\r\n" in answer

    async def test_that_is_not_utf_8_is_latin_1(self) -> None:
        async def handler(exchange: Exchange) -> None:
            await exchange.respond(200, [], exchange.header("x-there").encode())

        async with serving(handler) as server:
            answer = await send_raw(server, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-There: \xe5\r\n\r\n")
        assert answer.endswith("å".encode())


class TestAPolicy:
    @pytest.mark.parametrize(
        ("host", "served"),
        [
            *[(name, True) for name in ("localhost", "LOCALHOST:3000", "a.localhost:1", "127.0.0.1", "[::1]:3000")],
            *[(name, True) for name in ("192.168.1.20:3000", "mine.example", "Mine.Example:3000", "mine.example.")],
            *[(name, False) for name in ("evil.example", "evil.example:3000", "localhost.evil.example")],
            *[
                (name, False)
                for name in ("127.0.0.1.evil.example", "xlocalhost", "mine.example.evil", "127.0.0.1@evil")
            ],
        ],
    )
    async def test_serves_only_hosts_that_no_stranger_can_name(self, host: str, *, served: bool) -> None:
        async with HttpServer(echo) as server:
            await server.listen("127.0.0.1", policy=RequestPolicy(hosts=("mine.example",)))
            head = b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n"
            answer = await send_raw(server, head % host.encode())
        assert answer.startswith(b"HTTP/1.1 200 " if served else b"HTTP/1.1 421 ")

    async def test_serves_the_host_listened_on(self) -> None:
        async with HttpServer(echo) as server:
            await server.listen("localhost", policy=RequestPolicy())
            assert server._policy.serves("localhost:1")
        assert not RequestPolicy().serves("box.example")
        assert RequestPolicy(hosts=("box.example",)).serves("box.example")

    @pytest.mark.parametrize(
        ("sent", "status"),
        [
            (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ", b"HTTP/1.1 408 "),
            (b"G", b"HTTP/1.1 408 "),
            (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhi", b"HTTP/1.1 408 "),
            (b"", b""),
            (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"HTTP/1.1 200 "),
        ],
    )
    async def test_does_not_wait_for_ever(self, sent: bytes, status: bytes) -> None:
        async with HttpServer(echo) as server:
            await server.listen("127.0.0.1", policy=IMPATIENT)
            async with asyncio.timeout(10):
                answer = await send_raw(server, sent)
        assert answer.startswith(status)
        assert answer.count(b"HTTP/1.1") == bool(status)

    async def test_without_one_a_frozen_process_may_take_its_time(self) -> None:
        async with serving(echo) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: any\r\n")
            await asyncio.sleep(0.2)
            writer.write(b"\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
            writer.close()
