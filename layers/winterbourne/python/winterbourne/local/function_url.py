"""The function URL: HTTP in front of the fleet, bytes out as they come."""

import json
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from winterbourne.local.cors import Cors
from winterbourne.local.function_response import BadResponse, Head, PreludeReader, buffered
from winterbourne.local.http_server import BodyTooLarge, Exchange, Server
from winterbourne.local.invocation import HTTP_INTEGRATION, FunctionError, Invocation
from winterbourne.local.request_event import Request, event_of

__all__ = ["FunctionUrl", "UrlSink"]

REQUEST_LIMIT: Final = 6 * 1024 * 1024
TOO_LARGE: Final = b'{"Message":"Request must be smaller than 6291456 bytes for the InvokeFunction operation"}'
TEXT: Final = [("content-type", "text/plain")]
JSON: Final = [("content-type", "application/json")]

Page = Callable[[Exchange], Awaitable[None]]


@dataclass(eq=False)
class UrlSink:
    """The response of one invocation on its way to the client.

    A client that has left does not stop the function: Lambda has no signal for it either. What the function still
    says is thrown away then.

    Args:
        exchange: The client's request.
        extra: Headers of the URL's own, beside those of the function.
    """

    exchange: Exchange
    extra: list[tuple[str, str]]
    error: FunctionError | None = None
    client_left: bool = False
    first_byte_s: float | None = None
    _begun_at: float = field(default_factory=time.perf_counter)
    _prelude: PreludeReader | None = None
    _buffer: list[bytes] | None = None

    async def begin(self, content_type: str, *, streaming: bool) -> None:
        """Find out what kind of response comes."""
        if not streaming:
            self._buffer = []
        elif content_type == HTTP_INTEGRATION:
            self._prelude = PreludeReader()
        else:
            await self._start(Head(200, [("content-type", content_type)]))

    async def write(self, data: bytes) -> None:
        """Send what can be sent now."""
        if self._buffer is not None:
            self._buffer.append(data)
        elif self._prelude is not None:
            await self._read_prelude(data)
        else:
            await self._send(data)

    async def finish(self, error: FunctionError | None) -> None:
        """Complete the response, or say in the way that is still open that it failed."""
        self.error = self.error or error
        if self._buffer is not None and not self.error:
            await self._answer_buffered(b"".join(self._buffer))
        elif self._prelude is not None and not self.error:
            self.error = FunctionError.of("InvalidResponse", "The response ended within its prelude.")
        try:
            await self._close()
        except ConnectionError:
            self.client_left = True

    async def _close(self) -> None:
        if self.error and self.exchange.started:
            self.exchange.break_off()
        elif self.error:
            # A function URL makes no difference between a timeout and other failures.
            await self.exchange.answer(502, TEXT + self.extra, b"Internal Server Error")
        elif not self.client_left:
            await self.exchange.end()

    async def _read_prelude(self, data: bytes) -> None:
        if self.error or self._prelude is None:
            return
        try:
            if (found := self._prelude.feed(data)) is None:
                return
        except BadResponse as error:
            self.error = FunctionError.of("InvalidResponse", str(error))
            return
        self._prelude = None
        head, body = found
        await self._start(head)
        await self._send(body)

    async def _answer_buffered(self, document: bytes) -> None:
        try:
            head, body = buffered(document)
        except BadResponse as error:
            self.error = FunctionError.of("InvalidResponse", str(error))
            return
        await self._start(Head(head.status, [*head.headers, ("content-length", str(len(body)))]))
        await self._send(body)

    async def _start(self, head: Head) -> None:
        try:
            await self.exchange.start(head.status, [*head.headers, *self.extra])
            self.first_byte_s = time.perf_counter() - self._begun_at
        except ValueError as error:
            self.error = FunctionError.of("InvalidResponse", str(error))
        except ConnectionError:
            self.client_left = True

    async def _send(self, data: bytes) -> None:
        if self.client_left or self.error:
            return
        try:
            await self.exchange.write(data)
        except ConnectionError:
            self.client_left = True


class FunctionUrl:
    """Turns requests into invocations.

    Args:
        invoke: Runs an invocation to its end.
        cors: The URL's CORS configuration.
        report: Gets one line per request.
        pages: What is served beside the function, by path.
    """

    def __init__(
        self,
        invoke: Callable[[Invocation], Awaitable[None]],
        *,
        cors: Cors,
        report: Callable[[str], None],
        pages: dict[str, Page],
    ) -> None:
        self._invoke, self._cors, self._report, self._pages = invoke, cors, report, pages
        self.server = Server(self._answer)

    async def _answer(self, exchange: Exchange) -> None:
        headers = dict(exchange.headers)
        if page := self._pages.get(exchange.target.partition("?")[0]):
            await page(exchange)
        elif self._cors.answers(exchange.method, headers):
            await exchange.answer(200, self._cors.preflight(headers))
        else:
            await self._run(exchange, headers)

    async def _run(self, exchange: Exchange, headers: dict[str, str]) -> None:
        try:
            body = await exchange.body(REQUEST_LIMIT)
        except BodyTooLarge:
            await exchange.answer(413, [*JSON, ("connection", "close")], TOO_LARGE)
            return
        sink = UrlSink(exchange, [])
        invocation = Invocation(payload=b"", sink=sink, trace_id=headers.get("x-amzn-trace-id") or _trace_id())
        sink.extra = [*self._own_headers(invocation), *self._cors.added(headers)]
        invocation.payload = self._event(exchange, body, invocation)
        began = time.perf_counter()
        await self._invoke(invocation)
        self._report(_line(exchange, sink, time.perf_counter() - began))

    def _own_headers(self, invocation: Invocation) -> list[tuple[str, str]]:
        date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        return [
            ("date", date),
            ("x-amzn-requestid", invocation.request_id),
            ("x-amzn-trace-id", invocation.trace_id),
        ]

    def _event(self, exchange: Exchange, body: bytes, invocation: Invocation) -> bytes:
        request = Request(
            method=exchange.method,
            target=exchange.target,
            headers=tuple(exchange.headers),
            body=body,
            source_ip=exchange.peer,
            port=self.server.port,
        )
        event = event_of(request, request_id=invocation.request_id, trace_id=invocation.trace_id, now=datetime.now(UTC))
        return json.dumps(event, separators=(",", ":")).encode()


def _trace_id() -> str:
    return f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)};Parent={secrets.token_hex(8)};Sampled=0"


def _line(exchange: Exchange, sink: UrlSink, seconds: float) -> str:
    first = "" if sink.first_byte_s is None else f", first byte after {sink.first_byte_s:.3f} s"
    left = ", the client left before the end" if sink.client_left else ""
    error = f", {sink.error.type}: {sink.error.message}" if sink.error else ""
    size = f"{exchange.bytes_out:,} bytes in {seconds:.3f} s"
    return f"{exchange.method} {exchange.target} {exchange.status or '-'} {size}{first}{left}{error}"
