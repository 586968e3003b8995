"""Tool executor: whatever its tools do, each call gets one terminal event and nothing is left behind."""

import asyncio
import contextlib
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chat.log_lines import log_lines
from tests.chat.tool_runtime.recording_clients import (
    DisconnectingClient,
    RecordingClient,
    recorded_metrics,
    run_turn,
    tool_call,
)
from tests.clock import JumpingLoop, jumping
from winterbourne.chat.core.events import EventBatch, ToolFinished, ToolStarted
from winterbourne.chat.core.messages import ToolCall, ToolMessage
from winterbourne.chat.errors import InvalidToolDeclaration, ToolError, ToolUnavailable
from winterbourne.chat.settings import Settings, ToolSettings
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool, tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor
from winterbourne.chat.tool_runtime.threads import ThreadPool


@tool(breaker="one", cache_ttl_s=1, concurrency=1)
def one() -> int:
    """One."""
    return 1


def test_it_can_be_created_without_an_event_loop() -> None:
    executor = ToolExecutor([one])
    (message,) = asyncio.run(run_turn(executor, tool_call("one")))
    assert message.content == "1"


def test_its_task_is_named_for_whoever_asks_what_blocks_the_event_loop() -> None:
    @tool
    async def dredge() -> str:
        """Dredge."""
        task = asyncio.current_task()
        return task.get_name() if task else ""

    (message,) = asyncio.run(run_turn(ToolExecutor([dredge]), tool_call("dredge")))
    assert message.content == '"tool dredge"'


def test_it_imports_nothing_that_only_some_tools_need() -> None:
    code = (
        "import sys; from winterbourne.chat.tool_runtime.executor import ToolExecutor; ToolExecutor([]);"
        " print(sorted({'zoneinfo', 'boto3'} & set(sys.modules)))"
    )
    path = ":".join(entry for entry in sys.path if entry)
    found = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, check=True)
    assert found.stdout.strip() == b"[]"


def test_its_schemas_have_the_names_and_descriptions_of_its_tools() -> None:
    (schema,) = ToolExecutor([one]).schemas
    assert (schema.name, schema.description) == ("one", "One.")


def test_a_tool_is_offered_as_every_provider_takes_it_or_not_at_all(caplog: pytest.LogCaptureFixture) -> None:
    def with_schema(name: str, **parameters: Any) -> Tool:
        return msgspec.structs.replace(one, name=name, parameters=parameters)

    text = {"type": "string"}
    combined = with_schema("combined", anyOf=[{"properties": {"a": text}}], properties={"$top": text})
    unnamable = with_schema("unnamable", properties={"größe": text}, required=["größe"])
    (schema,) = ToolExecutor([combined, unnamable]).schemas
    assert schema.parameters == {"type": "object", "properties": {"a": text}}
    assert "unnamable is not offered" in caplog.text


class ToolsFixture:
    """An executor with well-behaved and misbehaving tools, and a count of the resources they have open."""

    def __init__(self, concurrency: int) -> None:
        self.open = 0
        self.entered = self.awaited = 0
        self.go = threading.Event()
        options = ToolSettings(tool_execution_timeout=2, tool_concurrency=concurrency, tool_abandoned_limit=100)
        self.executor = ToolExecutor([*self.ordinary(), *self.unruly(), *self.threaded()], options)
        self.executor.threads.run = self.run_in_thread  # type: ignore[method-assign]  # counts as well

    def busy(self) -> bool:
        """Whether the clock must wait for a thread; threads that are stuck until `go` do not count."""
        return self.awaited > self.entered - self.executor.threads.abandoned_count

    def run_in_thread(self, function: Callable[[], Any], tool: str = "") -> "asyncio.Future[Any]":
        """As the thread pool, and count the functions that are awaited."""

        def end(_: object) -> None:
            self.awaited -= 1

        future = ThreadPool.run(self.executor.threads, function)
        self.awaited += 1
        future.add_done_callback(end)
        return future

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
    async with tools.executor.turn(client) as turn:
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
    while tools.executor.abandoned_count:  # noqa: ASYNC110 - threads send no event when they end
        await asyncio.sleep(0.001)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await tools.executor.close()
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
        assert threading.active_count() - threads_before <= 2 * tools.executor._settings.tool_executor_max_workers
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


@tool
async def breaks(ship: str) -> str:
    """Break."""
    raise OSError(f"login failed ({ship})")


@tool
async def takes(order: dict[str, Any]) -> None:
    """Take an order apart."""
    order["again"] = order  # a cycle is not JSON
    raise LookupError(f"no customer {order.pop('customer')} for {order['items'].pop()}")


class TestLogs:
    @pytest.mark.parametrize("log_messages", [False, True])
    def test_contain_arguments_only_if_the_settings_allow_it(self, *, log_messages: bool) -> None:
        @jumping
        async def run() -> None:
            with log_lines() as lines:
                await run_turn(ToolExecutor([breaks], log_messages=log_messages), tool_call("breaks", ship="Endeavour"))
            assert sum("login failed" in line for line in lines) == 1
            assert any("Endeavour" in line for line in lines) == log_messages

        run()

    @jumping
    async def test_contain_no_arguments_even_if_the_tool_has_changed_them(self) -> None:
        with log_lines() as lines:
            await run_turn(ToolExecutor([takes]), tool_call("takes", order={"customer": "Nora Ash", "items": ["rope"]}))
        (line,) = [line for line in lines if "no customer" in line]
        assert "Nora" not in line
        assert "rope" not in line


RAISED: dict[str, type[BaseException]] = {
    "Aurora": ValueError,
    "Beagle": msgspec.ValidationError,
    "Endeavour": OSError,
    "Resolution": SystemExit,
}
INVALID_ARGUMENTS = "The arguments of moor do not fit its schema: a value is refused, at `$"
INTERNAL_ERROR = "moor failed because of an internal error."


class Berth(msgspec.Struct):
    ship: str

    def __post_init__(self) -> None:
        raise RAISED[self.ship](f"harbour:s3cr3t-pw has no {self.ship}")


@tool
async def moor(berth: Berth) -> str:
    """Moor."""
    return berth.ship


@tool(needs=["SHOP_API_KEY"])
async def needy() -> int:
    """Need a key."""
    return 1


@tool(name="needy")
async def namesake() -> int:
    """Have the same name."""
    return 1


def keys(**values: object) -> dict[str, object]:
    """Every setting by the name of its variable."""
    return Settings.of(**values).values()


class TestResolving:
    @pytest.mark.parametrize(
        ("ship", "expected"),
        [
            ("Aurora", INVALID_ARGUMENTS),
            ("Beagle", INVALID_ARGUMENTS),
            ("Endeavour", INTERNAL_ERROR),
            ("Resolution", INTERNAL_ERROR),
        ],
    )
    @pytest.mark.parametrize("log_messages", [False, True])
    async def test_an_exception_raised_by_a_tools_argument_type_goes_to_the_log_only(
        self, ship: str, expected: str, *, log_messages: bool
    ) -> None:
        executor = ToolExecutor([moor], log_messages=log_messages)
        with log_lines() as lines:
            (message,) = await run_turn(executor, tool_call("moor", berth={"ship": ship}))
        assert message.content.startswith(expected)
        assert message.is_error
        (line,) = [line for line in lines if "could not be validated" in line]
        assert "harbour:s3cr3t-pw has no" in line
        assert (f"has no {ship}" in line) == log_messages

    def test_two_tools_of_one_name_are_an_init_error(self) -> None:
        with pytest.raises(InvalidToolDeclaration, match="Two tools are named needy"):
            ToolExecutor([needy, namesake], keys=keys())

    def test_a_tool_that_cannot_be_added_leaves_the_others_as_they_were(self) -> None:
        executor = ToolExecutor([needy], keys=keys())
        with pytest.raises(InvalidToolDeclaration, match="Two tools are named needy"):
            executor.add(namesake)
        assert [schema.name for schema in executor.schemas] == ["needy"]


@tool
async def succeeds() -> dict[str, int]:
    """Succeed."""
    return {"a": 1}


@tool
async def refuses() -> None:
    """Refuse."""
    raise ToolError("no")


@tool(timeout_s=1)
async def hangs() -> None:
    """Hang."""
    await asyncio.Event().wait()


REPORTED = ToolExecutor([succeeds, refuses, hangs])


class TestReporting:
    async def test_a_call_that_never_ran_is_started_and_finished_in_one_batch(self) -> None:
        client = RecordingClient()
        async with REPORTED.turn(client) as turn:
            turn.refuse(tool_call("succeeds"), "no")
            await turn.results()
        assert client.batches == [
            [ToolStarted("1", "succeeds"), ToolFinished("1", "succeeds", "failed", 0, error="no")]
        ]

    async def test_the_message_for_the_model_is_the_result_or_the_error(self) -> None:
        messages = await run_turn(REPORTED, tool_call("succeeds", "1"), tool_call("refuses", "2"))
        assert [(message.content, message.is_error) for message in messages] == [('{"a":1}', False), ("no", True)]

    @pytest.mark.parametrize(
        ("name", "counted"), [("succeeds", []), ("refuses", ["ToolErrors"]), ("hangs", ["ToolTimeouts"])]
    )
    def test_metrics_count_calls_durations_errors_and_timeouts(self, name: str, counted: list[str]) -> None:
        @jumping
        async def run() -> None:
            with recorded_metrics() as values:
                await run_turn(REPORTED, tool_call(name))
            assert [metric for metric, _, _ in values] == ["ToolCalls", "ToolDuration", *counted]
            assert {tool for _, _, tool in values} == {name}

        run()

    @jumping
    async def test_a_cancelled_call_is_neither_an_error_nor_a_timeout(self) -> None:
        with recorded_metrics() as values:
            async with REPORTED.turn(RecordingClient()) as turn:
                turn.start(tool_call("hangs"))
                await asyncio.sleep(0.5)
        assert [metric for metric, _, _ in values] == ["ToolCalls", "ToolDuration"]

    async def test_unknown_tool_names_share_one_metric_label(self) -> None:
        with recorded_metrics() as values:
            await run_turn(REPORTED, tool_call("made_up", "1"), tool_call("x" * 1000, "2"))
        assert {tool for _, _, tool in values} == {"unknown"}

    async def test_the_terminal_event_is_sent_before_the_log_line_and_the_metrics(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        reported_before: list[int] = []

        async def emit(_: EventBatch) -> None:
            reported_before.append(len(caplog.records) + len(values))

        with caplog.at_level(logging.INFO, "winterbourne.chat"), recorded_metrics() as values:
            async with REPORTED.turn(emit) as turn:
                turn.start(tool_call("made_up"))
                await turn.results()
                assert (reported_before, len(values)) == ([0], 3)
        assert caplog.messages == [
            "tool unknown failed after 0.000s",
            "completed 0 tool calls: []; 1 did not complete: [made_up]",
        ]

    async def test_a_disconnected_client_does_not_suppress_the_log_line(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, "winterbourne.chat"), pytest.raises(ConnectionResetError):
            await run_turn(REPORTED, tool_call("made_up"), client=DisconnectingClient(0))
        assert caplog.messages == ["tool unknown failed after 0.000s"]

    async def test_the_log_has_the_tool_the_time_and_the_status_but_no_content(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, "winterbourne.chat"):
            async with REPORTED.turn(RecordingClient()) as turn:
                turn.refuse(tool_call("succeeds", question="secret"), "secret")
                await turn.results()
        record = caplog.records[0]
        assert record.getMessage() == "tool succeeds failed after 0.000s"
        assert record.__dict__["tool_status"] == "failed"
        assert "secret" not in str(record.__dict__)

    async def test_the_log_tells_what_was_run_from_what_was_known_or_refused(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, "winterbourne.chat"):
            await run_turn(REPORTED, tool_call("succeeds"), tool_call("made_up"))
        told = {line["tool"]: line["tool_ran"] for line in map(vars, caplog.records) if "tool_ran" in line}
        assert told == {"succeeds": True, "unknown": False}
        assert all(line["tool_duration_ms"] >= 0 for line in map(vars, caplog.records) if "tool_ran" in line)


class TestRun:
    @pytest.mark.parametrize(
        "error",
        [RuntimeError("x"), ToolError("x"), SystemExit(1), KeyboardInterrupt(), GeneratorExit(), StopAsyncIteration()],
    )
    @pytest.mark.parametrize("blocking", [False, True])
    async def test_whatever_is_raised_is_a_failure(self, error: BaseException, *, blocking: bool) -> None:
        @tool
        async def raises() -> None:
            """Raise."""
            raise error

        @tool
        def raises_in_a_thread() -> None:
            """Raise."""
            raise error

        raising = raises_in_a_thread if blocking else raises
        client = RecordingClient()
        await run_turn(ToolExecutor([raising]), tool_call(raising.name), client=client)
        assert [event.status for event in client.finished] == ["failed"]

    async def test_a_stop_iteration_in_a_thread_is_a_failure(self) -> None:
        @tool
        def exhausts() -> object:
            """Raise StopIteration."""
            return next(iter(()))

        client = RecordingClient()
        await run_turn(ToolExecutor([exhausts]), tool_call("exhausts"), client=client)
        assert [event.status for event in client.finished] == ["failed"]

    @jumping
    async def test_the_permits_are_released_when_the_run_ends_even_if_its_client_stalls(self) -> None:
        @tool(concurrency=1)
        async def rare() -> int:
            """One at a time."""
            return 1

        executor, stalled = ToolExecutor([rare]), asyncio.Event()

        async def stall(_: EventBatch) -> None:
            await stalled.wait()

        async with executor.turn(stall) as turn:
            turn.start(tool_call("rare"))
            await asyncio.sleep(1)
            client = RecordingClient()
            await run_turn(executor, tool_call("rare"), client=client)
            stalled.set()
        assert client.kinds("1") == ["Started", "Finished"], "not queued"


class TestRetiring:
    @jumping
    async def test_an_environment_is_retired_only_if_too_many_tools_are_stuck(self) -> None:
        @tool(timeout_s=1)
        async def stubborn() -> None:
            """Ignore a cancellation."""
            end = asyncio.get_running_loop().time() + 60
            while (left := end - asyncio.get_running_loop().time()) > 0:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(left)

        executor, retired = ToolExecutor([stubborn], ToolSettings(tool_abandoned_limit=1)), list[int]()
        executor.retire_if_stuck(lambda: retired.append(1))
        await executor.check_ready()
        await run_turn(executor, tool_call("stubborn"))
        executor.retire_if_stuck(lambda: retired.append(2))
        assert retired == [2]
        with pytest.raises(ToolUnavailable):
            await executor.check_ready()
        await asyncio.sleep(60)
