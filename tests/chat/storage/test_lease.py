"""Lease: one request at a time in a conversation, whatever environments do, in any order and however late."""

import asyncio
import contextlib
from math import inf
from typing import Any

import pytest
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.chat.stores import Clock, SlowStore
from tests.clock import JumpingLoop, jumping
from winterbourne.chat.core.messages import AssistantMessage, ChatRequest, Text, UserMessage
from winterbourne.chat.errors import ConversationBusy, StorageUnavailable
from winterbourne.chat.settings import StorageSettings
from winterbourne.chat.storage.base import Item, Store
from winterbourne.chat.storage.conversation_items import ConversationMetadata
from winterbourne.chat.storage.conversations import ConversationStore, OpenConversation
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


class Session:
    """One request in one environment, until it ends or its environment crashes."""

    def __init__(self, backend: PartitionedBackend, conversation: OpenConversation, lease_until_s: float) -> None:
        self.backend = backend
        self.conversation = conversation
        self.lease_until_s = lease_until_s
        self.texts: list[str] = []
        self.is_over = False


class ConcurrentRequests(RuleBasedStateMachine):
    """State machine: requests begin, append messages, end and crash in any order; the stored messages stay in order."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=JumpingLoop)
        self.clock = Clock()
        self.shared = MemoryBackend()
        self.sessions: list[Session] = []

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
        session.texts.append(text)
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

    @rule(seconds=st.sampled_from([1.0, 29.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.clock.time_s += seconds

    @invariant()
    def the_conversation_is_in_order(self) -> None:
        if self.sessions:
            assert self.runner.run(self._stored_texts()) == [
                text for session in self.sessions for text in session.texts
            ]

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

    async def _stored_texts(self) -> list[str]:
        store = Store(lambda: PartitionedBackend(self.shared), threads=0, is_shared=True, now=self.clock)
        _, messages = await ConversationStore(store, StorageSettings()).get("me", "c")
        said = [message for message in messages if isinstance(message, UserMessage | AssistantMessage)]
        return [part.text for message in said for part in message.parts if isinstance(part, Text)]


TestConcurrentRequests = ConcurrentRequests.TestCase
TestConcurrentRequests.settings = examples(max_examples=40, stateful_step_count=20)
