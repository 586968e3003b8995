"""`/healthz`: the process answers. `/readyz`: it has what a chat needs, and says what that is."""

from winterbourne.chat.core.conversation import Tools
from winterbourne.chat.http.service import Call, reply_json
from winterbourne.chat.providers.base import Model

__all__ = ["Probes"]


class Probes:
    """The two probes. Neither calls the model: a probe must cost nothing.

    Args:
        model: Who would answer.
        tools: What the model would be told it may use.
    """

    def __init__(self, model: Model, tools: Tools) -> None:
        self._model = model
        self._tools = tools

    async def health(self, call: Call) -> None:
        """200 as long as the process lives."""
        await reply_json(call.stream, {"status": "ok"})

    async def readiness(self, call: Call) -> None:
        """200: an environment whose settings were wrong would not have started."""
        ready = {"status": "ready", "model": self._model.name, "tools": [tool.name for tool in self._tools.schemas]}
        await reply_json(call.stream, ready)
