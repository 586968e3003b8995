"""Simulates how savings may grow; it takes seconds of CPU time, so the worker runs it."""

from typing import Annotated

from msgspec import Meta

from winterbourne.chat import remote_tool

__all__ = ["simulate_savings"]


@remote_tool("{TOOL_WORKER_FUNCTION}", retries=1, cache_ttl_s=3600, cache_per_caller=False)
async def simulate_savings(
    monthly_amount: Annotated[float, Meta(gt=0, le=1_000_000)],
    years: Annotated[int, Meta(ge=1, le=60)],
    mean_return_percent: Annotated[float, Meta(ge=-20, le=30)] = 5.0,
    volatility_percent: Annotated[float, Meta(ge=0, le=60)] = 15.0,
) -> None:
    """How a monthly saving may grow: the range of outcomes over many simulated futures.

    Args:
        monthly_amount: Paid in at the end of each month, in any currency.
        years: How long.
        mean_return_percent: Expected return a year.
        volatility_percent: Standard deviation of a year's return.
    """
