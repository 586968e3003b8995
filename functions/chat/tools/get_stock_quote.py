"""Share prices from Finnhub. https://finnhub.io/docs/api/quote"""

import datetime as dt
import os
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from winterbourne.chat import ToolContext, ToolError, get_json, tool

__all__ = ["StockQuote", "get_stock_quote"]

BASE_URL: Final = "https://finnhub.io/api/v1"


class StockQuote(msgspec.Struct, frozen=True):
    """The tool's result; prices in the currency of the exchange."""

    symbol: str
    price: float
    change: float
    change_percent: float
    previous_close: float
    time: str
    source: str


class _Quote(msgspec.Struct, frozen=True):
    """Finnhub's answer. An unknown symbol has zeros, and null for the changes."""

    price: float = msgspec.field(name="c", default=0)
    change: float | None = msgspec.field(name="d", default=None)
    change_percent: float | None = msgspec.field(name="dp", default=None)
    previous_close: float = msgspec.field(name="pc", default=0)
    time_s: float = msgspec.field(name="t", default=0)
    source: str = "Finnhub"


@tool(retries=2, cache_ttl_s=15, cache_per_caller=False, breaker="finnhub.io", keys=["FINNHUB_API_KEY"])
async def get_stock_quote(
    symbol: Annotated[str, Meta(pattern=r"^[A-Za-z0-9.:-]{1,20}$")], context: ToolContext
) -> StockQuote:
    """The latest price of a share, with its change since the previous close.

    Args:
        symbol: The ticker symbol as US exchanges write it, for example AAPL.
        context: The call's context; not part of the schema.
    """
    quote = await get_json(
        context,
        "stock service",
        f"{os.environ.get('FINNHUB_BASE_URL') or BASE_URL}/quote",
        _Quote,
        params={"symbol": symbol.upper()},
        headers={"X-Finnhub-Token": await context.key("FINNHUB_API_KEY")},
    )
    if not quote.time_s:
        raise ToolError(f"There is no share with the symbol {symbol.upper()}.")
    return StockQuote(
        symbol=symbol.upper(),
        price=quote.price,
        change=quote.change or 0,
        change_percent=quote.change_percent or 0,
        previous_close=quote.previous_close,
        time=dt.datetime.fromtimestamp(quote.time_s, dt.UTC).isoformat(),
        source=quote.source,
    )
