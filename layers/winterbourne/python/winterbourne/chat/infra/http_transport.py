"""An httpx transport over asyncio: HTTP/1.1 to one origin per connection, with a pool of connections.

httpx's own transport takes more than three times as long for a read that brings one token, as models send them: layers
of generators, a lock and a timer for each. Here a read is fed to the parser in the protocol's callback and wakes the
task that awaits it. h11 writes requests and reads heads. Bodies are taken out of their framing here, since a model's
tokens come in a chunk each: 1.1 µs a chunk, h11 takes 6.5. Where h11 is lenient with chunks this is strict: lines end
with CRLF; control characters and folded lines are refused. What a server sends is bounded: heads, lines, and what is
unread, since a connection is not read while its response's consumer is slow.

Connections are kept as `httpx.Limits` says; who waits for one is served in turn. A connection carries another request
only if the last one was sent and answered completely, the server allows it, and nothing has arrived since: an answer to
no request, or the end.
"""

import asyncio
import contextvars
import re
import select
import ssl
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, cast

import h11
import msgspec

from winterbourne.chat.http_library import httpx
from winterbourne.override import override

__all__ = ["AsyncioTransport", "BodyReader", "PoolMarks", "PoolStats", "body_length", "marks"]

MAX_HEAD_BYTES: Final = 100 * 1024
MAX_UNREAD_BYTES: Final = 256 * 1024
"""Above this a connection is not read until its response's body is."""

CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2

MAX_LINES_BYTES: Final = 16 * 1024
"""Limit for the line before a chunk, and for all trailers together."""

_CRLF: Final = b"\r\n"
_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[^\x00-\x08\x0a-\x1f\x7f]*|[ \t]*)\r\n")
_TRAILERS: Final = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00-\x08\x0a-\x1f\x7f]*\r\n)*\r\n")

_MAX_JOINED_BYTES: Final = 64 * 1024  # what is larger is not copied to be sent together with its head
_MAX_INTERIM_RESPONSES: Final = 100  # with a status of 1xx, before the response
_HAPPY_EYEBALLS_DELAY_S: Final = 0.25  # RFC 8305, section 5
_PORTS: Final = {"http": 80, "https": 443}
_MAX_PORT: Final = 65535

_BUFFER: Final = memoryview(bytearray(64 * 1024))
_MAX_RECORD_BYTES: Final = 16 * 1024  # of TLS, decrypted

SocketOptions = Iterable[tuple[int, int, int]]


class PoolStats(msgspec.Struct, frozen=True):
    """Numbers of open connections, of idle ones among them, and of requests that wait for a connection."""

    open: int
    idle: int
    waiting: int


class PoolMarks(msgspec.Struct):
    """High-water marks of a pool, as the requests on behalf of one invocation have met it."""

    open: int = 0
    waiting: int = 0

    def rise(self, open_: int, waiting: int) -> None:
        """Raise them to figures that are higher."""
        self.open, self.waiting = max(self.open, open_), max(self.waiting, waiting)


marks: Final = contextvars.ContextVar[tuple[PoolMarks, PoolMarks] | None]("marks", default=None)
"""Those of the current invocation: of the async and of the sync client's pool."""


class _Origin(NamedTuple):
    is_tls: bool
    host: str
    port: int
    server_name: str


class AsyncioTransport(httpx.AsyncBaseTransport):
    """Sends requests over connections that it keeps.

    Args:
        verify: The TLS context.
        limits: How many connections there may be, how many of them idle, and for how long.
        socket_options: Arguments of `setsockopt` for each connection.
    """

    def __init__(self, *, verify: ssl.SSLContext, limits: httpx.Limits, socket_options: SocketOptions = ()) -> None:
        verify.set_alpn_protocols(["http/1.1"])
        self._ssl_context = verify
        self._max_open = _limit(limits.max_connections)
        self._max_idle = _limit(limits.max_keepalive_connections)
        self._expiry_s = _limit(limits.keepalive_expiry)
        self._socket_options = socket_options
        self._open: set[_Connection] = set()
        self._idle: list[_Connection] = []  # the longest idle first
        self._waiting: dict[asyncio.Future[_Connection], _Origin] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request and return the response, whose body is read as it is iterated.

        Its extension `reserved` says how many connections beyond the limit there may be for it.

        Raises:
            httpx.TransportError: As httpx's own transport.

        Cancellation:
            The connection is closed, unless the response was complete.
        """
        if self._loop is not asyncio.get_running_loop():
            self._enter_loop()
        origin = _origin_of(request)
        timeouts = request.extensions.get("timeout", {})
        connection = await self._acquire(origin, timeouts.get("pool"), request.extensions.get("reserved", 0))
        if connection not in self._open:  # it was lost in the turn in which it was granted
            self._open.add(connection := _Connection(self, origin))
        connection.exchange = exchange = _Exchange(connection, request, timeouts)
        try:
            if not connection.is_connected:
                await connection.connect(self._ssl_context, self._socket_options, timeouts.get("connect"))
            await exchange.send()
            head = await exchange.receive_head()
        except BaseException:
            exchange.abandon()
            raise
        headers = head.headers.raw_items()  # as they came, in capitals too
        extensions = {"http_version": b"HTTP/" + head.http_version, "reason_phrase": head.reason}
        return httpx.Response(head.status_code, headers=headers, stream=exchange, extensions=extensions)

    def stats(self) -> PoolStats:
        """The current figures."""
        return PoolStats(len(self._open), len(self._idle), len(self._waiting))

    @override
    async def aclose(self) -> None:
        """Close all connections, including those in use."""
        self._enter_loop()
        for connection in [*self._open]:
            connection.abort(ConnectionAbortedError("the client was closed"))
        for _ in range(2):  # turns of the loop, until the sockets are closed
            await asyncio.sleep(0)

    def _enter_loop(self) -> None:
        """Leave connections behind that belong to another event loop, which has ended: nothing can be sent on them."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            self._open, self._idle, self._waiting = set(), [], {}

    async def _acquire(self, origin: _Origin, timeout_s: float | None, reserved: int) -> "_Connection":
        """A connection for one request, idle until now or not yet open."""
        if connection := self._grant(origin, reserved):
            self._raise_marks()
            return connection
        waiter: asyncio.Future[_Connection] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = origin
        self._raise_marks()
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter
        except BaseException as error:
            self._waiting.pop(waiter, None)
            if waiter.done() and not waiter.cancelled():  # granted in the same turn
                self.release(waiter.result())
            if isinstance(error, TimeoutError):
                raise httpx.PoolTimeout("no connection became free in time") from error
            raise

    def _raise_marks(self) -> None:
        if met := marks.get():
            met[0].rise(len(self._open), len(self._waiting))

    def _grant(self, origin: _Origin, reserved: int = 0) -> "_Connection | None":
        """A connection for this origin, if there is one or room for one, `reserved` ones beyond the limit included."""
        expired_s = asyncio.get_running_loop().time() - self._expiry_s
        for connection in [*reversed(self._idle)]:
            if connection.idle_since < expired_s or (connection.origin == origin and connection.has_news()):
                self._close(connection)
            elif connection.origin == origin:
                self._idle.remove(connection)
                return connection
        if len(self._open) >= self._max_open and self._idle:
            self._close(self._idle[0])
        if len(self._open) >= self._max_open + reserved:
            return None
        connection = _Connection(self, origin)
        self._open.add(connection)
        return connection

    def release(self, connection: "_Connection") -> None:
        """Take back a connection that can carry another request, or that was not opened."""
        if connection.is_connected:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
            if len(self._idle) > self._max_idle and not self._waiting:
                self._close(self._idle[0])
        else:
            self._open.discard(connection)
        self._serve_waiting()

    def discard(self, connection: "_Connection") -> None:
        """Forget a connection that is closed."""
        if connection in self._open:
            self._forget(connection)
            self._serve_waiting()

    def _forget(self, connection: "_Connection") -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _close(self, connection: "_Connection") -> None:
        self._forget(connection)
        connection.abort()

    def _serve_waiting(self) -> None:
        while self._waiting:
            waiter, origin = next(iter(self._waiting.items()))
            if not waiter.done():
                if not (connection := self._grant(origin)):
                    return  # none is idle and there is no room, so it is the same for all who wait
                waiter.set_result(connection)
            del self._waiting[waiter]


class _Connection(asyncio.BufferedProtocol):
    """One connection: hands what arrives to the exchange that it carries.

    All read into one buffer. Else asyncio makes one of 256 KiB for each read, and cuts it down to what was read. Of TLS
    all that has arrived is to fit: asyncio reads no more once the peer has closed its side.
    """

    transport: asyncio.Transport  # once it is connected

    def __init__(self, pool: AsyncioTransport, origin: _Origin) -> None:
        self.origin = origin
        self.exchange: _Exchange | None = None
        self.idle_since = 0.0
        self.is_connected = self.is_full = False
        self._pool = pool

    async def connect(self, context: ssl.SSLContext, socket_options: SocketOptions, timeout_s: float | None) -> None:
        """Open the connection, with TLS if the origin has it.

        Raises:
            httpx.ConnectError: It cannot be opened, or the server's certificate is not valid.
            httpx.ConnectTimeout: Not in time.
        """
        is_tls, host, port, server_name = self.origin
        options: dict[str, Any] = {"ssl": context, "server_hostname": server_name} if is_tls else {}
        if host[-1:].isalpha() and ":" not in host:  # else it is an address, and there is no race of several
            options["happy_eyeballs_delay"] = _HAPPY_EYEBALLS_DELAY_S
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.get_running_loop().create_connection(lambda: self, host, port, **options)
            opened = self.transport.get_extra_info("socket")
            for option in socket_options:
                opened.setsockopt(*option)
        except TimeoutError as error:
            raise httpx.ConnectTimeout(str(error)) from error
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError(str(error)) from error

    def has_news(self) -> bool:
        """Whether something has arrived that the loop has not seen yet: on an idle connection, its end."""
        if self.transport.is_closing():
            return True
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket"), select.POLLIN)
        return bool(poll.poll(0))

    def abort(self, reason: Exception | None = None) -> None:
        """Close the connection; with a reason, a response that it carries is broken.

        The socket is closed in the loop's next turn: asyncio's TLS may be in the middle of a read.
        """
        if self.is_connected:
            self.is_connected = False
            asyncio.get_running_loop().call_soon(self.transport.abort)
        self._end(reason)

    def finish(self, *, can_be_reused: bool) -> None:
        """End the exchange, whose response is complete."""
        self.exchange = None
        if not can_be_reused or self.transport.is_closing():
            self.abort()
            return
        self.transport.resume_reading()
        self._pool.release(self)

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.is_connected = True
        if not self.exchange:  # it was closed while it was opened
            self.abort()

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        needed = sizehint + _MAX_RECORD_BYTES  # what has arrived, or -1; and the rest of a record that is read in part
        self._buffer = _BUFFER if needed <= len(_BUFFER) else memoryview(bytearray(needed))
        return self._buffer

    @override
    def buffer_updated(self, nbytes: int) -> None:
        if self.exchange:
            self.exchange.receive(bytes(self._buffer[:nbytes]))
        else:
            self.abort()

    @override
    def eof_received(self) -> None:
        self.abort(None if self._is_closed_by_peer() else ConnectionAbortedError("TLS ended without being closed"))

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.is_connected = False
        self._end(exc)

    @override
    def pause_writing(self) -> None:
        self.is_full = True

    @override
    def resume_writing(self) -> None:
        self.is_full = False
        if self.exchange:
            self.exchange.wake()

    def _is_closed_by_peer(self) -> bool:
        """Whether the end that came is the peer's, not one that anybody on the way can make: RFC 9112, section 9.8."""
        tls: ssl.SSLObject | None = self.transport.get_extra_info("ssl_object")
        try:
            return not tls or not tls.read(1)
        except ssl.SSLError:
            return False

    def _end(self, reason: Exception | None) -> None:
        exchange, self.exchange = self.exchange, None
        if exchange:
            exchange.receive_end(reason)
        self._pool.discard(self)


class _Exchange(httpx.AsyncByteStream):
    """One request and its response; iterating it yields the response's body, one item per read of the socket."""

    def __init__(self, connection: _Connection, request: httpx.Request, timeouts: dict[str, float | None]) -> None:
        self._connection = connection
        self._request = request
        self._timeouts = timeouts
        self._h11 = h11.Connection(h11.CLIENT, MAX_HEAD_BYTES)
        self._head: h11.Response | None = None
        self._interim_responses = 0
        self._body: BodyReader | None = None
        self._unread: list[bytes] = []
        self._unread_bytes = 0
        self._is_over = False  # nothing will arrive any more
        self._error: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._waits_for = ""
        self._waits_since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def send(self) -> None:
        """Send the request, as much of it as the server takes.

        Raises:
            httpx.LocalProtocolError: The request is no valid HTTP.
            httpx.WriteTimeout: The server takes no more.
        """
        if self._is_over:  # before it began
            return
        request = self._request
        transport = self._connection.transport
        target, headers = request.url.raw_path, request.headers.raw
        try:
            unsent = self._encode(h11.Request(method=request.method, target=target, headers=headers))
            async for data in cast("httpx.AsyncByteStream", request.stream):
                encoded = self._encode(h11.Data(data=data))
                if len(encoded) > _MAX_JOINED_BYTES:
                    transport.write(unsent)
                    unsent = b""
                transport.write(unsent + encoded)
                unsent = b""
                while self._connection.is_full and not self._is_refused():
                    await self._wait("write")
                if self._is_refused():
                    return
            if unsent := unsent + self._encode(h11.EndOfMessage()):
                transport.write(unsent)
        except h11.LocalProtocolError as error:
            raise httpx.LocalProtocolError(str(error)) from error

    def _encode(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> bytes:
        return self._h11.send(event) or b""

    def _is_refused(self) -> bool:
        """Whether the rest of the request is of no use: the server has answered so, or is gone."""
        is_gone = self._is_over or self._connection.transport.is_closing()
        return is_gone or bool(self._head and self._head.status_code >= 300)

    async def receive_head(self) -> h11.Response:
        """Wait for the response's head.

        Raises:
            httpx.TransportError: There is none.
        """
        while not self._head:
            if self._error:
                raise self._error
            await self._wait("read")
        return self._head

    @override
    def __aiter__(self) -> "_Exchange":
        return self

    async def __anext__(self) -> bytes:
        while not self._unread:
            if self._error:
                raise self._error
            if self._is_over:
                raise StopAsyncIteration
            try:
                await self._wait("read")
            except BaseException:  # it is cancelled
                self.abandon()
                raise
        data = self._unread[0] if len(self._unread) == 1 else b"".join(self._unread)
        self._unread.clear()
        if self._unread_bytes > MAX_UNREAD_BYTES and not self._is_over:
            self._connection.transport.resume_reading()
        self._unread_bytes = 0
        return data

    @override
    async def aclose(self) -> None:
        """Close the connection, unless the response is complete."""
        self.abandon()

    def abandon(self) -> None:
        """Close the connection, unless the response is complete: it may carry another request."""
        if not self._is_over:
            self._end(httpx.ReadError("the response was closed before its end"))
            self._connection.abort()

    def receive(self, data: bytes) -> None:
        """Take the data of one read."""
        if self._body is None:
            try:
                data = self._read_head(data)
            except h11.RemoteProtocolError as error:
                self._fail(httpx.RemoteProtocolError(str(error)))
                return
        if self._body and (data := self._body.feed(data)):
            self._unread.append(data)
            self._unread_bytes += len(data)
            if self._unread_bytes > MAX_UNREAD_BYTES:
                self._connection.transport.pause_reading()
        if self._body and (self._body.ended or self._body.error):
            self._conclude(self._body)
        self.wake()

    def receive_end(self, reason: Exception | None) -> None:
        """Take the end of the connection, or what broke it."""
        if self._is_over:
            return
        if self._body and not reason:
            self._body.close()
        if reason:
            self._fail(httpx.ReadError(str(reason)), reason)
        elif not self._body:
            self._fail(httpx.RemoteProtocolError("Server disconnected without sending a response."))
        elif self._body.error:
            self._fail(httpx.RemoteProtocolError(self._body.error))
        else:
            self._end(None)
            self.wake()

    def wake(self) -> None:
        """Something has happened: let the task look that waits."""
        waiter, self._waiter = self._waiter, None
        if waiter and not waiter.done():
            waiter.set_result(None)

    def _read_head(self, data: bytes) -> bytes:
        """Parse what has come of the head; return what came after it."""
        if self._h11.our_state is h11.IDLE:
            raise h11.RemoteProtocolError("the server answered before it was asked")
        self._h11.receive_data(data)
        while isinstance(event := self._h11.next_event(), h11.InformationalResponse):
            self._interim_responses += 1
            if event.status_code == 101 or self._interim_responses > _MAX_INTERIM_RESPONSES:
                raise h11.RemoteProtocolError("the server sent interim responses that were not asked for")
        if not isinstance(event, h11.Response):
            return b""
        self._head = event
        self._body = BodyReader(body_length(event, self._request.method))
        return self._h11.trailing_data[0]

    def _conclude(self, body: "BodyReader") -> None:
        if body.error:
            self._fail(httpx.RemoteProtocolError(body.error))
            return
        self._end(None)
        is_sent_and_kept = self._h11.our_state is h11.DONE  # not so if either side asks to close the connection
        self._connection.finish(can_be_reused=is_sent_and_kept and not body.rest and not self._is_ambiguous())

    def _is_ambiguous(self) -> bool:
        """Whether the head tells of two framings, as in response smuggling: RFC 9112, section 6.3."""
        names = {name for name, _ in self._head.headers} if self._head else set[bytes]()
        return {b"transfer-encoding", b"content-length"} <= names

    def _fail(self, error: httpx.TransportError, cause: Exception | None = None) -> None:
        error.request, error.__cause__ = self._request, cause
        self._end(error)
        self._connection.abort()
        self.wake()

    def _end(self, error: Exception | None) -> None:
        self._is_over, self._error = True, error
        if self._timer:
            self._timer.cancel()

    def _wait(self, kind: str) -> asyncio.Future[None]:
        """What to await until something has happened. The timer is set once, not with each read."""
        if self._timer and kind != self._waits_for:
            self._timer.cancel()
            self._timer = None
        self._waits_for, self._waits_since = kind, self._loop.time()
        if self._timer is None and (timeout_s := self._timeouts.get(kind)) is not None:
            self._timer = self._loop.call_later(timeout_s, self._check_time, timeout_s)
        self._waiter = self._loop.create_future()
        return self._waiter

    def _check_time(self, timeout_s: float) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        due = self._waits_since + timeout_s
        if self._loop.time() < due:
            self._timer = self._loop.call_at(due, self._check_time, timeout_s)
        else:
            make_error = httpx.ReadTimeout if self._waits_for == "read" else httpx.WriteTimeout
            self._fail(make_error(f"nothing for {timeout_s:g} s"))


def body_length(head: h11.Response, method: str) -> int:
    """How many bytes of body follow a head that h11 has accepted, CHUNKED, or UNTIL_CLOSE."""
    if method == "HEAD" or head.status_code in {204, 304}:
        return 0
    headers = dict(head.headers)
    if b"transfer-encoding" in headers:  # h11 accepts no other than chunked
        return CHUNKED
    return int(headers.get(b"content-length", UNTIL_CLOSE))


class BodyReader:
    """Takes a response's body out of its framing, sans-I/O: RFC 9112, sections 6.3 and 7.1.

    Args:
        length: As `body_length` returns it.

    Attributes:
        ended: Whether the body is complete.
        error: What is wrong with the framing, if anything: the data before is good, and nothing follows.
        rest: What came after the end.
    """

    def __init__(self, length: int) -> None:
        self.ended = length == 0
        self.error = ""
        self.rest = b""
        self._length = length
        self._left = max(length, 0)  # of the body, or of a chunk's data
        self._needs_crlf = self._is_last = False

    def feed(self, data: bytes) -> bytes:
        """The part of the body in the data of one read."""
        if self._length == UNTIL_CLOSE:
            return data
        if self._length == CHUNKED:
            return self._feed_chunks(data)
        body, self.rest = data[: self._left], data[self._left :]
        self._left -= len(body)
        self.ended = not self._left
        return body

    def close(self) -> None:
        """Handle the end of the connection."""
        if self._length == UNTIL_CLOSE:
            self.ended = True
        elif not self.ended:
            self.error = "the server closed the connection before the end of the body"

    def _feed_chunks(self, data: bytes) -> bytes:
        data, self.rest = self.rest + data, b""
        pieces, at, end = [], 0, len(data)
        while at < end:
            if self._left:
                pieces.append(data[at : at + self._left])
                at += len(pieces[-1])
                self._left -= len(pieces[-1])
                self._needs_crlf = not self._left
            elif self._needs_crlf:
                if not data.startswith(_CRLF, at):
                    self._stop_at(data, at, is_incomplete=data[at:] == b"\r")
                    break
                at += 2
                self._needs_crlf = False
            elif match := (_TRAILERS if self._is_last else _SIZE_LINE).match(data, at):
                at = match.end()
                if self._is_last:
                    self.ended, self.rest = True, data[at:]
                    break
                self._left = int(match[1], 16)
                self._is_last = not self._left
            else:
                lines_end = b"\r\n\r\n" if self._is_last else b"\n"
                is_incomplete = lines_end not in data[at:] and end - at <= MAX_LINES_BYTES
                self._stop_at(data, at, is_incomplete=is_incomplete)
                break
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _stop_at(self, data: bytes, at: int, *, is_incomplete: bool) -> None:
        """Keep what is incomplete for the next read."""
        self.rest = data[at:]
        self.error = "" if is_incomplete else "the server sent a body with broken chunks"


def _limit(limit: float | None) -> float:
    return float("inf") if limit is None else limit


def _origin_of(request: httpx.Request) -> _Origin:
    url = request.url
    if url.scheme not in _PORTS:
        raise httpx.UnsupportedProtocol(f"the URL has to begin with http:// or https://, not with {url.scheme!r}")
    host = url.raw_host.decode("ascii")
    port = url.port or _PORTS[url.scheme]
    if port > _MAX_PORT:  # or the resolver takes its lower 16 bits
        raise httpx.LocalProtocolError(f"there is no port {port}")
    return _Origin(url.scheme == "https", host, port, request.extensions.get("sni_hostname") or host)
