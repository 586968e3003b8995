"""MCP client: tools of an MCP server over streamable HTTP, called through the shared connection pool.

Speaks both eras of the protocol: stateless requests (2026-07-28), and before that sessions. Which one a server wants
shows when its tools are listed, and is known from then on, so that a call is one request.

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
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
import orjson
from msgspec.structs import replace

from winterbourne.chat.errors import ChatError, ToolError, ToolUnavailable
from winterbourne.chat.http_library import httpx
from winterbourne.chat.infra import http_pool
from winterbourne.chat.infra.tracing import SPAN, W3C_HEADERS
from winterbourne.chat.tool_runtime.call_group import cancel_and_wait
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.mcp import stateless
from winterbourne.chat.tool_runtime.mcp.event_ids import EventIds
from winterbourne.chat.tool_runtime.mcp.listing import Listing
from winterbourne.chat.tool_runtime.mcp.messages import (
    error_code,
    error_text,
    is_event_stream,
    read_error,
    read_messages,
)
from winterbourne.chat.tool_runtime.mcp.results import tool_result
from winterbourne.chat.tool_runtime.service_errors import error_for_status, translate_errors

if TYPE_CHECKING:
    from winterbourne.chat.infra.spans import Span

__all__ = ["CONNECT_TIMEOUT_S", "PROTOCOL_VERSION", "Credential", "McpClient"]

PROTOCOL_VERSION: Final = "2025-11-25"
"""The newest version with sessions."""

CONNECT_TIMEOUT_S: Final = 5.0
"""How long a server may take to list its tools, its session included."""

# Limits pagination (cursor), so that a server cannot keep us busy.
MAX_PAGES: Final = 50
MAX_REDIRECTS: Final = 3
MAX_RESUMPTIONS: Final = 5  # in a row, without a new event

MAX_SESSIONS: Final = 100  # of callers with tokens of their own
MAX_ROUNDS: Final = 10  # of a call that the server wants to be asked for again

# How long the answer to a request of the server may take, and how many may be on their way.
REPLY_TIMEOUT_S: Final = 5.0
MAX_REPLIES: Final = 16

# How long a cancelled call may take to notify the server.
CANCEL_NOTIFY_TIMEOUT_S: Final = 0.2

# A later 503 does not mean that the session is unknown: a gateway has given up waiting for a call that may have run.
PROMPT_REFUSAL_S: Final = 2.0

_METHOD_NOT_FOUND: Final = {"code": -32601, "message": "Method not found"}
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_POST_HEADERS: Final = {"content-type": "application/json", "accept": "application/json, text/event-stream"}

_NOT_PROCESSED: Final = frozenset({400, 404, 405, 406, 410})
_MODERN_REFUSALS: Final = frozenset({-32602, -32020, -32021})  # with which no other era speaks

Credential: TypeAlias = tuple[str, str]
"""A bearer token, empty for none, and the caller that it belongs to, empty if it is the chat's own."""

_Message: TypeAlias = Mapping[str, Any]
_Headers: TypeAlias = Mapping[str, str]

_LOGGER: Final = logging.getLogger(__name__)


class _SessionLost(Exception):
    """The server no longer has our session. It did not process the request, which may be sent again in a new one."""


class _Refused(ToolError):
    """The server refuses a request.

    Args:
        message: What the model is told.
        http_status: The status of the response.
        rpc_code: The code of the JSON-RPC error in it; 0 for none.

    Attributes:
        is_not_understood: Whether the server does not speak so, if the request was a stateless one.
    """

    def __init__(self, message: str, http_status: int, rpc_code: int) -> None:
        super().__init__(message)
        self.is_not_understood = http_status in _NOT_PROCESSED and rpc_code not in _MODERN_REFUSALS


class _OtherEra(ToolError):
    """The server does not speak the protocol of this era. It did not process the request."""


class _Session(msgspec.Struct, eq=False):
    headers: dict[str, str] | None = None
    lock: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)


class _Request(msgspec.Struct, frozen=True):
    """A request, and what it is sent with.

    Attributes:
        headers: At first those that repeat arguments; then all that it has in the era in which it is sent.
    """

    message: _Message
    headers: _Headers
    credential: Credential
    context: ToolContext | None = None

    @property
    def is_probe(self) -> bool:
        """Whether it shows the server's era: listing has no side effects."""
        return self.message["method"] == "tools/list" and "cursor" not in self.message["params"]


class McpClient(msgspec.Struct, eq=False):
    """Client of one MCP server. A session is opened on first use, and again when the server no longer has it.

    Attributes:
        name: Prefix of the names of its tools, so that two servers never clash.
        url: The server's MCP endpoint.
        authorize: Returns the credential of a caller; an empty id is for what the chat does by itself, such as listing.
        client: Returns the shared HTTP client.
        is_modern: Whether the server takes stateless requests, as far as is known.
    """

    name: str
    url: str
    authorize: Callable[[str], Awaitable[Credential]] | None = None
    client: Callable[[], httpx.AsyncClient] = http_pool.client
    is_modern: bool = False
    _request_ids: Iterator[int] = msgspec.field(default_factory=lambda: itertools.count(1))
    _sessions: dict[Credential, _Session] = msgspec.field(default_factory=dict)
    _replies: set[asyncio.Task[None]] = msgspec.field(default_factory=set)

    @property
    def _service(self) -> str:
        return f"MCP server {self.name}"

    async def list_tools(self) -> Listing:
        """List the server's tools, following its pagination (cursor), within CONNECT_TIMEOUT_S.

        Tools that cannot be used are left out, and so are those of pages after one that fails.

        Returns:
            The listing; it is not whole if a page has failed.

        Raises:
            ToolUnavailable: The server cannot be reached, is too slow or violates the protocol.
            ToolError: The server refuses the request.
        """
        listing = self.new_listing()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._read_pages(listing)
        except (ChatError, TimeoutError) as error:
            late = f"The {self._service} did not answer within {CONNECT_TIMEOUT_S:g} s."
            reason = error if isinstance(error, ChatError) else ToolUnavailable(late)
            if not listing.definitions:
                raise reason from None
            listing.is_whole = False
            _LOGGER.warning("the tools of MCP server %s are not all listed: %s", self.name, reason)
        return listing

    def new_listing(self) -> Listing:
        """An empty listing of this server's tools."""
        return Listing(self.name, self._call_tool)

    async def close(self) -> None:
        """Cancel the answers to the server that are still being sent."""
        await cancel_and_wait(self._replies)

    async def _read_pages(self, listing: Listing) -> None:
        cursors = [""]
        while len(cursors) <= MAX_PAGES and not listing.is_full:
            page = await self._request(self._message("tools/list", {"cursor": cursors[-1]} if cursors[-1] else {}))
            definitions = page.get("tools") or []
            if not isinstance(definitions, list) or page.get("resultType", "complete") != "complete":
                raise ToolUnavailable(f"The {self._service} sent a list of tools that cannot be read.")
            listing.add_page(definitions)
            listing.note_cache(page)
            if not (cursor := page.get("nextCursor")):
                return
            if not isinstance(cursor, str) or cursor in cursors:
                raise ToolUnavailable(f"The {self._service} sent a cursor that leads nowhere.")
            cursors.append(cursor)
        if not listing.is_full:
            raise ToolUnavailable(f"The {self._service} lists more than {MAX_PAGES} pages of tools.")

    async def _call_tool(self, name: str, arguments: Any, headers: Mapping[str, str], context: ToolContext) -> Any:
        state = stateless.answer(*context.input_response) if context.input_response else {}
        for attempt in range(MAX_ROUNDS):
            message = self._message("tools/call", {"name": name, "arguments": arguments, "_meta": _trace(), **state})
            message["params"]["_meta"]["progressToken"] = message["id"]
            if span := SPAN.get():
                self._describe(span, message)
            result = await self._request(message, headers, context)
            if result.get("resultType", "complete") == "complete":
                return tool_result(result)
            state = {"requestState": stateless.read_state(result)}
            await asyncio.sleep(min(0.05 * 2**attempt, 0.25))
        raise ToolUnavailable(f"The {self._service} wanted to be asked again more than {MAX_ROUNDS} times.")

    def _describe(self, span: "Span", message: _Message) -> None:
        """Add what MCP's conventions say of a call to the span of its tool, which stands for both."""
        url = httpx.URL(self.url)
        span.note(
            "execute_tool",
            mcp__method__name=message["method"],
            mcp__protocol__version=stateless.VERSION if self.is_modern else PROTOCOL_VERSION,
            jsonrpc__request__id=str(message["id"]),
            network__transport="tcp",
            server__address=url.host,
            server__port=url.port or {"https": 443}.get(url.scheme, 80),
        )

    def _message(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": next(self._request_ids), "method": method, "params": params}

    async def _request(
        self, message: _Message, headers: _Headers = _NO_HEADERS, context: ToolContext | None = None
    ) -> dict[str, Any]:
        credential = await self.authorize(context.caller if context else "") if self.authorize else ("", "")
        request = _Request(message, headers, credential, context)
        ways = [self._ask_stateless, self._ask_in_session]
        if not (self.is_modern or request.is_probe):
            ways.reverse()
        with translate_errors(self._service, TypeError, RecursionError):
            try:
                return await ways[0](request)
            except _OtherEra:
                return await ways[1](request)

    async def _ask_stateless(self, request: _Request) -> dict[str, Any]:
        takes_forms = request.context is not None and request.context.takes_forms
        message, headers = stateless.request_of(request.message, takes_forms=takes_forms)
        headers |= {**request.headers, **_authorization(request)}
        request = replace(request, message=message, headers=headers)
        try:
            result = await self._exchange(request)
        except ToolError as error:
            is_odd = isinstance(error, _Refused) and error.is_not_understood
            if request.is_probe or (is_odd and not await self._is_still_modern(request)):
                raise _OtherEra(str(error)) from None
            raise
        if request.is_probe and "resultType" not in result:
            raise _OtherEra(f"The {self._service} did not take a stateless request for one.")
        self.is_modern = True
        return result

    async def _is_still_modern(self, request: _Request) -> bool:
        """Whether a call was refused by its tool, which has run then, and not for its form; the codes are the same."""
        message, headers = stateless.request_of(self._message("tools/list", {}))
        try:
            await self._exchange(_Request(message, headers | _authorization(request), request.credential))
        except _Refused as refused:
            return not refused.is_not_understood
        return True

    async def _ask_in_session(self, request: _Request) -> dict[str, Any]:
        session = self._session_of(request.credential)
        try:
            if (old := session.headers) is not None:
                try:
                    return await self._exchange(replace(request, headers=old), is_old_session=True)
                except _SessionLost:
                    if session.headers is old:  # else another call has already opened a new one
                        session.headers = None
            async with session.lock:
                if session.headers is None:
                    session.headers = await self._initialize(request)
            return await self._exchange(replace(request, headers=session.headers))
        except asyncio.CancelledError:
            if request.context and session.headers:
                await self._notify_cancelled(request.message["id"], session.headers)
            raise

    def _session_of(self, credential: Credential) -> _Session:
        """The session of a credential: no caller gets into another one's. The least recently used is forgotten."""
        session = self._sessions.pop(credential, None) or _Session()
        self._sessions[credential] = session
        if len(self._sessions) > MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return session

    async def _initialize(self, request: _Request) -> dict[str, str]:
        """Open a session; returns the headers of its requests."""
        params = {"protocolVersion": PROTOCOL_VERSION, "capabilities": {}, "clientInfo": stateless.CLIENT_INFO}
        opening = _Request(self._message("initialize", params), _authorization(request), request.credential)
        try:
            async with self._post(opening.message, opening.headers) as response:
                if (result := await self._find_result(response, opening, EventIds())) is None:
                    raise self._ended_early()
                headers = {"mcp-protocol-version": str(result.get("protocolVersion", PROTOCOL_VERSION))}
                if session_id := response.headers.get("mcp-session-id"):
                    headers["mcp-session-id"] = session_id
                if response.cookies:  # a load balancer finds the instance with the session by them
                    headers["cookie"] = "; ".join(f"{name}={value}" for name, value in response.cookies.items())
        except _Refused as refused:
            raise _OtherEra(str(refused)) from None
        self.is_modern = False
        headers |= opening.headers
        async with self._post({"jsonrpc": "2.0", "method": "notifications/initialized", "params": {}}, headers):
            return headers

    async def _exchange(self, request: _Request, *, is_old_session: bool = False) -> dict[str, Any]:
        """Send a request and return its result, resuming the event stream with it if that breaks or is closed early.

        A stateless request is not resumed: it ends with its connection.

        Raises:
            _SessionLost: If `is_old_session`.
        """
        event_ids = EventIds()
        opened = self._post(request.message, request.headers, is_old_session=is_old_session)
        resumptions = 0  # in a row, without a new event
        while resumptions < MAX_RESUMPTIONS:
            last_id = event_ids.last
            try:
                async with opened as response:
                    result = await self._find_result(response, request, event_ids)
                if result is not None:
                    return result
            except httpx.TransportError:
                if not event_ids.last:
                    raise
            if not event_ids.last or _is_stateless(request.headers):
                break
            resumptions = resumptions + 1 if event_ids.last == last_id else 0
            await asyncio.sleep(event_ids.retry_s)
            event_ids.reconnect()
            opened = self._resume(request.headers, event_ids.last)
        raise self._ended_early()

    async def _find_result(self, response: httpx.Response, request: _Request, ids: EventIds) -> dict[str, Any] | None:
        """Read a response until the result of the request that was sent; None if it ends before that.

        What has a method comes from the server, which counts the ids of its own requests.

        Raises:
            _Refused: The server answered with a JSON-RPC error.
            TypeError: The result is not an object.
        """
        async for message in read_messages(response, ids, request.credential[0]):
            answered_id, error = str(message.get("id")), message.get("error")  # some servers send it back as text
            if "method" in message:
                await self._handle_server_message(message, request)
            elif error is not None and answered_id in (str(request.message["id"]), "None"):
                raise _Refused(f"The tool's server refused the call: {error_text(error)}", 200, error_code(error))
            elif answered_id == str(request.message["id"]):
                if not isinstance(message.get("result"), dict):
                    raise TypeError("the result is not an object")
                return dict(message["result"])
        return None

    async def _handle_server_message(self, message: _Message, request: _Request) -> None:
        if isinstance(request_id := message.get("id"), str | int | float):
            outcome = {"result": {}} if message["method"] == "ping" else {"error": _METHOD_NOT_FOUND}
            self._reply({"jsonrpc": "2.0", "id": request_id, **outcome}, request.headers)
        elif message["method"] == "notifications/progress" and request.context is not None:
            await request.context.progress(message.get("params"))

    def _reply(self, message: _Message, headers: _Headers) -> None:
        """Answer a request of the server beside the call: one that takes no answers must not hold up its own result."""
        if len(self._replies) < MAX_REPLIES and not _is_stateless(headers):
            reply = asyncio.create_task(self._try_to_send(message, headers, REPLY_TIMEOUT_S))
            self._replies.add(reply)
            reply.add_done_callback(self._replies.discard)

    async def _notify_cancelled(self, request_id: int, headers: _Headers) -> None:
        """Notify the server of a cancelled call: best effort and brief, since the cancelling task is waiting."""
        params = {"requestId": request_id, "reason": "no longer wanted"}
        message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
        await self._try_to_send(message, headers, CANCEL_NOTIFY_TIMEOUT_S)

    async def _try_to_send(self, message: _Message, headers: _Headers, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError, httpx.HTTPError, ChatError):
            async with asyncio.timeout(timeout_s), self._post(message, headers):
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
                token = headers.get("authorization", "").removeprefix("Bearer ")
                raise await self._refusal(response, token)
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
        """Send a request; follow redirects that stay within the origin and keep the method.

        Raises:
            ToolError: Another redirect, or too many of them.
        """
        client, url = self.client(), httpx.URL(self.url)
        # No read timeout: a tool may take long, and its own timeout ends it.
        timeout = httpx.Timeout(client.timeout.connect, read=None)
        for _ in range(MAX_REDIRECTS + 1):
            async with client.stream(method, url, content=content, headers=headers, timeout=timeout) as response:
                if not response.has_redirect_location:
                    yield response
                    return
                target = _redirect_target(response)
                if response.status_code not in {307, 308} or _origin(target) != _origin(url):
                    raise self._redirected(target, response.status_code)
            url = target
        raise ToolError(f"The {self._service} redirects more than {MAX_REDIRECTS} times.")

    async def _refusal(self, response: httpx.Response, token: str) -> ToolError:
        status = response.status_code
        error = error_for_status(self._service, status, "token")
        if status >= 500 or status in {401, 403, 429}:
            return error
        reason, code = await read_error(response, token)
        return _Refused(f"The {self._service} refused the request: {reason}" if reason else str(error), status, code)

    def _redirected(self, target: httpx.URL, status: int) -> ToolError:
        """The error for a redirect that is not followed; a path or query might hold a secret."""
        where = f"to {_origin(target)} (HTTP {status}), which is not followed"
        return ToolError(f"The {self._service} redirects {where}; the operator must set its final address.")

    def _ended_early(self, why: str = "") -> ToolUnavailable:
        return ToolUnavailable(f"The {self._service} ended its answer before the result{why}.")


def _redirect_target(response: httpx.Response) -> httpx.URL:
    """Where a redirect leads.

    Raises:
        httpx.InvalidURL: To what is no address, of which httpx2 makes no request; httpx itself raises this.
    """
    if response.next_request is None:
        raise httpx.InvalidURL("the redirect leads to no address")
    return response.next_request.url


def _authorization(request: _Request) -> dict[str, str]:
    token = request.credential[0]
    return {"authorization": f"Bearer {token}"} if token else {}


def _is_stateless(headers: _Headers) -> bool:
    return "mcp-method" in headers


def _is_lost_session(status: int, took_s: float) -> bool:
    """Whether a status may mean that the session is lost, and that the request was not processed.

    A gateway also answers 503 if a call takes it too long; that call may have been processed.
    """
    return status in {400, 404, 410} or (status == 503 and took_s < PROMPT_REFUSAL_S)


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def _trace() -> dict[str, str]:
    """The trace context for `_meta`: one HTTP request may carry several messages, and several one message.

    https://modelcontextprotocol.io/community/seps/414-request-meta
    """
    sent = http_pool.outgoing_headers.get({})
    return {name: sent[name] for name in W3C_HEADERS if name in sent}
