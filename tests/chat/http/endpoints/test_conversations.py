"""The endpoints beside the chat: each caller's own conversations, and no one else's."""

import asyncio
from typing import cast

import pytest

from tests.chat.http_events import FakeLambdaContext, RecordedResponse, request
from winterbourne import ResponseStream
from winterbourne.chat.auth.base import Caller
from winterbourne.chat.core.messages import AssistantMessage, ChatRequest, Text, UserMessage
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.http.endpoints.conversations import ConversationsEndpoint
from winterbourne.chat.http.service import Handler, RequestContext
from winterbourne.chat.settings import Settings
from winterbourne.chat.storage.conversations import ConversationStore
from winterbourne.chat.storage.factory import make_store
from winterbourne.chat.storage.stop_signals import StopSignals

ADA, BOB = Caller("key:ada", "ada"), Caller("key:bob", "bob")
HELLO = UserMessage((Text("hello"),))


class ServiceFixture:
    """A store with one conversation of Ada's in it."""

    def __init__(self) -> None:
        settings = Settings()
        store = make_store(settings)
        self.conversations, self.stops = ConversationStore(store, settings), StopSignals(store, 0.5)
        self.kept = ConversationsEndpoint(self.conversations, self.stops)

    async def furnished(self) -> "ServiceFixture":
        asked = ChatRequest(messages=(HELLO,), conversation_id="c-1", store=True)
        async with self.conversations.open(ADA, asked) as record:
            record.append(AssistantMessage((Text("hi"),)))
        return self


async def call(act: Handler, caller: Caller, **names: str) -> RecordedResponse:
    answered = RecordedResponse()
    stream = cast("ResponseStream", answered)
    await act(
        RequestContext(
            request=request("GET", "/"),
            caller=caller,
            path_params=names,
            stream=stream,
            lambda_context=FakeLambdaContext(),
        )
    )
    return answered


async def test_they_are_listed_shown_and_deleted() -> None:
    kept = (await ServiceFixture().furnished()).kept
    assert [one["id"] for one in (await call(kept.list_page, ADA)).json["conversations"]] == ["c-1"]
    assert [one["role"] for one in (await call(kept.get, ADA, id="c-1")).json["messages"]] == ["user", "assistant"]
    answered = await call(kept.delete, ADA, id="c-1")
    assert (answered.status, answered.body) == (204, b"")
    assert (await call(kept.list_page, ADA)).json["conversations"] == []


async def test_nobody_elses_are_there() -> None:
    kept = (await ServiceFixture().furnished()).kept
    assert (await call(kept.list_page, BOB)).json["conversations"] == []
    for act in (kept.get, kept.delete):
        with pytest.raises(RequestRejected) as refusal:
            await call(act, BOB, id="c-1")
        assert refusal.value.status == 404


async def test_a_stop_is_accepted_and_reaches_the_callers_own_conversation_only() -> None:
    house = ServiceFixture()
    hers, his = (asyncio.create_task(house.stops.wait(caller, "c-1")) for caller in (ADA, BOB))
    await asyncio.sleep(0)
    answered = await call(house.kept.stop, ADA, id="c-1")
    assert (answered.status, answered.json) == (202, {"conversation_id": "c-1", "status": "stopping"})
    await hers
    assert not his.done()
    his.cancel()
    await asyncio.gather(his, return_exceptions=True)
