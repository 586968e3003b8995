"""A scripted, OpenAI-compatible model provider for end-to-end tests: a server that sends what the test tells it to.

It runs in a thread, so that tests without an event loop, such as a browser's, can use it.
"""

import contextlib
import json
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from winterbourne.override import override

__all__ = ["Provider", "provider"]


class Provider:
    """The next response and the requests so far. With `hold`, the last piece waits until the test calls `release`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[dict[str, Any]] = []
        self._pieces: list[str] = []
        self._bodies: list[bytes] = []
        self._rejection = 0
        self._error: dict[str, str] = {}
        self._held = threading.Event()

    def responds_with(self, *pieces: str, hold: bool = False) -> None:
        """Respond to every request from now on with this text, in these pieces."""
        self._pieces, self._bodies, self._rejection = list(pieces), [], 0
        self._held.clear()
        if not hold:
            self._held.set()

    def responds_with_streams(self, *bodies: bytes) -> None:
        """Respond with these event streams as they are, one per request; the last one is repeated."""
        self._bodies, self._rejection = list(bodies), 0

    def rejects_with(self, status: int, error: dict[str, str] | None = None) -> None:
        """Respond to every request from now on with this error status, and this error as its body."""
        self._rejection = status
        self._error = error or {"message": "not today", "code": "refused"}
        self._held.set()

    def release(self) -> None:
        """Let the last piece be sent."""
        self._held.set()

    def answer(self, request: dict[str, Any]) -> tuple[int, Iterable[bytes]]:
        """The status and the pieces of the body."""
        self.requests.append(request)
        if self._rejection:
            return self._rejection, [json.dumps({"error": self._error}).encode()]
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
    """An HTTP server whose handlers can reach the provider."""

    provider: Provider


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        status, pieces = self.server.provider.answer(request)
        self.send_response(status)
        self.send_header("content-type", "text/event-stream" if status == 200 else "application/json")
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # stopping an answer closes the connection
            for piece in pieces:
                self.wfile.write(piece)
                self.wfile.flush()

    @override
    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def provider() -> Iterator[Provider]:
    """Run a provider on a free port of this machine; its `url` is the value for OPENAI_BASE_URL."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.provider = Provider(f"http://127.0.0.1:{server.server_port}/v1")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.provider
        finally:
            server.provider.release()
            server.shutdown()
            thread.join()
