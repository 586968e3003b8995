"""Circuit breaker: a state machine; a tool that keeps failing is paused, and so are all that share its breaker."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.tool_runtime.recording_clients import RecordingClient, recorded_metrics, run_turn, tool_call
from tests.clock import jumping
from winterbourne.chat.errors import ToolError, ToolUnavailable
from winterbourne.chat.settings import ToolSettings
from winterbourne.chat.tool_runtime.circuit_breaker import CircuitBreaker
from winterbourne.chat.tool_runtime.declaration import tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor


def call(breaker: CircuitBreaker, now: float, *, succeeded: bool) -> bool:
    assert not breaker.remaining_open_s(now)
    return breaker.record(breaker.begin(now), succeeded=succeeded, now=now)


class TestClosed:
    def test_consecutive_failures_up_to_the_threshold_open_it(self) -> None:
        breaker = CircuitBreaker(failure_threshold=3, open_s=30)
        assert [call(breaker, 0, succeeded=False) for _ in range(3)] == [False, False, True]
        assert not breaker.is_closed

    def test_a_success_resets_the_failure_count(self) -> None:
        breaker = CircuitBreaker(failure_threshold=2, open_s=30)
        for succeeded in (False, True, False, True, False):
            call(breaker, 0, succeeded=succeeded)
        assert breaker.is_closed


def opened() -> CircuitBreaker:
    breaker = CircuitBreaker(failure_threshold=1, open_s=30)
    call(breaker, 100, succeeded=False)
    return breaker


class TestOpen:
    def test_calls_are_refused_with_the_time_until_a_retry(self) -> None:
        assert opened().remaining_open_s(110) == 20

    def test_reading_the_remaining_time_changes_nothing(self) -> None:
        breaker = opened()
        assert (breaker.remaining_open_s(110), breaker.remaining_open_s(200)) == (20, 0)
        assert (breaker.remaining_open_s(110), breaker.is_closed) == (20, False)

    def test_a_late_outcome_of_an_earlier_call_is_ignored(self) -> None:
        breaker = CircuitBreaker(failure_threshold=1, open_s=30)
        early, late = breaker.begin(0), breaker.begin(0)
        breaker.record(early, succeeded=False, now=0)
        breaker.record(late, succeeded=True, now=1)
        assert not breaker.is_closed


class TestHalfOpen:
    def test_after_the_open_time_exactly_one_trial_call_is_allowed(self) -> None:
        breaker = opened()
        assert not breaker.remaining_open_s(130)
        breaker.begin(130)
        assert not breaker.is_closed
        assert breaker.remaining_open_s(131) == 29

    def test_a_successful_trial_closes_the_breaker(self) -> None:
        breaker = opened()
        call(breaker, 130, succeeded=True)
        assert breaker.is_closed

    def test_a_failed_trial_opens_it_again_for_the_whole_open_time(self) -> None:
        breaker = opened()
        assert call(breaker, 130, succeeded=False)
        assert breaker.remaining_open_s(131) == 29

    def test_with_the_default_of_five_failures_one_failed_trial_opens_it_again(self) -> None:
        settings = ToolSettings()
        breaker = CircuitBreaker(settings.tool_breaker_failures, settings.tool_breaker_open_time)
        assert [call(breaker, 100, succeeded=False) for _ in range(5)] == [False, False, False, False, True]
        assert call(breaker, 130, succeeded=False)
        assert not breaker.is_closed
        assert breaker.remaining_open_s(131) == 29

    def test_if_the_trial_never_reports_another_is_allowed_after_the_open_time(self) -> None:
        breaker = opened()
        lost = breaker.begin(130)
        assert call(breaker, 160, succeeded=True) is False
        breaker.record(lost, succeeded=False, now=161)
        assert breaker.is_closed


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["ask", "succeeded", "failed"]), st.floats(0, 50)), max_size=40),
)
def test_after_any_history_an_open_breaker_refuses_all_but_one_trial_call(
    failures: int, steps: list[tuple[str, float]]
) -> None:
    breaker, now, allowed = CircuitBreaker(failures, open_s=30), 0.0, list[int]()
    for step, seconds in steps:
        now += seconds
        if step == "ask":
            refuses = breaker.remaining_open_s(now) > 0
            assert not (refuses and breaker.is_closed)
            if not refuses:
                trial = not breaker.is_closed
                allowed.append(breaker.begin(now))
                assert breaker.remaining_open_s(now) == pytest.approx(30 if trial else 0), "one trial call at a time"
        elif allowed:
            opened = breaker.record(allowed.pop(0), succeeded=step == "succeeded", now=now)
            assert not opened or breaker.remaining_open_s(now) == pytest.approx(30)


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
