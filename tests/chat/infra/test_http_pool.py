"""HTTP pool: one shared client that reuses connections, retries on lost ones and replaces stale ones."""

import asyncio
import contextlib
import gzip
import re
import ssl
import sys
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import certifi
import httpx
import pytest

from tests.upstream import saying, upstream
from winterbourne import __version__
from winterbourne.chat.errors import SettingsError
from winterbourne.chat.infra import http_pool
from winterbourne.chat.infra.decompression import MAX_DECOMPRESSED_BYTES
from winterbourne.chat.infra.http_pool import (
    KEEPALIVE_EXPIRY_S,
    PoolMarks,
    PoolStats,
    PoolTransport,
    SyncPoolTransport,
    is_stale,
    marks,
    outgoing_headers,
)
from winterbourne.chat.settings import HttpSettings
from winterbourne.local.root_certificates import lay_out

ENGINE = Path(__file__).parents[3] / "layers" / "winterbourne" / "python"


class Server:
    """A keep-alive HTTP server on loopback that counts connections and can misbehave.

    `drops` is how many of the next requests on a reused connection get it closed instead of a response.
    """

    def __init__(self) -> None:
        self.connections = 0
        self.heads: list[str] = []
        self.drops = 0
        self.status = "200 OK"
        self.headers = ""
        self.body = b"ok"
        self.may_respond = asyncio.Event()
        self.may_respond.set()
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        used = False
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                if used and self.drops:
                    self.drops -= 1
                    break
                used = True
                await self.may_respond.wait()
                head = f"HTTP/1.1 {self.status}\r\n{self.headers}content-length: {len(self.body)}\r\n\r\n"
                writer.write(head.encode() + self.body)
        writer.close()

    async def close_idle(self) -> None:
        for writer in self.writers:
            writer.close()
            await writer.wait_closed()


async def wait_until(condition: Callable[[], object]) -> None:
    """Run the loop until the condition holds; pytest's timeout is the limit."""
    while not condition():  # noqa: ASYNC110 - there is no event for the condition
        await asyncio.sleep(0)


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, str]]:
    http_server = Server()
    listener = await asyncio.start_server(http_server.serve, "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()
    yield http_server, f"http://{host}:{port}/"
    listener.close()
    await http_server.close_idle()


@pytest.fixture
async def pool(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setattr(http_pool._Pool, "settings", None)
    yield
    await http_pool.close()


@pytest.mark.usefixtures("pool")
class TestClient:
    async def test_is_created_once(self) -> None:
        assert http_pool.client() is http_pool.client()

    async def test_opens_no_new_connection_for_the_next_request(self, server: tuple[Server, str]) -> None:
        http_server, url = server
        for _ in range(3):
            await http_pool.client().get(url)
        assert http_server.connections == 1

    async def test_survives_a_connection_that_the_server_closed(self, server: tuple[Server, str]) -> None:
        http_server, url = server
        await http_pool.client().get(url)
        await http_server.close_idle()
        assert (await http_pool.client().post(url)).text == "ok"

    async def test_names_itself_and_its_version_unless_the_caller_names_another(
        self, server: tuple[Server, str]
    ) -> None:
        http_server, url = server
        for headers in ({}, {"user-agent": "harbour/2"}):
            await http_pool.client().get(url, headers=headers)
            await asyncio.to_thread(http_pool.sync_client().get, url, headers=headers)
        agents = [re.findall(r"(?im)^user-agent: (.*?)\r$", head) for head in http_server.heads]
        assert agents == [[f"winterbourne/{__version__}"]] * 2 + [["harbour/2"]] * 2

    async def test_is_created_again_after_it_was_closed(self, server: tuple[Server, str]) -> None:
        _, url = server
        await http_pool.client().get(url)
        await http_pool.close()
        assert (await http_pool.client().get(url)).text == "ok"

    async def test_reads_the_certificates_once_for_all_clients(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A snapshot closes the clients; the first request after a restore should not wait for them."""
        contexts, create = [], httpx.create_ssl_context

        def create_and_record() -> ssl.SSLContext:
            contexts.append(create())
            return contexts[-1]

        monkeypatch.setattr(httpx, "create_ssl_context", create_and_record)
        http_pool._ssl_context.cache_clear()
        for _ in range(2):
            http_pool.client()
            http_pool.sync_client()
            await http_pool.close()
        assert len(contexts) == 1

    @pytest.mark.parametrize("variable", ["", "SSL_CERT_FILE", "SSL_CERT_DIR"])
    def test_loads_no_certificate_ahead_in_a_layer_unless_the_environment_has_its_own(
        self, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lay_out(Path(certifi.where()), tmp_path / "roots")
        monkeypatch.setattr(http_pool, "ROOTS", str(tmp_path / "roots"))
        given = {"SSL_CERT_FILE": certifi.where(), "SSL_CERT_DIR": str(tmp_path)}
        for name in given:
            monkeypatch.delenv(name, raising=False)
        if variable:
            monkeypatch.setenv(variable, given[variable])
        paths: list[object] = []
        load = ssl.create_default_context

        def load_and_record(**path: str) -> ssl.SSLContext:
            paths.append(path)
            return load(**path)  # type: ignore[arg-type]  # its arguments have several types

        monkeypatch.setattr(ssl, "create_default_context", load_and_record)
        context = http_pool._ssl_context.__wrapped__()
        assert paths == [{"cafile" if variable == "SSL_CERT_FILE" else "capath": given.get(variable, http_pool.ROOTS)}]
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname
        assert bool(context.get_ca_certs()) == (variable == "SSL_CERT_FILE")

    async def test_sends_the_trace_of_the_invocation(self, server: tuple[Server, str]) -> None:
        http_server, url = server
        outgoing_headers.set({"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
        await http_pool.client().get(url)
        assert "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" in http_server.heads[0]

    def test_is_one_for_all_chats_so_that_they_cannot_set_it_differently(self) -> None:
        http_pool.configure(HttpSettings(http_timeout=5))
        with pytest.raises(
            SettingsError, match=r"HTTP_POOL_CONNECTIONS, HTTP_POOL_MAXSIZE, HTTP_TIMEOUT, HTTP_RETRIES"
        ):
            http_pool.configure(HttpSettings())

    async def test_takes_its_limits_from_the_settings(self, server: tuple[Server, str]) -> None:
        http_server, url = server
        http_pool.configure(HttpSettings(http_pool_maxsize=1))
        http_pool.configure(HttpSettings(http_pool_maxsize=1))  # of a second chat
        http_server.may_respond.clear()
        requests = [asyncio.create_task(http_pool.client().get(url)) for _ in range(3)]
        await wait_until(lambda: http_server.heads and http_pool.stats().waiting == 2)
        assert http_pool.stats() == PoolStats(open=1, idle=0, waiting=2)
        http_server.may_respond.set()
        await asyncio.gather(*requests)
        assert http_pool.stats() == PoolStats(open=1, idle=1, waiting=0)


def requests_under_way() -> int:
    """How many have reached a pool, with a connection or without."""
    retrying = cast("Any", http_pool.sync_client()._transport)
    of_async = [stats for transport in http_pool._Pool.transports for stats in transport.stats()]
    return len(retrying._transport._current._pool._requests) + sum(each.open + each.waiting for each in of_async)


@pytest.mark.usefixtures("pool")
class TestMarks:
    """What an invocation's requests met at their worst, when it is over and nobody waits any more."""

    @pytest.mark.parametrize("sends", ["async", "sync", "both"])
    async def test_are_the_most_connections_and_the_most_that_waited_of_both_pools(
        self, sends: str, server: tuple[Server, str]
    ) -> None:
        http_server, url = server
        http_pool.configure(HttpSettings(http_pool_maxsize=1, http_pool_connections=1))
        marks.set((PoolMarks(), PoolMarks()))
        http_server.may_respond.clear()
        get = http_pool.client().get, lambda url: asyncio.to_thread(http_pool.sync_client().get, url)
        chosen = {"async": get[:1], "sync": get[1:], "both": get}[sends]
        sent = [asyncio.create_task(send(url)) for send in chosen for _ in range(3)]
        pools = len(chosen)
        await wait_until(lambda: len(http_server.heads) == pools and requests_under_way() == 3 * pools)
        http_server.may_respond.set()
        await asyncio.gather(*sent)
        assert http_pool.stats() == PoolStats(open=pools, idle=0 if sends == "sync" else 1, waiting=2 * pools)

    async def test_of_one_invocation_are_not_anothers(self, server: tuple[Server, str]) -> None:
        url = server[1]
        http_pool.configure(HttpSettings(http_pool_maxsize=1))

        async def invoke(requests: int) -> int:
            marks.set((PoolMarks(), PoolMarks()))
            await asyncio.gather(*(http_pool.client().get(url) for _ in range(requests)))
            return http_pool.stats().waiting

        assert await asyncio.create_task(invoke(3)) == 2
        assert await asyncio.create_task(invoke(1)) == 0
        assert await asyncio.create_task(invoke(0)) == 0

    async def test_of_sync_requests_that_arrive_at_once_are_those_of_one_that_waits(
        self, server: tuple[Server, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        http_server, url = server
        http_pool.configure(HttpSettings(http_pool_maxsize=1))
        marks.set((PoolMarks(), PoolMarks()))
        both_are_there, send = threading.Barrier(2), httpx.HTTPTransport.handle_request

        def send_with_the_other(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
            both_are_there.wait()
            return send(transport, request)

        monkeypatch.setattr(httpx.HTTPTransport, "handle_request", send_with_the_other)
        http_server.may_respond.clear()
        sent = [asyncio.create_task(asyncio.to_thread(http_pool.sync_client().get, url)) for _ in range(2)]
        await wait_until(lambda: requests_under_way() == 2)
        http_server.may_respond.set()
        await asyncio.gather(*sent)
        assert http_pool.stats() == PoolStats(open=1, idle=0, waiting=1)

    async def test_of_a_sync_request_that_waits_for_the_end_of_a_response_are_its_own(
        self, server: tuple[Server, str]
    ) -> None:
        http_pool.configure(HttpSettings(http_pool_maxsize=1))
        marks.set((PoolMarks(), PoolMarks()))
        client = http_pool.sync_client()
        being_read = await asyncio.to_thread(lambda: client.send(client.build_request("GET", server[1]), stream=True))
        waiting = asyncio.create_task(asyncio.to_thread(client.get, server[1]))
        await wait_until(lambda: requests_under_way() == 2)
        await asyncio.to_thread(being_read.close)
        await waiting
        assert http_pool.stats() == PoolStats(open=1, idle=0, waiting=1)

    async def test_count_a_sync_request_as_long_as_its_response_is_read(self, server: tuple[Server, str]) -> None:
        http_pool.configure(HttpSettings(http_pool_maxsize=2))
        marks.set((PoolMarks(), PoolMarks()))

        def read_one_during_another() -> None:
            with http_pool.sync_client().stream("GET", server[1]):
                http_pool.sync_client().get(server[1])

        await asyncio.to_thread(read_one_during_another)
        assert http_pool.stats() == PoolStats(open=2, idle=0, waiting=0)


@pytest.mark.usefixtures("pool")
async def test_no_client_follows_a_redirect(server: tuple[Server, str]) -> None:
    server[0].status, server[0].headers = "302 Found", "location: /elsewhere\r\n"
    assert (await http_pool.client().get(server[1])).status_code == 302
    assert (await asyncio.to_thread(http_pool.sync_client().get, server[1])).status_code == 302
    assert len(server[0].heads) == 2


@pytest.mark.usefixtures("pool")
class TestCookies:
    """A cookie belongs to the request that got it: the client serves all callers."""

    async def test_no_cookie_of_one_request_is_sent_with_another(self, server: tuple[Server, str]) -> None:
        server[0].headers = "set-cookie: session=nora; Path=/\r\n"
        response = await http_pool.client().get(server[1])
        assert response.cookies["session"] == "nora"
        await http_pool.client().get(server[1])
        await asyncio.to_thread(http_pool.sync_client().get, server[1])
        await asyncio.to_thread(http_pool.sync_client().get, server[1])
        assert not any("cookie:" in head.lower() for head in server[0].heads)

    async def test_a_cookie_that_a_tool_sends_itself_is_sent(self, server: tuple[Server, str]) -> None:
        await http_pool.client().get(server[1], headers={"cookie": "mine=1"})
        assert "cookie: mine=1" in server[0].heads[0].lower()


@pytest.mark.usefixtures("pool")
class TestCompressedResponses:
    async def test_are_requested_and_decompressed_by_both_clients(self, server: tuple[Server, str]) -> None:
        server[0].headers, server[0].body = "content-encoding: gzip\r\n", gzip.compress(b"the tide")
        assert (await http_pool.client().get(server[1])).content == b"the tide"
        assert (await asyncio.to_thread(http_pool.sync_client().get, server[1])).content == b"the tide"
        assert all("accept-encoding: gzip\r\n" in head.lower() for head in server[0].heads)

    async def test_are_decompressed_after_a_retry_on_a_lost_connection(self, server: tuple[Server, str]) -> None:
        http_server, url = server
        http_server.headers, http_server.body = "content-encoding: gzip\r\n", gzip.compress(b"the tide")
        for get in (http_pool.client().get, lambda url: asyncio.to_thread(http_pool.sync_client().get, url)):
            await get(url)
            http_server.drops = 1
            response = await get(url)
            assert response.content == b"the tide"
            assert "content-encoding" not in response.headers

    @pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip"])
    async def test_are_limited_for_tools_that_set_no_limit(self, server: tuple[Server, str], encoding: str) -> None:
        inner = gzip.compress(bytes(MAX_DECOMPRESSED_BYTES + 1))
        server[0].headers = f"content-encoding: {encoding}\r\n"
        server[0].body = gzip.compress(inner) if "," in encoding else inner
        with pytest.raises(httpx.DecodingError):
            await http_pool.client().get(server[1])
        with pytest.raises(httpx.DecodingError):
            await asyncio.to_thread(http_pool.sync_client().get, server[1])


@pytest.mark.usefixtures("pool")
class TestReadBody:
    async def read(self, url: str, max_bytes: int) -> bytes:
        async with http_pool.client().stream("GET", url) as response:
            return await http_pool.read_body(response, max_bytes)

    async def test_reads_the_whole_body(self, server: tuple[Server, str]) -> None:
        assert await self.read(server[1], 2) == b"ok"

    async def test_rejects_a_body_over_the_limit(self, server: tuple[Server, str]) -> None:
        with pytest.raises(http_pool.BodyTooLarge):
            await self.read(server[1], 1)

    async def test_counts_decompressed_bytes(self, server: tuple[Server, str]) -> None:
        server[0].headers, server[0].body = "content-encoding: gzip\r\n", gzip.compress(bytes(10_000_000))
        tracemalloc.start()
        with pytest.raises(http_pool.BodyTooLarge):
            await self.read(server[1], 100_000)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2_000_000


@pytest.mark.usefixtures("pool")
class TestLostConnection:
    async def test_an_idempotent_request_is_retried(self, server: tuple[Server, str]) -> None:
        http_server, url = server
        await http_pool.client().get(url)
        http_server.drops = 1
        assert (await http_pool.client().get(url)).text == "ok"

    async def test_a_request_that_may_have_been_executed_fails(self, server: tuple[Server, str]) -> None:
        http_server, url = server
        await http_pool.client().get(url)
        http_server.drops = 1
        with pytest.raises(httpx.RemoteProtocolError):
            await http_pool.client().post(url)

    async def test_a_post_marked_as_repeatable_is_retried(self, server: tuple[Server, str]) -> None:
        http_server, url = server
        await http_pool.client().get(url)
        http_server.drops = 1
        assert (await http_pool.client().post(url, extensions={"repeatable": True})).text == "ok"


@pytest.mark.parametrize(
    ("paused_s", "expected"),
    [(0, False), (KEEPALIVE_EXPIRY_S, False), (KEEPALIVE_EXPIRY_S + 1, True), (-1, True)],
)
def test_connections_are_stale_after_a_long_pause_and_if_the_clock_went_back(
    paused_s: float,
    expected: bool,  # noqa: FBT001 - set by parametrize
) -> None:
    assert is_stale(1000.0, 1000.0 + paused_s) is expected


class TestAfterAFreeze:
    @pytest.fixture
    def wall_clock(self) -> list[float]:
        return [1000.0]

    @pytest.fixture
    async def client(self, wall_clock: list[float]) -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(
            transport=PoolTransport(httpx.AsyncHTTPTransport, lambda: wall_clock[0])
        ) as client:
            yield client

    async def test_old_connections_are_not_reused(
        self, server: tuple[Server, str], wall_clock: list[float], client: httpx.AsyncClient
    ) -> None:
        http_server, url = server
        await client.get(url)
        wall_clock[0] += KEEPALIVE_EXPIRY_S + 1
        await client.get(url)
        assert http_server.connections == 2

    async def test_connections_are_reused_after_a_short_one(
        self, server: tuple[Server, str], wall_clock: list[float], client: httpx.AsyncClient
    ) -> None:
        http_server, url = server
        await client.get(url)
        wall_clock[0] += KEEPALIVE_EXPIRY_S - 1
        await client.get(url)
        assert http_server.connections == 1

    async def test_a_request_in_flight_keeps_its_connection(
        self, server: tuple[Server, str], wall_clock: list[float], client: httpx.AsyncClient
    ) -> None:
        http_server, url = server
        http_server.may_respond.clear()
        slow = asyncio.create_task(client.get(url))
        await wait_until(lambda: len(http_server.heads) == 1)
        wall_clock[0] += KEEPALIVE_EXPIRY_S + 1
        quick = asyncio.create_task(client.get(url))
        await wait_until(lambda: len(http_server.heads) == 2)
        http_server.may_respond.set()
        assert [(await request).text for request in (slow, quick)] == ["ok", "ok"]


@pytest.mark.usefixtures("pool")
class TestSyncClient:
    async def test_is_created_once_for_concurrent_threads(self) -> None:
        clients = await asyncio.gather(*(asyncio.to_thread(http_pool.sync_client) for _ in range(8)))
        assert len({id(client) for client in clients}) == 1

    async def test_opens_no_new_connection_for_the_next_request(self, server: tuple[Server, str]) -> None:
        http_server, url = server
        for _ in range(3):
            assert (await asyncio.to_thread(http_pool.sync_client().get, url)).text == "ok"
        assert http_server.connections == 1

    async def test_has_the_same_timeouts(self) -> None:
        assert http_pool.sync_client().timeout == http_pool.client().timeout

    async def test_sends_the_trace_of_the_invocation_from_a_thread(self, server: tuple[Server, str]) -> None:
        http_server, url = server
        outgoing_headers.set({"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
        await asyncio.to_thread(http_pool.sync_client().get, url)
        assert "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" in http_server.heads[0]

    async def test_an_idempotent_request_is_retried_on_a_lost_connection(self, server: tuple[Server, str]) -> None:
        http_server, url = server
        await asyncio.to_thread(http_pool.sync_client().get, url)
        http_server.drops = 1
        assert (await asyncio.to_thread(http_pool.sync_client().get, url)).text == "ok"

    async def test_a_request_that_may_have_been_executed_fails_on_a_lost_connection(
        self, server: tuple[Server, str]
    ) -> None:
        http_server, url = server
        await asyncio.to_thread(http_pool.sync_client().get, url)
        http_server.drops = 1
        with pytest.raises(httpx.RemoteProtocolError):
            await asyncio.to_thread(http_pool.sync_client().post, url)

    async def test_old_connections_are_not_reused_after_a_long_freeze(self, server: tuple[Server, str]) -> None:
        http_server, url = server
        wall_clock = [1000.0]
        with httpx.Client(transport=SyncPoolTransport(httpx.HTTPTransport, lambda: wall_clock[0])) as client:
            for pause_s in (0, KEEPALIVE_EXPIRY_S - 1, KEEPALIVE_EXPIRY_S + 1, KEEPALIVE_EXPIRY_S + 1):
                wall_clock[0] += pause_s
                await asyncio.to_thread(client.get, url)
        assert http_server.connections == 3

    async def test_a_request_in_flight_keeps_its_connection(self, server: tuple[Server, str]) -> None:
        http_server, url = server
        wall_clock = [1000.0]
        with httpx.Client(transport=SyncPoolTransport(httpx.HTTPTransport, lambda: wall_clock[0])) as client:
            http_server.may_respond.clear()
            requests = []
            for count in (1, 2, 3):
                requests.append(asyncio.create_task(asyncio.to_thread(client.get, url)))
                await wait_until(lambda count=count: len(http_server.heads) == count)  # type: ignore[misc]  # a default in a lambda
                wall_clock[0] += KEEPALIVE_EXPIRY_S + 1
            http_server.may_respond.set()
            assert [(await request).text for request in requests] == ["ok"] * 3


def modules_that_construct_clients() -> Iterator[str]:
    for module in (ENGINE / "winterbourne" / "chat").rglob("*.py"):
        for line in module.read_text().splitlines():
            if re.search(r"httpx\.(Async)?Client\(", line):
                yield str(module.relative_to(ENGINE))


def test_nothing_else_constructs_a_client() -> None:
    assert set(modules_that_construct_clients()) == {"winterbourne/chat/infra/http_pool.py"}


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_USER_TIMEOUT and packet filters of Linux")
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_kept_connection_that_loses_everything_is_noticed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """GIVEN a gateway that has forgotten a connection WHEN a tool asks again THEN it is asked on a new connection."""
    monkeypatch.setattr(http_pool, "UNACKNOWLEDGED_MS", 300)

    async def get(url: str) -> bytes:
        if kind == "async":
            return (await http_pool.client().get(url)).content
        return (await asyncio.to_thread(http_pool.sync_client().get, url)).content

    async with upstream(saying(b"the tide")) as server, asyncio.timeout(30):
        assert await get(server.url) == b"the tide"
        server.requests[0].drop_packets()
        assert await get(server.url) == b"the tide"
        assert server.connections == 2
