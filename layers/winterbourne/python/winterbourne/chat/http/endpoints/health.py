"""Health endpoint: the liveness probe `/healthz`, and the readiness probe `/readyz`, which names model and tools."""

from winterbourne.chat.core.conversation import Tools
from winterbourne.chat.core.provider import Provider
from winterbourne.chat.http.service import RequestContext, reply_json

__all__ = ["HealthEndpoint"]


class HealthEndpoint:
    """Answers liveness and readiness probes. Neither calls the model: a probe must cost nothing.

    Args:
        provider: The model provider whose name is reported.
        tools: The tools whose names are reported.
    """

    def __init__(self, provider: Provider, tools: Tools) -> None:
        self._provider = provider
        self._tools = tools

    async def liveness(self, context: RequestContext) -> None:
        """Send 200 as long as the process is running."""
        await reply_json(context.stream, {"status": "ok"})

    async def readiness(self, context: RequestContext) -> None:
        """Send 200: an environment with invalid settings would not have started."""
        status = {"status": "ready", "model": self._provider.name, "tools": [tool.name for tool in self._tools.schemas]}
        await reply_json(context.stream, status)
