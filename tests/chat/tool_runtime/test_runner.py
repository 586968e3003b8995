"""One runner per environment; whatever its tools do, each call gets one last word and nothing is left behind."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chat.tool_runtime.recording_clients import RecordingClient, run_turn, tool_call
from tests.clock import JumpingLoop
from winterbourne.chat.core.messages import ToolCall, ToolMessage
from winterbourne.chat.errors import ToolError
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool, tool
from winterbourne.chat.tool_runtime.runner import ToolRunner


@tool(breaker="one", cache_ttl_s=1, concurrency=1)
def one() -> int:
    """One."""
    return 1


def test_it_is_made_without_an_event_loop() -> None:
    runner = ToolRunner([one])
    (message,) = asyncio.run(run_turn(runner, tool_call("one")))
    assert message.content == "1"


def test_its_schemas_are_what_a_model_is_told() -> None:
    (schema,) = ToolRunner([one]).schemas
    assert (schema.name, schema.description) == ("one", "One.")


class ToolsFixture:
    """Tools with every vice, and what they have open."""

    def __init__(self, concurrency: int) -> None:
        self.open = 0
        self.entered = 0
        self.go = threading.Event()
        options = Settings(tool_execution_timeout=2, tool_concurrency=concurrency, tool_abandoned_limit=100)
        self.runner = ToolRunner([*self.ordinary(), *self.unruly(), *self.threaded()], options)

    def busy(self) -> bool:
        """Whether a thread is at work whose end the clock must await: not one that is stuck until `go`."""
        threads = self.runner._executor.thread_pool
        return threads.active_count > self.entered - threads.abandoned_count

    @contextlib.contextmanager
    def something_open(self) -> Iterator[None]:
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    def ordinary(self) -> list[Tool]:
        @tool
        async def succeeds(seconds: float) -> str:
            """Succeed."""
            with self.something_open():
                await asyncio.sleep(seconds)
            return "fine"

        @tool
        async def raises(seconds: float) -> None:
            """Raise."""
            with self.something_open():
                await asyncio.sleep(seconds)
                raise RuntimeError("broken")

        @tool
        async def generates(seconds: float) -> AsyncGenerator[int, None]:
            """Report and report."""
            with self.something_open():
                for number in range(5):
                    yield number
                    await asyncio.sleep(seconds / 5)
                yield 5

        return [succeeds, raises, generates]

    def unruly(self) -> list[Tool]:
        @tool
        async def exits(seconds: float) -> None:
            """End the process."""
            await asyncio.sleep(seconds)
            raise SystemExit(1)

        @tool
        async def garbage(seconds: float) -> object:
            """Return what is no JSON."""
            await asyncio.sleep(seconds)
            return object()

        @tool
        async def floods(seconds: float, context: ToolContext) -> str:
            """Say far too much."""
            for _ in range(50):
                await context.progress("x" * 100_000)
            await asyncio.sleep(seconds)
            return "x" * 1_000_000

        @tool
        async def stubborn(seconds: float) -> str:
            """Ignore cancellations."""
            end = asyncio.get_running_loop().time() + seconds
            while (left := end - asyncio.get_running_loop().time()) > 0:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(left)
            return "at last"

        return [exits, garbage, floods, stubborn]

    def threaded(self) -> list[Tool]:
        @tool
        def blocks(seconds: float) -> float:
            """Hold a thread until the end of the test."""
            self.entered += 1
            self.go.wait()
            return seconds

        @tool
        def works(seconds: float) -> float:
            """Use a thread well."""
            return seconds

        @tool
        def refuses(seconds: float) -> float:
            """Use a thread and say no."""
            raise ToolError(f"not {seconds}")

        return [blocks, works, refuses]


ENDS = {
    "succeeds": "completed",
    "raises": "failed",
    "exits": "failed",
    "garbage": "failed",
    "floods": "completed",
    "generates": "completed",
    "stubborn": "completed",
    "blocks": "timed_out",
    "works": "completed",
    "refuses": "failed",
    "made_up": "failed",
    "bad_json": "failed",
}
AT_ONCE = {"works", "refuses", "made_up", "bad_json"}


def call(number: int, fate: str, seconds: float) -> ToolCall:
    if fate == "bad_json":
        return ToolCall(str(number), "succeeds", '{"seconds":')
    return tool_call(fate, str(number), seconds=seconds)


def expected(fate: str, seconds: float, left_s: float | None) -> str:
    """How a call ends that did not have to queue."""
    takes_s = 0 if fate in AT_ONCE else 60 if fate == "blocks" else seconds
    if left_s is not None and min(takes_s, 2) > left_s:
        return "cancelled"
    return "timed_out" if takes_s > 2 else ENDS[fate]


async def live(
    world: ToolsFixture, calls: list[tuple[str, float]], left_s: float | None, heard: RecordingClient
) -> list[ToolMessage]:
    """One turn, to its results or left after some seconds; then everything that may still be stuck is let go."""
    async with world.runner.turn(heard) as turn:
        for number, (fate, seconds) in enumerate(calls):
            turn.start(call(number, fate, seconds))
        if left_s is None:
            await turn.results()
        else:
            await asyncio.sleep(left_s)
    messages = await turn.results()
    assert world.open == 0, "what tools had open is closed when the turn is over"
    world.go.set()
    await asyncio.sleep(60)  # the stubborn ones end by themselves
    while world.runner.abandoned_count:  # noqa: ASYNC110 - threads tell nobody when they come
        await asyncio.sleep(0.001)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await world.runner.close()
    return messages


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(ENDS)), st.sampled_from([0, 0.5, 1, 3, 10])), max_size=8),
    st.sampled_from([None, None, 0, 0.25, 0.75, 1.5, 2.5]),
    st.sampled_from([1, 2, 16]),
)
def test_whatever_tools_do_each_call_has_one_last_word_and_nothing_is_left(
    calls: list[tuple[str, float]], left_s: float | None, concurrency: int
) -> None:
    world, heard = ToolsFixture(concurrency), RecordingClient()
    threads_before = threading.active_count()
    with asyncio.Runner(loop_factory=lambda: JumpingLoop(world.busy)) as runner:
        messages = runner.run(live(world, calls, left_s, heard))
        assert threading.active_count() - threads_before <= 2 * world.runner._settings.tool_executor_max_workers
    ids = [str(number) for number in range(len(calls))]
    assert [message.tool_call_id for message in messages] == ids
    assert sorted(event.id for event in heard.finished) == ids
    for number in ids:
        kinds = heard.kinds(number)
        assert [kind for kind in kinds if kind not in {"Queued", "Progressed"}] == ["Started", "Finished"]
        assert kinds[-1] == "Finished"
    by_id = {event.id: event for event in heard.finished}
    for number, message in zip(ids, messages, strict=True):
        assert message.content == (by_id[number].error or by_id[number].result.decode())
        assert message.is_error == (by_id[number].status != "completed")
        assert len(message.content) < 33_000
    if concurrency == 16 and left_s != 0:  # at once, some have begun and some have not
        ends = [by_id[number].status for number in ids]
        assert ends == [expected(fate, seconds, left_s) for fate, seconds in calls]
