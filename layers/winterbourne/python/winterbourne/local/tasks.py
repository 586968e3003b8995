"""Ends asyncio tasks."""

import asyncio
from collections.abc import Collection

__all__ = ["cancel_all"]


async def cancel_all(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until all of them have ended, however they do."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
