"""Function URL endpoint: turns HTTP requests into invocations and streams the responses back."""

import json
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from winterbourne.local.cors import Cors
from winterbourne.local.function_response import BadResponse, PreludeReader, ResponseHead, parse_buffered_response
from winterbourne.local.http_server import BodyTooLarge, Exchange, HttpServer
from winterbourne.local.invocation import HTTP_INTEGRATION_CONTENT_TYPE, FunctionError, Invocation
from winterbourne.local.request_event import Request, build_event

__all__ = ["FunctionUrl", "HttpResponseSink"]

REQUEST_LIMIT: Final = 6 * 1024 * 1024
REQUEST_TOO_LARGE_BODY: Final = (
    b'{"Message":"Request must be smaller than 6291456 bytes for the InvokeFunction operation"}'
)
PLAIN_TEXT_HEADERS: Final = [("content-type", "text/plain")]
JSON_HEADERS: Final = [("content-type", "application/json")]

PageHandler = Callable[[Exchange], Awaitable[None]]


@dataclass(eq=False)
class HttpResponseSink:
    """Sends the response of one invocation to the HTTP client.

    A client disconnect does not stop the function, because Lambda does not report it either. The rest of the response
    is discarded then.

    Attributes:
        exchange: The client's request.
        extra_headers: Headers that the URL adds to those of the function.
    """

    exchange: Exchange
    extra_headers: list[tuple[str, str]]
    error: FunctionError | None = None
    client_disconnected: bool = False
    time_to_first_byte_s: float | None = None
    _started_at: float = field(default_factory=time.perf_counter)
    _prelude: PreludeReader | None = None
    _buffer: list[bytes] | None = None

    async def begin(self, content_type: str, *, streaming: bool) -> None:
        """Determine the kind of response: buffered, streamed with a prelude, or raw."""
        if not streaming:
            self._buffer = []
        elif content_type == HTTP_INTEGRATION_CONTENT_TYPE:
            self._prelude = PreludeReader()
        else:
            await self._start_response(ResponseHead(200, [("content-type", content_type)]))

    async def write(self, data: bytes) -> None:
        """Send what can be sent so far."""
        if self._buffer is not None:
            self._buffer.append(data)
        elif self._prelude is not None:
            await self._read_prelude(data)
        else:
            await self._send_body(data)

    async def finish(self, error: FunctionError | None) -> None:
        """Complete the response. On failure send a 502, or abort the stream if it has started."""
        self.error = self.error or error
        if self._buffer is not None and not self.error:
            await self._send_buffered(b"".join(self._buffer))
        elif self._prelude is not None and not self.error:
            self.error = FunctionError.from_message("InvalidResponse", "The response ended within its prelude.")
        await self._noting_disconnect(self._end_response())

    async def _end_response(self) -> None:
        if self.error and self.exchange.response_started:
            self.exchange.abort()
        elif self.error:
            # A function URL does not distinguish a timeout from other failures.
            await self.exchange.respond(502, PLAIN_TEXT_HEADERS + self.extra_headers, b"Internal Server Error")
        elif not self.client_disconnected:
            await self.exchange.end_response()

    async def _read_prelude(self, data: bytes) -> None:
        if self.error or self._prelude is None:
            return
        try:
            if (parsed := self._prelude.feed(data)) is None:
                return
        except BadResponse as error:
            self.error = FunctionError.from_message("InvalidResponse", str(error))
            return
        self._prelude = None
        head, body = parsed
        await self._start_response(head)
        await self._send_body(body)

    async def _send_buffered(self, document: bytes) -> None:
        try:
            head, body = parse_buffered_response(document)
        except BadResponse as error:
            self.error = FunctionError.from_message("InvalidResponse", str(error))
            return
        await self._start_response(ResponseHead(head.status, [*head.headers, ("content-length", str(len(body)))]))
        await self._send_body(body)

    async def _start_response(self, head: ResponseHead) -> None:
        starting = self.exchange.start_response(head.status, [*head.headers, *self.extra_headers])
        try:
            await self._noting_disconnect(starting)
        except ValueError as error:
            self.error = FunctionError.from_message("InvalidResponse", str(error))
        if self.exchange.response_started and not self.client_disconnected:
            self.time_to_first_byte_s = time.perf_counter() - self._started_at

    async def _send_body(self, data: bytes) -> None:
        if not self.client_disconnected and not self.error:
            await self._noting_disconnect(self.exchange.write(data))

    async def _noting_disconnect(self, operation: Awaitable[None]) -> None:
        try:
            await operation
        except ConnectionError:
            self.client_disconnected = True


class FunctionUrl:
    """Serves a function over HTTP: one invocation per request.

    Args:
        invoke: Runs an invocation to its end.
        cors: The URL's CORS configuration.
        log_access: Gets one line per request.
        pages: Handlers of pages that are served without the function, by path.
    """

    def __init__(
        self,
        invoke: Callable[[Invocation], Awaitable[None]],
        *,
        cors: Cors,
        log_access: Callable[[str], None],
        pages: dict[str, PageHandler],
    ) -> None:
        self._invoke, self._cors, self._log_access, self._pages = invoke, cors, log_access, pages
        self.server = HttpServer(self._handle_request)

    async def _handle_request(self, exchange: Exchange) -> None:
        headers = dict(exchange.headers)
        if page := self._pages.get(exchange.target.partition("?")[0]):
            await page(exchange)
        elif self._cors.handles_preflight(exchange.method, headers):
            await exchange.respond(200, self._cors.preflight_headers(headers))
        else:
            await self._run_invocation(exchange, headers)

    async def _run_invocation(self, exchange: Exchange, headers: dict[str, str]) -> None:
        try:
            body = await exchange.read_body(REQUEST_LIMIT)
        except BodyTooLarge:
            await exchange.respond(413, [*JSON_HEADERS, ("connection", "close")], REQUEST_TOO_LARGE_BODY)
            return
        sink = HttpResponseSink(exchange, [])
        invocation = Invocation(payload=b"", sink=sink, trace_id=headers.get("x-amzn-trace-id") or _make_trace_id())
        sink.extra_headers = [*self._response_headers(invocation), *self._cors.response_headers(headers)]
        invocation.payload = self._encode_event(exchange, body, invocation)
        started_at = time.perf_counter()
        await self._invoke(invocation)
        self._log_access(_access_log_line(exchange, sink, time.perf_counter() - started_at))

    def _response_headers(self, invocation: Invocation) -> list[tuple[str, str]]:
        date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        return [("date", date), ("x-amzn-requestid", invocation.request_id), ("x-amzn-trace-id", invocation.trace_id)]

    def _encode_event(self, exchange: Exchange, body: bytes, invocation: Invocation) -> bytes:
        request = Request(
            method=exchange.method,
            target=exchange.target,
            headers=tuple(exchange.headers),
            body=body,
            source_ip=exchange.peer,
            port=self.server.port,
        )
        event = build_event(
            request, request_id=invocation.request_id, trace_id=invocation.trace_id, now=datetime.now(UTC)
        )
        return json.dumps(event, separators=(",", ":")).encode()


def _make_trace_id() -> str:
    return f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)};Parent={secrets.token_hex(8)};Sampled=0"


def _access_log_line(exchange: Exchange, sink: HttpResponseSink, duration_s: float) -> str:
    time_to_first_byte = (
        "" if sink.time_to_first_byte_s is None else f", first byte after {sink.time_to_first_byte_s:.3f} s"
    )
    disconnected = ", the client disconnected before the end" if sink.client_disconnected else ""
    error = f", {sink.error.type}: {sink.error.message}" if sink.error else ""
    size = f"{exchange.bytes_out:,} bytes in {duration_s:.3f} s"
    return (
        f"{exchange.method} {exchange.target} {exchange.status or '-'} {size}{time_to_first_byte}{disconnected}{error}"
    )
