"""Batching: calls of one tool that arrive within a window of one turn become one run, and equal ones one item of it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tests.chat.log_lines import log_lines
from tests.chat.tool_runtime.recording_clients import RecordingClient, run_turn, tool_call
from tests.clock import jumping
from winterbourne.chat.core.messages import ToolCall
from winterbourne.chat.errors import InvalidToolDeclaration, ToolError
from winterbourne.chat.settings import ToolSettings
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor

runs: list[object] = []


@pytest.fixture(autouse=True)
def _clear_runs() -> None:
    runs.clear()


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


async def count_many(calls: Sequence[Any]) -> list[int]:
    runs.append([call.members for call in calls])
    return [len(call.members) for call in calls]


@tool(batch=count_many)
async def count(members: set[int | str]) -> int:
    """Count members, which have no order."""
    return len(members)


@tool(cache_ttl_s=60)
async def count_cached(members: set[int | str]) -> int:
    """Count members, once a minute."""
    runs.append(members)
    return len(members)


async def cancel_all(calls: Sequence[Any]) -> list[BaseException]:
    return [asyncio.CancelledError() for _ in calls]


@tool(batch=cancel_all)
async def cancels(number: int) -> int:
    """Cancel itself."""
    return number


async def count_none(calls: Sequence[Any]) -> Any:
    runs.append([call.number for call in calls])


@tool(batch=count_none, retries=1, breaker="lost")
async def lost(number: int) -> int:
    """Lose a number."""
    return number


@tool(batch=many, batch_window_s=20)
async def patient(number: int) -> int:
    """Ten times a number, some time."""
    return number * 10


async def short(calls: Sequence[Any]) -> list[int]:
    return [0] * (len(calls) - 1)


@tool(batch=many, batch_window_s=0.05, cache_ttl_s=60)
async def cached(number: int) -> int:
    """Ten times a number, kept for a minute."""
    runs.append(number)
    await asyncio.sleep(1)
    return number * 10


@tool(batch=many, batch_window_s=0.05, cache_ttl_s=60, cache_per_caller=False)
async def public(number: int) -> int:
    """Ten times a number, for everybody."""
    runs.append(number)
    return number * 10


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
            messages = await run_turn(ToolExecutor([finds]), *calls)
        assert {message.content for message in messages} == {"finds failed because of an internal error."}
        assert sum("login failed for harbour:pw ([argument])" in line for line in lines) == 2
        assert not [line for line in lines if "Endeavour" in line or "Resolution" in line]

    @jumping
    async def test_calls_within_the_window_become_one_batch_and_each_gets_its_own_result(self) -> None:
        client = RecordingClient()
        calls = [tool_call("times_ten", str(number), number=number) for number in (2, 3, 4)]
        messages = await run_turn(ToolExecutor([times_ten]), *calls, client=client)
        assert [message.content for message in messages] == ["20", "odd", "40"]
        assert [message.is_error for message in messages] == [False, True, False]
        assert runs == [[2, 3, 4]]
        assert client.progress("2") == client.progress("4") == [3]

    @jumping
    async def test_a_single_call_is_not_batched(self) -> None:
        (message,) = await run_turn(ToolExecutor([times_ten]), tool_call("times_ten", number=2))
        assert (message.content, runs) == ("20", [2])

    @jumping
    async def test_calls_whose_arguments_cannot_be_compared_are_items_of_their_own(self) -> None:
        calls = [ToolCall(number, "count", '{"members":[1,"a"]}') for number in "12"]
        messages = await run_turn(ToolExecutor([count]), *calls)
        assert [message.content for message in messages] == ["2", "2"]
        assert runs == [[{1, "a"}, {1, "a"}]]

    @jumping
    async def test_calls_of_a_cached_tool_that_cannot_be_compared_run_by_themselves(self) -> None:
        calls = [ToolCall(number, "count_cached", '{"members":[1,"a"]}') for number in "12"]
        assert [message.content for message in await run_turn(ToolExecutor([count_cached]), *calls)] == ["2", "2"]
        assert runs == [{1, "a"}, {1, "a"}]

    @jumping
    async def test_a_cancelled_item_of_a_batch_has_failed(self) -> None:
        calls = [tool_call("cancels", number, number=int(number)) for number in "12"]
        messages = await run_turn(ToolExecutor([cancels]), *calls)
        assert {message.content for message in messages} == {"cancels failed because of an internal error."}

    def test_a_window_that_leaves_no_time_for_the_tool_is_refused(self) -> None:
        @tool(batch=many, batch_window_s=5, timeout_s=5)
        async def late(number: int) -> int:
            """Ten times a number, too late."""
            return number

        with pytest.raises(InvalidToolDeclaration, match="batch_window_s"):
            ToolExecutor([late])

    @jumping
    async def test_a_batch_function_that_returns_nothing_to_count_has_failed(self) -> None:
        executor = ToolExecutor([lost], ToolSettings(tool_breaker_failures=1))
        calls = [tool_call("lost", str(number), number=number) for number in (2, 4)]
        first = await run_turn(executor, *calls)
        assert {message.content for message in first} == {"lost failed because of an internal error."}
        assert runs == [[2, 4], [2, 4]]
        assert "failed too often" in (await run_turn(executor, *calls))[0].content

    @jumping
    async def test_calls_of_a_model_that_is_still_streaming_are_waited_for(self) -> None:
        async with ToolExecutor([times_ten]).turn(RecordingClient()) as turn:
            for number in (2, 4, 6):
                turn.start(tool_call("times_ten", str(number), number=number))
                await asyncio.sleep(0.02)
            await turn.results()
        assert runs == [[2, 4, 6]]

    @jumping
    async def test_nobody_is_waited_for_once_the_model_has_ended_its_turn(self) -> None:
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        await run_turn(
            ToolExecutor([patient]), tool_call("patient", "1", number=2), tool_call("patient", "2", number=4)
        )
        assert runs == [[2, 4]]
        assert loop.time() - started_at == 1  # what the tool itself takes

    @jumping
    async def test_a_call_after_the_window_is_not_in_the_batch(self) -> None:
        async with ToolExecutor([times_ten]).turn(RecordingClient()) as turn:
            turn.start(tool_call("times_ten", "1", number=2))
            turn.start(tool_call("times_ten", "2", number=4))
            await asyncio.sleep(0.1)
            turn.start(tool_call("times_ten", "3", number=6))
            assert [message.content for message in await turn.results()] == ["20", "40", "60"]
        assert runs == [[2, 4], 6]

    @jumping
    async def test_each_turn_has_its_own_window(self) -> None:
        executor = ToolExecutor([times_ten])
        await asyncio.gather(*(run_turn(executor, tool_call("times_ten", number=number)) for number in (2, 4)))
        assert runs == [2, 4]

    @jumping
    async def test_invalid_arguments_of_one_call_do_not_affect_the_others(self) -> None:
        calls = (
            tool_call("times_ten", "1", number=2),
            tool_call("times_ten", "2", number="x"),
            tool_call("times_ten", "3", number=4),
        )
        messages = await run_turn(ToolExecutor([times_ten]), *calls)
        assert [message.is_error for message in messages] == [False, True, False]
        assert runs == [[2, 4]]

    @jumping
    async def test_a_missing_result_is_an_error_for_every_call_of_the_batch(self) -> None:
        messages = await run_turn(ToolExecutor([forgets]), *(tool_call("forgets", str(n), number=n) for n in range(3)))
        assert {message.content for message in messages} == {"forgets got a batch of 3 calls and returned 2 results."}

    @jumping
    async def test_leaving_the_turn_cancels_a_batch_whose_window_is_open(self) -> None:
        executor = ToolExecutor([times_ten])
        async with executor.turn(RecordingClient()) as turn:
            turn.start(tool_call("times_ten", "1", number=2))
            await asyncio.sleep(0.01)
        assert runs == []
        assert asyncio.all_tasks() == {asyncio.current_task()}


class TestEqualCalls:
    @jumping
    async def test_are_one_item_of_the_batch_and_each_gets_its_own_result(self) -> None:
        client = RecordingClient()
        calls = [tool_call("times_ten", str(index), number=number) for index, number in enumerate((2, 4, 2, 3, 2, 3))]
        messages = await run_turn(ToolExecutor([times_ten]), *calls, client=client)
        assert runs == [[2, 4, 3]]
        assert [message.content for message in messages] == ["20", "40", "20", "odd", "20", "odd"]
        assert [message.tool_call_id for message in messages] == list("012345")
        assert all(client.kinds(str(index)) == ["Started", "Progressed", "Finished"] for index in range(6))

    @jumping
    async def test_alone_are_a_single_call(self) -> None:
        messages = await run_turn(ToolExecutor([times_ten]), *(tool_call("times_ten", n, number=2) for n in "123"))
        assert [message.content for message in messages] == ["20"] * 3
        assert runs == [2]

    @jumping
    async def test_may_be_spelled_differently(self) -> None:
        calls = ToolCall("1", "times_ten", '{"number":2}'), ToolCall("2", "times_ten", ' { "number": 2 } ')
        await run_turn(ToolExecutor([times_ten]), *calls)
        assert runs == [2]

    @jumping
    async def test_of_another_caller_are_not_merged_and_get_results_of_their_own(self) -> None:
        executor = ToolExecutor([times_ten, cached])

        async def ask(name: str, caller: str) -> None:
            async with executor.turn(RecordingClient(), caller_id=caller) as turn:
                turn.start(tool_call(name, "1", number=2))
                turn.start(tool_call(name, "2", number=4))
                assert [message.content for message in await turn.results()] == ["20", "40"]

        await asyncio.gather(*(ask(name, caller) for name in ("times_ten", "cached") for caller in ("nora", "omar")))
        assert runs == [[2, 4]] * 4

    @jumping
    async def test_are_not_merged_after_the_window(self) -> None:
        async with ToolExecutor([times_ten]).turn(RecordingClient()) as turn:
            turn.start(tool_call("times_ten", "1", number=2))
            await asyncio.sleep(0.1)
            turn.start(tool_call("times_ten", "2", number=2))
            await turn.results()
        assert runs == [2, 2]

    @jumping
    async def test_leave_the_batch_to_the_others_when_one_is_cancelled(self) -> None:
        executor = ToolExecutor([times_ten])
        async with executor.turn(RecordingClient()) as turn:
            for number in "123":
                turn.start(tool_call("times_ten", number, number=2 if number < "3" else 4))
            await asyncio.sleep(0.5)
            next(iter(turn._tasks.values())).cancel()
            await asyncio.wait(turn._tasks.values())
        assert [message.content for message in await turn.results()] == [
            "The call was stopped before it was done.",
            "20",
            "40",
        ]

    @jumping
    async def test_do_not_join_a_batch_that_everybody_has_just_left(self) -> None:
        async with ToolExecutor([times_ten]).turn(RecordingClient()) as turn:
            turn.start(tool_call("times_ten", "1", number=2))
            await asyncio.sleep(0.01)
            next(iter(turn._tasks.values())).cancel()
            turn.start(tool_call("times_ten", "2", number=2))
            await asyncio.wait(turn._tasks.values())
        assert [message.content for message in await turn.results()][1] == "20"
        assert runs == [2]


class TestCachedBatch:
    @jumping
    async def test_in_flight_is_not_joined_by_another_turn_since_it_reports_on_other_calls_too(self) -> None:
        executor, client = ToolExecutor([public]), RecordingClient()

        async def ask_later() -> None:
            await asyncio.sleep(0.1)
            await run_turn(executor, tool_call("public", number=2), client=client)

        calls = tool_call("public", "1", number=2), tool_call("public", "2", number=4)
        await asyncio.gather(run_turn(executor, *calls), ask_later())
        assert runs == [[2, 4], 2]
        assert client.kinds("1") == ["Started", "Finished"]

    @jumping
    async def test_each_result_is_cached(self) -> None:
        executor = ToolExecutor([cached])
        await run_turn(executor, *(tool_call("cached", str(number), number=number) for number in (2, 3, 4)))
        messages = await run_turn(executor, *(tool_call("cached", str(n), number=n) for n in (4, 2, 3)))
        assert [message.content for message in messages] == ["40", "20", "30"]
        assert runs == [[2, 3, 4], 3], "failures are not cached"
