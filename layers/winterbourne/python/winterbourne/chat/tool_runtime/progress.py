"""Progress of an async-generator tool: each item is sent as it is yielded, the last one is the result.

Which item is the last is known only when the generator ends. An item is therefore sent once the generator awaits
something or yields another item, and is held back if the generator ends instead.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Self

__all__ = ["stream_progress"]


async def stream_progress(items: AsyncGenerator[Any, None], send: Callable[[Any], Awaitable[None]]) -> Any:
    """Exhaust a generator and send every item but the last.

    Returns:
        The last item; None if there was none.

    Raises:
        Exception: What the generator or `send` raises.

    Cancellation:
        Closes the generator, which runs its `finally` clauses.
    """
    last: Any = None
    async with contextlib.aclosing(items), _LookaheadSender(send) as sender:
        async for item in items:
            await sender.push(item)
            last = item
    return last


class _LookaheadSender:
    """Sends each item in a task of its own, which starts once the generator waits."""

    def __init__(self, send: Callable[[Any], Awaitable[None]]) -> None:
        self._send = send
        self._task: asyncio.Task[None] | None = None

    async def push(self, item: Any) -> None:
        """Wait until the previous item is sent; send this one once the loop is free."""
        if self._task is not None:
            await self._task
        self._task = asyncio.create_task(self._send_item(item))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Drop the last item if it has not been sent yet: it is the result."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _send_item(self, item: Any) -> None:
        await self._send(item)
