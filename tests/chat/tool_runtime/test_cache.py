"""Result cache: results live for their TTL, up to a total size; identical calls share a result or a run."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from tests.chat.tool_runtime.recording_clients import RecordingClient, recorded_metrics, run_turn, tool_call
from tests.clock import jumping
from winterbourne.chat.core.events import EventBatch, ToolFinished, ToolProgressed
from winterbourne.chat.core.messages import ToolCall
from winterbourne.chat.errors import ToolError
from winterbourne.chat.infra import redaction
from winterbourne.chat.settings import ToolSettings
from winterbourne.chat.tool_runtime.cache import CachedTool, CacheKey, ResultCache
from winterbourne.chat.tool_runtime.call import ActiveCall, Turn
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool, ToolOptions, tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor
from winterbourne.chat.tool_runtime.permits import Semaphore


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


A, B = CacheKey("t", "", b'{"a":1}'), CacheKey("t", "", b'{"b":1}')


def test_a_result_is_served_until_its_ttl_ends() -> None:
    clock = Clock()
    cache = ResultCache(10_000, clock)
    cache.put(A, b"1", ttl_s=10)
    clock.now += 9
    assert cache.get(A) == b"1"
    clock.now += 2
    assert cache.get(A) is None


def test_each_entry_has_its_own_ttl() -> None:
    clock = Clock()
    cache = ResultCache(10_000, clock)
    cache.put(A, b"1", ttl_s=10)
    cache.put(B, b"2", ttl_s=100)
    clock.now += 50
    assert (cache.get(A), cache.get(B)) == (None, b"2")


def test_the_least_recently_used_entry_is_evicted() -> None:
    cache = ResultCache(100, Clock())
    cache.put(A, b"x" * 40, ttl_s=10)
    cache.put(B, b"x" * 40, ttl_s=10)
    cache.get(A)
    cache.put(CacheKey("t", "", b"{}"), b"x" * 40, ttl_s=10)
    assert (cache.get(A), cache.get(B)) == (b"x" * 40, None)


def test_a_result_larger_than_the_cache_is_not_stored() -> None:
    cache = ResultCache(100, Clock())
    cache.put(A, b"x" * 101, ttl_s=10)
    assert cache.get(A) is None


def test_a_ttl_of_zero_stores_nothing() -> None:
    cache = ResultCache(100, Clock())
    cache.put(A, b"1", ttl_s=0)
    assert cache.get(A) is None


KEYS = [CacheKey("t", caller, arguments) for caller in ("", "a") for arguments in (b"1", b"22", b"333")]
STEPS = st.tuples(
    st.sampled_from(KEYS),
    st.sampled_from(["get", "put"]),
    st.integers(0, 60),
    st.sampled_from([1, 5]),
    st.integers(0, 3),
)


@given(st.lists(STEPS, max_size=60))
def test_it_never_exceeds_its_size_and_never_returns_an_expired_or_wrong_result(
    steps: list[tuple[CacheKey, str, int, int, int]],
) -> None:
    clock, last_put = Clock(), dict[CacheKey, tuple[bytes, float]]()
    cache = ResultCache(100, clock)
    for number, (key, step, size, ttl_s, pause_s) in enumerate(steps):
        clock.now += pause_s
        if step == "put":
            result = bytes([number]) * size
            cache.put(key, result, ttl_s)
            last_put[key] = (result, clock.now + ttl_s)
        elif (found := cache.get(key)) is not None:
            result, expires_at = last_put[key]
            assert found == result
            assert clock.now < expires_at
        sizes = (len(key.tool + key.caller_id) + len(key.arguments) for key in cache._entries)
        results = (len(entry.result) for entry in cache._entries.values())
        assert sum(sizes) + sum(results) == cache.size_bytes <= 100


def test_expired_results_are_evicted_before_fresh_ones() -> None:
    clock = Clock()
    cache = ResultCache(100, clock)
    cache.put(A, b"x" * 40, ttl_s=100)
    cache.put(B, b"x" * 40, ttl_s=10)
    clock.now += 20
    cache.put(CacheKey("t", "", b"{}"), b"x" * 40, ttl_s=10)
    assert (cache.get(A), cache.get(B)) == (b"x" * 40, None)


@tool(cache_ttl_s=1)
async def tagged(key: str, tags: frozenset[str] = frozenset()) -> None:
    """Shared."""


@tool(cache_ttl_s=1)
async def uses_caller(key: str, context: ToolContext) -> None:
    """May depend on the caller."""


@tool(cache_ttl_s=1, cache_per_caller=False)
async def shared_by_all(key: str, context: ToolContext) -> None:
    """Does not depend on the caller."""


async def many(calls: Sequence[Any], context: ToolContext) -> list[None]:
    """May depend on the caller."""
    return [None for _ in calls]


@tool(cache_ttl_s=1, batch=many)
async def batched(key: str) -> None:
    """May depend on the caller, in its batch form."""


@tool(cache_ttl_s=1, cache_per_caller=True)
async def per_caller(key: str) -> None:
    """For each caller."""


async def discard(_: object) -> None: ...


def key_of(tool: Tool, arguments: str, caller: str = "me") -> CacheKey:
    """The key of a call with these arguments."""
    turn = Turn(discard, deadline=0, request_id="", caller_id=caller, semaphore=Semaphore(1))
    call = ActiveCall(turn, ToolCall("1", tool.name, arguments), tool.validate_arguments(arguments))
    call.identify()
    return CachedTool(tool, ResultCache(100)).key(call)


def have_same_key(tool: Tool) -> bool:
    """Whether two callers' calls with the same arguments have the same cache key."""
    return key_of(tool, '{"key":"a"}', "me") == key_of(tool, '{"key":"a"}', "you")


class TestKey:
    def test_the_order_and_the_spelling_of_arguments_do_not_matter(self) -> None:
        one = key_of(tagged, '{"key":"a","tags":["x","y"]}')
        assert one == key_of(tagged, ' {"tags": ["y","x"], "key": "\\u0061"}')

    def test_different_arguments_have_different_keys(self) -> None:
        assert key_of(tagged, '{"key":"a"}') != key_of(tagged, '{"key":"b"}')

    def test_the_caller_is_part_of_the_key_if_the_tool_can_read_it(self) -> None:
        assert have_same_key(tagged)
        assert not have_same_key(uses_caller)
        assert not have_same_key(batched)

    def test_cache_per_caller_overrides_that(self) -> None:
        assert not have_same_key(per_caller)
        assert have_same_key(shared_by_all)

    def test_the_caller_is_part_of_the_key_in_tools_that_are_not_functions(self) -> None:
        external = Tool(
            name="far",
            description="Of a server.",
            parameters={},
            validate_arguments=msgspec.json.decode,
            call=uses_caller.call,
            options=ToolOptions(cache_ttl_s=1),
        )
        assert not have_same_key(external)

    def test_arguments_that_are_dicts_have_a_key_too(self) -> None:
        external = msgspec.structs.replace(tagged, validate_arguments=msgspec.json.decode)
        assert key_of(external, '{"a":1,"b":[2]}') == key_of(external, '{"b":[2],"a":1}')


runs: list[object] = []


@pytest.fixture(autouse=True)
def _clear_runs() -> None:
    runs.clear()


@tool(cache_ttl_s=60)
async def cached(key: str, seconds: float = 1.0, fails: bool = False) -> str:  # noqa: FBT001, FBT002 - arguments come from the model
    """Cache results for a minute."""
    runs.append(key)
    await asyncio.sleep(seconds)
    if fails:
        raise ToolError("no")
    return key.upper()


@tool(cache_ttl_s=60, cache_per_caller=True)
async def private(key: str) -> str:
    """Cache results for a minute, for each caller."""
    runs.append(key)
    return key


@tool(cache_ttl_s=60)
async def berths(port: str, context: ToolContext) -> str:
    """The caller's berths."""
    runs.append(context.caller)
    await asyncio.sleep(1)
    return f"{context.caller} in {port}"


@tool(cache_ttl_s=60, cache_per_caller=False)
async def careless(context: ToolContext) -> str:
    """Read the caller although all callers share the result."""
    return context.caller


@tool
async def plain(key: str) -> str:
    """Have an effect each time."""
    runs.append(key)
    await asyncio.sleep(1)
    return key


@tool(cache_ttl_s=0)
async def shared(to: int) -> AsyncGenerator[int, None]:
    """Count, for every call that joins the run."""
    runs.append(to)
    for number in range(to):
        await asyncio.sleep(1)
        yield number
    yield to


TOOLS = [cached, private, plain, shared]


class TestCache:
    @jumping
    async def test_a_fresh_result_is_returned_at_once_without_a_run(self) -> None:
        executor, client = ToolExecutor(TOOLS), RecordingClient()
        await run_turn(executor, tool_call("cached", key="a"))
        (message,) = await run_turn(executor, tool_call("cached", key="a"), client=client)
        assert message.content == '"A"'
        assert len(client.batches) == 1
        assert client.kinds("1") == ["Started", "Finished"]
        assert runs == ["a"]

    @jumping
    async def test_results_expire_by_the_wall_clock(self) -> None:
        now = 1000.0
        executor = ToolExecutor(TOOLS, wall_clock=lambda: now)
        await run_turn(executor, tool_call("cached", key="a"))
        now += 61
        await run_turn(executor, tool_call("cached", key="a"))
        assert runs == ["a", "a"]

    @jumping
    async def test_the_key_is_the_validated_arguments_and_not_their_spelling(self) -> None:
        executor = ToolExecutor(TOOLS)
        await run_turn(executor, tool_call("cached", key="a", seconds=1))
        await run_turn(executor, tool_call("cached", seconds=1.0, key="a"))
        await run_turn(executor, tool_call("cached", key="a"))
        await run_turn(executor, tool_call("cached", key="b"))
        assert runs == ["a", "b"]

    @jumping
    async def test_failures_are_not_cached(self) -> None:
        executor = ToolExecutor(TOOLS)
        for _ in range(2):
            await run_turn(executor, tool_call("cached", key="a", fails=True))
        assert runs == ["a", "a"]

    @jumping
    async def test_results_are_separate_for_each_caller_if_the_tool_says_so(self) -> None:
        executor = ToolExecutor(TOOLS)
        for caller in ("me", "you", "me"):
            async with executor.turn(RecordingClient(), caller_id=caller) as turn:
                turn.start(tool_call("private", key="a"))
                await turn.results()
        assert runs == ["a", "a"]

    @jumping
    async def test_a_caller_never_gets_the_result_of_another_caller(self) -> None:
        executor = ToolExecutor([berths])
        results: dict[str, list[str]] = {"nora": [], "omar": []}

        async def ask(caller: str) -> None:
            async with executor.turn(RecordingClient(), caller_id=caller) as turn:
                turn.start(tool_call("berths", port="Whitby"))
                results[caller] += [message.content for message in await turn.results()]

        await asyncio.gather(ask("nora"), ask("omar"))  # runs in flight are not shared
        await asyncio.gather(ask("nora"), ask("omar"))  # nor are cached results
        assert results == {"nora": ['"nora in Whitby"'] * 2, "omar": ['"omar in Whitby"'] * 2}
        assert runs == ["nora", "omar"]

    @jumping
    async def test_a_tool_whose_results_all_callers_share_cannot_read_the_caller(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        executor = ToolExecutor([careless])
        async with executor.turn(RecordingClient(), caller_id="nora") as turn:
            turn.start(tool_call("careless"))
            (message,) = await turn.results()
        assert message.content == "careless failed because of an internal error."
        assert "must not read its caller" in caplog.text

    @jumping
    async def test_a_hit_says_that_it_is_one(self) -> None:
        executor = ToolExecutor(TOOLS)
        said = []
        for _ in range(2):
            client = RecordingClient()
            async with executor.turn(client, caller_id="nora") as turn:
                turn.start(tool_call("cached", key="a"))
                await turn.results()
            said += [event.cached for event in client.events if isinstance(event, ToolFinished)]
        assert said == [UNSET, True]

    @jumping
    async def test_a_hit_is_counted_in_a_metric(self) -> None:
        executor = ToolExecutor(TOOLS)
        with recorded_metrics() as values:
            for _ in range(3):
                await run_turn(executor, tool_call("cached", key="a"))
        assert [tool for name, _, tool in values if name == "CacheHits"] == ["cached", "cached"]

    @jumping
    async def test_tools_without_a_ttl_run_every_time(self) -> None:
        await run_turn(ToolExecutor(TOOLS), *(tool_call("plain", str(number), key="a") for number in range(3)))
        assert runs == ["a", "a", "a"]

    @jumping
    async def test_a_secret_registered_after_the_run_is_redacted_in_the_cached_result(self) -> None:
        executor = ToolExecutor(TOOLS)
        await run_turn(executor, tool_call("cached", key="sk-harbour"))
        redaction.register("SK-HARBOUR")
        (message,) = await run_turn(executor, tool_call("cached", key="sk-harbour"))
        assert message.content == '"[redacted]"'


class TestSharedRuns:
    @jumping
    async def test_identical_calls_in_flight_share_one_run_and_its_result(self) -> None:
        client = RecordingClient()
        executor = ToolExecutor(TOOLS)
        both = await asyncio.gather(
            run_turn(executor, tool_call("cached", "1", key="a"), tool_call("cached", "2", key="a"), client=client),
            run_turn(executor, tool_call("cached", "3", key="a"), client=client),
        )
        assert [message.content for messages in both for message in messages] == ['"A"'] * 3
        assert runs == ["a"]
        assert all(client.kinds(number) == ["Started", "Finished"] for number in "123")

    @jumping
    async def test_progress_reaches_every_subscriber(self) -> None:
        client = RecordingClient()
        await run_turn(
            ToolExecutor(TOOLS), tool_call("shared", "1", to=2), tool_call("shared", "2", to=2), client=client
        )
        assert client.progress("1") == client.progress("2") == [0, 1]

    @jumping
    async def test_a_subscriber_that_leaves_does_not_cancel_the_run_for_the_others(self) -> None:
        executor = ToolExecutor(TOOLS)

        async def leave_early() -> None:
            async with executor.turn(RecordingClient()) as turn:
                turn.start(tool_call("cached", key="a", seconds=5))
                await asyncio.sleep(1)

        left, (message,) = await asyncio.gather(
            leave_early(), run_turn(executor, tool_call("cached", key="a", seconds=5))
        )
        assert (left, message.content) == (None, '"A"')
        assert runs == ["a"]

    @jumping
    async def test_the_last_subscriber_to_leave_cancels_the_run_and_a_later_call_starts_a_new_one(self) -> None:
        executor = ToolExecutor(TOOLS)
        async with executor.turn(RecordingClient()) as turn:
            turn.start(tool_call("cached", key="a", seconds=5))
            await asyncio.sleep(1)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        (message,) = await run_turn(executor, tool_call("cached", key="a", seconds=5))
        assert message.content == '"A"'
        assert runs == ["a", "a"]

    @jumping
    async def test_a_disconnected_client_does_not_affect_the_other_subscribers(self) -> None:
        async def disconnected(_: object) -> None:
            raise ConnectionResetError

        executor = ToolExecutor(TOOLS)

        async def first() -> None:
            async with executor.turn(disconnected) as turn:
                turn.start(tool_call("shared", to=2))
                await turn.results()

        broken = asyncio.create_task(first())
        (message,) = await run_turn(executor, tool_call("shared", to=2))
        assert message.content == "2"
        with pytest.raises(ConnectionResetError):
            await broken
        assert runs == [2]

    @jumping
    async def test_a_call_that_waited_for_a_permit_joins_a_run_started_meanwhile(self) -> None:
        executor = ToolExecutor(TOOLS, ToolSettings(tool_concurrency=1))
        calls = [
            tool_call("plain", "1", key="x"),
            *(tool_call("cached", number, key="a") for number in "23"),
            tool_call("plain", "4", key="y"),  # gets the permit that the third did not need
        ]
        messages = await run_turn(executor, *calls)
        assert runs == ["x", "a", "y"]
        assert not any(message.is_error for message in messages)

    @jumping
    async def test_a_run_that_everybody_has_just_left_is_not_joined(self) -> None:
        executor = ToolExecutor(TOOLS)
        async with executor.turn(RecordingClient()) as turn:
            turn.start(tool_call("cached", "1", key="a"))
            await asyncio.sleep(0.5)
            next(iter(turn._tasks.values())).cancel()
            turn.start(tool_call("cached", "2", key="a"))
            await asyncio.wait(turn._tasks.values())
        assert [message.content for message in await turn.results()][1] == '"A"'
        assert runs == ["a", "a"]

    @jumping
    async def test_progress_is_not_sent_to_a_call_that_has_left_while_another_one_stalls(self) -> None:
        executor, client = ToolExecutor(TOOLS), RecordingClient()

        async def stall(batch: EventBatch) -> None:
            if any(isinstance(event, ToolProgressed) for event in batch):
                await asyncio.sleep(5)

        async with executor.turn(stall) as stalled, executor.turn(client) as turn:
            stalled.start(tool_call("shared", to=2))
            await asyncio.sleep(0.1)
            turn.start(tool_call("shared", to=2))
            await asyncio.sleep(2)
            next(iter(turn._tasks.values())).cancel()
            await asyncio.sleep(10)
        assert client.kinds("1") == ["Started", "Finished"]
