"""Counts what the model turns of one request use: for its metrics, its log line and its caller's limits."""

from typing import Final

import msgspec

from winterbourne.chat.core.events import Usage
from winterbourne.chat.core.provider import ModelRequest, Provider, model_names
from winterbourne.chat.core.usage import Prices, estimate_input, micro_dollars
from winterbourne.chat.infra.telemetry import TokenMetric
from winterbourne.chat.storage.rate_limits import Reservation, Spending

__all__ = ["TOKEN_METRICS", "UsageMeter"]

TOKEN_METRICS: Final[tuple[tuple[TokenMetric, str], ...]] = (
    ("InputTokens", "input"),
    ("OutputTokens", "output"),
    ("CachedInputTokens", "cached"),
    ("CacheWriteTokens", "cache_write"),
)
"""The metrics of tokens, and what each sums up of a `Usage`."""


class UsageMeter(msgspec.Struct):
    """What the turns of one request have used, and have reserved of its caller's limits.

    Attributes:
        provider: Asks the model.
        prices: What its models cost.
        reservation: Of the caller's limits; None without such limits.
        usages: Of each turn, with its cost.
    """

    provider: Provider
    prices: Prices
    reservation: Reservation | None
    usages: list[Usage] = []

    async def reserve(self, request: ModelRequest) -> None:
        """Reserve the most that the next turn may use, by whichever model, or what is left of it.

        Raises:
            RateLimitExceeded: Nothing is left.
            StorageUnavailable: The store is unavailable.
        """
        if self.reservation:
            used, sent, written = self.used, estimate_input(request), request.max_tokens or 0
            models = model_names(self.provider, request)
            dollars = max(self.prices.highest(model, sent, written) for model in models)
            most = Spending(used.tokens + sent + written, used.micro_dollars + micro_dollars(dollars))
            await self.reservation.extend(most, used)

    async def settle(self) -> None:
        """Count what was used in the caller's limits, and give back what was reserved.

        Raises:
            StorageUnavailable: It may not have been counted.
        """
        if self.reservation:
            await self.reservation.settle(self.used)

    @property
    def used(self) -> Spending:
        """What all turns have used."""
        tokens = sum(usage.input + usage.output for usage in self.usages)
        return Spending(tokens, micro_dollars(sum(usage.cost or 0.0 for usage in self.usages)))
