"""Conversations endpoint: callers list, read, rename, delete and stop their own conversations, and no one else's."""

import asyncio

import pytest

from tests.chat.http_events import RecordedResponse, call_endpoint, read_event, request
from tests.chat.storage.opening import opening
from winterbourne.chat.auth.base import Caller
from winterbourne.chat.core.messages import AssistantMessage, ChatRequest, Text, UserMessage
from winterbourne.chat.errors import ConversationNotFound, RequestRejected
from winterbourne.chat.http.endpoints.conversations import ConversationsEndpoint
from winterbourne.chat.http.service import Handler
from winterbourne.chat.infra import redaction
from winterbourne.chat.settings import StorageSettings
from winterbourne.chat.storage.conversations import ConversationStore
from winterbourne.chat.storage.factory import make_store
from winterbourne.chat.storage.stop_signals import StopSignals

ADA, BOB = Caller("key:ada", "ada"), Caller("key:bob", "bob")
HELLO = UserMessage((Text("hello"),))


class ServiceFixture:
    """A conversations endpoint with its storage in memory; `with_conversation` stores one of Ada's."""

    def __init__(self) -> None:
        store = make_store("memory")
        self.conversations, self.stop_signals = ConversationStore(store, StorageSettings()), StopSignals(store, 0.5)
        self.endpoint = ConversationsEndpoint(self.conversations, self.stop_signals)

    async def with_conversation(self, conversation_id: str = "c-1") -> "ServiceFixture":
        chat_request = ChatRequest(messages=(HELLO,), conversation_id=conversation_id, store=True)
        async with opening(self.conversations, ADA.id, chat_request) as conversation:
            conversation.append(AssistantMessage((Text("hi"),)))
        return self

    async def list_page(self, query: str) -> RecordedResponse:
        to = read_event({"rawPath": "/conversations", "rawQueryString": query})
        return await call_endpoint(self.endpoint.list_page, to, ADA)

    async def rename(self, conversation_id: str, body: object, caller: Caller = ADA) -> RecordedResponse:
        return await call_endpoint(self.endpoint.rename, request("PATCH", "/", body), caller, id=conversation_id)

    async def stored_title(self, conversation_id: str) -> str:
        summary, _ = await self.conversations.get(ADA.id, conversation_id)
        return summary.title


async def call(handler: Handler, caller: Caller, **path_params: str) -> RecordedResponse:
    return await call_endpoint(handler, request("GET", "/"), caller, **path_params)


async def test_a_conversation_can_be_listed_read_and_deleted() -> None:
    endpoint = (await ServiceFixture().with_conversation()).endpoint
    assert [one["id"] for one in (await call(endpoint.list_page, ADA)).json["conversations"]] == ["c-1"]
    assert [one["role"] for one in (await call(endpoint.get, ADA, id="c-1")).json["messages"]] == ["user", "assistant"]
    response = await call(endpoint.delete, ADA, id="c-1")
    assert (response.status, response.body) == (204, b"")
    assert (await call(endpoint.list_page, ADA)).json["conversations"] == []


async def test_another_callers_conversation_is_not_found() -> None:
    endpoint = (await ServiceFixture().with_conversation()).endpoint
    assert (await call(endpoint.list_page, BOB)).json["conversations"] == []
    for handler in (endpoint.get, endpoint.delete):
        with pytest.raises(ConversationNotFound):
            await call(handler, BOB, id="c-1")


async def test_a_conversation_can_be_renamed() -> None:
    fixture = await ServiceFixture().with_conversation()
    response = await fixture.rename("c-1", {"title": "  Storms\n in \t May "})
    assert (response.status, response.json["id"], response.json["title"]) == (200, "c-1", "Storms in May")
    listed = (await call(fixture.endpoint.list_page, ADA)).json["conversations"]
    assert listed == [response.json]


async def test_a_new_title_has_its_secrets_masked() -> None:
    redaction.register("a-secret-of-ours")
    fixture = await ServiceFixture().with_conversation()
    await fixture.rename("c-1", {"title": "It is a-secret-of-ours"})
    assert (await fixture.stored_title("c-1")) == f"It is {redaction.MASK}"


@pytest.mark.parametrize(
    "body", [{}, {"title": ""}, {"title": " \n"}, {"title": "x" * 81}, {"title": 1}, {"title": None}]
)
async def test_a_title_that_is_none_is_rejected(body: dict[str, object]) -> None:
    fixture = await ServiceFixture().with_conversation()
    with pytest.raises(RequestRejected, match="title: expected text of 1 to 80 characters") as rejection:
        await fixture.rename("c-1", body)
    assert (rejection.value.status, rejection.value.code) == (400, "invalid_request")
    assert await fixture.stored_title("c-1") == "hello"


@pytest.mark.parametrize("title", ["x", "x" * 80, f" {'x' * 80}\n"])
async def test_a_title_may_have_80_characters(title: str) -> None:
    fixture = await ServiceFixture().with_conversation()
    assert (await fixture.rename("c-1", {"title": title})).json["title"] == title.strip()


async def test_nobody_renames_what_is_not_theirs() -> None:
    fixture = await ServiceFixture().with_conversation()
    for caller, conversation_id in ((BOB, "c-1"), (ADA, "c-2")):
        with pytest.raises(ConversationNotFound):
            await fixture.rename(conversation_id, {"title": "Mine"}, caller)
    assert await fixture.stored_title("c-1") == "hello"


async def test_pages_are_followed_by_the_cursor_of_the_one_before() -> None:
    fixture = ServiceFixture()
    for number in range(3):
        await fixture.with_conversation(f"{number}")
    first = (await fixture.list_page("limit=2")).json
    second = (await fixture.list_page(f"limit=2&after={first['next']}")).json
    assert sorted(one["id"] for page in (first, second) for one in page["conversations"]) == ["0", "1", "2"]
    assert second["next"] is None


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "1e1", "01"])
async def test_an_invalid_limit_is_rejected(limit: str) -> None:
    with pytest.raises(RequestRejected) as rejection:
        await ServiceFixture().list_page(f"limit={limit}")
    assert (rejection.value.status, rejection.value.code) == (400, "invalid_limit")


@pytest.mark.parametrize("cursor", ["x", "e30=", "WzAsImEiXQ==", "WzEsImEiLDJd", "☃"])
async def test_an_invalid_cursor_is_rejected(cursor: str) -> None:
    with pytest.raises(RequestRejected) as rejection:
        await ServiceFixture().list_page(f"after={cursor}")
    assert (rejection.value.status, rejection.value.code) == (400, "invalid_cursor")


async def test_a_stop_is_accepted_and_reaches_only_the_callers_own_conversation() -> None:
    fixture = ServiceFixture()
    ada_wait, bob_wait = (asyncio.create_task(fixture.stop_signals.wait(caller.id, "c-1")) for caller in (ADA, BOB))
    await asyncio.sleep(0)
    response = await call(fixture.endpoint.stop, ADA, id="c-1")
    assert (response.status, response.json) == (202, {"conversation_id": "c-1", "status": "stopping"})
    await ada_wait
    assert not bob_wait.done()
    bob_wait.cancel()
    await asyncio.gather(bob_wait, return_exceptions=True)
