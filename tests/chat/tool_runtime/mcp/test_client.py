"""MCP client: tools of a server built with the official package, in a process of its own."""

import asyncio
import gzip
import json
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

import winterbourne
from tests.chat.tool_runtime.mcp.station import Answer, Station, event_stream, result_of
from tests.clock import jumping
from winterbourne.chat.errors import InputRequired, ToolError, ToolUnavailable
from winterbourne.chat.infra import http_pool
from winterbourne.chat.infra.decompression import decompress
from winterbourne.chat.infra.spans import Span, Trace
from winterbourne.chat.infra.sse_parser import MAX_EVENT_BYTES
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.mcp.client import (
    MAX_PAGES,
    MAX_REPLIES,
    MAX_RESUMPTIONS,
    REPLY_TIMEOUT_S,
    McpClient,
)
from winterbourne.chat.tool_runtime.mcp.listing import MAX_TOOLS
from winterbourne.override import override

SERVER = Path(__file__).with_name("server.py")


SESSIONS = ["stateful", "stateless", "json", "resumable"]


MODES = [*SESSIONS, "dual", "modern"]


@pytest.fixture(scope="module")
def processes() -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """A process with a server in each mode, and their URLs."""
    with subprocess.Popen([sys.executable, SERVER, *MODES], stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout
        ports = started.stdout.readline().split()
        yield started, {mode: f"http://127.0.0.1:{port}/mcp" for mode, port in zip(MODES, ports, strict=True)}
        started.kill()


@pytest.fixture(params=MODES)
def process(
    request: pytest.FixtureRequest, processes: tuple[subprocess.Popen[str], dict[str, str]]
) -> tuple[subprocess.Popen[str], str]:
    started, urls = processes
    return started, urls[request.param]


@pytest.fixture
async def server(process: tuple[subprocess.Popen[str], str]) -> AsyncIterator[McpClient]:
    http_pool.configure(Settings().http)
    yield McpClient("station", process[1])
    await http_pool.close()


async def tool(server: McpClient, name: str) -> Tool:
    return {tool.name: tool for tool in (await server.list_tools()).tools()}[f"station_{name}"]


async def run(server: McpClient, name: str, arguments: str, **context: Any) -> Any:
    found = await tool(server, name)
    return await found.call(found.validate_arguments(arguments), ToolContext(**context))


class TestRealServer:
    async def test_lists_its_tools_under_its_name(self, server: McpClient) -> None:
        assert {tool.name for tool in (await server.list_tools()).tools()} == {
            f"station_{name}" for name in ("add", "say", "fail", "count", "close_early", "order", "hang")
        }

    async def test_gives_description_and_schema(self, server: McpClient) -> None:
        add = await tool(server, "add")
        assert add.description == "Add two numbers."
        assert add.schema.parameters["required"] == ["a", "b"]

    async def test_returns_structured_content_if_it_has_any(self, server: McpClient) -> None:
        assert await run(server, "add", '{"a":1,"b":2}') == {"result": 3}

    async def test_reports_the_failure_of_a_tool_in_its_own_words(self, server: McpClient) -> None:
        with pytest.raises(ToolError, match="the sensor is broken"):
            await run(server, "fail", "")

    async def test_validates_the_types_of_arguments(self, server: McpClient) -> None:
        with pytest.raises(ToolError, match="valid integer"):
            await run(server, "add", '{"a":"one","b":2}')

    async def test_can_be_called_many_times_at_once(self, server: McpClient) -> None:
        add = await tool(server, "add")
        sums = [add.call({"a": number, "b": 1}, ToolContext()) for number in range(20)]
        assert await asyncio.gather(*sums) == [{"result": number + 1} for number in range(20)]


@pytest.mark.parametrize("process", ["stateful", "stateless", "modern"], indirect=True)
class TestProgress:
    async def test_of_a_server_that_streams_reaches_the_client(self, server: McpClient) -> None:
        reported: list[bytes] = []

        async def report(data: bytes) -> None:
            reported.append(data)

        await run(server, "count", '{"to":3}', report=report)
        assert [data.count(b'"progress":') for data in reported] == [1, 1, 1]


@pytest.mark.parametrize("process", ["resumable"], indirect=True)
async def test_a_stream_that_the_server_closes_early_is_resumed(server: McpClient) -> None:
    assert await run(server, "close_early", "") == {"result": "resumed"}


@pytest.mark.parametrize("process", ["dual", "modern"], indirect=True)
async def test_a_stateless_server_is_given_all_that_it_asks_a_person_for(server: McpClient) -> None:
    order = await tool(server, "order")
    with pytest.raises(InputRequired) as asked:
        await order.call({}, ToolContext(takes_forms=True))
    assert asked.value.message == "Which size?\nWhich colour?"
    assert asked.value.schema["required"] == ["size", "colour"]
    context = ToolContext(takes_forms=True, input_response=(asked.value.state, {"size": "L", "colour": "red"}))
    assert await order.call({}, context) == {"result": "size L, colour red"}


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            ('{"a":', "at `\\$`"),
            ("[]", "at `\\$`"),
            ('{"a":1}', "field `b` is missing"),
            (f'{{"b":1,"a":{"[" * 252}{"]" * 252}}}', "nest too deep"),  # 254 levels fit, but not into their message
            (f'{{"b":1,"a":{"[" * 600}{"]" * 600}}}', "nest too deep"),
            (f'{{"b":1,"a":{"[" * 100_000}{"]" * 100_000}}}', "nest too deep"),
            (f'{{"b":1,"a":{2**64}}}', "more than 64 bits"),
        ],
    )
    async def test_that_are_invalid_are_not_sent(self, server: McpClient, arguments: str, reason: str) -> None:
        add = await tool(server, "add")
        with pytest.raises(ToolError, match=reason):
            add.validate_arguments(arguments)


@pytest.mark.parametrize("process", SESSIONS, indirect=True)
class TestLostSession:
    async def test_is_reopened_silently(self, server: McpClient) -> None:
        await server.list_tools()
        headers = server._sessions["", ""].headers
        assert headers is not None
        if "mcp-session-id" in headers:
            headers["mcp-session-id"] = "0" * 32
        assert await run(server, "say", '{"text":"hi"}') == {"result": "hi"}


class ForgetfulServer(httpx.AsyncBaseTransport):
    """A server that knows only its newest session, and answers calls two at a time."""

    def __init__(self) -> None:
        self.sessions = 0
        self._together = asyncio.Barrier(2)

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        message = orjson.loads(request.content)
        if message["method"] == "initialize":
            self.sessions += 1
            opened = {"mcp-session-id": str(self.sessions)}
            return httpx.Response(200, headers=opened, json={"id": message["id"], "result": {}})
        if message["method"] == "tools/call" and request.headers["mcp-session-id"] == "1":
            await self._together.wait()
            return httpx.Response(404)
        return httpx.Response(200, json={"id": message.get("id"), "result": {"tools": [{"name": "say"}]}})


async def test_concurrent_calls_that_lose_their_session_open_one_new_session() -> None:
    forgetful_server = ForgetfulServer()
    async with httpx.AsyncClient(transport=forgetful_server) as client:
        (say,) = (await McpClient("station", "http://127.0.0.1/mcp", client=lambda: client).list_tools()).tools()
        await asyncio.gather(*(say.call({}, ToolContext()) for _ in range(2)))
    assert forgetful_server.sessions == 2


async def test_a_cookie_that_comes_with_a_session_is_sent_in_that_session_only() -> None:
    sent_cookies: list[str | None] = []

    def serve(request: httpx.Request) -> httpx.Response:
        sent_cookies.append(request.headers.get("cookie"))
        message = orjson.loads(request.content)
        headers = [("set-cookie", "instance=2; Path=/"), ("mcp-session-id", "s")]
        result = {"tools": [{"name": "say"}]}
        return httpx.Response(200, headers=headers, json={"id": message.get("id"), "result": result})

    async with httpx.AsyncClient(
        transport=httpx.MockTransport(serve), cookies=CookieJar(DefaultCookiePolicy(allowed_domains=()))
    ) as client:
        await McpClient("station", "http://127.0.0.1/mcp", client=lambda: client).list_tools()
    assert sent_cookies == [None, None, "instance=2", "instance=2"]


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip"])
async def test_a_decompression_bomb_is_read_within_the_size_limit(kind: str, encoding: str) -> None:
    bomb = gzip.compress(bytes(100_000_000))
    body = gzip.compress(bomb) if "," in encoding else bomb

    def serve(_: httpx.Request) -> httpx.Response:
        headers = {"content-type": kind, "content-encoding": encoding}
        return decompress(httpx.Response(200, headers=headers, stream=httpx.ByteStream(body)))

    tracemalloc.start()
    async with httpx.AsyncClient(transport=httpx.MockTransport(serve)) as client:
        with pytest.raises(ToolUnavailable, match=r"cannot be read|more than"):
            await McpClient("station", "http://127.0.0.1/mcp", client=lambda: client).list_tools()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000_000


class FixedResponse(httpx.AsyncBaseTransport):
    """A server that always sends the same response."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._response = (args, kwargs)

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        args, kwargs = self._response
        return httpx.Response(*args, **kwargs)


class TestFailingServer:
    @pytest.mark.parametrize(
        ("response", "error", "sentence"),
        [
            (FixedResponse(503), ToolUnavailable, "busy or broken"),
            (FixedResponse(401), ToolError, "does not accept our token"),
            (FixedResponse(400), ToolError, "refused the request"),
            (FixedResponse(200, text="<html>"), ToolUnavailable, "cannot be read"),
            (FixedResponse(200, json=[]), ToolUnavailable, "ended its answer"),
            (FixedResponse(200, json=[5]), ToolUnavailable, "cannot be read"),
            (FixedResponse(202), ToolUnavailable, "ended its answer"),
            (FixedResponse(200, json={"id": 99}), ToolUnavailable, "ended its answer"),
            (FixedResponse(200, json={"id": None, "error": {"message": "no"}}), ToolError, "refused the call: no"),
        ],
    )
    async def test_is_reported_to_the_model_in_one_sentence(
        self, response: FixedResponse, error: type[ToolError], sentence: str
    ) -> None:
        async with httpx.AsyncClient(transport=response) as client:
            with pytest.raises(error, match=sentence):
                await McpClient("station", "http://127.0.0.1/mcp", client=lambda: client).list_tools()

    async def test_that_cannot_be_reached_is_unavailable(self) -> None:
        async with httpx.AsyncClient() as client:
            with pytest.raises(ToolUnavailable, match="cannot be reached"):
                await McpClient("station", "http://127.0.0.1:9/mcp", client=lambda: client).list_tools()


@pytest.mark.parametrize("process", ["stateful"], indirect=True)  # without a session a call cannot be cancelled
async def test_cancelling_a_call_cancels_it_on_the_server(process: tuple[subprocess.Popen[str], str]) -> None:
    started, url = process
    http_pool.configure(Settings().http)
    server = McpClient("station", url)
    hang = await tool(server, "hang")
    calling = asyncio.ensure_future(hang.call({}, ToolContext()))
    assert started.stdout
    assert await asyncio.to_thread(started.stdout.readline) == "called\n"
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await http_pool.close()
    assert await asyncio.to_thread(started.stdout.readline) == "cancelled\n"


async def test_an_answer_in_one_large_event_is_read_like_one_in_json() -> None:
    """Events of a provider are limited to a mebibyte; a tool's result may be longer."""
    text = "x" * (2 * MAX_EVENT_BYTES)

    async def in_reads(event: bytes) -> AsyncIterator[bytes]:
        yield event[: len(event) - 10]
        yield event[len(event) - 10 :]

    def say(request: httpx.Request) -> httpx.Response:
        message = orjson.loads(request.content)
        result = {"tools": [{"name": "say"}], "content": [{"type": "text", "text": text}]}
        event = b"data: " + orjson.dumps({"id": message.get("id"), "result": result}) + b"\n\n"
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=in_reads(event))

    async with httpx.AsyncClient(transport=httpx.MockTransport(say)) as client:
        (tool,) = (await McpClient("station", "http://127.0.0.1/mcp", client=lambda: client).list_tools()).tools()
        assert await tool.call({}, ToolContext()) == text


def test_the_tool_runtime_imports_no_provider() -> None:
    check = (
        "import sys, winterbourne.chat.tool_runtime.mcp.client\n"
        "assert not [name for name in sys.modules if name.startswith('winterbourne.chat.providers')]"
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd=Path(winterbourne.__file__).parents[1])


def refuse_session(status: int, body: dict[str, Any] | str = "") -> Answer:
    """A server that was restarted: it refuses its first session."""

    def answer(request: httpx.Request, message: dict[str, Any]) -> httpx.Response:
        if request.headers["mcp-session-id"] != "s1":
            return httpx.Response(200, json=result_of(message))
        return httpx.Response(status, text=body) if isinstance(body, str) else httpx.Response(status, json=body)

    return answer


class TestRefusedSession:
    @pytest.mark.parametrize("status", [400, 404, 503])
    @pytest.mark.parametrize(
        "body",
        ["", "<html>", {"error": "no such session"}, {"id": None, "error": {"code": -32001, "message": "unknown"}}],
    )
    async def test_is_begun_anew_and_the_call_is_sent_once_more(self, status: int, body: dict[str, Any] | str) -> None:
        station = Station(tools__call=refuse_session(status, body))
        assert await station.look() == "a grey sea"
        assert station.seen[3:] == ["tools/call", "initialize", "notifications/initialized", "tools/call"]
        assert station.sent[-1] == station.sent[3]
        assert station.requests[-1].headers["mcp-session-id"] == "s2"

    @pytest.mark.parametrize("status", [400, 404, 503])
    async def test_is_begun_anew_only_once(self, status: int) -> None:
        station = Station(tools__call=lambda *_: httpx.Response(status))
        with pytest.raises(ToolError, match=f"HTTP {status}"):
            await station.look()
        assert station.seen.count("tools/call") == 2

    @pytest.mark.parametrize("status", [401, 403, 409, 422, 429, 500, 502, 504])
    async def test_has_no_other_status(self, status: int) -> None:
        station = Station(tools__call=lambda *_: httpx.Response(status))
        with pytest.raises(ToolError):
            await station.look()
        assert station.seen.count("initialize") == station.seen.count("tools/call") == 1

    async def test_is_nothing_that_a_server_without_sessions_has(self) -> None:
        station = Station(session=False, tools__call=lambda *_: httpx.Response(400))
        with pytest.raises(ToolError):
            await station.look()
        assert station.seen.count("initialize") == 1

    async def test_is_opened_with_our_name_and_version(self) -> None:
        station = Station()
        await station.look()
        assert station.sent[0]["params"]["clientInfo"] == {"name": "winterbourne", "version": winterbourne.__version__}

    async def test_is_not_what_a_session_means_that_was_opened_just_now(self) -> None:
        station = Station(tools__list=lambda *_: httpx.Response(404))
        with pytest.raises(ToolError):
            await station.client.list_tools()
        assert station.seen == ["initialize", "notifications/initialized", "tools/list"]

    @jumping
    async def test_is_not_what_a_late_503_means_since_the_call_may_have_run(self) -> None:
        async def time_out() -> httpx.Response:
            await asyncio.sleep(29)
            return httpx.Response(503)

        station = Station(tools__call=lambda *_: time_out())
        with pytest.raises(ToolUnavailable, match="HTTP 503"):
            await station.look()
        assert station.seen.count("tools/call") == 1


async def test_an_id_that_is_sent_back_as_text_is_ours() -> None:
    def answer(request: httpx.Request, *_: object) -> httpx.Response:
        result = {"content": [{"type": "text", "text": "a grey sea"}]}
        sent_id = str(json.loads(request.content)["id"])
        return httpx.Response(200, json={"jsonrpc": "2.0", "id": sent_id, "result": result})

    assert await Station(tools__call=answer).look() == "a grey sea"


class TestRefusal:
    async def test_is_told_in_the_words_of_the_server(self) -> None:
        error = {"jsonrpc": "2.0", "id": None, "error": {"code": -32602, "message": "no such pier"}}
        station = Station(tools__call=lambda *_: httpx.Response(422, json=error))
        with pytest.raises(ToolError, match="refused the request: no such pier"):
            await station.look()

    @pytest.mark.parametrize("body", [b"[]", b'{"error":"gone"}', b'{"error":{"message":5}}', b"<html>", b"x" * 20_000])
    async def test_without_an_error_that_can_be_read_is_told_by_its_status(self, body: bytes) -> None:
        station = Station(tools__call=lambda *_: httpx.Response(422, content=body))
        with pytest.raises(ToolError, match=r"refused the request \(HTTP 422\)"):
            await station.look()

    @jumping
    async def test_whose_body_never_ends_is_told_by_its_status(self) -> None:
        async def endless() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.Event().wait()

        station = Station(tools__call=lambda *_: httpx.Response(422, content=endless()))
        with pytest.raises(ToolError, match="HTTP 422"):
            await station.look()

    @pytest.mark.parametrize("error", ["no", 5, {}, {"message": None}])
    async def test_without_words_has_no_reason(self, error: Any) -> None:
        station = Station(tools__call=lambda _, m: httpx.Response(200, json={"id": m["id"], "error": error}))
        with pytest.raises(ToolError, match="refused the call: no reason given"):
            await station.look()


def redirect_once(status: int, location: str) -> Answer:
    """Redirects every request to /mcp."""

    def answer(request: httpx.Request, message: dict[str, Any]) -> httpx.Response:
        if request.url.path == "/mcp":
            return httpx.Response(status, headers={"location": location})
        return httpx.Response(200, json=result_of(message))

    return answer


class TestRedirect:
    @pytest.mark.parametrize("status", [307, 308])
    @pytest.mark.parametrize(
        "location", ["/mcp/", "mcp/", "http://pier.example/mcp/", "http://PIER.example:80/v2/mcp?a=b"]
    )
    async def test_within_the_origin_is_followed(self, status: int, location: str) -> None:
        station = Station(tools__call=redirect_once(status, location))
        station.client.authorize = bearer
        assert await station.look() == "a grey sea"
        first, second = station.requests[-2:]
        assert second.method == "POST"
        assert second.content == first.content
        for header in ("authorization", "mcp-session-id", "accept", "content-type", "mcp-protocol-version"):
            assert second.headers[header] == first.headers[header]

    @pytest.mark.parametrize(
        ("location", "origin"),
        [
            ("http://quay.example/mcp?key=secret", "http://quay.example"),
            ("https://pier.example/mcp/secret", "https://pier.example"),
            ("http://pier.example:8080/secret", "http://pier.example:8080"),
            ("//quay.example/secret", "http://quay.example"),
            ("http://pier.example@quay.example/secret", "http://quay.example"),
        ],
    )
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_to_another_origin_is_refused_by_its_name_alone(
        self, status: int, location: str, origin: str
    ) -> None:
        station = Station(tools__call=redirect_once(status, location))
        station.client.authorize = bearer
        with pytest.raises(ToolError) as error:
            await station.look()
        assert f"redirects to {origin} (HTTP {status})" in str(error.value)
        assert "secret" not in str(error.value)
        assert all(request.url.host == "pier.example" for request in station.requests)

    @pytest.mark.parametrize("status", [301, 302, 303])
    async def test_that_may_change_the_method_is_refused(self, status: int) -> None:
        station = Station(tools__call=redirect_once(status, "/mcp/"))
        with pytest.raises(ToolError, match=r"redirects to http://pier\.example "):
            await station.look()
        assert station.seen.count("tools/call") == 1

    async def test_to_what_is_no_address_is_an_answer_that_cannot_be_read(self) -> None:
        station = Station(tools__call=redirect_once(307, "javascript:1"))
        with pytest.raises(ToolUnavailable, match="cannot be read"):
            await station.look()

    async def test_is_followed_a_few_times_at_most(self) -> None:
        station = Station(tools__call=lambda *_: httpx.Response(307, headers={"location": "/mcp"}))
        with pytest.raises(ToolError, match="more than 3 times"):
            await station.look()
        assert station.seen.count("tools/call") == 4


async def bearer(_: str) -> tuple[str, str]:
    return "t-1", ""


async def replies(station: Station) -> list[dict[str, Any]]:
    """What the client has answered the server."""
    await asyncio.gather(*station.client._replies)
    return [message for message in station.sent if "method" not in message]


class TestRequestOfTheServer:
    @pytest.mark.parametrize("request_id", ["p1", 0, 1, 3, "3", ""])
    async def test_ping_is_answered_whatever_its_id(self, request_id: str | int) -> None:
        ping = {"jsonrpc": "2.0", "id": request_id, "method": "ping"}
        station = Station(tools__call=lambda _, message: event_stream(ping, result_of(message)))
        assert await station.look() == "a grey sea"
        assert await replies(station) == [{"jsonrpc": "2.0", "id": request_id, "result": {}}]
        assert station.requests[-1].headers["mcp-session-id"] == "s1"

    @pytest.mark.parametrize("method", ["roots/list", "sampling/createMessage", "elicitation/create", "x", 5, None])
    async def test_that_we_cannot_fulfil_is_answered_with_an_error(self, method: Any) -> None:
        def call(_: httpx.Request, message: dict[str, Any]) -> httpx.Response:
            return event_stream({"id": message["id"], "method": method, "params": {}}, result_of(message))

        station = Station(tools__call=call)
        assert await station.look() == "a grey sea"
        (reply,) = await replies(station)
        assert (reply["id"], reply["error"]["code"]) == (station.sent[3]["id"], -32601)

    async def test_in_a_json_batch_is_answered(self) -> None:
        ping = {"id": 7, "method": "ping"}
        station = Station(tools__call=lambda _, message: httpx.Response(200, json=[ping, result_of(message)]))
        assert await station.look() == "a grey sea"
        assert [reply["id"] for reply in await replies(station)] == [7]

    @jumping
    async def test_whose_answer_it_does_not_take_holds_up_no_call(self) -> None:
        async def never() -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError

        ping = {"id": 7, "method": "ping"}
        station = Station(
            tools__call=lambda _, message: event_stream(*[ping] * 1000, result_of(message)), answer=lambda *_: never()
        )
        assert await station.look() == "a grey sea"
        assert len(station.client._replies) == MAX_REPLIES
        await asyncio.sleep(REPLY_TIMEOUT_S + 1)
        assert not station.client._replies

    async def test_whose_answer_it_refuses_harms_nothing(self) -> None:
        station = Station(
            tools__call=lambda _, message: event_stream({"id": 7, "method": "ping"}, result_of(message)),
            answer=lambda *_: httpx.Response(404),
        )
        assert await station.look() == await station.look() == "a grey sea"
        assert len(await replies(station)) == 2

    async def test_is_no_longer_answered_once_the_client_is_closed(self) -> None:
        station = Station(tools__call=lambda _, message: event_stream({"id": 7, "method": "ping"}, result_of(message)))
        await station.look()
        await station.client.close()
        assert await replies(station) == []

    @pytest.mark.parametrize(
        "notification",
        [
            {"method": "notifications/message", "params": {"level": "info", "data": "hi"}},
            {"method": "notifications/tools/list_changed"},
            {"method": "notifications/progress"},
            {"method": "notifications/progress", "params": 5},
            {"method": "unknown", "id": None},
        ],
    )
    async def test_that_wants_no_answer_gets_none(self, notification: dict[str, Any]) -> None:
        station = Station(tools__call=lambda _, message: event_stream(notification, result_of(message)))
        assert await station.look() == "a grey sea"
        assert await replies(station) == []


class TestAnswer:
    @pytest.mark.parametrize(
        "event", [b"data:\n\n", b"event: ping\ndata: 2025-11-25\n\n", b": ping\n\n", b"data: {}\n\n"]
    )
    async def test_is_found_after_events_that_are_no_messages(self, event: bytes) -> None:
        station = Station(tools__call=lambda _, message: event_stream(event, result_of(message)))
        assert await station.look() == "a grey sea"

    async def test_in_a_batch_is_found_among_others(self) -> None:
        def batch(message: dict[str, Any]) -> list[dict[str, Any]]:
            return [{"id": 99, "result": {}}, {"method": "notifications/message"}, result_of(message)]

        station = Station(tools__call=lambda _, message: httpx.Response(200, json=batch(message)))
        assert await station.look() == "a grey sea"

    @pytest.mark.parametrize("result", [None, 5, "text", []])
    async def test_whose_result_is_not_an_object_cannot_be_read(self, result: Any) -> None:
        station = Station(tools__call=lambda _, m: httpx.Response(200, json={"id": m["id"], "result": result}))
        with pytest.raises(ToolUnavailable, match="cannot be read"):
            await station.look()

    @pytest.mark.parametrize("error", [None, {"code": 1, "message": "no"}])
    async def test_of_json_rpc_1_has_an_empty_error(self, error: Any) -> None:
        station = Station(tools__call=lambda _, m: httpx.Response(200, json=result_of(m) | {"error": error}))
        if error is None:
            assert await station.look() == "a grey sea"
        else:
            with pytest.raises(ToolError, match="no"):
                await station.look()

    async def test_that_cuts_a_surrogate_pair_is_read(self) -> None:
        def call(_: httpx.Request, message: dict[str, Any]) -> httpx.Response:
            body = orjson.dumps(result_of(message)).replace(b"a grey sea", b"a grey sea \\ud83c")
            return httpx.Response(200, content=body)

        assert await Station(tools__call=call).look() == "a grey sea ?"

    @pytest.mark.parametrize("version", [20251125, None])
    async def test_to_the_opening_may_have_any_version(self, version: Any) -> None:
        def initialize(_: httpx.Request, message: dict[str, Any]) -> httpx.Response:
            return httpx.Response(200, json=result_of(message, {"protocolVersion": version}))

        assert await Station(initialize=initialize).look() == "a grey sea"


def closing_early(*events: bytes, resumed: Answer) -> Station:
    """A server that sends no more than these events in answer to a call."""
    return Station(tools__call=lambda *_: event_stream(*events), GET=resumed)


def rest_of(station: list[Station], *events: bytes) -> httpx.Response:
    return event_stream(*events, result_of(station[0].sent[3]))


class TestResuming:
    @jumping
    @pytest.mark.parametrize(
        "begun",
        [
            b"id: 1\nretry: 200\ndata:\n\n",
            b"id:1\r\ndata\r\n\r\n",
            b"id: 0\n\nid: 1\ndata: {}\n\nid: 2\ndata: {",
            b": hello\n\nid: 1\n\ndata: {}\n\n",
        ],
    )
    async def test_asks_for_what_comes_after_the_last_whole_event(self, begun: bytes) -> None:
        station = closing_early(begun, resumed=lambda *_: rest_of([station]))
        assert await station.look() == "a grey sea"
        get = station.requests[-1]
        assert station.seen[3:] == ["tools/call", "GET"]
        assert (get.headers["last-event-id"], get.headers["mcp-session-id"]) == ("1", "s1")
        assert get.headers["accept"] == "text/event-stream"

    @jumping
    @pytest.mark.parametrize(("retry", "wait_s"), [(b"200", 0.2), (b"0", 0), (b"3600000", 5), (b"soon", 1), (b"", 1)])
    async def test_waits_as_long_as_the_server_says(self, retry: bytes, wait_s: float) -> None:
        station = closing_early(b"id: 1\nretry: " + retry + b"\ndata:\n\n", resumed=lambda *_: rest_of([station]))
        began = asyncio.get_running_loop().time()
        await station.look()
        assert asyncio.get_running_loop().time() - began == pytest.approx(wait_s)

    @jumping
    async def test_follows_a_broken_connection(self) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield b"id: 1\ndata:\n\n"
            raise httpx.ReadError("reset")

        headers = {"content-type": "text/event-stream"}
        station = Station(
            tools__call=lambda *_: httpx.Response(200, headers=headers, content=broken()),
            GET=lambda *_: rest_of([station]),
        )
        assert await station.look() == "a grey sea"

    @jumping
    async def test_is_repeated_as_long_as_events_come(self) -> None:
        def resumed(*_: Any) -> httpx.Response:
            count = station.seen.count("GET")
            return rest_of([station]) if count == 20 else event_stream(b"id: %d\ndata:\n\n" % (count + 1))

        station = closing_early(b"id: 1\ndata:\n\n", resumed=resumed)
        assert await station.look() == "a grey sea"
        assert station.requests[-1].headers["last-event-id"] == "20"

    @jumping
    async def test_is_not_given_up_if_an_event_comes_now_and_then(self) -> None:
        def resumed(*_: Any) -> httpx.Response:
            count = station.seen.count("GET")
            return rest_of([station]) if count == 20 else event_stream(b"id: %d\ndata:\n\n" % (count // 4 + 1))

        station = closing_early(b"id: 1\ndata:\n\n", resumed=resumed)
        assert await station.look() == "a grey sea"

    @jumping
    async def test_does_not_count_an_event_that_was_broken_off(self) -> None:
        def resumed(*_: Any) -> httpx.Response:
            return rest_of([station]) if station.seen.count("GET") == 2 else event_stream(b"\n\n")

        station = closing_early(b"id: 1\n\nid: 2\ndata: {", resumed=resumed)
        assert await station.look() == "a grey sea"
        assert [request.headers["last-event-id"] for request in station.requests[-2:]] == ["1", "1"]

    @jumping
    async def test_is_given_up_if_no_event_comes(self) -> None:
        station = closing_early(b"id: 1\ndata:\n\n", resumed=lambda *_: event_stream())
        with pytest.raises(ToolUnavailable, match="ended its answer before the result"):
            await station.look()
        assert station.seen.count("GET") == MAX_RESUMPTIONS
        assert station.seen.count("tools/call") == 1

    @jumping
    @pytest.mark.parametrize("status", [204, 400, 404, 405, 500])
    async def test_ends_where_a_server_cannot(self, status: int) -> None:
        station = closing_early(b"id: 1\ndata:\n\n", resumed=lambda *_: httpx.Response(status))
        with pytest.raises(ToolUnavailable, match=f"does not resume it .HTTP {status}"):
            await station.look()
        assert station.seen[3:] == ["tools/call", "GET"]

    async def test_needs_an_id(self) -> None:
        station = closing_early(b"retry: 10\ndata:\n\nid: 1\n", resumed=lambda *_: event_stream())
        with pytest.raises(ToolUnavailable, match="ended its answer before the result"):
            await station.look()
        assert station.seen[3:] == ["tools/call"]

    @jumping
    async def test_is_cancelled_with_the_call(self) -> None:
        station = closing_early(b"id: 1\ndata:\n\n", resumed=lambda *_: event_stream(b"id: 1\n\n"))
        calling = asyncio.create_task(station.look())
        await asyncio.sleep(0.5)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert station.seen[-1] == "notifications/cancelled"


def paged(*pages: dict[str, Any] | httpx.Response) -> Answer:
    """A listing with these pages, one after the other."""
    left = list(pages)

    def answer(_: httpx.Request, message: dict[str, Any]) -> httpx.Response:
        page = left.pop(0) if len(left) > 1 else left[0]
        return httpx.Response(200, json=result_of(message, page)) if isinstance(page, dict) else page

    return answer


LOOK = {"name": "look"}


class TestListing:
    async def names(self, *pages: dict[str, Any] | httpx.Response) -> list[str]:
        self.station = Station(tools__list=paged(*pages))
        return [tool.name for tool in (await self.station.client.list_tools()).tools()]

    async def test_follows_the_cursor(self) -> None:
        assert await self.names({"tools": [LOOK], "nextCursor": "2"}, {"tools": [{"name": "say"}]}) == [
            "pier_look",
            "pier_say",
        ]
        assert [message["params"] for message in self.station.sent[2:]] == [{}, {"cursor": "2"}]

    @pytest.mark.parametrize(
        "second",
        [
            httpx.Response(500),
            httpx.Response(200, text="<html>"),
            httpx.Response(200, json={"id": 3, "error": {"code": -32602, "message": "invalid cursor"}}),
            {"tools": 5},
            {"tools": [], "nextCursor": "2"},
        ],
    )
    async def test_ends_where_a_page_fails(
        self, second: dict[str, Any] | httpx.Response, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert await self.names({"tools": [LOOK], "nextCursor": "2"}, second) == ["pier_look"]
        assert "the tools of MCP server pier are not all listed: The " in caplog.text
        assert self.station.seen.count("tools/list") == 2

    @pytest.mark.parametrize("cursor", [5, {}, True, ["2"]])
    async def test_ends_at_a_cursor_that_is_no_text(self, cursor: Any) -> None:
        await self.names({"tools": [LOOK], "nextCursor": cursor})
        assert self.station.seen.count("tools/list") == 1

    @pytest.mark.parametrize("page", [{}, {"tools": None}, {"tools": []}, {"tools": [], "nextCursor": None}])
    async def test_may_be_empty(self, page: dict[str, Any]) -> None:
        assert await self.names(page) == []

    @pytest.mark.parametrize("tools", [5, "look", {"look": LOOK}])
    async def test_that_is_no_list_fails(self, tools: Any) -> None:
        with pytest.raises(ToolUnavailable, match="cannot be read"):
            await self.names({"tools": tools})

    async def test_has_a_limited_number_of_pages(self, caplog: pytest.LogCaptureFixture) -> None:
        def page(_: httpx.Request, message: dict[str, Any]) -> httpx.Response:
            count = station.seen.count("tools/list")
            return httpx.Response(200, json=result_of(message, {"tools": [LOOK], "nextCursor": f"c{count}"}))

        station = Station(tools__list=page)
        assert [tool.name for tool in (await station.client.list_tools()).tools()] == ["pier_look"]
        assert station.seen.count("tools/list") == MAX_PAGES
        assert "more than 50 pages" in caplog.text

    async def test_asks_for_no_page_beyond_the_limits(self) -> None:
        tools = [{"name": f"t{number}"} for number in range(1000)]
        assert len(await self.names({"tools": tools, "nextCursor": "2"})) == MAX_TOOLS
        assert self.station.seen.count("tools/list") == 1


@jumping
@pytest.mark.parametrize("method", ["initialize", "notifications__initialized", "tools__list"])
async def test_a_server_that_never_answers_is_reported_with_its_time(method: str) -> None:
    async def never() -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    answers: dict[str, Answer] = {method: lambda *_: never()}
    station = Station(session=True, modern=False, **answers)
    with pytest.raises(ToolUnavailable, match=r"MCP server pier did not answer within 5 s\."):
        await station.client.list_tools()


@jumping
async def test_a_server_that_stops_answering_keeps_what_it_has_listed() -> None:
    async def never() -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    def page(_: httpx.Request, message: dict[str, Any]) -> Any:
        if message["params"]:
            return never()
        return httpx.Response(200, json=result_of(message, {"tools": [LOOK], "nextCursor": "2"}))

    listing = await Station(tools__list=page).client.list_tools()
    assert not listing.is_whole
    assert [tool.name for tool in listing.tools()] == ["pier_look"]


class TestTrace:
    """https://modelcontextprotocol.io/community/seps/414-request-meta"""

    @pytest.mark.parametrize("modern", [False, True])
    async def test_is_in_a_calls_meta_and_the_call_in_the_span_of_its_tool(self, *, modern: bool) -> None:
        station = Station(modern=modern)
        trace = Trace("a" * 32, {"tracestate": "shop=1"})
        with Span(trace, "POST /chat", "server") as request, request.tool("pier_look", "call_1") as span:
            await station.look()
        (call,) = (message for message in station.sent if message["method"] == "tools/call")
        meta = call["params"]["_meta"]
        assert (meta["traceparent"], meta["tracestate"]) == (f"00-{'a' * 32}-{span.span_id}-01", "shop=1")
        told = {name: span.attributes[name] for name in span.attributes if not name.startswith("gen_ai.")}
        assert told == {
            "mcp.method.name": "tools/call",
            "mcp.protocol.version": "2026-07-28" if modern else "2025-11-25",
            "jsonrpc.request.id": str(call["id"]),
            "network.transport": "tcp",
            "server.address": "pier.example",
            "server.port": 80,
        }

    async def test_of_a_caller_goes_on_where_nothing_is_exported(self) -> None:
        station, callers = Station(), f"00-{'a' * 32}-{'b' * 16}-01"
        token = http_pool.outgoing_headers.set({"traceparent": callers})
        try:
            await station.look()
        finally:
            http_pool.outgoing_headers.reset(token)
        assert station.sent[-1]["params"]["_meta"]["traceparent"] == callers
