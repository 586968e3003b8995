"""A proxy before the local function URL that breaks connections, as a network does; it can serve a page as well."""

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator, Mapping
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import urlsplit

from winterbourne.override import override

__all__ = ["CUT_AFTER", "CuttingProxy", "cutting_proxy"]

CUT_AFTER: Final = "x-cut-after"
"""A request header: after how many bytes of its response's body the connection is broken."""

_HOP_BY_HOP: Final = {"connection", "content-length", "date", "host", "server", "transfer-encoding", CUT_AFTER}


class CuttingProxy:
    """A running proxy.

    Attributes:
        url: Its own base URL.
        files: What it serves itself: content type and body by path.
    """

    def __init__(self, url: str, upstream: str) -> None:
        self.url = url
        self.upstream: Final = urlsplit(upstream).netloc
        self.files: dict[str, tuple[str, str]] = {}
        self._streaming: set[socket.socket] = set()

    def serve_page(self, script: str) -> None:
        """Serve an empty page at `/` that runs this script."""
        self.files["/"] = (
            "text/html",
            '<!doctype html><meta charset="utf-8"><body></body><script src="app.js"></script>',
        )
        self.files["/app.js"] = "text/javascript", script

    def cut(self) -> int:
        """Break the connection of every answer that is being streamed; returns how many there were."""
        cut, self._streaming = self._streaming, set()
        for connection in cut:
            _break(connection)
        return len(cut)

    @contextlib.contextmanager
    def streaming(self, connection: socket.socket, content_type: str) -> Iterator[None]:
        """While this holds, `cut` breaks the connection if an answer streams over it."""
        if content_type.startswith("text/event-stream"):
            self._streaming.add(connection)
        try:
            yield
        finally:
            self._streaming.discard(connection)


def _break(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # its client has gone
        connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100
    proxy: CuttingProxy

    @override
    def handle_error(self, *_: object) -> None:
        """Clients break off, too; what else goes wrong they are told by a broken connection."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if file := self.server.proxy.files.get(self.path.partition("?")[0]):
            content_type, body = file
            self._send_head(200, {"content-type": f"{content_type}; charset=utf-8"}, len(body.encode()))
            self.wfile.write(body.encode())
        else:
            self._forward()

    def do_POST(self) -> None:
        self._forward()

    def _forward(self) -> None:
        proxy = self.server.proxy
        upstream = http.client.HTTPConnection(proxy.upstream, timeout=60)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        upstream.request(self.command, self.path, body, _end_to_end(self.headers))
        with contextlib.closing(upstream), contextlib.suppress(ConnectionError, http.client.HTTPException):
            response = upstream.getresponse()
            is_empty = response.status == 204
            self._send_head(response.status, _end_to_end(response.headers), 0 if is_empty else None)
            if not is_empty:
                with proxy.streaming(self.connection, response.headers["content-type"]):
                    self._stream(response)

    def _send_head(self, status: int, headers: Mapping[str, str], length: int | None) -> None:
        self.send_response(status)
        framing = ("transfer-encoding", "chunked") if length is None else ("content-length", str(length))
        for header in (*headers.items(), framing):
            self.send_header(*header)
        self.end_headers()

    def _stream(self, response: http.client.HTTPResponse) -> None:
        left = int(self.headers.get(CUT_AFTER, 1 << 30))
        while piece := response.read1(min(left, 65536)):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            left -= len(piece)
            if not left:
                self.close_connection = True
                return
        self.wfile.write(b"0\r\n\r\n")

    @override
    def log_message(self, *_: object) -> None:
        pass


def _end_to_end(headers: "Message[str, str]") -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP_BY_HOP}


@contextlib.contextmanager
def cutting_proxy(upstream: str) -> Iterator[CuttingProxy]:
    """Run a proxy to this base URL on a free port of this machine."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.proxy = CuttingProxy(f"http://127.0.0.1:{server.server_port}", upstream)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.proxy
        finally:
            server.proxy.cut()
            server.shutdown()
            thread.join()
