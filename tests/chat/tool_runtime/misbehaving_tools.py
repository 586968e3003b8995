"""Misbehaving tools for the tool runtime tests: they fail, hang, ignore cancellation or flood the client."""

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncGenerator

from winterbourne.chat.errors import ToolError
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import tool

who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
cleaned: list[str] = []


@tool
async def wait(seconds: float) -> float:
    """Wait for the given number of seconds."""
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        cleaned.append("wait")
        raise
    return seconds


@tool
async def fail() -> None:
    """Raise."""
    raise RuntimeError("no luck")


@tool
async def refuse() -> None:
    """Raise a `ToolError` with a message of its own."""
    raise ToolError("Ask for something else.")


@tool(timeout_s=2)
async def impatient(seconds: float) -> float:
    """Wait, but at most two seconds."""
    await asyncio.sleep(seconds)
    return seconds


@tool(timeout_s=2)
async def stubborn(seconds: float) -> str:
    """Ignore every cancellation for the given number of seconds."""
    end = asyncio.get_running_loop().time() + seconds
    while (left := end - asyncio.get_running_loop().time()) > 0:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(left)
    return "at last"


@tool
async def exits() -> None:
    """End the process."""
    raise SystemExit(3)


@tool
async def cancels_itself() -> None:
    """Raise `CancelledError` although nobody cancelled the call."""
    raise asyncio.CancelledError


@tool
async def own_timeout() -> None:
    """Raise the same error that a timeout raises."""
    raise TimeoutError("mine")


@tool
async def counts(to: int) -> AsyncGenerator[str, None]:
    """Count, with a second between."""
    for number in range(1, to + 1):
        yield f"at {number}"
        await asyncio.sleep(1)
    yield "done"


@tool(timeout_s=0.05)
async def chatters() -> AsyncGenerator[int, None]:
    """Never end, never wait."""
    number = 0
    while True:
        number += 1
        yield number


@tool
async def asks_who(context: ToolContext) -> list[str]:
    """Report the context of the call."""
    return [who.get(), context.request_id, context.caller, f"{context.remaining_s:.0f}"]


TOOLS = [wait, fail, refuse, impatient, stubborn, exits, cancels_itself, own_timeout, counts, chatters, asks_who]
