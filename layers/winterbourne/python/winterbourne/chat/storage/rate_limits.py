"""Rate limits (fixed window) per caller: requests per minute and tokens per day, counted in the store.

All environments share the counters if they share the store. Windows are the minutes and days of the clock (UTC), so one
counter per window is enough; around a window's end a caller may use the requests of both windows.

What a request will use is only known at its end, so it reserves tokens before each model turn, and at its end they are
replaced by those it has used. Reservations are counters of their own, one for each slot of the day: those of a process
that was killed expire with their slot.
"""

import asyncio
import logging
import math
from typing import Final

from winterbourne.chat.errors import RateLimitExceeded
from winterbourne.chat.settings import LimitSettings
from winterbourne.chat.storage.base import Store, encode_key

__all__ = ["RateLimiter", "TokenReservation"]

OTHER_REQUESTS_FACTOR: Final = 5
"""How many times as many other requests as chats are allowed: they cost little, and pages list and poll."""

MINUTE_S: Final = 60
DAY_S: Final = 86_400

SLOT_S: Final = 900
"""The longest that a Lambda function may run, so a reservation is in the current slot or in the one before it."""

RESERVED_RETRY_S: Final = 5
"""When to try again if only running requests are in the way, in seconds."""

_LOGGER: Final = logging.getLogger(__name__)


class RateLimiter:
    """Enforces the rate limits of all callers.

    Args:
        store: Holds the counters.
        settings: LIMIT_REQUESTS_PER_MINUTE and LIMIT_TOKENS_PER_DAY; with 0 there is no limit and nothing is counted.

    Attributes:
        is_needed: Whether there is any limit.
    """

    def __init__(self, store: Store, settings: LimitSettings) -> None:
        self._store = store
        self._max_requests = settings.limit_requests_per_minute
        self._max_tokens = settings.limit_tokens_per_day
        self.is_needed = bool(self._max_requests or self._max_tokens)
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

    def token_reservation(self, caller_id: str) -> "TokenReservation | None":
        """The reservation of one request, empty as yet; None without a token limit."""
        return TokenReservation(self._store, caller_id, self._max_tokens) if self._max_tokens else None


class TokenReservation:
    """The tokens that one request has reserved of its caller's limit of the day in which it began.

    Args:
        store: Holds the counters.
        caller_id: The caller.
        limit: LIMIT_TOKENS_PER_DAY.
    """

    def __init__(self, store: Store, caller_id: str, limit: int) -> None:
        self._store = store
        self._pk = encode_key("limits", caller_id)
        self._limit = limit
        self._slot, self._day = self._current_slot(), int(store.now() // DAY_S)
        self._tokens = 0

    async def extend(self, tokens: int, used: int = 0) -> None:
        """Reserve so many tokens for the request in all, or what is left: the last turn is answered in full.

        If no other request of the caller reserves meanwhile, the caller exceeds the limit by one turn at most.

        Args:
            tokens: What the request has used, and may use in its next turn.
            used: What it has used.

        Raises:
            RateLimitExceeded: Nothing is left for the next turn.
            StorageUnavailable: The store is unavailable; it may have reserved them, until the end of the slot.
        """
        if (wanted := tokens - self._tokens) <= 0:
            return
        reserved = await self._increment_reserved(wanted)
        counts = (self._count("reserved", slot) for slot in self._other_slots())
        used_in_day, *others = await asyncio.gather(self._count("tokens", self._day), *counts)
        granted = min(wanted, max(0, self._limit - used_in_day - sum(others) - (reserved - wanted)))
        if granted < wanted:
            await self._increment_reserved(granted - wanted)
        if self._tokens <= used:
            raise self._limit_exceeded(is_used_up=used_in_day + used >= self._limit)

    async def settle(self, used: int) -> None:
        """Count the tokens that the request has used, and give the reservation back.

        Raises:
            StorageUnavailable: The tokens may not have been counted.
        """
        if used:  # first: in between, they count twice rather than not at all
            await self._store.increment(self._pk, encode_key("tokens", str(self._day)), used, (self._day + 1) * DAY_S)
        if self._tokens:
            await self._increment_reserved(-self._tokens)

    async def _increment_reserved(self, amount: int) -> int:
        """Change the reservation; return the sum of those that began in the same slot."""
        key = encode_key("reserved", str(self._slot))
        reserved = await self._store.increment(self._pk, key, amount, (self._slot + 2) * SLOT_S)
        self._tokens += amount
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
        limit = f"{self._limit} tokens per day"
        if is_used_up:
            return RateLimitExceeded(limit, max(1, math.ceil((self._day + 1) * DAY_S - self._store.now())))
        return RateLimitExceeded(f"{limit}, which running requests have reserved", RESERVED_RETRY_S)
