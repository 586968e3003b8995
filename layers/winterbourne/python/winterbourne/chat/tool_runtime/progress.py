"""An async generator as a tool: every item is sent as it comes, the last one is the result.

Which item is the last is only known when the generator ends. So an item is sent as soon as the generator waits for
something or makes a further item, and kept back when it ends instead.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Self

__all__ = ["stream_progress"]


async def stream_progress(items: AsyncGenerator[Any, None], send: Callable[[Any], Awaitable[None]]) -> Any:
    """Exhaust a generator.

    Returns:
        Its last item; None if there was none.

    Raises:
        Exception: What the generator or `send` raises.

    Cancellation: closes the generator, which runs its `finally` clauses.
    """
    last: Any = None
    async with contextlib.aclosing(items), _LookaheadSender(send) as sender:
        async for item in items:
            await sender.push(item)
            last = item
    return last


class _LookaheadSender:
    """Sends one item behind: in a task that begins when the generator waits."""

    def __init__(self, send: Callable[[Any], Awaitable[None]]) -> None:
        self._send = send
        self._task: asyncio.Task[None] | None = None

    async def push(self, item: Any) -> None:
        """Wait until the item before is sent; send this one once the loop is free."""
        if self._task is not None:
            await self._task
        self._task = asyncio.create_task(self._send_item(item))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Drop the last item if it is not yet being sent: it is the result."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _send_item(self, item: Any) -> None:
        await self._send(item)
