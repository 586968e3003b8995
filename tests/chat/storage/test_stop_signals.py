"""Stop requests are heard by the conversation they mean, at once here, and soon in another environment."""

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tests.chat.stores import Clock, open_store
from tests.clock import jumping
from winterbourne.chat.auth.base import Caller
from winterbourne.chat.errors import StorageUnavailable
from winterbourne.chat.storage.base import Item, Store
from winterbourne.chat.storage.memory import MemoryBackend
from winterbourne.chat.storage.stop_signals import MAX_BACKOFF_S, StopSignals

ALICE, BOB = Caller("key:alice", "alice"), Caller("key:bob", "bob")

A_LOOK_S = 0.5


class Flaky(MemoryBackend):
    """One that is away until it is told to be back."""

    away = True

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[float] = []

    def get(self, pk: str, sk: str) -> Item | None:
        self.looks.append(asyncio.get_running_loop().time())
        if self.away:
            raise TimeoutError
        return super().get(pk, sk)


def shared(make: Callable[[], MemoryBackend] = MemoryBackend) -> Store:
    """A store that other environments would share, without threads: its clock may jump."""
    return Store(make, threads=0, is_shared=True, now=Clock())


def alone() -> Store:
    return Store(MemoryBackend, threads=0, is_shared=False, now=Clock())


async def waiting(stops: StopSignals, caller: Caller = ALICE, conversation: str = "c") -> asyncio.Task[None]:
    """A conversation that waits for its stop and has had its first look."""
    task = asyncio.create_task(stops.wait(caller, conversation))
    await asyncio.sleep(0)
    return task


class TestInTheSameEnvironment:
    @jumping
    async def test_it_is_heard_at_once(self) -> None:
        for store in (alone(), shared()):
            stops = StopSignals(store, A_LOOK_S)
            task = await waiting(stops)
            before = asyncio.get_running_loop().time()
            await stops.send(ALICE, "c")
            await task
            assert asyncio.get_running_loop().time() - before < A_LOOK_S / 2

    @jumping
    async def test_two_requests_on_one_conversation_both_hear_it(self) -> None:
        stops = StopSignals(alone(), A_LOOK_S)
        tasks = [await waiting(stops), await waiting(stops)]
        await stops.send(ALICE, "c")
        await asyncio.gather(*tasks)

    @jumping
    async def test_nobody_else_can_stop_it(self) -> None:
        stops = StopSignals(alone(), A_LOOK_S)
        task = await waiting(stops)
        await stops.send(BOB, "c")
        await stops.send(ALICE, "d")
        await asyncio.sleep(3600)
        assert not task.done()
        task.cancel()

    @jumping
    async def test_who_has_stopped_waiting_leaves_nothing_behind(self) -> None:
        stops = StopSignals(alone(), A_LOOK_S)
        task = await waiting(stops)
        task.cancel()
        await asyncio.wait([task])
        assert not stops._listeners


class TestInAnotherEnvironment:
    @jumping
    async def test_it_is_seen_at_the_next_look(self) -> None:
        store = shared()
        here, there = StopSignals(store, A_LOOK_S), StopSignals(store, A_LOOK_S)
        task = await waiting(here)
        await there.send(ALICE, "c")
        before = asyncio.get_running_loop().time()
        await task
        assert asyncio.get_running_loop().time() - before <= A_LOOK_S + 0.1

    @jumping
    async def test_nobody_else_can_stop_it(self) -> None:
        store = shared()
        here, there = StopSignals(store, A_LOOK_S), StopSignals(store, A_LOOK_S)
        task = await waiting(here)
        await there.send(BOB, "c")
        await asyncio.sleep(60)
        assert not task.done()
        task.cancel()

    @jumping
    async def test_a_look_reads_one_item(self) -> None:
        reads = 0

        class Counting(MemoryBackend):
            def get(self, pk: str, sk: str) -> Item | None:
                nonlocal reads
                reads += 1
                return super().get(pk, sk)

        task = await waiting(StopSignals(shared(Counting), A_LOOK_S))
        await asyncio.sleep(10 * A_LOOK_S + 0.1)
        assert reads == 11
        task.cancel()

    @jumping
    async def test_a_store_that_is_away_for_a_while_is_looked_at_again(self) -> None:
        backend = Flaky()
        store = shared(lambda: backend)
        task = await waiting(StopSignals(store, A_LOOK_S))
        await StopSignals(store, A_LOOK_S).send(ALICE, "c")
        await asyncio.sleep(10)
        backend.away = False
        await task

    @jumping
    async def test_a_store_that_stays_away_is_looked_at_more_and_more_rarely(self) -> None:
        """Each look that fails is a line in the log."""
        backend = Flaky()
        task = await waiting(StopSignals(shared(lambda: backend), A_LOOK_S))
        await asyncio.sleep(100)
        assert [round(later - sooner) for sooner, later in pairwise(backend.looks)][:6] == [1, 2, 4, 8, 10, 10]
        task.cancel()

    @jumping
    async def test_a_store_that_is_back_is_looked_at_as_often_as_ever(self) -> None:
        backend = Flaky()
        task = await waiting(StopSignals(shared(lambda: backend), A_LOOK_S))
        await asyncio.sleep(60)
        backend.away = False
        await asyncio.sleep(MAX_BACKOFF_S)
        backend.looks.clear()
        await asyncio.sleep(10)
        assert len(backend.looks) == pytest.approx(10 / A_LOOK_S, abs=1)
        task.cancel()

    @jumping
    async def test_a_request_that_cannot_be_kept_says_so_and_is_heard_here(self) -> None:
        class ReadOnly(MemoryBackend):
            def put(self, items: object) -> None:
                raise TimeoutError

        stops = StopSignals(shared(ReadOnly), A_LOOK_S)
        task = await waiting(stops)
        with pytest.raises(StorageUnavailable):
            await stops.send(ALICE, "c")
        await task


class TestWhichOneIsMeant:
    @jumping
    async def test_a_stop_that_came_during_a_cold_start_is_heard(self) -> None:
        stops = StopSignals(alone(), A_LOOK_S)
        await stops.send(ALICE, "c", at_ms=5_001)
        await stops.wait(ALICE, "c", since_ms=5_000)

    @jumping
    async def test_a_stop_of_an_earlier_request_is_not(self) -> None:
        stops = StopSignals(alone(), A_LOOK_S)
        await stops.send(ALICE, "c", at_ms=4_999)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stops.wait(ALICE, "c", since_ms=5_000), 3600)


class TestBetweenRealStores:
    @pytest.fixture(params=["file", "dynamodb"])
    async def store(self, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
        async with open_store(request.param, tmp_path, Clock()) as store:
            yield store

    async def test_a_stop_reaches_the_other_environment(self, store: Store) -> None:
        here, there = StopSignals(store, 0.01), StopSignals(store, 0.01)
        task = await waiting(here)
        await there.send(ALICE, "c")
        await asyncio.wait_for(task, 30)
