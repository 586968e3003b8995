"""Rate limits (fixed window) per caller: requests per minute and tokens per day, counted in the store.

All environments share the counters if they share the store. Windows are the minutes and days of the clock (UTC), so one
counter per window is enough; around a window's end a caller may use the requests of both windows.
"""

import math
from typing import Final

from winterbourne.chat.errors import RateLimitExceeded
from winterbourne.chat.settings import LimitSettings
from winterbourne.chat.storage.base import Store, encode_key

__all__ = ["RateLimiter"]

MINUTE_S: Final = 60
DAY_S: Final = 86_400


class RateLimiter:
    """Enforces the rate limits of all callers.

    Args:
        store: Holds the counters.
        settings: LIMIT_REQUESTS_PER_MINUTE and LIMIT_TOKENS_PER_DAY; with 0 there is no limit and nothing is counted.
    """

    def __init__(self, store: Store, settings: LimitSettings) -> None:
        self._store = store
        self._max_requests = settings.limit_requests_per_minute
        self._max_tokens = settings.limit_tokens_per_day

    async def check(self, caller_id: str) -> None:
        """Count a request and reject it if a limit of its caller is used up.

        Raises:
            RateLimitExceeded: It says which limit, and when it ends.
            StorageUnavailable: The store is unavailable; limits fail closed, because they cap costs.
        """
        if self._max_requests and await self._increment("requests", caller_id, 1, MINUTE_S) > self._max_requests:
            raise self._limit_exceeded(f"{self._max_requests} requests per minute", MINUTE_S)
        if self._max_tokens and await self._used_tokens(caller_id) >= self._max_tokens:
            raise self._limit_exceeded(f"{self._max_tokens} tokens per day", DAY_S)

    async def record_usage(self, caller_id: str, tokens: int) -> None:
        """Count used tokens. The request that crosses the limit is still answered in full.

        Raises:
            StorageUnavailable: The tokens may not have been counted.
        """
        if self._max_tokens and tokens:
            await self._increment("tokens", caller_id, tokens, DAY_S)

    async def _increment(self, counter: str, caller_id: str, amount: int, window_s: int) -> int:
        pk, sk, ends_at_s = self._fixed_window(counter, caller_id, window_s)
        return await self._store.increment(pk, sk, amount, ends_at_s)

    async def _used_tokens(self, caller_id: str) -> int:
        pk, sk, _ = self._fixed_window("tokens", caller_id, DAY_S)
        counter = await self._store.get(pk, sk)
        return counter.number if counter else 0

    def _fixed_window(self, counter: str, caller_id: str, window_s: int) -> tuple[str, str, int]:
        """(pk, sk) of the current window's counter, and when the window ends in epoch seconds."""
        number = int(self._store.now() // window_s)
        return encode_key("limits", caller_id), encode_key(counter, str(number)), (number + 1) * window_s

    def _limit_exceeded(self, limit: str, window_s: int) -> RateLimitExceeded:
        return RateLimitExceeded(limit, math.ceil(window_s - self._store.now() % window_s))
