"""Doors that hand over events: an HTTP request becomes an invocation, whose response is streamed to the client.

What a function URL and a REST API have in common; each is a subclass.
"""

import asyncio
import contextlib
import json
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any, ClassVar, Final

from winterbourne.local.function_response import BadResponse, parse_buffered_response, parse_prelude
from winterbourne.local.http_server import JSON_HEADERS, BodyTooLarge, Exchange, Headers
from winterbourne.local.invocation import HTTP_INTEGRATION_CONTENT_TYPE, FunctionError, Invocation
from winterbourne.local.request_event import Request
from winterbourne.local.tasks import cancel_all

__all__ = ["Answer", "EventDoor", "HttpResponseSink", "json_answer"]

REQUEST_LIMIT: Final = 6 * 1024 * 1024
"""Bytes of the event that the function gets: base64 and JSON's escapes count."""

Answer = tuple[int, list[tuple[str, str]], bytes]
"""Status, headers and body of a response that the door makes itself."""


@dataclass(eq=False)
class HttpResponseSink:
    """Sends the response of one invocation to the HTTP client.

    A client disconnect does not stop the function, because Lambda does not report it either. The rest of the response
    is discarded then.

    Attributes:
        exchange: The client's request.
        door: The door it came through.
        extra_headers: Headers that the door adds to those of the function.
    """

    exchange: Exchange
    door: "EventDoor"
    extra_headers: list[tuple[str, str]]
    error: FunctionError | None = None
    client_disconnected: bool = False
    time_to_first_byte_s: float | None = None
    started_at: float = field(default_factory=time.perf_counter)
    was_written: asyncio.Event = field(default_factory=asyncio.Event)
    _prelude: bytes | None = None
    _buffer: bytes | None = None

    async def begin(self, content_type: str, *, streaming: bool) -> None:
        """Determine the kind of response: buffered, streamed with a prelude, or raw."""
        if content_type == HTTP_INTEGRATION_CONTENT_TYPE and streaming:
            self._prelude = b""
        elif self.door.wants_prelude:
            self.error = FunctionError.from_message("InvalidResponse", "The response has no prelude.")
        elif not streaming:
            self._buffer = b""
        else:
            with self._noting_failure():
                await self._start_response(200, [("content-type", content_type)])

    async def write(self, data: bytes) -> None:
        """Send what can be sent so far."""
        self.was_written.set()
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

    async def cut(self, answer: Answer) -> None:
        """Give the client this answer, or break off the response if it has begun; the function goes on unheard."""
        self.error = FunctionError.from_message("Door.Timeout", "The door did not wait for more of the response.")
        with self._noting_failure():
            await self._refuse(*answer)

    async def _end_response(self) -> None:
        if self.error and not self.client_disconnected:
            await self._refuse(*self.door.answer_to(self.error, self.exchange))
        elif not self.client_disconnected:
            await self.exchange.end_response()

    async def _refuse(self, status: int, headers: Headers, body: bytes) -> None:
        if self.exchange.response_started:
            self.exchange.abort()
        else:
            await self.exchange.respond(status, [*headers, *self.extra_headers], body)

    async def _read_prelude(self, received: bytes) -> None:
        self._prelude = received
        if parsed := parse_prelude(received, has_lists=self.door.wants_prelude):
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


class EventDoor(ABC):
    """Serves a function over HTTP: one invocation per request.

    Args:
        invoke: Runs an invocation to its end.
        log_access: Gets one line per request.

    Attributes:
        root: The path in front of the function's own.
        wants_prelude: Whether a response without a prelude is an error; such a door reads `multiValueHeaders` too.
        too_large: The answer to a request that is.
        late: The answer to a request whose response takes longer than the door waits.
        idle_timeout_s: How long the door waits for more of a response, in seconds; None does not limit it.
        timeout_s: How long it waits for all of it.
    """

    root = ""
    wants_prelude: ClassVar = False
    too_large: ClassVar[Answer]
    late: ClassVar[Answer] = (504, [], b"")
    idle_timeout_s: ClassVar[float | None] = None
    timeout_s: ClassVar[float | None] = None

    def __init__(self, invoke: Callable[[Invocation], Awaitable[None]], *, log_access: Callable[[str], None]) -> None:
        self._invoke, self._log_access = invoke, log_access

    @abstractmethod
    def build_event(self, request: Request, *, request_id: str, trace_id: str, now: datetime) -> dict[str, Any]:
        """The event for a request."""

    @abstractmethod
    def answer_to(self, error: FunctionError, exchange: Exchange) -> Answer:
        """What the client gets for a function that failed before its response."""

    @abstractmethod
    def headers(self, invocation: Invocation) -> list[tuple[str, str]]:
        """The headers that name an invocation."""

    @abstractmethod
    def answer_itself(self, exchange: Exchange) -> Answer | None:
        """The answer to a request that never reaches the function; None for all others."""

    def headers_for(self, exchange: Exchange) -> list[tuple[str, str]]:  # noqa: ARG002 - of the one that has CORS
        """The headers that the door adds to every response to this request."""
        return []

    async def handle_request(self, exchange: Exchange) -> None:
        """Answer one request."""
        if answer := self.answer_itself(exchange):
            await exchange.respond(*answer)
        else:
            await self._run_invocation(exchange, self.headers_for(exchange))

    async def _run_invocation(self, exchange: Exchange, more: list[tuple[str, str]]) -> None:
        try:
            body = await exchange.read_body(REQUEST_LIMIT)
            sink = HttpResponseSink(exchange, self, [])
            trace_id = exchange.header("x-amzn-trace-id") or _make_trace_id()
            invocation = Invocation(payload=b"", sink=sink, trace_id=trace_id)
            sink.extra_headers = [("date", formatdate(usegmt=True)), *self.headers(invocation), *more]
            invocation.payload = self._encode_event(exchange, body, invocation)
        except BodyTooLarge:
            status, headers, body = self.too_large
            await exchange.respond(status, [*headers, *more, ("connection", "close")], body)
        else:
            await self._run(invocation, sink)
            self._log_access(_access_log_line(exchange, sink))

    async def _run(self, invocation: Invocation, sink: HttpResponseSink) -> None:
        timers = [asyncio.create_task(self._enforce_timeouts(sink))] if self.timeout_s else []
        try:
            await self._invoke(invocation)
        finally:
            await cancel_all(timers)

    async def _enforce_timeouts(self, sink: HttpResponseSink) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.timeout_s):
                while True:
                    sink.was_written.clear()
                    async with asyncio.timeout(self.idle_timeout_s):  # wait_for may lose a cancellation
                        await sink.was_written.wait()
        await sink.cut(self.late)

    def _encode_event(self, exchange: Exchange, body: bytes, invocation: Invocation) -> bytes:
        request = Request(exchange.method, exchange.target, tuple(exchange.headers), body, exchange.peer, exchange.port)
        ids = {"request_id": invocation.request_id, "trace_id": invocation.trace_id}
        event = self.build_event(request, **ids, now=datetime.now(UTC))
        payload = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
        if len(payload) > REQUEST_LIMIT:
            raise BodyTooLarge
        return payload


def json_answer(status: int, **document: str) -> Answer:
    """An answer with a JSON object."""
    return status, JSON_HEADERS, json.dumps(document, separators=(",", ":")).encode()


def _make_trace_id() -> str:
    return f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)};Parent={secrets.token_hex(8)};Sampled=0"


def _access_log_line(exchange: Exchange, sink: HttpResponseSink) -> str:
    size = f"{exchange.bytes_out:,} bytes in {time.perf_counter() - sink.started_at:.3f} s"
    first_byte = "" if sink.time_to_first_byte_s is None else f", first byte after {sink.time_to_first_byte_s:.3f} s"
    disconnected = ", the client disconnected before the end" if sink.client_disconnected else ""
    error = f", {sink.error.type}: {sink.error.message}" if sink.error else ""
    return f"{exchange.method} {exchange.target} {exchange.status or '-'} {size}{first_byte}{disconnected}{error}"
