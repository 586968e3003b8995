"""Conversations: kept, continued, listed, read and deleted, by nobody but their owner, by one request at a time."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.chat.stores import KINDS, Clock, open_store
from tests.clock import jumping
from winterbourne.chat.auth.base import Caller
from winterbourne.chat.core.messages import (
    AssistantMessage,
    ChatRequest,
    Message,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from winterbourne.chat.errors import RequestRejected, StorageUnavailable
from winterbourne.chat.settings import Settings
from winterbourne.chat.storage.base import Item, Store
from winterbourne.chat.storage.conversations import ConversationStore
from winterbourne.chat.storage.memory import MemoryBackend

ALICE, BOB = Caller("key:alice", "alice"), Caller("key:bob", "bob")
DAY_S = 86_400


def user(text: str, id_: str = "") -> UserMessage:
    return UserMessage((Text(text),), id_)


def said(text: str, *, incomplete: bool = False) -> AssistantMessage:
    return AssistantMessage((Text(text),), "m", incomplete)


def asks(*messages: Message, conversation: str = "c", store: bool = True) -> ChatRequest:
    return ChatRequest(messages=messages, conversation_id=conversation, store=store)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    async with open_store(request.param, tmp_path, clock) as store:
        yield store


@pytest.fixture
def conversations(store: Store) -> ConversationStore:
    return ConversationStore(store, Settings(conversation_ttl_days=10, conversation_lease=30))


@pytest.fixture
def elsewhere(store: Store) -> ConversationStore:
    """Another execution environment on the same store."""
    return ConversationStore(store, Settings(conversation_ttl_days=10, conversation_lease=30))


async def talk(
    conversations: ConversationStore, question: str, answer: str, conversation: str = "c", **more: Any
) -> None:
    async with conversations.open(more.get("caller", ALICE), asks(user(question), conversation=conversation)) as record:
        record.append(said(answer))


async def shown(conversations: ConversationStore, caller: Caller = ALICE, conversation: str = "c") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await conversations.get(caller, conversation))
    return found


async def listed(conversations: ConversationStore, caller: Caller = ALICE, **query: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await conversations.list_page(caller, query))
    return found


async def history(conversations: ConversationStore, *new: Message) -> tuple[Message, ...]:
    """What a model would be asked."""
    async with conversations.open(ALICE, asks(*new)) as record:
        return record.messages


async def refusal(conversations: ConversationStore, caller: Caller = ALICE, conversation: str = "c") -> RequestRejected:
    with pytest.raises(RequestRejected) as refused:
        async with conversations.open(caller, asks(user("me too"), conversation=conversation)):
            pytest.fail("two requests in one conversation")
    return refused.value


class TestContinuing:
    async def test_a_new_conversation_begins_with_its_first_message(self, conversations: ConversationStore) -> None:
        assert await history(conversations, user("hello")) == (user("hello"),)

    async def test_the_next_request_gets_all_that_was_said(self, conversations: ConversationStore) -> None:
        await talk(conversations, "one", "1")
        await talk(conversations, "two", "2")
        expected = (user("one"), said("1"), user("two"), said("2"), user("three"))
        assert await history(conversations, user("three")) == expected

    async def test_also_in_another_environment(
        self, conversations: ConversationStore, elsewhere: ConversationStore
    ) -> None:
        await talk(conversations, "one", "1")
        assert await history(elsewhere, user("two")) == (user("one"), said("1"), user("two"))

    async def test_a_message_of_a_megabyte_comes_back_whole(self, conversations: ConversationStore) -> None:
        await talk(conversations, "☃" * 400_000, "1")
        assert (await history(conversations, user("x")))[0] == user("☃" * 400_000)

    async def test_calls_and_results_come_back(self, conversations: ConversationStore) -> None:
        called = AssistantMessage((Text("let me see"), ToolCall("1", "clock", "{}"), ToolCall("2", "sum", "")), "m")
        async with conversations.open(ALICE, asks(user("time?"))) as record:
            record.append(called)
            record.append(ToolMessage("1", "clock", '"noon"'))
            record.append(ToolMessage("2", "sum", "no", is_error=True))
        found = await history(conversations, user("thanks"))
        assert found[1:4] == (called, ToolMessage("1", "clock", '"noon"'), ToolMessage("2", "sum", "no", is_error=True))

    async def test_whoever_sends_the_whole_history_is_not_kept(self, conversations: ConversationStore) -> None:
        request = asks(user("a"), said("b"), user("c"), store=False)
        async with conversations.open(ALICE, request) as record:
            record.append(said("d"))
            assert record.messages == request.messages
        assert (await listed(conversations))["conversations"] == []

    async def test_messages_that_do_not_fit_are_refused_and_not_kept(self, conversations: ConversationStore) -> None:
        await talk(conversations, "one", "1")
        with pytest.raises(RequestRejected) as refused:
            await history(conversations, ToolMessage("9", "clock", "noon"))
        assert refused.value.status == 400
        assert await history(conversations, user("two")) == (user("one"), said("1"), user("two"))

    async def test_messages_that_fit_nothing_begin_nothing(self, conversations: ConversationStore) -> None:
        with pytest.raises(RequestRejected):
            await history(conversations, ToolMessage("9", "clock", "noon"))
        assert (await listed(conversations))["conversations"] == []


class TestAStreamThatBroke:
    async def test_what_was_streamed_is_kept_and_marked(self, conversations: ConversationStore) -> None:
        async def stream() -> None:
            async with conversations.open(ALICE, asks(user("one"))) as record:
                record.append(said("1 and", incomplete=True))
                raise ConnectionError

        with pytest.raises(ConnectionError):
            await stream()
        assert await history(conversations, user("go on")) == (
            user("one"),
            said("1 and", incomplete=True),
            user("go on"),
        )
        assert (await shown(conversations))["messages"][1]["incomplete"] is True

    async def test_also_when_the_request_was_cancelled(self, conversations: ConversationStore) -> None:
        running = asyncio.Event()

        async def stream() -> None:
            async with conversations.open(ALICE, asks(user("one"))) as record:
                try:
                    running.set()
                    await asyncio.Event().wait()
                finally:
                    record.append(said("1 and", incomplete=True))

        task = asyncio.create_task(stream())
        await running.wait()
        task.cancel()
        await asyncio.wait([task])
        assert (await history(conversations, user("go on")))[1] == said("1 and", incomplete=True)

    async def test_a_call_without_a_result_has_one_for_the_model(self, conversations: ConversationStore) -> None:
        async with conversations.open(ALICE, asks(user("time?"))) as record:
            record.append(AssistantMessage((ToolCall("1", "clock", "{}"),), "m", incomplete=True))
        result = (await history(conversations, user("go on")))[2]
        assert isinstance(result, ToolMessage)
        assert result.is_error

    async def test_the_same_message_sent_again_takes_the_place_of_the_first(
        self, conversations: ConversationStore
    ) -> None:
        await talk(conversations, "one", "1")
        async with conversations.open(ALICE, asks(user("two", "id-2"))) as record:
            record.append(said("oops", incomplete=True))
        async with conversations.open(ALICE, asks(user("two", "id-2"))) as record:
            assert record.messages == (user("one"), said("1"), user("two", "id-2"))
            record.append(said("2"))
        assert [one["role"] for one in (await shown(conversations))["messages"]] == ["user", "assistant"] * 2


class TestOneRequestAtATime:
    async def test_the_second_is_told_that_the_first_is_running(
        self, conversations: ConversationStore, elsewhere: ConversationStore
    ) -> None:
        async with conversations.open(ALICE, asks(user("one"))):
            refused = await refusal(elsewhere)
        assert (refused.status, refused.code) == (409, "conversation_busy")
        assert refused.headers == {"retry-after": "1"}

    async def test_afterwards_it_may(self, conversations: ConversationStore, elsewhere: ConversationStore) -> None:
        await talk(conversations, "one", "1")
        await talk(elsewhere, "two", "2")

    async def test_of_many_that_begin_at_once_one_gets_it(self, conversations: ConversationStore) -> None:
        all_told, told = asyncio.Event(), 0

        async def stream(number: int) -> str:
            nonlocal told
            try:
                async with conversations.open(ALICE, asks(user(f"{number}"))):
                    await all_told.wait()
                    return "answered"
            except RequestRejected as refused:
                told += 1
                if told == 4:
                    all_told.set()
                return refused.code

        found = await asyncio.gather(*(stream(number) for number in range(5)))
        assert sorted(found) == ["answered"] + ["conversation_busy"] * 4

    async def test_other_conversations_and_other_callers_are_not_kept_waiting(
        self, conversations: ConversationStore
    ) -> None:
        async with conversations.open(ALICE, asks(user("one"))):
            await talk(conversations, "two", "2", conversation="d")
            await talk(conversations, "three", "3", caller=BOB)

    async def test_an_environment_that_died_does_not_keep_it_for_ever(
        self, conversations: ConversationStore, elsewhere: ConversationStore, clock: Clock
    ) -> None:
        async with conversations.open(ALICE, asks(user("one"))) as record:
            record.append(said("1 and"))
            clock.time_s += 29.9
            await refusal(elsewhere)
            clock.time_s += 0.1
            await talk(elsewhere, "two", "2")
        texts = [one["parts"][0]["text"] for one in (await shown(elsewhere))["messages"]]
        assert texts == ["one", "1 and", "two", "2"]

    async def test_the_late_end_of_the_first_does_not_take_it_from_the_second(
        self, conversations: ConversationStore, elsewhere: ConversationStore, clock: Clock
    ) -> None:
        first = conversations.open(ALICE, asks(user("one")))
        await first.__aenter__()
        clock.time_s += 31
        async with elsewhere.open(ALICE, asks(user("two"))):
            await first.__aexit__(None, None, None)
            assert (await refusal(conversations)).status == 409

    @jumping
    async def test_a_long_stream_renews_its_lease(self) -> None:
        loop = asyncio.get_running_loop()
        store = Store(MemoryBackend, threads=0, is_shared=True, now=loop.time)
        here, elsewhere = (ConversationStore(store, Settings(conversation_lease=30)) for _ in range(2))
        async with here.open(ALICE, asks(user("one"))):
            for _ in range(10):
                await asyncio.sleep(12)
                assert (await refusal(elsewhere)).status == 409


class TestWhoseItIs:
    async def test_the_same_id_of_another_caller_is_another_conversation(
        self, conversations: ConversationStore
    ) -> None:
        await talk(conversations, "secret", "1")
        async with conversations.open(BOB, asks(user("hello"))) as record:
            assert record.messages == (user("hello"),)
        assert (await shown(conversations))["title"] == "secret"

    async def test_another_callers_is_not_found(self, conversations: ConversationStore) -> None:
        await talk(conversations, "secret", "1")
        for attempt in (conversations.get(BOB, "c"), conversations.delete(BOB, "c"), conversations.get(BOB, "d")):
            with pytest.raises(RequestRejected) as refused:
                await attempt
            assert (refused.value.status, refused.value.code) == (404, "conversation_not_found")
        assert (await shown(conversations))["title"] == "secret"

    @pytest.mark.parametrize("other", ["key:alice#c", "key:alic", "key:alice%23c", "KEY:ALICE"])
    async def test_no_name_leads_into_anothers(self, conversations: ConversationStore, other: str) -> None:
        await talk(conversations, "secret", "1")
        assert (await listed(conversations, Caller(other, "mallory")))["conversations"] == []
        for conversation in ("c", "", "#", "c#c"):
            with pytest.raises(RequestRejected):
                await conversations.get(Caller(other, "mallory"), conversation)

    async def test_ids_may_have_any_characters_and_any_length(self, conversations: ConversationStore) -> None:
        for name in ("a/b#c", "☃" * 200, "\x00", " "):
            await talk(conversations, "one", "1", conversation=name)
            async with conversations.open(ALICE, asks(user("two"), conversation=name)) as record:
                assert len(record.messages) == 3


class TestListing:
    async def test_the_latest_comes_first(self, conversations: ConversationStore, clock: Clock) -> None:
        for name in ("a", "b", "a"):
            clock.time_s += 10
            await talk(conversations, f"what is {name}?", "1", conversation=name)
        found = (await listed(conversations))["conversations"]
        assert [(one["id"], one["title"]) for one in found] == [("a", "what is a?"), ("b", "what is b?")]
        assert found[0]["created_at"] == "2027-01-15T08:00:10Z"
        assert found[0]["updated_at"] == "2027-01-15T08:00:30Z"

    async def test_a_running_one_says_so(self, conversations: ConversationStore) -> None:
        async with conversations.open(ALICE, asks(user("one"))):
            assert [one["running"] for one in (await listed(conversations))["conversations"]] == [True]
            assert (await shown(conversations))["running"] is True
        assert [one["running"] for one in (await listed(conversations))["conversations"]] == [False]

    async def test_page_after_page_shows_each_once(self, conversations: ConversationStore, clock: Clock) -> None:
        for number in range(5):
            clock.time_s += 1
            await talk(conversations, "one", "1", conversation=f"{number}")
        first = await listed(conversations, limit="2")
        second = await listed(conversations, limit="2", after=first["next"])
        third = await listed(conversations, limit="2", after=second["next"])
        found = [one["id"] for page in (first, second, third) for one in page["conversations"]]
        assert found == ["4", "3", "2", "1", "0"]
        assert third["next"] is None

    @pytest.mark.parametrize(
        "query",
        [
            {"limit": "0"},
            {"limit": "101"},
            {"limit": "-1"},
            {"limit": "x"},
            {"limit": "1e1"},
            {"after": "x"},
            {"after": "e30="},
            {"after": "WzAsImEiXQ=="},
            {"after": "☃"},
        ],
    )
    async def test_what_cannot_be_is_refused(self, conversations: ConversationStore, query: dict[str, str]) -> None:
        with pytest.raises(RequestRejected) as refused:
            await conversations.list_page(ALICE, query)
        assert refused.value.status == 400


class TestDeleting:
    async def test_nothing_of_it_is_left(self, conversations: ConversationStore, store: Store) -> None:
        await talk(conversations, "x" * 1_000_000, "1")
        await conversations.delete(ALICE, "c")
        assert await store.query_partition("messages#key:alice#c") == []
        assert (await listed(conversations))["conversations"] == []
        with pytest.raises(RequestRejected) as refused:
            await conversations.delete(ALICE, "c")
        assert refused.value.status == 404

    async def test_its_name_may_be_used_again(self, conversations: ConversationStore) -> None:
        await talk(conversations, "one", "1")
        await conversations.delete(ALICE, "c")
        assert await history(conversations, user("new")) == (user("new"),)

    async def test_others_stay(self, conversations: ConversationStore) -> None:
        await talk(conversations, "one", "1")
        await talk(conversations, "two", "2", conversation="d")
        await conversations.delete(ALICE, "d")
        assert (await shown(conversations))["title"] == "one"

    async def test_not_while_a_request_runs_in_it(self, conversations: ConversationStore) -> None:
        async with conversations.open(ALICE, asks(user("one"))):
            with pytest.raises(RequestRejected) as refused:
                await conversations.delete(ALICE, "c")
        assert refused.value.status == 409
        assert (await shown(conversations))["title"] == "one"


class TestForgetting:
    async def test_what_is_not_used_is_forgotten(self, conversations: ConversationStore, clock: Clock) -> None:
        await talk(conversations, "one", "1")
        clock.time_s += 10 * DAY_S
        assert (await listed(conversations))["conversations"] == []
        assert await history(conversations, user("new")) == (user("new"),)

    async def test_what_is_used_is_kept_whole(self, conversations: ConversationStore, clock: Clock) -> None:
        for number in range(6):
            await talk(conversations, f"{number}", "ok")
            clock.time_s += 4 * DAY_S
        assert len((await shown(conversations))["messages"]) == 12

    async def test_it_is_not_written_anew_each_time(
        self, conversations: ConversationStore, store: Store, clock: Clock
    ) -> None:
        await talk(conversations, "one", "1")
        before = {item.expires_at_s for item in await store.query_partition("messages#key:alice#c")}
        clock.time_s += 4 * DAY_S
        await talk(conversations, "two", "2")
        assert before < {item.expires_at_s for item in await store.query_partition("messages#key:alice#c")}

    async def test_what_was_taken_back_does_not_return_when_the_rest_is_written_anew(
        self, conversations: ConversationStore, clock: Clock
    ) -> None:
        await talk(conversations, "one", "1")
        async with conversations.open(ALICE, asks(user("two", "id-2"))) as record:
            record.append(said("oops"))
        clock.time_s += 6 * DAY_S
        async with conversations.open(ALICE, asks(user("two", "id-2"))) as record:
            record.append(said("2"))
        assert "oops" not in str(await shown(conversations))


class Flaky(MemoryBackend):
    """Fails with every call of these names."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: set[str] = set()

    def put(self, items: Any) -> None:
        self._check("put")
        super().put(items)

    def query_partition(self, pk: str) -> list[Item]:
        self._check("partition")
        return super().query_partition(pk)

    def delete(self, keys: Any) -> None:
        self._check("delete")
        super().delete(keys)

    def compare_and_set(self, item: Item, now_s: float) -> bool:
        self._check("replace")
        return super().compare_and_set(item, now_s)

    def _check(self, name: str) -> None:
        if name in self.broken:
            raise TimeoutError


class TestAStoreThatIsAway:
    @pytest.fixture
    def backend(self) -> Flaky:
        return Flaky()

    @pytest.fixture
    def conversations(self, backend: Flaky, clock: Clock) -> ConversationStore:
        return ConversationStore(Store(lambda: backend, threads=0, is_shared=False, now=clock), Settings())

    async def test_before_the_stream_it_is_said(self, conversations: ConversationStore, backend: Flaky) -> None:
        backend.broken = {"replace"}
        with pytest.raises(StorageUnavailable):
            await talk(conversations, "one", "1")

    async def test_a_conversation_that_could_not_be_read_is_given_back(
        self, conversations: ConversationStore, backend: Flaky
    ) -> None:
        backend.broken = {"partition"}
        with pytest.raises(StorageUnavailable):
            await talk(conversations, "one", "1")
        backend.broken = set()
        await talk(conversations, "one", "1")

    async def test_a_conversation_that_could_not_be_deleted_is_still_there_and_free(
        self, conversations: ConversationStore, backend: Flaky
    ) -> None:
        await talk(conversations, "one", "1")
        backend.broken = {"delete"}
        with pytest.raises(StorageUnavailable):
            await conversations.delete(ALICE, "c")
        backend.broken = set()
        assert len((await shown(conversations))["messages"]) == 2
        await talk(conversations, "two", "2")

    async def test_during_the_stream_the_stream_goes_on(
        self, conversations: ConversationStore, backend: Flaky, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with conversations.open(ALICE, asks(user("one"))) as record:
            backend.broken = {"put", "replace"}
            record.append(said("1"))
        assert "could not be saved" in caplog.text
