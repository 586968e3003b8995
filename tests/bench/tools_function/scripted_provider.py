"""A provider that calls one tool repeatedly, evenly over a turn, and tools that take a given number of seconds."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence

import orjson

from tests.bench.tools_function import timerfd
from winterbourne.chat.core.events import ModelEvent, TextDelta, ToolCallReady, ToolCallStarted, TurnEnded
from winterbourne.chat.core.messages import ToolMessage
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.tool_runtime.declaration import tool

__all__ = ["ToolCallingProvider", "wait", "work"]


class ToolCallingProvider:
    """The script.

    Args:
        turn_s: How long the turn takes; the calls are complete one after another, evenly.
        tools_s: How long each call takes.
        tool: The tool to call.
    """

    name = "asking"
    takes_image_urls = True

    def __init__(self, turn_s: float, tools_s: Sequence[float], tool: str = "work") -> None:
        self._turn_s = turn_s
        self._tools_s = tools_s
        self._tool = tool

    async def stream(self, request: ModelRequest, /) -> AsyncGenerator[Sequence[ModelEvent], None]:
        """Call the tool in the first turn; send one word in the second."""
        if isinstance(request.messages[-1], ToolMessage):
            yield [TextDelta("done"), TurnEnded("stop")]
            return
        for number, seconds in enumerate(self._tools_s):
            if self._turn_s:
                await asyncio.sleep(self._turn_s / len(self._tools_s))
            arguments = orjson.dumps({"seconds": seconds}).decode()
            yield [ToolCallStarted(f"c{number}", self._tool), ToolCallReady(f"c{number}", self._tool, arguments)]
        yield [TurnEnded("tool_calls")]


@tool
async def work(seconds: float) -> float:
    """Work for so long, and tell when it was done, on the machine's monotonic clock."""
    if seconds:
        await asyncio.sleep(seconds)
    return time.monotonic()


@tool
async def wait(seconds: float) -> float:
    """Take exactly so long, as the answer of a server would, and tell when it was there."""
    await timerfd.wait(seconds)
    return time.monotonic()
