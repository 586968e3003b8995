"""The MCP servers that the settings name: their tools join the function's own.

They are listed side by side while the environment starts. One that is away then is asked again beside later
requests, never often and never for long: it must cost nobody the chat, nor a moment of it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import msgspec

from winterbourne.chat.errors import ChatError, SettingsError
from winterbourne.chat.infra import redaction
from winterbourne.chat.infra.secrets import Secret
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.mcp.client import McpServer

__all__ = ["McpServers"]

CONNECT_S: Final = 5.0
RETRY_S: Final = 60.0

_LOGGER: Final = logging.getLogger(__name__)


class McpServers:
    """All of them.

    Args:
        settings: MCP_SERVERS, and MCP_TOKENS or MCP_TOKENS_SECRET_ARN.
        add: Takes the tools of a server that was listed.
        now: Wall clock, seconds. The monotonic one may stand still while the environment is frozen.

    Raises:
        SettingsError: MCP_SERVERS or MCP_TOKENS cannot be read.
    """

    def __init__(
        self, settings: Settings, add: Callable[[Iterable[Tool]], None], now: Callable[[], float] = time.time
    ) -> None:
        tokens = _tokens(settings)
        self._away = [
            McpServer(name, url, token=lambda name=name: _token(tokens, name))  # type: ignore[misc]  # bound now
            for name, url in _named(settings.mcp_servers)
        ]
        self._add = add
        self._now = now
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """List those that were not listed yet; at most every RETRY_S seconds, for CONNECT_S seconds at most.

        The first time this waits for them. Later they are listed beside what the caller does next, and `close` ends
        that: nobody's answer begins later because a server is away.
        """
        is_first = self._asking is None
        if self._is_due():
            self._asked_at = self._now()
            self._asking = asyncio.create_task(self._list_all())
            if is_first:
                await self._asking

    async def close(self) -> None:
        """End what is under way."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    # Private methods

    def _is_due(self) -> bool:
        if not self._away or (self._asking is not None and not self._asking.done()):
            return False
        return not 0 <= self._now() - self._asked_at < RETRY_S

    async def _list_all(self) -> None:
        await asyncio.gather(*map(self._list, tuple(self._away)))

    async def _list(self, server: McpServer) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                self._add(await server.tools())
            self._away.remove(server)  # one whose listing was cancelled stays, and is asked again
        except (ChatError, TimeoutError) as error:
            _LOGGER.error("the tools of MCP server %s are missing for now: %s", server.name, error or "no answer")  # noqa: TRY400  (no bug of ours: the sentence says it all)
        except Exception:
            _LOGGER.exception("the tools of MCP server %s are missing for now", server.name)


def _named(servers: str) -> list[tuple[str, str]]:
    pairs = [entry.strip().partition("=") for entry in servers.split(",") if entry.strip()]
    for name, _, url in pairs:
        if not name.isidentifier() or not url.startswith(("http://", "https://")):
            raise SettingsError("MCP_SERVERS: expected name=url, several with commas")
    return [(name, url) for name, _, url in pairs]


def _tokens(settings: Settings) -> Callable[[], Awaitable[str]]:
    if settings.mcp_tokens_secret_arn:
        return Secret(settings.mcp_tokens_secret_arn, "MCP_TOKENS_SECRET_ARN").read
    _parsed(settings.mcp_tokens)

    async def given() -> str:
        return settings.mcp_tokens

    return given


async def _token(tokens: Callable[[], Awaitable[str]], name: str) -> str:
    return _parsed(await tokens()).get(name, "")


def _parsed(tokens: str) -> dict[str, str]:
    try:
        parsed = msgspec.json.decode(tokens or "{}", type=dict[str, str])
    except msgspec.DecodeError:
        raise SettingsError("MCP_TOKENS: expected a JSON object of names and tokens") from None
    redaction.register(*parsed.values())
    return parsed
