"""Lease: one request at a time in a conversation, whatever environments do, in any order and however late.

A conversation may be renamed at any time beside that.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from math import inf
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.chat.stores import KINDS, Clock, SlowStore, open_store
from tests.clock import JumpingLoop, jumping
from winterbourne.chat.core.messages import AssistantMessage, ChatRequest, Text, UserMessage
from winterbourne.chat.errors import ConversationBusy, ConversationNotFound, StorageUnavailable
from winterbourne.chat.settings import StorageSettings
from winterbourne.chat.storage.base import Item, Store
from winterbourne.chat.storage.conversation_items import (
    FORMAT_VERSION,
    ConversationMetadata,
    conversation_key,
    parse_metadata,
)
from winterbourne.chat.storage.conversations import ConversationStore, ConversationSummary, OpenConversation
from winterbourne.chat.storage.lease import Lease, is_leased
from winterbourne.chat.storage.memory import MemoryBackend
from winterbourne.override import override

LEASE_S = 30.0


class PartitionedBackend(MemoryBackend):
    """One environment's connection to a backend that all share; it can be cut."""

    def __init__(self, shared: MemoryBackend) -> None:
        super().__init__()
        self._partitions = shared._partitions
        self.is_cut = False

    @override
    def get(self, pk: str, sk: str) -> Item | None:
        self._check()
        return super().get(pk, sk)

    @override
    def put(self, items: Any) -> None:
        self._check()
        super().put(items)

    def _check(self) -> None:
        if self.is_cut:
            raise TimeoutError


class TestLease:
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def backend(self) -> PartitionedBackend:
        return PartitionedBackend(MemoryBackend())

    @pytest.fixture
    def store(self, backend: PartitionedBackend, clock: Clock) -> Store:
        return Store(lambda: backend, threads=0, is_shared=True, now=clock)

    def lease(self, store: Store) -> Lease:
        return Lease(store, "me", "c", LEASE_S, 3600)

    async def test_a_new_conversation_has_its_title_and_its_times(self, store: Store, clock: Clock) -> None:
        lease = self.lease(store)
        await lease.load()
        now_ms = int(clock.time_s * 1000)
        assert await lease.acquire("hello") == ConversationMetadata(
            id="c", title="hello", created_ms=now_ms, epoch=now_ms, expires_at_s=int(clock.time_s) + 3600
        )

    @pytest.mark.parametrize("version", [1, 2, 7])
    async def test_who_writes_the_metadata_says_in_which_version(self, store: Store, version: int) -> None:
        metadata = ConversationMetadata(id="c", title="t", created_ms=5, epoch=6, expires_at_s=7, version=version)
        pk, sk = conversation_key("me", "c")
        await store.compare_and_set(Item(pk=pk, sk=sk, number=1, body=msgspec.json.encode(metadata)))
        lease = self.lease(store)
        await lease.load()
        await lease.acquire("")
        assert lease.metadata
        assert lease.metadata.version == FORMAT_VERSION

    async def test_the_title_stays_and_epochs_grow_even_within_a_millisecond(self, store: Store) -> None:
        epochs: list[int] = []
        for _ in range(3):
            lease = self.lease(store)
            await lease.load()
            metadata = await lease.acquire("hello" if not epochs else "other")
            epochs.append(metadata.epoch)
            assert metadata.title == "hello"
            await lease.release(inf)
        assert epochs == [epochs[0], epochs[0] + 1, epochs[0] + 2]

    async def test_of_two_that_read_the_same_version_one_acquires_it(self, store: Store) -> None:
        one, other = self.lease(store), self.lease(store)
        await one.load()
        await other.load()
        await one.acquire("")
        with pytest.raises(ConversationBusy, match="another request"):
            await other.acquire("")

    async def test_renewing_it_extends_it(self, store: Store, clock: Clock) -> None:
        lease = self.lease(store)
        await lease.load()
        await lease.acquire("")
        for _ in range(5):
            clock.time_s += LEASE_S - 1
            await lease.renew()
        assert lease.metadata
        assert is_leased(lease.metadata, clock.time_s * 1000)

    async def test_a_lost_lease_is_logged_once_and_not_released(
        self, store: Store, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        lost, acquired = self.lease(store), self.lease(store)
        await lost.load()
        await lost.acquire("")
        clock.time_s += LEASE_S
        await acquired.load()
        await acquired.acquire("")
        await lost.renew()
        await lost.renew()
        await lost.release(inf)
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        await acquired.load()
        assert acquired.metadata
        assert is_leased(acquired.metadata, clock.time_s * 1000)

    async def test_one_that_has_expired_is_held_again_if_nobody_else_has_acquired_it(
        self, store: Store, clock: Clock
    ) -> None:
        late, next_one = self.lease(store), self.lease(store)
        await late.load()
        await late.acquire("")
        clock.time_s += LEASE_S
        assert await late.check()
        await next_one.load()
        with pytest.raises(ConversationBusy):
            await next_one.acquire("")
        clock.time_s += LEASE_S
        await next_one.load()
        await next_one.acquire("")
        assert not await late.check()
        assert not await late.check()
        assert await next_one.check()

    @jumping
    async def test_one_that_is_being_released_is_waited_for(self) -> None:
        """A client that asks again as soon as its answer has ended is not told that the conversation is busy."""
        store = Store(MemoryBackend, threads=0, is_shared=True)
        first, second = self.lease(store), self.lease(store)
        await first.load()
        await first.acquire("")
        waiting = asyncio.create_task(second.load())
        await asyncio.sleep(0.25)
        await first.release(inf)
        await waiting
        await second.acquire("")

    @jumping
    async def test_an_acquisition_that_was_given_up_is_released_too(self) -> None:
        store = SlowStore(1)
        lease = self.lease(store)
        await lease.load()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await lease.acquire("")
        await lease.release(asyncio.get_running_loop().time() + 3)
        await lease.load()
        assert lease.metadata
        assert lease.metadata.lease_until_ms == 0

    @jumping
    async def test_a_release_ends_in_time(self) -> None:
        store, loop = SlowStore(), asyncio.get_running_loop()
        lease = self.lease(store)
        await lease.load()
        await lease.acquire("")
        store.delay_s, began = 3600, loop.time()
        await lease.release(began + 1)
        assert loop.time() - began == pytest.approx(1, abs=0.1)

    async def test_a_short_outage_of_the_store_does_not_lose_it(
        self, store: Store, backend: PartitionedBackend
    ) -> None:
        lease = self.lease(store)
        await lease.load()
        await lease.acquire("")
        backend.is_cut = True
        await lease.renew()
        backend.is_cut = False
        await lease.renew()
        await lease.release(inf)
        await lease.load()
        assert lease.metadata
        assert lease.metadata.lease_until_ms == 0


@pytest.fixture
def wall_clock() -> Clock:
    return Clock()


@pytest.fixture(params=KINDS)
async def any_store(request: pytest.FixtureRequest, tmp_path: Path, wall_clock: Clock) -> AsyncIterator[Store]:
    async with open_store(request.param, tmp_path, wall_clock) as store:
        yield store


class TestARename:
    """A new title while the conversation is leased: the request keeps its lease, and the conversation the title."""

    async def loaded(self, store: Store) -> Lease:
        lease = Lease(store, "me", "c", LEASE_S, 3600)
        await lease.load()
        return lease

    async def acquired(self, store: Store) -> Lease:
        lease = await self.loaded(store)
        await lease.acquire("hello")
        return lease

    async def rename(self, store: Store, title: str = "Greeting", if_title: str | None = None) -> ConversationSummary:
        return await ConversationStore(store, StorageSettings()).set_title("me", "c", title, if_title)

    async def stored(self, store: Store) -> ConversationMetadata:
        item = await store.get(*conversation_key("me", "c"))
        metadata = parse_metadata(item) if item else None
        assert metadata is not None
        return metadata

    async def test_shows_the_request_that_still_runs(self, any_store: Store) -> None:
        await self.acquired(any_store)
        summary = await self.rename(any_store)
        assert (summary.id, summary.title, summary.running) == ("c", "Greeting", True)

    async def test_beside_a_renewal_loses_no_lease(
        self, any_store: Store, wall_clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        lease = await self.acquired(any_store)
        for number in range(3):
            await self.rename(any_store, f"Greeting {number}")
            wall_clock.time_s += LEASE_S - 1
            await lease.renew()
        stored = await self.stored(any_store)
        assert stored.title == "Greeting 2"
        assert is_leased(stored, wall_clock.time_s * 1000)
        assert not caplog.records

    async def test_beside_a_release_stays_and_the_lease_ends(self, any_store: Store) -> None:
        lease = await self.acquired(any_store)
        await self.rename(any_store)
        await lease.release(inf)
        stored = await self.stored(any_store)
        assert (stored.title, stored.lease_until_ms) == ("Greeting", 0)

    async def test_between_loading_and_acquiring_makes_no_conversation_busy(self, any_store: Store) -> None:
        await (await self.acquired(any_store)).release(inf)
        lease = await self.loaded(any_store)
        await self.rename(any_store)
        await lease.acquire("another question")
        assert (await self.stored(any_store)).title == "Greeting"

    async def test_lets_only_one_of_two_requests_acquire_it(self, any_store: Store) -> None:
        await (await self.acquired(any_store)).release(inf)
        one, other = await self.loaded(any_store), await self.loaded(any_store)
        await self.rename(any_store)
        await one.acquire("")
        with pytest.raises(ConversationBusy):
            await other.acquire("")

    async def test_and_a_late_renewal_let_nobody_acquire_what_is_held_again(
        self, any_store: Store, wall_clock: Clock
    ) -> None:
        late = await self.acquired(any_store)
        wall_clock.time_s += LEASE_S + 1
        other = await self.loaded(any_store)
        await late.renew()
        with pytest.raises(ConversationBusy):
            await other.acquire("")

    async def test_does_not_give_a_lost_lease_back(self, any_store: Store, wall_clock: Clock) -> None:
        lost = await self.acquired(any_store)
        wall_clock.time_s += LEASE_S + 1
        other = await self.acquired(any_store)
        await self.rename(any_store)
        await lost.renew()
        await lost.release(inf)
        await other.renew()
        assert await self.stored(any_store) == other.metadata

    async def test_does_not_bring_back_what_is_being_deleted(self, any_store: Store) -> None:
        lease = await self.acquired(any_store)
        await lease.delete_metadata()
        with pytest.raises(ConversationNotFound):
            await self.rename(any_store)

    async def test_of_a_title_that_was_changed_meanwhile_is_left_undone(self, any_store: Store) -> None:
        await self.acquired(any_store)
        await self.rename(any_store, "Mine")
        assert (await self.rename(any_store, "Theirs", if_title="hello")).title == "Mine"
        assert (await self.rename(any_store, "Yours", if_title="Mine")).title == "Yours"
        assert (await self.stored(any_store)).title == "Yours"

    async def test_keeps_the_place_in_the_list_and_when_it_expires(self, any_store: Store, wall_clock: Clock) -> None:
        await self.acquired(any_store)
        before = await any_store.get(*conversation_key("me", "c"))
        wall_clock.time_s += 60
        await self.rename(any_store)
        after = await any_store.get(*conversation_key("me", "c"))
        assert before
        assert after
        assert (after.updated_ms, after.expires_at_s) == (before.updated_ms, before.expires_at_s)

    async def test_of_a_conversation_that_changes_all_the_time_is_refused(self) -> None:
        store = ContendedStore()
        await self.acquired(store)
        store.is_contended = True
        with pytest.raises(ConversationBusy):
            await self.rename(store)


class ContendedStore(SlowStore):
    """A store in which somebody else is always faster."""

    is_contended = False

    @override
    async def compare_and_set(self, item: Item) -> bool:
        return not self.is_contended and await super().compare_and_set(item)


class Session:
    """One request in one environment, until it ends or its environment crashes."""

    def __init__(self, backend: PartitionedBackend, conversation: OpenConversation, lease_until_s: float) -> None:
        self.backend = backend
        self.conversation = conversation
        self.lease_until_s = lease_until_s
        self.texts: list[str] = []
        self.is_over = self.is_superseded = False


class ConcurrentRequests(RuleBasedStateMachine):
    """State machine: requests begin, append messages, end and crash in any order; the stored messages stay in order.

    What one appends whose lease another request has acquired is not stored.
    """

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=JumpingLoop)
        self.clock = Clock()
        self.shared = MemoryBackend()
        self.sessions: list[Session] = []
        self.title = "question 0"

    @rule()
    def begin(self) -> None:
        self.runner.run(self._begin())

    async def _begin(self) -> None:
        backend = PartitionedBackend(self.shared)
        store = Store(lambda: backend, threads=0, is_shared=True, now=self.clock)
        text = f"question {len(self.sessions)}"
        request = ChatRequest(messages=(UserMessage((Text(text),)),), conversation_id="c", store=True)
        conversation = ConversationStore(store, StorageSettings(conversation_lease=LEASE_S)).open("me", request)
        is_leased_now = any(not one.is_over and self.clock.time_s < one.lease_until_s for one in self.sessions)
        if is_leased_now:
            with pytest.raises(ConversationBusy, match="another request is running"):
                await conversation.start()
            await self._close(conversation)
            return
        await conversation.start()
        for one in self.sessions:
            one.is_superseded = True
        session = Session(backend, conversation, self.clock.time_s + LEASE_S)
        session.texts.append(text)
        self.sessions.append(session)
        await asyncio.sleep(0)

    async def _close(self, conversation: OpenConversation) -> None:
        await conversation.close(asyncio.get_running_loop().time() + 2)

    @precondition(lambda self: self._running())
    @rule(data=st.data())
    def append_message(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(self._running()))
        text = f"answer {len(session.texts)}"
        if not session.is_superseded:
            session.texts.append(text)
            if self.clock.time_s >= session.lease_until_s:  # it is renewed before the write
                session.lease_until_s = self.clock.time_s + LEASE_S
        self.runner.run(self._append(session, text))

    async def _append(self, session: Session, text: str) -> None:
        session.conversation.append(AssistantMessage((Text(text),)))
        for _ in range(5):
            await asyncio.sleep(0)  # lets the write-behind queue run

    @precondition(lambda self: self._running())
    @rule(data=st.data(), crashes=st.booleans())
    def end(self, data: st.DataObject, crashes: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
        session = data.draw(st.sampled_from(self._running()))
        session.backend.is_cut = crashes
        self._end(session)
        # A crashed one holds the conversation until its lease expires.
        session.is_over = not crashes
        session.lease_until_s = session.lease_until_s if crashes else 0

    @precondition(lambda self: self.sessions)
    @rule(title=st.sampled_from(["One", "Two"]))
    def rename(self, title: str) -> None:
        """At any time: nothing but the title is different afterwards."""
        store = Store(lambda: PartitionedBackend(self.shared), threads=0, is_shared=True, now=self.clock)
        self.title = title
        self.runner.run(ConversationStore(store, StorageSettings()).set_title("me", "c", title))

    @rule(seconds=st.sampled_from([1.0, 29.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.clock.time_s += seconds

    @invariant()
    def the_conversation_is_in_order(self) -> None:
        if self.sessions:
            title, texts = self.runner.run(self._stored())
            assert texts == [text for session in self.sessions for text in session.texts]
            assert title == self.title

    @override
    def teardown(self) -> None:
        for session in self._running():
            self._end(session)
        self.runner.close()

    def _running(self) -> list[Session]:
        return [one for one in self.sessions if not one.is_over and not one.backend.is_cut]

    def _end(self, session: Session) -> None:
        with contextlib.suppress(StorageUnavailable):
            self.runner.run(self._close(session.conversation))

    async def _stored(self) -> tuple[str, list[str]]:
        store = Store(lambda: PartitionedBackend(self.shared), threads=0, is_shared=True, now=self.clock)
        summary, messages = await ConversationStore(store, StorageSettings()).get("me", "c")
        said = [message for message in messages if isinstance(message, UserMessage | AssistantMessage)]
        return summary.title, [part.text for message in said for part in message.parts if isinstance(part, Text)]


TestConcurrentRequests = ConcurrentRequests.TestCase
TestConcurrentRequests.settings = examples(max_examples=40, stateful_step_count=20)
