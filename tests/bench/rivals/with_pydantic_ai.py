# mypy: ignore-errors
# ruff: noqa: ANN001, ANN202
# Types are not checked: the library is not in our environment, `bench_tools` runs this in one of its own.
"""One model turn with tools in pydantic-ai, by its own FunctionModel. Arguments and result: see `rivals/timing.py`."""

import asyncio
import json

from pydantic_ai import Agent
from pydantic_ai.models.function import DeltaToolCall, FunctionModel
from timing import Watch, main, marker


async def run(turn_s: float, tools_s: list[float]) -> Watch:
    """Ask for the tools, evenly over the turn; watch the stream for their results."""

    async def model(messages, _):
        if any(part.part_kind == "tool-return" for message in messages for part in message.parts):
            yield "done"
            return
        for number in range(len(tools_s)):
            await asyncio.sleep(turn_s / len(tools_s))
            yield {number: DeltaToolCall("work", json.dumps({"number": number}), tool_call_id=f"c{number}")}

    agent = Agent(FunctionModel(stream_function=model))

    @agent.tool_plain
    async def work(number: int) -> str:
        await asyncio.sleep(tools_s[number])
        return marker(number)

    watch = Watch(len(tools_s))
    async with agent.run_stream_events("go") as events:
        async for event in events:
            watch.see(event)
    return watch


main(run)
