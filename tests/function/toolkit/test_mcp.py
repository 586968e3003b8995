"""Tools of MCP servers: the real package on the other side, in a process of its own."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from chat import http_pool
from chat.errors import ToolError, ToolUnavailable
from chat.settings import Settings
from chat.toolkit.context import ToolContext
from chat.toolkit.mcp import McpServer
from chat.toolkit.tool import Tool

SERVER = Path(__file__).with_name("mcp_server.py")


@pytest.fixture(scope="module", params=["stateful", "stateless", "json"])
def process(request: pytest.FixtureRequest) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen([sys.executable, SERVER, request.param], stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout
        yield started, f"http://127.0.0.1:{started.stdout.readline().strip()}/mcp"
        started.terminate()


@pytest.fixture
async def server(process: tuple[subprocess.Popen[str], str]) -> AsyncIterator[McpServer]:
    http_pool.configure(Settings())
    yield McpServer("station", process[1])
    await http_pool.close()


async def tool(server: McpServer, name: str) -> Tool:
    return {tool.name: tool for tool in await server.tools()}[f"station_{name}"]


async def run(server: McpServer, name: str, arguments: str, **context: Any) -> Any:
    chosen = await tool(server, name)
    return await chosen.call(chosen.read(arguments), ToolContext(**context))


class TestARealServer:
    async def test_lists_its_tools_under_its_name(self, server: McpServer) -> None:
        assert {tool.name for tool in await server.tools()} == {
            f"station_{name}" for name in ("add", "say", "fail", "count", "hang")
        }

    async def test_gives_description_and_schema(self, server: McpServer) -> None:
        add = await tool(server, "add")
        assert add.description == "Add two numbers."
        assert add.schema.parameters["required"] == ["a", "b"]

    async def test_answers_with_structure_where_it_has_one(self, server: McpServer) -> None:
        assert await run(server, "add", '{"a":1,"b":2}') == {"result": 3}

    async def test_says_in_its_own_words_that_a_tool_failed(self, server: McpServer) -> None:
        with pytest.raises(ToolError, match="the sensor is broken"):
            await run(server, "fail", "")

    async def test_judges_the_types_of_arguments(self, server: McpServer) -> None:
        with pytest.raises(ToolError, match="valid integer"):
            await run(server, "add", '{"a":"one","b":2}')

    async def test_can_be_called_many_times_at_once(self, server: McpServer) -> None:
        add = await tool(server, "add")
        sums = [add.call({"a": number, "b": 1}, ToolContext()) for number in range(20)]
        assert await asyncio.gather(*sums) == [{"result": number + 1} for number in range(20)]


@pytest.mark.parametrize("process", ["stateful", "stateless"], indirect=True)
class TestProgress:
    async def test_of_a_server_that_streams_reaches_the_client(self, server: McpServer) -> None:
        reported: list[bytes] = []

        async def report(data: bytes) -> None:
            reported.append(data)

        await run(server, "count", '{"to":3}', report=report)
        assert [data.count(b'"progress":') for data in reported] == [1, 1, 1]


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [('{"a":', "at `\\$`"), ("[]", "at `\\$`"), ('{"a":1}', "field `b` is missing")],
    )
    async def test_that_cannot_be_right_are_not_sent(self, server: McpServer, arguments: str, reason: str) -> None:
        add = await tool(server, "add")
        with pytest.raises(ToolError, match=reason):
            add.read(arguments)


class TestASessionThatTheServerForgot:
    async def test_is_opened_again_without_a_word(self, server: McpServer) -> None:
        await server.tools()
        assert server._session is not None
        if "mcp-session-id" in server._session:
            server._session["mcp-session-id"] = "0" * 32
        assert await run(server, "say", '{"text":"hi"}') == {"result": "hi"}


class Answering(httpx.AsyncBaseTransport):
    """A server that always answers the same."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._response = (args, kwargs)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        args, kwargs = self._response
        return httpx.Response(*args, **kwargs)


class TestAServerInTrouble:
    @pytest.mark.parametrize(
        ("response", "error", "words"),
        [
            (Answering(503), ToolUnavailable, "busy or broken"),
            (Answering(401), ToolError, "does not accept our token"),
            (Answering(400), ToolError, "refused the request"),
            (Answering(200, text="<html>"), ToolUnavailable, "cannot be read"),
            (Answering(200, json=[]), ToolUnavailable, "cannot be read"),
            (Answering(200, json={"id": 99}), ToolUnavailable, "ended its answer"),
            (Answering(200, json={"id": 2, "error": {"message": "no"}}), ToolError, "refused the call: no"),
        ],
    )
    async def test_is_one_sentence_for_the_model(self, response: Answering, error: type[ToolError], words: str) -> None:
        async with httpx.AsyncClient(transport=response) as client:
            with pytest.raises(error, match=words):
                await McpServer("station", "http://127.0.0.1/mcp", client=lambda: client).tools()

    async def test_that_is_not_there_is_unavailable(self) -> None:
        async with httpx.AsyncClient() as client:
            with pytest.raises(ToolUnavailable, match="cannot be reached"):
                await McpServer("station", "http://127.0.0.1:9/mcp", client=lambda: client).tools()


@pytest.mark.parametrize("process", ["stateful"], indirect=True)  # without a session there is nobody to tell
async def test_a_call_that_is_cancelled_ends_on_the_server(process: tuple[subprocess.Popen[str], str]) -> None:
    started, url = process
    http_pool.configure(Settings())
    server = McpServer("station", url)
    hang = await tool(server, "hang")
    calling = asyncio.ensure_future(hang.call({}, ToolContext()))
    assert started.stdout
    assert await asyncio.to_thread(started.stdout.readline) == "called\n"
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await http_pool.close()
    assert await asyncio.to_thread(started.stdout.readline) == "cancelled\n"
