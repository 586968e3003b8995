"""How savings may grow, by simulation (Monte Carlo, geometric Brownian motion in monthly steps)."""

import math
import random
import statistics
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from winterbourne.chat import tool

__all__ = ["Outcomes", "simulate_savings"]

SIMULATIONS: Final = 2000
# The same question has the same answer: a cache may keep it, and a reader may check it.
SEED: Final = 1


class Outcomes(msgspec.Struct, frozen=True):
    """The tool's result; amounts in the currency of the question."""

    paid_in: float
    median: float
    percentile_10: float
    percentile_90: float
    futures: int


@tool
def simulate_savings(
    monthly_amount: Annotated[float, Meta(gt=0, le=1_000_000)],
    years: Annotated[int, Meta(ge=1, le=60)],
    mean_return_percent: Annotated[float, Meta(ge=-20, le=30)] = 5.0,
    volatility_percent: Annotated[float, Meta(ge=0, le=60)] = 15.0,
) -> Outcomes:
    """How a monthly saving may grow: the range of outcomes over many simulated futures.

    Args:
        monthly_amount: Paid in at the end of each month, in any currency.
        years: How long.
        mean_return_percent: Expected return a year.
        volatility_percent: Standard deviation of a year's return.
    """
    sigma = volatility_percent / 100 / math.sqrt(12)
    drift = math.log1p(mean_return_percent / 100) / 12 - sigma * sigma / 2
    rng = random.Random(SEED)
    balances = [_simulate_balance(monthly_amount, years * 12, drift, sigma, rng) for _ in range(SIMULATIONS)]
    deciles = statistics.quantiles(balances, n=10)
    return Outcomes(
        paid_in=monthly_amount * years * 12,
        median=round(deciles[4], 2),
        percentile_10=round(deciles[0], 2),
        percentile_90=round(deciles[8], 2),
        futures=SIMULATIONS,
    )


def _simulate_balance(amount: float, months: int, drift: float, sigma: float, rng: random.Random) -> float:
    balance = 0.0
    for _ in range(months):
        balance = balance * math.exp(drift + sigma * rng.gauss(0, 1)) + amount
    return balance
