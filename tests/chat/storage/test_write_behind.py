"""Write-behind queue: putting items never waits, and closing waits for the last write, up to a timeout."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Self

import pytest

from tests.clock import jumping
from winterbourne.chat.errors import StorageUnavailable
from winterbourne.chat.storage import write_behind
from winterbourne.chat.storage.base import Item, Store
from winterbourne.chat.storage.memory import MemoryBackend
from winterbourne.chat.storage.write_behind import DRAFT_INTERVAL_S, WriteBehindQueue
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
async def writing(*arguments: Any, **options: Any) -> AsyncIterator[WriteBehindQueue]:
    queue = WriteBehindQueue(*arguments, **options)
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
            await asyncio.sleep(DRAFT_INTERVAL_S / 2)
            queue.put([item("b")])
        assert store.writes == [["a", "b"]]

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


class TestDrafts:
    @jumping
    async def test_are_written_once_a_second_as_far_as_they_changed(self) -> None:
        store, said = SlowStore(delay_s=0), [item("a", b"one"), item("b", b"same")]
        async with writing(store, fail_to_renew, 60, lambda: said):
            await asyncio.sleep(DRAFT_INTERVAL_S * 2.5)
            assert store.writes == [["a", "b"]]
            said[0] = item("a", b"one two")
            await asyncio.sleep(DRAFT_INTERVAL_S)
            assert store.writes == [["a", "b"], ["a"]]

    @jumping
    async def test_what_is_finished_replaces_them_and_is_not_written_twice(self) -> None:
        store, said = SlowStore(delay_s=0), [item("a", b"half"), item("b", b"whole")]
        async with writing(store, fail_to_renew, 60, lambda: said) as queue:
            await asyncio.sleep(DRAFT_INTERVAL_S * 1.5)
            said.clear()
            queue.put([item("a", b"whole"), item("b", b"whole")])
        assert store.writes == [["a", "b"], ["a"]]

    @jumping
    async def test_one_that_waits_is_replaced_by_the_next(self) -> None:
        store, said = SlowStore(delay_s=DRAFT_INTERVAL_S * 3.5), [item("a", b"1")]
        async with writing(store, fail_to_renew, 60, lambda: said) as queue:
            await asyncio.sleep(DRAFT_INTERVAL_S * 1.5)
            queue.put([item("b"), item("b", b"again")])
            said[0] = item("a", b"2")
            await asyncio.sleep(DRAFT_INTERVAL_S * 20)
        assert store.writes == [["a"], ["b"], ["a"]]

    @jumping
    async def test_a_store_that_fails_is_not_asked_every_second(self) -> None:
        store, asked = SlowStore(delay_s=0), list[float]()
        store.failures = 1000

        def draft() -> list[Item]:
            asked.append(asyncio.get_running_loop().time())
            return [item("a", str(len(asked)).encode())]

        async with Renewals() as renewals, writing(store, renewals, 10, draft):
            await asyncio.sleep(35)
        assert len(asked) <= 5
