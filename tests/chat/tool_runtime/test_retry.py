"""Tool retries: exponential backoff with jitter, and only where a retry can help."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from tests.clock import jumping
from winterbourne.chat.errors import ToolError, ToolUnavailable
from winterbourne.chat.tool_runtime.retry import BACKOFF_MAX_S, with_retry


def failing(*errors: Exception) -> tuple[list[float], Callable[[], Awaitable[str]]]:
    """Work that raises these errors in turn and then succeeds, and the times of its attempts."""
    left, attempts = list(errors), list[float]()

    async def work() -> str:
        attempts.append(asyncio.get_running_loop().time())
        if left:
            raise left.pop(0)
        return "done"

    return attempts, work


@jumping
async def test_a_failure_is_retried_until_the_work_succeeds() -> None:
    attempts, work = failing(RuntimeError(), ToolUnavailable())
    assert await with_retry("t", 2, work) == "done"
    assert len(attempts) == 3


@jumping
async def test_the_last_failure_is_raised_as_it_was() -> None:
    attempts, work = failing(RuntimeError("1"), RuntimeError("2"), RuntimeError("3"))
    with pytest.raises(RuntimeError, match="3"):
        await with_retry("t", 2, work)
    assert len(attempts) == 3


@jumping
async def test_a_tool_without_retries_is_tried_once() -> None:
    attempts, work = failing(RuntimeError())
    with pytest.raises(RuntimeError):
        await with_retry("t", 0, work)
    assert len(attempts) == 1


@jumping
async def test_a_tool_error_is_not_retried() -> None:
    attempts, work = failing(ToolError("no such city"))
    with pytest.raises(ToolError):
        await with_retry("t", 5, work)
    assert len(attempts) == 1


@jumping
async def test_pauses_are_jittered_and_bounded() -> None:
    attempts, work = failing(*[RuntimeError()] * 10)
    await with_retry("t", 10, work)
    pauses = [after - before for before, after in itertools.pairwise(attempts)]
    assert all(0 <= pause <= BACKOFF_MAX_S + 0.1 for pause in pauses)
    assert len({round(pause, 6) for pause in pauses}) > 5, "no two environments try at the same time"


@jumping
async def test_a_cancellation_during_a_pause_ends_the_retries() -> None:
    attempts, work = failing(*[RuntimeError()] * 10)
    task = asyncio.create_task(with_retry("t", 10, work))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    count = len(attempts)
    await asyncio.sleep(100)
    assert len(attempts) == count
