"""Stop requests: one request asks, another one, perhaps in another execution environment, hears it.

Lambda never tells a function that its client has gone, so stopping is a request of its own. It leaves a mark in the
store; whoever runs the conversation looks for it. In the same environment nobody has to look: it is heard at once.
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
"""Longer than Lambda lets anything run."""

MAX_BACKOFF_S: Final = 10.0
"""Between two looks at a store that is away: each look that fails is a line in the log, for every stream."""


class StopSignals:
    """Stop requests of all callers.

    Args:
        store: Where they are kept.
        poll_interval_s: Seconds between two looks.
    """

    def __init__(self, store: Store, poll_interval_s: float) -> None:
        self._store = store
        self._poll_interval_s = poll_interval_s if store.is_shared else None
        self._listeners: dict[tuple[str, str], set[asyncio.Event]] = {}

    async def send(self, caller: Caller, conversation_id: str, at_ms: int | None = None) -> None:
        """Ask that this caller's conversation stops; where none of that id runs, nothing happens.

        Args:
            caller: Who asks; the conversations of others have other keys and are out of reach.
            conversation_id: Which one.
            at_ms: When the request was received, epoch milliseconds; now, if not given.

        Raises:
            StoreUnavailable: Only this environment has heard it.
        """
        for listener in self._listeners.get((caller.id, conversation_id), ()):
            listener.set()
        pk, sk = _signal_key(caller, conversation_id)
        expires_at_s = int(self._store.now()) + SIGNAL_TTL_S
        await self._store.put([Item(pk=pk, sk=sk, number=at_ms or self._now_ms(), expires_at_s=expires_at_s)])

    async def wait(self, caller: Caller, conversation_id: str, since_ms: int | None = None) -> None:
        """Return when this caller's conversation is to stop.

        Args:
            caller: Whose conversation it is.
            conversation_id: Which one.
            since_ms: When the running request was received, epoch milliseconds: older marks meant another one. Now,
                if not given; better is the event's `timeEpoch`, so that a stop during a cold start is heard.

        A store that is away is looked at more and more rarely, until it is back. Cancellation ends the looking.
        """
        since_ms, failures = since_ms or self._now_ms(), 0
        with self._subscribe(caller, conversation_id) as stopped:
            while not stopped.is_set():
                try:
                    if await self._is_stop_requested(caller, conversation_id, since_ms):
                        return
                    failures = 0
                except StorageUnavailable:  # the store has logged it
                    failures += 1
                await _wait_with_timeout(stopped, self._backoff_s(failures))

    async def _is_stop_requested(self, caller: Caller, conversation_id: str, since_ms: int) -> bool:
        signal = await self._store.get(*_signal_key(caller, conversation_id))
        return signal is not None and signal.number >= since_ms

    def _backoff_s(self, failures: int) -> float | None:
        """Until the next look, after so many failures in a row; None where there is none."""
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
    """Wait for an event, not longer than that."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()


def _signal_key(caller: Caller, conversation_id: str) -> tuple[str, str]:
    return encode_key("stops", caller.id), encode_key(conversation_id)
