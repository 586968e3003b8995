"""The MCP servers of the settings: their tools join the others, and their absence costs nobody the chat."""

import asyncio
from collections.abc import Iterable

import pytest

from tests.clock import jumping
from winterbourne.chat.errors import SettingsError, ToolUnavailable
from winterbourne.chat.infra import redaction
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool, tool
from winterbourne.chat.tool_runtime.mcp import servers
from winterbourne.chat.tool_runtime.mcp.servers import CONNECT_TIMEOUT_S, RETRY_INTERVAL_S, McpServers


@tool
async def look(context: ToolContext) -> str:
    """Look."""
    return context.request_id


class FlakyServer:
    """A server that is away as often as it is told to be."""

    away: dict[str, int]
    asked: list[str]

    def __init__(self, name: str, url: str, **_: object) -> None:
        self.name = name
        self.url = url

    async def list_tools(self) -> list[Tool]:
        self.asked.append(self.name)
        if self.away.get(self.name, 0):
            self.away[self.name] -= 1
            raise ToolUnavailable("away")
        if self.name == "slow":
            await asyncio.sleep(1000)
        return [look]


@pytest.fixture(autouse=True)
def stations(monkeypatch: pytest.MonkeyPatch) -> type[FlakyServer]:
    FlakyServer.away, FlakyServer.asked = {}, []
    monkeypatch.setattr(servers, "McpClient", FlakyServer)
    return FlakyServer


def test_the_tokens_of_servers_are_redacted() -> None:
    found: list[Tool] = []
    tokens = '{"key":"token-of-one","pier":"token-of-pier"}'
    McpServers(Settings(mcp_servers="key=http://127.0.0.1", mcp_tokens=tokens), found.extend)
    assert redaction.redact("token-of-one token-of-pier") == "[redacted] [redacted]"


class ServersFixture:
    """Where tools are added to, and a clock."""

    def __init__(self, servers: str) -> None:
        self.tools: list[Tool] = []
        self.now = 0.0
        self.servers = McpServers(Settings(mcp_servers=servers), self.add, lambda: self.now)

    def add(self, tools: Iterable[Tool]) -> None:
        self.tools += tools

    async def later(self) -> None:
        """A request after the time in which nobody is asked again, and all that it began."""
        self.now += RETRY_INTERVAL_S
        await self.servers.connect()
        await asyncio.sleep(CONNECT_TIMEOUT_S + 1)


class TestConnecting:
    @jumping
    async def test_brings_the_tools_of_every_server(self) -> None:
        kitchen = ServersFixture("one=http://a/mcp, two=https://b/mcp")
        await kitchen.servers.connect()
        assert kitchen.tools == [look, look]

    @jumping
    async def test_lists_a_server_once(self) -> None:
        kitchen = ServersFixture("one=http://a/mcp")
        for _ in range(3):
            await kitchen.later()
        assert FlakyServer.asked == ["one"]

    @jumping
    async def test_asks_a_server_that_was_away_again_but_not_at_once(self) -> None:
        FlakyServer.away = {"one": 1}
        kitchen = ServersFixture("one=http://a/mcp")
        for _ in range(2):
            await kitchen.servers.connect()
        assert (kitchen.tools, FlakyServer.asked) == ([], ["one"])
        await kitchen.later()
        assert kitchen.tools == [look]

    @jumping
    async def test_that_was_cancelled_is_done_again_by_a_later_request(self) -> None:
        kitchen = ServersFixture("slow=http://a/mcp")
        connecting = asyncio.create_task(kitchen.servers.connect())
        await asyncio.sleep(1)
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        await kitchen.later()
        assert FlakyServer.asked == ["slow", "slow"]

    @jumping
    async def test_a_clock_that_was_set_back_keeps_no_server_away(self) -> None:
        FlakyServer.away = {"one": 1}
        kitchen = ServersFixture("one=http://a/mcp")
        await kitchen.servers.connect()
        kitchen.now -= 1000 + RETRY_INTERVAL_S
        await kitchen.later()
        assert kitchen.tools == [look]

    @jumping
    async def test_waits_for_a_slow_server_a_short_time_only(self) -> None:
        kitchen, loop = ServersFixture("slow=http://a/mcp,one=http://b/mcp"), asyncio.get_running_loop()
        began = loop.time()
        await kitchen.servers.connect()
        assert loop.time() - began == pytest.approx(CONNECT_TIMEOUT_S, abs=0.1)
        assert kitchen.tools == [look]


class TestAskingAgain:
    @jumping
    async def test_keeps_no_request_waiting(self) -> None:
        kitchen, loop = ServersFixture("slow=http://a/mcp"), asyncio.get_running_loop()
        await kitchen.servers.connect()
        began, kitchen.now = loop.time(), RETRY_INTERVAL_S
        await kitchen.servers.connect()
        assert loop.time() == began
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert FlakyServer.asked == ["slow", "slow"]
        await kitchen.servers.close()

    @jumping
    async def test_happens_once_at_a_time(self) -> None:
        kitchen = ServersFixture("slow=http://a/mcp")
        await kitchen.servers.connect()
        for _ in range(3):
            kitchen.now += RETRY_INTERVAL_S
            await kitchen.servers.connect()
            await asyncio.sleep(1)
        assert FlakyServer.asked == ["slow", "slow"]
        await kitchen.servers.close()

    @jumping
    async def test_ends_with_the_environment(self) -> None:
        kitchen = ServersFixture("slow=http://a/mcp")
        await kitchen.servers.connect()
        kitchen.now += RETRY_INTERVAL_S
        await kitchen.servers.connect()
        await asyncio.sleep(1)
        await kitchen.servers.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}


@jumping
async def test_a_server_whose_listing_breaks_in_a_new_way_costs_nobody_the_chat(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_: FlakyServer) -> list[Tool]:
        raise LookupError("never seen before")

    monkeypatch.setattr(FlakyServer, "list_tools", broken)
    await ServersFixture("one=http://a/mcp").servers.connect()
    assert "MCP server one" in caplog.text
    assert "never seen before" in caplog.text


@pytest.mark.parametrize("servers", ["http://a/mcp", "one=ftp://a", "a b=http://a"])
def test_a_list_that_cannot_be_read_is_an_init_error(servers: str) -> None:
    with pytest.raises(SettingsError, match=r"^MCP_SERVERS: "):
        McpServers(Settings(mcp_servers=servers), lambda _: None)


def test_tokens_that_cannot_be_read_are_an_init_error_that_shows_none() -> None:
    with pytest.raises(SettingsError, match=r"^MCP_TOKENS: ") as error:
        McpServers(Settings(mcp_servers="one=http://a", mcp_tokens='{"one":"secret"'), lambda _: None)
    assert "secret" not in str(error.value)
