"""A stub of Open-Meteo's two APIs over real HTTP, on connections that are counted and can be closed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from winterbourne.override import override

__all__ = ["weather_server"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    connections: list[Any]

    @override
    def setup(self) -> None:
        self.connections.append(self.request)
        super().setup()

    def do_GET(self) -> None:
        body = (
            b'{"results":[{"name":"X","latitude":1,"longitude":1,"country":"Y"}],'
            b'"current":{"time":"2026-11-22T12:00","temperature_2m":-3.5,"apparent_temperature":1,'
            b'"relative_humidity_2m":80,"weather_code":71,"wind_speed_10m":9}}'
        )
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        pass


@contextmanager
def weather_server() -> Iterator[tuple[str, list[Any]]]:
    """The base URL of a server while the block runs, and its connections as they are opened."""
    connections: list[Any] = []
    handler = type("Handler", (_Handler,), {"connections": connections})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", connections
        server.shutdown()
