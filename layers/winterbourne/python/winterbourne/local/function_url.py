"""Function URL endpoint: turns HTTP requests into invocations and streams the responses back."""

import contextlib
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Final

from winterbourne.local.cors import Cors
from winterbourne.local.function_response import BadResponse, parse_buffered_response, parse_prelude
from winterbourne.local.http_server import JSON_HEADERS, BodyTooLarge, Exchange, Handler, HttpServer
from winterbourne.local.invocation import HTTP_INTEGRATION_CONTENT_TYPE, FunctionError, Invocation
from winterbourne.local.request_event import Request, build_event

__all__ = ["FunctionUrl", "HttpResponseSink"]

REQUEST_LIMIT: Final = 6 * 1024 * 1024
"""Bytes of the event that the function gets: base64 and JSON's escapes count."""

REQUEST_TOO_LARGE_BODY: Final = (
    b'{"Message":"Request must be smaller than 6291456 bytes for the InvokeFunction operation"}'
)
PLAIN_TEXT_HEADERS: Final = [("content-type", "text/plain")]


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
    started_at: float = field(default_factory=time.perf_counter)
    _prelude: bytes | None = None
    _buffer: bytes | None = None

    async def begin(self, content_type: str, *, streaming: bool) -> None:
        """Determine the kind of response: buffered, streamed with a prelude, or raw."""
        if not streaming:
            self._buffer = b""
        elif content_type == HTTP_INTEGRATION_CONTENT_TYPE:
            self._prelude = b""
        else:
            with self._noting_failure():
                await self._start_response(200, [("content-type", content_type)])

    async def write(self, data: bytes) -> None:
        """Send what can be sent so far."""
        if self._buffer is not None:
            self._buffer += data
        elif not self.error and not self.client_disconnected:
            with self._noting_failure():
                await (self.exchange.write(data) if self._prelude is None else self._read_prelude(self._prelude + data))

    async def finish(self, error: FunctionError | None) -> None:
        """Complete the response. On failure send a 502, or abort the stream if it has started."""
        self.error = self.error or error
        with self._noting_failure():
            if self._buffer is not None and not self.error:
                await self._send_buffered(self._buffer)
            elif self._prelude is not None and not self.error:
                raise BadResponse("The response ended within its prelude.")
        with self._noting_failure():
            await self._end_response()

    async def _end_response(self) -> None:
        if self.error and self.exchange.response_started:
            self.exchange.abort()
        elif self.error:
            # A function URL does not distinguish a timeout from other failures. Why a function does not start is told
            # to its developer alone.
            told = self.error.at_init and self.exchange.peer in {"127.0.0.1", "::1"}
            body = self.error.sentence.encode() if told else b"Internal Server Error"
            await self.exchange.respond(502, PLAIN_TEXT_HEADERS + self.extra_headers, body)
        elif not self.client_disconnected:
            await self.exchange.end_response()

    async def _read_prelude(self, received: bytes) -> None:
        self._prelude = received
        if parsed := parse_prelude(received):
            self._prelude = None
            head, body = parsed
            await self._start_response(head.status, head.headers)
            await self.exchange.write(body)

    async def _send_buffered(self, document: bytes) -> None:
        head, body = parse_buffered_response(document)
        await self._start_response(head.status, [*head.headers, ("content-length", str(len(body)))])
        await self.exchange.write(body)

    async def _start_response(self, status: int, headers: list[tuple[str, str]]) -> None:
        await self.exchange.start_response(status, headers + self.extra_headers)
        self.time_to_first_byte_s = time.perf_counter() - self.started_at

    @contextlib.contextmanager
    def _noting_failure(self) -> Iterator[None]:
        """Keep a disconnect or an invalid response (`ValueError`) for the end and for the access log."""
        try:
            yield
        except ConnectionError:
            self.client_disconnected = True
        except ValueError as error:
            self.error = FunctionError.from_message("InvalidResponse", str(error))


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
        pages: Mapping[str, Handler],
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
        cors_headers = self._cors.response_headers(headers)
        try:
            body = await exchange.read_body(REQUEST_LIMIT)
            sink = HttpResponseSink(exchange, [])
            invocation = Invocation(payload=b"", sink=sink, trace_id=headers.get("x-amzn-trace-id") or _make_trace_id())
            ids = [("x-amzn-requestid", invocation.request_id), ("x-amzn-trace-id", invocation.trace_id)]
            sink.extra_headers = [("date", formatdate(usegmt=True)), *ids, *cors_headers]
            invocation.payload = self._encode_event(exchange, body, invocation)
        except BodyTooLarge:
            await exchange.respond(413, [*JSON_HEADERS, *cors_headers, ("connection", "close")], REQUEST_TOO_LARGE_BODY)
        else:
            await self._invoke(invocation)
            self._log_access(_access_log_line(exchange, sink))

    def _encode_event(self, exchange: Exchange, body: bytes, invocation: Invocation) -> bytes:
        headers = tuple(exchange.headers)
        request = Request(exchange.method, exchange.target, headers, body, exchange.peer, self.server.port)
        now = datetime.now(UTC)
        event = build_event(request, request_id=invocation.request_id, trace_id=invocation.trace_id, now=now)
        payload = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
        if len(payload) > REQUEST_LIMIT:
            raise BodyTooLarge
        return payload


def _make_trace_id() -> str:
    return f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)};Parent={secrets.token_hex(8)};Sampled=0"


def _access_log_line(exchange: Exchange, sink: HttpResponseSink) -> str:
    size = f"{exchange.bytes_out:,} bytes in {time.perf_counter() - sink.started_at:.3f} s"
    first_byte = "" if sink.time_to_first_byte_s is None else f", first byte after {sink.time_to_first_byte_s:.3f} s"
    disconnected = ", the client disconnected before the end" if sink.client_disconnected else ""
    error = f", {sink.error.type}: {sink.error.message}" if sink.error else ""
    return f"{exchange.method} {exchange.target} {exchange.status or '-'} {size}{first_byte}{disconnected}{error}"
