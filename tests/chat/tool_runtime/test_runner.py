"""Tool runner: whatever its tools do, each call gets one terminal event and nothing is left behind."""

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


def test_it_can_be_created_without_an_event_loop() -> None:
    runner = ToolRunner([one])
    (message,) = asyncio.run(run_turn(runner, tool_call("one")))
    assert message.content == "1"


def test_its_schemas_have_the_names_and_descriptions_of_its_tools() -> None:
    (schema,) = ToolRunner([one]).schemas
    assert (schema.name, schema.description) == ("one", "One.")


class ToolsFixture:
    """A runner with well-behaved and misbehaving tools, and a count of the resources they have open."""

    def __init__(self, concurrency: int) -> None:
        self.open = 0
        self.entered = 0
        self.go = threading.Event()
        options = Settings.of(tool_execution_timeout=2, tool_concurrency=concurrency, tool_abandoned_limit=100)
        self.runner = ToolRunner([*self.ordinary(), *self.unruly(), *self.threaded()], options)

    def busy(self) -> bool:
        """Whether the clock must wait for a thread; threads that are stuck until `go` do not count."""
        threads = self.runner._executor.thread_pool
        return threads.active_count > self.entered - threads.abandoned_count

    @contextlib.contextmanager
    def open_resource(self) -> Iterator[None]:
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    def ordinary(self) -> list[Tool]:
        @tool
        async def succeeds(seconds: float) -> str:
            """Succeed."""
            with self.open_resource():
                await asyncio.sleep(seconds)
            return "fine"

        @tool
        async def raises(seconds: float) -> None:
            """Raise."""
            with self.open_resource():
                await asyncio.sleep(seconds)
                raise RuntimeError("broken")

        @tool
        async def generates(seconds: float) -> AsyncGenerator[int, None]:
            """Report progress several times."""
            with self.open_resource():
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
            """Return a value that is not JSON."""
            await asyncio.sleep(seconds)
            return object()

        @tool
        async def floods(seconds: float, context: ToolContext) -> str:
            """Send far too much."""
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
            """Return from a thread."""
            return seconds

        @tool
        def refuses(seconds: float) -> float:
            """Raise a `ToolError` in a thread."""
            raise ToolError(f"not {seconds}")

        return [blocks, works, refuses]


EXPECTED_STATUS = {
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
IMMEDIATE = {"works", "refuses", "made_up", "bad_json"}


def make_call(number: int, behaviour: str, seconds: float) -> ToolCall:
    if behaviour == "bad_json":
        return ToolCall(str(number), "succeeds", '{"seconds":')
    return tool_call(behaviour, str(number), seconds=seconds)


def expected_status(behaviour: str, seconds: float, leave_after_s: float | None) -> str:
    """The status with which a call ends if it did not have to queue."""
    takes_s = 0 if behaviour in IMMEDIATE else 60 if behaviour == "blocks" else seconds
    if leave_after_s is not None and min(takes_s, 2) > leave_after_s:
        return "cancelled"
    return "timed_out" if takes_s > 2 else EXPECTED_STATUS[behaviour]


async def run_turn_to_the_end(
    tools: ToolsFixture, calls: list[tuple[str, float]], leave_after_s: float | None, client: RecordingClient
) -> list[ToolMessage]:
    """Run one turn to its results, or leave it after some seconds; then release everything that may still be stuck."""
    async with tools.runner.turn(client) as turn:
        for number, (behaviour, seconds) in enumerate(calls):
            turn.start(make_call(number, behaviour, seconds))
        if leave_after_s is None:
            await turn.results()
        else:
            await asyncio.sleep(leave_after_s)
    messages = await turn.results()
    assert tools.open == 0, "what tools had open is closed when the turn is over"
    tools.go.set()
    await asyncio.sleep(60)  # stubborn tools end by themselves
    while tools.runner.abandoned_count:  # noqa: ASYNC110 - threads send no event when they end
        await asyncio.sleep(0.001)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await tools.runner.close()
    return messages


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(EXPECTED_STATUS)), st.sampled_from([0, 0.5, 1, 3, 10])), max_size=8),
    st.sampled_from([None, None, 0, 0.25, 0.75, 1.5, 2.5]),
    st.sampled_from([1, 2, 16]),
)
def test_whatever_tools_do_each_call_gets_one_terminal_event_and_nothing_is_left_behind(
    calls: list[tuple[str, float]], leave_after_s: float | None, concurrency: int
) -> None:
    tools, client = ToolsFixture(concurrency), RecordingClient()
    threads_before = threading.active_count()
    with asyncio.Runner(loop_factory=lambda: JumpingLoop(tools.busy)) as runner:
        messages = runner.run(run_turn_to_the_end(tools, calls, leave_after_s, client))
        assert threading.active_count() - threads_before <= 2 * tools.runner._settings.tools.tool_executor_max_workers
    ids = [str(number) for number in range(len(calls))]
    assert [message.tool_call_id for message in messages] == ids
    assert sorted(event.id for event in client.finished) == ids
    for number in ids:
        kinds = client.kinds(number)
        assert [kind for kind in kinds if kind not in {"Queued", "Progressed"}] == ["Started", "Finished"]
        assert kinds[-1] == "Finished"
    by_id = {event.id: event for event in client.finished}
    for number, message in zip(ids, messages, strict=True):
        assert message.content == (by_id[number].error or by_id[number].result.decode())
        assert message.is_error == (by_id[number].status != "completed")
        assert len(message.content) < 33_000
    if concurrency == 16 and leave_after_s != 0:  # a turn that is left at once has started only some of them
        statuses = [by_id[number].status for number in ids]
        assert statuses == [expected_status(behaviour, seconds, leave_after_s) for behaviour, seconds in calls]
