"""Rate limits (fixed window) per caller: requests per minute, tokens and dollars per day, counted in the store.

All environments share the counters if they share the store. Windows are the minutes and days of the clock (UTC), so one
counter per window is enough; around a window's end a caller may use the requests of both windows.

What a request will use is only known at its end, so it reserves tokens and dollars before each model turn, and at its
end they are replaced by those it has used. Reservations are counters of their own, one for each slot of the day: those
of a process that was killed expire with their slot. Dollars are counted in whole millionths, so that sums are exact.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Iterable
from typing import Final

import msgspec

from winterbourne.chat.errors import RateLimitExceeded
from winterbourne.chat.settings import LimitSettings
from winterbourne.chat.storage.base import Store, encode_key

__all__ = ["Budget", "RateLimiter", "Reservation", "Spending"]

OTHER_REQUESTS_FACTOR: Final = 5
"""How many times as many other requests as chats are allowed: they cost little, and pages list and poll."""

MINUTE_S: Final = 60
DAY_S: Final = 86_400

SLOT_S: Final = 900
"""The longest that a Lambda function may run, so a reservation is in the current slot or in the one before it."""

RESERVED_RETRY_S: Final = 5
"""When to try again if only running requests are in the way, in seconds."""

_LOGGER: Final = logging.getLogger(__name__)


class Spending(msgspec.Struct, frozen=True):
    """What a request uses of its caller's limits of the day; the cost in millionths of a dollar."""

    tokens: int = 0
    micro_dollars: int = 0


class Budget(msgspec.Struct, frozen=True):
    """A limit of what one caller uses in a day.

    Attributes:
        unit: A field of `Spending`; the counter of what was used has its name.
        reserved: The name of the counter of what is reserved.
        limit: In that unit.
        name: For callers.
    """

    unit: str
    reserved: str
    limit: int
    name: str

    @classmethod
    def of_tokens(cls, tokens: int) -> "Budget":
        """A limit of tokens."""
        return cls("tokens", "reserved", tokens, f"{tokens} tokens per day")

    @classmethod
    def of_dollars(cls, dollars: float) -> "Budget":
        """A limit of dollars."""
        return cls("micro_dollars", "reserved_micro_dollars", math.ceil(dollars * 1e6), f"{dollars:g} dollars per day")


class RateLimiter:
    """Enforces the rate limits of all callers.

    Args:
        store: Holds the counters.
        settings: LIMIT_REQUESTS_PER_MINUTE, LIMIT_TOKENS_PER_DAY and LIMIT_DOLLARS_PER_DAY; with 0 there is no limit
            and nothing is counted.

    Attributes:
        is_needed: Whether there is any limit.
    """

    def __init__(self, store: Store, settings: LimitSettings) -> None:
        self._store = store
        self._max_requests = settings.limit_requests_per_minute
        budgets = Budget.of_tokens(settings.limit_tokens_per_day), Budget.of_dollars(settings.limit_dollars_per_day)
        self._budgets = [budget for budget in budgets if budget.limit]
        self.is_needed = bool(self._max_requests or self._budgets)
        if self.is_needed and not store.is_shared:
            _LOGGER.warning("STORE=memory: each process counts the limits of callers by itself; share a store")

    async def count_request(self, caller_id: str, *, is_chat: bool = True) -> None:
        """Count a request and reject it if its caller's limit is used up.

        Args:
            caller_id: The caller.
            is_chat: Whether it begins a chat; other requests have a limit of their own, OTHER_REQUESTS_FACTOR as high.

        Raises:
            RateLimitExceeded: It says which limit, and when it ends.
            StorageUnavailable: The store is unavailable; limits fail closed, because they cap costs.
        """
        if not self._max_requests:
            return
        factor, counter = (1, "requests") if is_chat else (OTHER_REQUESTS_FACTOR, "other_requests")
        limit = self._max_requests * factor
        now_s = self._store.now()
        minute = int(now_s // MINUTE_S)
        keys = encode_key("limits", caller_id), encode_key(counter, str(minute))
        if await self._store.increment(*keys, 1, (minute + 1) * MINUTE_S) > limit:
            raise RateLimitExceeded(f"{limit} requests per minute", math.ceil(MINUTE_S - now_s % MINUTE_S))

    def reservation(self, caller_id: str) -> "Reservation | None":
        """The reservation of one request, empty as yet; None without a limit of tokens or dollars."""
        return Reservation(self._store, caller_id, self._budgets) if self._budgets else None


class Reservation:
    """What one request has reserved of its caller's limits of the day in which it began.

    Args:
        store: Holds the counters.
        caller_id: The caller.
        budgets: The limits.
    """

    def __init__(self, store: Store, caller_id: str, budgets: Iterable[Budget]) -> None:
        self._parts = [_Part(store, caller_id, budget) for budget in budgets]

    async def extend(self, wanted: Spending, used: Spending) -> None:
        """Reserve so much for the request in all, or what is left: the last turn is answered in full.

        If no other request of the caller reserves meanwhile, the caller exceeds a limit by one turn at most.

        Args:
            wanted: What the request has used, and may use in its next turn.
            used: What it has used.

        Raises:
            RateLimitExceeded: Nothing is left for the next turn.
            StorageUnavailable: The store is unavailable; it may have reserved that, until the end of the slot.
        """
        await _all(part.extend(getattr(wanted, part.unit), getattr(used, part.unit)) for part in self._parts)

    async def settle(self, used: Spending) -> None:
        """Count what the request has used, and give the reservation back.

        Raises:
            StorageUnavailable: It may not have been counted.
        """
        await _all(part.settle(getattr(used, part.unit)) for part in self._parts)


async def _all(calls: Iterable[Awaitable[None]]) -> None:
    """Await all of them, and then raise what any has raised."""
    for failure in filter(None, await asyncio.gather(*calls, return_exceptions=True)):
        raise failure


class _Part:
    """The reservation of one of the limits; its methods are those of `Reservation`."""

    def __init__(self, store: Store, caller_id: str, budget: Budget) -> None:
        self._store = store
        self._pk = encode_key("limits", caller_id)
        self._budget, self.unit = budget, budget.unit
        self._slot, self._day = self._current_slot(), int(store.now() // DAY_S)
        self._amount = 0

    async def extend(self, wanted_in_all: int, used: int) -> None:
        if (wanted := wanted_in_all - self._amount) <= 0:
            return
        reserved = await self._increment_reserved(wanted)
        counts = (self._count(self._budget.reserved, slot) for slot in self._other_slots())
        used_in_day, *others = await asyncio.gather(self._count(self.unit, self._day), *counts)
        granted = min(wanted, max(0, self._budget.limit - used_in_day - sum(others) - (reserved - wanted)))
        if granted < wanted:
            await self._increment_reserved(granted - wanted)
        if self._amount <= used:
            raise self._limit_exceeded(is_used_up=used_in_day + used >= self._budget.limit)

    async def settle(self, used: int) -> None:
        if used:  # first: in between, they count twice rather than not at all
            await self._store.increment(self._pk, encode_key(self.unit, str(self._day)), used, (self._day + 1) * DAY_S)
        if self._amount:
            await self._increment_reserved(-self._amount)

    async def _increment_reserved(self, amount: int) -> int:
        """Change the reservation; return the sum of those that began in the same slot."""
        key = encode_key(self._budget.reserved, str(self._slot))
        reserved = await self._store.increment(self._pk, key, amount, (self._slot + 2) * SLOT_S)
        self._amount += amount
        return reserved

    def _other_slots(self) -> set[int]:
        """The current slot and the one before it, but not of another day and not ours."""
        current = self._current_slot()
        return {slot for slot in (current, current - 1) if slot * SLOT_S // DAY_S == self._day} - {self._slot}

    async def _count(self, counter: str, window: int) -> int:
        item = await self._store.get(self._pk, encode_key(counter, str(window)))
        return item.number if item else 0

    def _current_slot(self) -> int:
        return int(self._store.now() // SLOT_S)

    def _limit_exceeded(self, *, is_used_up: bool) -> RateLimitExceeded:
        if is_used_up:
            return RateLimitExceeded(self._budget.name, max(1, math.ceil((self._day + 1) * DAY_S - self._store.now())))
        return RateLimitExceeded(f"{self._budget.name}, which running requests have reserved", RESERVED_RETRY_S)
