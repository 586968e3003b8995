"""One request at a time, whatever environments do, in whatever order, and however late."""

import asyncio
import contextlib
import json
from typing import Any

import pytest
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.chat.stores import Clock
from winterbourne.chat.auth.base import ANONYMOUS
from winterbourne.chat.core.messages import AssistantMessage, ChatRequest, Text, UserMessage
from winterbourne.chat.errors import RequestRejected, StorageUnavailable
from winterbourne.chat.settings import Settings
from winterbourne.chat.storage.base import Item, Store
from winterbourne.chat.storage.conversation_items import ConversationMetadata
from winterbourne.chat.storage.conversations import ConversationStore, OpenConversation
from winterbourne.chat.storage.lease import Lease, is_leased
from winterbourne.chat.storage.memory import MemoryBackend

LEASE_S = 30.0


class PartitionedBackend(MemoryBackend):
    """One environment's way to a store that all share; it can be cut."""

    def __init__(self, shared: MemoryBackend) -> None:
        super().__init__()
        self._partitions = shared._partitions
        self.is_cut = False

    def get(self, pk: str, sk: str) -> Item | None:
        self._check()
        return super().get(pk, sk)

    def put(self, items: Any) -> None:
        self._check()
        super().put(items)

    def _check(self) -> None:
        if self.is_cut:
            raise TimeoutError


class TestOneLease:
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def wire(self) -> PartitionedBackend:
        return PartitionedBackend(MemoryBackend())

    @pytest.fixture
    def store(self, wire: PartitionedBackend, clock: Clock) -> Store:
        return Store(lambda: wire, threads=0, is_shared=True, now=clock)

    def lease(self, store: Store) -> Lease:
        return Lease(store, "me", "c", LEASE_S, 3600)

    async def test_a_new_conversation_has_its_title_and_its_times(self, store: Store, clock: Clock) -> None:
        lease = self.lease(store)
        await lease.read()
        now_ms = int(clock.time_s * 1000)
        assert await lease.acquire("hello") == ConversationMetadata(
            id="c", title="hello", created_ms=now_ms, epoch=now_ms, expires_at_s=int(clock.time_s) + 3600
        )

    async def test_the_title_stays_and_epochs_grow_also_within_a_millisecond(self, store: Store) -> None:
        epochs: list[int] = []
        for _ in range(3):
            lease = self.lease(store)
            await lease.read()
            head = await lease.acquire("hello" if not epochs else "other")
            epochs.append(head.epoch)
            assert head.title == "hello"
            await lease.release()
        assert epochs == [epochs[0], epochs[0] + 1, epochs[0] + 2]

    async def test_of_two_that_read_the_same_state_one_takes_it(self, store: Store) -> None:
        one, other = self.lease(store), self.lease(store)
        await one.read()
        await other.read()
        await one.acquire("")
        with pytest.raises(RequestRejected, match="another request"):
            await other.acquire("")

    async def test_renewed_it_holds_on(self, store: Store, clock: Clock) -> None:
        lease = self.lease(store)
        await lease.read()
        await lease.acquire("")
        for _ in range(5):
            clock.time_s += LEASE_S - 1
            await lease.renew()
        assert lease.metadata
        assert is_leased(lease.metadata, clock.time_s * 1000)

    async def test_one_that_was_lost_says_so_once_and_takes_nothing_back(
        self, store: Store, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        lost, taken = self.lease(store), self.lease(store)
        await lost.read()
        await lost.acquire("")
        clock.time_s += LEASE_S
        await taken.read()
        await taken.acquire("")
        await lost.renew()
        await lost.renew()
        await lost.release()
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        await taken.read()
        assert taken.metadata
        assert is_leased(taken.metadata, clock.time_s * 1000)

    async def test_a_store_that_is_away_for_a_moment_does_not_lose_it(
        self, store: Store, wire: PartitionedBackend
    ) -> None:
        lease = self.lease(store)
        await lease.read()
        await lease.acquire("")
        wire.is_cut = True
        await lease.renew()
        wire.is_cut = False
        await lease.renew()
        await lease.release()
        await lease.read()
        assert lease.metadata
        assert lease.metadata.lease_until_ms == 0


class Session:
    """One request in one environment, from its beginning to its end or its death."""

    def __init__(self, wire: PartitionedBackend, opened: Any, record: OpenConversation, until_s: float) -> None:
        self.wire, self.opened, self.record, self.until_s = wire, opened, record, until_s
        self.texts: list[str] = []
        self.is_over = False


class Environments(RuleBasedStateMachine):
    """Requests begin, speak, end and die in any order while the clock moves on; the conversation stays in order."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.shared = MemoryBackend()
        self.sessions: list[Session] = []

    @rule()
    def begin(self) -> None:
        self.runner.run(self._begin())

    async def _begin(self) -> None:
        wire = PartitionedBackend(self.shared)
        store = Store(lambda: wire, threads=0, is_shared=True, now=self.clock)
        text = f"question {len(self.sessions)}"
        request = ChatRequest(messages=(UserMessage((Text(text),)),), conversation_id="c", store=True)
        opened = ConversationStore(store, Settings(conversation_lease=LEASE_S)).open(ANONYMOUS, request)
        someone_has_it = any(not one.is_over and self.clock.time_s < one.until_s for one in self.sessions)
        if someone_has_it:
            with pytest.raises(RequestRejected, match="another request is running"):
                await opened.__aenter__()
            return
        record = await opened.__aenter__()
        session = Session(wire, opened, record, self.clock.time_s + LEASE_S)
        session.texts.append(text)
        self.sessions.append(session)
        await asyncio.sleep(0)

    @precondition(lambda self: self._running())
    @rule(data=st.data())
    def speak(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(self._running()))
        text = f"answer {len(session.texts)}"
        session.texts.append(text)
        self.runner.run(self._say(session, text))

    async def _say(self, session: Session, text: str) -> None:
        session.record.append(AssistantMessage((Text(text),)))
        for _ in range(5):
            await asyncio.sleep(0)  # the writer's turn

    @precondition(lambda self: self._running())
    @rule(data=st.data(), dies=st.booleans())
    def end(self, data: st.DataObject, dies: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
        session = data.draw(st.sampled_from(self._running()))
        session.wire.is_cut = dies
        self._end(session)
        # A dead one keeps the conversation until its lease ends.
        session.is_over = not dies
        session.until_s = session.until_s if dies else 0

    @rule(seconds=st.sampled_from([1.0, 29.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.clock.time_s += seconds

    @invariant()
    def the_conversation_is_in_order(self) -> None:
        if self.sessions:
            assert self.runner.run(self._kept()) == [text for session in self.sessions for text in session.texts]

    def teardown(self) -> None:
        for session in self._running():
            self._end(session)
        self.runner.close()

    def _running(self) -> list[Session]:
        return [one for one in self.sessions if not one.is_over and not one.wire.is_cut]

    def _end(self, session: Session) -> None:
        with contextlib.suppress(StorageUnavailable):
            self.runner.run(session.opened.__aexit__(None, None, None))

    async def _kept(self) -> list[str]:
        store = Store(lambda: PartitionedBackend(self.shared), threads=0, is_shared=True, now=self.clock)
        shown = json.loads(await ConversationStore(store, Settings()).get(ANONYMOUS, "c"))
        return [part["text"] for message in shown["messages"] for part in message["parts"]]


TestEnvironments = Environments.TestCase
TestEnvironments.settings = examples(max_examples=40, stateful_step_count=20)
