"""Store: the same behaviour on the memory, SQLite and DynamoDB backends, in threads or async."""

import asyncio
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import winterbourne
from tests.chat.processes import run
from tests.chat.stores import KINDS, TABLE, TEST_ACCOUNT, Clock, open_store, template_table
from tests.doc_pages import load_block
from tests.upstream import saying, upstream
from winterbourne.chat.errors import SettingsError, StorageUnavailable
from winterbourne.chat.infra import aws_calls
from winterbourne.chat.storage import base as store_module
from winterbourne.chat.storage.base import Item, Store, encode_key
from winterbourne.chat.storage.dynamodb import MAX_BATCH_ATTEMPTS, MAX_CALLS, DynamoBackend
from winterbourne.chat.storage.factory import make_store
from winterbourne.chat.storage.memory import MemoryBackend
from winterbourne.chat.storage.sqlite import SqliteBackend
from winterbourne.override import override


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=(*KINDS, "of docs/how-to/extend.md"))
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    if request.param in KINDS:
        async with open_store(request.param, tmp_path, clock) as store:
            yield store
        return
    ledger = load_block("how-to/extend.md", "ledger.py", tmp_path)
    store = Store(lambda: ledger.LedgerBackend(f"{tmp_path}/ledger"), threads=1, is_shared=True, now=clock)
    yield store
    await store.close()


def item(sk: str, body: bytes = b"", **fields: int) -> Item:
    return Item(pk="p", sk=sk, body=body, **fields)


class TestReadingAndWriting:
    async def test_a_stored_item_is_read_back(self, store: Store) -> None:
        stored = item("a", bytes(range(256)), number=3, updated_ms=4, expires_at_s=2**40)
        await store.put([stored])
        assert await store.get("p", "a") == stored

    async def test_a_missing_item_is_none(self, store: Store) -> None:
        assert await store.get("p", "a") is None
        assert await store.query_partition("p") == []

    async def test_a_later_put_replaces_an_earlier_one(self, store: Store) -> None:
        await store.put([item("a", b"first", number=1)])
        await store.put([item("a", b"second")])
        assert await store.get("p", "a") == item("a", b"second")

    async def test_a_partition_is_ordered_by_sort_key(self, store: Store) -> None:
        await store.put([item(sk) for sk in ("b", "a#2", "a#10", "a", "É")])
        await store.put([Item(pk="other", sk="a")])
        assert [one.sk for one in await store.query_partition("p")] == ["a", "a#10", "a#2", "b", "É"]

    async def test_many_large_items_are_written_and_read(self, store: Store) -> None:
        items = [item(f"{number:02}", bytes([number]) * 350_000) for number in range(27)]
        await store.put(items)
        assert await store.query_partition("p") == items

    async def test_deleted_items_are_gone_and_the_rest_stays(self, store: Store) -> None:
        await store.put([item("a"), item("b"), item("c")])
        await store.delete([("p", "a"), ("p", "b"), ("p", "never"), ("nowhere", "a")])
        assert await store.query_partition("p") == [item("c")]

    async def test_putting_and_deleting_no_items_is_allowed(self, store: Store) -> None:
        await store.put([])
        await store.delete([])


class TestCompareAndSet:
    async def test_the_next_version_replaces_the_current_one(self, store: Store) -> None:
        assert await store.compare_and_set(item("a", b"1", number=1))
        assert await store.compare_and_set(item("a", b"2", number=2))
        assert await store.get("p", "a") == item("a", b"2", number=2)

    @pytest.mark.parametrize("number", [1, 2, 4])
    async def test_any_other_version_is_rejected(self, store: Store, number: int) -> None:
        await store.put([item("a", b"there", number=2)])
        assert not await store.compare_and_set(item("a", number=number))
        assert await store.get("p", "a") == item("a", b"there", number=2)

    async def test_only_the_first_version_creates_an_item(self, store: Store) -> None:
        assert not await store.compare_and_set(item("a", number=2))

    async def test_an_expired_item_counts_as_missing(self, store: Store, clock: Clock) -> None:
        await store.put([item("a", number=7, expires_at_s=int(clock.time_s) + 10)])
        clock.time_s += 10
        assert await store.compare_and_set(item("a", b"new", number=1))
        assert await store.get("p", "a") == item("a", b"new", number=1)

    async def test_exactly_one_of_many_concurrent_writes_succeeds(self, store: Store) -> None:
        successes = await asyncio.gather(*(store.compare_and_set(item("a", number=1)) for _ in range(8)))
        assert sum(successes) == 1


class TestIncrement:
    async def test_additions_are_summed(self, store: Store) -> None:
        assert [await store.increment("p", "n", amount, 0) for amount in (1, 41, -2)] == [1, 42, 40]

    async def test_no_concurrent_increment_is_lost(self, store: Store) -> None:
        sums = await asyncio.gather(*(store.increment("p", "n", 1, 0) for _ in range(20)))
        assert sorted(sums) == list(range(1, 21))

    async def test_the_count_is_the_items_number(self, store: Store, clock: Clock) -> None:
        await store.increment("p", "n", 5, int(clock.time_s) + 60)
        await store.increment("p", "n", 5, int(clock.time_s) + 90)
        assert await store.get("p", "n") == item("n", number=10, expires_at_s=int(clock.time_s) + 60)


class TestQueryNewest:
    async def test_the_latest_come_first_and_items_without_a_time_are_left_out(self, store: Store) -> None:
        await store.put([item("a", updated_ms=2), item("b", updated_ms=3), item("c"), item("d", updated_ms=1)])
        assert [one.sk for one in await store.query_newest("p", 10)] == ["b", "a", "d"]

    async def test_pagination_returns_each_item_once(self, store: Store) -> None:
        await store.put([item(f"{n}", updated_ms=1 + n // 2) for n in range(7)])
        seen: list[Item] = []
        while page := await store.query_newest("p", 3, seen[-1] if seen else None):
            seen += page
        assert len(seen) == 7
        assert [one.updated_ms for one in seen] == [4, 3, 3, 2, 2, 1, 1]
        assert len({one.sk for one in seen}) == 7

    async def test_a_page_is_filled_past_expired_items(self, store: Store, clock: Clock) -> None:
        await store.put([item(f"{n}", updated_ms=9 - n, expires_at_s=int(clock.time_s) * (n < 4)) for n in range(8)])
        assert [one.sk for one in await store.query_newest("p", 3)] == ["4", "5", "6"]


class TestExpiry:
    async def test_expired_items_are_not_returned(self, store: Store, clock: Clock) -> None:
        await store.put([item("a", expires_at_s=int(clock.time_s) + 5), item("b")])
        clock.time_s += 4.9
        assert len(await store.query_partition("p")) == 2
        clock.time_s += 0.1
        assert await store.query_partition("p") == [item("b")]
        assert await store.get("p", "a") is None

    @pytest.mark.parametrize("store", ["memory", "file"], indirect=True)
    @pytest.mark.parametrize("write", ["put", "add", "replace"])
    async def test_expired_items_are_deleted_by_any_later_write(self, store: Store, clock: Clock, write: str) -> None:
        await store.put([item("a", expires_at_s=int(clock.time_s) + 5)])
        clock.time_s += 60
        match write:
            case "put":
                await store.put([item("b")])
            case "add":
                await store.increment("p", "n", 1, 0)
            case _:
                await store.compare_and_set(item("b", number=1))
        assert await store._call_backend(lambda backend: backend.get("p", "a")) is None


class TestThreadPool:
    async def test_the_backend_is_created_and_called_in_its_threads(self) -> None:
        thread_names: list[str] = []

        class RecordingBackend(MemoryBackend):
            def __init__(self) -> None:
                super().__init__()
                thread_names.append(threading.current_thread().name)

            @override
            def get(self, pk: str, sk: str) -> Item | None:
                thread_names.append(threading.current_thread().name)
                return super().get(pk, sk)

        store = Store(RecordingBackend, threads=1, is_shared=False)
        await store.get("p", "a")
        await store.close()
        assert thread_names == ["store_0", "store_0"]

    async def test_a_slow_call_leaves_the_loop_free(self) -> None:
        released = threading.Event()

        class SlowBackend(MemoryBackend):
            @override
            def query_partition(self, pk: str) -> list[Item]:
                released.wait(10)
                return super().query_partition(pk)

        store = Store(SlowBackend, threads=1, is_shared=False)
        reading = asyncio.create_task(store.query_partition("p"))
        await asyncio.sleep(0)
        released.set()  # only a free loop gets here
        assert await reading == []
        await store.close()


class AsyncBackend(MemoryBackend):
    """A backend whose reads are async, and begin when they may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_read = asyncio.Event()
        self.reads = 0

    async def _read(self, pk: str, sk: str) -> Item | None:
        await self.may_read.wait()
        self.reads += 1
        return super().get(pk, sk)

    @override
    def get(self, pk: str, sk: str) -> Any:
        return self._read(pk, sk)


class TestAnAsyncBackend:
    @pytest.mark.parametrize("threads", [0, 1])
    async def test_is_awaited_on_the_loop(self, threads: int) -> None:
        backend = AsyncBackend()
        store = Store(lambda: backend, threads=threads, is_shared=False)
        await store.put([item("a")])
        reading = asyncio.gather(store.get("p", "a"), store.get("p", "b"))
        await asyncio.sleep(0)
        backend.may_read.set()
        assert list(await reading) == [item("a"), None]
        await store.close()

    async def test_goes_on_when_nobody_waits_and_closing_waits_for_it(self) -> None:
        backend = AsyncBackend()
        store = Store(lambda: backend, threads=0, is_shared=False)
        with pytest.raises(StorageUnavailable):
            async with store_module.time_limit(0.001):
                await store.get("p", "a")
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        assert not closing.done()
        backend.may_read.set()
        await closing
        assert backend.reads == 1

    async def test_that_hangs_does_not_keep_the_store_open(self, monkeypatch: pytest.MonkeyPatch) -> None:
        store = Store(AsyncBackend, threads=0, is_shared=False)
        reading = asyncio.create_task(store.get("p", "a"))
        await asyncio.sleep(0)
        limit = store_module.time_limit
        monkeypatch.setattr(store_module, "time_limit", lambda: limit(0.001))
        with pytest.raises(StorageUnavailable):
            await store.close()
        reading.cancel()
        for running in store._running:
            running.cancel()

    async def test_fails_as_any_other(self, caplog: pytest.LogCaptureFixture) -> None:
        class BrokenBackend(AsyncBackend):
            @override
            async def _read(self, pk: str, sk: str) -> Item | None:
                raise OSError("no route")

        with pytest.raises(StorageUnavailable):
            await Store(BrokenBackend, threads=0, is_shared=False).get("p", "a")
        assert "no route" in caplog.text


class TestThreads:
    async def test_a_write_goes_on_though_its_caller_is_cancelled_before_a_thread_is_free(self, tmp_path: Path) -> None:
        store, busy = make_store(f"file:{tmp_path}/chat.db"), threading.Event()
        await store.put([item("a")])
        assert store._thread_pool
        store._thread_pool.submit(busy.wait, 5)
        writing = asyncio.create_task(store.put([item("b")]))
        await asyncio.sleep(0)
        writing.cancel()
        await asyncio.wait([writing])
        busy.set()
        assert await store.get("p", "b") == item("b")
        await store.close()


class TestUnavailable:
    async def test_a_store_that_cannot_be_opened_fails_each_call(self, tmp_path: Path) -> None:
        store = make_store(f"file:{tmp_path}/missing/chat.db")
        with pytest.raises(StorageUnavailable) as failure:
            await store.get("p", "a")
        assert failure.value.code == "store_unavailable"
        assert str(tmp_path) not in str(failure.value)

    async def test_it_is_opened_as_soon_as_it_can_be(self, tmp_path: Path) -> None:
        store = make_store(f"file:{tmp_path}/later/chat.db")
        with pytest.raises(StorageUnavailable):
            await store.get("p", "a")
        (tmp_path / "later").mkdir()
        assert await store.get("p", "a") is None
        await store.close()

    async def test_a_file_that_is_not_a_database_is_left_unchanged(self, tmp_path: Path) -> None:
        (tmp_path / "chat.db").write_text("a letter" * 1000)
        store = make_store(f"file:{tmp_path}/chat.db")
        with pytest.raises(StorageUnavailable):
            await store.put([item("a")])
        assert (tmp_path / "chat.db").read_text() == "a letter" * 1000

    async def test_a_failed_call_is_raised_logged_and_counted(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        counted: list[str] = []
        monkeypatch.setattr(store_module, "measure", counted.append)

        class BrokenBackend(MemoryBackend):
            @override
            def put(self, items: Any) -> None:
                raise OSError("disk full")

        with pytest.raises(StorageUnavailable):
            await Store(BrokenBackend, threads=0, is_shared=False).put([])
        assert "disk full" in caplog.text
        assert counted == ["StoreErrors"]

    async def test_a_missing_table_is_unavailable(self, tmp_path: Path, clock: Clock) -> None:
        async with open_store("dynamodb", tmp_path, clock):
            store = Store(lambda: DynamoBackend("other"), threads=0, is_shared=True)
            with pytest.raises(StorageUnavailable):
                await store.get("p", "a")
            await store.close()


class TestSqlite:
    def test_several_processes_share_one_file(self, tmp_path: Path) -> None:
        path = f"{tmp_path}/chat.db"
        count = (
            "import asyncio, sys\nfrom winterbourne.chat.settings import Settings\n"
            "from winterbourne.chat.storage.factory import make_store\n"
            "async def main():\n"
            "    store = make_store('file:' + sys.argv[1])\n"
            "    for _ in range(50): await store.increment('p', 'n', 1, 0)\n"
            "    await store.close()\n"
            "asyncio.run(main())"
        )
        processes = [
            subprocess.Popen([sys.executable, "-c", count, path], cwd=Path(winterbourne.__file__).parents[1])
            for _ in range(3)
        ]
        assert [process.wait(60) for process in processes] == [0, 0, 0]
        backend = SqliteBackend(path)
        assert backend.get("p", "n") == item("n", number=150)
        backend.close()

    def test_items_survive_a_restart(self, tmp_path: Path) -> None:
        first = SqliteBackend(f"{tmp_path}/chat.db")
        first.put([item("a", b"kept")])
        first.close()
        second = SqliteBackend(f"{tmp_path}/chat.db")
        assert second.get("p", "a") == item("a", b"kept")
        second.close()


class ThrottledTable:
    """A fake of BatchWriteItem that returns some writes as unprocessed, this many times."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.written: list[Any] = []

    async def call(self, service: str, operation: str, fields: Any, answer: type[Any], region: str) -> Any:
        assert (service, operation) == ("dynamodb", "BatchWriteItem")
        (writes,) = json.loads(msgspec.json.encode(fields))["RequestItems"].values()
        is_throttled, self.times = self.times > 0, self.times - 1
        self.written += writes[:1] if is_throttled else writes
        left = {f"arn:{TABLE}": writes[1:]} if is_throttled and writes[1:] else {}  # by its name or its ARN
        return msgspec.convert({"UnprocessedItems": left}, answer)


def test_the_table_of_the_template_expires_items_by_our_attribute() -> None:
    assert template_table()["TimeToLiveSpecification"] == {"AttributeName": "expires_at_s", "Enabled": True}


class TestThrottledTable:
    def backend(self, table: ThrottledTable, monkeypatch: pytest.MonkeyPatch) -> tuple[DynamoBackend, list[float]]:
        pauses: list[float] = []

        async def sleep(pause_s: float) -> None:
            pauses.append(pause_s)

        monkeypatch.setattr("winterbourne.chat.storage.dynamodb.call", table.call)
        return DynamoBackend(TABLE, sleep), pauses

    async def test_unprocessed_writes_are_sent_again_after_a_pause(self, monkeypatch: pytest.MonkeyPatch) -> None:
        table = ThrottledTable(2)
        backend, pauses = self.backend(table, monkeypatch)
        await backend.put([item(str(n), b"body") for n in range(5)])
        assert [each["PutRequest"]["Item"]["body"] for each in table.written] == [{"B": "Ym9keQ=="}] * 5
        assert len(pauses) == 2
        assert all(0 <= pause_s <= 0.1 for pause_s in pauses)

    async def test_the_number_of_attempts_is_limited(self, monkeypatch: pytest.MonkeyPatch) -> None:
        backend, _ = self.backend(ThrottledTable(99), monkeypatch)
        with pytest.raises(TimeoutError, match=f"after {MAX_BATCH_ATTEMPTS} attempts"):
            await backend.put([item(str(n)) for n in range(20)])


async def test_a_page_of_conversations_over_several_answers_is_no_longer_than_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    async def call(service: str, operation: str, fields: Any, answer: type[Any], region: str) -> Any:
        asked.append(fields.get("ExclusiveStartKey"))
        keys = [{"pk": {"S": "p"}, "sk": {"S": f"{len(asked)}{letter}"}} for letter in "abc"]
        return msgspec.convert({"Items": keys, "LastEvaluatedKey": keys[-1]}, answer)

    monkeypatch.setattr("winterbourne.chat.storage.dynamodb.call", call)
    found = await DynamoBackend(TABLE).query_newest("p", 4, None)
    assert [each.sk for each in found] == ["1a", "1b", "1c", "2a"]
    assert asked == [None, {"pk": {"S": "p"}, "sk": {"S": "1c"}}]


async def test_a_crowd_leaves_connections_of_the_pool_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    running = most = 0

    async def call(service: str, operation: str, fields: Any, answer: type[Any], region: str) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return answer()

    monkeypatch.setattr("winterbourne.chat.storage.dynamodb.call", call)
    backend = DynamoBackend(TABLE)
    await asyncio.gather(*(backend.get("p", str(number)) for number in range(100)))
    assert most == MAX_CALLS


class TestLostResponses:
    """DynamoDB has done a write, and its response is lost: repeated, it is no conflict and counts once."""

    @pytest.fixture(autouse=True)
    async def dynamodb(self, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
        attempt, self.is_lost = aws_calls._attempt, False

        async def lose_first(service: str, operation: str, content: bytes, region: str) -> bytes:
            body = await attempt(service, operation, content, region)
            if self.is_lost:
                self.is_lost = False
                raise httpx.ReadError("lost")
            return body

        monkeypatch.setattr(aws_calls, "_attempt", lose_first)
        monkeypatch.setattr(aws_calls, "backoff_s", lambda _: 0)
        async with open_store("dynamodb", tmp_path, clock) as self.store:
            yield

    async def test_a_version_that_was_written_is_no_conflict(self) -> None:
        for number in (1, 2):
            self.is_lost = True
            assert await self.store.compare_and_set(item("a", number=number))
            assert not await self.store.compare_and_set(item("a", number=number)), "another's, of the same content"
        assert await self.store.get("p", "a") == item("a", number=2)

    async def test_an_addition_counts_once(self) -> None:
        for total in (3, 6):
            self.is_lost = True
            assert await self.store.increment("p", "n", 3, 0) == total
        assert await self.store.increment("p", "n", 1, 0) == 7


class TestForeignTypes:
    """Items that something else wrote: what has another type counts as missing, and hides no other item."""

    async def test_in_sqlite(self, tmp_path: Path, clock: Clock) -> None:
        async with open_store("file", tmp_path, clock) as store:
            await store.put([item("a", b"fine", updated_ms=3), item("b", b"fine", updated_ms=2)])
            with contextlib.closing(sqlite3.connect(tmp_path / "chat.db")) as connection, connection:
                values = ("c", 7.5, "no", "no", "no"), ("d", "text", 1, 5, 0), ("e", b"x", b"x", b"x", b"x")
                connection.executemany("insert into items values ('p', ?, ?, ?, ?, ?)", values)
                connection.execute("insert into items values ('p', 'f', cast(x'ff' as text), 0, 0, 0)")
            found = {one.sk: one for one in await store.query_partition("p")}
            assert found["c"] == item("c")
            assert found["d"] == item("d", b"text", number=1, updated_ms=5)
            assert found["e"] == item("e", b"x")
            assert set(found) == set("abcdef")
            assert [one.sk for one in await store.query_newest("p", 10)] == ["d", "a", "b"]
            await store.delete([("p", sk) for sk in found])
            assert await store.query_partition("p") == []

    async def test_in_dynamodb(self, tmp_path: Path, clock: Clock) -> None:
        async with open_store("dynamodb", tmp_path, clock) as store:
            await store.put([item("a", b"fine", updated_ms=3)])
            foreign = {"body": {"M": {}}, "number": {"S": "1"}, "expires_at_s": {"N": "1.5"}, "more": {"BOOL": True}}
            client = boto3.client("dynamodb")
            client.put_item(TableName=TABLE, Item={"pk": {"S": "p"}, "sk": {"S": "b"}, **foreign})
            client.put_item(TableName=TABLE, Item={"pk": {"S": "p"}, "sk": {"S": "c"}, "body": {"S": "text"}})
            assert await store.query_partition("p") == [item("a", b"fine", updated_ms=3), item("b"), item("c")]
            await store.delete([("p", "b"), ("p", "c")])
            assert [one.sk for one in await store.query_partition("p")] == ["a"]


class TestKeys:
    @given(st.lists(st.text(), min_size=1), st.lists(st.text(), min_size=1))
    def test_different_parts_never_give_the_same_key(self, some: list[str], others: list[str]) -> None:
        assert (encode_key(*some) == encode_key(*others)) == (some == others)

    @given(st.lists(st.text(st.characters(codec=None), max_size=100)))
    def test_a_key_is_ascii_whatever_the_parts_contain(self, parts: list[str]) -> None:
        assert encode_key(*parts).isascii()

    @given(st.text(min_size=300), st.text(min_size=300))
    def test_long_parts_give_short_keys_that_differ_too(self, one: str, other: str) -> None:
        assert (encode_key(one, "x") == encode_key(other, "x")) == (one == other)
        assert max(len(encode_key(one)), len(encode_key("%%" + one))) <= 512

    def test_an_arn_stays_readable(self) -> None:
        assert encode_key("iam:arn:aws:iam::1:user/me", "a#b") == "iam:arn:aws:iam::1:user/me#a%23b"


class TestFactory:
    @pytest.mark.parametrize("value", ["", "redis", "redis:x", "file:", "file", "dynamodb:", "Memory", "memory:x"])
    def test_an_invalid_value_is_a_settings_error(self, value: str) -> None:
        with pytest.raises(SettingsError, match=r"^STORE: expected (one of )?memory, file"):
            make_store(value)

    def test_a_store_of_ones_own_is_opened_with_what_follows_its_scheme(self) -> None:
        store = Store(MemoryBackend, threads=0, is_shared=True)
        opened: list[str] = []

        def open_redis(name: str) -> Store:
            opened.append(name)
            return store

        assert make_store("redis://cache:6379/0", {"redis": open_redis}) is store
        assert opened == ["//cache:6379/0"]
        with pytest.raises(SettingsError, match=r"^STORE: expected one of memory, file, dynamodb, redis$"):
            make_store("radish:x", {"redis": open_redis})

    def test_memory_is_the_default_and_imports_nothing_heavy(self) -> None:
        check = (
            "import sys; from winterbourne.chat.storage.factory import make_store\n"
            "from winterbourne.chat.settings import StorageSettings\n"
            "assert not make_store(StorageSettings().store).is_shared\n"
            "storage = 'winterbourne.chat.storage.'\n"
            "assert not {'sqlite3', 'boto3', storage + 'sqlite', storage + 'dynamodb'} & set(sys.modules)"
        )
        run(check, preamble="")

    async def test_dynamodb_needs_no_thread_and_no_sdk(self) -> None:
        check = (
            "import sys, threading; from winterbourne.chat.storage.factory import make_store\n"
            "assert make_store('dynamodb:chat').is_shared\n"
            "assert threading.active_count() == 1\n"
            "assert not [name for name in sys.modules if name.startswith(('boto3', 'botocore.'))]"
        )
        run(check, preamble="")

    async def test_a_table_in_another_region_is_named_by_its_arn(self) -> None:
        async with upstream(saying(b"{}")) as server:
            with mock.patch.dict(os.environ, {**TEST_ACCOUNT, "AWS_ENDPOINT_URL": server.url}):
                store = make_store("dynamodb:arn:aws:dynamodb:eu-north-1:123456789012:table/chat")
                assert await store.get("p", "a") is None
        assert "/eu-north-1/dynamodb/" in server.requests[0].headers["authorization"]


async def test_it_is_ready_if_it_can_be_read() -> None:
    await Store(MemoryBackend, threads=0, is_shared=False).check_ready()
    with pytest.raises(StorageUnavailable):
        await Store(lambda: SqliteBackend("/nowhere/at/all"), threads=0, is_shared=True).check_ready()
