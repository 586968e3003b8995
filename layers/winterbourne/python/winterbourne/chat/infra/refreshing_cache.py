"""A value from afar that is kept for a while: fetched when first needed, and again when it has grown old.

Knows nothing of what the value is; secrets, keys of callers and keys of token issuers are such values.
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
"""Requests wait for a renewal, but not for one that hangs while there is an old value."""

_LOGGER: Final = logging.getLogger(__name__)


class RefreshingCache(Generic[T]):
    """The last value that `fetch` gave.

    Args:
        name: For the log.
        fetch: Gets the value; raises when it cannot.
        now: Wall clock, seconds. The monotonic one may stand still while the environment is frozen.
    """

    def __init__(self, name: str, fetch: Callable[[], Awaitable[T]], now: Callable[[], float] = time.time) -> None:
        self._name = name
        self._fetch = fetch
        self._now = now
        self._lock = asyncio.Lock()
        self._last_refresh_at = -math.inf
        self._cached: tuple[T] | None = None

    async def get(self, max_age_s: float) -> T:
        """The value; asked for again when that was not done within the last `max_age_s` seconds.

        However many ask at once, one fetches. A value that cannot be renewed is used on, and the log says so: better
        an old key than no service.

        Raises:
            Exception: What `fetch` raised, when there is no value at all.
        """
        async with self._lock:
            if self._cached is None or not 0 <= self._now() - self._last_refresh_at < max_age_s:
                self._cached = (await self._fetch_or_stale(),)
                self._last_refresh_at = self._now()
            return self._cached[0]

    def invalidate(self, value: T) -> None:
        """Somebody refused this value: the next `get` fetches, unless that has happened meanwhile."""
        if self._cached == (value,):
            self._last_refresh_at = -math.inf

    async def _fetch_or_stale(self) -> T:
        try:
            async with asyncio.timeout(REFRESH_TIMEOUT_S if self._cached else None):
                return await self._fetch()
        except Exception as error:
            if self._cached is None:
                raise
            # A message is shown only of our own errors: another's may quote what was fetched.
            reason = str(error) if isinstance(error, ChatError) else type(error).__name__
            _LOGGER.warning("%s not renewed, the old one is used on: %s", self._name, reason)
            return self._cached[0]
