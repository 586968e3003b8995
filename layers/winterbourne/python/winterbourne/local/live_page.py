"""A page of the local server that shows what happens, live: HTML, or its data as JSON if the client accepts that."""

from collections.abc import Callable
from typing import Final

from winterbourne.local.http_server import Exchange

__all__ = ["LivePage"]

NOT_STORED: Final = ("cache-control", "no-store")


class LivePage:
    """Serves the page.

    Args:
        html: The page, whose script asks for its data again and again.
        read: Returns the data.
    """

    def __init__(self, html: str, read: Callable[[], object]) -> None:
        self._html, self._read = html.encode(), read

    async def handle_request(self, exchange: Exchange) -> None:
        """Serve the page, or its data as JSON."""
        if exchange.method not in {"GET", "HEAD"}:
            await exchange.respond(405, [("allow", "GET, HEAD"), ("connection", "close")])
        elif "application/json" in exchange.header("accept"):
            await exchange.respond_json(200, self._read(), [NOT_STORED])
        else:
            await exchange.respond(200, [("content-type", "text/html; charset=utf-8"), NOT_STORED], self._html)
