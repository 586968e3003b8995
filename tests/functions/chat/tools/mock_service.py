"""Services that answer the HTTP tools in a test, in the place of the network."""

from collections.abc import Callable, Sequence

import httpx

from tests.chat.tool_keys import keys_of
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.context import HttpClients, ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool

__all__ = ["Service"]


class Service:
    """Answers requests, and keeps them.

    Args:
        answers: For each request in turn: what to answer, an error to raise, or a function of the request.
    """

    def __init__(self, *answers: httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]) -> None:
        self.requests: list[httpx.Request] = []
        self._answers: Sequence[httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]] = answers

    def context(self, tool: Tool | None = None, settings: Settings | None = None) -> ToolContext:
        """The context of a call of this tool, whose client asks this service."""
        client = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        keys = keys_of(tool, settings) if tool else None
        return ToolContext(keys=keys, clients=HttpClients(asynchronous=lambda: client))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = self._answers[len(self.requests)]
        self.requests.append(request)
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer
