"""A mock HTTP service for the tests of the tools that call one."""

from collections.abc import Callable, Mapping, Sequence

import httpx

from tests.chat.tool_keys import keys_of
from winterbourne.chat.tool_runtime.context import HttpClients, ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool

__all__ = ["Service"]


class Service:
    """Responds to requests, and records them.

    Args:
        responses: For each request in turn: the response, an error to raise, or a function of the request.
    """

    def __init__(self, *responses: httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]) -> None:
        self.requests: list[httpx.Request] = []
        self._responses: Sequence[httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]] = responses

    def context(self, tool: Tool | None = None, keys: Mapping[str, str] | None = None) -> ToolContext:
        """The context of a call of this tool, whose HTTP client calls this service."""
        return ToolContext(keys=keys_of(tool, keys or {}) if tool else None, clients=self.clients)

    @property
    def clients(self) -> HttpClients:
        """HTTP clients that call this service."""
        client = httpx.AsyncClient(transport=httpx.MockTransport(self._respond))
        return HttpClients(asynchronous=lambda: client)

    def _respond(self, request: httpx.Request) -> httpx.Response:
        response = self._responses[len(self.requests)]
        self.requests.append(request)
        if isinstance(response, Exception):
            raise response
        return response(request) if callable(response) else response
