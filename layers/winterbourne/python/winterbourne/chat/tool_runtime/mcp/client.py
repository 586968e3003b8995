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

__all__ = ["PROTOCOL_VERSION", "McpClient"]

PROTOCOL_VERSION: Final = "2025-11-25"

# A server that lists more pages than this is not to be trusted with our memory.
MAX_PAGES: Final = 50
MAX_RESPONSE_BYTES: Final = 8 * 1024 * 1024

# How long a call that was cancelled may take to tell the server so.
CANCEL_NOTIFY_TIMEOUT_S: Final = 0.2

_INVALID_NAME_CHARS: Final = re.compile(r"[^a-zA-Z0-9_-]")


class _SessionExpired(Exception):
    """The server has forgotten our session; a new one is to be opened (404, see "Session Management")."""


async def _no_token() -> str:
    return ""


class McpClient:
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
        self._request_ids = itertools.count(1)
        self._session_headers: dict[str, str] | None = None
        self._session_lock = asyncio.Lock()

    async def list_tools(self) -> list[Tool]:
        """List what the server offers, page by page.

        Raises:
            ToolUnavailable: It cannot be reached or breaks the protocol.
            ToolError: It refuses us.
        """
        tools: list[Tool] = []
        cursor: dict[str, str] = {}
        for _ in range(MAX_PAGES):
            page = await self._request("tools/list", cursor)
            with self._translate_errors():
                tools += [self._make_tool(definition) for definition in page.get("tools", ())]
            if not page.get("nextCursor"):
                return tools
            cursor = {"cursor": page["nextCursor"]}
        raise ToolUnavailable(f"The MCP server {self.name} lists more than {MAX_PAGES} pages of tools.")

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
            options=self._options,
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
        with self._translate_errors():
            session_headers = await self._ensure_session()
            try:
                return await self._send_request(message, session_headers, context)
            except _SessionExpired:  # it did not see the request, so it may be sent again
                if self._session_headers is session_headers:  # else another call has opened a new one already
                    self._session_headers = None
                return await self._send_request(message, await self._ensure_session(), context)

    async def _ensure_session(self) -> dict[str, str]:
        """The headers of an open session."""
        async with self._session_lock:
            if self._session_headers is None:
                self._session_headers = await self._initialize()
            return self._session_headers

    async def _initialize(self) -> dict[str, str]:
        params = {
            "protocolVersion": PROTOCOL_VERSION,
            "capabilities": {},
            "clientInfo": {"name": "winterbourne", "version": "1"},
        }
        message = {"jsonrpc": "2.0", "id": next(self._request_ids), "method": "initialize", "params": params}
        async with self._post(message, {}) as response:
            result = await _read_result(response, message["id"], None)
            headers = {"mcp-protocol-version": result.get("protocolVersion", PROTOCOL_VERSION)}
            if session_id := response.headers.get("mcp-session-id"):
                headers["mcp-session-id"] = session_id
            if response.cookies:  # by which a load balancer finds the instance that has the session
                headers["cookie"] = "; ".join(f"{name}={value}" for name, value in response.cookies.items())
        await self._notify("notifications/initialized", {}, headers)
        return headers

    async def _send_request(
        self, message: Mapping[str, Any], headers: Mapping[str, str], context: ToolContext | None
    ) -> dict[str, Any]:
        async with self._post(message, headers) as response:
            return await _read_result(response, message["id"], context)

    async def _notify(self, method: str, params: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        async with self._post({"jsonrpc": "2.0", "method": method, "params": params}, headers):
            pass

    async def _notify_cancelled(self, request_id: int) -> None:
        """Best effort, and short: whoever cancelled us waits."""
        params = {"requestId": request_id, "reason": "no longer wanted"}
        with contextlib.suppress(TimeoutError, httpx.HTTPError, ChatError, _SessionExpired):
            async with asyncio.timeout(CANCEL_NOTIFY_TIMEOUT_S):
                await self._notify("notifications/cancelled", params, self._session_headers or {})

    @contextlib.asynccontextmanager
    async def _post(self, message: Mapping[str, Any], headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        request_headers = {
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            **headers,
        }
        if token := await self._token():
            request_headers["authorization"] = f"Bearer {token}"
        client = self._client()
        # A tool takes the time it takes; its own timeout ends it.
        timeout = httpx.Timeout(client.timeout.connect, read=None)
        body = orjson.dumps(message)
        async with client.stream("POST", self._url, content=body, headers=request_headers, timeout=timeout) as response:
            self._raise_for_status(response, in_session="mcp-session-id" in headers)
            yield response

    def _raise_for_status(self, response: httpx.Response, *, in_session: bool) -> None:
        status = response.status_code
        if status == 404 and in_session:
            raise _SessionExpired
        if status in {401, 403}:
            raise ToolError(f"The MCP server {self.name} does not accept our token; the operator must look at it.")
        if status == 429 or status >= 500:
            raise ToolUnavailable(f"The MCP server {self.name} is busy or broken (HTTP {status}).")
        if status >= 300:
            raise ToolError(f"The MCP server {self.name} refused the request (HTTP {status}).")

    @contextlib.contextmanager
    def _translate_errors(self) -> Any:
        """What can go wrong on the way, as one sentence for the model."""
        try:
            yield
        except _SessionExpired:
            raise ToolUnavailable(f"The MCP server {self.name} does not keep its sessions.") from None
        except httpx.TimeoutException:
            raise ToolUnavailable(f"The MCP server {self.name} did not answer in time.") from None
        except httpx.TransportError as error:
            raise ToolUnavailable(f"The MCP server {self.name} cannot be reached.") from error
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ToolUnavailable(f"The MCP server {self.name} sent an answer that cannot be read.") from error


async def _read_result(response: httpx.Response, request_id: object, context: ToolContext | None) -> dict[str, Any]:
    """The result of one request, from a JSON body or from the stream that ends with it.

    Raises:
        ToolError: The server answered with a JSON-RPC error.
        ToolUnavailable: It ended without an answer.
    """
    async for message in _read_messages(response):
        if message.get("method") == "notifications/progress" and context is not None:
            await context.progress(message["params"])
        elif message.get("id") == request_id and "error" in message:
            raise ToolError(f"The tool's server refused the call: {message['error'].get('message', 'no reason given')}")
        elif message.get("id") == request_id:
            result: dict[str, Any] = message["result"]
            return result
    raise ToolUnavailable("The tool's server ended its answer before the result.")


async def _read_messages(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        body = b"".join([chunk async for chunk in _read_bounded(response)])
        yield orjson.loads(body)
        return
    parser = SseParser(MAX_RESPONSE_BYTES)
    async for piece in _read_bounded(response):
        for payload in parser.feed(piece):
            if payload:  # servers begin a resumable stream with an empty event
                yield orjson.loads(payload)


async def _read_bounded(response: httpx.Response) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size > MAX_RESPONSE_BYTES:
            raise ToolUnavailable(f"The tool's server sent more than {MAX_RESPONSE_BYTES} bytes.")
        yield chunk


def _tool_result(result: Mapping[str, Any]) -> Any:
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


def _argument_validator(name: str, parameters: Mapping[str, Any]) -> Callable[[str], dict[str, Any]]:
    """Checks what can be checked without a JSON schema library; types are for the server, which has one."""
    required = parameters.get("required", ())
    properties = parameters.get("properties", {})
    is_closed = parameters.get("additionalProperties") is False

    def validate(text: str) -> dict[str, Any]:
        try:
            arguments = msgspec.json.decode(text or "{}", type=dict[str, Any])
            orjson.dumps({"params": {"arguments": arguments}})  # as they will be sent; it writes less than was read
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
    return ToolError(f"The arguments of {name} do not fit its schema: {reason}; mend that and call it again.")
