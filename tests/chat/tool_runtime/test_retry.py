"""Tool retries: exponential backoff with jitter, and only where a retry can help."""

import asyncio
import itertools
from typing import Any

import pytest

from tests.chat.log_lines import log_lines
from tests.clock import jumping
from winterbourne.chat.errors import ToolError, ToolUnavailable
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Call
from winterbourne.chat.tool_runtime.retry import BACKOFF_MAX_S, with_retry


def failing(*errors: Exception) -> tuple[list[float], Call]:
    """A call that raises these errors in turn and then succeeds, and the times of its attempts."""
    left, attempts = list(errors), list[float]()

    async def call(arguments: Any, _: ToolContext) -> str:
        attempts.append(asyncio.get_running_loop().time())
        if left:
            raise left.pop(0)
        return f"done: {arguments}"

    return attempts, call


@jumping
async def test_a_failure_is_retried_until_the_call_succeeds() -> None:
    attempts, call = failing(RuntimeError(), ToolUnavailable())
    assert await with_retry("t", 2, call)("it", ToolContext()) == "done: it"
    assert len(attempts) == 3


@jumping
async def test_the_last_failure_is_raised_as_it_was() -> None:
    attempts, call = failing(RuntimeError("1"), RuntimeError("2"), RuntimeError("3"))
    with pytest.raises(RuntimeError, match="3"):
        await with_retry("t", 2, call)("it", ToolContext())
    assert len(attempts) == 3


@jumping
async def test_a_tool_error_is_not_retried() -> None:
    attempts, call = failing(ToolError("no such city"))
    with pytest.raises(ToolError):
        await with_retry("t", 5, call)("it", ToolContext())
    assert len(attempts) == 1


@jumping
async def test_pauses_are_jittered_and_bounded() -> None:
    attempts, call = failing(*[RuntimeError()] * 10)
    await with_retry("t", 10, call)("it", ToolContext())
    pauses = [after - before for before, after in itertools.pairwise(attempts)]
    assert all(0 <= pause <= BACKOFF_MAX_S + 0.1 for pause in pauses)
    assert len({round(pause, 6) for pause in pauses}) > 5, "no two environments try at the same time"


@jumping
async def test_a_cancellation_during_a_pause_ends_the_retries() -> None:
    attempts, call = failing(*[RuntimeError()] * 10)
    task = asyncio.ensure_future(with_retry("t", 10, call)("it", ToolContext()))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    count = len(attempts)
    await asyncio.sleep(100)
    assert len(attempts) == count


@jumping
async def test_a_tool_without_retries_is_called_once() -> None:
    attempts, call = failing(RuntimeError())
    with pytest.raises(RuntimeError):
        await with_retry("t", 0, call)("it", ToolContext())
    assert len(attempts) == 1


async def test_the_cause_of_a_retried_failure_is_in_the_log() -> None:
    _, call = failing(RuntimeError("the tide table is torn"))
    with log_lines() as lines:
        await with_retry("t", 1, call)("it", ToolContext())
    assert any("the tide table is torn" in line for line in lines)
