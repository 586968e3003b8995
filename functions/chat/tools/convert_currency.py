"""Exchange rates from Frankfurter: the daily reference rates of the European Central Bank.

https://frankfurter.dev/v1
"""

import os
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from winterbourne.chat import ToolContext, ToolError, get_json, tool

__all__ = ["Conversion", "convert_currency"]

BASE_URL: Final = "https://api.frankfurter.dev/v1"

Currency: TypeAlias = Annotated[str, Meta(pattern="^[A-Za-z]{3}$")]


class Conversion(msgspec.Struct, frozen=True):
    """The tool's result."""

    amount: float
    from_currency: str
    result: float
    to_currency: str
    rate: float
    date: str
    source: str


class _Rates(msgspec.Struct, frozen=True):
    date: str
    rates: dict[str, float]
    source: str = "Frankfurter (European Central Bank)"


@tool(retries=2, cache_ttl_s=600, cache_per_caller=False, breaker="frankfurter.dev")
async def convert_currency(
    amount: float, from_currency: Currency, to_currency: Currency, context: ToolContext
) -> Conversion:
    """Convert an amount of money from one currency to another, at the latest daily rate.

    Args:
        amount: How much.
        from_currency: The ISO 4217 code of what it is in, for example EUR.
        to_currency: The ISO 4217 code of what it shall be in, for example USD.
        context: The call's context; not part of the schema.
    """
    source, target = from_currency.upper(), to_currency.upper()
    if source == target:
        return Conversion(amount, source, amount, target, rate=1, date="", source="the same currency")
    unknown = f"There is no rate from {source} to {target}."
    rates = await get_json(
        context,
        "exchange rate service",
        f"{os.environ.get('FRANKFURTER_BASE_URL') or BASE_URL}/latest",
        _Rates,
        params={"base": source, "symbols": target},
        not_found=unknown,
    )
    if target not in rates.rates:
        raise ToolError(unknown)
    rate = rates.rates[target]
    return Conversion(amount, source, round(amount * rate, 2), target, rate=rate, date=rates.date, source=rates.source)
