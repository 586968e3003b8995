"""Ping endpoint: `GET /ping`, by which AgentCore Runtime learns whether chats run and a session must live on.

https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-http-protocol-contract.html
"""

import time

from winterbourne.chat.http.service import Handler, RequestContext, reply_json

__all__ = ["PingEndpoint"]


class PingEndpoint:
    """Answers probes with `Healthy`, or `HealthyBusy` while something runs, and since when that is so."""

    def __init__(self) -> None:
        self._running = 0
        self._changed_at = int(time.time())

    def counting(self, handler: Handler) -> Handler:
        """The handler; while it runs, probes are told so."""

        async def run(context: RequestContext) -> None:
            self._count(1)
            try:
                await handler(context)
            finally:
                self._count(-1)

        return run

    async def handle(self, context: RequestContext) -> None:
        """Send the status and the time of its last change, in seconds since the epoch."""
        status = "HealthyBusy" if self._running else "Healthy"
        await reply_json(context.stream, {"status": status, "time_of_last_update": self._changed_at})

    def _count(self, change: int) -> None:
        if 0 in {self._running, self._running + change}:
            self._changed_at = int(time.time())
        self._running += change
