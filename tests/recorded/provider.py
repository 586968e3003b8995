"""Scripted provider of the recorded cases: sends the given responses byte for byte, records the requests."""

import contextlib
import json
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import httpx

from tests.recorded.cases.tokens import FILE as KEYS
from tests.recorded.exchange import Answer, Piece
from winterbourne.override import override

__all__ = ["Provider", "ProviderRequest", "provider"]

NOTHING_LEFT: Final = Answer(body=b'{"error":{"message":"nobody expected this"}}', status=400)
HOLD_TIMEOUT_S: Final = 20
RECEIVE_TIMEOUT_S: Final = 10
RECEIVED_PATH: Final = "/v1/heard/"


@dataclass(frozen=True)
class ProviderRequest:
    """One request to the provider."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Provider:
    """Responds with the expected answers, in order."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[ProviderRequest] = []
        self._answers: deque[Answer] = deque()
        self._held = threading.Event()
        self._url = ""
        self._received = b""
        self._received_changed = threading.Condition()
        self.marks: list[tuple[int, str]] = []

    def expect(self, answers: Iterable[Answer], url: str = "") -> None:
        """Use these answers from now on, and none left from before; the client calls the server at `url`."""
        self._answers = deque(answers)
        self.requests = []
        self._held.clear()
        self._url, self._received, self.marks = url, b"", []

    def note_received(self, body: bytes) -> None:
        """Set what the client has received so far."""
        with self._received_changed:
            self._received = body
            self._received_changed.notify_all()

    def wait_until_received(self, word: bytes) -> None:
        """Wait until the client has received a word."""
        with self._received_changed:
            self._received_changed.wait_for(lambda: word in self._received, RECEIVE_TIMEOUT_S)

    def wait_until_meaning_received(self, piece: Piece) -> None:
        """Wait until the client has received what a piece causes; mark the position."""
        before = self.marks[-1][0] if self.marks else 0
        if not piece.means:
            httpx.get(f"{self._url}/healthz", timeout=30)  # answered, so the server has read what was sent before
        with self._received_changed:
            was_received = self._received_changed.wait_for(lambda: self._has(piece.means, before), RECEIVE_TIMEOUT_S)
            self.marks.append(
                (len(self._received), "~" if was_received else f"~ {piece.means.decode()} was not received")
            )

    def release(self) -> None:
        """Let the held-back rest be sent."""
        self._held.set()

    def answer(self, request: ProviderRequest) -> Answer:
        """Record a request and return the next answer."""
        self.requests.append(request)
        return self._answers.popleft() if self._answers else NOTHING_LEFT

    def wait_for_release(self) -> None:
        """Wait until the held-back rest may be sent."""
        self._held.wait(HOLD_TIMEOUT_S)

    def _has(self, means: bytes, before: int) -> bool:
        return not means or (means in self._received[before:] and self._received.endswith(b"\n\n"))


class _Server(ThreadingHTTPServer):
    """An HTTP server whose handlers can reach the provider."""

    daemon_threads = True
    provider: Provider


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.provider.answer(ProviderRequest(self.command, self.path, headers, body))
        self.close_connection = True
        with contextlib.suppress(ConnectionError):  # stopping an answer closes the connection
            self.connection.sendall(_bytes(answer))
            for piece in answer.pieces:
                self.connection.sendall(piece.body)
                if piece is not answer.pieces[-1]:
                    self.server.provider.wait_until_meaning_received(piece)
            if answer.held:
                self.server.provider.wait_for_release()
                self.connection.sendall(answer.held)

    def do_GET(self) -> None:
        """Send the issuer's keys (JWKS); for a tool, first wait until the client has received a word."""
        if self.path.startswith(RECEIVED_PATH):
            self.server.provider.wait_until_received(self.path.removeprefix(RECEIVED_PATH).encode())
        self.close_connection = True
        self.connection.sendall(_bytes(Answer(body=KEYS.read_bytes(), headers={"content-type": "application/json"})))

    @override
    def log_message(self, *_: object) -> None:
        pass


def _bytes(answer: Answer) -> bytes:
    """Head and body, with a content length, so that a shorter body is recognized as a broken connection."""
    length = len(answer.body) + sum(len(piece.body) for piece in answer.pieces) + len(answer.held) + answer.is_cut
    headers = {**answer.headers, "content-length": str(length), "connection": "close"}
    lines = [f"HTTP/1.1 {answer.status} -", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + answer.body


@contextlib.contextmanager
def provider() -> Iterator[Provider]:
    """Run a provider on a free port of this machine."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.provider = Provider(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.provider
        finally:
            server.provider.release()
            server.shutdown()
            thread.join()
