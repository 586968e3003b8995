"""MCP servers of the settings: their tools join the others, and an unavailable server does not break the chat."""

import asyncio
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clock import jumping
from winterbourne.chat.errors import SettingsError, ToolError, ToolUnavailable
from winterbourne.chat.infra import redaction
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.declaration import Tool, tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor
from winterbourne.chat.tool_runtime.mcp import servers
from winterbourne.chat.tool_runtime.mcp.client import CONNECT_TIMEOUT_S
from winterbourne.chat.tool_runtime.mcp.listing import DEFAULT_TTL_S, MAX_TTL_S, Listing
from winterbourne.chat.tool_runtime.mcp.servers import (
    FIRST_WAIT_S,
    KEEP_S,
    LOAD_TIMEOUT_S,
    MAX_KEPT_BYTES,
    RETRY_INTERVAL_S,
    McpServers,
)
from winterbourne.override import override


@tool
def s_two() -> str:
    """Be one of the function's own."""
    return "own"


@tool
def s_one() -> str:
    """Have a name that a server's tool has too."""
    return "own"


def listing_of(*names: str, is_whole: bool = True, is_private: bool = False) -> Listing:
    """What a server lists: tools of these names."""

    async def call(*_: object) -> str:
        return "called"

    listing = Listing("s", call)
    listing.add_page([{"name": name} for name in names])
    listing.is_whole, listing.is_private = is_whole, is_private
    return listing


class FlakyServer:
    """A server that is unavailable for a given number of requests."""

    failures_left: dict[str, int]
    listed: list[str]
    closed: list[str]
    offers: dict[str, Listing]

    def __init__(self, name: str, url: str, **_: object) -> None:
        self.name = name
        self.url = url
        self.is_modern = False

    def new_listing(self) -> Listing:
        return listing_of()

    async def list_tools(self) -> Listing:
        self.listed.append(self.name)
        if self.failures_left.get(self.name, 0):
            self.failures_left[self.name] -= 1
            raise ToolUnavailable("away")
        if self.name == "slow":
            await asyncio.sleep(CONNECT_TIMEOUT_S)
            raise ToolUnavailable("slow")
        if self.name == "late":
            await asyncio.sleep(FIRST_WAIT_S + 1)
        self.is_modern = True
        return self.offers.get(self.name) or listing_of(self.name)

    async def close(self) -> None:
        self.closed.append(self.name)


@pytest.fixture(autouse=True)
def flaky_servers(monkeypatch: pytest.MonkeyPatch) -> type[FlakyServer]:
    FlakyServer.failures_left, FlakyServer.listed, FlakyServer.closed, FlakyServer.offers = {}, [], [], {}
    monkeypatch.setattr(servers, "McpClient", FlakyServer)
    return FlakyServer


class KeptLists(dict[str, bytes]):
    """A store for lists."""

    async def read(self, key: str) -> bytes | None:
        return self.get(key)

    async def write(self, key: str, body: bytes, expires_at_s: int) -> None:
        assert expires_at_s >= KEEP_S
        self[key] = body

    async def claim(self, key: str, body: bytes, expires_at_s: int) -> bool:
        raise NotImplementedError

    async def release(self, key: str) -> None:
        raise NotImplementedError


def make_servers(kept: KeptLists | None = None, mcp_token: Any = None, **settings: str) -> McpServers:
    kept = KeptLists() if kept is None else kept
    return McpServers(Settings.of(**settings).tools, ToolExecutor(()), kept, mcp_token)


def test_the_tokens_of_servers_are_redacted() -> None:
    make_servers(mcp_servers="key=http://127.0.0.1", mcp_tokens='{"key":"token-of-one","pier":"token-of-pier"}')
    assert redaction.redact("token-of-one token-of-pier") == "[redacted] [redacted]"


class ServersFixture:
    """The configured servers, the executor they offer their tools to, what is kept, and a clock."""

    def __init__(self, servers: str, kept: KeptLists | None = None, *tools: Tool, **settings: str) -> None:
        self.executor = ToolExecutor(tools)
        self.now = 1_000.0
        self.kept = KeptLists() if kept is None else kept
        parts = Settings.of(mcp_servers=servers, **settings).tools
        self.servers = McpServers(parts, self.executor, self.kept, None, lambda: self.now)

    @property
    def tools(self) -> list[str]:
        return [schema.name for schema in self.executor.schemas]

    async def request_after(self, seconds: float) -> None:
        """Send a request so many seconds later, and wait for what it started."""
        self.now += seconds
        await self.servers.connect()
        await asyncio.sleep(CONNECT_TIMEOUT_S + 1)

    async def request_after_retry_interval(self) -> None:
        await self.request_after(RETRY_INTERVAL_S)


class TestConnecting:
    @jumping
    async def test_adds_the_tools_of_every_server(self) -> None:
        fixture = ServersFixture("one=http://a/mcp, two=https://b/mcp")
        await fixture.servers.connect()
        assert fixture.tools == ["s_one", "s_two"]

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
        assert fixture.tools == ["s_one"]

    @jumping
    async def test_goes_on_if_the_request_that_waits_for_it_is_cancelled(self) -> None:
        fixture = ServersFixture("late=http://a/mcp")
        connecting = asyncio.create_task(fixture.servers.connect())
        await asyncio.sleep(1)
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        await fixture.request_after_retry_interval()
        assert (fixture.tools, FlakyServer.listed) == (["s_late"], ["late"])

    @jumping
    async def test_is_retried_even_if_the_clock_was_set_back(self) -> None:
        FlakyServer.failures_left = {"one": 1}
        fixture = ServersFixture("one=http://a/mcp")
        await fixture.servers.connect()
        fixture.now -= 1000 + RETRY_INTERVAL_S
        await fixture.request_after_retry_interval()
        assert fixture.tools == ["s_one"]

    @jumping
    async def test_waits_for_a_slow_server_only_briefly(self) -> None:
        fixture, loop = ServersFixture("slow=http://a/mcp,one=http://b/mcp"), asyncio.get_running_loop()
        began = loop.time()
        await fixture.servers.connect()
        assert loop.time() - began == pytest.approx(FIRST_WAIT_S, abs=0.1)
        assert fixture.tools == ["s_one"]
        await fixture.servers.connect()
        assert loop.time() - began == pytest.approx(FIRST_WAIT_S, abs=0.1)
        await fixture.servers.close()

    @jumping
    async def test_adds_the_tools_of_a_late_server_when_they_come(self) -> None:
        fixture = ServersFixture("late=http://a/mcp")
        await fixture.servers.connect()
        assert fixture.tools == []
        await asyncio.sleep(1)
        assert fixture.tools == ["s_late"]

    @jumping
    async def test_says_why_tools_are_missing(self, caplog: pytest.LogCaptureFixture) -> None:
        FlakyServer.failures_left = {"one": 1}
        await ServersFixture("one=http://a/mcp").servers.connect()
        assert "the tools of MCP server one are missing for now, or old: away" in caplog.text

    @jumping
    async def test_leaves_out_a_tool_whose_name_is_taken(self, caplog: pytest.LogCaptureFixture) -> None:
        FlakyServer.offers = {"one": listing_of("one", "other")}
        fixture = ServersFixture("one=http://a", None, s_one)
        await fixture.servers.connect()
        assert fixture.tools == ["s_one", "s_other"]
        assert "tool s_one of MCP server one is left out: Two tools are named s_one." in caplog.text

    @jumping
    async def test_offers_tools_in_the_order_of_the_settings_whichever_server_was_first(self) -> None:
        fixture = ServersFixture("late=http://a, one=http://b", None, s_two)
        await fixture.servers.connect()
        assert fixture.tools == ["s_two", "s_one"]
        await asyncio.sleep(1)
        assert fixture.tools == ["s_two", "s_late", "s_one"]

    async def test_may_have_nothing_to_do(self) -> None:
        await ServersFixture(" , ").servers.connect()


class TestKeptLists:
    @jumping
    async def test_a_cold_start_asks_no_server(self) -> None:
        kept = KeptLists()
        await ServersFixture("one=http://a", kept).servers.connect()
        fixture = ServersFixture("one=http://a", kept)
        await fixture.servers.connect()
        assert (fixture.tools, FlakyServer.listed) == (["s_one"], ["one"])

    @jumping
    async def test_have_the_era_of_the_server(self) -> None:
        kept = KeptLists()
        await ServersFixture("one=http://a", kept).servers.connect()
        servers = ServersFixture("one=http://a", kept).servers
        await servers.connect()
        assert servers._servers[0].client.is_modern

    @jumping
    async def test_that_are_out_of_date_are_used_and_refreshed_beside_the_next_request(self) -> None:
        kept = KeptLists()
        await ServersFixture("one=http://a", kept).servers.connect()
        fixture = ServersFixture("one=http://a", kept)
        fixture.now += MAX_TTL_S
        FlakyServer.offers = {"one": listing_of("new")}
        await fixture.servers.connect()
        assert (fixture.tools, FlakyServer.listed) == (["s_one"], ["one"])
        await fixture.servers.connect()
        assert fixture.tools == ["s_one"]
        await asyncio.sleep(1)
        assert (fixture.tools, FlakyServer.listed) == (["s_new"], ["one", "one"])

    @pytest.mark.parametrize("settings", [{"mcp_tokens": '{"one":"other"}'}, {"mcp_tokens_secret_arn": "arn:aws:x"}])
    @jumping
    async def test_of_another_credential_are_not_used(self, settings: dict[str, str]) -> None:
        kept = KeptLists()
        await ServersFixture("one=http://a", kept).servers.connect()
        await ServersFixture("one=http://a", kept, **settings).servers.connect()
        assert FlakyServer.listed == ["one", "one"]

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"type":"0"}', b'{"type":"1","tools":[]}', b"\xff"])
    @jumping
    async def test_that_cannot_be_read_are_none(self, body: bytes) -> None:
        kept = KeptLists()
        await ServersFixture("one=http://a", kept).servers.connect()
        kept.update(dict.fromkeys(kept, body))
        fixture = ServersFixture("one=http://a", kept)
        await fixture.servers.connect()
        assert (fixture.tools, FlakyServer.listed) == (["s_one"], ["one", "one"])

    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(),
            lambda j: (
                st.lists(j)
                | st.dictionaries(st.sampled_from(["name", "inputSchema", "properties", "x-mcp-header", "type"]), j)
            ),
        )
    )
    def test_with_anything_in_them_break_nothing(self, definition: Any) -> None:
        listing = listing_of()
        listing.add_page([definition])
        listing.note_cache(definition if isinstance(definition, dict) else {})
        assert len(listing.tools()) <= 1

    @jumping
    async def test_of_a_store_that_hangs_are_waited_for_briefly(self) -> None:
        class Hanging(KeptLists):
            @override
            async def read(self, key: str) -> bytes | None:
                await asyncio.Event().wait()
                return None

        executor, loop = ToolExecutor(()), asyncio.get_running_loop()
        settings, began = Settings.of(mcp_servers="one=http://a").tools, asyncio.get_running_loop().time()
        await McpServers(settings, executor, Hanging()).connect()
        assert loop.time() - began == pytest.approx(LOAD_TIMEOUT_S, abs=0.1)
        assert [schema.name for schema in executor.schemas] == ["s_one"]

    @jumping
    async def test_are_small(self) -> None:
        FlakyServer.offers = {"one": listing_of("x" * MAX_KEPT_BYTES)}
        fixture = ServersFixture("one=http://a")
        await fixture.servers.connect()
        assert (len(fixture.tools), fixture.kept) == (1, {})

    @pytest.mark.parametrize(("is_private", "count"), [(True, 0), (False, 1)])
    @jumping
    async def test_made_with_a_token_of_the_users_are_kept_only_if_public(
        self, *, is_private: bool, count: int
    ) -> None:
        FlakyServer.offers = {"one": listing_of("one", is_private=is_private)}
        kept = KeptLists()
        await make_servers(kept, lambda *_: "t", mcp_servers="one=http://a").connect()
        assert len(kept) == count

    @jumping
    async def test_made_with_a_token_of_the_users_are_not_used_without_one(self) -> None:
        kept = KeptLists()
        await make_servers(kept, lambda *_: "t", mcp_servers="one=http://a").connect()
        await ServersFixture("one=http://a", kept).servers.connect()
        assert FlakyServer.listed == ["one", "one"]

    @jumping
    async def test_are_not_made_of_half_a_list(self) -> None:
        FlakyServer.offers = {"one": listing_of("one", is_whole=False)}
        fixture = ServersFixture("one=http://a")
        await fixture.servers.connect()
        assert (fixture.tools, fixture.kept) == (["s_one"], {})
        FlakyServer.offers = {"one": listing_of("one", "other")}
        await fixture.request_after_retry_interval()
        assert (fixture.tools, len(fixture.kept)) == (["s_one", "s_other"], 1)


class TestRefreshing:
    @jumping
    async def test_happens_when_the_list_is_out_of_date_and_not_before(self) -> None:
        fixture = ServersFixture("one=http://a")
        await fixture.servers.connect()
        await fixture.request_after(DEFAULT_TTL_S - 1)
        assert FlakyServer.listed == ["one"]
        FlakyServer.offers = {"one": listing_of("new")}
        await fixture.request_after(1)
        assert (fixture.tools, FlakyServer.listed) == (["s_new"], ["one", "one"])

    @jumping
    async def test_that_fails_keeps_the_tools_and_is_retried_soon(self) -> None:
        fixture = ServersFixture("one=http://a")
        await fixture.servers.connect()
        FlakyServer.failures_left = {"one": 1}
        await fixture.request_after(DEFAULT_TTL_S)
        assert fixture.tools == ["s_one"]
        await fixture.request_after_retry_interval()
        assert FlakyServer.listed == ["one"] * 3

    @jumping
    async def test_that_brings_half_a_list_keeps_the_tools(self) -> None:
        fixture = ServersFixture("one=http://a")
        await fixture.servers.connect()
        FlakyServer.offers = {"one": listing_of("new", is_whole=False)}
        await fixture.request_after(DEFAULT_TTL_S)
        assert fixture.tools == ["s_one"]

    @jumping
    async def test_that_brings_the_same_changes_nothing(self) -> None:
        fixture = ServersFixture("one=http://a")
        await fixture.servers.connect()
        before = fixture.executor._tools["s_one"]
        await fixture.request_after(DEFAULT_TTL_S)
        assert fixture.executor._tools["s_one"] is before


class TestTokens:
    """Of callers, from a function of the user's."""

    @staticmethod
    async def credential(mcp_token: Any, caller: str = "ada") -> tuple[str, str]:
        tokens = '{"one":"token-of-the-chat"}'
        return await make_servers(None, mcp_token, mcp_servers="one=http://a", mcp_tokens=tokens)._credential(
            "one", caller
        )

    async def test_may_come_from_a_plain_function_that_blocks_or_from_an_async_one(self) -> None:
        loop_thread = threading.current_thread()

        def plain(server: str, caller: str) -> str:
            assert threading.current_thread() is not loop_thread
            assert threading.current_thread().name == "tool mcp_token"  # not of those that the event loop needs itself
            return f"{server}-{caller}"

        async def quick(server: str, caller: str) -> str:
            return f"{server}-{caller}"

        assert await self.credential(plain) == await self.credential(quick) == ("one-ada", "ada")

    async def test_that_are_empty_are_not_replaced_by_the_chats_own(self) -> None:
        assert await self.credential(lambda *_: "") == ("", "ada")

    async def test_without_one_the_chats_own_is_sent(self) -> None:
        assert await self.credential(lambda *_: None) == ("token-of-the-chat", "")

    @pytest.mark.parametrize("token", ["a\r\nhost: x", "\xe9", 31337, b"t0ken", "t0ken "])
    async def test_that_are_none_are_told_to_nobody(self, token: Any, caplog: pytest.LogCaptureFixture) -> None:
        with pytest.raises(ToolError) as error:
            await self.credential(lambda *_: token)
        assert str(error.value) == "There is no token for the MCP server one; the operator must look at it."
        assert str(token) not in caplog.text

    async def test_a_function_that_fails_tells_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        def fail(*_: str) -> str:
            raise ValueError("t0ken")

        with pytest.raises(ToolError, match="There is no token"):
            await self.credential(fail)
        assert "ValueError" in caplog.text
        assert "t0ken" not in caplog.text

    @pytest.mark.filterwarnings("ignore:The executor did not finish")  # the clock jumps over that wait too
    @jumping
    async def test_a_function_that_hangs_is_waited_for_briefly(self) -> None:
        async def hang(*_: str) -> str:
            await asyncio.Event().wait()
            return ""

        with pytest.raises(ToolError, match="There is no token"):
            await self.credential(hang)


class TestReconnecting:
    @jumping
    async def test_delays_no_request(self) -> None:
        fixture, loop = ServersFixture("slow=http://a/mcp"), asyncio.get_running_loop()
        await fixture.request_after_retry_interval()
        began, fixture.now = loop.time(), fixture.now + 2 * RETRY_INTERVAL_S
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
    async def broken(_: FlakyServer) -> Listing:
        raise LookupError("never seen before")

    monkeypatch.setattr(FlakyServer, "list_tools", broken)
    await ServersFixture("one=http://a/mcp").servers.connect()
    assert "MCP server one" in caplog.text
    assert "never seen before" in caplog.text


@pytest.mark.parametrize("servers", ["http://a/mcp", "one=ftp://a", "a b=http://a"])
def test_a_list_that_cannot_be_read_is_an_init_error(servers: str) -> None:
    with pytest.raises(SettingsError, match=r"^MCP_SERVERS: "):
        make_servers(mcp_servers=servers)


def test_tokens_that_cannot_be_read_are_an_init_error_that_does_not_show_them() -> None:
    with pytest.raises(SettingsError, match=r"^MCP_TOKENS: ") as error:
        make_servers(mcp_servers="one=http://a", mcp_tokens='{"one":"secret"')
    assert "secret" not in str(error.value)
