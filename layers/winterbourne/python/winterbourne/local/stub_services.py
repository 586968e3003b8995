"""Stub services for the chat's three HTTP tools: practice data over real HTTP, without access to the internet.

The data is made up. Every response says so, and so does the log.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl

from winterbourne.local.http_server import Exchange, HttpServer
from winterbourne.local.stub_data import ROUTES, SOURCE, delay_s

__all__ = ["STUBBED", "StubServices"]

STUBBED: Final = {
    "FINNHUB_BASE_URL": "finnhub",
    "OPEN_METEO_BASE_URL": "open-meteo",
    "OPEN_METEO_GEOCODING_BASE_URL": "geocoding",
    "FRANKFURTER_BASE_URL": "frankfurter",
}
"""The variables by which tools find these services, and the paths of their stubs."""


class StubServices:
    """Responds in place of the services that the tools call.

    Args:
        log: Gets one line per response.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self.server = HttpServer(self._handle_request)

    @property
    def settings(self) -> dict[str, str]:
        """Variables that point the chat's tools to this server; valid once it is listening."""
        base_url = f"http://127.0.0.1:{self.server.port}"
        return {name: f"{base_url}/{path}" for name, path in STUBBED.items()} | {"FINNHUB_API_KEY": "any"}

    async def _handle_request(self, exchange: Exchange) -> None:
        path, _, query = exchange.target.partition("?")
        if exchange.method != "GET" or path not in ROUTES:
            status, document = 404, {"message": "no such practice data", "source": SOURCE}
        else:
            await asyncio.sleep(delay_s(exchange.target))
            self._log(f"{SOURCE}: {exchange.target}")
            status, document = ROUTES[path](dict(parse_qsl(query)), datetime.now(UTC))
        await exchange.respond_json(status, document, [("x-practice-data", "true")])
