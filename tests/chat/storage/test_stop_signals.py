"""Stop signals: delivered at once within an environment, and by polling the store in another one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tests.chat.stores import Clock, open_store
from tests.clock import jumping
from winterbourne.chat.errors import StorageUnavailable
from winterbourne.chat.storage.base import Item, Store
from winterbourne.chat.storage.memory import MemoryBackend
from winterbourne.chat.storage.stop_signals import MAX_BACKOFF_S, StopSignals
from winterbourne.override import override

ALICE, BOB = "key:alice", "key:bob"

POLL_INTERVAL_S = 0.5


class UnavailableBackend(MemoryBackend):
    """Fails every read while `is_unavailable` is set; records the times of the reads."""

    is_unavailable = True

    def __init__(self) -> None:
        super().__init__()
        self.polled_at: list[float] = []

    @override
    def get(self, pk: str, sk: str) -> Item | None:
        self.polled_at.append(asyncio.get_running_loop().time())
        if self.is_unavailable:
            raise TimeoutError
        return super().get(pk, sk)


def shared_store(make_backend: Callable[[], MemoryBackend] = MemoryBackend) -> Store:
    """A store that other environments would share; without threads, so that the clock may jump."""
    return Store(make_backend, threads=0, is_shared=True, now=Clock())


def local_store() -> Store:
    return Store(MemoryBackend, threads=0, is_shared=False, now=Clock())


async def start_waiting(
    stop_signals: StopSignals, caller_id: str = ALICE, conversation: str = "c"
) -> asyncio.Task[None]:
    """A conversation that waits for a stop signal and has not polled yet."""
    task = asyncio.create_task(stop_signals.wait(caller_id, conversation))
    await asyncio.sleep(0)
    return task


class TestInTheSameEnvironment:
    @jumping
    async def test_a_stop_is_delivered_at_once(self) -> None:
        for store in (local_store(), shared_store()):
            stop_signals = StopSignals(store, POLL_INTERVAL_S)
            task = await start_waiting(stop_signals)
            before = asyncio.get_running_loop().time()
            await stop_signals.send(ALICE, "c")
            await task
            assert asyncio.get_running_loop().time() - before < POLL_INTERVAL_S / 2

    @jumping
    async def test_two_requests_in_one_conversation_both_receive_it(self) -> None:
        stop_signals = StopSignals(local_store(), POLL_INTERVAL_S)
        tasks = [await start_waiting(stop_signals), await start_waiting(stop_signals)]
        await stop_signals.send(ALICE, "c")
        await asyncio.gather(*tasks)

    @jumping
    async def test_other_callers_and_other_conversations_do_not_stop_it(self) -> None:
        stop_signals = StopSignals(local_store(), POLL_INTERVAL_S)
        task = await start_waiting(stop_signals)
        await stop_signals.send(BOB, "c")
        await stop_signals.send(ALICE, "d")
        await asyncio.sleep(3600)
        assert not task.done()
        task.cancel()

    @jumping
    async def test_a_cancelled_wait_removes_its_listener(self) -> None:
        stop_signals = StopSignals(local_store(), POLL_INTERVAL_S)
        task = await start_waiting(stop_signals)
        task.cancel()
        await asyncio.wait([task])
        assert not stop_signals._listeners


class TestInAnotherEnvironment:
    @jumping
    async def test_a_stop_is_seen_at_the_next_poll(self) -> None:
        store = shared_store()
        here, there = StopSignals(store, POLL_INTERVAL_S), StopSignals(store, POLL_INTERVAL_S)
        task = await start_waiting(here)
        await there.send(ALICE, "c")
        before = asyncio.get_running_loop().time()
        await task
        assert asyncio.get_running_loop().time() - before <= POLL_INTERVAL_S + 0.1

    @jumping
    async def test_other_callers_do_not_stop_it(self) -> None:
        store = shared_store()
        here, there = StopSignals(store, POLL_INTERVAL_S), StopSignals(store, POLL_INTERVAL_S)
        task = await start_waiting(here)
        await there.send(BOB, "c")
        await asyncio.sleep(60)
        assert not task.done()
        task.cancel()

    @jumping
    async def test_a_poll_reads_one_item(self) -> None:
        reads = 0

        class CountingBackend(MemoryBackend):
            @override
            def get(self, pk: str, sk: str) -> Item | None:
                nonlocal reads
                reads += 1
                return super().get(pk, sk)

        task = await start_waiting(StopSignals(shared_store(CountingBackend), POLL_INTERVAL_S))
        await asyncio.sleep(10 * POLL_INTERVAL_S + 0.1)
        assert reads == 10
        task.cancel()

    @jumping
    async def test_an_answer_shorter_than_the_interval_costs_no_read(self) -> None:
        backend = UnavailableBackend()
        task = await start_waiting(StopSignals(shared_store(lambda: backend), POLL_INTERVAL_S))
        await asyncio.sleep(POLL_INTERVAL_S * 0.9)
        task.cancel()
        assert backend.polled_at == []

    @jumping
    async def test_polling_continues_after_an_outage(self) -> None:
        backend = UnavailableBackend()
        store = shared_store(lambda: backend)
        task = await start_waiting(StopSignals(store, POLL_INTERVAL_S))
        await StopSignals(store, POLL_INTERVAL_S).send(ALICE, "c")
        await asyncio.sleep(10)
        backend.is_unavailable = False
        await task

    @jumping
    async def test_polling_backs_off_during_an_outage(self) -> None:
        """Each failed poll logs a line."""
        backend = UnavailableBackend()
        task = await start_waiting(StopSignals(shared_store(lambda: backend), POLL_INTERVAL_S))
        await asyncio.sleep(100)
        assert [round(later - sooner) for sooner, later in pairwise(backend.polled_at)][:6] == [1, 2, 4, 8, 10, 10]
        task.cancel()

    @jumping
    async def test_polling_returns_to_its_interval_after_an_outage(self) -> None:
        backend = UnavailableBackend()
        task = await start_waiting(StopSignals(shared_store(lambda: backend), POLL_INTERVAL_S))
        await asyncio.sleep(60)
        backend.is_unavailable = False
        await asyncio.sleep(MAX_BACKOFF_S)
        backend.polled_at.clear()
        await asyncio.sleep(10)
        assert len(backend.polled_at) == pytest.approx(10 / POLL_INTERVAL_S, abs=1)
        task.cancel()

    @jumping
    async def test_a_signal_that_cannot_be_stored_raises_and_is_still_delivered_locally(self) -> None:
        class ReadOnlyBackend(MemoryBackend):
            @override
            def put(self, items: object) -> None:
                raise TimeoutError

        stop_signals = StopSignals(shared_store(ReadOnlyBackend), POLL_INTERVAL_S)
        task = await start_waiting(stop_signals)
        with pytest.raises(StorageUnavailable):
            await stop_signals.send(ALICE, "c")
        await task


class TestRequestStart:
    @jumping
    async def test_a_stop_sent_during_the_cold_start_of_a_request_is_received(self) -> None:
        stop_signals = StopSignals(local_store(), POLL_INTERVAL_S)
        await stop_signals.send(ALICE, "c", at_ms=5_001)
        await stop_signals.wait(ALICE, "c", since_ms=5_000)

    @jumping
    async def test_a_store_that_no_one_shares_is_read_once(self) -> None:
        backend = UnavailableBackend()
        store = Store(lambda: backend, threads=0, is_shared=False, now=Clock())
        task = await start_waiting(StopSignals(store, POLL_INTERVAL_S))
        await asyncio.sleep(3600)
        assert len(backend.polled_at) == 1
        task.cancel()

    @jumping
    async def test_a_stop_for_an_earlier_request_is_ignored(self) -> None:
        stop_signals = StopSignals(local_store(), POLL_INTERVAL_S)
        await stop_signals.send(ALICE, "c", at_ms=4_999)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stop_signals.wait(ALICE, "c", since_ms=5_000), 3600)


class TestPersistentStores:
    @pytest.fixture(params=["file", "dynamodb"])
    async def store(self, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
        async with open_store(request.param, tmp_path, Clock()) as store:
            yield store

    async def test_a_stop_reaches_the_other_environment(self, store: Store) -> None:
        here, there = StopSignals(store, 0.01), StopSignals(store, 0.01)
        task = await start_waiting(here)
        await there.send(ALICE, "c")
        await asyncio.wait_for(task, 30)
