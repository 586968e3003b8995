"""Circuit breaker: a tool that keeps failing is paused, and so are all that share its breaker."""

import asyncio

import pytest

from tests.chat.tool_runtime.recording_clients import RecordingClient, recorded_metrics, run_turn, tool_call
from tests.clock import jumping
from winterbourne.chat.errors import ToolError, ToolUnavailable
from winterbourne.chat.settings import ToolSettings
from winterbourne.chat.tool_runtime.declaration import tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor

SETTINGS = ToolSettings(tool_breaker_failures=2, tool_breaker_open_time=30)
errors: list[BaseException] = []
runs: list[str] = []


@tool(breaker="api.example", timeout_s=5)
async def ask_api(seconds: float = 0) -> str:
    """Ask the service."""
    runs.append("ask_api")
    await asyncio.sleep(seconds)
    if errors:
        raise errors[0]
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
def _reset() -> None:
    errors.clear()
    runs.clear()


async def call_tool(executor: ToolExecutor, name: str, **arguments: object) -> str:
    (message,) = await run_turn(executor, tool_call(name, **arguments))
    return message.content


@pytest.mark.parametrize("error", [RuntimeError("broken"), ToolUnavailable("away")])
def test_an_open_breaker_fails_fast_without_calling_the_tool(error: Exception) -> None:
    @jumping
    async def run() -> None:
        executor = ToolExecutor([ask_api, ask_more, other], SETTINGS)
        errors.append(error)
        for _ in range(2):
            await call_tool(executor, "ask_api")
        client = RecordingClient()
        (message,) = await run_turn(executor, tool_call("ask_api"), client=client)
        assert message.content == "ask_api failed too often and is paused; it may be called again in 30 seconds."
        assert len(client.batches) == 1
        assert len(runs) == 2
        assert (await call_tool(executor, "ask_more")).startswith("ask_more failed too often"), "the host is shared"
        assert await call_tool(executor, "other") == '"other"'

    run()


@jumping
async def test_after_the_open_time_one_trial_call_closes_it() -> None:
    """Holds even if the environment was frozen meanwhile, and the loop's clock with it."""
    now_s = 1_000_000.0
    executor = ToolExecutor([ask_api], SETTINGS, wall_clock=lambda: now_s)
    errors.append(RuntimeError())
    for _ in range(2):
        await call_tool(executor, "ask_api")
    errors.clear()
    now_s += 31
    contents = [
        message.content for message in await run_turn(executor, tool_call("ask_api", "1"), tool_call("ask_api", "2"))
    ]
    assert contents[0] == '"fine"'
    assert contents[1].startswith("ask_api failed too often")
    assert await call_tool(executor, "ask_api") == '"fine"'


@jumping
async def test_an_open_breaker_does_not_refuse_a_cached_result() -> None:
    @tool(breaker="api.example", cache_ttl_s=60)
    async def ask_once() -> str:
        """Ask the same service, and keep the answer."""
        return "kept"

    executor = ToolExecutor([ask_api, ask_once], SETTINGS)
    assert await call_tool(executor, "ask_once") == '"kept"'
    errors.append(RuntimeError())
    for _ in range(2):
        await call_tool(executor, "ask_api")
    assert await call_tool(executor, "ask_once") == '"kept"'


@jumping
async def test_a_tool_that_cancels_itself_has_failed() -> None:
    executor = ToolExecutor([ask_api], SETTINGS)
    errors.append(asyncio.CancelledError())
    for _ in range(2):
        assert await call_tool(executor, "ask_api") == "ask_api cancelled itself."
    assert (await call_tool(executor, "ask_api")).startswith("ask_api failed too often")


@jumping
async def test_all_attempts_of_a_call_are_one_failure() -> None:
    attempts: list[int] = []

    @tool(breaker="retried", retries=3)
    async def tries() -> None:
        """Try in vain."""
        attempts.append(1)
        raise ToolUnavailable("away")

    executor = ToolExecutor([tries], SETTINGS)
    assert [await call_tool(executor, "tries") for _ in range(2)] == ["away", "away"]
    assert (await call_tool(executor, "tries")).startswith("tries failed too often")
    assert len(attempts) == 8


@jumping
async def test_tool_errors_and_invalid_arguments_do_not_count_as_failures() -> None:
    executor = ToolExecutor([ask_api], SETTINGS)
    errors.append(ToolError("There is no such city."))
    for _ in range(5):
        assert await call_tool(executor, "ask_api") == "There is no such city."
        assert "do not fit" in await call_tool(executor, "ask_api", seconds="x")


@jumping
async def test_timeouts_of_the_tool_count_as_failures() -> None:
    executor = ToolExecutor([ask_api], SETTINGS)
    for _ in range(2):
        await call_tool(executor, "ask_api", seconds=60)
    assert (await call_tool(executor, "ask_api")).startswith("ask_api failed too often")


@jumping
async def test_cancellation_does_not_count_as_a_failure() -> None:
    executor = ToolExecutor([ask_api], SETTINGS)
    for _ in range(5):
        async with executor.turn(RecordingClient()) as turn:
            turn.start(tool_call("ask_api", seconds=4))
            await asyncio.sleep(1)
    assert await call_tool(executor, "ask_api") == '"fine"'


@jumping
async def test_an_opening_is_counted_in_a_metric() -> None:
    executor = ToolExecutor([ask_api], SETTINGS)
    errors.append(RuntimeError())
    with recorded_metrics() as values:
        for _ in range(3):
            await call_tool(executor, "ask_api")
    assert [value for value in values if value[0] == "BreakerOpenings"] == [("BreakerOpenings", 1, "ask_api")]
