"""Tools of MCP servers over streamable HTTP, called through the shared pool.

Speaks the four messages that tools need (`initialize`, `notifications/initialized`, `tools/list`, `tools/call`, and
`notifications/progress` coming back), not the whole protocol: the official package costs several times the cold
start of everything else together. Knows nothing of the runner.
https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http
"""

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

import httpx
import msgspec
import orjson

from winterbourne.chat.errors import ChatError, ToolError, ToolUnavailable
from winterbourne.chat.infra import http_pool
from winterbourne.chat.infra.sse_parser import SseParser
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool, ToolOptions

__all__ = ["PROTOCOL_VERSION", "McpServer"]

PROTOCOL_VERSION: Final = "2025-11-25"

# A server that lists more pages than this is not to be trusted with our memory.
MAX_PAGES: Final = 50
MAX_BYTES: Final = 8 * 1024 * 1024

# How long a call that was cancelled may take to tell the server so.
FAREWELL_S: Final = 0.2

_NOT_IN_A_NAME: Final = re.compile(r"[^a-zA-Z0-9_-]")


class _SessionGone(Exception):
    """The server has forgotten our session; a new one is to be opened (404, see "Session Management")."""


async def _no_token() -> str:
    return ""


class McpServer:
    """One server. Its session is opened at first use and opened again when the server has forgotten it.

    Args:
        name: Goes before the names of its tools, so that two servers never clash.
        url: Of its MCP endpoint.
        token: Gives the bearer token for it, or an empty text.
        client: Gives the shared HTTP client.
        options: How its tools are run; a breaker of the server's own if they name none.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        token: Callable[[], Awaitable[str]] = _no_token,
        client: Callable[[], httpx.AsyncClient] = http_pool.client,
        options: ToolOptions | None = None,
    ) -> None:
        self.name = name
        self._url = url
        self._token = token
        self._client = client
        self._options = options or ToolOptions(breaker=f"mcp:{name}")
        self._ids = itertools.count(1)
        self._session: dict[str, str] | None = None
        self._opening = asyncio.Lock()

    async def tools(self) -> list[Tool]:
        """List what the server offers, page by page.

        Raises:
            ToolUnavailable: It cannot be reached or breaks the protocol.
            ToolError: It refuses us.
        """
        found: list[Tool] = []
        cursor: dict[str, str] = {}
        for _ in range(MAX_PAGES):
            page = await self._request("tools/list", cursor)
            with self._troubles_told():
                found += [self._tool(described) for described in page.get("tools", ())]
            if not page.get("nextCursor"):
                return found
            cursor = {"cursor": page["nextCursor"]}
        raise ToolUnavailable(f"The MCP server {self.name} lists more than {MAX_PAGES} pages of tools.")

    # Private methods

    def _tool(self, described: Mapping[str, Any]) -> Tool:
        theirs = described["name"]
        name = _NOT_IN_A_NAME.sub("_", f"{self.name}_{theirs}")[:64]
        parameters = {"type": "object", **(described.get("inputSchema") or {})}

        async def call(arguments: Any, context: ToolContext) -> Any:
            return await self._call(theirs, arguments, context)

        return Tool(
            name=name,
            description=described.get("description") or described.get("title") or theirs,
            parameters=parameters,
            read=_reader(name, parameters),
            call=call,
            options=self._options,
        )

    async def _call(self, name: str, arguments: Any, context: ToolContext) -> Any:
        request_id = next(self._ids)
        params = {"name": name, "arguments": arguments, "_meta": {"progressToken": request_id}}
        try:
            return _told(await self._request("tools/call", params, request_id, context))
        except asyncio.CancelledError:
            await self._say_cancelled(request_id)
            raise

    async def _request(
        self, method: str, params: Mapping[str, Any], request_id: int = 0, context: ToolContext | None = None
    ) -> dict[str, Any]:
        message = {"jsonrpc": "2.0", "id": request_id or next(self._ids), "method": method, "params": params}
        with self._troubles_told():
            session = await self._opened()
            try:
                return await self._exchange(message, session, context)
            except _SessionGone:  # it did not see the request, so it may be sent again
                if self._session is session:  # else another call has opened a new one already
                    self._session = None
                return await self._exchange(message, await self._opened(), context)

    async def _opened(self) -> dict[str, str]:
        """The headers of an open session."""
        async with self._opening:
            if self._session is None:
                self._session = await self._open()
            return self._session

    async def _open(self) -> dict[str, str]:
        offer = {
            "protocolVersion": PROTOCOL_VERSION,
            "capabilities": {},
            "clientInfo": {"name": "winterbourne", "version": "1"},
        }
        message = {"jsonrpc": "2.0", "id": next(self._ids), "method": "initialize", "params": offer}
        async with self._post(message, {}) as response:
            agreed = await _result_of(response, message["id"], None)
            headers = {"mcp-protocol-version": agreed.get("protocolVersion", PROTOCOL_VERSION)}
            if session_id := response.headers.get("mcp-session-id"):
                headers["mcp-session-id"] = session_id
            if response.cookies:  # by which a load balancer finds the instance that has the session
                headers["cookie"] = "; ".join(f"{name}={value}" for name, value in response.cookies.items())
        await self._notify("notifications/initialized", {}, headers)
        return headers

    async def _exchange(
        self, message: Mapping[str, Any], headers: Mapping[str, str], context: ToolContext | None
    ) -> dict[str, Any]:
        async with self._post(message, headers) as response:
            return await _result_of(response, message["id"], context)

    async def _notify(self, method: str, params: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        async with self._post({"jsonrpc": "2.0", "method": method, "params": params}, headers):
            pass

    async def _say_cancelled(self, request_id: int) -> None:
        """Best effort, and short: whoever cancelled us waits."""
        params = {"requestId": request_id, "reason": "no longer wanted"}
        with contextlib.suppress(TimeoutError, httpx.HTTPError, ChatError, _SessionGone):
            async with asyncio.timeout(FAREWELL_S):
                await self._notify("notifications/cancelled", params, self._session or {})

    @contextlib.asynccontextmanager
    async def _post(self, message: Mapping[str, Any], headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        sent = {"content-type": "application/json", "accept": "application/json, text/event-stream", **headers}
        if token := await self._token():
            sent["authorization"] = f"Bearer {token}"
        client = self._client()
        # A tool takes the time it takes; its own timeout ends it.
        timeout = httpx.Timeout(client.timeout.connect, read=None)
        body = orjson.dumps(message)
        async with client.stream("POST", self._url, content=body, headers=sent, timeout=timeout) as response:
            self._judge(response, in_session="mcp-session-id" in headers)
            yield response

    def _judge(self, response: httpx.Response, *, in_session: bool) -> None:
        status = response.status_code
        if status == 404 and in_session:
            raise _SessionGone
        if status in {401, 403}:
            raise ToolError(f"The MCP server {self.name} does not accept our token; the operator must look at it.")
        if status == 429 or status >= 500:
            raise ToolUnavailable(f"The MCP server {self.name} is busy or broken (HTTP {status}).")
        if status >= 300:
            raise ToolError(f"The MCP server {self.name} refused the request (HTTP {status}).")

    @contextlib.contextmanager
    def _troubles_told(self) -> Any:
        """What can go wrong on the way, as one sentence for the model."""
        try:
            yield
        except _SessionGone:
            raise ToolUnavailable(f"The MCP server {self.name} does not keep its sessions.") from None
        except httpx.TimeoutException:
            raise ToolUnavailable(f"The MCP server {self.name} did not answer in time.") from None
        except httpx.TransportError as error:
            raise ToolUnavailable(f"The MCP server {self.name} cannot be reached.") from error
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ToolUnavailable(f"The MCP server {self.name} sent an answer that cannot be read.") from error


# Private functions


async def _result_of(response: httpx.Response, request_id: object, context: ToolContext | None) -> dict[str, Any]:
    """The result of one request, from a JSON body or from the stream that ends with it.

    Raises:
        ToolError: The server answered with a JSON-RPC error.
        ToolUnavailable: It ended without an answer.
    """
    async for message in _messages(response):
        if message.get("method") == "notifications/progress" and context is not None:
            await context.progress(message["params"])
        elif message.get("id") == request_id and "error" in message:
            raise ToolError(f"The tool's server refused the call: {message['error'].get('message', 'no reason given')}")
        elif message.get("id") == request_id:
            result: dict[str, Any] = message["result"]
            return result
    raise ToolUnavailable("The tool's server ended its answer before the result.")


async def _messages(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        body = b"".join([piece async for piece in _bounded(response)])
        yield orjson.loads(body)
        return
    parser = SseParser(MAX_BYTES)
    async for piece in _bounded(response):
        for payload in parser.feed(piece):
            if payload:  # servers begin a resumable stream with an empty event
                yield orjson.loads(payload)


async def _bounded(response: httpx.Response) -> AsyncIterator[bytes]:
    size = 0
    async for piece in response.aiter_bytes():
        size += len(piece)
        if size > MAX_BYTES:
            raise ToolUnavailable(f"The tool's server sent more than {MAX_BYTES} bytes.")
        yield piece


def _told(result: Mapping[str, Any]) -> Any:
    """What the model is told: the structured result where there is one, else the text, else the parts themselves.

    Raises:
        ToolError: The tool says that it failed, in its own words.
    """
    parts = result.get("content", [])
    texts = [part["text"] for part in parts if part.get("type") == "text"]
    if result.get("isError"):
        raise ToolError("\n".join(texts) or "The tool failed and gave no reason.")
    if "structuredContent" in result:
        return result["structuredContent"]
    return "\n".join(texts) if len(texts) == len(parts) else parts


def _reader(name: str, parameters: Mapping[str, Any]) -> Callable[[str], dict[str, Any]]:
    """Checks what can be checked without a JSON schema library; types are for the server, which has one."""
    required = parameters.get("required", ())
    known = parameters.get("properties", {})
    is_closed = parameters.get("additionalProperties") is False

    def read(text: str) -> dict[str, Any]:
        try:
            arguments = msgspec.json.decode(text or "{}", type=dict[str, Any])
            orjson.dumps({"params": {"arguments": arguments}})  # as they will be sent; it writes less than was read
        except (msgspec.DecodeError, UnicodeEncodeError) as error:
            raise _unfit(name, f"{error}, at `$`") from None
        except (orjson.JSONEncodeError, RecursionError):
            raise _unfit(name, "they nest too deep, or an integer has more than 64 bits, at `$`") from None
        if missing := [field for field in required if field not in arguments]:
            raise _unfit(name, f"the required field `{missing[0]}` is missing, at `$`")
        if is_closed and (unknown := [field for field in arguments if field not in known]):
            raise _unfit(name, f"there is no field `{unknown[0]}`, at `$.{unknown[0]}`")
        return arguments

    return read


def _unfit(name: str, reason: str) -> ToolError:
    return ToolError(f"The arguments of {name} do not fit its schema: {reason}; mend that and call it again.")
