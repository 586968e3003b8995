"""MCP client: tools of an MCP server over streamable HTTP, called through the shared connection pool.

Implements only the messages that tools need (`initialize`, `notifications/initialized`, `tools/list`, `tools/call`,
`notifications/cancelled`, incoming `notifications/progress`, and answers to the server's own requests), not the whole
protocol: the official package costs several times the cold start of everything else together. Independent of the tool
executor.
https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import httpx
import msgspec
import orjson

from winterbourne.chat.errors import ChatError, ToolError, ToolUnavailable
from winterbourne.chat.infra import http_pool
from winterbourne.chat.tool_runtime.call_group import cancel_and_wait
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.mcp.event_ids import EventIds
from winterbourne.chat.tool_runtime.mcp.listing import Listing
from winterbourne.chat.tool_runtime.mcp.messages import error_text, is_event_stream, read_error, read_messages
from winterbourne.chat.tool_runtime.mcp.results import tool_result
from winterbourne.chat.tool_runtime.service_errors import error_for_status, translate_errors

__all__ = ["CONNECT_TIMEOUT_S", "PROTOCOL_VERSION", "McpClient"]

PROTOCOL_VERSION: Final = "2025-11-25"

CONNECT_TIMEOUT_S: Final = 5.0
"""How long a server may take to list its tools, its session included."""

# Limits pagination (cursor), so that a server cannot keep us busy.
MAX_PAGES: Final = 50
MAX_REDIRECTS: Final = 3
MAX_RESUMPTIONS: Final = 5  # in a row, without a new event

# How long the answer to a request of the server may take, and how many may be on their way.
REPLY_TIMEOUT_S: Final = 5.0
MAX_REPLIES: Final = 16

# How long a cancelled call may take to notify the server.
CANCEL_NOTIFY_TIMEOUT_S: Final = 0.2

# A later 503 does not mean that the session is unknown: a gateway has given up waiting for a call that may have run.
PROMPT_REFUSAL_S: Final = 2.0

_METHOD_NOT_FOUND: Final = {"code": -32601, "message": "Method not found"}
_POST_HEADERS: Final = {"content-type": "application/json", "accept": "application/json, text/event-stream"}

_Message: TypeAlias = Mapping[str, Any]
_Headers: TypeAlias = Mapping[str, str]

_LOGGER: Final = logging.getLogger(__name__)


class _SessionLost(Exception):
    """The server no longer has our session. It did not process the request, which may be sent again in a new one."""


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
    _replies: set[asyncio.Task[None]] = msgspec.field(default_factory=set)

    @property
    def _service(self) -> str:
        return f"MCP server {self.name}"

    async def list_tools(self) -> list[Tool]:
        """List the server's tools, following its pagination (cursor), within CONNECT_TIMEOUT_S.

        Tools that cannot be used are left out, and so are those of pages after one that fails.

        Raises:
            ToolUnavailable: The server cannot be reached, is too slow or violates the protocol.
            ToolError: The server refuses the request.
        """
        listing = Listing(self.name, self._call_tool)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._read_pages(listing)
        except (ChatError, TimeoutError) as error:
            late = f"The {self._service} did not answer within {CONNECT_TIMEOUT_S:g} s."
            reason = error if isinstance(error, ChatError) else ToolUnavailable(late)
            if not listing.definitions:
                raise reason from None
            _LOGGER.warning("the tools of MCP server %s are not all listed: %s", self.name, reason)
        return listing.tools()

    async def close(self) -> None:
        """Cancel the answers to the server that are still being sent."""
        await cancel_and_wait(self._replies)

    async def _read_pages(self, listing: Listing) -> None:
        cursors = [""]
        while len(cursors) <= MAX_PAGES and not listing.is_full:
            page = await self._request("tools/list", {"cursor": cursors[-1]} if cursors[-1] else {})
            if not isinstance(definitions := page.get("tools") or [], list):
                raise ToolUnavailable(f"The {self._service} sent a list of tools that cannot be read.")
            listing.add_page(definitions)
            if not (cursor := page.get("nextCursor")):
                return
            if not isinstance(cursor, str) or cursor in cursors:
                raise ToolUnavailable(f"The {self._service} sent a cursor that leads nowhere.")
            cursors.append(cursor)
        if not listing.is_full:
            raise ToolUnavailable(f"The {self._service} lists more than {MAX_PAGES} pages of tools.")

    async def _call_tool(self, name: str, arguments: Any, context: ToolContext) -> Any:
        request_id = next(self._request_ids)
        params = {"name": name, "arguments": arguments, "_meta": {"progressToken": request_id}}
        try:
            return tool_result(await self._request("tools/call", params, request_id, context))
        except asyncio.CancelledError:
            await self._notify_cancelled(request_id)
            raise

    async def _request(
        self, method: str, params: Mapping[str, Any], request_id: int = 0, context: ToolContext | None = None
    ) -> dict[str, Any]:
        message = {"jsonrpc": "2.0", "id": request_id or next(self._request_ids), "method": method, "params": params}
        with translate_errors(self._service, TypeError, RecursionError):
            if (old_session := self._session_headers) is not None:
                try:
                    return await self._exchange(message, old_session, context, is_old_session=True)
                except _SessionLost:
                    if self._session_headers is old_session:  # else another call has already opened a new one
                        self._session_headers = None
            return await self._exchange(message, await self._ensure_session(), context)

    async def _ensure_session(self) -> dict[str, str]:
        """The headers of the open session; opens one if there is none."""
        async with self._session_lock:
            if self._session_headers is None:
                self._session_headers = await self._initialize()
            return self._session_headers

    async def _initialize(self) -> dict[str, str]:
        name, version = http_pool.USER_AGENT.split("/")
        client_info = {"name": name, "version": version}
        params = {"protocolVersion": PROTOCOL_VERSION, "capabilities": {}, "clientInfo": client_info}
        message = {"jsonrpc": "2.0", "id": next(self._request_ids), "method": "initialize", "params": params}
        async with self._post(message, {}) as response:
            if (result := await self._find_result(response, message, {}, EventIds(), None)) is None:
                raise self._ended_early()
            headers = {"mcp-protocol-version": str(result.get("protocolVersion", PROTOCOL_VERSION))}
            if session_id := response.headers.get("mcp-session-id"):
                headers["mcp-session-id"] = session_id
            if response.cookies:  # a load balancer finds the instance with the session by them
                headers["cookie"] = "; ".join(f"{name}={value}" for name, value in response.cookies.items())
        await self._send({"jsonrpc": "2.0", "method": "notifications/initialized", "params": {}}, headers)
        return headers

    async def _exchange(
        self, message: _Message, headers: _Headers, context: ToolContext | None, *, is_old_session: bool = False
    ) -> dict[str, Any]:
        """Send a request and return its result, resuming the event stream with it if that breaks or is closed early.

        Raises:
            _SessionLost: If `is_old_session`.
        """
        event_ids = EventIds()
        opened = self._post(message, headers, is_old_session=is_old_session)
        resumptions = 0  # in a row, without a new event
        while resumptions < MAX_RESUMPTIONS:
            last_id = event_ids.last
            try:
                async with opened as response:
                    result = await self._find_result(response, message, headers, event_ids, context)
                if result is not None:
                    return result
            except httpx.TransportError:
                if not event_ids.last:
                    raise
            if not event_ids.last:
                break
            resumptions = resumptions + 1 if event_ids.last == last_id else 0
            await asyncio.sleep(event_ids.retry_s)
            event_ids.reconnect()
            opened = self._resume(headers, event_ids.last)
        raise self._ended_early()

    async def _find_result(
        self, response: httpx.Response, sent: _Message, headers: _Headers, ids: EventIds, context: ToolContext | None
    ) -> dict[str, Any] | None:
        """Read a response until the result of the request that was sent; None if it ends before that.

        What has a method comes from the server, which counts the ids of its own requests.

        Raises:
            ToolError: The server answered with a JSON-RPC error.
            TypeError: The result is not an object.
        """
        async for message in read_messages(response, ids):
            answered_id, error = str(message.get("id")), message.get("error")  # some servers send it back as text
            if "method" in message:
                await self._handle_server_message(message, headers, context)
            elif error is not None and answered_id in (str(sent["id"]), "None"):
                raise ToolError(f"The tool's server refused the call: {error_text(error)}")
            elif answered_id == str(sent["id"]):
                if not isinstance(message.get("result"), dict):
                    raise TypeError("the result is not an object")
                return dict(message["result"])
        return None

    async def _handle_server_message(self, message: _Message, headers: _Headers, context: ToolContext | None) -> None:
        if isinstance(request_id := message.get("id"), str | int | float):
            outcome = {"result": {}} if message["method"] == "ping" else {"error": _METHOD_NOT_FOUND}
            self._reply({"jsonrpc": "2.0", "id": request_id, **outcome}, headers)
        elif message["method"] == "notifications/progress" and context is not None:
            await context.progress(message.get("params"))

    def _reply(self, message: _Message, headers: _Headers) -> None:
        """Answer a request of the server beside the call: one that takes no answers must not hold up its own result."""
        if len(self._replies) < MAX_REPLIES:
            reply = asyncio.create_task(self._try_to_send(message, headers, REPLY_TIMEOUT_S))
            self._replies.add(reply)
            reply.add_done_callback(self._replies.discard)

    async def _notify_cancelled(self, request_id: int) -> None:
        """Notify the server of a cancelled call: best effort and brief, since the cancelling task is waiting."""
        params = {"requestId": request_id, "reason": "no longer wanted"}
        message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
        await self._try_to_send(message, self._session_headers or {}, CANCEL_NOTIFY_TIMEOUT_S)

    async def _try_to_send(self, message: _Message, headers: _Headers, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError, httpx.HTTPError, ChatError):
            async with asyncio.timeout(timeout_s):
                await self._send(message, headers)

    async def _send(self, message: _Message, headers: _Headers) -> None:
        async with self._post(message, headers):
            pass

    @contextlib.asynccontextmanager
    async def _post(
        self, message: _Message, headers: _Headers, *, is_old_session: bool = False
    ) -> AsyncIterator[httpx.Response]:
        sent_at = asyncio.get_running_loop().time()
        async with self._open("POST", {**_POST_HEADERS, **headers}, orjson.dumps(message)) as response:
            if response.status_code >= 300:
                took_s = asyncio.get_running_loop().time() - sent_at
                if is_old_session and "mcp-session-id" in headers and _is_lost_session(response.status_code, took_s):
                    raise _SessionLost
                raise await self._refusal(response)
            yield response

    @contextlib.asynccontextmanager
    async def _resume(self, headers: _Headers, last_id: bytes) -> AsyncIterator[httpx.Response]:
        resumed = {"accept": "text/event-stream", **headers, "last-event-id": last_id.decode("latin-1")}
        async with self._open("GET", resumed) as response:
            if response.status_code != 200 or not is_event_stream(response):
                raise self._ended_early(f" and does not resume it (HTTP {response.status_code})")
            yield response

    @contextlib.asynccontextmanager
    async def _open(
        self, method: str, headers: _Headers, content: bytes | None = None
    ) -> AsyncIterator[httpx.Response]:
        """Send a request, with the token; follow redirects that stay within the origin and keep the method.

        Raises:
            ToolError: Another redirect, or too many of them.
        """
        authorization = {"authorization": f"Bearer {token}"} if self.token and (token := await self.token()) else {}
        client, url, sent = self.client(), httpx.URL(self.url), {**headers, **authorization}
        # No read timeout: a tool may take long, and its own timeout ends it.
        timeout = httpx.Timeout(client.timeout.connect, read=None)
        for _ in range(MAX_REDIRECTS + 1):
            async with client.stream(method, url, content=content, headers=sent, timeout=timeout) as response:
                if response.next_request is None:
                    yield response
                    return
                target = response.next_request.url
                if response.status_code not in {307, 308} or _origin(target) != _origin(url):
                    raise self._redirected(target, response.status_code)
            url = target
        raise ToolError(f"The {self._service} redirects more than {MAX_REDIRECTS} times.")

    async def _refusal(self, response: httpx.Response) -> ToolError:
        error = error_for_status(self._service, response.status_code, "token")
        is_explained = response.status_code < 500 and response.status_code not in {401, 403, 429}
        reason = await read_error(response) if is_explained else ""
        return ToolError(f"The {self._service} refused the request: {reason}") if reason else error

    def _redirected(self, target: httpx.URL, status: int) -> ToolError:
        """The error for a redirect that is not followed; a path or query might hold a secret."""
        where = f"to {_origin(target)} (HTTP {status}), which is not followed"
        return ToolError(f"The {self._service} redirects {where}; the operator must set its final address.")

    def _ended_early(self, why: str = "") -> ToolUnavailable:
        return ToolUnavailable(f"The {self._service} ended its answer before the result{why}.")


def _is_lost_session(status: int, took_s: float) -> bool:
    """Whether a status may mean that the session is lost, and that the request was not processed.

    A gateway also answers 503 if a call takes it too long; that call may have been processed.
    """
    return status in {400, 404, 410} or (status == 503 and took_s < PROMPT_REFUSAL_S)


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii')}"
