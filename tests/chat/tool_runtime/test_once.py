"""Tools with `once`: a side effect does not happen twice, whatever is retried, asked again, resumed or killed."""

import asyncio
from typing import Any

import pytest

from tests.chat.stores import Clock
from tests.chat.tool_runtime.approving import Process, Till, approve, memory_store
from tests.chat.tool_runtime.recording_clients import tool_call
from tests.clock import jumping
from winterbourne.chat.errors import InvalidToolDeclaration, StorageUnavailable, ToolError, ToolUnavailable
from winterbourne.chat.storage.base import Store
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool, tool
from winterbourne.override import override

UNKNOWN = "It is not known whether this call of book took effect"


class LoopClock(Clock):
    """A wall clock that goes with the loop's."""

    @override
    def __call__(self) -> float:
        return self.time_s + asyncio.get_running_loop().time()


class Bookings:
    """A tool that books once, its keys, and the processes that offer it over one store."""

    def __init__(self, *outcomes: BaseException | str, seconds: float = 1, **options: Any) -> None:
        self.clock = LoopClock()
        self.store: Store = memory_store(self.clock)
        self.keys: list[str] = []
        script = list(outcomes)

        @tool(**{"once": True, "timeout_s": 10, **options})
        async def book(berth: int, context: ToolContext) -> str:
            """Book."""
            self.keys.append(context.idempotency_key)
            await asyncio.sleep(seconds)
            outcome = script.pop(0) if script else f"berth {berth}"
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        self.book: Tool = book

    def process(self) -> Process:
        return Process(self.book, store=self.store, clock=self.clock)

    async def call(self, berth: int = 1, call_id: str = "1", **turn: Any) -> str:
        _, (result,) = await self.process().ask(tool_call("book", call_id, berth=berth), **turn)
        return result.content


class TestTheSameCall:
    @jumping
    async def test_has_the_first_ones_result_in_another_process_too(self) -> None:
        bookings = Bookings()
        assert [await bookings.call(call_id=id_) for id_ in "ab"] == ['"berth 1"', '"berth 1"']
        assert len(bookings.keys) == 1

    @jumping
    async def test_waits_for_the_first_one(self) -> None:
        bookings = Bookings(seconds=5)
        assert [*await asyncio.gather(bookings.call(), bookings.call())] == ['"berth 1"', '"berth 1"']
        assert len(bookings.keys) == 1

    @jumping
    async def test_twice_in_a_turn_is_one(self) -> None:
        bookings = Bookings()
        _, results = await bookings.process().ask(*(tool_call("book", id_, berth=1) for id_ in "ab"))
        assert ([one.content for one in results], len(bookings.keys)) == (['"berth 1"', '"berth 1"'], 1)

    @pytest.mark.parametrize(
        "other",
        [{"berth": 2}, {"caller_id": "berta"}, {"conversation_id": "c2"}, {"question": "2 pay"}],
    )
    async def test_is_another_one_with_other(self, other: dict[str, Any]) -> None:
        bookings = Bookings(seconds=0)
        await bookings.call()
        await bookings.call(**other)
        assert len(set(bookings.keys)) == 2

    @jumping
    async def test_runs_if_the_first_one_failed_on_purpose(self) -> None:
        bookings = Bookings(ToolError("the berth is taken"))
        assert [await bookings.call(), await bookings.call()] == ["the berth is taken", '"berth 1"']

    @pytest.mark.parametrize("error", [RuntimeError("boom"), ToolUnavailable("no answer"), SystemExit()])
    async def test_does_not_run_if_nobody_knows_what_the_first_one_did(self, error: BaseException) -> None:
        bookings = Bookings(error, seconds=0)
        await bookings.call()
        assert (await bookings.call()).startswith(UNKNOWN)
        assert len(bookings.keys) == 1

    @jumping
    async def test_nor_if_that_was_an_attempt_before_the_last(self) -> None:
        """That the berth is taken may be the first attempt's work."""
        bookings = Bookings(RuntimeError("boom"), ToolError("the berth is taken"), retries=1)
        assert await bookings.call() == "the berth is taken"
        assert (await bookings.call()).startswith(UNKNOWN)
        assert len(bookings.keys) == 2

    @jumping
    async def test_nor_if_its_result_cannot_be_written(self) -> None:
        bookings = Bookings()
        result = object()

        @tool(name="book", once=True)
        async def book(berth: int) -> object:
            """Book."""
            bookings.keys.append(str(berth))
            return result

        bookings.book = book
        await bookings.call()
        assert (await bookings.call()).startswith(UNKNOWN)
        assert len(bookings.keys) == 1

    @jumping
    async def test_does_not_run_after_its_process_was_killed_but_waits_until_it_must_have_ended(self) -> None:
        bookings = Bookings(seconds=5)
        killed = asyncio.create_task(bookings.call())
        await asyncio.sleep(2)
        killed.cancel()
        began = asyncio.get_running_loop().time()
        assert (await bookings.call()).startswith(UNKNOWN)
        assert len(bookings.keys) == 1
        assert asyncio.get_running_loop().time() - began == pytest.approx(8, abs=0.5)

    @jumping
    async def test_does_not_run_after_a_timeout(self) -> None:
        bookings = Bookings(seconds=60)
        assert "did not finish" in await bookings.call()
        assert (await bookings.call()).startswith(UNKNOWN)
        assert len(bookings.keys) == 1

    @jumping
    async def test_is_not_run_again_after_a_person_has_agreed_to_it_twice(self) -> None:
        till = Till(once=True)
        clock = Clock()
        store = memory_store(clock)
        for id_ in "ab":
            (call,), _ = await Process(till.pay, store=store, clock=clock).ask(tool_call("pay", id_, euros=5))
            await Process(till.pay, store=store, clock=clock).decide(call, decisions=[approve(call)])
        assert till.paid == [5]


class TestKey:
    @jumping
    async def test_is_shared_by_the_retries_of_a_call(self) -> None:
        bookings = Bookings(RuntimeError("boom"), retries=1)
        assert await bookings.call() == '"berth 1"'
        assert len(bookings.keys) == 2
        assert len(set(bookings.keys)) == 1

    @jumping
    async def test_is_empty_for_other_tools(self) -> None:
        bookings = Bookings(once=False)
        await bookings.call()
        assert bookings.keys == [""]

    @jumping
    async def test_is_the_same_however_the_arguments_are_written(self) -> None:
        bookings = Bookings()
        first, second = tool_call("book", berth=1), tool_call("book", berth=1)
        second = type(second)("2", "book", ' { "berth" :1 }')
        await bookings.process().ask(first)
        await bookings.process().ask(second)
        assert len(bookings.keys) == 1


class TestStore:
    @jumping
    async def test_that_cannot_be_reached_runs_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def fail(_: object) -> bool:
            raise StorageUnavailable

        bookings = Bookings()
        monkeypatch.setattr(bookings.store, "compare_and_set", fail)
        assert "was not run" in await bookings.call()
        assert bookings.keys == []

    @jumping
    async def test_that_is_lost_during_the_run_leaves_the_result_to_its_caller(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fail(_: object) -> None:
            raise StorageUnavailable

        bookings = Bookings()
        monkeypatch.setattr(bookings.store, "put", fail)
        assert await bookings.call() == '"berth 1"'
        assert (await bookings.call()).startswith(UNKNOWN)
        assert len(bookings.keys) == 1


class TestEager:
    @pytest.mark.parametrize(
        ("options", "is_eager"),
        [({}, True), ({"eager": False}, False), ({"once": True}, False), ({"once": True, "eager": True}, True)],
    )
    @pytest.mark.parametrize("breaks", [False, True])
    async def test_tools_have_run_when_a_turn_breaks_off_and_others_have_not(
        self, *, options: dict[str, Any], is_eager: bool, breaks: bool
    ) -> None:
        till, clock = Till(approval=False, **options), Clock()
        process = Process(till.pay, store=memory_store(clock), clock=clock)
        async with process.executor.turn(process.client) as group:
            group.start(tool_call("pay", euros=5))
            await asyncio.sleep(0.05)
            if not breaks:
                await group.results()
        assert till.paid == ([5] if is_eager or not breaks else [])
        assert process.client.kinds("1") == ["Started", "Finished"]

    @jumping
    async def test_waiting_ends_with_the_time_of_the_turn(self) -> None:
        till, clock = Till(approval=False, eager=False), Clock()
        process = Process(till.pay, store=memory_store(clock), clock=clock)
        async with process.executor.turn(process.client, deadline=asyncio.get_running_loop().time() + 9) as group:
            group.start(tool_call("pay", euros=5))
            await asyncio.sleep(10)
            assert process.client.finished[0].status == "timed_out"
        assert till.paid == []


@pytest.mark.parametrize("options", [{"cache_ttl_s": 1}, {"batch": lambda calls: calls}])
def test_once_goes_with_no_results_that_calls_share(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidToolDeclaration, match="`once`"):
        Bookings(**options)
