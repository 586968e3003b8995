"""Writing beside the stream: handing over never waits, and the end waits for the last write, but not for ever."""

import asyncio
from collections.abc import Sequence
from typing import Self

import pytest

from tests.clock import jumping
from winterbourne.chat.errors import StorageUnavailable
from winterbourne.chat.storage import write_behind as writer_module
from winterbourne.chat.storage.base import Item, Store
from winterbourne.chat.storage.memory import MemoryBackend
from winterbourne.chat.storage.write_behind import FLUSH_TIMEOUT_S, WriteBehindQueue


class Slow(Store):
    """Takes some time for each write, and is away for a while when told to."""

    def __init__(self, delay_s: float = 0.1) -> None:
        super().__init__(MemoryBackend, threads=0, is_shared=False)
        self.delay_s = delay_s
        self.failures = 0
        self.writes: list[list[str]] = []

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
        self.at_s.append(round(asyncio.get_running_loop().time() - self.began_s))

    async def __aenter__(self) -> Self:
        self.began_s = asyncio.get_running_loop().time()
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


async def never() -> None:
    raise AssertionError


def item(sk: str) -> Item:
    return Item(pk="p", sk=sk)


class TestWhileTheStreamRuns:
    @jumping
    async def test_handing_over_takes_no_time_and_the_writing_overlaps(self) -> None:
        store, loop = Slow(delay_s=1), asyncio.get_running_loop()
        async with WriteBehindQueue(store, never, 60) as writer:
            before = loop.time()
            writer.put([item("a")])
            assert loop.time() - before < 0.5
            await asyncio.sleep(1.5)
            assert store.writes == [["a"]]

    @jumping
    async def test_what_comes_during_a_write_goes_together_in_the_next(self) -> None:
        store = Slow(delay_s=1)
        async with WriteBehindQueue(store, never, 60) as writer:
            writer.put([item("a")])
            await asyncio.sleep(0.5)
            writer.put([item("b")])
            writer.put([item("c")])
        assert store.writes == [["a"], ["b", "c"]]

    @jumping
    async def test_it_renews_in_time_also_when_nothing_is_written(self) -> None:
        async with Renewals() as renewals, WriteBehindQueue(Slow(), renewals, 10):
            await asyncio.sleep(35)
        assert renewals.at_s == [10, 20, 30]


class TestAtTheEnd:
    @jumping
    async def test_the_last_write_is_waited_for(self) -> None:
        store = Slow(delay_s=1)
        async with WriteBehindQueue(store, never, 60) as writer:
            writer.put([item("a")])
        assert store.writes == [["a"]]
        assert writer.is_flushed

    @jumping
    async def test_also_when_the_stream_was_cancelled(self) -> None:
        store = Slow(delay_s=1)

        async def stream() -> None:
            async with WriteBehindQueue(store, never, 60) as writer:
                writer.put([item("a")])
                await asyncio.sleep(3600)

        task = asyncio.create_task(stream())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert store.writes == [["a"]]

    @jumping
    async def test_a_store_that_hangs_is_given_up(self) -> None:
        loop = asyncio.get_running_loop()
        before = loop.time()
        async with WriteBehindQueue(Slow(delay_s=3600), never, 7200) as writer:
            writer.put([item("a")])
        assert FLUSH_TIMEOUT_S <= loop.time() - before < FLUSH_TIMEOUT_S + 1
        assert not writer.is_flushed
        assert writer._task.done()

    @jumping
    async def test_nothing_to_write_writes_nothing(self) -> None:
        store = Slow()
        async with WriteBehindQueue(store, never, 60):
            pass
        assert store.writes == []


class TestAStoreThatIsAway:
    @jumping
    async def test_what_it_did_not_take_is_written_at_the_next_occasion_in_order(self) -> None:
        store = Slow()
        store.failures = 1
        async with WriteBehindQueue(store, never, 60) as writer:
            writer.put([item("a")])
            await asyncio.sleep(5)
            writer.put([item("b")])
        assert store.writes == [["a", "b"]]

    async def test_what_is_lost_is_logged_and_counted(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        measured: list[str] = []
        monkeypatch.setattr(writer_module, "measure", measured.append)
        store = Slow(delay_s=0)
        store.failures = 9
        async with WriteBehindQueue(store, never, 60) as writer:
            writer.put([item("a"), item("b")])
        assert "the last 2 items of a conversation could not be saved" in caplog.text
        assert measured == ["ConversationsCut"]
