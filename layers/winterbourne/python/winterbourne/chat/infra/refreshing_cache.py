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

SLOW_S: Final = 0.5  # requests need not be spared a fetch that fails faster
FETCH_TIMEOUT_S: Final = 3.0
"""How long requests wait for a first value."""

REFRESH_TIMEOUT_S: Final = 2.0
"""How long requests wait for a refresh while there is a stale value to use."""

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
        self._last_refresh_at = -math.inf
        self._retry_at = -math.inf
        self._cached: tuple[T] | None = None
        self._refresh_task: asyncio.Task[T] | None = None

    async def get(self, max_age_s: float) -> T:
        """The value, refreshing it first if the last refresh was at least `max_age_s` seconds ago.

        Concurrent callers share one fetch and its failure. A first fetch that fails slowly is not repeated for as long
        as it took, so that requests do not wait for it one after the other. Who is content with the value's age never
        waits. If refreshing fails, the stale value is kept and logged: an old key is better than none.

        Raises:
            Exception: What `fetch` raised, if there is no value yet; TimeoutError after FETCH_TIMEOUT_S.

        Cancellation:
            The fetch goes on for the others, until its timeout.
        """
        if self._cached and 0 <= self._now() - self._last_refresh_at < max_age_s:
            return self._cached[0]
        is_too_early = 0 < self._retry_at - self._now() <= FETCH_TIMEOUT_S  # else the clock went back
        if self._refresh_task is None or (self._refresh_task.done() and not is_too_early):
            self._refresh_task = asyncio.create_task(self._refresh())
            # Keeps asyncio from reporting the failure of a fetch that nobody waits for any more.
            self._refresh_task.add_done_callback(lambda task: task.cancelled() or task.exception())
        task = self._refresh_task
        await asyncio.wait({task})  # Python 3.14's shield would report that failure
        return task.result()

    def invalidate(self, value: T) -> None:
        """Report that this value was rejected: the next `get` fetches again, unless it has been replaced meanwhile."""
        if self._cached == (value,):
            self._last_refresh_at = -math.inf

    async def _refresh(self) -> T:
        started_at = self._now()
        try:
            async with asyncio.timeout(REFRESH_TIMEOUT_S if self._cached else FETCH_TIMEOUT_S):
                self._cached = (await self._fetch(),)
        except Exception as error:
            if self._cached is None:
                if (took_s := self._now() - started_at) >= SLOW_S:
                    self._retry_at = self._now() + took_s
                raise
            # Only messages of our own errors are logged: others may quote what was fetched.
            reason = str(error) if isinstance(error, ChatError) else type(error).__name__
            _LOGGER.warning("refreshing %s failed, the stale value is kept: %s", self._name, reason)
        self._last_refresh_at = self._now()
        return self._cached[0]
