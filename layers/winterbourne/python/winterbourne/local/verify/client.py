"""An HTTP/1.1 client that sees what is measured: when which bytes arrive, whether a body is whole, and its trailers.

Not httpx, which hides all three. It uses no proxy, since a proxy may wait for the whole response.
"""

import contextlib
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, Self

import h11

from winterbourne.chat.http_library import httpx

__all__ = ["Answer", "Connection", "Socket", "connect"]

CONNECT_TIMEOUT_S: Final = 10.0
SILENCE_S: Final = 90.0
"""How long nothing may arrive; the function's Timeout is shorter."""
READ_SIZE: Final = 1 << 16

Pairs = Sequence[tuple[str, str]]


class Socket(Protocol):
    """What is needed of a connected socket."""

    def sendall(self, data: bytes, /) -> None:
        """Send all of this."""

    def recv(self, size: int, /) -> bytes:
        """What has arrived, once something has; nothing at the end."""

    def close(self) -> None:
        """Close it."""


def connect(host: str, port: int, tls: bool) -> Socket:  # noqa: FBT001 - one of three plain facts of an address
    """A connected socket.

    Raises:
        OSError: Nothing answers there.
    """
    connected = socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S)
    connected.settimeout(SILENCE_S)
    return httpx.create_ssl_context().wrap_socket(connected, server_hostname=host) if tls else connected


@dataclass
class Answer:
    """A response as it arrived.

    Attributes:
        status: The HTTP status.
        headers: Names in lower case, and values.
        pieces: The pieces of the body, each with the seconds from the request until it arrived.
        trailers: Headers after the body.
        is_whole: Whether the body ended as its framing says; False if the connection broke, or went silent.
        ended_s: Seconds from the request to the end.
    """

    status: int = 0
    headers: Pairs = ()
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    trailers: Pairs = ()
    is_whole: bool = False
    ended_s: float = 0.0

    @property
    def body(self) -> bytes:
        """All that arrived of it."""
        return b"".join(piece for _, piece in self.pieces)

    @property
    def first_byte_s(self) -> float:
        """Seconds from the request to the first byte of the body; to the end if there is none."""
        return self.pieces[0][0] if self.pieces else self.ended_s

    def header(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.headers if key == name]

    def lines(self) -> list[tuple[float, bytes]]:
        """The whole lines of the body, each with the seconds until its end arrived."""
        found, rest = [], b""
        for at_s, piece in self.pieces:
            *whole, rest = (rest + piece).split(b"\n")
            found += [(at_s, line) for line in whole]
        return found


class Connection:
    """A connection for several requests, one after another; a context manager that closes it.

    Args:
        connected: The socket.
        host: Value of the `Host` header.
        clock: Monotonic time in seconds.
        base: What each path begins with, such as a stage of a REST API.
    """

    def __init__(self, connected: Socket, host: str, clock: Callable[[], float], base: str = "") -> None:
        self._socket, self._host, self._clock, self._base = connected, host, clock, base
        self._http = h11.Connection(h11.CLIENT)

    def ask(self, method: str, path: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> Answer:
        """Send a request and read the response to its end.

        Raises:
            ConnectionError: It ended before the head of a response, or what came is not HTTP.
            TimeoutError: Nothing came.
        """
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        answer, self._now_s = Answer(), self._clock()
        started_s = self._now_s
        self._send(h11.Request(method=method, target=self._base + path, headers=[("host", self._host), *headers]))
        self._send(h11.Data(data=body))
        self._send(h11.EndOfMessage())
        try:
            while not answer.is_whole:
                self._take(answer, started_s)
        except (OSError, h11.RemoteProtocolError) as error:
            if not answer.status:
                raise ConnectionError(str(error)) from error
        answer.ended_s = self._clock() - started_s
        return answer

    def _send(self, event: h11.Event) -> None:
        if data := self._http.send(event):
            self._socket.sendall(data)

    def _take(self, answer: Answer, started_s: float) -> None:
        """Take the next event; what arrives together has one time."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            data, self._now_s = self._socket.recv(READ_SIZE), self._clock()
            self._http.receive_data(data)
        if isinstance(event, h11.Response):
            answer.status, answer.headers = event.status_code, _decode(event.headers)
        elif isinstance(event, h11.Data):
            answer.pieces.append((self._now_s - started_s, bytes(event.data)))
        elif isinstance(event, h11.EndOfMessage):
            answer.trailers, answer.is_whole = _decode(event.headers), True
        elif isinstance(event, h11.ConnectionClosed):
            raise ConnectionError("the connection was closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()


def _decode(headers: Iterable[tuple[bytes, bytes]]) -> Pairs:
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]
