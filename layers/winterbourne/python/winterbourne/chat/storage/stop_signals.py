"""Stop signals: one request stops a conversation that another one runs, perhaps in another execution environment.

Lambda does not notify a function when its client disconnects, so stopping is a separate request. It writes a signal to
the store, which the request that runs the conversation polls. Within one environment it is delivered at once.
"""

import asyncio
import contextlib
from typing import Final

import msgspec

from winterbourne.chat.errors import StorageUnavailable
from winterbourne.chat.storage.base import Item, Store, encode_key

__all__ = ["TOOL_CALL", "StopSignals"]

TOOL_CALL: Final = "call"
"""In place of a conversation, where the call of a tool in another function is to stop, and its key is the caller."""

SIGNAL_TTL_S: Final = 900
"""As long as a Lambda invocation may run."""

MAX_BACKOFF_S: Final = 10.0
"""Longest wait between polls while the store is unavailable: each failed poll logs a line, for every stream."""


class StopSignals(msgspec.Struct, eq=False):
    """Sends and receives the stop signals of all callers.

    Attributes:
        store: Holds the signals.
        poll_interval_s: Seconds before the first poll and between two polls. A store that is not shared is polled once,
            for a signal that came before `wait` was called.
    """

    store: Store
    poll_interval_s: float
    _listeners: dict[tuple[str, str], set[asyncio.Event]] = {}

    async def send(self, caller_id: str, conversation_id: str, at_ms: int | None = None) -> None:
        """Request that this caller's conversation stop; does nothing if it is not running.

        Args:
            caller_id: The caller; the keys contain it, so other callers' conversations cannot be stopped.
            conversation_id: The conversation to stop.
            at_ms: When the stop request was received, in epoch milliseconds; defaults to now.

        Raises:
            StorageUnavailable: The signal was delivered in this environment only.
        """
        for listener in self._listeners.get((caller_id, conversation_id), ()):
            listener.set()
        pk, sk = _signal_key(caller_id, conversation_id)
        expires_at_s = int(self.store.now()) + SIGNAL_TTL_S
        await self.store.put([Item(pk=pk, sk=sk, number=at_ms or self.store.now_ms(), expires_at_s=expires_at_s)])

    async def wait(self, caller_id: str, conversation_id: str, since_ms: int | None = None) -> None:
        """Return when this caller's conversation is to stop.

        The store is first read after `poll_interval_s`, so a short answer costs no read. While it is unavailable it is
        polled with exponential backoff. Cancellation ends the polling.

        Args:
            caller_id: The owner of the conversation.
            conversation_id: The conversation.
            since_ms: When the running request was received, in epoch milliseconds; older signals were meant for an
                earlier request. Defaults to now; pass the event's `timeEpoch` so as not to miss a stop during a cold
                start.
        """
        since_ms, stopped = since_ms or self.store.now_ms(), asyncio.Event()
        listener_key = (caller_id, conversation_id)
        listeners = self._listeners.setdefault(listener_key, set())
        listeners.add(stopped)
        try:
            await self._poll(stopped, caller_id, conversation_id, since_ms)
        finally:
            listeners.discard(stopped)
            if not listeners:
                self._listeners.pop(listener_key, None)

    async def _poll(self, stopped: asyncio.Event, caller_id: str, conversation_id: str, since_ms: int) -> None:
        """Return when `stopped` is set or the store has a signal."""
        wait_s = self.poll_interval_s
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await stopped.wait()
                    return
            try:
                signal, wait_s = await self.store.get(*_signal_key(caller_id, conversation_id)), self.poll_interval_s
            except StorageUnavailable:  # `Store` has logged it
                signal, wait_s = None, min(2 * wait_s, max(self.poll_interval_s, MAX_BACKOFF_S))
            if signal and signal.number >= since_ms:
                return
            if not self.store.is_shared:
                await stopped.wait()


def _signal_key(caller_id: str, conversation_id: str) -> tuple[str, str]:
    return encode_key("stops", caller_id), encode_key(conversation_id)
