"""Health endpoint: the liveness probe `/healthz`, and the readiness probe `/readyz`, which tells if chats can run."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from winterbourne.chat.core.provider import Provider
from winterbourne.chat.core.tools import Tools
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.http.service import RequestContext, reply_json
from winterbourne.chat.infra.refreshing_cache import RefreshingCache

__all__ = ["CHECK_TIMEOUT_S", "KEPT_S", "Check", "HealthEndpoint"]

KEPT_S: Final = 5.0
"""How long the outcome of the checks is kept, in seconds: however many probes there are, they ask for it no oftener."""

CHECK_TIMEOUT_S: Final = 1.8
"""How long one check may take, in seconds; all run at once, and within the time that a `RefreshingCache` allows."""

Check: TypeAlias = Callable[[], Awaitable[object]]
"""Raises whatever says that a part cannot do its work."""

_LOGGER: Final = logging.getLogger(__name__)


class HealthEndpoint:
    """Answers liveness and readiness probes. Neither asks the model anything: a probe must cost nothing.

    Args:
        provider: The model provider whose name is reported.
        tools: The tools whose names are reported.
        checks: What chats need, by the names that callers are told.
    """

    def __init__(self, provider: Provider, tools: Tools, checks: Mapping[str, Check]) -> None:
        self._provider, self._tools, self._checks = provider, tools, checks
        self._failed = RefreshingCache("what /readyz tells", self._find_failed)

    async def liveness(self, context: RequestContext) -> None:
        """Send 200 as long as the process is running."""
        await reply_json(context.stream, {"status": "ok"})

    async def readiness(self, context: RequestContext) -> None:
        """Send 200 if chats can run.

        Raises:
            RequestRejected: 503: they cannot. It names the parts; why is in the log.
        """
        if failed := await self._failed.get(KEPT_S):
            message = f"not ready: {', '.join(failed)}"
            raise RequestRejected(503, "not_ready", message, {"retry-after": f"{KEPT_S:.0f}"})
        names = [tool.name for tool in self._tools.schemas]
        await reply_json(context.stream, {"status": "ready", "model": self._provider.name, "tools": names})

    async def _find_failed(self) -> list[str]:
        passed = await asyncio.gather(*(_passes(name, check) for name, check in self._checks.items()))
        return [name for name, has_passed in zip(self._checks, passed, strict=True) if not has_passed]


async def _passes(name: str, check: Check) -> bool:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await check()
    except Exception as error:  # boundary: a part may be anybody's
        _LOGGER.warning("not ready: %s", name, exc_info=error)
        return False
    return True
