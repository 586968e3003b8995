"""Tool executor: caching, shared runs (single-flight) and batching, only where a tool declares them."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from tests.chat.log_lines import log_lines
from tests.chat.tool_runtime.recording_clients import RecordingClient, recorded_metrics, run_turn, tool_call
from tests.clock import jumping
from winterbourne.chat.errors import ToolError
from winterbourne.chat.infra import redaction
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import tool
from winterbourne.chat.tool_runtime.runner import ToolRunner

runs: list[object] = []


@pytest.fixture(autouse=True)
def _clear_runs() -> None:
    runs.clear()


@tool(cache_ttl_s=60)
async def cached(key: str, seconds: float = 1.0, fails: bool = False) -> str:  # noqa: FBT001, FBT002 - arguments come from the model
    """Cache results for a minute."""
    runs.append(key)
    await asyncio.sleep(seconds)
    if fails:
        raise ToolError("no")
    return key.upper()


@tool(cache_ttl_s=60, cache_per_caller=True)
async def private(key: str) -> str:
    """Cache results for a minute, for each caller."""
    runs.append(key)
    return key


@tool(cache_ttl_s=60)
async def berths(port: str, context: ToolContext) -> str:
    """The caller's berths."""
    runs.append(context.caller)
    await asyncio.sleep(1)
    return f"{context.caller} in {port}"


@tool(cache_ttl_s=60, cache_per_caller=False)
async def careless(context: ToolContext) -> str:
    """Read the caller although all callers share the result."""
    return context.caller


@tool
async def breaks(ship: str) -> str:
    """Break."""
    raise OSError(f"login failed ({ship})")


@tool
async def takes(order: dict[str, Any]) -> None:
    """Take an order apart."""
    order["again"] = order  # a cycle is not JSON
    raise LookupError(f"no customer {order.pop('customer')} for {order['items'].pop()}")


@tool
async def plain(key: str) -> str:
    """Have an effect each time."""
    runs.append(key)
    await asyncio.sleep(1)
    return key


@tool(cache_ttl_s=0)
async def shared(to: int) -> AsyncGenerator[int, None]:
    """Count, for every call that joins the run."""
    runs.append(to)
    for number in range(to):
        await asyncio.sleep(1)
        yield number
    yield to


TOOLS = [cached, private, plain, shared]


class TestCache:
    @jumping
    async def test_a_fresh_result_is_returned_at_once_without_a_run(self) -> None:
        runner, client = ToolRunner(TOOLS), RecordingClient()
        await run_turn(runner, tool_call("cached", key="a"))
        (message,) = await run_turn(runner, tool_call("cached", key="a"), client=client)
        assert message.content == '"A"'
        assert len(client.batches) == 1
        assert client.kinds("1") == ["Started", "Finished"]
        assert runs == ["a"]

    @jumping
    async def test_results_expire_by_the_wall_clock(self) -> None:
        now = 1000.0
        runner = ToolRunner(TOOLS, wall_clock=lambda: now)
        await run_turn(runner, tool_call("cached", key="a"))
        now += 61
        await run_turn(runner, tool_call("cached", key="a"))
        assert runs == ["a", "a"]

    @jumping
    async def test_the_key_is_the_validated_arguments_and_not_their_spelling(self) -> None:
        runner = ToolRunner(TOOLS)
        await run_turn(runner, tool_call("cached", key="a", seconds=1))
        await run_turn(runner, tool_call("cached", seconds=1.0, key="a"))
        await run_turn(runner, tool_call("cached", key="a"))
        await run_turn(runner, tool_call("cached", key="b"))
        assert runs == ["a", "b"]

    @jumping
    async def test_failures_are_not_cached(self) -> None:
        runner = ToolRunner(TOOLS)
        for _ in range(2):
            await run_turn(runner, tool_call("cached", key="a", fails=True))
        assert runs == ["a", "a"]

    @jumping
    async def test_results_are_separate_for_each_caller_if_the_tool_says_so(self) -> None:
        runner = ToolRunner(TOOLS)
        for caller in ("me", "you", "me"):
            async with runner.turn(RecordingClient(), caller_id=caller) as turn:
                turn.start(tool_call("private", key="a"))
                await turn.results()
        assert runs == ["a", "a"]

    @jumping
    async def test_a_caller_never_gets_the_result_of_another_caller(self) -> None:
        runner = ToolRunner([berths])
        results: dict[str, list[str]] = {"nora": [], "omar": []}

        async def ask(caller: str) -> None:
            async with runner.turn(RecordingClient(), caller_id=caller) as turn:
                turn.start(tool_call("berths", port="Whitby"))
                results[caller] += [message.content for message in await turn.results()]

        await asyncio.gather(ask("nora"), ask("omar"))  # runs in flight are not shared
        await asyncio.gather(ask("nora"), ask("omar"))  # nor are cached results
        assert results == {"nora": ['"nora in Whitby"'] * 2, "omar": ['"omar in Whitby"'] * 2}
        assert runs == ["nora", "omar"]

    @jumping
    async def test_a_tool_whose_results_all_callers_share_cannot_read_the_caller(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        runner = ToolRunner([careless])
        async with runner.turn(RecordingClient(), caller_id="nora") as turn:
            turn.start(tool_call("careless"))
            (message,) = await turn.results()
        assert message.content == "careless failed because of an internal error."
        assert "must not read its caller" in caplog.text

    @jumping
    async def test_a_hit_is_counted_in_a_metric(self) -> None:
        runner = ToolRunner(TOOLS)
        with recorded_metrics() as values:
            for _ in range(3):
                await run_turn(runner, tool_call("cached", key="a"))
        assert [tool for name, _, tool in values if name == "CacheHits"] == ["cached", "cached"]

    @jumping
    async def test_tools_without_a_ttl_run_every_time(self) -> None:
        await run_turn(ToolRunner(TOOLS), *(tool_call("plain", str(number), key="a") for number in range(3)))
        assert runs == ["a", "a", "a"]

    @jumping
    async def test_a_secret_registered_after_the_run_is_redacted_in_the_cached_result(self) -> None:
        runner = ToolRunner(TOOLS)
        await run_turn(runner, tool_call("cached", key="sk-harbour"))
        redaction.register("SK-HARBOUR")
        (message,) = await run_turn(runner, tool_call("cached", key="sk-harbour"))
        assert message.content == '"[redacted]"'


class TestLogs:
    @pytest.mark.parametrize("log_messages", [False, True])
    def test_contain_arguments_only_if_the_settings_allow_it(self, *, log_messages: bool) -> None:
        @jumping
        async def run() -> None:
            with log_lines() as lines:
                await run_turn(
                    ToolRunner([breaks], Settings.of(log_messages=log_messages)), tool_call("breaks", ship="Endeavour")
                )
            assert sum("login failed" in line for line in lines) == 1
            assert any("Endeavour" in line for line in lines) == log_messages

        run()

    @jumping
    async def test_contain_no_arguments_even_if_the_tool_has_changed_them(self) -> None:
        with log_lines() as lines:
            await run_turn(ToolRunner([takes]), tool_call("takes", order={"customer": "Nora Ash", "items": ["rope"]}))
        (line,) = [line for line in lines if "no customer" in line]
        assert "Nora" not in line
        assert "rope" not in line


class TestSharedRuns:
    @jumping
    async def test_identical_calls_in_flight_share_one_run_and_its_result(self) -> None:
        client = RecordingClient()
        runner = ToolRunner(TOOLS)
        both = await asyncio.gather(
            run_turn(runner, tool_call("cached", "1", key="a"), tool_call("cached", "2", key="a"), client=client),
            run_turn(runner, tool_call("cached", "3", key="a"), client=client),
        )
        assert [message.content for messages in both for message in messages] == ['"A"'] * 3
        assert runs == ["a"]
        assert all(client.kinds(number) == ["Started", "Finished"] for number in "123")

    @jumping
    async def test_progress_reaches_every_subscriber(self) -> None:
        client = RecordingClient()
        await run_turn(ToolRunner(TOOLS), tool_call("shared", "1", to=2), tool_call("shared", "2", to=2), client=client)
        assert client.progress("1") == client.progress("2") == [0, 1]

    @jumping
    async def test_a_subscriber_that_leaves_does_not_cancel_the_run_for_the_others(self) -> None:
        runner = ToolRunner(TOOLS)

        async def leave_early() -> None:
            async with runner.turn(RecordingClient()) as turn:
                turn.start(tool_call("cached", key="a", seconds=5))
                await asyncio.sleep(1)

        left, (message,) = await asyncio.gather(
            leave_early(), run_turn(runner, tool_call("cached", key="a", seconds=5))
        )
        assert (left, message.content) == (None, '"A"')
        assert runs == ["a"]

    @jumping
    async def test_the_last_subscriber_to_leave_cancels_the_run_and_a_later_call_starts_a_new_one(self) -> None:
        runner = ToolRunner(TOOLS)
        async with runner.turn(RecordingClient()) as turn:
            turn.start(tool_call("cached", key="a", seconds=5))
            await asyncio.sleep(1)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        (message,) = await run_turn(runner, tool_call("cached", key="a", seconds=5))
        assert message.content == '"A"'
        assert runs == ["a", "a"]

    @jumping
    async def test_a_disconnected_client_does_not_affect_the_other_subscribers(self) -> None:
        async def disconnected(_: object) -> None:
            raise ConnectionResetError

        runner = ToolRunner(TOOLS)

        async def first() -> None:
            async with runner.turn(disconnected) as turn:
                turn.start(tool_call("shared", to=2))
                await turn.results()

        broken = asyncio.create_task(first())
        (message,) = await run_turn(runner, tool_call("shared", to=2))
        assert message.content == "2"
        with pytest.raises(ConnectionResetError):
            await broken
        assert runs == [2]

    @jumping
    async def test_a_call_that_waited_for_a_permit_joins_a_run_started_meanwhile(self) -> None:
        runner = ToolRunner(TOOLS, Settings.of(tool_concurrency=1))
        calls = tool_call("plain", "1", key="x"), tool_call("cached", "2", key="a"), tool_call("cached", "3", key="a")
        await run_turn(runner, *calls)
        assert runs == ["x", "a"]


async def many(calls: Sequence[Any], context: ToolContext) -> list[object]:
    runs.append([call.number for call in calls])
    await context.progress(len(calls))
    await asyncio.sleep(1)
    return [ToolError("odd") if call.number % 2 else call.number * 10 for call in calls]


@tool(batch=many, batch_window_s=0.05)
async def times_ten(number: int) -> int:
    """Ten times a number."""
    runs.append(number)
    return number * 10


async def short(calls: Sequence[Any]) -> list[int]:
    return [0] * (len(calls) - 1)


@tool(batch=short)
async def forgets(number: int) -> int:
    """Forget one."""
    return number


async def many_break(calls: Sequence[Any]) -> list[object]:
    return [OSError(f"login failed for harbour:pw ({call.ship})") for call in calls]


@tool(batch=many_break)
async def finds(ship: str) -> int:
    """Find a ship."""
    raise OSError(ship)


class TestBatch:
    @jumping
    async def test_an_exception_returned_as_a_result_goes_to_the_log_only(self) -> None:
        calls = [tool_call("finds", ship[:1], ship=ship) for ship in ("Endeavour", "Resolution")]
        with log_lines() as lines:
            messages = await run_turn(ToolRunner([finds]), *calls)
        assert {message.content for message in messages} == {"finds failed because of an internal error."}
        assert sum("login failed for harbour:pw ([argument])" in line for line in lines) == 2
        assert not [line for line in lines if "Endeavour" in line or "Resolution" in line]

    @jumping
    async def test_calls_within_the_window_become_one_batch_and_each_gets_its_own_result(self) -> None:
        client = RecordingClient()
        calls = [tool_call("times_ten", str(number), number=number) for number in (2, 3, 4)]
        messages = await run_turn(ToolRunner([times_ten]), *calls, client=client)
        assert [message.content for message in messages] == ["20", "odd", "40"]
        assert [message.is_error for message in messages] == [False, True, False]
        assert runs == [[2, 3, 4]]
        assert client.progress("2") == client.progress("4") == [3]

    @jumping
    async def test_a_single_call_is_not_batched(self) -> None:
        (message,) = await run_turn(ToolRunner([times_ten]), tool_call("times_ten", number=2))
        assert (message.content, runs) == ("20", [2])

    @jumping
    async def test_a_call_after_the_window_is_not_in_the_batch(self) -> None:
        async with ToolRunner([times_ten]).turn(RecordingClient()) as turn:
            turn.start(tool_call("times_ten", "1", number=2))
            turn.start(tool_call("times_ten", "2", number=4))
            await asyncio.sleep(0.1)
            turn.start(tool_call("times_ten", "3", number=6))
            assert [message.content for message in await turn.results()] == ["20", "40", "60"]
        assert runs == [[2, 4], 6]

    @jumping
    async def test_each_turn_has_its_own_window(self) -> None:
        runner = ToolRunner([times_ten])
        await asyncio.gather(*(run_turn(runner, tool_call("times_ten", number=number)) for number in (2, 4)))
        assert runs == [2, 4]

    @jumping
    async def test_invalid_arguments_of_one_call_do_not_affect_the_others(self) -> None:
        calls = (
            tool_call("times_ten", "1", number=2),
            tool_call("times_ten", "2", number="x"),
            tool_call("times_ten", "3", number=4),
        )
        messages = await run_turn(ToolRunner([times_ten]), *calls)
        assert [message.is_error for message in messages] == [False, True, False]
        assert runs == [[2, 4]]

    @jumping
    async def test_a_missing_result_is_an_error_for_every_call_of_the_batch(self) -> None:
        messages = await run_turn(ToolRunner([forgets]), *(tool_call("forgets", str(n), number=n) for n in range(3)))
        assert {message.content for message in messages} == {"forgets got a batch of 3 calls and returned 2 results."}

    @jumping
    async def test_leaving_the_turn_cancels_a_batch_whose_window_is_open(self) -> None:
        runner = ToolRunner([times_ten])
        async with runner.turn(RecordingClient()) as turn:
            turn.start(tool_call("times_ten", "1", number=2))
            await asyncio.sleep(0.01)
        assert runs == []
        assert asyncio.all_tasks() == {asyncio.current_task()}
