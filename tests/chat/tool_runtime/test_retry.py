"""Trying again, with growing pauses, only where it may help."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from tests.clock import jumping
from winterbourne.chat.errors import ToolError, ToolUnavailable
from winterbourne.chat.tool_runtime.retry import BACKOFF_MAX_S, with_retry


def failing(*errors: Exception) -> tuple[list[float], Callable[[], Awaitable[str]]]:
    """Work that raises these in turn and then succeeds, and the times at which it was tried."""
    left, tried = list(errors), list[float]()

    async def work() -> str:
        tried.append(asyncio.get_running_loop().time())
        if left:
            raise left.pop(0)
        return "done"

    return tried, work


@jumping
async def test_a_failure_is_tried_again_until_it_works() -> None:
    tried, work = failing(RuntimeError(), ToolUnavailable())
    assert await with_retry("t", 2, work) == "done"
    assert len(tried) == 3


@jumping
async def test_the_last_failure_is_raised_as_it_was() -> None:
    tried, work = failing(RuntimeError("1"), RuntimeError("2"), RuntimeError("3"))
    with pytest.raises(RuntimeError, match="3"):
        await with_retry("t", 2, work)
    assert len(tried) == 3


@jumping
async def test_a_tool_that_does_not_say_it_is_safe_is_tried_once() -> None:
    tried, work = failing(RuntimeError())
    with pytest.raises(RuntimeError):
        await with_retry("t", 0, work)
    assert len(tried) == 1


@jumping
async def test_what_a_tool_says_on_purpose_is_not_tried_again() -> None:
    tried, work = failing(ToolError("no such city"))
    with pytest.raises(ToolError):
        await with_retry("t", 5, work)
    assert len(tried) == 1


@jumping
async def test_pauses_are_jittered_and_bounded() -> None:
    tried, work = failing(*[RuntimeError()] * 10)
    await with_retry("t", 10, work)
    pauses = [after - before for before, after in itertools.pairwise(tried)]
    assert all(0 <= pause <= BACKOFF_MAX_S + 0.1 for pause in pauses)
    assert len({round(pause, 6) for pause in pauses}) > 5, "no two environments try at the same time"


@jumping
async def test_a_cancellation_ends_it_during_a_pause() -> None:
    tried, work = failing(*[RuntimeError()] * 10)
    task = asyncio.create_task(with_retry("t", 10, work))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    count = len(tried)
    await asyncio.sleep(100)
    assert len(tried) == count
