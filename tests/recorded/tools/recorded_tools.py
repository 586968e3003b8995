"""Tools that do what the shipped ones do not: take their time, fail, report, say too much."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from winterbourne.chat.errors import ToolError
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import tool


@tool
async def after(
    word: Annotated[str, Meta(max_length=9)], say: Annotated[str, Meta(min_length=1)], context: ToolContext
) -> dict[str, str]:
    """Say something aloud, after somebody else has said something aloud.

    Args:
        word: What must have been said before; nothing need be if it is empty.
        say: What to say.
    """
    if heard := word.upper() or os.environ.get("HEARD_FIRST"):
        await context.http.get(f"{os.environ['OPENAI_BASE_URL']}/heard/{heard}")
    return {"said": say.upper()}


@tool(timeout_s=0.05)
async def asleep() -> None:
    """Never answer."""
    await asyncio.Event().wait()


@tool
async def broken(word: str) -> str:
    """Break.

    Args:
        word: What to break over.
    """
    raise LookupError(f"no {word} in the drawer")


@tool
async def unwilling() -> str:
    """Say why not."""
    raise ToolError("The shop is closed on Sundays.")


@tool
async def stepwise(steps: int) -> AsyncIterator[dict[str, int]]:
    """Report every step.

    Args:
        steps: How many.
    """
    for step in range(1, steps + 1):
        await asyncio.sleep(0)  # an item is sent while the tool waits; the last one is the result
        yield {"step": step, "of": steps}


@tool
async def long_winded(times: int) -> str:
    """Say more than fits.

    Args:
        times: How often.
    """
    return "And so on. " * times


@tool
async def exact(word: str, note: str | None = None) -> dict[str, str | None]:
    """Repeat a word.

    Args:
        word: The word.
        note: Whatever else.
    """
    return {"word": word, "note": note}
