"""MCP client: tools of an MCP server over streamable HTTP, called through the shared connection pool.

Implements only the messages that tools need (`initialize`, `notifications/initialized`, `tools/list`, `tools/call`,
`notifications/cancelled`, and incoming `notifications/progress`), not the whole protocol: the official package costs
several times the cold start of everything else together. Independent of the tool executor.
https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http
"""

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, Final, cast

import httpx
import msgspec
import orjson

from winterbourne.chat.errors import ChatError, ToolError, ToolUnavailable
from winterbourne.chat.infra import http_pool
from winterbourne.chat.infra.sse_parser import SseParser
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool, ToolOptions
from winterbourne.chat.tool_runtime.service_errors import error_for_status, translate_errors

__all__ = ["PROTOCOL_VERSION", "McpClient"]

PROTOCOL_VERSION: Final = "2025-11-25"

# Limits pagination (cursor), so that a server cannot use up our memory.
MAX_PAGES: Final = 50
MAX_RESPONSE_BYTES: Final = 8 * 1024 * 1024

# How long a cancelled call may take to notify the server.
CANCEL_NOTIFY_TIMEOUT_S: Final = 0.2

_POST_HEADERS: Final = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
_INVALID_NAME_CHARS: Final = re.compile(r"[^a-zA-Z0-9_-]")


class _SessionExpired(Exception):
    """The server no longer has our session (404); a new one must be opened (specification, "Session Management")."""


class McpClient(msgspec.Struct, eq=False):
    """Client of one MCP server. Its session is opened on first use, and again when the server no longer has it.

    Attributes:
        name: Prefix of the names of its tools, so that two servers never clash.
        url: The server's MCP endpoint.
        token: Returns the server's bearer token, or an empty string; None if no token is sent.
        client: Returns the shared HTTP client.
    """

    name: str
    url: str
    token: Callable[[], Awaitable[str]] | None = None
    client: Callable[[], httpx.AsyncClient] = http_pool.client
    _request_ids: Iterator[int] = msgspec.field(default_factory=lambda: itertools.count(1))
    _session_headers: dict[str, str] | None = None
    _session_lock: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)

    @property
    def _service(self) -> str:
        return f"MCP server {self.name}"

    async def list_tools(self) -> list[Tool]:
        """List the server's tools, following its pagination (cursor).

        Raises:
            ToolUnavailable: The server cannot be reached or violates the protocol.
            ToolError: The server refuses the request.
        """
        tools: list[Tool] = []
        cursor: dict[str, str] = {}
        for _ in range(MAX_PAGES):
            page = await self._request("tools/list", cursor)
            with translate_errors(self._service, KeyError, TypeError, AttributeError):
                tools += [self._make_tool(definition) for definition in page.get("tools", ())]
            if not page.get("nextCursor"):
                return tools
            cursor = {"cursor": page["nextCursor"]}
        raise ToolUnavailable(f"The {self._service} lists more than {MAX_PAGES} pages of tools.")

    def _make_tool(self, definition: Mapping[str, Any]) -> Tool:
        server_tool_name = definition["name"]
        name = _INVALID_NAME_CHARS.sub("_", f"{self.name}_{server_tool_name}")[:64]
        parameters = {"type": "object", **(definition.get("inputSchema") or {})}

        async def call(arguments: Any, context: ToolContext) -> Any:
            return await self._call_tool(server_tool_name, arguments, context)

        return Tool(
            name=name,
            description=definition.get("description") or definition.get("title") or server_tool_name,
            parameters=parameters,
            validate_arguments=_argument_validator(name, parameters),
            call=call,
            options=ToolOptions(breaker=f"mcp:{self.name}"),
        )

    async def _call_tool(self, name: str, arguments: Any, context: ToolContext) -> Any:
        request_id = next(self._request_ids)
        params = {"name": name, "arguments": arguments, "_meta": {"progressToken": request_id}}
        try:
            return _tool_result(await self._request("tools/call", params, request_id, context))
        except asyncio.CancelledError:
            await self._notify_cancelled(request_id)
            raise

    async def _request(
        self, method: str, params: Mapping[str, Any], request_id: int = 0, context: ToolContext | None = None
    ) -> dict[str, Any]:
        message = {"jsonrpc": "2.0", "id": request_id or next(self._request_ids), "method": method, "params": params}
        with translate_errors(self._service, KeyError, TypeError, AttributeError):
            for _ in range(2):  # the server did not process a request of an expired session, so it may be sent again
                session_headers = self._session_headers
                try:
                    session_headers = await self._ensure_session()
                    async with self._post(message, session_headers) as response:
                        return await _read_result(response, message["id"], context)
                except _SessionExpired:
                    if self._session_headers is session_headers:  # else another call has already opened a new one
                        self._session_headers = None
        raise ToolUnavailable(f"The {self._service} does not keep its sessions.")

    async def _ensure_session(self) -> dict[str, str]:
        """The headers of the open session; opens one if there is none."""
        async with self._session_lock:
            if self._session_headers is None:
                self._session_headers = await self._initialize()
            return self._session_headers

    async def _initialize(self) -> dict[str, str]:
        client_info = {"name": "winterbourne", "version": "1"}
        params = {"protocolVersion": PROTOCOL_VERSION, "capabilities": {}, "clientInfo": client_info}
        message = {"jsonrpc": "2.0", "id": next(self._request_ids), "method": "initialize", "params": params}
        async with self._post(message, {}) as response:
            result = await _read_result(response, message["id"], None)
            headers = {"mcp-protocol-version": result.get("protocolVersion", PROTOCOL_VERSION)}
            if session_id := response.headers.get("mcp-session-id"):
                headers["mcp-session-id"] = session_id
            if response.cookies:  # a load balancer finds the instance with the session by them
                headers["cookie"] = "; ".join(f"{name}={value}" for name, value in response.cookies.items())
        await self._notify("notifications/initialized", {}, headers)
        return headers

    async def _notify(self, method: str, params: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        async with self._post({"jsonrpc": "2.0", "method": method, "params": params}, headers):
            pass

    async def _notify_cancelled(self, request_id: int) -> None:
        """Notify the server of a cancelled call: best effort and brief, since the cancelling task is waiting."""
        params = {"requestId": request_id, "reason": "no longer wanted"}
        with contextlib.suppress(TimeoutError, httpx.HTTPError, ChatError, _SessionExpired):
            async with asyncio.timeout(CANCEL_NOTIFY_TIMEOUT_S):
                await self._notify("notifications/cancelled", params, self._session_headers or {})

    @contextlib.asynccontextmanager
    async def _post(self, message: Mapping[str, Any], headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        request_headers = {**_POST_HEADERS, **headers}
        if self.token and (token := await self.token()):
            request_headers["authorization"] = f"Bearer {token}"
        client = self.client()
        # No read timeout: a tool may take long, and its own timeout ends it.
        timeout = httpx.Timeout(client.timeout.connect, read=None)
        body = orjson.dumps(message)
        async with client.stream("POST", self.url, content=body, headers=request_headers, timeout=timeout) as response:
            if response.status_code == 404 and "mcp-session-id" in headers:
                raise _SessionExpired
            if response.status_code >= 300:
                raise error_for_status(self._service, response.status_code, "token")
            yield response


async def _read_result(response: httpx.Response, request_id: object, context: ToolContext | None) -> dict[str, Any]:
    """Read the result of one request, from a JSON body or from the event stream that ends with it.

    Raises:
        ToolError: The server answered with a JSON-RPC error.
        ToolUnavailable: The response ended without a result.
    """
    async for message in _read_messages(response):
        if message.get("method") == "notifications/progress" and context is not None:
            await context.progress(message["params"])
        elif message.get("id") == request_id and "error" in message:
            raise ToolError(f"The tool's server refused the call: {message['error'].get('message', 'no reason given')}")
        elif message.get("id") == request_id:
            return cast("dict[str, Any]", message["result"])
    raise ToolUnavailable("The tool's server ended its answer before the result.")


async def _read_messages(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        yield orjson.loads(b"".join([chunk async for chunk in _read_bounded(response)]))
        return
    parser = SseParser(MAX_RESPONSE_BYTES)
    async for chunk in _read_bounded(response):
        for payload in parser.feed(chunk):
            if payload:  # a resumable stream begins with an empty event
                yield orjson.loads(payload)


async def _read_bounded(response: httpx.Response) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size > MAX_RESPONSE_BYTES:
            raise ToolUnavailable(f"The tool's server sent more than {MAX_RESPONSE_BYTES} bytes.")
        yield chunk


def _tool_result(result: Mapping[str, Any]) -> Any:
    """The result for the model: the structured content if there is any, else the text, else the content parts.

    Raises:
        ToolError: The tool reported an error; the message is the tool's own.
    """
    parts = result.get("content", [])
    texts = [part["text"] for part in parts if part.get("type") == "text"]
    if result.get("isError"):
        raise ToolError("\n".join(texts) or "The tool failed and gave no reason.")
    if "structuredContent" in result:
        return result["structuredContent"]
    return "\n".join(texts) if len(texts) == len(parts) else parts


def _argument_validator(name: str, parameters: Mapping[str, Any]) -> Callable[[str], dict[str, Any]]:
    """Validate what needs no JSON Schema library; the server, which has one, checks the types."""
    required = parameters.get("required", ())
    properties = parameters.get("properties", {})
    is_closed = parameters.get("additionalProperties") is False

    def validate(text: str) -> dict[str, Any]:
        try:
            arguments = msgspec.json.decode(text or "{}", type=dict[str, Any])
            orjson.dumps({"params": {"arguments": arguments}})  # as they will be sent; orjson accepts less than msgspec
        except (msgspec.DecodeError, UnicodeEncodeError) as error:
            raise _argument_error(name, f"{error}, at `$`") from None
        except (orjson.JSONEncodeError, RecursionError):
            raise _argument_error(name, "they nest too deep, or an integer has more than 64 bits, at `$`") from None
        if missing := [field for field in required if field not in arguments]:
            raise _argument_error(name, f"the required field `{missing[0]}` is missing, at `$`")
        if is_closed and (unknown := [field for field in arguments if field not in properties]):
            raise _argument_error(name, f"there is no field `{unknown[0]}`, at `$.{unknown[0]}`")
        return arguments

    return validate


def _argument_error(name: str, reason: str) -> ToolError:
    return ToolError(f"The arguments of {name} do not fit its schema: {reason}; fix that and call it again.")
