"""The MCP servers named in the settings: their tools beside the function's own, listed anew now and then.

Lists are kept in the store. An environment takes what is kept and asks no server while it starts; a list that is out of
date is refreshed beside a request. Without a kept list the start waits for the servers, FIRST_WAIT_S at most, and a
slower one joins later. One that is unavailable is retried beside later requests, so that it neither breaks nor delays
a chat.
"""

import asyncio
import hashlib
import inspect
import logging
import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec

from winterbourne.chat.errors import ChatError, InvalidToolDeclaration, SettingsError, ToolError
from winterbourne.chat.infra import redaction
from winterbourne.chat.infra.secrets import Secret
from winterbourne.chat.settings import ToolSettings
from winterbourne.chat.tool_runtime.call import CallRecords
from winterbourne.chat.tool_runtime.call_group import cancel_and_wait
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor
from winterbourne.chat.tool_runtime.mcp.client import Credential, McpClient
from winterbourne.chat.tool_runtime.mcp.listing import Listing

__all__ = ["McpServers", "McpToken"]

FIRST_WAIT_S: Final = 3.0
LOAD_TIMEOUT_S: Final = 1.0
RETRY_INTERVAL_S: Final = 60.0
TOKEN_TIMEOUT_S: Final = 5.0

KEEP_S: Final = 7 * 86_400
MAX_KEPT_BYTES: Final = 340_000

McpToken: TypeAlias = Callable[[str, str], "str | Awaitable[str | None] | None"]
"""A function of a server's name and a caller's id, async or not, that returns a bearer token or None."""

_TOKEN: Final = re.compile("[!-~]*")  # what is refused as a header would be in the error's text, and so in the log
_LOGGER: Final = logging.getLogger(__name__)


class _KeptList(msgspec.Struct, frozen=True, tag="1"):
    """A list in the store, in this version of its form."""

    listed_at: float
    ttl_s: float
    is_modern: bool
    tools: list[dict[str, Any]]


class _Server(msgspec.Struct, eq=False):
    """A server, its tools, and since when and how long nothing has to be asked of it."""

    client: McpClient
    key: str
    listing: Listing | None = None
    tools: list[Tool] = []
    asked_at: float = 0.0
    rest_s: float = 0.0
    task: asyncio.Task[None] | None = None


class McpServers(msgspec.Struct, eq=False, dict=True):
    """All MCP servers named in the settings.

    Attributes:
        settings: MCP_SERVERS, and MCP_TOKENS or MCP_TOKENS_SECRET_ARN.
        executor: Gets the tools of the servers, in the order of the settings.
        records: Keeps the lists.
        mcp_token: Supplies tokens for callers; the caller is empty when tools are listed. None for none.
        now: Wall clock, seconds. The monotonic clock may stop while the environment is frozen.

    Raises:
        SettingsError: MCP_SERVERS or MCP_TOKENS cannot be read.
    """

    settings: ToolSettings
    executor: ToolExecutor
    records: CallRecords
    mcp_token: McpToken | None = None
    now: Callable[[], float] = time.time
    _offered: set[str] = set()
    _has_started: bool = False

    __repr__ = object.__repr__  # without the secrets in the settings

    def __post_init__(self) -> None:
        """Read the settings; no server is asked yet."""
        arn = self.settings.mcp_tokens_secret_arn
        self._secret = Secret(arn, "MCP_TOKENS_SECRET_ARN") if arn else None
        self._tokens = {} if arn else _parse_tokens(self.settings.mcp_tokens)
        self._servers = [self._server(name, url) for name, url in _parse_servers(self.settings.mcp_servers)]

    def _server(self, name: str, url: str) -> _Server:
        token = self.settings.mcp_tokens_secret_arn or self._tokens.get(name)
        client = McpClient(name, url, authorize=partial(self._credential, name))
        return _Server(client, _key(name, url, token, bool(self.mcp_token)))

    async def connect(self) -> None:
        """Take the kept lists and list the other servers; later, list those anew whose list is out of date.

        The first call waits for that, for FIRST_WAIT_S at most. Otherwise it runs in the background, so that an
        unavailable server delays no answer; `close` cancels it.
        """
        refresh = self._refresh if self._has_started else self._load_or_refresh
        is_first, self._has_started = not self._has_started, True
        for server in self._servers:
            is_due = not 0 <= self.now() - server.asked_at < server.rest_s
            if is_due and (server.task is None or server.task.done()):
                server.asked_at = self.now()
                server.task = asyncio.create_task(refresh(server))
        if is_first and self._servers:
            await asyncio.wait([server.task for server in self._servers if server.task], timeout=FIRST_WAIT_S)

    async def close(self) -> None:
        """Cancel listings in progress, and what the clients are still sending."""
        await cancel_and_wait([server.task for server in self._servers if server.task])
        for server in self._servers:
            await server.client.close()

    async def _credential(self, name: str, caller: str) -> Credential:
        if self.mcp_token and (token := await self._ask_for_token(self.mcp_token, name, caller)) is not None:
            return token, caller
        tokens = _parse_tokens(await self._secret.read()) if self._secret else self._tokens
        return tokens.get(name, ""), ""

    async def _ask_for_token(self, mcp_token: McpToken, name: str, caller: str) -> str | None:
        """The token that a function of the user's supplies, which may block.

        Raises:
            ToolError: It fails, or what it returns is no token; nothing of that is told.
        """
        try:
            async with asyncio.timeout(TOKEN_TIMEOUT_S):
                ask = partial(mcp_token, name, caller)
                is_async = inspect.iscoroutinefunction(mcp_token)
                supplied = ask() if is_async else await self.executor.threads.run(ask, "mcp_token")
                token = await supplied if inspect.isawaitable(supplied) else supplied
            if token is None or _TOKEN.fullmatch(token):
                return token
            why = "it returned no token"
        except Exception as error:  # noqa: BLE001 - boundary: a function of the user's
            why = type(error).__name__  # its text may hold a token
        _LOGGER.error("mcp_token failed for MCP server %s: %s", name, why)
        raise ToolError(f"There is no token for the MCP server {name}; the operator must look at it.")

    async def _load_or_refresh(self, server: _Server) -> None:
        if not await self._load(server):
            await self._refresh(server)

    async def _load(self, server: _Server) -> bool:
        """Offer the tools of the kept list, if there is one; another version of it is none."""
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_S):
                body = await self.records.read(server.key)
            kept = msgspec.json.decode(body or b"", type=_KeptList)
        except (ChatError, TimeoutError, msgspec.DecodeError):
            return False
        listing = server.client.new_listing()
        listing.add_page(kept.tools)
        server.client.is_modern = kept.is_modern
        server.asked_at, server.rest_s = kept.listed_at, kept.ttl_s
        self._take(server, listing)
        return True

    async def _refresh(self, server: _Server) -> None:
        server.rest_s = RETRY_INTERVAL_S
        name = server.client.name
        try:
            listing = await server.client.list_tools()
            if listing.is_whole or server.listing is None:
                self._take(server, listing)
            if listing.is_whole:
                server.rest_s = listing.ttl_s
                await self._keep(server, listing)
        except ChatError as error:
            _LOGGER.error("the tools of MCP server %s are missing for now, or old: %s", name, error)  # noqa: TRY400 - not a bug of ours: the message is enough
        except Exception:
            _LOGGER.exception("the tools of MCP server %s are missing for now, or old", name)

    def _take(self, server: _Server, listing: Listing) -> None:
        """Offer what was listed in place of what was before, in the same order whichever server was first."""
        if server.listing and server.listing.definitions == listing.definitions:
            return
        server.listing, server.tools = listing, listing.tools()
        self.executor.remove(self._offered)
        self._offered.clear()
        for each in self._servers:
            for tool in each.tools:
                try:
                    self.executor.add(tool)
                    self._offered.add(tool.name)
                except InvalidToolDeclaration as error:
                    _LOGGER.warning("tool %s of MCP server %s is left out: %s", tool.name, each.client.name, error)

    async def _keep(self, server: _Server, listing: Listing) -> None:
        """Keep a list. One that was made with a token of `mcp_token` may not be what others would get."""
        tools = list(listing.definitions.values())
        kept = _KeptList(self.now(), listing.ttl_s, server.client.is_modern, tools)
        body = msgspec.json.encode(kept)
        if len(body) <= MAX_KEPT_BYTES and not (self.mcp_token and listing.is_private):
            await self.records.write(server.key, body, int(self.now()) + KEEP_S)


def _key(*whose: object) -> str:
    """Of a list that is another one where anything of this is another."""
    return f"mcp {hashlib.sha256(repr(whose).encode()).hexdigest()}"


def _parse_servers(servers: str) -> list[tuple[str, str]]:
    pairs = [entry.strip().partition("=") for entry in servers.split(",") if entry.strip()]
    for name, _, url in pairs:
        if not name.isidentifier() or not url.startswith(("http://", "https://")):
            raise SettingsError("MCP_SERVERS: expected name=url, several separated by commas")
    return [(name, url) for name, _, url in pairs]


def _parse_tokens(tokens: str) -> dict[str, str]:
    try:
        parsed = msgspec.json.decode(tokens or "{}", type=dict[str, str])
    except msgspec.DecodeError:
        raise SettingsError("MCP_TOKENS: expected a JSON object of names and tokens") from None
    redaction.register(*parsed.values())
    return parsed
