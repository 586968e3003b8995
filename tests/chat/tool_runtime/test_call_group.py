"""Tool call group: one turn's calls run in parallel, get one terminal event each, and are cancelled together."""

import asyncio
import contextlib
import logging

import pytest

from tests.chat.tool_runtime.misbehaving_tools import TOOLS, cleaned, wait, who
from tests.chat.tool_runtime.recording_clients import (
    DisconnectingClient,
    RecordingClient,
    StalledClient,
    run_turn,
    tool_call,
)
from tests.clock import jumping
from winterbourne.chat.core.events import EventBatch, ToolProgressed
from winterbourne.chat.core.messages import ToolCall
from winterbourne.chat.settings import ToolSettings
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor


class TestParallelCalls:
    @jumping
    async def test_send_results_as_they_finish_and_return_them_in_call_order(self) -> None:
        client = RecordingClient()
        calls = [tool_call("wait", str(number), seconds=seconds) for number, seconds in enumerate((0.3, 0.1, 0.2))]
        messages = await run_turn(ToolExecutor(TOOLS), *calls, client=client)
        assert [message.content for message in messages] == ["0.3", "0.1", "0.2"]
        assert [event.id for event in client.finished] == ["1", "2", "0"]

    @jumping
    async def test_take_as_long_as_the_slowest(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await run_turn(ToolExecutor(TOOLS), *(tool_call("wait", str(n), seconds=n / 10) for n in range(2, 7)))
        assert loop.time() - began == pytest.approx(0.6, abs=0.05)

    @jumping
    async def test_start_while_the_model_is_still_streaming(self) -> None:
        client = RecordingClient()
        async with ToolExecutor(TOOLS).turn(client) as turn:
            turn.start(tool_call("wait", seconds=1))
            await asyncio.sleep(2)  # the model is still streaming
            assert client.kinds("1") == ["Started", "Finished"]
            assert len(await turn.results()) == 1

    @jumping
    async def test_a_turn_without_calls_returns_no_results_and_logs_nothing(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, "winterbourne.chat"):
            assert await run_turn(ToolExecutor(TOOLS)) == []
        assert not caplog.records

    @jumping
    async def test_the_duration_is_reported_in_milliseconds(self) -> None:
        client = RecordingClient()
        await run_turn(ToolExecutor(TOOLS), tool_call("wait", seconds=1.5), client=client)
        assert client.finished[0].duration_ms == pytest.approx(1500, abs=20)

    @jumping
    async def test_each_call_and_the_whole_turn_are_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, "winterbourne.chat"):
            await run_turn(ToolExecutor(TOOLS), tool_call("wait", "1", seconds=1), tool_call("fail", "2"))
        lines = [record.getMessage() for record in caplog.records]
        assert any(line.startswith("tool wait executed in 1.0") and line.endswith("s") for line in lines)
        assert "completed 1 tool calls: [wait]; 1 did not complete: [fail]" in lines


async def test_of_very_many_calls_the_first_are_run_and_the_others_refused() -> None:
    executor, client = ToolExecutor(TOOLS, ToolSettings(tool_calls_per_turn=3)), RecordingClient()
    messages = await run_turn(executor, *(tool_call("wait", str(n), seconds=0) for n in range(10)), client=client)
    assert [message.is_error for message in messages] == [False] * 3 + [True] * 7
    assert messages[-1].content == "Only 3 tool calls are run in one turn; this one was not."
    assert len(client.finished) == 10


async def test_names_that_a_model_makes_up_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "winterbourne.chat"):
        await run_turn(ToolExecutor(TOOLS), tool_call("x" * 100_000, "y" * 100_000))
    assert all(len(str(record.__dict__)) < 5000 for record in caplog.records)


class TestRefusedCall:
    @jumping
    async def test_runs_nothing_and_returns_the_reason_as_its_only_result(self) -> None:
        client = RecordingClient()
        async with ToolExecutor(TOOLS).turn(client) as turn:
            turn.refuse(tool_call("wait", "no", seconds=60), "Not today.")
            turn.start(tool_call("wait", "yes", seconds=1))
            no, yes = await turn.results()
        assert (no.content, no.is_error) == ("Not today.", True)
        assert (yes.content, yes.is_error) == ("1.0", False)
        assert client.kinds("no") == ["Started", "Finished"]
        assert client.finished[0].status == "failed"

    @jumping
    async def test_has_a_result_even_if_the_turn_ends_at_once(self) -> None:
        client = RecordingClient()
        async with ToolExecutor(TOOLS).turn(client) as turn:
            turn.refuse(tool_call("wait", "no", seconds=60), "Not today.")
        assert [message.is_error for message in await turn.results()] == [True]
        assert client.kinds("no") == ["Started", "Finished"]


class TestFailingCall:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("fail", "fail failed because of an internal error."),
            ("refuse", "Ask for something else."),
            ("exits", "exits failed because of an internal error."),
            ("cancels_itself", "cancels_itself cancelled itself."),
            ("own_timeout", "own_timeout failed because of an internal error."),
            ("made_up", f"There is no tool named made_up; the tools are {', '.join(t.name for t in TOOLS)}."),
        ],
    )
    def test_gives_one_error_result_and_does_not_affect_the_other_calls(self, name: str, expected: str) -> None:
        @jumping
        async def run() -> None:
            client = RecordingClient()
            calls = tool_call(name, "bad"), tool_call("wait", "good", seconds=1)
            bad, good = await run_turn(ToolExecutor(TOOLS), *calls, client=client)
            assert (bad.content, bad.is_error) == (expected, True)
            assert (good.content, good.is_error) == ("1.0", False)
            assert client.kinds("bad") == ["Started", "Finished"]
            assert {event.id: event.status for event in client.finished} == {"bad": "failed", "good": "completed"}

        run()

    @jumping
    async def test_the_traceback_goes_to_the_log_and_not_to_the_model(self, caplog: pytest.LogCaptureFixture) -> None:
        (message,) = await run_turn(ToolExecutor(TOOLS), tool_call("fail"))
        assert "Traceback" not in message.content
        assert any(record.exc_info and "no luck" in str(record.exc_info[1]) for record in caplog.records)

    @jumping
    async def test_a_tool_error_is_logged_without_a_traceback(self, caplog: pytest.LogCaptureFixture) -> None:
        await run_turn(ToolExecutor(TOOLS), tool_call("refuse"))
        assert not [record for record in caplog.records if record.exc_info]

    @jumping
    async def test_invalid_arguments_are_reported_with_their_path_and_nothing_runs(self) -> None:
        client = RecordingClient()
        (message,) = await run_turn(ToolExecutor(TOOLS), ToolCall("1", "wait", '{"seconds":"2"}'), client=client)
        assert message.content == (
            "The arguments of wait do not fit its schema: expected `float`, got `str`, at `$.seconds`;"
            " fix that and call it again."
        )
        assert len(client.batches) == 1, "what is known at once is said at once"


class TestTimeout:
    @jumping
    async def test_of_one_tool_does_not_delay_the_others(self) -> None:
        client = RecordingClient()
        calls = tool_call("impatient", "slow", seconds=60), tool_call("wait", "quick", seconds=1)
        slow, quick = await run_turn(ToolExecutor(TOOLS), *calls, client=client)
        assert [event.id for event in client.finished] == ["quick", "slow"]
        assert (slow.content, slow.is_error) == ("impatient did not finish within 2 seconds and was stopped.", True)
        assert client.finished[1].status == "timed_out"
        assert client.finished[1].duration_ms == pytest.approx(2000, abs=20)
        assert not quick.is_error

    @jumping
    async def test_defaults_to_the_setting(self) -> None:
        executor = ToolExecutor(TOOLS, ToolSettings(tool_execution_timeout=7))
        (message,) = await run_turn(executor, tool_call("wait", seconds=60))
        assert message.content == "wait did not finish within 7 seconds and was stopped."

    @jumping
    async def test_is_never_later_than_the_deadline_minus_the_answer_reserve(self) -> None:
        loop, client = asyncio.get_running_loop(), RecordingClient()
        began = loop.time()
        executor = ToolExecutor(TOOLS, ToolSettings(tool_answer_reserve=10))
        async with executor.turn(client, deadline=began + 13) as turn:
            turn.start(tool_call("wait", seconds=60))
            (message,) = await turn.results()
        assert loop.time() - began == pytest.approx(3, abs=0.05)
        assert message.content == "wait was stopped because the remaining time is needed for the answer."
        assert client.finished[0].status == "timed_out"

    @jumping
    async def test_with_no_time_left_no_tool_is_started_and_every_call_still_gets_its_terminal_event(self) -> None:
        client, begun = RecordingClient(), list[int]()

        @tool
        async def begin() -> None:
            """Begin."""
            begun.append(1)

        async with ToolExecutor([begin]).turn(client, deadline=asyncio.get_running_loop().time() + 1) as turn:
            turn.start(tool_call("begin"))
            (message,) = await turn.results()
        assert begun == []
        assert message.content == "begin was not run: the remaining time is needed for the answer."
        assert [event.status for event in client.finished] == ["timed_out"]

    @jumping
    async def test_a_tool_that_ignores_it_is_abandoned_and_does_not_delay_the_turn(self) -> None:
        loop = asyncio.get_running_loop()
        executor, began = ToolExecutor(TOOLS), loop.time()
        (message,) = await run_turn(executor, tool_call("stubborn", seconds=60))
        assert message.content == "stubborn did not finish within 2 seconds and was stopped."
        assert loop.time() - began < 2.5
        assert executor.abandoned_count == 1
        await asyncio.sleep(60)
        assert executor.abandoned_count == 0

    @jumping
    async def test_too_many_abandoned_tools_mark_the_environment_for_retirement(self) -> None:
        executor = ToolExecutor(TOOLS, ToolSettings(tool_abandoned_limit=2))
        retired: list[int] = []
        for count in (1, 2):
            await run_turn(executor, tool_call("stubborn", seconds=60))
            executor.retire_if_stuck(lambda count=count: retired.append(count))  # type: ignore[misc]
        await asyncio.sleep(60)
        executor.retire_if_stuck(lambda: retired.append(0))
        assert retired == [2]

    @jumping
    async def test_closing_the_executor_cancels_abandoned_tools_and_does_not_wait_forever(self) -> None:
        @tool(timeout_s=1)
        async def deaf() -> None:
            """Ignore the cancellation at the timeout, and the second one at the end of the turn."""
            for _ in range(2):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(60)
            await asyncio.sleep(60)

        executor = ToolExecutor([*TOOLS, deaf])
        await run_turn(executor, tool_call("stubborn", "1", seconds=60), tool_call("deaf", "2"))
        assert executor.abandoned_count == 2
        began = asyncio.get_running_loop().time()
        await executor.close()
        assert asyncio.get_running_loop().time() - began < 1
        assert executor.abandoned_count == 1
        await asyncio.sleep(60)


class TestCancellation:
    @jumping
    async def test_leaving_the_block_cancels_every_tool_and_awaits_it(self) -> None:
        cleaned.clear()
        client = RecordingClient()
        async with ToolExecutor(TOOLS).turn(client) as turn:
            turn.start(tool_call("wait", "1", seconds=60))
            turn.start(tool_call("wait", "2", seconds=60))
            await asyncio.sleep(1)
        assert cleaned == ["wait", "wait"]
        assert [event.status for event in client.finished] == ["cancelled", "cancelled"]
        messages = await turn.results()
        assert [message.tool_call_id for message in messages] == ["1", "2"]
        assert all(message.is_error for message in messages)

    @jumping
    async def test_a_call_that_had_not_started_gets_its_terminal_event_too(self) -> None:
        client = RecordingClient()
        async with ToolExecutor(TOOLS).turn(client) as turn:
            turn.start(tool_call("wait", seconds=60))
        assert client.kinds("1") == ["Started", "Finished"]
        assert [event.status for event in client.finished] == ["cancelled"]
        assert [message.content for message in await turn.results()] == ["The call was stopped before it was done."]

    @jumping
    async def test_calls_that_had_finished_keep_their_status(self) -> None:
        client = RecordingClient()
        async with ToolExecutor(TOOLS).turn(client) as turn:
            turn.start(tool_call("wait", "quick", seconds=1))
            turn.start(tool_call("wait", "slow", seconds=60))
            await asyncio.sleep(2)
        assert [(event.id, event.status) for event in client.finished] == [
            ("quick", "completed"),
            ("slow", "cancelled"),
        ]

    @jumping
    async def test_cancelling_the_task_that_awaits_the_results_cancels_the_tools(self) -> None:
        cleaned.clear()
        client = RecordingClient()

        async def conversation() -> None:
            await run_turn(ToolExecutor(TOOLS), tool_call("wait", seconds=60), client=client)

        task = asyncio.create_task(conversation())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cleaned == ["wait"]
        assert [event.status for event in client.finished] == ["cancelled"]

    @jumping
    async def test_a_stubborn_tool_delays_it_only_briefly(self) -> None:
        loop = asyncio.get_running_loop()
        executor = ToolExecutor(TOOLS)
        began = loop.time()
        async with executor.turn(RecordingClient()) as turn:
            turn.start(tool_call("stubborn", seconds=60))
            await asyncio.sleep(1)
        assert loop.time() - began < 1.5
        assert executor.abandoned_count == 1
        await asyncio.sleep(60)

    @jumping
    async def test_a_second_cancellation_ends_it_at_once_and_every_tool_is_still_cancelled(self) -> None:
        cleaned.clear()
        executor = ToolExecutor(TOOLS)
        calls = tool_call("wait", "1", seconds=60), tool_call("stubborn", "2", seconds=60)
        task = asyncio.create_task(run_turn(executor, *calls))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.sleep(0.1)  # the turn waits for the stubborn one
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()
        assert cleaned == ["wait"]
        assert executor.abandoned_count == 1
        await asyncio.sleep(60)

    @jumping
    async def test_no_task_is_left_behind(self) -> None:
        async with ToolExecutor(TOOLS).turn(RecordingClient()) as turn:
            for number, name in enumerate(("wait", "impatient", "counts", "fail")):
                turn.start(tool_call(name, str(number), **({"to": 9} if name == "counts" else {"seconds": 60})))
            await asyncio.sleep(1)
        assert asyncio.all_tasks() == {asyncio.current_task()}


class TestDisconnectedClient:
    @pytest.mark.parametrize("after", range(4))
    def test_fails_the_turn_and_cancels_every_tool(self, after: int) -> None:
        @jumping
        async def run() -> None:
            with pytest.raises(ConnectionResetError):
                await run_turn(
                    ToolExecutor(TOOLS),
                    tool_call("wait", "1", seconds=1),
                    tool_call("wait", "2", seconds=60),
                    tool_call("counts", "3", to=60),
                    client=DisconnectingClient(after),
                )
            assert asyncio.all_tasks() == {asyncio.current_task()}

        run()

    @jumping
    async def test_does_not_swallow_a_cancellation(self) -> None:
        async def conversation() -> None:
            async with ToolExecutor(TOOLS).turn(DisconnectingClient(1)) as turn:
                turn.start(tool_call("wait", seconds=60))
                await asyncio.sleep(60)

        task = asyncio.create_task(conversation())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    @jumping
    async def test_raises_when_the_block_exits_without_awaiting_the_results(self) -> None:
        async def conversation() -> None:
            async with ToolExecutor(TOOLS).turn(DisconnectingClient(0)) as turn:
                turn.start(tool_call("wait", seconds=1))
                await asyncio.sleep(2)

        with pytest.raises(ConnectionResetError):
            await conversation()

    @jumping
    async def test_raises_when_the_block_cancels_a_call_that_nobody_can_be_told_of(self) -> None:
        async def conversation() -> None:
            async with ToolExecutor(TOOLS).turn(DisconnectingClient(1)) as turn:
                turn.start(tool_call("wait", seconds=60))
                await asyncio.sleep(1)

        with pytest.raises(ConnectionResetError):
            await conversation()

    @jumping
    async def test_during_progress_fails_the_turn_when_the_call_ends_and_nothing_more_is_sent(self) -> None:
        sent: list[str] = []

        async def emit(batch: EventBatch) -> None:
            sent.extend(type(event).__name__ for event in batch)
            if isinstance(batch[-1], ToolProgressed):
                raise ConnectionResetError

        async def conversation() -> None:
            async with ToolExecutor(TOOLS).turn(emit) as turn:
                turn.start(tool_call("counts", to=3))
                await turn.results()

        with pytest.raises(ConnectionResetError):
            await conversation()
        assert sent == ["ToolStarted", "ToolProgressed"]

    @jumping
    async def test_still_leaves_a_message_for_every_call(self) -> None:
        turn = ToolExecutor(TOOLS).turn(DisconnectingClient(0))
        with contextlib.suppress(ConnectionResetError):
            async with turn:
                turn.start(tool_call("wait", "1", seconds=1))
                turn.start(tool_call("made_up", "2"))
                await turn.results()
        assert [message.tool_call_id for message in await turn.results()] == ["1", "2"]

    @jumping
    async def test_does_not_replace_an_error_raised_in_the_block(self) -> None:
        async def conversation() -> None:
            async with ToolExecutor(TOOLS).turn(DisconnectingClient(0)) as turn:
                turn.start(tool_call("wait", seconds=1))
                raise KeyError

        with pytest.raises(KeyError):
            await conversation()

    @pytest.mark.parametrize("after", [0, 1])
    def test_a_client_that_stops_reading_does_not_delay_a_cancellation(self, after: int) -> None:
        @jumping
        async def run() -> None:
            loop = asyncio.get_running_loop()
            task = asyncio.create_task(
                run_turn(ToolExecutor(TOOLS), tool_call("wait", seconds=60), client=StalledClient(after))
            )
            await asyncio.sleep(1)
            began = loop.time()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert loop.time() - began < 1
            assert asyncio.all_tasks() == {asyncio.current_task()}

        run()

    @jumping
    async def test_a_slow_client_does_not_delay_the_start_of_a_tool(self) -> None:
        started: list[float] = []

        @tool
        async def starts() -> None:
            """Record the start time."""
            started.append(asyncio.get_running_loop().time())

        began = asyncio.get_running_loop().time()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await run_turn(ToolExecutor([starts]), tool_call("starts"), client=StalledClient(0))
        assert started == [pytest.approx(began, abs=0.05)]


class TestProgress:
    @jumping
    async def test_items_of_a_generator_are_streamed_and_its_last_one_is_the_result(self) -> None:
        client = RecordingClient()
        (message,) = await run_turn(ToolExecutor(TOOLS), tool_call("counts", to=3), client=client)
        assert client.kinds("1") == ["Started", "Progressed", "Progressed", "Progressed", "Finished"]
        assert client.progress("1") == ["at 1", "at 2", "at 3"]
        assert message.content == '"done"'

    @jumping
    async def test_an_item_is_sent_while_the_generator_works_on_the_next(self) -> None:
        client = RecordingClient()
        async with ToolExecutor(TOOLS).turn(client) as turn:
            turn.start(tool_call("counts", to=3))
            await asyncio.sleep(0.5)
            assert client.progress("1") == ["at 1"]

    async def test_a_flood_of_it_lets_other_tools_run_and_ends_at_the_timeout(self) -> None:
        flood, quick = await run_turn(ToolExecutor(TOOLS), tool_call("chatters", "1"), tool_call("asks_who", "2"))
        assert flood.content == "chatters did not finish within 0.05 seconds and was stopped."
        assert not quick.is_error

    @jumping
    async def test_is_not_sent_after_the_terminal_event(self) -> None:
        @tool(timeout_s=1)
        async def late(context: ToolContext) -> None:
            """Report progress after the cancellation."""
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.1)
                await context.progress("too late")

        client = RecordingClient()
        await run_turn(ToolExecutor([late]), tool_call("late"), client=client)
        assert client.kinds("1") == ["Started", "Finished"]


class TestContext:
    @jumping
    async def test_has_the_request_the_caller_the_deadline_and_the_context_variables(self) -> None:
        who.set("me")
        async with ToolExecutor(TOOLS).turn(RecordingClient(), request_id="r-1", caller_id="c-1") as turn:
            turn.start(tool_call("asks_who"))
            (message,) = await turn.results()
        assert message.content == '["me","r-1","c-1","30"]'

    @jumping
    async def test_has_the_time_until_the_turn_must_end_if_that_is_sooner(self) -> None:
        executor = ToolExecutor(TOOLS, ToolSettings(tool_answer_reserve=10))
        async with executor.turn(RecordingClient(), deadline=asyncio.get_running_loop().time() + 15) as turn:
            turn.start(tool_call("asks_who"))
            (message,) = await turn.results()
        assert message.content == '["nobody","","","5"]'


class TestConcurrencyLimits:
    @jumping
    async def test_calls_over_the_limit_are_reported_as_queued(self) -> None:
        client, loop = RecordingClient(), asyncio.get_running_loop()
        began = loop.time()
        executor = ToolExecutor(TOOLS, ToolSettings(tool_concurrency=2))
        await run_turn(executor, *(tool_call("wait", str(number), seconds=1) for number in range(5)), client=client)
        assert [client.kinds(str(number))[0] for number in range(5)] == ["Started", "Started", *["Queued"] * 3]
        assert loop.time() - began == pytest.approx(3, abs=0.1)

    @jumping
    async def test_are_separate_for_each_conversation(self) -> None:
        loop = asyncio.get_running_loop()
        executor, began = ToolExecutor(TOOLS, ToolSettings(tool_concurrency=1)), loop.time()
        await asyncio.gather(*(run_turn(executor, tool_call("wait", seconds=1)) for _ in range(3)))
        assert loop.time() - began == pytest.approx(1, abs=0.1)

    @jumping
    async def test_of_a_tool_hold_across_conversations_and_do_not_delay_other_tools(self) -> None:
        @tool(concurrency=1)
        async def rare() -> None:
            """One at a time."""
            await asyncio.sleep(1)

        loop, client = asyncio.get_running_loop(), RecordingClient()
        began = loop.time()
        executor = ToolExecutor([rare, wait], ToolSettings(tool_concurrency=2))
        calls = [tool_call("rare", "1"), tool_call("rare", "2"), tool_call("wait", "3", seconds=0.5)]
        await asyncio.gather(run_turn(executor, *calls, client=client), run_turn(executor, tool_call("rare")))
        assert client.finished[0].id == "3"
        assert loop.time() - began == pytest.approx(3, abs=0.1)

    @jumping
    async def test_waiting_for_a_permit_does_not_count_against_the_tools_timeout(self) -> None:
        executor = ToolExecutor(TOOLS, ToolSettings(tool_concurrency=1))
        messages = await run_turn(executor, *(tool_call("impatient", str(n), seconds=1.5) for n in range(3)))
        assert not any(message.is_error for message in messages)

    @jumping
    async def test_waiting_for_a_permit_ends_at_the_deadline(self) -> None:
        client = RecordingClient()
        executor = ToolExecutor(TOOLS, ToolSettings(tool_concurrency=1, tool_answer_reserve=0))
        async with executor.turn(client, deadline=asyncio.get_running_loop().time() + 5) as turn:
            turn.start(tool_call("wait", "1", seconds=60))
            turn.start(tool_call("wait", "2", seconds=60))
            await turn.results()
        assert [event.status for event in client.finished] == ["timed_out", "timed_out"]
        assert client.kinds("2") == ["Queued", "Started", "Finished"]

    @jumping
    async def test_a_permit_is_released_after_a_timeout_a_failure_or_a_cancellation(self) -> None:
        executor = ToolExecutor(TOOLS, ToolSettings(tool_concurrency=1))
        client = RecordingClient()
        calls = tool_call("impatient", "1", seconds=9), tool_call("fail", "2"), tool_call("wait", "3", seconds=1)
        *_, last = await run_turn(executor, *calls, client=client)
        assert not last.is_error

    @jumping
    async def test_a_tool_that_ignores_its_timeout_holds_no_permit(self) -> None:
        @tool(timeout_s=1, concurrency=1)
        async def rare(seconds: float) -> str:
            """Ignore cancellations, one at a time."""
            end = asyncio.get_running_loop().time() + seconds
            while (left := end - asyncio.get_running_loop().time()) > 0:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(left)
            return "done"

        executor, client = ToolExecutor([rare]), RecordingClient()
        await run_turn(executor, tool_call("rare", seconds=60))
        (message,) = await run_turn(executor, tool_call("rare", seconds=0), client=client)
        assert message.content == '"done"'
        assert client.kinds("1") == ["Started", "Finished"], "not queued"
        await asyncio.sleep(60)
