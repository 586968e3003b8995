"""`/healthz`: the process answers. `/readyz`: it has what a chat needs, and says what that is."""

from winterbourne.chat.core.conversation import Tools
from winterbourne.chat.http.service import RequestContext, reply_json
from winterbourne.chat.providers.base import Provider

__all__ = ["HealthEndpoint"]


class HealthEndpoint:
    """The two probes. Neither calls the model: a probe must cost nothing.

    Args:
        model: Who would answer.
        tools: What the model would be told it may use.
    """

    def __init__(self, provider: Provider, tools: Tools) -> None:
        self._provider = provider
        self._tools = tools

    async def liveness(self, context: RequestContext) -> None:
        """200 as long as the process lives."""
        await reply_json(context.stream, {"status": "ok"})

    async def readiness(self, context: RequestContext) -> None:
        """200: an environment whose settings were wrong would not have started."""
        status = {"status": "ready", "model": self._provider.name, "tools": [tool.name for tool in self._tools.schemas]}
        await reply_json(context.stream, status)
