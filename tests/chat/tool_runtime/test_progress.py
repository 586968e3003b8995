"""Progress: no tool floods a client; the items of generators are streamed as they come, the last is the result."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.tool_runtime.recording_clients import RecordingClient, run_turn, tool_call
from tests.clock import jumping
from winterbourne.chat.tool_runtime.declaration import tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor
from winterbourne.chat.tool_runtime.progress import (
    PROGRESS_BYTES_PER_S,
    CoalescedProgress,
    stream_progress,
    stream_thread,
)
from winterbourne.chat.tool_runtime.threads import ThreadPool


def recording_send() -> tuple[list[Any], Any]:
    sent: list[Any] = []

    async def send(item: Any) -> None:
        sent.append(item)

    return sent, send


@given(st.lists(st.tuples(st.integers(), st.sampled_from([None, 0, 1])), max_size=6))
def test_all_but_the_last_are_sent_in_order_whether_the_generator_waits_or_not(items: list[tuple[int, Any]]) -> None:
    async def generate() -> AsyncGenerator[int, None]:
        for item, pause in items:
            if pause is not None:
                await asyncio.sleep(pause)
            yield item

    @jumping
    async def run() -> None:
        sent, send = recording_send()
        last = await stream_progress(generate(), send)
        numbers = [item for item, _ in items]
        assert sent == numbers[:-1]
        assert last == (numbers[-1] if numbers else None)

    run()


@jumping
async def test_an_error_in_the_generator_is_raised_and_closes_it() -> None:
    closed: list[bool] = []

    async def generate() -> AsyncGenerator[int, None]:
        try:
            yield 1
            raise KeyError
        finally:
            closed.append(True)

    with pytest.raises(KeyError):
        await stream_progress(generate(), recording_send()[1])
    assert closed


@jumping
async def test_cancellation_closes_the_generator() -> None:
    closed: list[bool] = []

    async def generate() -> AsyncGenerator[int, None]:
        try:
            yield 1
            await asyncio.sleep(60)
            yield 2
        finally:
            closed.append(True)

    task = asyncio.create_task(stream_progress(generate(), recording_send()[1]))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed
    assert asyncio.all_tasks() == {asyncio.current_task()}


@jumping
async def test_timeouts_inside_a_generator_hold_across_its_items() -> None:
    async def generate() -> AsyncGenerator[int, None]:
        try:
            async with asyncio.timeout(1):
                yield 1
                await asyncio.sleep(60)
        except TimeoutError:
            yield 2

    assert await stream_progress(generate(), recording_send()[1]) == 2


@jumping
async def test_an_error_while_sending_is_raised() -> None:
    async def send(_: Any) -> None:
        raise ConnectionError

    async def generate() -> AsyncGenerator[int, None]:
        yield 1
        await asyncio.sleep(1)
        yield 2

    with pytest.raises(ConnectionError):
        await stream_progress(generate(), send)


class TestCoalescedProgress:
    @jumping
    async def test_the_first_is_sent_at_once_then_the_latest_and_the_last_before_a_pause(self) -> None:
        sent, send = recording_send()
        progress = CoalescedProgress(send)
        for number in range(100):
            await progress.report(b"%d" % number)
            await asyncio.sleep(0.001)
        assert (sent[0], len(sent)) == (b"0", 2)
        await asyncio.sleep(1)
        assert sent[-1] == b"99"
        assert progress.sender is None
        await progress.report(b"after the pause")
        await asyncio.sleep(0)
        assert sent[-1] == b"after the pause"
        await asyncio.sleep(1)

    @given(st.lists(st.tuples(st.integers(1, 20_000), st.floats(0, 0.5)), min_size=1, max_size=40))
    def test_no_more_than_20_messages_and_64_kb_are_sent_in_any_second(self, reports: list[tuple[int, float]]) -> None:
        @jumping
        async def run() -> None:
            sent: list[tuple[float, int]] = []
            now = asyncio.get_running_loop().time

            async def send(data: bytes) -> None:
                sent.append((now(), len(data)))

            progress = CoalescedProgress(send)
            for size, pause in reports:
                await progress.report(b"x" * size)
                await asyncio.sleep(pause)
            await asyncio.sleep(2)
            assert sent[-1][1] == reports[-1][0]
            for start, _ in sent:
                second = [size for at, size in sent if start <= at < start + 1 - 1e-6]
                assert len(second) <= 20
                assert sum(second[:-1]) <= PROGRESS_BYTES_PER_S

        run()

    @jumping
    async def test_a_client_that_does_not_read_holds_up_nobody(self) -> None:
        async def send(_: bytes) -> None:
            await asyncio.get_running_loop().create_future()

        progress = CoalescedProgress(send)
        for _ in range(3):
            await progress.report(b"1")
            await asyncio.sleep(1)
        assert progress.sender
        progress.sender.cancel()


class TestPlainGenerators:
    async def test_items_are_sent_while_the_generator_works_and_the_last_is_the_result(self) -> None:
        sent, send = recording_send()
        go = threading.Event()

        def generate() -> Generator[int, None, None]:
            yield 1
            go.wait()
            yield 2

        async def send_and_go(item: Any) -> None:
            await send(item)
            go.set()

        assert await stream_thread(generate(), send_and_go, ThreadPool().run) == 2
        assert sent == [1]

    async def test_an_error_in_the_generator_is_raised(self) -> None:
        def generate() -> Generator[int, None, None]:
            yield 1
            raise KeyError

        with pytest.raises(KeyError):
            await stream_thread(generate(), recording_send()[1], ThreadPool().run)

    async def test_cancellation_closes_the_generator_at_its_next_item(self) -> None:
        closed = threading.Event()
        threads = ThreadPool()

        def generate() -> Generator[int, None, None]:
            try:
                while True:
                    yield 1
            finally:
                closed.set()

        task = asyncio.create_task(stream_thread(generate(), recording_send()[1], threads.run))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()
        assert await asyncio.to_thread(closed.wait, 5)

    async def test_of_a_tool_that_yields_nothing_the_result_is_null(self) -> None:
        @tool
        def nothing() -> Generator[int, None, None]:
            """Yield nothing."""
            yield from ()

        (message,) = await run_turn(ToolExecutor([nothing]), tool_call("nothing"))
        assert message.content == "null"


class TestAFlood:
    @jumping
    async def test_delays_no_other_result_and_sends_a_few_messages_a_second(self) -> None:
        @tool(timeout_s=3)
        async def sonar() -> AsyncGenerator[dict[str, str], None]:
            """Report without pause."""
            while True:
                yield {"echo": "." * 900}
                await asyncio.sleep(0.0001)

        @tool
        async def two_seconds() -> float:
            """Wait."""
            await asyncio.sleep(2)
            return asyncio.get_running_loop().time()

        client = RecordingClient()
        started = asyncio.get_running_loop().time()
        flood, quick = await run_turn(
            ToolExecutor([sonar, two_seconds]), tool_call("sonar", "1"), tool_call("two_seconds", "2"), client=client
        )
        assert flood.content == "sonar did not finish within 3 seconds and was stopped."
        assert float(quick.content) - started == pytest.approx(2)
        assert 40 <= len(client.progress("1")) <= 61
        assert client.kinds("1")[-1] == "Finished"
        assert asyncio.all_tasks() == {asyncio.current_task()}
