"""Shared timing code of the scripts for other agent libraries; needs nothing but Python.

Each is called with one JSON argument, `{"turn_s": …, "tools_s": […], "many": …}`, and prints one JSON object:
`seen_s`, when each result could first be seen in the library's own event stream, from the start of the run; and
`call_us`, what one call of a tool without work costs: a turn of `many` calls less a turn of one, by call.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

__all__ = ["Watch", "main", "marker"]


def marker(number: int) -> str:
    """The result of a tool call, recognizable in the events."""
    return f"<result of {number}>"


class Watch:
    """Records when each result is first seen; does not search the events when a cost is measured."""

    looks = True

    def __init__(self, count: int) -> None:
        self.began = time.perf_counter()
        self.missing = set(range(count))
        self.seen_s: dict[int, float] = {}

    def see(self, event: object) -> None:
        """Look for results in an event."""
        if not self.looks:
            return
        now = time.perf_counter()
        text = repr(event)
        for number in [number for number in self.missing if marker(number) in text]:
            self.missing.remove(number)
            self.seen_s[number] = now - self.began


def main(run: Callable[[float, list[float]], Awaitable[Watch]]) -> None:
    """Run the requested turn, then the turns without work, and print both."""
    asked = json.loads(sys.argv[1])
    asyncio.run(_main(run, **asked))


async def _main(
    run: Callable[[float, list[float]], Awaitable[Watch]], turn_s: float, tools_s: list[float], many: int
) -> None:
    await run(0, [0, 0])  # everything is imported and warm
    watch = await run(turn_s, tools_s)
    Watch.looks = False
    costs = [(await _seconds(run, many) - await _seconds(run, 1)) / (many - 1) for _ in range(15)]
    seen = [watch.seen_s[number] for number in range(len(tools_s))]
    print(json.dumps({"seen_s": seen, "call_us": statistics.median(costs) * 1e6}))


async def _seconds(run: Callable[[float, list[float]], Awaitable[Watch]], count: int) -> float:
    began = time.perf_counter()
    await run(0, [0] * count)
    return time.perf_counter() - began
