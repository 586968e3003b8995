"""Caches one remote value and refreshes it when it is too old: single-flight, stale-if-error.

Used for secrets, callers' API keys and token issuers' signing keys.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from winterbourne.chat.errors import ChatError

__all__ = ["RefreshingCache"]

T = TypeVar("T")

REFRESH_TIMEOUT_S: Final = 2.0
"""How long requests wait for a refresh that hangs while there is a stale value to use."""

_LOGGER: Final = logging.getLogger(__name__)


class RefreshingCache(Generic[T]):
    """Caches the last value that `fetch` returned.

    Args:
        name: Names the value in the log.
        fetch: Fetches the value, or raises.
        now: Wall clock, in seconds. The monotonic clock may stand still while the environment is frozen.
    """

    def __init__(self, name: str, fetch: Callable[[], Awaitable[T]], now: Callable[[], float] = time.time) -> None:
        self._name = name
        self._fetch = fetch
        self._now = now
        self._lock = asyncio.Lock()
        self._last_refresh_at = -math.inf
        self._cached: tuple[T] | None = None

    async def get(self, max_age_s: float) -> T:
        """The value, refreshing it first if the last refresh was at least `max_age_s` seconds ago.

        Concurrent callers share one fetch. If refreshing fails, the stale value is kept and a warning is logged: an old
        key is better than no service.

        Raises:
            Exception: What `fetch` raised, if there is no value yet.
        """
        async with self._lock:
            if self._cached is None or not 0 <= self._now() - self._last_refresh_at < max_age_s:
                self._cached = (await self._fetch_or_stale(),)
                self._last_refresh_at = self._now()
            return self._cached[0]

    def invalidate(self, value: T) -> None:
        """Report that this value was rejected: the next `get` fetches again, unless it has been replaced meanwhile."""
        if self._cached == (value,):
            self._last_refresh_at = -math.inf

    async def _fetch_or_stale(self) -> T:
        try:
            async with asyncio.timeout(REFRESH_TIMEOUT_S if self._cached else None):
                return await self._fetch()
        except Exception as error:
            if self._cached is None:
                raise
            # Only messages of our own errors are logged: others may quote what was fetched.
            reason = str(error) if isinstance(error, ChatError) else type(error).__name__
            _LOGGER.warning("refreshing %s failed, the stale value is kept: %s", self._name, reason)
            return self._cached[0]
