# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, ANN202
# Types are not checked: the library is not in our environment, `bench_tools` runs this in one of its own.
"""One model turn with tools in the OpenAI Agents SDK, by its own ScriptedModel. See `rivals/timing.py`."""

import asyncio

from agents import Agent, Runner, function_tool, set_tracing_disabled
from agents.testing import ModelStep, ScriptedModel, assistant_message, function_call
from openai.types.responses import Response, ResponseCompletedEvent, ResponseOutputItemDoneEvent
from timing import Watch, main, marker

set_tracing_disabled(disabled=True)


def completed(output):
    """The last event of a turn."""
    response = Response(
        id="r", created_at=0, model="m", object="response", output=output,
        parallel_tool_calls=True, tool_choice="auto", tools=[],
    )  # fmt: skip
    return ResponseCompletedEvent(type="response.completed", response=response, sequence_number=999)


async def run(turn_s: float, tools_s: list[float]) -> Watch:
    """Ask for the tools, evenly over the turn; watch the stream for their results."""
    calls = [function_call("work", {"number": number}, call_id=f"c{number}") for number in range(len(tools_s))]

    async def asks(_):
        for number, call in enumerate(calls):
            await asyncio.sleep(turn_s / len(calls))
            yield ResponseOutputItemDoneEvent(
                type="response.output_item.done", item=call, output_index=number, sequence_number=number
            )
        yield completed(calls)

    @function_tool
    async def work(number: int) -> str:
        """Work."""
        await asyncio.sleep(tools_s[number])
        return marker(number)

    model = ScriptedModel([ModelStep.stream(asks), [assistant_message("done")]])
    watch = Watch(len(tools_s))
    async for event in Runner.run_streamed(Agent(name="a", model=model, tools=[work]), "go").stream_events():
        watch.see(event)
    return watch


main(run)
