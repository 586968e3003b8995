"""Shared run: one task for identical calls; it ends with an outcome, and the last to unsubscribe cancels it."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.clock import jumping
from winterbourne.chat.errors import ToolError
from winterbourne.chat.tool_runtime.results import Outcome
from winterbourne.chat.tool_runtime.shared_run import SharedRun, run_to_outcome


async def ignore_progress(_: bytes) -> None: ...


@pytest.mark.parametrize(
    "error",
    [RuntimeError("x"), ToolError("x"), SystemExit(1), KeyboardInterrupt(), GeneratorExit(), StopAsyncIteration()],
)
async def test_whatever_is_raised_is_a_failure(error: BaseException) -> None:
    async def work() -> Outcome:
        raise error

    assert (await run_to_outcome("t", work)).status == "failed"


class TestSubscribers:
    @jumping
    async def test_the_last_to_unsubscribe_cancels_the_run_and_releases_its_permits_at_once(self) -> None:
        released: list[str] = []

        async def work(_: SharedRun) -> Sequence[Outcome]:
            await asyncio.sleep(60)
            return ()

        run = SharedRun(work, lambda: released.append("free"))
        run.subscribe(ignore_progress)
        run.subscribe(ignore_progress)
        run.unsubscribe(ignore_progress)
        assert not released
        run.unsubscribe(ignore_progress)
        assert released == ["free"]
        await asyncio.wait((run.task,))
        assert run.task.cancelled()
        assert released == ["free"], "once"

    @jumping
    async def test_the_permits_are_released_when_the_run_ends(self) -> None:
        released: list[str] = []

        async def work(_: SharedRun) -> Sequence[Outcome]:
            return [Outcome("completed")]

        run = SharedRun(work, lambda: released.append("free"))
        run.subscribe(ignore_progress)
        assert await run.wait() == [Outcome("completed")]
        await asyncio.sleep(0)
        assert released == ["free"]
        run.unsubscribe(ignore_progress)
