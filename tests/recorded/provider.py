"""The model's provider of the recorded cases: says what it is told to, byte for byte, and keeps what it was asked."""

import contextlib
import json
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tests.recorded.cases.tokens import FILE as KEYS
from tests.recorded.exchange import Answer

__all__ = ["Asked", "Provider", "provider"]

NOTHING_LEFT: Final = Answer(body=b'{"error":{"message":"nobody expected this"}}', status=400)
HELD_S: Final = 20


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

    def expect(self, answers: Iterable[Answer]) -> None:
        """These come next, and nothing that was left from before."""
        self._answers = deque(answers)
        self.asked = []
        self._held.clear()

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


class _Server(ThreadingHTTPServer):
    """Knows whom its handlers speak for."""

    daemon_threads = True
    provider: Provider


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.provider.answer(Asked(self.command, self.path, headers, body))
        self.close_connection = True
        with contextlib.suppress(ConnectionError):  # a stopped answer closes its line
            self.connection.sendall(_bytes(answer))
            if answer.held:
                self.server.provider.wait()
                self.connection.sendall(answer.held)

    def do_GET(self) -> None:
        """The keys of who issues the tokens."""
        self.close_connection = True
        self.connection.sendall(_bytes(Answer(body=KEYS.read_bytes(), headers={"content-type": "application/json"})))

    def log_message(self, *_: object) -> None:
        pass


def _bytes(answer: Answer) -> bytes:
    """Head and body; with the length, so that a body that ends before it is one whose connection broke."""
    length = len(answer.body) + len(answer.held) + answer.is_cut
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
