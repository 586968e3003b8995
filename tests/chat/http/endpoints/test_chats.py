"""Chats endpoint: callers load their own conversations as the AI SDK's frontends have them."""

import pytest

from tests.chat.fakes import SleepingTools
from tests.chat.http.endpoints.test_conversations import ADA, BOB, ServiceFixture, call
from tests.chat.http_events import RecordedResponse, call_endpoint, read_event
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.formats.ai_sdk.history import encode_history
from winterbourne.chat.http.endpoints.chats import ChatsEndpoint


async def chats(*ids: str) -> ChatsEndpoint:
    """The endpoint, with one conversation of Ada's for each id."""
    fixture = ServiceFixture()
    for conversation_id in ids:
        await fixture.with_conversation(conversation_id)
    return ChatsEndpoint(fixture.conversations, SleepingTools(), encode_history)


async def page(endpoint: ChatsEndpoint, query: str = "") -> RecordedResponse:
    to = read_event({"rawPath": "/api/chat", "rawQueryString": query})
    return await call_endpoint(endpoint.list_page, to, ADA)


async def test_a_chat_has_its_title_and_its_messages() -> None:
    loaded = (await call((await chats("c-1")).get, ADA, id="c-1")).json
    assert (loaded["id"], loaded["title"]) == ("c-1", "hello")
    assert [message["role"] for message in loaded["messages"]] == ["user", "assistant"]
    assert loaded["messages"][0]["parts"] == [{"type": "text", "text": "hello"}]


@pytest.mark.parametrize(("caller", "chat_id"), [(ADA, "c-2"), (BOB, "c-1")])
async def test_one_that_the_caller_has_not_is_empty(caller: object, chat_id: str) -> None:
    """A page opens a new chat by its URL."""
    response = await call((await chats("c-1")).get, caller, id=chat_id)  # type: ignore[arg-type]
    assert (response.status, response.json) == (200, {"id": chat_id, "title": "", "messages": []})


async def test_the_list_has_pages_and_the_names_of_javascript() -> None:
    endpoint = await chats("c-1", "c-2", "c-3")
    first = (await page(endpoint, "limit=2")).json
    second = (await page(endpoint, f"limit=2&after={first['next']}")).json
    listed = [*first["chats"], *second["chats"]]
    assert sorted(one["id"] for one in listed) == ["c-1", "c-2", "c-3"]
    assert listed[0].keys() == {"id", "title", "createdAt", "updatedAt", "running"}
    assert second["next"] is None


async def test_a_wrong_query_is_rejected() -> None:
    with pytest.raises(RequestRejected):
        await page(await chats(), "limit=0")
