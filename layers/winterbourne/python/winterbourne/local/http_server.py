"""A small HTTP/1.1 server: h11 for the protocol, asyncio streams for the socket.

Serves the function URL, the Runtime API, the Invoke API and the stub services. Request bodies are streamed to the
handler, and what a handler writes is sent in the same turn of the event loop. Not specific to Lambda.
"""

import asyncio
import contextlib
import errno
import ipaddress
import json
import logging
import re
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final, Self

import h11

from winterbourne.local.tasks import cancel_all

__all__ = [
    "JSON_HEADERS",
    "BodyTooLarge",
    "Exchange",
    "Handler",
    "Headers",
    "HttpServer",
    "IncompleteRequest",
    "RequestPolicy",
    "decode_headers",
    "next_event",
]

Headers = Iterable[tuple[str, str]]

JSON_HEADERS: Final = [("content-type", "application/json")]
READ_SIZE: Final = 64 * 1024
# A runtime may send a megabyte of X-Ray cause and its error type; AWS's own Runtime API takes that too.
MAX_HEAD_BYTES: Final = 1024 * 1024 + 64 * 1024

_IN_USE: Final = "is in use: choose another port (--port; make run PORT=3001)"
_ABSOLUTE_FORM: Final = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE)

_LOGGER = logging.getLogger(__name__)


class IncompleteRequest(Exception):
    """The peer sent invalid HTTP, was too slow, or disconnected before its request was complete.

    `status` is the response it gets, if one can still be sent.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class BodyTooLarge(Exception):
    """The request body is larger than `max_bytes`."""


@dataclass(frozen=True, kw_only=True)
class RequestPolicy:
    """What a server asks of requests from browsers and other programs of the machine; times are in seconds.

    Attributes:
        hosts: Names that `Host` may have besides the one listened on, `localhost` and IP addresses; None allows all. A
            page whose domain was made to point to this machine (DNS rebinding) sends its own name, and gets a 421.
        head_timeout_s: How long a head may take from its first byte, and a new connection to send that byte; None does
            not limit it, as with the next two.
        idle_timeout_s: How long a connection is kept without another request.
        body_timeout_s: How long a whole body may take.
    """

    hosts: tuple[str, ...] | None = ()
    head_timeout_s: float | None = 10.0
    idle_timeout_s: float | None = 60.0
    body_timeout_s: float | None = 60.0

    def serves(self, host: str) -> bool:
        """Whether a `Host` header, with or without a port, names this server."""
        name = re.sub(r":\d*$", "", host).lower().rstrip(".")
        if self.hosts is None or not name:  # HTTP/1.0 needs none, and every browser names one
            return True
        with contextlib.suppress(ValueError):
            return bool(ipaddress.ip_address(name.strip("[]")))
        return name == "localhost" or name.endswith(".localhost") or name in map(str.lower, self.hosts)


_UNLIMITED: Final = RequestPolicy(hosts=None, head_timeout_s=None, idle_timeout_s=None, body_timeout_s=None)


class Exchange:
    """One request and its response.

    `method`, `target`, `http_version` and `headers` (names in lower case) are set from the start, `trailers` after the
    body was read.
    Text in headers is UTF-8 in both directions; other bytes are read as Latin-1.
    """

    def __init__(self, http: h11.Connection, reader: StreamReader, writer: StreamWriter, policy: RequestPolicy) -> None:
        self._http, self._reader, self._writer, self._policy = http, reader, writer, policy
        self._must_close = False
        self.method = self.target = self.http_version = ""
        self.headers: list[tuple[str, str]] = []
        self.trailers: list[tuple[str, str]] = []
        self.peer: str = writer.get_extra_info("peername", ("",))[0]
        self.port: int = writer.get_extra_info("sockname", ("", 0))[1]
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
        while not isinstance(event := await next_event(self._http, self._reader), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                raise IncompleteRequest(f"expected a body, got {type(event).__name__}")
            yield bytes(event.data)
        self.trailers = decode_headers(event.headers)

    async def read_body(self, max_bytes: int) -> bytes:
        """The whole body, at most `max_bytes` bytes.

        Raises:
            BodyTooLarge: It is larger; the rest is not read, and the connection is closed after the response.
            IncompleteRequest: The peer disconnected, broke the framing or was too slow.
        """
        parts, size = [], 0
        async with _limit(self._policy.body_timeout_s, IncompleteRequest("the body is too slow", 408)):
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
        head = [(name.encode("ascii"), value.encode()) for name, value in headers]
        if self._must_close:
            head.append((b"connection", b"close"))
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

    async def respond_json(self, status: int, document: object, headers: Headers = ()) -> None:
        """`respond` with a JSON document."""
        await self.respond(status, [*JSON_HEADERS, *headers], json.dumps(document).encode())

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

    async def _read_head(self, first_byte_timeout_s: float | None) -> bool:
        """Read the head of the next request; False if the peer sends no more requests.

        Raises:
            TimeoutError: No request has begun in time.
            IncompleteRequest: Its head is invalid or too slow.
        """
        if not self._http.trailing_data[0]:
            async with asyncio.timeout(first_byte_timeout_s):
                self._http.receive_data(await self._reader.read(READ_SIZE))
        async with _limit(self._policy.head_timeout_s, IncompleteRequest("the head is too slow", 408)):
            event = await next_event(self._http, self._reader)
        if not isinstance(event, h11.Request):
            return False
        self.method, self.target = event.method.decode("ascii"), event.target.decode("ascii")
        self.http_version = event.http_version.decode("ascii")
        self.headers = decode_headers(event.headers)
        self._resolve_target()
        # RFC 9112, 6.3: whoever sent both lengths may have meant the other one, so nothing more is read.
        self._must_close = bool(self.header("content-length") and self.header("transfer-encoding"))
        return True

    def _resolve_target(self) -> None:
        """Turn the absolute form, as sent through a proxy, into path and `Host` (RFC 9112, 3.2.2)."""
        if absolute := _ABSOLUTE_FORM.fullmatch(self.target):
            host, rest = absolute.groups()
            self.target = rest if rest.startswith("/") else f"/{rest}"
            self.headers = [(name, host if name == "host" else value) for name, value in self.headers]
        if not self.target.startswith("/"):
            self._must_close = True
            raise IncompleteRequest("the target is no path")

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
        self._handler, self._policy = handler, _UNLIMITED
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def listen(self, host: str, port: int = 0, policy: RequestPolicy = _UNLIMITED) -> None:
        """Start listening; port 0 chooses a free one. Sets `self.port`.

        Without a policy a peer may take its time, as a frozen process does, and give any `Host`.

        Raises:
            OSError: The address is not available; `strerror` says which one and why.
        """
        self._policy = policy if policy.hosts is None else replace(policy, hosts=(*policy.hosts, host))
        try:
            self._server = await asyncio.start_server(self._on_connection, host, port, backlog=1024)
        except OSError as error:
            reason = _IN_USE if error.errno == errno.EADDRINUSE else f"is not available: {error.strerror}"
            raise OSError(error.errno, f"{host}:{port} {reason}") from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def drain(self, timeout_s: float) -> None:
        """Wait until every open connection has ended, but not longer than this."""
        if self._connections:
            await asyncio.wait(self._connections, timeout=timeout_s)

    async def close(self) -> None:
        """Stop listening, cancel open connections and wait until they have ended."""
        if self._server is not None:
            self._server.close()
        await cancel_all(self._connections)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _on_connection(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve_connection(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve_connection(self, reader: StreamReader, writer: StreamWriter) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        exchange, timeout_s = Exchange(http, reader, writer, self._policy), self._policy.head_timeout_s
        try:
            while await exchange._read_head(timeout_s):  # noqa: SLF001 - same module
                await self._handle_request(exchange)
                if not exchange._start_next_cycle():  # noqa: SLF001 - likewise
                    break
                exchange, timeout_s = Exchange(http, reader, writer, self._policy), self._policy.idle_timeout_s
        except IncompleteRequest as error:
            with contextlib.suppress(ValueError, ConnectionError):  # if a response can still be sent
                await _refuse(exchange, error.status, HTTPStatus(error.status).phrase)
        except (ConnectionError, TimeoutError):
            _LOGGER.debug("the peer disconnected during a response, or sent no further request")
        finally:
            writer.close()

    async def _handle_request(self, exchange: Exchange) -> None:
        host = exchange.header("host")
        try:
            if self._policy.serves(host):
                await self._handler(exchange)
            else:
                await _refuse(exchange, 421, f"{host} is not served here. --allow-host NAME adds a name.")
        except (ConnectionError, IncompleteRequest):
            raise
        except Exception:
            _LOGGER.exception("%s %s failed", exchange.method, exchange.target)
            if exchange.response_started:
                exchange.abort()
            else:
                await exchange.respond(500, [("content-type", "text/plain")], b"Internal Server Error")


async def _refuse(exchange: Exchange, status: int, message: str) -> None:
    await exchange.respond(status, [("content-type", "text/plain"), ("connection", "close")], message.encode())


@contextlib.asynccontextmanager
async def _limit(timeout_s: float | None, error: IncompleteRequest) -> AsyncIterator[None]:
    """Raise `error` if the block takes longer."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        raise error from None


async def next_event(http: h11.Connection, reader: StreamReader) -> object:
    """The next event of h11 that the peer causes.

    Raises:
        IncompleteRequest: The peer disconnected within a message, or broke the framing.
    """
    try:
        while (event := http.next_event()) is h11.NEED_DATA:
            http.receive_data(await reader.read(READ_SIZE))
    except h11.RemoteProtocolError as error:
        raise IncompleteRequest(str(error), error.error_status_hint) from error
    return event


def decode_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Names and values as text."""
    return [(name.decode("ascii"), _decode_text(value)) for name, value in headers]


def _decode_text(value: bytes) -> str:
    with contextlib.suppress(UnicodeDecodeError):
        return value.decode()
    return value.decode("latin-1")
