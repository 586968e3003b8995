"""Health endpoint: the liveness probe `/healthz`, and the readiness probe `/readyz`, which names model and tools."""

import msgspec

from winterbourne.chat.core.provider import Provider
from winterbourne.chat.core.tools import Tools
from winterbourne.chat.http.service import RequestContext, reply_json

__all__ = ["HealthEndpoint"]


class HealthEndpoint(msgspec.Struct, frozen=True):
    """Answers liveness and readiness probes. Neither calls the model: a probe must cost nothing.

    Attributes:
        provider: The model provider whose name is reported.
        tools: The tools whose names are reported.
    """

    provider: Provider
    tools: Tools

    async def liveness(self, context: RequestContext) -> None:
        """Send 200 as long as the process is running."""
        await reply_json(context.stream, {"status": "ok"})

    async def readiness(self, context: RequestContext) -> None:
        """Send 200: an environment with invalid settings would not have started."""
        status = {"status": "ready", "model": self.provider.name, "tools": [tool.name for tool in self.tools.schemas]}
        await reply_json(context.stream, status)
