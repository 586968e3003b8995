"""A run ends with an outcome, whatever the tool does."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.clock import jumping
from winterbourne.chat.errors import ToolError
from winterbourne.chat.tool_runtime.results import Outcome
from winterbourne.chat.tool_runtime.shared_run import SharedRun, run_to_outcome


async def nobody(_: bytes) -> None: ...


@pytest.mark.parametrize(
    "error",
    [RuntimeError("x"), ToolError("x"), SystemExit(1), KeyboardInterrupt(), GeneratorExit(), StopAsyncIteration()],
)
async def test_whatever_is_raised_is_a_failure(error: BaseException) -> None:
    async def work() -> Outcome:
        raise error

    assert (await run_to_outcome("t", work)).status == "failed"


class TestListeners:
    @jumping
    async def test_the_last_who_leaves_cancels_it_and_its_place_is_free_at_once(self) -> None:
        released: list[str] = []

        async def work(_: SharedRun) -> Sequence[Outcome]:
            await asyncio.sleep(60)
            return ()

        run = SharedRun(work, lambda: released.append("free"))
        run.subscribe(nobody)
        run.subscribe(nobody)
        run.unsubscribe(nobody)
        assert not released
        run.unsubscribe(nobody)
        assert released == ["free"]
        await asyncio.wait((run.task,))
        assert run.task.cancelled()
        assert released == ["free"], "once"

    @jumping
    async def test_its_place_is_free_when_it_is_over(self) -> None:
        released: list[str] = []

        async def work(_: SharedRun) -> Sequence[Outcome]:
            return [Outcome("completed")]

        run = SharedRun(work, lambda: released.append("free"))
        run.subscribe(nobody)
        assert await run.wait() == [Outcome("completed")]
        await asyncio.sleep(0)
        assert released == ["free"]
        run.unsubscribe(nobody)
