"""The model's provider of the recorded cases: says what it is told to, byte for byte, and keeps what it was asked."""

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

__all__ = ["Asked", "Provider", "provider"]

NOTHING_LEFT: Final = Answer(body=b'{"error":{"message":"nobody expected this"}}', status=400)
HELD_S: Final = 20
HEARD_S: Final = 10
HEARD: Final = "/v1/heard/"


@dataclass(frozen=True)
class Asked:
    """One request to the provider."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Provider:
    """Answers in the order in which answers were given to it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[Asked] = []
        self._answers: deque[Answer] = deque()
        self._held = threading.Event()
        self._url = ""
        self._heard = b""
        self._hearing = threading.Condition()
        self.marks: list[tuple[int, str]] = []

    def expect(self, answers: Iterable[Answer], url: str = "") -> None:
        """These come next, and nothing that was left from before; the client talks to the server at `url`."""
        self._answers = deque(answers)
        self.asked = []
        self._held.clear()
        self._url, self._heard, self.marks = url, b"", []

    def hear(self, body: bytes) -> None:
        """What the client has received by now."""
        with self._hearing:
            self._heard = body
            self._hearing.notify_all()

    def wait_until_heard(self, word: bytes) -> None:
        """Until the client has received a word."""
        with self._hearing:
            self._hearing.wait_for(lambda: word in self._heard, HEARD_S)

    def settle(self, piece: Piece) -> None:
        """Until the client has received what a piece means; mark the place."""
        before = self.marks[-1][0] if self.marks else 0
        if not piece.means:
            httpx.get(f"{self._url}/healthz")  # its loop has turned, so what we sent before it is read
        with self._hearing:
            heard = self._hearing.wait_for(lambda: self._has(piece.means, before), HEARD_S)
            self.marks.append((len(self._heard), "~" if heard else f"~ {piece.means.decode()} was not received"))

    def go_on(self) -> None:
        """What was held back may be said."""
        self._held.set()

    def answer(self, asked: Asked) -> Answer:
        """The answer that is next."""
        self.asked.append(asked)
        return self._answers.popleft() if self._answers else NOTHING_LEFT

    def wait(self) -> None:
        """Until what was held back may be said."""
        self._held.wait(HELD_S)

    def _has(self, means: bytes, before: int) -> bool:
        return not means or (means in self._heard[before:] and self._heard.endswith(b"\n\n"))


class _Server(ThreadingHTTPServer):
    """Knows whom its handlers speak for."""

    daemon_threads = True
    provider: Provider


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.provider.answer(Asked(self.command, self.path, headers, body))
        self.close_connection = True
        with contextlib.suppress(ConnectionError):  # a stopped answer closes its line
            self.connection.sendall(_bytes(answer))
            for piece in answer.pieces:
                self.connection.sendall(piece.body)
                if piece is not answer.pieces[-1]:
                    self.server.provider.settle(piece)
            if answer.held:
                self.server.provider.wait()
                self.connection.sendall(answer.held)

    def do_GET(self) -> None:
        """The keys of who issues the tokens; or, for a tool, that the client has received a word."""
        if self.path.startswith(HEARD):
            self.server.provider.wait_until_heard(self.path.removeprefix(HEARD).encode())
        self.close_connection = True
        self.connection.sendall(_bytes(Answer(body=KEYS.read_bytes(), headers={"content-type": "application/json"})))

    def log_message(self, *_: object) -> None:
        pass


def _bytes(answer: Answer) -> bytes:
    """Head and body; with the length, so that a body that ends before it is one whose connection broke."""
    length = len(answer.body) + sum(len(piece.body) for piece in answer.pieces) + len(answer.held) + answer.is_cut
    headers = {**answer.headers, "content-length": str(length), "connection": "close"}
    lines = [f"HTTP/1.1 {answer.status} -", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + answer.body


@contextlib.contextmanager
def provider() -> Iterator[Provider]:
    """A provider on a free port of this machine."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.provider = Provider(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.provider
        finally:
            server.provider.go_on()
            server.shutdown()
            thread.join()
