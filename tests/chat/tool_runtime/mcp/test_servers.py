"""MCP servers of the settings: their tools join the others, and an unavailable server does not break the chat."""

import asyncio

import msgspec
import pytest

from tests.clock import jumping
from winterbourne.chat.errors import InvalidToolDeclaration, SettingsError, ToolUnavailable
from winterbourne.chat.infra import redaction
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool, tool
from winterbourne.chat.tool_runtime.mcp import servers
from winterbourne.chat.tool_runtime.mcp.client import CONNECT_TIMEOUT_S
from winterbourne.chat.tool_runtime.mcp.servers import FIRST_WAIT_S, RETRY_INTERVAL_S, McpServers


@tool
async def look(context: ToolContext) -> str:
    """Look."""
    return context.request_id


class FlakyServer:
    """A server that is unavailable for a given number of requests."""

    failures_left: dict[str, int]
    listed: list[str]
    closed: list[str]

    def __init__(self, name: str, url: str, **_: object) -> None:
        self.name = name
        self.url = url

    async def list_tools(self) -> list[Tool]:
        self.listed.append(self.name)
        if self.failures_left.get(self.name, 0):
            self.failures_left[self.name] -= 1
            raise ToolUnavailable("away")
        if self.name == "slow":
            await asyncio.sleep(CONNECT_TIMEOUT_S)
            raise ToolUnavailable("slow")
        if self.name == "late":
            await asyncio.sleep(FIRST_WAIT_S + 1)
        return [look]

    async def close(self) -> None:
        self.closed.append(self.name)


@pytest.fixture(autouse=True)
def flaky_servers(monkeypatch: pytest.MonkeyPatch) -> type[FlakyServer]:
    FlakyServer.failures_left, FlakyServer.listed, FlakyServer.closed = {}, [], []
    monkeypatch.setattr(servers, "McpClient", FlakyServer)
    return FlakyServer


def test_the_tokens_of_servers_are_redacted() -> None:
    found: list[Tool] = []
    tokens = '{"key":"token-of-one","pier":"token-of-pier"}'
    McpServers(Settings.of(mcp_servers="key=http://127.0.0.1", mcp_tokens=tokens).tools, found.append)
    assert redaction.redact("token-of-one token-of-pier") == "[redacted] [redacted]"


class ServersFixture:
    """The configured servers, the tools they added, and a clock."""

    def __init__(self, servers: str) -> None:
        self.tools: list[Tool] = []
        self.now = 0.0
        self.servers = McpServers(Settings.of(mcp_servers=servers).tools, self.tools.append, lambda: self.now)

    async def request_after_retry_interval(self) -> None:
        """Send a request after the retry interval, and wait for what it started."""
        self.now += RETRY_INTERVAL_S
        await self.servers.connect()
        await asyncio.sleep(CONNECT_TIMEOUT_S + 1)


class TestConnecting:
    @jumping
    async def test_adds_the_tools_of_every_server(self) -> None:
        fixture = ServersFixture("one=http://a/mcp, two=https://b/mcp")
        await fixture.servers.connect()
        assert fixture.tools == [look, look]

    @jumping
    async def test_lists_a_server_once(self) -> None:
        fixture = ServersFixture("one=http://a/mcp")
        for _ in range(3):
            await fixture.request_after_retry_interval()
        assert FlakyServer.listed == ["one"]

    @jumping
    async def test_retries_an_unavailable_server_but_not_at_once(self) -> None:
        FlakyServer.failures_left = {"one": 1}
        fixture = ServersFixture("one=http://a/mcp")
        for _ in range(2):
            await fixture.servers.connect()
        assert (fixture.tools, FlakyServer.listed) == ([], ["one"])
        await fixture.request_after_retry_interval()
        assert fixture.tools == [look]

    @jumping
    async def test_goes_on_if_the_request_that_waits_for_it_is_cancelled(self) -> None:
        fixture = ServersFixture("late=http://a/mcp")
        connecting = asyncio.create_task(fixture.servers.connect())
        await asyncio.sleep(1)
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        await fixture.request_after_retry_interval()
        assert (fixture.tools, FlakyServer.listed) == ([look], ["late"])

    @jumping
    async def test_is_retried_even_if_the_clock_was_set_back(self) -> None:
        FlakyServer.failures_left = {"one": 1}
        fixture = ServersFixture("one=http://a/mcp")
        await fixture.servers.connect()
        fixture.now -= 1000 + RETRY_INTERVAL_S
        await fixture.request_after_retry_interval()
        assert fixture.tools == [look]

    @jumping
    async def test_waits_for_a_slow_server_only_briefly(self) -> None:
        fixture, loop = ServersFixture("slow=http://a/mcp,one=http://b/mcp"), asyncio.get_running_loop()
        began = loop.time()
        await fixture.servers.connect()
        assert loop.time() - began == pytest.approx(FIRST_WAIT_S, abs=0.1)
        assert fixture.tools == [look]
        await fixture.servers.connect()
        assert loop.time() - began == pytest.approx(FIRST_WAIT_S, abs=0.1)
        await fixture.servers.close()

    @jumping
    async def test_adds_the_tools_of_a_late_server_when_they_come(self) -> None:
        fixture = ServersFixture("late=http://a/mcp")
        await fixture.servers.connect()
        assert fixture.tools == []
        await asyncio.sleep(1)
        assert fixture.tools == [look]

    @jumping
    async def test_says_why_tools_are_missing(self, caplog: pytest.LogCaptureFixture) -> None:
        FlakyServer.failures_left = {"one": 1}
        await ServersFixture("one=http://a/mcp").servers.connect()
        assert "the tools of MCP server one are missing for now: away" in caplog.text

    @jumping
    async def test_leaves_out_a_tool_whose_name_is_taken(self, caplog: pytest.LogCaptureFixture) -> None:
        added: list[Tool] = []

        def add(each: Tool) -> None:
            if each.name == "look":
                raise InvalidToolDeclaration("Two tools are named look.")
            added.append(each)

        other = msgspec.structs.replace(look, name="other")

        async def list_tools(_: FlakyServer) -> list[Tool]:
            return [look, other]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FlakyServer, "list_tools", list_tools)
            await McpServers(Settings.of(mcp_servers="one=http://a").tools, add).connect()
        assert added == [other]
        assert "tool look of MCP server one is left out: Two tools are named look." in caplog.text


class TestReconnecting:
    @jumping
    async def test_delays_no_request(self) -> None:
        fixture, loop = ServersFixture("slow=http://a/mcp"), asyncio.get_running_loop()
        await fixture.request_after_retry_interval()
        began, fixture.now = loop.time(), 2 * RETRY_INTERVAL_S
        await fixture.servers.connect()
        assert loop.time() == began
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert FlakyServer.listed == ["slow", "slow"]
        await fixture.servers.close()

    @jumping
    async def test_happens_only_once_at_a_time(self) -> None:
        fixture = ServersFixture("slow=http://a/mcp")
        await fixture.request_after_retry_interval()
        for _ in range(3):
            fixture.now += RETRY_INTERVAL_S
            await fixture.servers.connect()
            await asyncio.sleep(1)
        assert FlakyServer.listed == ["slow", "slow"]
        await fixture.servers.close()

    @jumping
    async def test_ends_when_the_servers_are_closed(self) -> None:
        fixture = ServersFixture("slow=http://a/mcp")
        await fixture.request_after_retry_interval()
        fixture.now += RETRY_INTERVAL_S
        await fixture.servers.connect()
        await asyncio.sleep(1)
        await fixture.servers.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert FlakyServer.closed == ["slow"]


@jumping
async def test_an_unexpected_error_while_listing_is_logged_and_does_not_break_the_chat(
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
        McpServers(Settings.of(mcp_servers=servers).tools, lambda _: None)


def test_tokens_that_cannot_be_read_are_an_init_error_that_does_not_show_them() -> None:
    with pytest.raises(SettingsError, match=r"^MCP_TOKENS: ") as error:
        McpServers(Settings.of(mcp_servers="one=http://a", mcp_tokens='{"one":"secret"').tools, lambda _: None)
    assert "secret" not in str(error.value)
