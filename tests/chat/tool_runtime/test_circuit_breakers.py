"""A tool that keeps failing is left alone for a while; what it shares a breaker with, too."""

import asyncio

import pytest

from tests.chat.tool_runtime.recording_clients import RecordingClient, recorded_metrics, run_turn, tool_call
from tests.clock import jumping
from winterbourne.chat.errors import ToolError, ToolUnavailable
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.declaration import tool
from winterbourne.chat.tool_runtime.runner import ToolRunner

SETTINGS = Settings(tool_breaker_failures=2, tool_breaker_open_time=30)
mood: list[Exception] = []
runs: list[str] = []


@tool(breaker="api.example", timeout_s=5)
async def ask_api(seconds: float = 0) -> str:
    """Ask the service."""
    runs.append("ask_api")
    await asyncio.sleep(seconds)
    if mood:
        raise mood[0]
    return "fine"


@tool(breaker="api.example")
async def ask_more() -> str:
    """Ask the same service for more."""
    return "more"


@tool
async def other() -> str:
    """Ask nobody."""
    return "other"


@pytest.fixture(autouse=True)
def _fresh() -> None:
    mood.clear()
    runs.clear()


async def say(runner: ToolRunner, name: str, **arguments: object) -> str:
    (message,) = await run_turn(runner, tool_call(name, **arguments))
    return message.content


@pytest.mark.parametrize("error", [RuntimeError("broken"), ToolUnavailable("away")])
def test_an_open_breaker_answers_at_once_and_the_tool_is_not_called(error: Exception) -> None:
    @jumping
    async def run() -> None:
        runner = ToolRunner([ask_api, ask_more, other], SETTINGS)
        mood.append(error)
        for _ in range(2):
            await say(runner, "ask_api")
        heard = RecordingClient()
        (message,) = await run_turn(runner, tool_call("ask_api"), client=heard)
        assert message.content == "ask_api failed too often and is paused; it may be called again in 30 seconds."
        assert len(heard.batches) == 1
        assert len(runs) == 2
        assert (await say(runner, "ask_more")).startswith("ask_more failed too often"), "the host is shared"
        assert await say(runner, "other") == '"other"'

    run()


@jumping
async def test_after_the_pause_one_call_tries_and_closes_it() -> None:
    """Also where the environment was frozen meanwhile, and the loop's clock with it."""
    now_s = 1_000_000.0
    runner = ToolRunner([ask_api], SETTINGS, wall_clock=lambda: now_s)
    mood.append(RuntimeError())
    for _ in range(2):
        await say(runner, "ask_api")
    mood.clear()
    now_s += 31
    contents = [
        message.content for message in await run_turn(runner, tool_call("ask_api", "1"), tool_call("ask_api", "2"))
    ]
    assert contents[0] == '"fine"'
    assert contents[1].startswith("ask_api failed too often")
    assert await say(runner, "ask_api") == '"fine"'


@jumping
async def test_what_a_tool_says_on_purpose_and_bad_arguments_are_no_failures() -> None:
    runner = ToolRunner([ask_api], SETTINGS)
    mood.append(ToolError("There is no such city."))
    for _ in range(5):
        assert await say(runner, "ask_api") == "There is no such city."
        assert "do not fit" in await say(runner, "ask_api", seconds="x")


@jumping
async def test_timeouts_of_the_tool_are_failures() -> None:
    runner = ToolRunner([ask_api], SETTINGS)
    for _ in range(2):
        await say(runner, "ask_api", seconds=60)
    assert (await say(runner, "ask_api")).startswith("ask_api failed too often")


@jumping
async def test_being_stopped_by_others_is_none() -> None:
    runner = ToolRunner([ask_api], SETTINGS)
    for _ in range(5):
        async with runner.turn(RecordingClient()) as turn:
            turn.start(tool_call("ask_api", seconds=4))
            await asyncio.sleep(1)
    assert await say(runner, "ask_api") == '"fine"'


@jumping
async def test_an_opening_is_counted_in_a_metric() -> None:
    runner = ToolRunner([ask_api], SETTINGS)
    mood.append(RuntimeError())
    with recorded_metrics() as values:
        for _ in range(3):
            await say(runner, "ask_api")
    assert [value for value in values if value[0] == "BreakerOpenings"] == [("BreakerOpenings", 1, "ask_api")]
