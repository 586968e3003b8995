"""The chat endpoint: who pays, what is kept, who stops whom."""

import asyncio
from functools import partial
from typing import Any, cast

import pytest

from tests.chat.fakes import FakeProvider, SleepingTools, Step, answer, calls_tools, pause
from tests.chat.http_events import FakeLambdaContext, RecordedResponse, event
from tests.clock import jumping
from winterbourne import ResponseStream
from winterbourne.chat.auth.none import AnonymousAuthenticator
from winterbourne.chat.core.events import TextDelta, TurnEnded
from winterbourne.chat.errors import ModelBusy
from winterbourne.chat.formats import native, openai
from winterbourne.chat.http.endpoints.chat import USAGE_WRITE_TIMEOUT_S, ChatEndpoint
from winterbourne.chat.http.endpoints.conversations import ConversationsEndpoint
from winterbourne.chat.http.service import Endpoint, Service
from winterbourne.chat.infra import redaction, telemetry
from winterbourne.chat.settings import Settings
from winterbourne.chat.storage.conversations import ConversationStore
from winterbourne.chat.storage.factory import make_store
from winterbourne.chat.storage.rate_limits import RateLimiter
from winterbourne.chat.storage.stop_signals import StopSignals


class ServiceFixture:
    """A whole service around a scripted model, kept in memory."""

    def __init__(self, *turns: list[Step], **settings: Any) -> None:
        self.model = FakeProvider(*turns)
        chosen = Settings(auth="none", **settings)
        store = make_store(chosen)
        conversations, stops = ConversationStore(store, chosen), StopSignals(store, chosen.stop_poll_interval)
        chats = ChatEndpoint(chosen, self.model, SleepingTools(), conversations, RateLimiter(store, chosen), stops)
        kept = ConversationsEndpoint(conversations, stops)
        error_body = native.FORMAT.error_body
        mine = partial(Endpoint, error_body=error_body)
        routes = {
            ("POST", "/chat"): mine(handler=partial(chats.handle, native.FORMAT)),
            ("POST", "/v1/chat/completions"): mine(handler=partial(chats.handle, openai.FORMAT)),
            ("POST", "/chat/{id}/stop"): mine(handler=kept.stop),
            ("GET", "/conversations"): mine(handler=kept.list_page),
            ("GET", "/conversations/{id}"): mine(handler=kept.get),
            ("DELETE", "/conversations/{id}"): mine(handler=kept.delete),
        }
        self.service = Service(routes, AnonymousAuthenticator(), error_body, telemetry.make_logger(), telemetry.SERVICE)

    async def ask(self, method: str, path: str, body: object = None, remaining_ms: int = 60_000) -> RecordedResponse:
        answered = RecordedResponse()
        context = FakeLambdaContext(remaining_ms=remaining_ms)
        await self.service.handle(event(method, path, body), cast("ResponseStream", answered), context)
        return answered

    async def chat(self, content: str, **more: Any) -> RecordedResponse:
        return await self.ask("POST", "/chat", {"messages": [{"role": "user", "content": content}], **more})


class TestAChat:
    @jumping
    async def test_is_streamed_in_the_format_of_its_path(self) -> None:
        answered = await ServiceFixture(answer("hello")).chat("hi")
        assert [frame["type"] for frame in answered.frames] == ["start", "content", "done"]

    @jumping
    async def test_in_one_piece_is_answered_with_its_own_status(self) -> None:
        body = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
        answered = await ServiceFixture(answer("hello")).ask("POST", "/v1/chat/completions", body)
        assert answered.status == 200
        assert answered.json["choices"][0]["message"]["content"] == "hello"

    @jumping
    async def test_gets_ids_where_the_caller_gave_none(self) -> None:
        start = (await ServiceFixture(answer("hello")).chat("hi")).frames[0]
        assert start["conversation_id"].startswith("c_")
        assert start["message_id"].startswith("m_")

    @jumping
    async def test_that_cannot_be_read_asks_no_model(self) -> None:
        house = ServiceFixture(answer("hello"))
        assert (await house.ask("POST", "/chat", {"messages": "x"})).status == 400
        assert house.model.requests == []

    @jumping
    async def test_ends_with_a_word_before_the_deadline(self) -> None:
        house = ServiceFixture([pause(100)], deadline_margin=2)
        answered = await house.ask("POST", "/chat", {"messages": [{"role": "user", "content": "hi"}]}, 5000)
        assert answered.frames[-1]["code"] == "deadline_reached"

    @jumping
    async def test_that_broke_says_so_in_its_last_frame(self) -> None:
        answered = await ServiceFixture([[TextDelta("half")], ModelBusy("overloaded")]).chat("hi")
        assert answered.frames[-1] == {"type": "error", "code": "model_busy", "message": "overloaded"}

    @jumping
    async def test_with_an_image_that_the_model_does_not_take_asks_no_model(self) -> None:
        house = ServiceFixture(answer("hello"))
        house.model.takes_image_urls = False
        image = {"type": "image", "media_type": "image/png", "url": "https://example.com/a.png"}
        answered = await house.ask("POST", "/chat", {"messages": [{"role": "user", "content": [image]}]})
        assert (answered.status, answered.json["error"]["code"]) == (400, "image_url_not_allowed")
        assert house.model.requests == []


class TestSecrets:
    KEY = "sk-harbour-42"

    @pytest.fixture(autouse=True)
    def secret(self) -> None:
        redaction.register(self.KEY)

    @jumping
    async def test_are_kept_from_the_store(self) -> None:
        house = ServiceFixture(answer("hello"), answer("again"))
        await house.chat(f"my key is {self.KEY}", conversation_id="c-1", store=True)
        for path in ("/conversations", "/conversations/c-1"):
            kept = (await house.ask("GET", path)).body
            assert b"my key is [redacted]" in kept
            assert self.KEY.encode() not in kept

    @jumping
    async def test_that_an_earlier_version_kept_are_neither_shown_nor_sent(self) -> None:
        redaction.clear()
        house = ServiceFixture(answer("hello"), answer("again"))
        await house.chat(f"my key is {self.KEY}", conversation_id="c-1", store=True)
        redaction.register(self.KEY)
        for path in ("/conversations", "/conversations/c-1"):
            assert self.KEY.encode() not in (await house.ask("GET", path)).body
        await house.chat("and?", conversation_id="c-1", store=True)
        assert self.KEY not in str(house.model.requests[1])

    @jumping
    async def test_are_in_no_last_word(self) -> None:
        answered = await ServiceFixture([ModelBusy(f"not with {self.KEY}")]).chat("hi")
        assert answered.frames[-1] == {"type": "error", "code": "model_busy", "message": "not with [redacted]"}


class TestAConversationThatIsKept:
    @jumping
    async def test_goes_on_where_it_was(self) -> None:
        house = ServiceFixture(answer("hello ada"), answer("you are ada"))
        await house.chat("i am ada", conversation_id="c-1", store=True)
        await house.chat("who am i?", conversation_id="c-1", store=True)
        assert len(house.model.requests[1].messages) == 3

    @jumping
    async def test_is_listed_shown_and_deleted(self) -> None:
        house = ServiceFixture(answer("hello"))
        await house.chat("hi", conversation_id="c-1", store=True)
        assert [one["id"] for one in (await house.ask("GET", "/conversations")).json["conversations"]] == ["c-1"]
        assert len((await house.ask("GET", "/conversations/c-1")).json["messages"]) == 2
        assert (await house.ask("DELETE", "/conversations/c-1")).status == 204
        assert (await house.ask("GET", "/conversations/c-1")).status == 404

    @jumping
    async def test_keeps_what_was_streamed_when_the_stream_broke(self) -> None:
        house = ServiceFixture([[TextDelta("half")], ModelBusy("overloaded")])
        await house.chat("hi", conversation_id="c-1", store=True)
        (_, said) = (await house.ask("GET", "/conversations/c-1")).json["messages"]
        assert said["incomplete"] is True

    @jumping
    async def test_takes_one_request_at_a_time(self) -> None:
        house = ServiceFixture([pause(5), [TextDelta("a")], [TurnEnded("stop")]], answer("b"))
        first = asyncio.create_task(house.chat("one", conversation_id="c-1", store=True))
        await asyncio.sleep(1)
        second = await house.chat("two", conversation_id="c-1", store=True)
        assert second.status == 409
        assert (await first).frames[-1]["type"] == "done"


class TestStopping:
    @jumping
    async def test_ends_the_stream_with_its_own_frame_and_closes_the_model(self) -> None:
        house = ServiceFixture(calls_tools(("a", "sleep", "60")))
        talking = asyncio.create_task(house.chat("hi", conversation_id="c-1"))
        await asyncio.sleep(1)
        assert (await house.ask("POST", "/chat/c-1/stop")).status == 202
        answered = await talking
        assert answered.frames[-1] == {"type": "stopped", "reason": "user"}
        assert answered.frames[-2]["status"] == "cancelled"
        assert house.model.open == 0


class TestLimits:
    @jumping
    async def test_requests_beyond_the_limit_are_429_before_any_model_call(self) -> None:
        house = ServiceFixture(answer("a"), answer("b"), limit_requests_per_minute=1)
        await house.chat("one")
        refused = await house.chat("two")
        assert refused.status == 429
        assert int(refused.headers["retry-after"]) > 0
        assert len(house.model.requests) == 1

    @jumping
    async def test_tokens_are_booked_when_the_answer_has_ended(self) -> None:
        house = ServiceFixture(answer("a"), answer("b"), limit_tokens_per_day=5)
        assert (await house.chat("one")).frames[-1]["type"] == "done"
        assert (await house.chat("two")).status == 429

    @jumping
    async def test_who_stops_just_before_the_end_has_used_tokens_too(self) -> None:
        house = ServiceFixture([[TextDelta("x" * 400)], pause(60)], answer("b"), limit_tokens_per_day=100)
        talking = asyncio.create_task(house.chat("one", conversation_id="c-1"))
        await asyncio.sleep(1)
        await house.ask("POST", "/chat/c-1/stop")
        assert (await talking).frames[-1]["type"] == "stopped"
        assert (await house.chat("two")).status == 429

    @jumping
    async def test_tokens_are_booked_when_the_environment_ends_in_the_middle(self) -> None:
        house = ServiceFixture([[TextDelta("x" * 400)], pause(60)], answer("b"), limit_tokens_per_day=100)
        talking = asyncio.create_task(house.chat("one"))
        await asyncio.sleep(1)
        talking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await talking
        assert (await house.chat("two")).status == 429

    @jumping
    async def test_a_store_that_hangs_delays_neither_the_last_word_nor_for_long_the_end(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        said: list[object] = []

        async def hang(*_: object) -> None:
            said.extend(frame["type"] for frame in answered.frames)
            await asyncio.sleep(3600)

        monkeypatch.setattr(RateLimiter, "record_usage", hang)
        house, answered, began = ServiceFixture(answer("a")), RecordedResponse(), asyncio.get_running_loop().time()
        body = {"messages": [{"role": "user", "content": "hi"}]}
        stream = cast("ResponseStream", answered)
        await house.service.handle(event("POST", "/chat", body), stream, FakeLambdaContext(remaining_ms=60_000))
        assert said[-1] == "done"
        assert asyncio.get_running_loop().time() - began <= USAGE_WRITE_TIMEOUT_S + 0.1
        assert "5 tokens used by anonymous were not counted" in caplog.text


class TestTheLogLine:
    @jumping
    async def test_says_what_the_answer_took(self, caplog: pytest.LogCaptureFixture) -> None:
        await ServiceFixture(answer("hello")).chat("hi", conversation_id="c-1")
        line = next(vars(record) for record in caplog.records if record.name == "winterbourne.chat.request")
        told = {"conversation_id": "c-1", "model": "script", "turns": 1, "input_tokens": 2, "stop_reason": "stop"}
        assert line.items() >= told.items()

    @jumping
    async def test_says_nothing_of_what_was_said(self, caplog: pytest.LogCaptureFixture) -> None:
        await ServiceFixture(answer("a reply")).chat("a question")
        assert not any("a reply" in str(vars(r)) or "a question" in str(vars(r)) for r in caplog.records)

    @jumping
    async def test_says_it_where_the_settings_ask_for_it(self, caplog: pytest.LogCaptureFixture) -> None:
        await ServiceFixture(answer("a reply"), log_messages=True).chat("a question")
        line = next(vars(record) for record in caplog.records if record.name == "winterbourne.chat.request")
        assert [message["role"] for message in line["messages"]] == ["user", "assistant"]

    @jumping
    async def test_names_the_tools_that_were_used(self, caplog: pytest.LogCaptureFixture) -> None:
        await ServiceFixture(calls_tools(("a", "sleep", "1"), ("b", "sleep", "0")), answer("done")).chat("hi")
        line = next(vars(record) for record in caplog.records if record.name == "winterbourne.chat.request")
        assert line["tools"] == ["sleep", "sleep"]
