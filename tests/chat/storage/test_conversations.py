"""Conversation store: continuing, listing, reading, deleting and expiring conversations, each with one owner."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tests.chat.secrets_known import forget_secrets
from tests.chat.storage.opening import opening
from tests.chat.stores import KINDS, Clock, open_store
from tests.clock import jumping
from winterbourne.chat.core.events import (
    ChatEvent,
    ConversationStarted,
    TextDelta,
    ToolCallReady,
    ToolFinished,
    TurnEnded,
    TurnStarted,
)
from winterbourne.chat.core.messages import (
    Approval,
    AssistantMessage,
    ChatRequest,
    Decision,
    Message,
    Summary,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from winterbourne.chat.errors import (
    ConversationBusy,
    ConversationNotFound,
    InvalidHistory,
    StorageError,
    StorageUnavailable,
)
from winterbourne.chat.infra import redaction
from winterbourne.chat.settings import StorageSettings
from winterbourne.chat.storage import conversation_items
from winterbourne.chat.storage import conversations as conversations_module
from winterbourne.chat.storage.base import Item, Store
from winterbourne.chat.storage.conversation_items import StoredMessage, conversations_partition, messages_partition
from winterbourne.chat.storage.conversations import ConversationStore, ConversationSummary, OpenConversation
from winterbourne.chat.storage.memory import MemoryBackend
from winterbourne.chat.storage.stream_log import log_partition
from winterbourne.override import override

ALICE, BOB = "key:alice", "key:bob"
DAY_S = 86_400


def user(text: str, id_: str = "") -> UserMessage:
    return UserMessage((Text(text),), id_)


def assistant(text: str, *, incomplete: bool = False) -> AssistantMessage:
    return AssistantMessage((Text(text),), "m", incomplete)


def chat_request(*messages: Message, conversation: str = "c") -> ChatRequest:
    return ChatRequest(messages=messages, conversation_id=conversation, store=True)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    async with open_store(request.param, tmp_path, clock) as store:
        yield store


@pytest.fixture
def conversations(store: Store) -> ConversationStore:
    return ConversationStore(store, StorageSettings(conversation_ttl_days=10, conversation_lease=30))


@pytest.fixture
def other_environment(store: Store) -> ConversationStore:
    """Another execution environment on the same store."""
    return ConversationStore(store, StorageSettings(conversation_ttl_days=10, conversation_lease=30))


async def run_request(
    conversations: ConversationStore, question: str, answer: str, conversation: str = "c", **options: Any
) -> None:
    async with opening(
        conversations, options.get("caller", ALICE), chat_request(user(question), conversation=conversation)
    ) as opened:
        opened.append(assistant(answer))


async def get_summary(conversations: ConversationStore) -> ConversationSummary:
    summary, _ = await conversations.get(ALICE, "c")
    return summary


async def get_messages(conversations: ConversationStore) -> list[Message]:
    _, messages = await conversations.get(ALICE, "c")
    return without_ids(messages)


async def list_conversations(conversations: ConversationStore, caller_id: str = ALICE) -> list[ConversationSummary]:
    summaries, _ = await conversations.list_page(caller_id, 30)
    return summaries


async def merged_history(conversations: ConversationStore, *new: Message) -> tuple[Message, ...]:
    """The messages that the model would get."""
    async with opening(conversations, ALICE, chat_request(*new)) as opened:
        return opened.messages


async def assert_busy(conversations: ConversationStore) -> None:
    with pytest.raises(ConversationBusy):
        async with opening(conversations, ALICE, chat_request(user("me too"))):
            pytest.fail("two requests in one conversation")


class TestContinuing:
    async def test_a_new_conversation_begins_with_its_first_message(self, conversations: ConversationStore) -> None:
        assert await merged_history(conversations, user("hello")) == (user("hello"),)

    async def test_the_next_request_gets_the_whole_history(self, conversations: ConversationStore) -> None:
        await run_request(conversations, "one", "1")
        await run_request(conversations, "two", "2")
        expected = (user("one"), assistant("1"), user("two"), assistant("2"), user("three"))
        assert await merged_history(conversations, user("three")) == expected

    async def test_the_next_request_may_run_in_another_environment(
        self, conversations: ConversationStore, other_environment: ConversationStore
    ) -> None:
        await run_request(conversations, "one", "1")
        assert await merged_history(other_environment, user("two")) == (user("one"), assistant("1"), user("two"))

    async def test_a_message_of_a_megabyte_is_stored_whole(self, conversations: ConversationStore) -> None:
        await run_request(conversations, "☃" * 400_000, "1")
        assert (await merged_history(conversations, user("x")))[0] == user("☃" * 400_000)

    async def test_a_large_history_is_decoded_in_a_thread(
        self, conversations: ConversationStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        threads: list[str] = []

        def join_items(*arguments: Any) -> list[StoredMessage]:
            threads.append(threading.current_thread().name)
            return conversation_items.join_items(*arguments)

        monkeypatch.setattr(conversations_module, "join_items", join_items)
        await run_request(conversations, "small", "1")
        await run_request(conversations, "x" * 300_000, "2")
        await merged_history(conversations, user("three"))
        await get_messages(conversations)
        main = threading.main_thread().name
        assert [name == main for name in threads] == [True, True, False, False]

    async def test_calls_and_results_are_stored(self, conversations: ConversationStore) -> None:
        message = AssistantMessage((Text("let me see"), ToolCall("1", "clock", "{}"), ToolCall("2", "sum", "")), "m")
        async with opening(conversations, ALICE, chat_request(user("time?"))) as opened:
            opened.append(message)
            opened.append(ToolMessage("1", "clock", '"noon"'))
            opened.append(ToolMessage("2", "sum", "no", is_error=True))
        found = await merged_history(conversations, user("thanks"))
        assert found[1:4] == (
            message,
            ToolMessage("1", "clock", '"noon"'),
            ToolMessage("2", "sum", "no", is_error=True),
        )

    async def test_invalid_messages_are_rejected_and_not_stored(self, conversations: ConversationStore) -> None:
        await run_request(conversations, "one", "1")
        with pytest.raises(InvalidHistory) as rejected:
            await merged_history(conversations, ToolMessage("9", "clock", "noon"))
        assert rejected.value.code == "unknown_tool_call"
        assert await merged_history(conversations, user("two")) == (user("one"), assistant("1"), user("two"))

    async def test_invalid_messages_start_no_conversation(self, conversations: ConversationStore) -> None:
        with pytest.raises(InvalidHistory):
            await merged_history(conversations, ToolMessage("9", "clock", "noon"))
        assert await list_conversations(conversations) == []


class TestBrokenStream:
    async def test_what_was_streamed_is_stored_and_marked(self, conversations: ConversationStore) -> None:
        async def stream() -> None:
            async with opening(conversations, ALICE, chat_request(user("one"))) as opened:
                opened.append(assistant("1 and", incomplete=True))
                raise ConnectionError

        with pytest.raises(ConnectionError):
            await stream()
        assert await merged_history(conversations, user("go on")) == (
            user("one"),
            assistant("1 and", incomplete=True),
            user("go on"),
        )
        assert (await get_messages(conversations))[1] == assistant("1 and", incomplete=True)

    async def test_what_was_streamed_is_stored_after_a_cancellation_too(self, conversations: ConversationStore) -> None:
        running = asyncio.Event()

        async def stream() -> None:
            async with opening(conversations, ALICE, chat_request(user("one"))) as opened:
                try:
                    running.set()
                    await asyncio.Event().wait()
                finally:
                    opened.append(assistant("1 and", incomplete=True))

        task = asyncio.create_task(stream())
        await running.wait()
        task.cancel()
        await asyncio.wait([task])
        assert (await merged_history(conversations, user("go on")))[1] == assistant("1 and", incomplete=True)

    async def test_a_call_without_a_result_gets_an_error_result_for_the_model(
        self, conversations: ConversationStore
    ) -> None:
        async with opening(conversations, ALICE, chat_request(user("time?"))) as opened:
            opened.append(AssistantMessage((ToolCall("1", "clock", "{}"),), "m", incomplete=True))
        result = (await merged_history(conversations, user("go on")))[2]
        assert isinstance(result, ToolMessage)
        assert result.is_error

    async def test_the_same_message_sent_again_replaces_the_first(self, conversations: ConversationStore) -> None:
        await run_request(conversations, "one", "1")
        async with opening(conversations, ALICE, chat_request(user("two", "id-2"))) as opened:
            opened.append(assistant("oops", incomplete=True))
        async with opening(conversations, ALICE, chat_request(user("two", "id-2"))) as opened:
            assert opened.messages == (user("one"), assistant("1"), user("two", "id-2"))
            opened.append(assistant("2"))
        expected = [user("one"), assistant("1"), user("two", "id-2"), assistant("2")]
        assert await get_messages(conversations) == expected


class TestOneRequestAtATime:
    async def test_a_second_request_is_rejected_while_the_first_runs(
        self, conversations: ConversationStore, other_environment: ConversationStore
    ) -> None:
        async with opening(conversations, ALICE, chat_request(user("one"))):
            await assert_busy(other_environment)

    async def test_a_second_request_may_run_afterwards(
        self, conversations: ConversationStore, other_environment: ConversationStore
    ) -> None:
        await run_request(conversations, "one", "1")
        await run_request(other_environment, "two", "2")

    async def test_exactly_one_of_many_concurrent_requests_runs(self, conversations: ConversationStore) -> None:
        all_rejected, rejected_count = asyncio.Event(), 0

        async def stream(number: int) -> str:
            nonlocal rejected_count
            try:
                async with opening(conversations, ALICE, chat_request(user(f"{number}"))):
                    await all_rejected.wait()
                    return "answered"
            except ConversationBusy:
                rejected_count += 1
                if rejected_count == 4:
                    all_rejected.set()
                return "refused"

        found = await asyncio.gather(*(stream(number) for number in range(5)))
        assert sorted(found) == ["answered"] + ["refused"] * 4

    async def test_other_conversations_and_other_callers_are_not_blocked(
        self, conversations: ConversationStore
    ) -> None:
        async with opening(conversations, ALICE, chat_request(user("one"))):
            await run_request(conversations, "two", "2", conversation="d")
            await run_request(conversations, "three", "3", caller=BOB)

    async def test_the_lease_of_an_environment_that_crashed_expires(
        self, conversations: ConversationStore, other_environment: ConversationStore, clock: Clock
    ) -> None:
        async with opening(conversations, ALICE, chat_request(user("one"))) as opened:
            opened.append(assistant("1 and"))
            clock.time_s += 29.9
            await assert_busy(other_environment)
            clock.time_s += 0.1
            await run_request(other_environment, "two", "2")
        expected = [user("one"), assistant("1 and"), user("two"), assistant("2")]
        assert await get_messages(other_environment) == expected

    async def test_a_request_that_lost_its_lease_does_not_release_the_next_requests_lease(
        self, conversations: ConversationStore, other_environment: ConversationStore, clock: Clock
    ) -> None:
        first = opening(conversations, ALICE, chat_request(user("one")))
        await until_written(await first.__aenter__())
        clock.time_s += 31
        async with opening(other_environment, ALICE, chat_request(user("two"))):
            await first.__aexit__(None, None, None)
            await assert_busy(conversations)

    @jumping
    async def test_a_long_stream_renews_its_lease(self) -> None:
        loop = asyncio.get_running_loop()
        store = Store(MemoryBackend, threads=0, is_shared=True, now=loop.time)
        one_environment, other_environment = (
            ConversationStore(store, StorageSettings(conversation_lease=30)) for _ in range(2)
        )
        async with opening(one_environment, ALICE, chat_request(user("one"))):
            for _ in range(10):
                await asyncio.sleep(12)
                await assert_busy(other_environment)


class TestOwnership:
    async def test_the_same_id_of_another_caller_is_another_conversation(
        self, conversations: ConversationStore
    ) -> None:
        await run_request(conversations, "secret", "1")
        async with opening(conversations, BOB, chat_request(user("hello"))) as opened:
            assert opened.messages == (user("hello"),)
        assert (await get_summary(conversations)).title == "secret"

    async def test_another_callers_conversation_is_not_found(self, conversations: ConversationStore) -> None:
        await run_request(conversations, "secret", "1")
        for attempt in (conversations.get(BOB, "c"), conversations.delete(BOB, "c"), conversations.get(BOB, "d")):
            with pytest.raises(ConversationNotFound):
                await attempt
        assert (await get_summary(conversations)).title == "secret"

    @pytest.mark.parametrize("other", ["key:alice#c", "key:alic", "key:alice%23c", "KEY:ALICE"])
    async def test_no_caller_id_gives_access_to_another_callers_conversations(
        self, conversations: ConversationStore, other: str
    ) -> None:
        await run_request(conversations, "secret", "1")
        assert await list_conversations(conversations, other) == []
        for conversation in ("c", "", "#", "c#c"):
            with pytest.raises(StorageError):
                await conversations.get(other, conversation)

    async def test_ids_may_have_any_characters_and_any_length(self, conversations: ConversationStore) -> None:
        for name in ("a/b#c", "☃" * 200, "\x00", " "):
            await run_request(conversations, "one", "1", conversation=name)
            async with opening(conversations, ALICE, chat_request(user("two"), conversation=name)) as opened:
                assert len(opened.messages) == 3


class TestListing:
    async def test_the_latest_comes_first(self, conversations: ConversationStore, clock: Clock) -> None:
        for name in ("a", "b", "a"):
            clock.time_s += 10
            await run_request(conversations, f"what is {name}?", "1", conversation=name)
        found = await list_conversations(conversations)
        assert [(one.id, one.title) for one in found] == [("a", "what is a?"), ("b", "what is b?")]
        assert found[0].created_at == datetime(2027, 1, 15, 8, 0, 10, tzinfo=UTC)
        assert found[0].updated_at == datetime(2027, 1, 15, 8, 0, 30, tzinfo=UTC)

    async def test_a_running_conversation_is_marked(self, conversations: ConversationStore) -> None:
        async with opening(conversations, ALICE, chat_request(user("one"))):
            assert [one.running for one in await list_conversations(conversations)] == [True]
            assert (await get_summary(conversations)).running is True
        assert [one.running for one in await list_conversations(conversations)] == [False]

    async def test_pagination_shows_each_conversation_once(
        self, conversations: ConversationStore, clock: Clock
    ) -> None:
        for number in range(5):
            clock.time_s += 1
            await run_request(conversations, "one", "1", conversation=f"{number}")
        found, after = await conversations.list_page(ALICE, 2)
        for _ in range(2):
            assert after
            page, after = await conversations.list_page(ALICE, 2, after)
            found += page
        assert [one.id for one in found] == ["4", "3", "2", "1", "0"]
        assert after is None


class TestDeleting:
    async def test_all_its_items_are_deleted(self, conversations: ConversationStore, store: Store) -> None:
        await run_request(conversations, "x" * 1_000_000, "1")
        await conversations.delete(ALICE, "c")
        assert await store.query_partition("messages#key:alice#c") == []
        assert await list_conversations(conversations) == []
        with pytest.raises(ConversationNotFound):
            await conversations.delete(ALICE, "c")

    async def test_its_id_may_be_used_again(self, conversations: ConversationStore) -> None:
        await run_request(conversations, "one", "1")
        await conversations.delete(ALICE, "c")
        assert await merged_history(conversations, user("new")) == (user("new"),)

    async def test_other_conversations_stay(self, conversations: ConversationStore) -> None:
        await run_request(conversations, "one", "1")
        await run_request(conversations, "two", "2", conversation="d")
        await conversations.delete(ALICE, "d")
        assert (await get_summary(conversations)).title == "one"

    async def test_a_running_conversation_is_not_deleted(self, conversations: ConversationStore) -> None:
        async with opening(conversations, ALICE, chat_request(user("one"))):
            with pytest.raises(ConversationBusy):
                await conversations.delete(ALICE, "c")
        assert (await get_summary(conversations)).title == "one"


class TestASummary:
    SUMMARY = Summary("digest", "They sail.", 2)

    async def test_is_there_for_the_next_request_in_any_environment(
        self, conversations: ConversationStore, other_environment: ConversationStore
    ) -> None:
        async with opening(conversations, ALICE, chat_request(user("one"))) as opened:
            assert opened.summary is None
            opened.append(assistant("1"))
            opened.keep_summary(self.SUMMARY)
        async with opening(other_environment, ALICE, chat_request(user("two"))) as opened:
            assert opened.summary == self.SUMMARY
            assert opened.messages == (user("one"), assistant("1"), user("two"))

    async def test_is_replaced_by_a_newer_one(self, conversations: ConversationStore) -> None:
        for text in ("They sail.", "They sailed."):
            async with opening(conversations, ALICE, chat_request(user("one"))) as opened:
                opened.keep_summary(Summary("digest", text))
        async with opening(conversations, ALICE, chat_request(user("two"))) as opened:
            assert opened.summary == Summary("digest", "They sailed.")

    async def test_is_no_message(self, conversations: ConversationStore) -> None:
        async with opening(conversations, ALICE, chat_request(user("one"))) as opened:
            opened.keep_summary(self.SUMMARY)
        assert await get_messages(conversations) == [user("one")]

    async def test_is_deleted_with_its_conversation(self, conversations: ConversationStore, store: Store) -> None:
        async with opening(conversations, ALICE, chat_request(user("one"))) as opened:
            opened.keep_summary(self.SUMMARY)
        await conversations.delete(ALICE, "c")
        assert await store.query_partition("messages#key:alice#c") == []


class TestExpiry:
    async def test_an_unused_conversation_expires(self, conversations: ConversationStore, clock: Clock) -> None:
        await run_request(conversations, "one", "1")
        clock.time_s += 10 * DAY_S
        assert await list_conversations(conversations) == []
        assert await merged_history(conversations, user("new")) == (user("new"),)

    async def test_a_conversation_in_use_is_kept_whole(self, conversations: ConversationStore, clock: Clock) -> None:
        for number in range(6):
            await run_request(conversations, f"{number}", "ok")
            clock.time_s += 4 * DAY_S
        assert len(await get_messages(conversations)) == 12

    async def test_its_first_message_is_kept_as_long_as_its_last(
        self, conversations: ConversationStore, clock: Clock
    ) -> None:
        await run_request(conversations, "one", "1")
        clock.time_s += 4 * DAY_S
        await run_request(conversations, "two", "2")
        clock.time_s += 10 * DAY_S - 1
        assert len(await get_messages(conversations)) == 4

    async def test_the_expiry_is_not_rewritten_with_each_request(
        self, conversations: ConversationStore, store: Store, clock: Clock
    ) -> None:
        await run_request(conversations, "one", "1")
        before = {item.expires_at_s for item in await store.query_partition("messages#key:alice#c")}
        clock.time_s += 3600
        await run_request(conversations, "two", "2")
        assert before < {item.expires_at_s for item in await store.query_partition("messages#key:alice#c")}

    async def test_truncated_messages_do_not_return_when_the_rest_is_rewritten(
        self, conversations: ConversationStore, clock: Clock
    ) -> None:
        await run_request(conversations, "one", "1")
        async with opening(conversations, ALICE, chat_request(user("two", "id-2"))) as opened:
            opened.append(assistant("oops"))
        clock.time_s += 6 * DAY_S
        async with opening(conversations, ALICE, chat_request(user("two", "id-2"))) as opened:
            opened.append(assistant("2"))
        assert "oops" not in str(await get_messages(conversations))


class FlakyBackend(MemoryBackend):
    """Fails every call of the operations named in `broken`."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: set[str] = set()

    @override
    def put(self, items: Any) -> None:
        self._check("put")
        super().put(items)

    @override
    def query_partition(self, pk: str) -> list[Item]:
        self._check("partition")
        return super().query_partition(pk)

    @override
    def delete(self, keys: Any) -> None:
        self._check("delete")
        super().delete(keys)

    @override
    def compare_and_set(self, item: Item, now_s: float) -> bool:
        self._check("replace")
        return super().compare_and_set(item, now_s)

    def _check(self, name: str) -> None:
        if name in self.broken:
            raise TimeoutError


class TestUnavailableStore:
    @pytest.fixture
    def backend(self) -> FlakyBackend:
        return FlakyBackend()

    @pytest.fixture
    def conversations(self, backend: FlakyBackend, clock: Clock) -> ConversationStore:
        return ConversationStore(Store(lambda: backend, threads=0, is_shared=False, now=clock), StorageSettings())

    async def test_a_failure_before_the_stream_is_raised(
        self, conversations: ConversationStore, backend: FlakyBackend
    ) -> None:
        backend.broken = {"replace"}
        with pytest.raises(StorageUnavailable):
            await run_request(conversations, "one", "1")

    async def test_the_lease_is_released_if_the_conversation_cannot_be_read(
        self, conversations: ConversationStore, backend: FlakyBackend
    ) -> None:
        backend.broken = {"partition"}
        with pytest.raises(StorageUnavailable):
            await run_request(conversations, "one", "1")
        backend.broken = set()
        await run_request(conversations, "one", "1")

    async def test_a_failed_delete_leaves_the_conversation_and_releases_the_lease(
        self, conversations: ConversationStore, backend: FlakyBackend
    ) -> None:
        await run_request(conversations, "one", "1")
        backend.broken = {"delete"}
        with pytest.raises(StorageUnavailable):
            await conversations.delete(ALICE, "c")
        backend.broken = set()
        assert len(await get_messages(conversations)) == 2
        await run_request(conversations, "two", "2")

    async def test_an_edit_that_fails_half_way_is_found_by_its_retry(
        self, conversations: ConversationStore, backend: FlakyBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with opening(conversations, ALICE, chat_request(user("one", "id-1"))) as opened:
            opened.append(assistant("1"))

        def delete_one(keys: Sequence[tuple[str, str]]) -> None:
            MemoryBackend.delete(backend, keys[:1])
            if len(keys) > 1:
                raise TimeoutError

        with monkeypatch.context() as patched:
            patched.setattr(backend, "delete", delete_one)
            with pytest.raises(StorageUnavailable):
                await merged_history(conversations, user("other", "id-1"))
        assert await merged_history(conversations, user("other", "id-1")) == (user("other", "id-1"),)

    @jumping
    async def test_a_failure_during_the_stream_does_not_end_it(
        self, conversations: ConversationStore, backend: FlakyBackend, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with opening(conversations, ALICE, chat_request(user("one"))) as opened:
            backend.broken = {"put", "replace"}
            opened.append(assistant("1"))
        assert "could not be saved" in caplog.text


async def replace_items(store: Store, pk: str, sk_part: str, **changes: Any) -> None:
    found = [item for item in await store.query_partition(pk) if sk_part in item.sk]
    assert found
    await store.put([msgspec.structs.replace(item, **changes) for item in found])


HEADS, MESSAGES = conversations_partition(ALICE), messages_partition(ALICE, "c")
UNREADABLE_BODIES = [
    b"",
    b"\x00",
    b"\xff\xfe",
    b"{",
    b"null",
    b"[]",
    b"7",
    b"[" * 100_000,
    b'{"role":"parrot"}',
    b'{"id":1}',
]


class TestUnreadableItems:
    """What is damaged, or was written by a version that knows more, is left out; the rest stays."""

    @pytest.mark.parametrize("body", UNREADABLE_BODIES)
    async def test_a_head_is_left_out_of_the_list_and_its_conversation_goes_on(
        self, conversations: ConversationStore, store: Store, body: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        await run_request(conversations, "one", "1")
        await run_request(conversations, "other", "2", conversation="d")
        await replace_items(store, HEADS, "c", body=body)
        assert [one.id for one in await list_conversations(conversations)] == ["d"]
        assert "left out: c" in caplog.text
        assert await get_messages(conversations) == [user("one"), assistant("1")]
        await run_request(conversations, "two", "3")
        assert len(await get_messages(conversations)) == 4
        assert {one.title for one in await list_conversations(conversations)} == {"other", "two"}

    @pytest.mark.parametrize("body", UNREADABLE_BODIES)
    async def test_a_conversation_whose_head_is_unreadable_is_deleted(
        self, conversations: ConversationStore, store: Store, body: bytes
    ) -> None:
        await run_request(conversations, "one", "1")
        await replace_items(store, HEADS, "c", body=body)
        await conversations.delete(ALICE, "c")
        assert await store.query_partition(HEADS) == await store.query_partition(MESSAGES) == []

    @pytest.mark.parametrize("body", UNREADABLE_BODIES)
    async def test_a_message_is_left_out(
        self, conversations: ConversationStore, store: Store, body: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        await run_request(conversations, "one", "1")
        await run_request(conversations, "two", "2")
        await replace_items(store, MESSAGES, "#000001#", body=body)
        assert await get_messages(conversations) == [user("one"), user("two")]
        assert "#000001#0000" in caplog.text
        assert "parrot" not in caplog.text
        assert await merged_history(conversations, user("three")) == (user("one"), user("two"), user("three"))
        await conversations.delete(ALICE, "c")
        assert await store.query_partition(MESSAGES) == []

    async def test_a_message_without_one_of_its_parts_is_left_out(
        self, conversations: ConversationStore, store: Store
    ) -> None:
        await run_request(conversations, "x" * 800_000, "1")
        parts = [item for item in await store.query_partition(MESSAGES) if "#000000#" in item.sk]
        for missing in parts:
            await store.put(parts)
            await store.delete([(missing.pk, missing.sk)])
            assert await get_messages(conversations) == [assistant("1")]
        await conversations.delete(ALICE, "c")
        assert await store.query_partition(MESSAGES) == []

    async def test_the_results_of_an_unreadable_call_do_not_block_the_conversation(
        self, conversations: ConversationStore, store: Store
    ) -> None:
        async with opening(conversations, ALICE, chat_request(user("time?"))) as opened:
            opened.append(AssistantMessage((ToolCall("1", "clock", "{}"),), "m"))
            opened.append(ToolMessage("1", "clock", "noon"))
        await replace_items(store, MESSAGES, "#000001#", body=b"?")
        assert await merged_history(conversations, user("go on")) == (user("time?"), user("go on"))

    async def test_a_page_is_filled_past_unreadable_ones(self, conversations: ConversationStore, clock: Clock) -> None:
        for number in range(9):
            clock.time_s += 1
            await run_request(conversations, "one", "1", conversation=f"c{number}")
        store = conversations._store
        for number in (8, 7, 6, 3, 0):
            await replace_items(store, HEADS, f"c{number}", body=b"?")
        first, cursor = await conversations.list_page(ALICE, 2)
        second, end = await conversations.list_page(ALICE, 3, cursor)
        assert [one.id for one in (*first, *second)] == ["c5", "c4", "c2", "c1"]
        assert end is None

    async def test_times_that_no_calendar_has_are_cut(self, conversations: ConversationStore, store: Store) -> None:
        await run_request(conversations, "one", "1")
        await replace_items(store, HEADS, "c", updated_ms=2**60)
        assert (await get_summary(conversations)).updated_at.year == 9999

    async def test_messages_that_lost_their_head_can_be_deleted(
        self, conversations: ConversationStore, store: Store
    ) -> None:
        await run_request(conversations, "one", "1")
        await store.delete([(HEADS, "c")])
        await conversations.delete(ALICE, "c")
        assert await store.query_partition(MESSAGES) == []
        with pytest.raises(ConversationNotFound):
            await conversations.delete(ALICE, "c")


class TestWholeHistories:
    """Clients that keep the history themselves, in conversations that are kept here too."""

    async def ask(self, conversations: ConversationStore, *history: Message, answer: str) -> tuple[Message, ...]:
        """Answer the whole history of a client; returns what the model is sent."""
        request = ChatRequest(messages=history, conversation_id="c")
        async with opening(conversations, ALICE, request) as opened:
            opened.append(assistant(answer))
            return opened.messages

    async def test_are_kept_once_and_sent_as_they_came(self, conversations: ConversationStore) -> None:
        shown: list[Message] = []
        for number in ("1", "2", "3"):
            shown.append(user(f"question {number}", f"u{number}"))
            assert await self.ask(conversations, *shown, answer=number) == tuple(shown)
            shown.append(assistant(number))
        assert await get_messages(conversations) == shown

    async def test_that_were_begun_elsewhere_are_kept_whole(self, conversations: ConversationStore) -> None:
        begun = user("one", "u1"), assistant("1"), user("two", "u2")
        await self.ask(conversations, *begun, answer="2")
        assert await get_messages(conversations) == [*begun, assistant("2")]

    async def test_may_be_edited_by_the_ids_of_questions(self, conversations: ConversationStore) -> None:
        first = user("one", "u1"), assistant("1")
        await self.ask(conversations, first[0], answer="1")
        await self.ask(conversations, *first, user("two", "u2"), answer="2")
        await self.ask(conversations, *first, user("other", "u2"), answer="3")
        assert await get_messages(conversations) == [*first, user("other", "u2"), assistant("3")]

    async def test_are_kept_without_what_the_client_says_of_itself(self, conversations: ConversationStore) -> None:
        context = user("Page: harbour")
        await self.ask(conversations, context, user("one", "u1"), answer="1")
        sent = await self.ask(conversations, context, user("one", "u1"), assistant("1"), user("two", "u2"), answer="2")
        assert sent[0] == context
        assert await get_messages(conversations) == [
            user("one", "u1"),
            assistant("1"),
            user("two", "u2"),
            assistant("2"),
        ]

    async def test_without_any_ids_go_on(self, conversations: ConversationStore) -> None:
        await self.ask(conversations, user("one"), answer="1")
        await self.ask(conversations, user("one"), assistant("1"), user("two"), answer="2")
        assert await get_messages(conversations) == [user("one"), assistant("1"), user("two"), assistant("2")]


class TestKilledProcess:
    """What is kept when a process dies in mid-stream: nothing of it runs any more, its lease ends by itself."""

    async def die(self, conversations: ConversationStore, *batch: ChatEvent, question: str = "") -> None:
        """Run a request until this is logged, and nothing after that."""
        opened = conversations.open(ALICE, chat_request(user("one", question)))
        await opened.start()
        opened.log((ConversationStarted("c", "m", "model"), TurnStarted(1), *batch))
        opened._queue.write_soon()
        await until_written(opened)
        opened._queue._task.cancel()

    async def test_the_answer_goes_on_from_what_was_said(
        self, conversations: ConversationStore, other_environment: ConversationStore, clock: Clock
    ) -> None:
        half = assistant("half an ans", incomplete=True)
        await self.die(conversations, TextDelta("half "), TextDelta("an ans"))
        assert await get_messages(other_environment) == [user("one"), half]
        clock.time_s += 31
        assert without_ids(await merged_history(other_environment, user("go on"))) == [user("one"), half, user("go on")]
        assert await get_messages(other_environment) == [user("one"), half, user("go on")]

    async def test_the_results_so_far_are_kept(self, conversations: ConversationStore, clock: Clock) -> None:
        turn = AssistantMessage((ToolCall("1", "a", "{}"), ToolCall("2", "b", "{}")), "m", incomplete=True)
        calls = ToolCallReady("1", "a", "{}"), ToolCallReady("2", "b", "{}")
        await self.die(conversations, *calls, ToolFinished("2", "b", "completed", 1, b"done"))
        clock.time_s += 31
        history = await merged_history(conversations, user("go on"))
        assert (history[1], history[3]) == (turn, ToolMessage("2", "b", "done"))
        assert isinstance(history[2], ToolMessage)
        assert history[2].is_error

    async def test_turns_that_were_saved_are_not_kept_twice(
        self, conversations: ConversationStore, clock: Clock
    ) -> None:
        opened = conversations.open(ALICE, chat_request(user("one")))
        await opened.start()
        opened.log((ConversationStarted("c", "m", "model"), TurnStarted(1), ToolCallReady("1", "a", "{}")))
        opened.log((ToolFinished("1", "a", "completed", 1, b"done"),))
        turn: list[Message] = [AssistantMessage((ToolCall("1", "a", "{}"),), "m"), ToolMessage("1", "a", "done")]
        for message in turn:
            opened.append(message)
        opened.log((TurnEnded("tool_calls"), TurnStarted(2)))
        opened.log((TextDelta("so"),))
        opened._queue.write_soon()
        await until_written(opened)
        opened._queue._task.cancel()
        clock.time_s += 31
        expected = [user("one"), *turn, assistant("so", incomplete=True)]
        assert await get_messages(conversations) == expected
        assert without_ids(await merged_history(conversations, user("go on"))) == [*expected, user("go on")]
        assert await get_messages(conversations) == [*expected, user("go on")]

    async def test_results_of_decided_calls_are_kept_and_not_twice(
        self, conversations: ConversationStore, clock: Clock
    ) -> None:
        calls = [ToolCall(id_, "pay", "{}", approval=Approval(f"id-{id_}", 9)) for id_ in "abc"]
        async with opening(conversations, ALICE, chat_request(user("one"))) as opened:
            opened.append(AssistantMessage((*calls,), "m"))
        decisions = tuple(Decision(approval_id=f"id-{id_}", approved=True) for id_ in "abc")
        opened = conversations.open(ALICE, replace(chat_request(), decisions=decisions))
        await opened.start()
        assert [one.tool_call_id for one in opened.messages if isinstance(one, ToolMessage)] == ["a", "b", "c"]
        ended = [ToolFinished(id_, "pay", "completed", 1, id_.encode()) for id_ in "bac"]
        opened.log((ConversationStarted("c", "m", "model"), *ended, TurnStarted(1), TextDelta("half")))
        opened.append(ToolMessage("a", "pay", "a"))
        opened._queue.write_soon()
        await until_written(opened)
        opened._queue._task.cancel()
        clock.time_s += 31
        results = [ToolMessage(id_, "pay", id_) for id_ in "abc"]
        assert (await get_messages(conversations))[2:] == [*results, assistant("half", incomplete=True)]

    async def test_a_retry_replaces_what_was_said(self, conversations: ConversationStore, clock: Clock) -> None:
        await self.die(conversations, TextDelta("half"), question="id-1")
        clock.time_s += 31
        assert await merged_history(conversations, user("one", "id-1")) == (user("one", "id-1"),)
        assert await get_messages(conversations) == [user("one", "id-1")]

    async def test_what_was_replaced_does_not_return_with_its_log(
        self, conversations: ConversationStore, clock: Clock
    ) -> None:
        await self.die(conversations, TextDelta("half"), question="id-1")
        clock.time_s += 31
        retry = conversations.open(ALICE, chat_request(user("other", "id-1")))
        await retry.start()
        retry._queue._task.cancel()  # before it writes anything
        assert await get_messages(conversations) == []
        clock.time_s += 31
        assert await merged_history(conversations, user("other", "id-1")) == (user("other", "id-1"),)

    async def test_what_was_said_outlives_a_request_that_is_refused(
        self, conversations: ConversationStore, clock: Clock
    ) -> None:
        await self.die(conversations, TextDelta("half"))
        clock.time_s += 31
        with pytest.raises(InvalidHistory):
            await merged_history(conversations, ToolMessage("unknown", "", "1"))
        clock.time_s += 31
        half = assistant("half", incomplete=True)
        assert await get_messages(conversations) == [user("one"), half]
        assert without_ids(await merged_history(conversations, user("go on"))) == [user("one"), half, user("go on")]

    async def test_what_was_said_outlives_an_answer_that_is_not_kept(
        self, conversations: ConversationStore, clock: Clock
    ) -> None:
        await self.die(conversations, TextDelta("half"))
        clock.time_s += 31
        answer = conversations.logs.open(ALICE, chat_request(user("two")))
        answer.log((ConversationStarted("c", "n", "model"), TurnStarted(1), TextDelta("other")))
        await answer.close(asyncio.get_running_loop().time() + 5)
        assert await get_messages(conversations) == [user("one"), assistant("half", incomplete=True)]
        await run_request(conversations, "go on", "yes")
        clock.time_s += DAY_S
        answers = [message for message in await get_messages(conversations) if isinstance(message, AssistantMessage)]
        assert [message.text for message in answers] == ["half", "yes"]

    async def test_a_long_answer_is_kept_whole(self, conversations: ConversationStore) -> None:
        await self.die(conversations, TextDelta("☃" * 400_000))
        assert (await get_messages(conversations))[1] == assistant("☃" * 400_000, incomplete=True)

    async def test_what_was_finished_is_not_kept_twice(self, conversations: ConversationStore) -> None:
        async with opening(conversations, ALICE, chat_request(user("one"))) as opened:
            opened.log((ConversationStarted("c", "m", "model"), TurnStarted(1), TextDelta("half and ")))
            await until_written(opened)
            opened.log((TextDelta("half"),))
            opened.append(assistant("half and half"))
        assert await get_messages(conversations) == [user("one"), assistant("half and half")]

    async def test_who_loses_the_stream_with_its_first_byte_finds_the_log_of_this_answer(
        self, conversations: ConversationStore
    ) -> None:
        await run_request(conversations, "one", "1")
        async with opening(conversations, ALICE, chat_request(user("two"))) as opened:
            reading = asyncio.create_task(conversations.latest_log(ALICE, "c"))
            await asyncio.sleep(0.1)
            opened.log((ConversationStarted("c", "m2", "model"),))
            log = await reading
        assert log is not None
        assert log.events == [ConversationStarted("c", "m2", "model")]

    async def test_a_request_that_never_begins_to_answer_has_no_log(
        self, conversations: ConversationStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(conversations_module, "POLL_INTERVAL_S", 0.01)
        async with opening(conversations, ALICE, chat_request(user("one"))):
            assert await conversations.latest_log(ALICE, "c") is None

    async def test_secrets_are_not_kept(self, conversations: ConversationStore, store: Store, clock: Clock) -> None:
        redaction.register("sk-harbour-42-very-long")
        try:
            await self.die(conversations, TextDelta("the key is sk-harbour-42-very-long"))
            clock.time_s += 31
            await merged_history(conversations, user("go on"))
            assert not any(b"harbour" in item.body for item in await store.query_partition(MESSAGES))
        finally:
            forget_secrets()

    async def test_a_deleted_conversation_leaves_no_log(
        self, conversations: ConversationStore, store: Store, clock: Clock
    ) -> None:
        await self.die(conversations, TextDelta("half"))
        clock.time_s += 31
        await conversations.delete(ALICE, "c")
        assert await store.query_partition(log_partition(ALICE, "c")) == []


class TestThawedProcess:
    """One that was frozen in mid-stream for longer than its lease goes on, and is no longer alone."""

    async def freeze(self, conversations: ConversationStore, clock: Clock) -> OpenConversation:
        opened = conversations.open(ALICE, chat_request(user("one", "id-1")))
        await opened.start()
        opened.log((ConversationStarted("c", "m", "model"), TurnStarted(1), TextDelta("half")))
        await until_written(opened)
        clock.time_s += 31
        return opened

    async def thaw(self, opened: OpenConversation) -> None:
        opened.log((TextDelta(" an answer"), TurnEnded("stop")))
        opened.append(assistant("half an answer"))
        await opened.close(asyncio.get_running_loop().time() + 2)

    async def test_saves_its_answer_if_nobody_has_asked_since(
        self, conversations: ConversationStore, clock: Clock
    ) -> None:
        await self.thaw(await self.freeze(conversations, clock))
        assert await get_messages(conversations) == [user("one", "id-1"), assistant("half an answer")]
        await run_request(conversations, "two", "2")

    async def test_puts_nothing_before_the_retry_of_its_question(
        self, conversations: ConversationStore, other_environment: ConversationStore, clock: Clock
    ) -> None:
        frozen = await self.freeze(conversations, clock)
        async with opening(other_environment, ALICE, chat_request(user("one", "id-1"))) as retry:
            await self.thaw(frozen)
            retry.append(assistant("another"))
        assert await get_messages(conversations) == [user("one", "id-1"), assistant("another")]

    async def test_changes_nothing_of_what_the_next_answer_is_based_on(
        self, conversations: ConversationStore, other_environment: ConversationStore, clock: Clock
    ) -> None:
        frozen = await self.freeze(conversations, clock)
        async with opening(other_environment, ALICE, chat_request(user("go on"))) as opened:
            await self.thaw(frozen)
            assert await get_messages(conversations) == without_ids(opened.messages)

    async def test_leaves_nothing_in_a_conversation_that_was_deleted(
        self, conversations: ConversationStore, other_environment: ConversationStore, store: Store, clock: Clock
    ) -> None:
        frozen = await self.freeze(conversations, clock)
        await other_environment.delete(ALICE, "c")
        await self.thaw(frozen)
        assert await store.query_partition(MESSAGES) == []
        assert await store.query_partition(log_partition(ALICE, "c")) == []


class TestLogsOfEarlierAnswers:
    async def test_go_once_nobody_can_read_them(
        self, conversations: ConversationStore, store: Store, clock: Clock
    ) -> None:
        for question in ("one", "two", "three"):
            async with opening(conversations, ALICE, chat_request(user(question))) as opened:
                opened.log((ConversationStarted("c", "m", "model"), TurnStarted(1), TextDelta(question)))
            clock.time_s += 20
        left = [item.body for item in await store.query_partition(log_partition(ALICE, "c"))]
        assert [any(question in body for body in left) for question in (b"one", b"two", b"three")] == [
            False,
            True,
            True,
        ]


def without_ids(messages: Iterable[Message]) -> list[Message]:
    """The messages, without the ids that users' messages have by their places."""
    return [
        replace(one, id="") if isinstance(one, UserMessage) and one.id.startswith("u_") else one for one in messages
    ]


async def until_written(opened: OpenConversation) -> None:
    while opened._queue._wake_up.is_set() or not opened._queue.is_flushed:  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0.005)
