"""Thread pool: synchronous tools run in threads; a stuck thread is abandoned and never blocks other tools."""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.tool_runtime.recording_clients import RecordingClient, recorded_metrics, run_turn, tool_call
from winterbourne.chat.errors import ToolUnavailable
from winterbourne.chat.settings import ToolSettings
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor
from winterbourne.chat.tool_runtime.threads import STUCK_THREADS, ThreadPool

who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


async def until(condition: Callable[[], bool]) -> None:
    """Poll until the condition holds; threads send no event when they start or end."""
    while not condition():  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.001)


async def until_free(threads: ThreadPool) -> None:
    await until(lambda: not threads.abandoned_count)


class TestRun:
    async def test_context_variables_are_carried_over(self) -> None:
        who.set("me")
        assert await ThreadPool().run(who.get) == "me"

    async def test_context_variables_set_by_the_function_stay_in_its_copy(self) -> None:
        await ThreadPool().run(lambda: who.set("somebody else"))
        assert who.get() == "nobody"

    async def test_threads_are_reused(self) -> None:
        threads = ThreadPool()
        names = [await threads.run(threading.get_ident) for _ in range(5)]
        assert len(set(names)) == 1
        threads.close()

    @pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
    async def test_any_exception_is_raised_in_the_caller(self, error: type[BaseException]) -> None:
        def work() -> None:
            raise error("in the thread")

        with pytest.raises(error, match="in the thread"):
            await ThreadPool().run(work)

    async def test_the_event_loop_keeps_running(self) -> None:
        go = threading.Event()
        task = asyncio.ensure_future(ThreadPool().run(go.wait))
        await asyncio.sleep(0)
        go.set()
        assert await task


class TestAbandonedThreads:
    async def test_a_thread_that_outlives_its_timeout_is_counted_until_it_ends(self) -> None:
        threads, go = ThreadPool(), threading.Event()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await threads.run(go.wait)
        assert threads.abandoned_count == 1
        go.set()
        await until_free(threads)

    async def test_are_counted_in_a_metric(self) -> None:
        threads, go = ThreadPool(), threading.Event()
        with recorded_metrics() as values:
            task = asyncio.ensure_future(threads.run(go.wait))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait((task,))
        assert values == [("AbandonedThreads", 1, "")]
        go.set()
        await until_free(threads)

    async def test_are_replaced_by_fresh_threads(self) -> None:
        threads, go = ThreadPool(), threading.Event()
        task = asyncio.ensure_future(threads.run(go.wait))
        await asyncio.sleep(0)
        task.cancel()
        assert await threads.run(lambda: 5) == 5
        go.set()
        await until_free(threads)

    async def test_too_many_are_an_error_instead_of_starvation(self) -> None:
        threads, go = ThreadPool(abandoned_limit=1), threading.Event()
        tasks = [asyncio.ensure_future(threads.run(go.wait)) for _ in range(STUCK_THREADS)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        with pytest.raises(ToolUnavailable, match="stuck"):
            await threads.run(lambda: 5)
        go.set()
        await until_free(threads)
        assert await threads.run(lambda: 5) == 5

    async def test_a_tool_that_is_stuck_in_many_is_refused_before_its_neighbours(self) -> None:
        threads, go = ThreadPool(abandoned_limit=4), threading.Event()
        tasks = [asyncio.ensure_future(threads.run(go.wait, "moor")) for _ in range(2)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        with pytest.raises(ToolUnavailable, match="2 earlier calls of moor are stuck"):
            await threads.run(lambda: 5, "moor")
        assert await threads.run(lambda: 5, "count_ropes") == 5
        go.set()
        await until_free(threads)
        assert await threads.run(lambda: 5, "moor") == 5

    def test_one_that_ends_after_the_loop_does_no_harm(self) -> None:
        go, ended = threading.Event(), threading.Event()

        def work() -> None:
            go.wait()
            ended.set()

        async def abandon() -> None:
            task = asyncio.ensure_future(ThreadPool().run(work))
            await asyncio.sleep(0)
            task.cancel()

        asyncio.run(abandon())
        go.set()
        assert ended.wait(5)

    def test_one_that_never_ends_does_not_keep_the_process_alive(self) -> None:
        go = threading.Event()

        async def abandon() -> set[threading.Thread]:
            before = set(threading.enumerate())
            task = asyncio.ensure_future(ThreadPool().run(go.wait))
            await asyncio.sleep(0)
            task.cancel()
            return set(threading.enumerate()) - before

        (thread,) = asyncio.run(abandon())
        assert thread.daemon
        go.set()

    def test_its_thread_is_known_by_its_name_while_it_runs(self) -> None:
        async def names() -> list[str]:
            threads = ThreadPool()
            calls = [threads.run(lambda: threading.current_thread().name, tool) for tool in ("dredge", "")]
            return await asyncio.gather(*calls)

        assert asyncio.run(names()) == ["tool dredge", "helper"]

    @given(st.lists(st.sampled_from(["done", "raises", "abandoned"]), max_size=12))
    def test_the_count_is_exact_whatever_the_threads_do(self, outcomes: list[str]) -> None:
        async def run() -> None:
            threads, go = ThreadPool(abandoned_limit=100), threading.Event()
            for outcome in outcomes:
                works: dict[str, Callable[[], object]] = {"done": int, "raises": [].pop, "abandoned": go.wait}
                task = asyncio.ensure_future(threads.run(works[outcome]))
                await asyncio.sleep(0)
                if outcome == "abandoned":
                    task.cancel()
                await asyncio.wait((task,))
                if not task.cancelled():
                    task.exception()
            assert threads.abandoned_count == outcomes.count("abandoned")
            go.set()
            await until_free(threads)
            threads.close()

        asyncio.run(run())


class TestSynchronousTools:
    async def test_over_the_limit_are_reported_as_queued(self) -> None:
        go, running = threading.Semaphore(0), []

        @tool
        def work(number: int) -> int:
            """Wait until `go` is released."""
            running.append(number)
            go.acquire()
            return number

        client = RecordingClient()
        executor = ToolExecutor([work], ToolSettings(tool_executor_max_workers=2))
        async with executor.turn(client) as turn:
            for number in range(4):
                turn.start(tool_call("work", str(number), number=number))
            await until(lambda: len(running) == 2)
            assert [client.kinds(str(number))[0] for number in range(4)] == ["Started", "Started", "Queued", "Queued"]
            go.release(4)
            assert [message.content for message in await turn.results()] == ["0", "1", "2", "3"]
        await executor.close()

    async def test_past_their_timeout_do_not_delay_other_tools(self) -> None:
        go = threading.Event()

        @tool(timeout_s=0.02)
        def blocks() -> None:
            """Block."""
            go.wait()

        @tool
        def quick() -> int:
            """Be quick."""
            return 1

        executor = ToolExecutor([blocks, quick], ToolSettings(tool_executor_max_workers=1))
        stuck, done = await run_turn(executor, tool_call("blocks", "1"), tool_call("quick", "2"))
        assert stuck.content == "blocks did not finish within 0.02 seconds and was stopped."
        assert done.content == "1"
        assert executor.abandoned_count == 1
        go.set()

    async def test_can_report_progress_read_a_key_and_use_the_sync_client(self) -> None:
        @tool(keys=["SHOP_API_KEY"])
        def reports(context: ToolContext) -> bool:
            """Report."""
            context.wait(context.progress({"percent": 50}))
            return context.wait(context.key("SHOP_API_KEY")) == "k" and bool(context.sync_http)

        client = RecordingClient()
        executor = ToolExecutor([reports], keys={"SHOP_API_KEY": "k"})
        (message,) = await run_turn(executor, tool_call("reports"), client=client)
        assert client.progress("1") == [{"percent": 50}]
        assert message.content == "true"

    async def test_an_async_tool_that_would_block_the_loop_with_wait_fails_instead(self) -> None:
        @tool
        async def blocks_itself(context: ToolContext) -> None:
            """Wait where it must await."""
            context.wait(context.progress(1))

        (message,) = await run_turn(ToolExecutor([blocks_itself]), tool_call("blocks_itself"))
        assert message.content == "blocks_itself failed because of an internal error."

    async def test_an_async_tool_may_run_a_blocking_function_in_a_thread(self) -> None:
        @tool
        async def waits(context: ToolContext) -> bool:
            """Find out where a function runs."""
            return bool(await context.in_thread(threading.get_ident) != threading.get_ident())

        (message,) = await run_turn(ToolExecutor([waits]), tool_call("waits"))
        assert message.content == "true"

    async def test_never_block_the_event_loop(self) -> None:
        @tool
        def sleeps() -> None:
            """Block for a while."""
            time.sleep(0.05)

        async with ToolExecutor([sleeps]).turn(RecordingClient()) as turn:
            turn.start(tool_call("sleeps"))
            results = asyncio.create_task(turn.results())
            loop_iterations = 0
            while not results.done():
                await asyncio.sleep(0)
                loop_iterations += 1
        assert loop_iterations > 10

    async def test_eight_that_are_stuck_leave_the_place_of_any_other_tool(self) -> None:
        go = threading.Event()

        @tool(timeout_s=0.05)
        def moor(ship: int) -> int:
            """Never come back."""
            go.wait()
            return ship

        @tool
        def count_ropes() -> int:
            """Be quick."""
            return 4

        executor = ToolExecutor([moor, count_ropes])
        await run_turn(executor, *(tool_call("moor", str(ship), ship=ship) for ship in range(8)))
        refused, counted = await run_turn(executor, tool_call("moor", "8", ship=8), tool_call("count_ropes", "9"))
        assert refused.content == "8 earlier calls of moor are stuck; it can run again when they have ended."
        assert counted.content == "4"
        assert executor.abandoned_count == 8
        go.set()
