"""Stop signals: one request stops a conversation that another one runs, perhaps in another execution environment.

Lambda does not notify a function when its client disconnects, so stopping is a separate request. It writes a signal to
the store, which the request that runs the conversation polls. Within one environment it is delivered at once.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

from winterbourne.chat.auth.base import Caller
from winterbourne.chat.errors import StorageUnavailable
from winterbourne.chat.storage.base import Item, Store, encode_key

__all__ = ["StopSignals"]

SIGNAL_TTL_S: Final = 3600
"""Longer than any Lambda invocation may run."""

MAX_BACKOFF_S: Final = 10.0
"""Longest wait between polls while the store is unavailable: each failed poll logs a line, for every stream."""


class StopSignals:
    """Sends and receives the stop signals of all callers.

    Args:
        store: Holds the signals.
        poll_interval_s: Seconds between two polls; a store that is not shared is not polled.
    """

    def __init__(self, store: Store, poll_interval_s: float) -> None:
        self._store = store
        self._poll_interval_s = poll_interval_s if store.is_shared else None
        self._listeners: dict[tuple[str, str], set[asyncio.Event]] = {}

    async def send(self, caller: Caller, conversation_id: str, at_ms: int | None = None) -> None:
        """Request that this caller's conversation stop; does nothing if it is not running.

        Args:
            caller: The owner; keys contain the caller's id, so other callers' conversations cannot be stopped.
            conversation_id: The conversation to stop.
            at_ms: When the stop request was received, in epoch milliseconds; defaults to now.

        Raises:
            StorageUnavailable: The signal was delivered in this environment only.
        """
        for listener in self._listeners.get((caller.id, conversation_id), ()):
            listener.set()
        pk, sk = _signal_key(caller, conversation_id)
        expires_at_s = int(self._store.now()) + SIGNAL_TTL_S
        await self._store.put([Item(pk=pk, sk=sk, number=at_ms or self._now_ms(), expires_at_s=expires_at_s)])

    async def wait(self, caller: Caller, conversation_id: str, since_ms: int | None = None) -> None:
        """Return when this caller's conversation is to stop.

        While the store is unavailable it is polled with exponential backoff. Cancellation ends the polling.

        Args:
            caller: The owner of the conversation.
            conversation_id: The conversation.
            since_ms: When the running request was received, in epoch milliseconds; older signals were meant for an
                earlier request. Defaults to now; pass the event's `timeEpoch` so as not to miss a stop during a cold
                start.
        """
        since_ms, failures = since_ms or self._now_ms(), 0
        with self._subscribe(caller, conversation_id) as stopped:
            while not stopped.is_set():
                try:
                    if await self._is_stop_requested(caller, conversation_id, since_ms):
                        return
                    failures = 0
                except StorageUnavailable:  # `Store` has logged it
                    failures += 1
                await _wait_with_timeout(stopped, self._backoff_s(failures))

    async def _is_stop_requested(self, caller: Caller, conversation_id: str, since_ms: int) -> bool:
        signal = await self._store.get(*_signal_key(caller, conversation_id))
        return signal is not None and signal.number >= since_ms

    def _backoff_s(self, failures: int) -> float | None:
        """Seconds until the next poll, after so many failures in a row; None if the store is not polled."""
        if self._poll_interval_s is None:
            return None
        max_s = max(self._poll_interval_s, MAX_BACKOFF_S)
        return min(self._poll_interval_s * 2.0 ** min(failures, 10), max_s)

    @contextlib.contextmanager
    def _subscribe(self, caller: Caller, conversation_id: str) -> Iterator[asyncio.Event]:
        listener_key, stopped = (caller.id, conversation_id), asyncio.Event()
        listeners = self._listeners.setdefault(listener_key, set())
        listeners.add(stopped)
        try:
            yield stopped
        finally:
            listeners.discard(stopped)
            if not listeners:
                self._listeners.pop(listener_key, None)

    def _now_ms(self) -> int:
        return int(self._store.now() * 1000)


async def _wait_with_timeout(event: asyncio.Event, timeout_s: float | None) -> None:
    """Wait for an event, or until the timeout (None: no timeout)."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()


def _signal_key(caller: Caller, conversation_id: str) -> tuple[str, str]:
    return encode_key("stops", caller.id), encode_key(conversation_id)
