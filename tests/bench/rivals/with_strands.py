# mypy: ignore-errors
# ruff: noqa: ANN001, ANN002, ANN003, ANN201
# Types are not checked: the library is not in our environment, `bench_tools` runs this in one of its own.
"""One model turn with tools in Strands Agents, by a model of its Model class. See `rivals/timing.py`."""

import asyncio
import json

from strands import Agent, tool
from strands.models import Model
from timing import Watch, main, marker


class Scripted(Model):
    """Asks for the tools, evenly over the turn, then answers."""

    def __init__(self, turn_s: float, count: int) -> None:
        self.turn_s = turn_s
        self.count = count

    def update_config(self, **_) -> None: ...

    def get_config(self):
        return {}

    async def structured_output(self, *_, **__):
        yield {}

    async def stream(self, messages, *_, **__):
        yield {"messageStart": {"role": "assistant"}}
        if any("toolResult" in block for message in messages for block in message["content"]):
            yield {"contentBlockDelta": {"delta": {"text": "done"}}}
            yield {"contentBlockStop": {}}
            yield {"messageStop": {"stopReason": "end_turn"}}
            return
        for number in range(self.count):
            await asyncio.sleep(self.turn_s / self.count)
            yield {"contentBlockStart": {"start": {"toolUse": {"name": "work", "toolUseId": f"c{number}"}}}}
            yield {"contentBlockDelta": {"delta": {"toolUse": {"input": json.dumps({"number": number})}}}}
            yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "tool_use"}}


async def run(turn_s: float, tools_s: list[float]) -> Watch:
    """Ask for the tools, evenly over the turn; watch the stream for their results."""

    @tool
    async def work(number: int) -> str:
        """Work."""
        await asyncio.sleep(tools_s[number])
        return marker(number)

    agent = Agent(model=Scripted(turn_s, len(tools_s)), tools=[work], callback_handler=None)
    watch = Watch(len(tools_s))
    async for event in agent.stream_async("go"):
        watch.see(event)
    return watch


main(run)
