"""Stream log: whatever an answer says is read back as it was, by any number of readers, also when its writer dies."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.conversations import BAD_TEXT, batches, conversations
from tests.chat.stores import KINDS, Clock, open_store
from tests.clock import jumping
from winterbourne.chat.core.events import (
    ChatEvent,
    ConversationEnded,
    ConversationFailed,
    ConversationStarted,
    ConversationStopped,
    ReasoningDelta,
    TextDelta,
    ToolFinished,
    TurnEnded,
    TurnStarted,
    Usage,
)
from winterbourne.chat.core.messages import ChatRequest, ToolSchema
from winterbourne.chat.errors import StorageUnavailable
from winterbourne.chat.storage.base import Item, Store
from winterbourne.chat.storage.memory import MemoryBackend
from winterbourne.chat.storage.stream_log import (
    CHUNK_BYTES,
    LOG_TTL_S,
    MAX_CHUNK_BYTES,
    MAX_PENDING_EVENTS,
    POLL_INTERVAL_S,
    LogHeader,
    StreamLog,
    StreamLogs,
    StreamLogWriter,
    latest_log,
    log_header,
    log_partition,
)
from winterbourne.override import override

ALICE, BOB = "key:alice", "key:bob"
LEASE_S = 30.0
START = (ConversationStarted("c", "m", "model"), TurnStarted(1))
END = (TurnEnded("stop"), ConversationEnded("stop", Usage(), 1))


class CountingStore(Store):
    """A store on the event loop's clock that knows when it was read and written."""

    def __init__(self) -> None:
        super().__init__(MemoryBackend, threads=0, is_shared=True, now=lambda: 1e9 + asyncio.get_running_loop().time())
        self.reads_at: list[float] = []
        self.writes_at: list[float] = []
        self.fails = self.hangs = False

    @override
    async def get(self, pk: str, sk: str) -> Item | None:
        self.reads_at.append(asyncio.get_running_loop().time())
        if self.hangs:
            await asyncio.sleep(1000)
        if self.fails:
            raise StorageUnavailable
        return await super().get(pk, sk)

    @override
    async def put(self, items: Sequence[Item]) -> None:
        self.writes_at.append(asyncio.get_running_loop().time())
        if self.fails:
            raise StorageUnavailable
        await super().put(items)


class UnreadableStore(CountingStore):
    """The same items, in an environment that can write them and not read them."""

    def __init__(self, other: CountingStore) -> None:
        super().__init__()
        self._backend = other._backend

    @override
    async def get(self, pk: str, sk: str) -> Item | None:
        raise StorageUnavailable


def request(*client_tools: str, conversation_id: str = "c") -> ChatRequest:
    tools = tuple(ToolSchema(name, "", {}) for name in client_tools)
    return ChatRequest(messages=(), conversation_id=conversation_id, client_tools=tools)


def writer(store: Store, epoch: int = 1) -> StreamLogWriter:
    return StreamLogWriter(store, "p", epoch, LogHeader(), 10, 0)


def writer_of_answer(store: Store) -> StreamLogWriter:
    header = log_header(request(), (), is_kept=False)
    return StreamLogWriter(store, log_partition(ALICE, "c"), 1, header, LEASE_S / 3, 0)


async def in_memory() -> tuple[CountingStore, StreamLogs]:
    store = CountingStore()
    return store, StreamLogs(store, LEASE_S)


async def read(logs: StreamLogs, caller_id: str = ALICE) -> StreamLog:
    log = await logs.read(caller_id, "c")
    assert log
    return log


async def follow(logs: StreamLogs, log: StreamLog) -> list[ChatEvent]:
    """All events of a log, once it has ended."""
    async for batch in logs.follow(log):
        assert batch
    return log.events


class TestWhatIsWritten:
    @given(conversations(), st.data())
    def test_is_read_back_as_it_was_in_whatever_pieces(self, events: list[ChatEvent], data: st.DataObject) -> None:
        store = Store(MemoryBackend, threads=0, is_shared=False)
        log_writer, following, items = writer(store), StreamLog("p", 1), dict[str, Item]()
        for batch in data.draw(batches(events)):
            log_writer.append(batch)
            if data.draw(st.booleans()):
                for item in log_writer.items():
                    items[item.sk] = item
                    following.add(item)
        for item in log_writer.items():
            items[item.sk] = item
            following.add(item)
        at_once = latest_log(list(items.values()))
        assert at_once
        assert following.events == at_once.events == events

    @pytest.mark.parametrize("text", ["half an emoji \ud83d", "\ude00", BAD_TEXT])
    def test_keeps_characters_that_are_none(self, text: str) -> None:
        store = Store(MemoryBackend, threads=0, is_shared=False)
        log_writer = writer(store)
        events = TextDelta(text), ReasoningDelta(text), ToolFinished("1", text, "failed", 1, b"", text)
        log_writer.append(events)
        log = latest_log(log_writer.items())
        assert log
        assert tuple(log.events) == events

    def test_goes_into_items_that_the_store_takes(self) -> None:
        log_writer = writer(Store(MemoryBackend, threads=0, is_shared=False))
        event = ToolFinished("1", "big", "completed", 1, b'"' + b"x" * 1_000_000 + b'"')
        log_writer.append((*START, event, TextDelta("after")))
        items = log_writer.items()
        assert all(len(item.body) <= MAX_CHUNK_BYTES for item in items)
        log = latest_log(items)
        assert log
        assert log.events == [*START, event, TextDelta("after")]

    def test_is_written_anew_only_while_its_item_is_small(self) -> None:
        log_writer = writer(Store(MemoryBackend, threads=0, is_shared=False))
        sizes: list[int] = []
        for _ in range(200):
            log_writer.append((TextDelta("word "),) * 30)
            sizes += [len(item.body) for item in log_writer.items()]
        assert max(sizes) < 2 * CHUNK_BYTES

    def test_lines_of_a_newer_version_are_left_out(self, caplog: pytest.LogCaptureFixture) -> None:
        lines = (
            b'{"type":"LogHeader","version":9,"is_kept":true,"colour":"red"}\n"a"\n{"type":"Parrot","says":"secret"}\n'
            b'not JSON\n[1,2]\n{"type":"TextDelta","text":"b","colour":"red"}\n{"type":"TurnEnded"}\n["c"]\n'
        )
        log = latest_log([Item(pk="p", sk="00000000000000001#000000", body=lines)])
        assert log
        assert log.events == [TextDelta("a"), TextDelta("b"), ReasoningDelta("c")]
        assert log.header == LogHeader(version=9, is_kept=True)
        assert "secret" not in caplog.text
        assert len(caplog.records) == 1

    def test_is_nothing_before_the_first_event_which_says_whose_log_it_is(self) -> None:
        log_writer = writer(Store(MemoryBackend, threads=0, is_shared=False))
        assert log_writer.items() == []
        log_writer.append(START)
        log = latest_log(log_writer.items())
        assert log
        assert log.events == [*START]

    def test_nothing_follows_the_terminal_event(self) -> None:
        log_writer = writer(Store(MemoryBackend, threads=0, is_shared=False))
        log_writer.append((*START, ConversationStopped("user")))
        log_writer.append((TextDelta("late"),))
        log = latest_log(log_writer.items())
        assert log
        assert log.is_ended
        assert log.events == [*START, ConversationStopped("user")]


class TestWriting:
    @jumping
    async def test_happens_once_a_second_at_most_but_for_the_ends_of_turns(self) -> None:
        store, logs = await in_memory()
        answer = logs.open(ALICE, request())
        began = asyncio.get_running_loop().time()
        answer.log(START)
        for _ in range(100):
            answer.log((TextDelta("word "),))
            await asyncio.sleep(0.05)
        answer.log((TurnEnded("tool_calls"), TurnStarted(2)))
        await asyncio.sleep(0.05)
        answer.log(END)
        await answer.close(began + 60)
        at = [round(written - began, 1) for written in store.writes_at]
        assert at == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, *at[6:]]
        assert len(at) in {7, 8}

    @jumping
    async def test_happens_at_once_when_much_is_said(self) -> None:
        store, logs = await in_memory()
        answer = logs.open(ALICE, request())
        answer.log(START)
        await asyncio.sleep(0.1)
        answer.log((TextDelta("x"),) * MAX_PENDING_EVENTS)
        await asyncio.sleep(0.1)
        assert len(store.writes_at) == 2
        await answer.close(asyncio.get_running_loop().time() + 1)

    @jumping
    async def test_gives_a_sign_of_life_while_nothing_is_said(self) -> None:
        store, logs = await in_memory()
        answer = logs.open(ALICE, request())
        answer.log(START)
        await asyncio.sleep(100)
        assert len(store.writes_at) == 1 + 9
        log = await read(logs)
        reading = asyncio.create_task(follow(logs, log))
        await asyncio.sleep(100)
        answer.log(END)
        await answer.close(asyncio.get_running_loop().time() + 1)
        assert await reading == [*START, *END]

    @jumping
    async def test_a_store_that_fails_loses_nothing_once_it_is_well_again(self) -> None:
        store, logs = await in_memory()
        answer = logs.open(ALICE, request())
        answer.log(START)
        await asyncio.sleep(0.1)
        store.fails = True
        answer.log((TextDelta("one"),))
        await asyncio.sleep(5)
        store.fails = False
        answer.log((TextDelta(" two"),))
        await answer.close(asyncio.get_running_loop().time() + 1)
        assert (await read(logs)).events == [*START, TextDelta("one"), TextDelta(" two")]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    async with open_store(request.param, tmp_path, clock) as store:
        yield store


class TestReading:
    async def test_finds_the_latest_answer_of_ones_own_conversation(self, store: Store, clock: Clock) -> None:
        logs, other_environment = StreamLogs(store, LEASE_S), StreamLogs(store, LEASE_S)
        for name in ("first", "second"):
            answer = logs.open(ALICE, request("map", conversation_id="c"))
            answer.log((ConversationStarted("c", name, "model"), *END))
            await answer.close(asyncio.get_running_loop().time() + 5)
            clock.time_s += 1
        log = await read(other_environment)
        assert log.events == [ConversationStarted("c", "second", "model"), *END]
        assert log.header.client_tools == ("map",)
        assert await logs.read(BOB, "c") is None
        assert await logs.read(ALICE, "d") is None

    async def test_finds_nothing_after_an_hour(self, store: Store, clock: Clock) -> None:
        logs = StreamLogs(store, LEASE_S)
        answer = logs.open(ALICE, request())
        answer.log((*START, *END))
        await answer.close(asyncio.get_running_loop().time() + 5)
        clock.time_s += LOG_TTL_S - 1
        assert await logs.read(ALICE, "c")
        clock.time_s += 2
        assert await logs.read(ALICE, "c") is None

    async def test_expires_by_itself(self, store: Store, clock: Clock) -> None:
        answer = StreamLogs(store, LEASE_S).open(ALICE, request())
        answer.log((*START, *END))
        await answer.close(asyncio.get_running_loop().time() + 5)
        items = await store.query_partition(log_partition(ALICE, "c"))
        assert [item.expires_at_s for item in items] == [int(clock.time_s) + 2 * LOG_TTL_S]

    async def test_of_a_dead_writer_ends_with_a_failure_for_everybody(self, store: Store, clock: Clock) -> None:
        logs = StreamLogs(store, LEASE_S)
        answer = logs.open(ALICE, request())
        answer.log((*START, TextDelta("half")))
        await answer.close(asyncio.get_running_loop().time() + 5)
        first, late = await read(logs), await read(StreamLogs(store, LEASE_S))
        clock.time_s += LEASE_S + 1
        events = await follow(logs, first)
        assert events[:-1] == [*START, TextDelta("half")]
        assert isinstance(failed := events[-1], ConversationFailed)
        assert (failed.code, failed.message) == ("answer_lost", "The answer broke off.")
        assert await follow(logs, late) == events
        assert (await read(logs)).events == events

    async def test_of_a_writer_that_was_frozen_for_the_time_of_a_lease_keeps_the_ending_it_got(
        self, store: Store, clock: Clock
    ) -> None:
        logs = StreamLogs(store, LEASE_S)
        log_writer = writer_of_answer(store)
        log_writer.append((*START, TextDelta("half")))
        await store.put(log_writer.items())
        clock.time_s += LEASE_S + 1
        events = await follow(logs, await read(logs))
        assert isinstance(events[-1], ConversationFailed)
        log_writer.append((TextDelta(" and half"), *END))
        assert log_writer.items() == []
        log_writer.append(END)
        assert log_writer.items() == []

    async def test_of_a_writer_that_was_frozen_in_a_write_keeps_the_ending_it_got(
        self, store: Store, clock: Clock
    ) -> None:
        logs = StreamLogs(store, LEASE_S)
        log_writer = writer_of_answer(store)
        log_writer.append((*START, TextDelta("half")))
        await store.put(log_writer.items())
        log_writer.written()
        clock.time_s += LEASE_S / 3
        log_writer.append((TextDelta(" and"),))
        under_way = log_writer.items()
        clock.time_s += LEASE_S * 0.9  # less than a lease after that write began, and more after the one before
        told = await follow(logs, await read(logs))
        assert isinstance(told[-1], ConversationFailed)
        await store.put(under_way)
        log_writer.written()
        log_writer.append((TextDelta(" half"), *END))
        assert log_writer.items() == []
        clock.time_s += LEASE_S
        assert (await follow(logs, await read(logs)))[-1] == told[-1]

    async def test_of_a_store_that_hung_for_the_time_of_a_lease_goes_on(self, store: Store, clock: Clock) -> None:
        logs = StreamLogs(store, LEASE_S)
        log_writer = writer_of_answer(store)
        said = [TextDelta(word) for word in ["the", "store", "hangs", "while", "there", "is", "something", "to", "say"]]
        log_writer.append(START)
        await store.put(log_writer.items())
        for delta in said:
            clock.time_s += LEASE_S / 4
            log_writer.append((delta,))
        log_writer.append(END)
        await store.put(log_writer.items())
        assert (await read(logs)).events == [*START, *said, *END]

    async def test_of_a_writer_that_was_frozen_for_less_goes_on(self, store: Store, clock: Clock) -> None:
        logs = StreamLogs(store, LEASE_S)
        log_writer = writer_of_answer(store)
        log_writer.append(START)
        await store.put(log_writer.items())
        clock.time_s += LEASE_S - 1
        log_writer.append(END)
        await store.put(log_writer.items())
        assert (await read(logs)).events == [*START, *END]

    async def test_goes_by_what_other_versions_keep_beside_it(self, store: Store) -> None:
        logs = StreamLogs(store, LEASE_S)
        answer = logs.open(ALICE, request())
        answer.log((*START, *END))
        await answer.close(asyncio.get_running_loop().time() + 5)
        await store.put([Item(pk=log_partition(ALICE, "c"), sk="index", body=b"{}")])
        assert (await read(logs)).events == [*START, *END]

    async def test_earlier_logs_that_nobody_reads_are_deleted(self, store: Store, clock: Clock) -> None:
        logs = StreamLogs(store, LEASE_S)
        for _ in range(3):
            answer = logs.open(ALICE, request())
            answer.log((*START, TextDelta("x" * CHUNK_BYTES), *END))
            await answer.close(asyncio.get_running_loop().time() + 5)
            clock.time_s += LEASE_S + 1
        partition = log_partition(ALICE, "c")
        latest = max(int(item.sk.partition("#")[0]) for item in await store.query_partition(partition))
        await logs.drop_older(partition, latest, asyncio.get_running_loop().time() + 5)
        epochs = {int(item.sk.partition("#")[0]) for item in await store.query_partition(partition)}
        assert epochs == {latest}


class TestFollowing:
    @jumping
    async def test_brings_what_is_written_as_it_comes_and_reads_four_times_a_second(self) -> None:
        store, logs = await in_memory()
        answer = logs.open(ALICE, request())
        answer.log(START)
        await asyncio.sleep(0.1)
        log, loop = await read(logs), asyncio.get_running_loop()
        reading, began = asyncio.create_task(follow(logs, log)), loop.time()
        lags: list[float] = []
        for number in range(300):
            answer.log((TextDelta(f"{number} "),))
            await asyncio.sleep(0.1)
            lags.append((number - (len(log.events) - len(START))) * 0.1)
        answer.log(END)
        await answer.close(loop.time() + 5)
        ended_at = loop.time()
        assert len(await reading) == len(START) + 300 + len(END)
        assert loop.time() - ended_at <= 2 * POLL_INTERVAL_S
        assert len(store.reads_at) <= (loop.time() - began) / POLL_INTERVAL_S + 1
        assert sorted(lags)[int(len(lags) * 0.95)] <= 1.5

    @jumping
    async def test_costs_nothing_when_nobody_does(self) -> None:
        store, logs = await in_memory()
        answer = logs.open(ALICE, request())
        answer.log(START)
        await asyncio.sleep(20)
        assert store.reads_at == []
        await answer.close(asyncio.get_running_loop().time() + 5)

    @jumping
    async def test_outlives_a_store_that_fails_for_a_while(self) -> None:
        store, logs = await in_memory()
        answer = logs.open(ALICE, request())
        answer.log(START)
        await asyncio.sleep(0.1)
        reading = asyncio.create_task(follow(logs, await read(logs)))
        store.fails = True
        await asyncio.sleep(8)
        store.fails = False
        answer.log(END)
        await answer.close(asyncio.get_running_loop().time() + 5)
        assert await reading == [*START, *END]

    @jumping
    async def test_does_not_end_a_log_that_it_could_not_read(self) -> None:
        """Or what was written meanwhile would be lost to everybody."""
        store, logs = await in_memory()
        answer = logs.open(ALICE, request())
        answer.log((*START, TextDelta("a")))
        await asyncio.sleep(0.1)
        unreadable = UnreadableStore(store)
        reading = asyncio.create_task(follow(StreamLogs(unreadable, LEASE_S), await read(logs)))
        for _ in range(60):
            answer.log((TextDelta("b" * 50),))
            await asyncio.sleep(1)
            if reading.done():
                break
        assert isinstance(reading.exception(), StorageUnavailable)
        assert unreadable.writes_at == []
        answer.log(END)
        await answer.close(asyncio.get_running_loop().time() + 5)
        assert (await read(logs)).events[-2:] == [*END]

    @jumping
    async def test_does_not_wait_for_a_store_that_does_not_answer(self) -> None:
        store, logs = await in_memory()
        answer = logs.open(ALICE, request())
        answer.log(START)
        await answer.close(asyncio.get_running_loop().time() + 5)
        log, began = await read(logs), asyncio.get_running_loop().time()
        store.hangs = True
        with pytest.raises(StorageUnavailable):
            await follow(logs, log)
        assert asyncio.get_running_loop().time() - began <= LEASE_S + 5

    @jumping
    async def test_by_a_slow_reader_ends_no_answer_that_goes_on(self) -> None:
        """It finds chunks that are older than a lease, and newer ones behind them."""
        _, logs = await in_memory()
        answer = logs.open(ALICE, request())
        answer.log(START)
        await asyncio.sleep(0.1)
        log = await read(logs)

        async def read_slowly() -> list[ChatEvent]:
            async for _ in logs.follow(log):
                if len(log.events) == len(START) + 1:
                    await asyncio.sleep(2 * LEASE_S)
            return log.events

        reading = asyncio.create_task(read_slowly())
        said = [TextDelta("x" * CHUNK_BYTES) for _ in range(int(3 * LEASE_S))]
        for delta in said:
            answer.log((delta,))
            await asyncio.sleep(1)
        answer.log(END)
        await answer.close(asyncio.get_running_loop().time() + 5)
        assert (await read(logs)).events == [*START, *said, *END]
        assert await reading == [*START, *said, *END]

    @jumping
    async def test_of_a_log_that_is_deleted_leaves_nothing_of_it(self) -> None:
        store, logs = await in_memory()
        answer = logs.open(ALICE, request())
        answer.log((*START, TextDelta("a secret")))
        await answer.close(asyncio.get_running_loop().time() + 5)
        reading = asyncio.create_task(follow(logs, await read(logs)))
        await asyncio.sleep(1)
        await store.delete([(item.pk, item.sk) for item in await store.query_partition(log_partition(ALICE, "c"))])
        assert isinstance((await reading)[-1], ConversationFailed)
        assert await store.query_partition(log_partition(ALICE, "c")) == []

    @jumping
    async def test_ends_with_an_error_if_the_store_stays_away(self) -> None:
        store, logs = await in_memory()
        answer = logs.open(ALICE, request())
        answer.log(START)
        await asyncio.sleep(0.1)
        log = await read(logs)
        store.fails = True
        began = asyncio.get_running_loop().time()
        with pytest.raises(StorageUnavailable):
            await follow(logs, log)
        assert asyncio.get_running_loop().time() - began <= LEASE_S + 1
        await answer.close(asyncio.get_running_loop().time() + 5)


def test_the_format_of_a_log_is_as_documented() -> None:
    """What another version reads: a change here needs a new version in the header."""
    log_writer = writer(Store(MemoryBackend, threads=0, is_shared=False))
    log_writer.append((*START, ReasoningDelta("hm"), TextDelta("Hel"), ToolFinished("1", "sum", "completed", 12, b"3")))
    (item,) = log_writer.items()
    assert item.body.decode().splitlines() == [
        '{"type":"LogHeader","version":1,"position":0,"client_tools":[],"is_kept":false,"earlier":[]}',
        '{"type":"ConversationStarted","conversation_id":"c","message_id":"m","model":"model"}',
        '{"type":"TurnStarted","turn":1}',
        '["hm"]',
        '"Hel"',
        '{"type":"ToolFinished","id":"1","name":"sum","status":"completed","duration_ms":12,"result":"Mw==","error":""}',
    ]
    assert msgspec.json.decode(item.body.splitlines()[0])["version"] == 1
