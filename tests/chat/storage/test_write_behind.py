"""Write-behind queue: putting items never waits, and closing waits for the last write, up to a timeout."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Self

import pytest

from tests.clock import jumping
from winterbourne.chat.errors import StorageUnavailable
from winterbourne.chat.storage import write_behind
from winterbourne.chat.storage.base import Item, Store
from winterbourne.chat.storage.memory import MemoryBackend
from winterbourne.chat.storage.write_behind import WRITE_INTERVAL_S, WriteBehindQueue
from winterbourne.override import override


class SlowStore(Store):
    """A store that takes some time for each write, and fails the next `failures` writes."""

    def __init__(self, delay_s: float = 0.1) -> None:
        super().__init__(MemoryBackend, threads=0, is_shared=False)
        self.delay_s = delay_s
        self.failures = 0
        self.writes: list[list[str]] = []

    @override
    async def put(self, items: Sequence[Item]) -> None:
        await asyncio.sleep(self.delay_s)
        if self.failures:
            self.failures -= 1
            raise StorageUnavailable
        self.writes.append([item.sk for item in items])


class Renewals:
    def __init__(self) -> None:
        self.at_s: list[float] = []

    async def __call__(self) -> None:
        self.at_s.append(round(asyncio.get_running_loop().time() - self.started_at_s))

    async def __aenter__(self) -> Self:
        self.started_at_s = asyncio.get_running_loop().time()
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


async def fail_to_renew() -> None:
    raise AssertionError


FLUSH_TIMEOUT_S = 2.0


@contextlib.asynccontextmanager
async def writing(
    store: Store,
    renew_lease: Callable[[], Awaitable[None]] | None,
    renew_interval_s: float,
    collect: Callable[[], Sequence[Item]] = tuple,
) -> AsyncIterator[WriteBehindQueue]:
    queue = WriteBehindQueue(store, renew_interval_s, collect, renew_lease)
    queue.start()
    try:
        yield queue
    finally:
        await queue.close(asyncio.get_running_loop().time() + FLUSH_TIMEOUT_S)


def item(sk: str, body: bytes = b"") -> Item:
    return Item(pk="p", sk=sk, body=body)


class TestWhileOpen:
    @jumping
    async def test_putting_takes_no_time_and_writing_overlaps(self) -> None:
        store, loop = SlowStore(delay_s=1), asyncio.get_running_loop()
        async with writing(store, fail_to_renew, 60) as queue:
            before = loop.time()
            queue.put([item("a")])
            assert loop.time() - before < 0.5
            await asyncio.sleep(1.5)
            assert store.writes == [["a"]]

    @jumping
    async def test_items_put_during_a_write_go_together_in_the_next(self) -> None:
        store = SlowStore(delay_s=1)
        async with writing(store, fail_to_renew, 60) as queue:
            queue.put([item("a")])
            await asyncio.sleep(0.5)
            queue.put([item("b")])
            queue.put([item("c")])
        assert store.writes == [["a"], ["b", "c"]]

    @jumping
    async def test_an_item_that_is_replaced_while_it_is_written_is_written_again(self) -> None:
        store = SlowStore(delay_s=1)
        async with writing(store, fail_to_renew, 60) as queue:
            queue.put([item("a", b"1")])
            await asyncio.sleep(0.5)
            queue.put([item("a", b"2")])
        assert store.writes == [["a"], ["a"]]

    @jumping
    async def test_it_says_when_a_write_has_succeeded_and_not_when_one_has_failed(self) -> None:
        store, loop, written_at_s = SlowStore(delay_s=1), asyncio.get_running_loop(), list[int]()
        store.failures = 1
        async with writing(store, None, 60) as queue:
            began_s = loop.time()
            queue.written = lambda: written_at_s.append(round(loop.time() - began_s))
            queue.put([item("a")])
            await asyncio.sleep(2)
            assert written_at_s == []
            await asyncio.sleep(3)
        assert written_at_s == [4]  # two seconds after the first attempt, and a write takes one

    @jumping
    async def test_the_lease_is_renewed_in_time_even_if_nothing_is_written(self) -> None:
        async with Renewals() as renewals, writing(SlowStore(), renewals, 10):
            await asyncio.sleep(35)
        assert renewals.at_s == [10, 20, 30]


class TestClosing:
    @jumping
    async def test_waits_for_the_last_write(self) -> None:
        store = SlowStore(delay_s=1)
        async with writing(store, fail_to_renew, 60) as queue:
            queue.put([item("a")])
        assert store.writes == [["a"]]
        assert queue.is_flushed

    @jumping
    async def test_waits_for_the_last_write_after_a_cancellation_too(self) -> None:
        store = SlowStore(delay_s=1)

        async def stream() -> None:
            async with writing(store, fail_to_renew, 60) as queue:
                queue.put([item("a")])
                await asyncio.sleep(3600)

        task = asyncio.create_task(stream())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert store.writes == [["a"]]

    @jumping
    async def test_gives_up_on_a_hanging_store(self) -> None:
        loop = asyncio.get_running_loop()
        before = loop.time()
        async with writing(SlowStore(delay_s=3600), fail_to_renew, 7200) as queue:
            queue.put([item("a")])
        assert FLUSH_TIMEOUT_S <= loop.time() - before < FLUSH_TIMEOUT_S + 1
        assert not queue.is_flushed
        assert queue._task.done()

    @jumping
    async def test_writes_nothing_if_nothing_was_put(self) -> None:
        store = SlowStore()
        async with writing(store, fail_to_renew, 60):
            pass
        assert store.writes == []


class TestUnavailableStore:
    @jumping
    async def test_items_that_failed_are_written_with_the_next_ones_in_order(self) -> None:
        store = SlowStore()
        store.failures = 1
        async with writing(store, fail_to_renew, 60) as queue:
            queue.put([item("a")])
            await asyncio.sleep(WRITE_INTERVAL_S / 2)
            queue.put([item("b")])
        assert store.writes == [["a", "b"]]

    @jumping
    async def test_what_fails_at_the_end_is_tried_again_while_there_is_time(self) -> None:
        store = SlowStore()
        async with writing(store, fail_to_renew, 60) as queue:
            queue.put([item("a")])
            store.failures = 3
        assert store.writes == [["a"]]
        assert queue.is_flushed

    @jumping
    async def test_lost_items_are_logged_and_counted(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        counted: list[str] = []
        monkeypatch.setattr(write_behind, "measure", counted.append)
        store = SlowStore(delay_s=0)
        store.failures = 9
        async with writing(store, fail_to_renew, 60) as queue:
            queue.put([item("a"), item("b")])
        assert "the last 2 items of a conversation could not be saved" in caplog.text
        assert counted == ["ConversationsCut"]

    @jumping
    async def test_items_of_a_lost_lease_are_dropped(self, caplog: pytest.LogCaptureFixture) -> None:
        async def lost() -> bool:
            return False

        store = SlowStore()
        async with writing(store, fail_to_renew, 60) as queue:
            queue.check_lease = lost
            queue.put([item("a")])
        assert queue.is_flushed
        assert (store.writes, caplog.records) == ([], [])


class Growing:
    """What is collected: the open item, as far as it has grown."""

    def __init__(self) -> None:
        self.new: list[Item] = []
        self.asked_at_s: list[float] = []

    def __call__(self) -> list[Item]:
        self.asked_at_s.append(asyncio.get_running_loop().time())
        new, self.new = self.new, []
        return new


class TestCollecting:
    @jumping
    async def test_what_there_is_is_written_once_a_second(self) -> None:
        store, growing = SlowStore(delay_s=0), Growing()
        async with writing(store, None, 10, growing):
            for n in range(20):
                growing.new = [item("a", bytes(n))]
                await asyncio.sleep(WRITE_INTERVAL_S / 5)
        assert store.writes == [["a"]] * 4

    @jumping
    async def test_nothing_is_written_if_there_is_nothing(self) -> None:
        store = SlowStore(delay_s=0)
        async with writing(store, None, 10, Growing()):
            await asyncio.sleep(WRITE_INTERVAL_S * 20)
        assert store.writes == []

    @jumping
    async def test_is_done_at_once_on_request_and_a_second_after_that(self) -> None:
        store, growing, loop = SlowStore(delay_s=0), Growing(), asyncio.get_running_loop()
        before = loop.time()
        async with writing(store, None, 10, growing) as queue:
            await asyncio.sleep(0.7)
            queue.write_soon()
            await asyncio.sleep(WRITE_INTERVAL_S * 1.1)
        assert [round(at - before, 1) for at in growing.asked_at_s] == [0.7, 1.7, 1.8, 1.8]

    @jumping
    async def test_goes_with_what_was_put_in_one_write(self) -> None:
        store, growing = SlowStore(delay_s=0), Growing()
        async with writing(store, None, 10, growing) as queue:
            queue.put([item("a")])
            growing.new = [item("b")]
            queue.write_soon()
        assert store.writes == [["a", "b"]]

    @jumping
    async def test_is_done_once_more_at_the_end(self) -> None:
        store, growing = SlowStore(delay_s=0), Growing()
        async with writing(store, None, 10, growing):
            await asyncio.sleep(0.1)
            growing.new = [item("a")]
        assert store.writes == [["a"]]

    @jumping
    async def test_a_store_that_fails_is_not_asked_every_second(self) -> None:
        store, growing = SlowStore(delay_s=0), Growing()
        store.failures = 1000
        growing.new = [item("a")]
        async with Renewals() as renewals, writing(store, renewals, 10, growing):
            await asyncio.sleep(36)
            pauses = [later - earlier for earlier, later in itertools.pairwise(growing.asked_at_s)]
            assert max(pauses) == 10
            assert len(pauses) <= 6

    @jumping
    async def test_a_store_that_failed_for_a_moment_is_written_to_soon(self) -> None:
        store, growing = SlowStore(delay_s=0), Growing()
        store.failures = 2
        growing.new = [item("a")]
        async with Renewals() as renewals, writing(store, renewals, 10, growing):
            await asyncio.sleep(8)
            assert store.writes == [["a"]]

    @jumping
    async def test_what_is_lost_without_a_lease_is_no_conversation(self, monkeypatch: pytest.MonkeyPatch) -> None:
        counted: list[str] = []
        monkeypatch.setattr(write_behind, "measure", counted.append)
        store, growing = SlowStore(delay_s=0), Growing()
        store.failures = 1000
        growing.new = [item("a")]
        async with writing(store, None, 10, growing):
            pass
        assert counted == []
