"""Progress of an async-generator tool: each item is sent as it is yielded, the last one is the result.

Which item is the last is known only when the generator ends. An item is therefore sent once the generator awaits
something or yields another item, and is held back if the generator ends instead.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

__all__ = ["stream_progress"]


async def stream_progress(items: AsyncGenerator[Any, None], send: Callable[[Any], Coroutine[Any, Any, None]]) -> Any:
    """Exhaust a generator and send every item but the last.

    Returns:
        The last item; None if there was none.

    Raises:
        Exception: What the generator or `send` raises.

    Cancellation:
        Closes the generator, which runs its `finally` clauses.
    """
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
