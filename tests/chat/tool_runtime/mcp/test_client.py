"""MCP client: tools of a server built with the official package, in a process of its own."""

import asyncio
import gzip
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

import winterbourne
from winterbourne.chat.errors import SettingsError, ToolError, ToolUnavailable
from winterbourne.chat.infra import http_pool
from winterbourne.chat.infra.decompression import decompress
from winterbourne.chat.infra.sse_parser import MAX_EVENT_BYTES
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.mcp.client import McpClient

SERVER = Path(__file__).with_name("server.py")


@pytest.fixture(scope="module", params=["stateful", "stateless", "json"])
def process(request: pytest.FixtureRequest) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen([sys.executable, SERVER, request.param], stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout
        yield started, f"http://127.0.0.1:{started.stdout.readline().strip()}/mcp"
        started.terminate()


@pytest.fixture
async def server(process: tuple[subprocess.Popen[str], str]) -> AsyncIterator[McpClient]:
    http_pool.configure(Settings().http)
    yield McpClient("station", process[1])
    await http_pool.close()


async def tool(server: McpClient, name: str) -> Tool:
    return {tool.name: tool for tool in await server.list_tools()}[f"station_{name}"]


async def run(server: McpClient, name: str, arguments: str, **context: Any) -> Any:
    found = await tool(server, name)
    return await found.call(found.validate_arguments(arguments), ToolContext(**context))


class TestRealServer:
    async def test_lists_its_tools_under_its_name(self, server: McpClient) -> None:
        assert {tool.name for tool in await server.list_tools()} == {
            f"station_{name}" for name in ("add", "say", "fail", "count", "hang")
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


@pytest.mark.parametrize("process", ["stateful", "stateless"], indirect=True)
class TestProgress:
    async def test_of_a_server_that_streams_reaches_the_client(self, server: McpClient) -> None:
        reported: list[bytes] = []

        async def report(data: bytes) -> None:
            reported.append(data)

        await run(server, "count", '{"to":3}', report=report)
        assert [data.count(b'"progress":') for data in reported] == [1, 1, 1]


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


class TestLostSession:
    async def test_is_reopened_silently(self, server: McpClient) -> None:
        await server.list_tools()
        assert server._session_headers is not None
        if "mcp-session-id" in server._session_headers:
            server._session_headers["mcp-session-id"] = "0" * 32
        assert await run(server, "say", '{"text":"hi"}') == {"result": "hi"}


class ForgetfulServer(httpx.AsyncBaseTransport):
    """A server that knows only its newest session, and answers calls two at a time."""

    def __init__(self) -> None:
        self.sessions = 0
        self._together = asyncio.Barrier(2)

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
        (say,) = await McpClient("station", "http://127.0.0.1/mcp", client=lambda: client).list_tools()
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
        transport=httpx.MockTransport(serve), cookies=http_pool._rejecting_cookie_jar()
    ) as client:
        await McpClient("station", "http://127.0.0.1/mcp", client=lambda: client).list_tools()
    assert sent_cookies == [None, "instance=2", "instance=2"]


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
            (FixedResponse(200, json=[]), ToolUnavailable, "cannot be read"),
            (FixedResponse(200, json={"id": 99}), ToolUnavailable, "ended its answer"),
            (FixedResponse(200, json={"id": 2, "error": {"message": "no"}}), ToolError, "refused the call: no"),
        ],
    )
    async def test_is_reported_to_the_model_in_one_sentence(
        self, response: FixedResponse, error: type[ToolError], sentence: str
    ) -> None:
        async with httpx.AsyncClient(transport=response) as client:
            with pytest.raises(error, match=sentence):
                await McpClient("station", "http://127.0.0.1/mcp", client=lambda: client).list_tools()

    async def test_whose_tool_has_no_name_cannot_be_read(self) -> None:
        def nameless(request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json={"id": orjson.loads(request.content).get("id"), "result": {"tools": [{}]}})

        async with httpx.AsyncClient(transport=httpx.MockTransport(nameless)) as client:
            with pytest.raises(ToolUnavailable, match="cannot be read"):
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


async def test_a_token_that_cannot_be_read_does_not_replace_a_cancellation() -> None:
    called = asyncio.Event()

    async def hang(request: httpx.Request) -> httpx.Response:
        message = orjson.loads(request.content)
        if message["method"] == "tools/call":
            called.set()
            await asyncio.Event().wait()
        return httpx.Response(200, json={"id": message.get("id"), "result": {"tools": [{"name": "hang"}]}})

    async def token() -> str:
        if called.is_set():
            raise SettingsError("MCP_TOKENS_SECRET_ARN: the secret cannot be read")
        return "t"

    async with httpx.AsyncClient(transport=httpx.MockTransport(hang)) as client:
        (tool,) = await McpClient("station", "http://127.0.0.1/mcp", token=token, client=lambda: client).list_tools()
        calling = asyncio.ensure_future(tool.call({}, ToolContext()))
        await called.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling


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
        (tool,) = await McpClient("station", "http://127.0.0.1/mcp", client=lambda: client).list_tools()
        assert await tool.call({}, ToolContext()) == text


def test_the_tool_runtime_imports_no_provider() -> None:
    check = (
        "import sys, winterbourne.chat.tool_runtime.mcp.client\n"
        "assert not [name for name in sys.modules if name.startswith('winterbourne.chat.providers')]"
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd=Path(winterbourne.__file__).parents[1])
