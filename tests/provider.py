"""A model's provider for end-to-end tests: an OpenAI-compatible server that says what the test tells it to.

It speaks from a thread, so that tests without an event loop, such as a browser's, can use it.
"""

import contextlib
import json
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Provider", "provider"]


class Provider:
    """What is said next, and what was asked. With `hold`, the last piece waits until the test calls `go_on`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[dict[str, Any]] = []
        self._pieces: list[str] = []
        self._bodies: list[bytes] = []
        self._refusal = 0
        self._held = threading.Event()

    def says(self, *pieces: str, hold: bool = False) -> None:
        """Every answer from now on, in these pieces."""
        self._pieces, self._bodies, self._refusal = list(pieces), [], 0
        self._held.clear()
        if not hold:
            self._held.set()

    def sends(self, *bodies: bytes) -> None:
        """These event streams as they are, one an answer, the last again and again."""
        self._bodies, self._refusal = list(bodies), 0

    def refuses(self, status: int) -> None:
        """Every request from now on is answered with this status."""
        self._refusal = status
        self._held.set()

    def go_on(self) -> None:
        """The last piece may be said."""
        self._held.set()

    def answer(self, asked: dict[str, Any]) -> tuple[int, Iterable[bytes]]:
        """The status and the pieces of the body."""
        self.asked.append(asked)
        if self._refusal:
            return self._refusal, [json.dumps({"error": {"message": "not today", "code": "refused"}}).encode()]
        if self._bodies:
            return 200, [self._bodies.pop(0) if len(self._bodies) > 1 else self._bodies[0]]
        return 200, self._frames()

    def _frames(self) -> Iterator[bytes]:
        for number, piece in enumerate(self._pieces, 1):
            if number == len(self._pieces):
                self._held.wait(timeout=20)
            yield _frame({"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})
        yield _frame({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        yield b"data: [DONE]\n\n"


def _frame(chunk: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % json.dumps({"id": "c1", "object": "chat.completion.chunk", **chunk}).encode()


class _Server(ThreadingHTTPServer):
    """Knows whom its handlers speak for."""

    provider: Provider


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        status, pieces = self.server.provider.answer(asked)
        self.send_response(status)
        self.send_header("content-type", "text/event-stream" if status == 200 else "application/json")
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # a stopped answer closes its line
            for piece in pieces:
                self.wfile.write(piece)
                self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def provider() -> Iterator[Provider]:
    """A provider on a free port of this machine; `url` is what OPENAI_BASE_URL is to be."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.provider = Provider(f"http://127.0.0.1:{server.server_port}/v1")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.provider
        finally:
            server.provider.go_on()
            server.shutdown()
            thread.join()
