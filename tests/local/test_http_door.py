"""The proxy in front of an ASGI server: requests and responses go through it, disconnects and failures too."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.local.sinks import until
from winterbourne.local.asgi_servers import Connection
from winterbourne.local.http_door import HttpDoor
from winterbourne.local.http_server import Exchange, Handler, HttpServer

__all__ = ["Behind", "behind"]


@dataclass
class Behind:
    """A door with a server behind it that the test supplies as a handler.

    Attributes:
        http: A client of the door.
        lines: Its access log.
        asked: What has reached the server: method, target, headers, body.
    """

    http: httpx.AsyncClient
    port: int
    lines: list[str] = field(default_factory=list)
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)


async def answer(exchange: Exchange) -> None:
    await exchange.respond(200, [("x-own", "1"), ("set-cookie", "a=1"), ("set-cookie", "b=2")], b"hello")


@contextlib.asynccontextmanager
async def behind(
    kind: type[HttpDoor], handler: Handler = answer, *, timeout_s: float = 30, **of_client: Any
) -> AsyncIterator[Behind]:
    async def record(exchange: Exchange) -> None:
        body = await exchange.read_body(10_000_000)
        made.asked.append((exchange.method, exchange.target, dict(exchange.headers), body))
        await handler(exchange)

    @contextlib.asynccontextmanager
    async def connect() -> AsyncIterator[Connection]:
        reader, writer = await asyncio.open_connection("127.0.0.1", application.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    lines: list[str] = []
    door = kind(connect, timeout_s=timeout_s, log_access=lines.append)
    async with HttpServer(record) as application, HttpServer(door.handle_request) as server:
        await application.listen("127.0.0.1")
        await server.listen("127.0.0.1")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", **of_client) as http:
            made = Behind(http, server.port, lines)
            yield made


class TestARequest:
    async def test_goes_through_as_it_is(self) -> None:
        async with behind(HttpDoor) as at:
            await at.http.put("/a%2Fb?c=d&c=+", content=b"body", headers={"x-there": "e", "x-forwarded-for": "f"})
        ((method, target, headers, body),) = at.asked
        assert (method, target, body) == ("PUT", "/a%2Fb?c=d&c=+", b"body")
        assert (headers["x-there"], headers["x-forwarded-for"], headers["content-length"]) == ("e", "f", "4")
        assert headers["host"] == f"127.0.0.1:{at.port}"

    async def test_of_http_1_0_need_not_name_its_host(self) -> None:
        async with behind(HttpDoor) as at:
            reader, writer = await asyncio.open_connection("127.0.0.1", at.port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            assert (await reader.read()).endswith(b"hello")
            writer.close()

    async def test_without_a_body_has_no_length(self) -> None:
        async with behind(HttpDoor) as at:
            await at.http.get("/")
        assert "content-length" not in at.asked[0][2]

    async def test_beyond_the_limit_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(HttpDoor, "request_limit", 10)
        async with behind(HttpDoor) as at:
            assert (await at.http.post("/", content=bytes(11))).status_code == 413
        assert not at.asked


class TestAResponse:
    async def test_comes_as_it_is(self) -> None:
        async with behind(HttpDoor) as at:
            response = await at.http.get("/")
            await until(lambda: bool(at.lines))
        assert (response.status_code, response.text, response.headers["x-own"]) == (200, "hello", "1")
        assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert at.lines[0].startswith("GET / 200 5 bytes in ")

    async def test_arrives_while_it_is_being_produced(self) -> None:
        more = asyncio.Event()

        async def slowly(exchange: Exchange) -> None:
            await exchange.start_response(200, [])
            await exchange.write(b"one")
            await more.wait()
            await exchange.end_response()

        async with behind(HttpDoor, slowly) as at, at.http.stream("GET", "/") as response:
            pieces = response.aiter_bytes()
            assert await anext(pieces) == b"one"
            more.set()
            assert [piece async for piece in pieces] == []

    async def test_that_breaks_off_breaks_off_for_the_client(self) -> None:
        async def breaking(exchange: Exchange) -> None:
            await exchange.start_response(200, [])
            await exchange.write(b"half")
            exchange.abort()

        async with behind(HttpDoor, breaking) as at:
            with pytest.raises(httpx.RemoteProtocolError):
                await at.http.get("/")
            await until(lambda: bool(at.lines))
        assert at.lines[0].endswith(", the application did not answer in full")

    async def test_that_never_begins_is_a_502(self) -> None:
        async def silent(exchange: Exchange) -> None:
            exchange.abort()

        async with behind(HttpDoor, silent) as at:
            assert (await at.http.get("/")).status_code == 502

    async def test_to_head_has_no_body(self) -> None:
        async with behind(HttpDoor) as at:
            response = await at.http.head("/")
        assert (response.status_code, response.content, response.headers["x-own"]) == (200, b"", "1")


async def leaving(kind: type[HttpDoor]) -> tuple[bool, bool]:
    """Leave a response in the middle; returns whether the server noticed, and whether it could write on."""
    left, noticed, wrote = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slowly(exchange: Exchange) -> None:
        await exchange.start_response(200, [])
        await exchange.write(b"one")
        gone = asyncio.create_task(exchange.wait_for_disconnect())
        gone.add_done_callback(lambda _: noticed.set())
        await left.wait()
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                await exchange.write(bytes(10_000))
                await asyncio.sleep(0)
            wrote.set()
        gone.cancel()

    async with behind(kind, slowly) as at:
        async with at.http.stream("GET" if kind is HttpDoor else "POST", "/invocations"):
            pass
        if kind.tells_gone:
            await asyncio.wait_for(noticed.wait(), 10)
        was_noticed = noticed.is_set()
        left.set()
        await until(lambda: bool(at.lines))
    assert "the client disconnected before the end" in at.lines[0]
    return was_noticed, wrote.is_set()


class TestAClientThatHangsUp:
    async def test_is_told_by_closing_the_connection(self) -> None:
        assert await leaving(HttpDoor) == (True, False)

    async def test_is_not_told_where_the_platform_does_not_say_so(self) -> None:
        from winterbourne.local.agentcore import AgentCoreRuntime

        assert await leaving(AgentCoreRuntime) == (False, True)
