"""The MCP servers named in the settings: lists their tools and adds them to the function's own.

All servers are listed concurrently at cold start, which waits FIRST_WAIT_S at most; a slower one joins later. One
that is unavailable is retried in the background of later requests, at most every RETRY_INTERVAL_S seconds, so that it
neither breaks nor delays a chat.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from winterbourne.chat.errors import ChatError, InvalidToolDeclaration, SettingsError
from winterbourne.chat.infra import redaction
from winterbourne.chat.infra.secrets import Secret
from winterbourne.chat.settings import ToolSettings
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.mcp.client import McpClient

__all__ = ["McpServers"]

FIRST_WAIT_S: Final = 3.0
RETRY_INTERVAL_S: Final = 60.0

_LOGGER: Final = logging.getLogger(__name__)


class McpServers:
    """All MCP servers named in the settings.

    Args:
        settings: MCP_SERVERS, and MCP_TOKENS or MCP_TOKENS_SECRET_ARN.
        add_tool: Receives each tool of the servers that were listed.
        now: Wall clock, seconds. The monotonic clock may stop while the environment is frozen.

    Raises:
        SettingsError: MCP_SERVERS or MCP_TOKENS cannot be read.
    """

    def __init__(
        self, settings: ToolSettings, add_tool: Callable[[Tool], None], now: Callable[[], float] = time.time
    ) -> None:
        arn = settings.mcp_tokens_secret_arn
        self._secret = Secret(arn, "MCP_TOKENS_SECRET_ARN") if arn else None
        self._tokens = {} if arn else _parse_tokens(settings.mcp_tokens)
        servers = _parse_servers(settings.mcp_servers)
        self._clients = [McpClient(name, url, token=partial(self._token_for, name)) for name, url in servers]
        self._unlisted = self._clients.copy()
        self._add_tool = add_tool
        self._now = now
        self._last_attempt_at = float("-inf")
        self._listing: asyncio.Future[list[None]] | None = None

    async def connect(self) -> None:
        """List the servers not listed yet, at most every RETRY_INTERVAL_S.

        The first call waits for the listing, for FIRST_WAIT_S at most. Otherwise it runs in the background, so that an
        unavailable server delays no answer; `close` cancels it.
        """
        is_first = self._listing is None
        is_early = 0 <= self._now() - self._last_attempt_at < RETRY_INTERVAL_S
        if self._unlisted and (self._listing is None or self._listing.done()) and not is_early:
            self._last_attempt_at = self._now()
            self._listing = asyncio.gather(*map(self._list_tools_of, self._unlisted))
            if is_first:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FIRST_WAIT_S):
                        await asyncio.shield(self._listing)

    async def close(self) -> None:
        """Cancel a listing in progress, and what the clients are still sending."""
        if self._listing is not None:
            self._listing.cancel()
            await asyncio.gather(self._listing, return_exceptions=True)
        for client in self._clients:
            await client.close()

    async def _token_for(self, name: str) -> str:
        tokens = _parse_tokens(await self._secret.read()) if self._secret else self._tokens
        return tokens.get(name, "")

    async def _list_tools_of(self, client: McpClient) -> None:
        try:
            tools = await client.list_tools()
            self._unlisted.remove(client)  # one whose listing was cancelled stays and is retried
            for tool in tools:
                self._try_to_add(tool, client.name)
        except ChatError as error:
            _LOGGER.error("the tools of MCP server %s are missing for now: %s", client.name, error)  # noqa: TRY400 - not a bug of ours: the message is enough
        except Exception:
            _LOGGER.exception("the tools of MCP server %s are missing for now", client.name)

    def _try_to_add(self, tool: Tool, server: str) -> None:
        try:
            self._add_tool(tool)
        except InvalidToolDeclaration as error:
            _LOGGER.warning("tool %s of MCP server %s is left out: %s", tool.name, server, error)


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
