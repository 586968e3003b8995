"""Progress of tools: coalesced, so that no tool can flood a client, and what a generator yields before its result.

Which item is a generator's last is known only when it ends. An item of an async generator is therefore sent once the
generator awaits something or yields another item, and is held back if it ends instead; one of a plain generator, which
runs in a thread, is sent within PROGRESS_INTERVAL_S unless it ends meanwhile.
"""

import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    import asyncio

__all__ = ["PROGRESS_BYTES_PER_S", "PROGRESS_INTERVAL_S", "CoalescedProgress", "stream_progress", "stream_thread"]

PROGRESS_INTERVAL_S: Final = 1 / 20
PROGRESS_BYTES_PER_S: Final = 64 * 1024


class CoalescedProgress(msgspec.Struct, eq=False):
    """Sends the progress of one run: at most once in PROGRESS_INTERVAL_S, and PROGRESS_BYTES_PER_S; the latest wins.

    Attributes:
        send: Sends one message; may wait, which holds up nobody else, and must not raise.
        latest: What has been reported since.
        sender: Sends it; None while there is nothing to send. Whoever ends the run cancels it.
    """

    send: Callable[[bytes], Coroutine[Any, Any, None]]
    latest: bytes = b""
    sender: "asyncio.Task[None] | None" = None

    async def report(self, data: bytes) -> None:
        """Send this as soon as it may be sent, unless something newer is reported before."""
        import asyncio  # noqa: PLC0415 - only tools that need it pay for it

        self.latest = data
        if self.sender is None:
            self.sender = asyncio.create_task(self._send_latest())

    async def _send_latest(self) -> None:
        import asyncio  # noqa: PLC0415 - as above

        while data := self.latest:
            self.latest = b""
            await self.send(data)
            await asyncio.sleep(max(PROGRESS_INTERVAL_S, len(data) / PROGRESS_BYTES_PER_S))
        self.sender = None


async def stream_progress(items: AsyncGenerator[Any, None], send: Callable[[Any], Coroutine[Any, Any, None]]) -> Any:
    """Exhaust a generator and send every item but the last.

    Returns:
        The last item; None if there was none.

    Raises:
        Exception: What the generator or `send` raises.

    Cancellation:
        Closes the generator, which runs its `finally` clauses.
    """
    import asyncio  # noqa: PLC0415 - only tools that need it pay for it

    last: Any = None
    sending: asyncio.Task[None] | None = None
    async with contextlib.aclosing(items):
        try:
            async for last in items:
                if sending is not None:
                    await sending
                sending = asyncio.create_task(send(last))  # starts once the generator waits
        finally:
            if sending is not None:  # the last item is the result: it is not sent if it has not been yet
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
    return last


async def stream_thread(
    items: Generator[Any, Any, Any],
    send: Callable[[Any], Awaitable[None]],
    in_thread: Callable[[Callable[[], None]], Awaitable[None]],
) -> Any:
    """Exhaust a plain generator in a thread and send its items, the latest of those that come fast.

    Returns:
        The last item; None if there was none.

    Raises:
        Exception: What the generator or `send` raises.

    Cancellation:
        Closes the generator at its next item.
    """
    import asyncio  # noqa: PLC0415 - as above

    last: Any = None
    unsent: deque[Any] = deque(maxlen=1)
    has_left = False

    def exhaust() -> None:
        nonlocal last
        for last in items:
            unsent.append(last)
            if has_left:
                items.close()

    running = asyncio.ensure_future(in_thread(exhaust))
    try:
        while not (await asyncio.wait((running,), timeout=PROGRESS_INTERVAL_S))[0]:
            if unsent:
                await send(unsent.pop())
        running.result()
    finally:
        has_left = True
        running.cancel()
    return last
