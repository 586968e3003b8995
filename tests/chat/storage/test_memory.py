"""Memory backend: within its bound, the conversations that were not used for longest go first, each as a whole."""

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.storage.opening import opening
from tests.chat.stores import Clock
from winterbourne.chat.core.events import TextDelta
from winterbourne.chat.core.messages import AssistantMessage, ChatRequest, Text, UserMessage
from winterbourne.chat.settings import StorageSettings
from winterbourne.chat.storage.base import Item, Store, encode_key
from winterbourne.chat.storage.conversations import ConversationStore, OpenConversation
from winterbourne.chat.storage.factory import make_store
from winterbourne.chat.storage.memory import ITEM_OVERHEAD_BYTES, MemoryBackend
from winterbourne.chat.storage.stop_signals import StopSignals

MAX_BYTES = 100_000


class Environment:
    def __init__(self) -> None:
        self.clock = Clock()
        self.backend = MemoryBackend(MAX_BYTES, self.clock)
        self.store = Store(lambda: self.backend, threads=0, is_shared=False, now=self.clock)
        self.conversations = ConversationStore(self.store, StorageSettings())

    def open(self, name: str, chars: int = 20_000) -> contextlib.AbstractAsyncContextManager[OpenConversation]:
        message = UserMessage((Text("x" * chars),))
        request = ChatRequest(messages=(message,), conversation_id=name, store=True)
        return opening(self.conversations, "me", request)

    async def ask(self, name: str, chars: int = 20_000) -> None:
        self.clock.time_s += 1
        async with self.open(name, chars) as opened:
            opened.append(AssistantMessage((Text("y"),)))

    async def names(self) -> list[str]:
        return sorted(one.id for one in (await self.conversations.list_page("me", 100))[0])


@pytest.fixture
def environment() -> Environment:
    return Environment()


async def test_the_oldest_conversations_go_with_all_their_messages(environment: Environment) -> None:
    for number in range(40):
        await environment.ask(f"c{number:02}")
    assert await environment.names() == ["c36", "c37", "c38", "c39"]
    messages = [await environment.store.query_partition(encode_key("messages", "me", f"c{n:02}")) for n in range(40)]
    assert [len(one) for one in messages] == [0] * 36 + [2] * 4


async def test_one_that_is_read_stays(environment: Environment) -> None:
    for number in range(20):
        await environment.ask(f"c{number:02}")
        await environment.conversations.get("me", "c00")
    assert "c00" in await environment.names()


async def test_one_that_is_running_stays(environment: Environment) -> None:
    async with environment.open("running") as opened:
        for number in range(20):
            await environment.ask(f"c{number:02}")
        opened.append(AssistantMessage((Text("said"),)))
    _, messages = await environment.conversations.get("me", "running")
    assert len(messages) == 2


async def test_logs_go_with_their_conversation_and_those_of_others_like_one(environment: Environment) -> None:
    logs = environment.conversations.logs
    for number in range(40):
        environment.clock.time_s += 1
        request = ChatRequest(messages=(), conversation_id=f"c{number:02}")
        answer = logs.open("me", request)
        answer.log((TextDelta("x" * 20_000),))
        await answer.close(asyncio.get_running_loop().time() + 5)
    assert [bool(await logs.read("me", f"c{number:02}")) for number in range(40)] == [False] * 36 + [True] * 4


async def test_counters_stay_until_they_expire(environment: Environment) -> None:
    ends_at_s = int(environment.clock.time_s) + 60
    await environment.store.increment("limits#me", "requests#1", 7, ends_at_s)
    for number in range(20):
        await environment.ask(f"c{number:02}")
    assert await environment.store.increment("limits#me", "requests#1", 1, ends_at_s) == 8


async def test_stop_signals_do_not_pile_up(environment: Environment) -> None:
    signals = StopSignals(environment.store, 1)
    await environment.ask("c")
    for number in range(1000):
        await signals.send("me", f"never-{number}")
    found = await environment.store.query_partition(encode_key("stops", "me"))
    assert 0 < len(found) * ITEM_OVERHEAD_BYTES <= MAX_BYTES


async def test_what_was_deleted_or_replaced_needs_no_room(environment: Environment) -> None:
    await environment.ask("stays")
    for number in range(40):
        await environment.ask("again", chars=30_000)
        await environment.conversations.delete("me", "again")
        assert await environment.names() == ["stays"], number


async def test_a_conversation_larger_than_the_bound_is_kept_alone(environment: Environment) -> None:
    await environment.ask("small")
    await environment.ask("large", chars=2 * MAX_BYTES)
    assert await environment.names() == ["large"]
    await environment.ask("small")
    assert await environment.names() == ["small"]


@pytest.mark.parametrize(("memory_mb", "kept"), [("128", 16), ("256", 32), ("10240", 64), (None, 64)])
async def test_an_eighth_of_the_functions_memory_is_used_up_to_64_megabytes(
    monkeypatch: pytest.MonkeyPatch, memory_mb: str | None, kept: int
) -> None:
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", raising=False)
    if memory_mb:
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory_mb)
    store, body = make_store("memory"), bytes(2**20 - 2 * ITEM_OVERHEAD_BYTES)
    for number in range(100):
        await store.put([Item(pk="p", sk=f"{number:03}", body=body)])
    assert len(await store.query_partition("p")) == kept


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("123"), st.integers(0, 5_000), st.booleans())))
def test_the_bound_holds_whatever_is_written_and_deleted(steps: list[tuple[str, str, int, bool]]) -> None:
    backend = MemoryBackend(9_000, Clock())
    for conversation, sk, size, deletes in steps:
        pk = f"messages#me#{conversation}"
        if deletes:
            backend.delete([(pk, sk)])
        else:
            backend.put([Item(pk=pk, sk=sk, body=bytes(size))])
            assert backend.get(pk, sk)
        left = {name: backend.query_partition(f"messages#me#{name}") for name in "abcd"}
        used = sum(len(item.body) + ITEM_OVERHEAD_BYTES for items in left.values() for item in items)
        assert used <= 9_000 or sum(map(bool, left.values())) == 1
