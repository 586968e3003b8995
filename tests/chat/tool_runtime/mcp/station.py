"""A scripted MCP server with one tool, `look`, for the tests of the client; a test replaces its answers by method."""

from collections.abc import Callable
from typing import Any, TypeAlias

import httpx
import orjson

from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.mcp.client import McpClient

__all__ = ["LOOKED", "URL", "Answer", "Station", "event_stream", "result_of"]

URL = "http://pier.example/mcp"
LOOKED = {"content": [{"type": "text", "text": "a grey sea"}]}

Answer: TypeAlias = Callable[[httpx.Request, dict[str, Any]], Any]


class Station:
    """The server.

    Args:
        session: Whether it opens sessions, `s1`, `s2` and so on.
        modern: Whether it takes stateless requests, not sessions; the others are refused, and not recorded. None for
            both.
        answers: By method (`GET` for a request without a body): a function of the request and its message, which
            returns a response, or an awaitable of one.

    Attributes:
        seen: The methods of all messages so far; `answer` for those without one.
        requests: All requests so far.
        sent: Their messages.
    """

    def __init__(self, *, session: bool = True, modern: bool | None = False, **answers: Answer) -> None:
        self.seen: list[str] = []
        self.requests: list[httpx.Request] = []
        self.sent: list[dict[str, Any]] = []
        self._answers = {method.replace("__", "/"): answer for method, answer in answers.items()}
        self._session, self._modern = session, modern
        self._http = httpx.AsyncClient(transport=httpx.MockTransport(self._handle))
        self.client = McpClient("pier", URL, client=lambda: self._http)

    async def look(self) -> Any:
        """List the tools and call `look`."""
        tool = {tool.name: tool for tool in (await self.client.list_tools()).tools()}["pier_look"]
        return await tool.call({}, ToolContext())

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        message = orjson.loads(request.content) if request.content else {"method": request.method}
        if self._modern not in {None, "mcp-method" in request.headers}:
            return httpx.Response(400, json={"id": message.get("id"), "error": {"code": -32600, "message": "no"}})
        self.requests.append(request)
        self.sent.append(message)
        self.seen.append(method := message.get("method", "answer"))
        make_answer: Answer = self._answers.get(method, self._default)
        answer = make_answer(request, message)
        return answer if isinstance(answer, httpx.Response) else await answer

    def _default(self, request: httpx.Request, message: dict[str, Any]) -> httpx.Response:
        results: dict[str, dict[str, Any]] = {
            "initialize": {"protocolVersion": "2025-11-25"},
            "tools/list": {"tools": [{"name": "look"}]},
            "tools/call": LOOKED,
        }
        if (result := results.get(message.get("method", ""))) is None:
            return httpx.Response(202)
        is_opening = self._session and message["method"] == "initialize"
        headers = {"mcp-session-id": f"s{self.seen.count('initialize')}"} if is_opening else {}
        kind = {"resultType": "complete"} if "mcp-method" in request.headers else {}
        return httpx.Response(200, headers=headers, json=result_of(message, kind | result))


def result_of(message: dict[str, Any], result: Any = LOOKED) -> dict[str, Any]:
    """The JSON-RPC response to a message."""
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def event_stream(*events: bytes | dict[str, Any]) -> httpx.Response:
    """A response with events: messages, or raw bytes."""
    body = [event if isinstance(event, bytes) else b"data: " + orjson.dumps(event) + b"\n\n" for event in events]

    async def stream() -> Any:
        for chunk in body:
            yield chunk

    return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=stream())
