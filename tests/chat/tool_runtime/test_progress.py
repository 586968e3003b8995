"""Progress of generator tools: items are streamed as they come; the last one is the result."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clock import jumping
from winterbourne.chat.tool_runtime.progress import stream_progress


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
