"""A small HTTP/1.1 server: h11 for the protocol, asyncio streams for the socket.

Serves the function URL, the Runtime API, the Invoke API and the stub services. Request bodies are streamed to the
handler, and what a handler writes is sent in the same turn of the event loop. Not specific to Lambda.
"""

import asyncio
import contextlib
import errno
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Final, Self

import h11

__all__ = ["BodyTooLarge", "Exchange", "Handler", "Headers", "HttpServer", "IncompleteRequest"]

Headers = Iterable[tuple[str, str]]

READ_SIZE: Final = 64 * 1024
MAX_HEAD_BYTES: Final = 64 * 1024

_LOGGER = logging.getLogger(__name__)


class IncompleteRequest(Exception):
    """The peer sent invalid HTTP, or disconnected before its request was complete."""


class BodyTooLarge(Exception):
    """The request body is larger than `max_bytes`."""


class Exchange:
    """One request and its response.

    `method`, `target` and `headers` (names in lower case) are set from the start, `trailers` after the body was read.
    """

    def __init__(self, http: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._http, self._reader, self._writer = http, reader, writer
        self.method = self.target = ""
        self.headers: list[tuple[str, str]] = []
        self.trailers: list[tuple[str, str]] = []
        self.peer: str = writer.get_extra_info("peername", ("",))[0]
        self.status = self.bytes_out = 0

    def header(self, name: str) -> str:
        """The first value of a header, or an empty string. `name` is in lower case."""
        return next((value for key, value in self.headers if key == name), "")

    async def iter_body(self) -> AsyncIterator[bytes]:
        """The body in chunks, as it arrives.

        Raises:
            IncompleteRequest: The peer disconnected or broke the framing.
        """
        if self._http.they_are_waiting_for_100_continue:
            self._send(h11.InformationalResponse(status_code=100, headers=[]))
        while not isinstance(event := await _next_event(self._http, self._reader), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                raise IncompleteRequest(f"expected a body, got {type(event).__name__}")
            yield bytes(event.data)
        self.trailers = _decode_headers(event.headers)

    async def read_body(self, max_bytes: int) -> bytes:
        """The whole body, at most `max_bytes` bytes.

        Raises:
            BodyTooLarge: It is larger; the rest is not read, and the connection is closed after the response.
            IncompleteRequest: The peer disconnected or broke the framing.
        """
        parts, size = [], 0
        async for chunk in self.iter_body():
            size += len(chunk)
            if size > max_bytes:
                raise BodyTooLarge
            parts.append(chunk)
        return b"".join(parts)

    async def wait_for_disconnect(self) -> None:
        """Return when the peer has disconnected. Data it sends until then is kept for the next request."""
        while data := await self._reader.read(READ_SIZE):
            self._http.receive_data(data)

    @property
    def response_started(self) -> bool:
        """Whether the head of the response has been sent."""
        return self.status != 0

    async def start_response(self, status: int, headers: Headers, *more: h11.Event) -> None:
        """Send the head at once, and with it what else is there to send.

        Raises:
            ValueError: Status or headers are invalid in HTTP; nothing was sent.
            ConnectionError: The peer has disconnected.
        """
        head = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        try:
            self._send(h11.Response(status_code=status, headers=head), *more)
        except h11.LocalProtocolError as error:
            raise ValueError(str(error)) from error
        self.status = status
        await self._writer.drain()

    async def write(self, data: bytes) -> None:
        """Send more of the body; waits while the peer reads too slowly (backpressure). Dropped if no body is allowed.

        Raises:
            ConnectionError: The peer has disconnected.
        """
        if data and not self._must_not_have_body(self.status):
            self.bytes_out += len(data)
            self._send(h11.Data(data=data))
            await self._writer.drain()

    async def end_response(self) -> None:
        """Complete the response.

        Raises:
            ConnectionError: The peer has disconnected.
        """
        self._send(h11.EndOfMessage())
        await self._writer.drain()

    async def respond(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Send a whole response with its content-length in a single write, which wakes the peer only once.

        Raises:
            ValueError: Status or headers are invalid in HTTP.
            ConnectionError: The peer has disconnected.
        """
        length = [] if status == 204 else [("content-length", str(len(body)))]
        if self._must_not_have_body(status):
            body = b""
        await self.start_response(status, [*headers, *length], h11.Data(data=body), h11.EndOfMessage())
        self.bytes_out += len(body)

    def abort(self) -> None:
        """Close the connection without completing the response: the peer gets what was written, then an error."""
        self._writer.close()

    def _must_not_have_body(self, status: int) -> bool:
        return self.method == "HEAD" or status in {204, 304}

    def _send(self, *events: h11.Event) -> None:
        data = b"".join([self._http.send(event) or b"" for event in events])
        if self._writer.is_closing():
            raise ConnectionResetError("the peer has disconnected")
        if data:
            self._writer.write(data)

    async def _read_head(self) -> bool:
        """Read the head of the next request; False if the peer sends no more requests."""
        event = await _next_event(self._http, self._reader)
        if not isinstance(event, h11.Request):
            return False
        self.method, self.target = event.method.decode("ascii"), event.target.decode("latin-1")
        self.headers = _decode_headers(event.headers)
        return True

    def _start_next_cycle(self) -> bool:
        """Prepare the connection for another request; False if it cannot be reused, as after an unread body."""
        if self._http.their_state is h11.SEND_BODY:
            with contextlib.suppress(h11.RemoteProtocolError):
                self._http.next_event()  # the end of a request without a body, which no handler has to read
        if self._writer.is_closing() or {self._http.our_state, self._http.their_state} != {h11.DONE}:
            return False
        self._http.start_next_cycle()
        return True


Handler = Callable[[Exchange], Awaitable[None]]


class HttpServer:
    """Listens on one address and passes every request to `handler`. An async context manager that calls `close`.

    If a handler raises, the error is logged, and the client gets a 500, or a broken stream if the response had started.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def listen(self, host: str, port: int = 0) -> None:
        """Start listening; port 0 chooses a free one. Sets `self.port`.

        Raises:
            OSError: The address is not available; `strerror` says which one and why.
        """
        try:
            self._server = await asyncio.start_server(self._on_connection, host, port, backlog=1024)
        except OSError as error:
            reason = "is in use" if error.errno == errno.EADDRINUSE else f"is not available: {error.strerror}"
            raise OSError(error.errno, f"{host}:{port} {reason}") from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening, cancel open connections and wait until they have ended."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve_connection(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        exchange = Exchange(http, reader, writer)
        try:
            while await exchange._read_head():  # noqa: SLF001 - same module
                await self._handle_request(exchange)
                if not exchange._start_next_cycle():  # noqa: SLF001 - likewise
                    break
                exchange = Exchange(http, reader, writer)
        except IncompleteRequest:
            with contextlib.suppress(ValueError, ConnectionError):  # if a response can still be sent
                await exchange.respond(400, [("content-type", "text/plain"), ("connection", "close")], b"Bad Request")
        except ConnectionError:
            _LOGGER.debug("the peer disconnected during a response")
        finally:
            writer.close()

    async def _handle_request(self, exchange: Exchange) -> None:
        try:
            await self._handler(exchange)
        except (ConnectionError, IncompleteRequest):
            raise
        except Exception:
            _LOGGER.exception("%s %s failed", exchange.method, exchange.target)
            if exchange.response_started:
                exchange.abort()
            else:
                await exchange.respond(500, [("content-type", "text/plain")], b"Internal Server Error")


async def _next_event(http: h11.Connection, reader: asyncio.StreamReader) -> object:
    try:
        while (event := http.next_event()) is h11.NEED_DATA:
            http.receive_data(await reader.read(READ_SIZE))
    except h11.RemoteProtocolError as error:
        raise IncompleteRequest(str(error)) from error
    return event


def _decode_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
