"""Chat endpoint: streaming, redaction, stored conversations, stop requests, rate limits and the log line."""

import asyncio
import json
from collections.abc import Callable
from functools import partial
from math import inf
from types import SimpleNamespace
from typing import Any, TypeAlias, cast

import pytest

from tests import emf
from tests.chat.fakes import FakeProvider, SleepingTools, Step, answer, calls_tools, pause
from tests.chat.http_events import FakeLambdaContext, RecordedResponse, event, handle
from tests.chat.secrets_known import forget_secrets
from tests.chat.stores import SlowStore
from tests.clock import jumping
from winterbourne import ResponseStream
from winterbourne.chat.auth.none import AnonymousAuthenticator
from winterbourne.chat.core.events import TextDelta, TurnEnded, Usage
from winterbourne.chat.core.messages import Text, UserMessage
from winterbourne.chat.core.provider import capabilities_of
from winterbourne.chat.core.usage import Prices
from winterbourne.chat.errors import ModelBusy, ModelInputTooLong, ToolError
from winterbourne.chat.formats import native, openai
from winterbourne.chat.http.endpoints.chat import ChatEndpoint
from winterbourne.chat.http.endpoints.conversations import ConversationsEndpoint
from winterbourne.chat.http.endpoints.streams import StreamEndpoint
from winterbourne.chat.http.router import Router
from winterbourne.chat.http.service import END_GRACE_S, TIDY_TIMEOUT_S, Endpoint, Service
from winterbourne.chat.infra import redaction, telemetry
from winterbourne.chat.settings import Settings
from winterbourne.chat.storage.conversations import ConversationStore
from winterbourne.chat.storage.factory import make_store
from winterbourne.chat.storage.rate_limits import RateLimiter, Reservation
from winterbourne.chat.storage.stop_signals import StopSignals
from winterbourne.override import override


class ServiceFixture:
    """A whole service around a fake provider, with its storage in memory."""

    def __init__(self, *turns: list[Step], **overrides: Any) -> None:
        self.provider = FakeProvider(*turns)
        self.store = store = overrides.pop("store", None) or make_store("memory")
        context = overrides.pop("context", None)
        settings = Settings.of(auth="none", **overrides)
        conversations = ConversationStore(store, settings.storage)
        stop_signals = StopSignals(store, settings.storage.stop_poll_interval)
        limiter = RateLimiter(store, settings.limits)
        streams = StreamEndpoint(settings.stream, conversations)
        chat_endpoint = ChatEndpoint(
            settings.request,
            settings.model,
            settings.stream,
            settings.log.log_messages,
            self.provider,
            capabilities_of(self.provider),
            SleepingTools(),
            conversations,
            limiter,
            Prices(settings.model, must_know=settings.limits.limit_dollars_per_day > 0),
            stop_signals,
            streams,
            context=context,
        )
        conversations_endpoint = ConversationsEndpoint(conversations, stop_signals)
        encode_error = native.FORMAT.encode_error
        endpoint = partial(Endpoint, encode_error=encode_error)
        routes = {
            ("POST", "/chat"): endpoint(handler=partial(chat_endpoint.handle, native.FORMAT), is_chat=True),
            ("POST", "/v1/chat/completions"): endpoint(
                handler=partial(chat_endpoint.handle, openai.FORMAT), is_chat=True
            ),
            ("POST", "/chat/{id}/stop"): endpoint(handler=conversations_endpoint.stop),
            ("GET", "/chat/{id}/stream"): endpoint(handler=partial(streams.handle, native.FORMAT)),
            ("GET", "/conversations"): endpoint(handler=conversations_endpoint.list_page),
            ("GET", "/conversations/{id}"): endpoint(handler=conversations_endpoint.get),
            ("DELETE", "/conversations/{id}"): endpoint(handler=conversations_endpoint.delete),
        }
        self.service = Service(
            Router(routes),
            AnonymousAuthenticator(),
            limiter,
            encode_error,
            telemetry.make_logger(),
            telemetry.SERVICE,
            lambda: None,
        )

    async def send(self, method: str, path: str, body: object = None, remaining_ms: int = 60_000) -> RecordedResponse:
        response = RecordedResponse()
        context = FakeLambdaContext(remaining_ms=remaining_ms)
        await handle(self.service, event(method, path, body), response, context)
        return response

    async def serve(self, path: str, body: object, remaining_ms: int) -> "TimedResponse":
        """Like `send` with POST, on a deadline that comes nearer."""
        response, context = TimedResponse(), TimedContext(remaining_ms)
        await handle(self.service, event("POST", path, body), response, context)
        return response

    async def chat(self, content: str, **fields: Any) -> RecordedResponse:
        return await self.send("POST", "/chat", {"messages": [{"role": "user", "content": content}], **fields})


class TimedResponse(RecordedResponse):
    """A response that knows when it ended."""

    def __init__(self) -> None:
        super().__init__()
        self._began = asyncio.get_running_loop().time()
        self.ended_after_s = inf

    @override
    async def end(self) -> None:
        await super().end()
        self.ended_after_s = asyncio.get_running_loop().time() - self._began


class TimedContext(FakeLambdaContext):
    def __init__(self, remaining_ms: int) -> None:
        super().__init__(remaining_ms=remaining_ms)
        self._ends_at = asyncio.get_running_loop().time() + remaining_ms / 1000

    @override
    def get_remaining_time_in_millis(self) -> int:
        return int((self._ends_at - asyncio.get_running_loop().time()) * 1000)


class TestWhatIsKept:
    @jumping
    @pytest.mark.parametrize(("keep", "kept"), [("request", [False, False, True]), ("always", [True, False, True])])
    async def test_is_what_says_so_or_all_that_its_client_has_named(self, keep: str, kept: list[bool]) -> None:
        asked: tuple[dict[str, object], ...] = ({"conversation_id": "c"}, {}, {"conversation_id": "c", "store": True})
        for fields, is_kept in zip(asked, kept, strict=True):
            fixture = ServiceFixture(answer("hello"), keep=keep)
            await fixture.chat("hi", **fields)
            assert bool((await fixture.send("GET", "/conversations")).json["conversations"]) is is_kept


class TestPromptCache:
    @jumping
    async def test_what_is_told_of_a_request_is_asked_for_its_caller(self) -> None:
        fixture = ServiceFixture(answer("hello"), context=lambda caller_id: f"For {caller_id}.")
        await fixture.chat("hi")
        assert "For anonymous." in str(fixture.provider.requests[0].messages[-1])

    @jumping
    async def test_only_an_id_that_the_client_names_is_told_to_the_provider(self) -> None:
        fixture = ServiceFixture(answer("hello"), answer("hello"))
        await fixture.chat("hi")
        await fixture.chat("hi", conversation_id="c-1")
        assert [request.conversation_id for request in fixture.provider.requests] == ["", "c-1"]

    @jumping
    async def test_what_was_read_and_written_is_measured(self, capsys: pytest.CaptureFixture[str]) -> None:
        ended = TurnEnded("stop", Usage(9, 4, cached=5, cache_write=3))
        await ServiceFixture([[TextDelta("hi"), ended]]).chat("hi")
        (line,) = (line for line in capsys.readouterr().out.splitlines() if '"CachedInputTokens":[' in line)
        assert '"CachedInputTokens":[5.0]' in line
        assert '"CacheWriteTokens":[3.0]' in line


class TestChat:
    @jumping
    async def test_is_streamed_in_the_format_of_its_path(self) -> None:
        response = await ServiceFixture(answer("hello")).chat("hi")
        assert [frame["type"] for frame in response.frames] == ["start", "content", "done"]

    @jumping
    async def test_without_streaming_has_its_own_status(self) -> None:
        body = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
        response = await ServiceFixture(answer("hello")).send("POST", "/v1/chat/completions", body)
        assert response.status == 200
        assert response.json["choices"][0]["message"]["content"] == "hello"

    @jumping
    async def test_gets_ids_if_the_caller_sent_none(self) -> None:
        start = (await ServiceFixture(answer("hello")).chat("hi")).frames[0]
        assert start["conversation_id"].startswith("c_")
        assert start["message_id"].startswith("m_")

    @jumping
    async def test_that_is_malformed_calls_no_model(self) -> None:
        fixture = ServiceFixture(answer("hello"))
        assert (await fixture.send("POST", "/chat", {"messages": "x"})).status == 400
        assert fixture.provider.requests == []

    @jumping
    async def test_ends_with_a_terminal_event_before_the_deadline(self) -> None:
        fixture, began = ServiceFixture([pause(100)], deadline_margin=2), asyncio.get_running_loop().time()
        response = await fixture.send("POST", "/chat", {"messages": [{"role": "user", "content": "hi"}]}, 5000)
        assert response.frames[-1]["code"] == "deadline_reached"
        assert asyncio.get_running_loop().time() - began == pytest.approx(3, abs=0.1)

    @jumping
    async def test_that_failed_ends_with_an_error_frame(self) -> None:
        response = await ServiceFixture([[TextDelta("half")], ModelBusy("overloaded")]).chat("hi")
        assert response.frames[-1] == {
            "type": "error",
            "code": "model_busy",
            "message": ModelBusy.public_message,
            "request_id": "r-1",
        }

    @jumping
    @pytest.mark.parametrize("stream", [False, True])
    async def test_that_failed_before_any_output_has_a_status_at_v1(self, stream: object) -> None:
        body = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
        fixture = ServiceFixture([ModelInputTooLong("gpt-5: 9 tokens; check MODEL_ID")])
        response = await fixture.send("POST", "/v1/chat/completions", body)
        assert (response.status, response.json["error"]["code"]) == (400, "context_length_exceeded")
        assert "MODEL_ID" not in response.body.decode()

    @jumping
    async def test_with_an_image_that_the_model_does_not_accept_calls_no_model(self) -> None:
        fixture = ServiceFixture(answer("hello"))
        fixture.provider.takes_image_urls = False
        image = {"type": "image", "media_type": "image/png", "url": "https://example.com/a.png"}
        response = await fixture.send("POST", "/chat", {"messages": [{"role": "user", "content": [image]}]})
        assert (response.status, response.json["error"]["code"]) == (400, "image_url_not_allowed")
        assert fixture.provider.requests == []


CSV = "YXQsaGVpZ2h0Cg=="


def document(name: str) -> dict[str, str]:
    return {"type": "document", "media_type": "text/csv", "name": name, "data": CSV}


class TestFiles:
    @jumping
    async def test_of_a_kept_conversation_are_kept_and_older_ones_leave_when_they_are_too_many(self) -> None:
        fixture = ServiceFixture(*[answer("hello")] * 3, max_documents=2)
        for name in ("a.csv", "b.csv", "c.csv"):
            body = {"messages": [{"role": "user", "content": [document(name)]}], "conversation_id": "c-1"}
            assert (await fixture.send("POST", "/chat", {**body, "store": True})).frames[-1]["type"] == "done"
        users = [one for one in fixture.provider.requests[-1].messages if isinstance(one, UserMessage)]
        assert [one.parts[0] for one in users] == [
            Text("[an older document that is not shown any more]"),
            Text("b.csv:\n\nat,height\n\n\n"),  # as the provider says nothing of documents
            Text("c.csv:\n\nat,height\n\n\n"),
        ]
        kept = (await fixture.send("GET", "/conversations/c-1")).json["messages"]
        assert [one["parts"][0] for one in kept if one["role"] == "user"] == [
            {**document(name), "url": ""} for name in ("a.csv", "b.csv", "c.csv")
        ]

    @jumping
    async def test_are_in_no_stream_log(self) -> None:
        fixture = ServiceFixture(answer("hello"))
        content = [document("a.csv"), {"type": "text", "text": "?"}]
        await fixture.send(
            "POST", "/chat", {"messages": [{"role": "user", "content": content}], "conversation_id": "c"}
        )
        partitions = cast("Any", fixture.store._backend)._partitions.values()
        bodies = [item.body for partition in partitions for item in partition.values()]
        assert any(b"hello" in body for body in bodies)
        assert not any(CSV.encode() in body for body in bodies)


class TestSecrets:
    KEY = "sk-harbour-42"

    @pytest.fixture(autouse=True)
    def _register_key(self) -> None:
        redaction.register(self.KEY)

    @jumping
    async def test_are_not_stored(self) -> None:
        fixture = ServiceFixture(answer("hello"), answer("again"))
        await fixture.chat(f"my key is {self.KEY}", conversation_id="c-1", store=True)
        for path in ("/conversations", "/conversations/c-1"):
            body = (await fixture.send("GET", path)).body
            assert b"my key is [redacted]" in body
            assert self.KEY.encode() not in body

    @jumping
    async def test_stored_by_an_earlier_version_are_neither_returned_nor_sent(self) -> None:
        forget_secrets()
        fixture = ServiceFixture(answer("hello"), answer("again"))
        await fixture.chat(f"my key is {self.KEY}", conversation_id="c-1", store=True)
        redaction.register(self.KEY)
        for path in ("/conversations", "/conversations/c-1"):
            assert self.KEY.encode() not in (await fixture.send("GET", path)).body
        await fixture.chat("and?", conversation_id="c-1", store=True)
        assert self.KEY not in str(fixture.provider.requests[1])

    @jumping
    async def test_are_in_no_terminal_event(self) -> None:
        response = await ServiceFixture([ToolError(f"not with {self.KEY}")]).chat("hi")
        assert response.frames[-1]["message"] == "not with [redacted]"


class TestStoredConversation:
    @jumping
    async def test_continues_where_it_ended(self) -> None:
        fixture = ServiceFixture(answer("hello ada"), answer("you are ada"))
        await fixture.chat("i am ada", conversation_id="c-1", store=True)
        await fixture.chat("who am i?", conversation_id="c-1", store=True)
        assert len(fixture.provider.requests[1].messages) == 3

    @jumping
    async def test_is_not_made_of_a_request_that_brings_its_own_history(self) -> None:
        fixture = ServiceFixture(answer("hello"))
        await fixture.chat("hi", conversation_id="c-1")
        assert (await fixture.send("GET", "/conversations")).json["conversations"] == []

    @jumping
    async def test_can_be_listed_read_and_deleted(self) -> None:
        fixture = ServiceFixture(answer("hello"))
        await fixture.chat("hi", conversation_id="c-1", store=True)
        assert [one["id"] for one in (await fixture.send("GET", "/conversations")).json["conversations"]] == ["c-1"]
        assert len((await fixture.send("GET", "/conversations/c-1")).json["messages"]) == 2
        assert (await fixture.send("DELETE", "/conversations/c-1")).status == 204
        assert (await fixture.send("GET", "/conversations/c-1")).status == 404

    @jumping
    async def test_has_what_was_streamed_before_a_failure(self) -> None:
        fixture = ServiceFixture([[TextDelta("half")], ModelBusy("overloaded")])
        await fixture.chat("hi", conversation_id="c-1", store=True)
        (_, message) = (await fixture.send("GET", "/conversations/c-1")).json["messages"]
        assert message["incomplete"] is True

    @jumping
    async def test_accepts_one_request_at_a_time(self) -> None:
        fixture = ServiceFixture([pause(5), [TextDelta("a")], [TurnEnded("stop")]], answer("b"))
        first = asyncio.create_task(fixture.chat("one", conversation_id="c-1", store=True))
        await asyncio.sleep(1)
        second = await fixture.chat("two", conversation_id="c-1", store=True)
        assert second.status == 409
        assert (await first).frames[-1]["type"] == "done"


class TestStopping:
    @jumping
    async def test_ends_the_stream_with_its_own_frame_and_closes_the_provider_stream(self) -> None:
        fixture = ServiceFixture(calls_tools(("a", "sleep", "60")))
        streaming = asyncio.create_task(fixture.chat("hi", conversation_id="c-1"))
        await asyncio.sleep(1)
        assert (await fixture.send("POST", "/chat/c-1/stop")).status == 202
        response = await streaming
        assert response.frames[-1] == {"type": "stopped", "reason": "user"}
        assert response.frames[-2]["status"] == "cancelled"
        assert fixture.provider.open == 0

    @jumping
    async def test_by_the_shutdown_of_the_environment_ends_the_stream_with_its_own_frame_too(self) -> None:
        fixture, response = ServiceFixture([[TextDelta("half")], pause(60)]), RecordedResponse()
        body = event("POST", "/chat", {"messages": [{"role": "user", "content": "hi"}]})
        context, stream = FakeLambdaContext(remaining_ms=60_000), cast("ResponseStream", response)
        streaming = asyncio.create_task(handle(fixture.service, body, stream, context))
        await asyncio.sleep(1)
        streaming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await streaming
        assert response.frames[-1] == {"type": "stopped", "reason": "shutdown"}
        assert fixture.provider.open == 0


class TestWhatIsCounted:
    """`Chats` are requests for an answer, and `FailedChats` those of them that have not got it."""

    @pytest.mark.parametrize(
        ("turns", "failed"),
        [
            ([answer("hello")], 0),
            ([calls_tools(("a", "sleep", "1")), answer("hello")], 0),
            ([[[TextDelta("cut")], [TurnEnded("max_tokens")]]], 0),
            ([[ModelBusy("overloaded")]], 1),
            ([[[TextDelta("half")], ModelBusy("overloaded")]], 1),
            ([[pause(100)]], 1),
            ([[ZeroDivisionError()]], 1),
        ],
    )
    @jumping
    async def test_an_error_event_and_the_deadline_are_failures(
        self, turns: list[list[Step]], failed: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        await ServiceFixture(*turns).chat("hi")
        assert chats(capsys) == (1, failed)

    @jumping
    async def test_so_are_errors_that_are_no_stream(self, capsys: pytest.CaptureFixture[str]) -> None:
        body = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
        response = await ServiceFixture([ModelBusy("overloaded")]).send("POST", "/v1/chat/completions", body)
        assert (response.status, chats(capsys)) == (503, (1, 1))

    @jumping
    async def test_what_its_user_stops_is_no_failure(self, capsys: pytest.CaptureFixture[str]) -> None:
        fixture = ServiceFixture([[TextDelta("half")], pause(60)])
        streaming = asyncio.create_task(fixture.chat("hi", conversation_id="c"))
        await asyncio.sleep(1)
        await fixture.send("POST", "/chat/c/stop")
        assert (await streaming).frames[-1] == {"type": "stopped", "reason": "user"}
        assert chats(capsys) == (1, 0)

    @jumping
    async def test_what_ends_with_its_environment_is_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        streaming = asyncio.create_task(ServiceFixture([[TextDelta("half")], pause(60)]).chat("hi"))
        await asyncio.sleep(1)
        streaming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await streaming
        assert chats(capsys) == (1, 1)

    @jumping
    async def test_what_its_caller_has_to_mend_is_no_chat(self, capsys: pytest.CaptureFixture[str]) -> None:
        fixture = ServiceFixture(answer("hello"), limit_requests_per_minute=1)
        assert (await fixture.send("POST", "/chat", {"messages": "x"})).status == 400
        assert chats(capsys) == (0, 0)
        assert [(await fixture.chat("hi")).status for _ in range(2)] == [200, 429]
        assert chats(capsys) == (1, 0)

    @jumping
    async def test_reading_an_answer_again_is_no_chat(self, capsys: pytest.CaptureFixture[str]) -> None:
        fixture = ServiceFixture(answer("hello"))
        await fixture.chat("hi", conversation_id="c")
        await fixture.send("GET", "/chat/c/stream")
        assert chats(capsys) == (1, 0)


def chats(capsys: pytest.CaptureFixture[str]) -> tuple[float, float]:
    totals = emf.totals(emf.read(capsys.readouterr().out))
    return totals["Chats", ""], totals["FailedChats", ""]


DOLLAR_A_MILLION = '{"*": {"input": 1, "output": 1}}'

Limit: TypeAlias = Callable[[int], dict[str, Any]]


def of_tokens(tokens: int) -> dict[str, Any]:
    return {"limit_tokens_per_day": tokens}


def of_their_cost(tokens: int) -> dict[str, Any]:
    return {"limit_dollars_per_day": tokens / 1e6, "model_prices": DOLLAR_A_MILLION}


EITHER_LIMIT = pytest.mark.parametrize("limit", [of_tokens, of_their_cost])
"""What is promised of a limit of tokens holds for one of dollars, too."""


class TestRateLimits:
    @jumping
    async def test_requests_beyond_the_limit_are_429_before_any_model_call(self) -> None:
        fixture = ServiceFixture(answer("a"), answer("b"), limit_requests_per_minute=1)
        await fixture.chat("one")
        rejected = await fixture.chat("two")
        assert rejected.status == 429
        assert int(rejected.headers["retry-after"]) > 0
        assert len(fixture.provider.requests) == 1

    @EITHER_LIMIT
    @jumping
    async def test_tokens_are_counted_when_the_answer_has_ended(self, limit: Limit) -> None:
        fixture = ServiceFixture(answer("a"), answer("b"), **limit(5))
        assert (await fixture.chat("one")).frames[-1]["type"] == "done"
        assert (await fixture.chat("two")).status == 429

    @EITHER_LIMIT
    @jumping
    async def test_tokens_of_a_stopped_request_are_counted(self, limit: Limit) -> None:
        fixture = ServiceFixture([[TextDelta("x" * 400)], pause(60)], answer("b"), **limit(100))
        streaming = asyncio.create_task(fixture.chat("one", conversation_id="c-1"))
        await asyncio.sleep(1)
        await fixture.send("POST", "/chat/c-1/stop")
        assert (await streaming).frames[-1]["type"] == "stopped"
        assert (await fixture.chat("two")).status == 429

    @EITHER_LIMIT
    @jumping
    async def test_tokens_are_counted_when_the_environment_shuts_down_mid_stream(self, limit: Limit) -> None:
        fixture = ServiceFixture([[TextDelta("x" * 400)], pause(60)], answer("b"), **limit(100))
        streaming = asyncio.create_task(fixture.chat("one"))
        await asyncio.sleep(1)
        streaming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await streaming
        assert (await fixture.chat("two")).status == 429

    @EITHER_LIMIT
    @jumping
    async def test_of_requests_at_once_only_as_many_are_answered_as_can_be_paid_for(self, limit: Limit) -> None:
        """MODEL_MAX_TOKENS is 8192, so one of them may use all that there is."""
        fixture = ServiceFixture(*(answer("a") for _ in range(40)), **limit(8000))
        responses = await asyncio.gather(*(fixture.chat(str(number)) for number in range(40)))
        assert sorted(response.status for response in responses) == [200] + [429] * 39
        refused = next(response for response in responses if response.status == 429)
        assert "running requests have reserved" in refused.json["error"]["message"]
        assert int(refused.headers["retry-after"]) <= 10
        assert (await fixture.chat("later")).status == 200

    @EITHER_LIMIT
    @jumping
    async def test_what_is_left_when_few_tokens_are_needed_is_for_others(self, limit: Limit) -> None:
        fixture = ServiceFixture(*(answer("a") for _ in range(40)), **limit(1000), model_max_tokens=50)
        responses = await asyncio.gather(*(fixture.chat("hi") for _ in range(40)))
        assert 5 < [response.status for response in responses].count(200) < 20

    @EITHER_LIMIT
    @jumping
    async def test_a_loop_of_turns_ends_at_the_limit_with_an_error(self, limit: Limit) -> None:
        """What it has used is reported, and what it has said is valid."""
        ended: Step = [TurnEnded("tool_calls", Usage(300, 100))]
        turns = [[*calls_tools((str(number), "sleep", "0"))[:-1], ended] for number in range(10)]
        fixture = ServiceFixture(*turns, **limit(1000))
        response = await fixture.chat("one")
        assert response.frames[-1]["type"] == "error"
        assert response.frames[-1]["code"] == "rate_limited"
        assert len(fixture.provider.requests) == 3
        assert (await fixture.chat("two")).status == 429

    @EITHER_LIMIT
    @jumping
    async def test_a_request_that_was_not_answered_gives_back_what_it_has_reserved(self, limit: Limit) -> None:
        fixture = ServiceFixture([ModelBusy("busy")], [pause(60)], answer("b"), **limit(1000))
        assert (await fixture.chat("fails")).frames[-1]["type"] == "error"
        running = asyncio.create_task(fixture.chat("one", conversation_id="c-1", store=True))
        await asyncio.sleep(1)
        assert (await fixture.chat("two", conversation_id="c-1", store=True)).status == 429
        await fixture.send("POST", "/chat/c-1/stop")
        await running
        assert (await fixture.chat("three")).status == 200

    @jumping
    async def test_in_dollars_are_told_as_such(self) -> None:
        fixture = ServiceFixture(answer("a"), answer("b"), limit_dollars_per_day=5e-6, model_prices=DOLLAR_A_MILLION)
        assert (await fixture.chat("one")).frames[-1]["usage"]["cost"] == 5e-6
        refused = await fixture.chat("two")
        assert (refused.status, refused.headers["x-error-code"]) == (429, "rate_limited")
        assert refused.json["error"]["message"] == "rate limit exceeded: 5e-06 dollars per day"

    @jumping
    async def test_in_dollars_count_nothing_for_a_model_without_a_price(self, caplog: pytest.LogCaptureFixture) -> None:
        fixture = ServiceFixture(answer("a"), answer("b"), limit_dollars_per_day=1e-6)
        for question in ("one", "two"):
            done = (await fixture.chat(question)).frames[-1]
            assert (done["type"], "cost" in done["usage"]) == ("done", False)
        assert caplog.text.count("the price of script: is not known") == 1

    @jumping
    async def test_in_dollars_and_tokens_hold_side_by_side(self) -> None:
        """Whichever is used up first; and what is reserved of the other is given back."""
        both = {"limit_tokens_per_day": 9000, "limit_dollars_per_day": 5e-6, "model_prices": DOLLAR_A_MILLION}
        fixture = ServiceFixture(answer("a"), answer("b"), **both)
        assert (await fixture.chat("one")).status == 200
        assert (await fixture.chat("two")).status == 429
        counted = {item.sk: item.number for item in await fixture.store.query_partition("limits#anonymous")}
        assert [number for key, number in counted.items() if key.startswith("reserved")] == [0, 0]
        assert sorted(number for key, number in counted.items() if not key.startswith("reserved")) == [5, 5]

    @jumping
    async def test_in_dollars_are_exceeded_by_one_reservation_at_most(self) -> None:
        """Forty at once, each of which uses all that it has reserved: 3 dollars of input, 15 of output a million."""
        prices = '{"*": {"input": 3, "output": 15, "cached": 0.3, "cache_write": 3.75}}'
        ends: Step = [TurnEnded("stop", Usage(30, 100, 0, 30))]
        turns: list[list[Step]] = [[[TextDelta("a")], pause(1), ends] for _ in range(40)]
        fixture = ServiceFixture(*turns, limit_dollars_per_day=0.01, model_prices=prices, model_max_tokens=100)
        responses = await asyncio.gather(*(fixture.chat(str(number)) for number in range(40)))
        costs = [response.frames[-1]["usage"]["cost"] for response in responses if response.status == 200]
        reservation = max(costs)
        assert 0.01 - reservation <= sum(costs) <= 0.01 + reservation

    @jumping
    async def test_an_answer_is_not_broken_off_because_the_store_is_unavailable(self) -> None:
        store = SlowStore()

        async def lose_the_store() -> None:
            store.delay_s = HANGING_S

        first: list[Step] = [lose_the_store, *calls_tools(("a", "sleep", "0"))]
        fixture = ServiceFixture(first, answer("b"), store=store, limit_tokens_per_day=100_000)
        assert (await fixture.chat("one")).frames[-1]["type"] == "done"

    @jumping
    async def test_a_hanging_store_delays_neither_the_terminal_event_nor_the_end(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        frame_types: list[object] = []

        async def hang(*_: object) -> None:
            await asyncio.sleep(END_GRACE_S + 0.1)
            assert response.ended
            frame_types.extend(frame["type"] for frame in response.frames)
            await asyncio.sleep(3600)

        monkeypatch.setattr(Reservation, "settle", hang)
        fixture, response = ServiceFixture(answer("a"), limit_tokens_per_day=100), RecordedResponse()
        started_at = asyncio.get_running_loop().time()
        body = {"messages": [{"role": "user", "content": "hi"}]}
        stream = cast("ResponseStream", response)
        await handle(fixture.service, event("POST", "/chat", body), stream, FakeLambdaContext(remaining_ms=60_000))
        assert frame_types[-1] == "done"
        assert asyncio.get_running_loop().time() - started_at <= TIDY_TIMEOUT_S + 0.1
        assert "5 tokens used by anonymous were not counted" in caplog.text


QUESTION = {"messages": [{"role": "user", "content": "hi"}], "conversation_id": "c-1", "store": True}
HANGING_S = 3600.0


class TestSlowStore:
    """Whatever the store does, the first byte and the end of the response come in time."""

    @pytest.mark.parametrize("delay_s", [0.7, 1.9, HANGING_S])
    @jumping
    async def test_what_stands_before_the_first_byte_takes_two_seconds_at_most(self, delay_s: float) -> None:
        fixture = ServiceFixture(answer("a"), store=SlowStore(delay_s), limit_requests_per_minute=9)
        response = await fixture.serve("/chat", QUESTION, 13_000)
        assert (response.status, response.json["error"]["code"]) == (503, "store_unavailable")
        assert response.headers["retry-after"] == "5"
        assert response.ended_after_s <= 2.25
        assert not fixture.provider.requests

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/conversations"),
            ("GET", "/conversations/c-1"),
            ("DELETE", "/conversations/c-1"),
            ("POST", "/chat/c-1/stop"),
        ],
    )
    @jumping
    async def test_the_conversations_endpoints_take_two_seconds_at_most(self, method: str, path: str) -> None:
        fixture, loop = ServiceFixture(store=SlowStore(HANGING_S)), asyncio.get_running_loop()
        began = loop.time()
        assert (await fixture.send(method, path)).status == 503
        assert loop.time() - began <= 2.1

    @jumping
    async def test_less_is_waited_if_the_deadline_is_near(self) -> None:
        fixture = ServiceFixture(answer("a"), store=SlowStore(HANGING_S))
        response = await fixture.serve("/chat", QUESTION, 3_000)
        assert response.status == 503
        assert response.ended_after_s <= 1.25

    @jumping
    async def test_after_the_end_of_the_response_the_answer_is_saved(self) -> None:
        fixture = ServiceFixture(answer("a"), store=SlowStore(0.05))
        response, stored = TimedResponse(), list[Any]()
        end = response.end

        async def end_and_read() -> None:
            await end()
            stored.append((await fixture.send("GET", "/conversations/c-1")).json)

        response.end = end_and_read  # type: ignore[method-assign]
        context = TimedContext(60_000)
        await handle(fixture.service, event("POST", "/chat", QUESTION), response, context)
        assert (len(stored[0]["messages"]), stored[0]["running"]) == (2, False)

    @jumping
    async def test_what_was_refused_too_late_blocks_nobody(self) -> None:
        store = SlowStore(1.1)
        fixture = ServiceFixture(answer("a"), store=store)
        assert (await fixture.send("POST", "/chat", QUESTION)).status == 503  # while the lease is being acquired
        store.delay_s = 0
        assert (await fixture.send("POST", "/chat", QUESTION)).status == 200

    @pytest.mark.parametrize(
        ("path", "end", "after_s"),
        [
            ("/chat", [TurnEnded("stop")], 0),
            ("/chat", ModelBusy("overloaded"), 0),
            ("/chat", "stopped", 0),
            ("/chat", "deadline", 3),
            ("/v1/chat/completions", [TurnEnded("stop")], 0),  # without streaming
            ("/v1/chat/completions", ModelBusy("overloaded"), 0),
            ("/v1/chat/completions", "deadline", 3),
        ],
    )
    @jumping
    async def test_the_response_ends_with_the_terminal_event(self, path: str, end: Any, after_s: float) -> None:
        store, loop, tasks = SlowStore(), asyncio.get_running_loop(), list[object]()

        async def break_down() -> None:
            store.delay_s = HANGING_S
            if end == "stopped":
                tasks.append(asyncio.create_task(fixture.send("POST", "/chat/c-1/stop")))
            if isinstance(end, str):
                await asyncio.sleep(100)

        fixture = ServiceFixture(
            [[TextDelta("a")], break_down, [] if isinstance(end, str) else end],
            store=store,
            limit_tokens_per_day=100,
            deadline_margin=2,
        )
        began = loop.time()
        response = await fixture.serve(path, QUESTION, 5_000)
        assert after_s <= response.ended_after_s <= after_s + END_GRACE_S + 0.01
        assert loop.time() - began < 5  # what comes after it ends before Lambda's deadline too


class TestDraft:
    @jumping
    async def test_is_shown_while_the_answer_runs_and_replaced_by_it(self) -> None:
        steps: list[Any] = [[TextDelta("half ")], pause(1.5), [TextDelta("and half")], [TurnEnded("stop")]]
        fixture = ServiceFixture(steps, store=SlowStore())
        answering = asyncio.create_task(fixture.send("POST", "/chat", QUESTION))
        await asyncio.sleep(1.2)
        running = (await fixture.send("GET", "/conversations/c-1")).json
        assert running["messages"][1]["parts"] == [{"type": "text", "text": "half "}]
        assert (running["running"], running["messages"][1]["incomplete"]) == (True, True)
        await answering
        ended = (await fixture.send("GET", "/conversations/c-1")).json
        assert [message["parts"][0]["text"] for message in ended["messages"]] == ["hi", "half and half"]
        assert not ended["messages"][1]["incomplete"]

    @jumping
    async def test_a_store_that_fails_while_the_answer_runs_does_not_harm_it(self) -> None:
        store = SlowStore()

        async def break_down() -> None:
            store.delay_s = HANGING_S

        steps: list[Any] = [[TextDelta("a")], break_down, pause(30), [TextDelta("b")], [TurnEnded("stop")]]
        fixture, began = ServiceFixture(steps, store=store), asyncio.get_running_loop().time()
        response = await fixture.serve("/chat", QUESTION, 60_000)
        assert [frame.get("delta") for frame in response.frames][1:3] == ["a", "b"]
        assert response.ended_after_s == pytest.approx(
            asyncio.get_running_loop().time() - began - TIDY_TIMEOUT_S, abs=1
        )


class TestLogLine:
    @jumping
    async def test_has_what_the_answer_cost_which_is_measured_by_model(
        self, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The same as its caller is told: the sum of its turns, also of different models."""
        prices = '{"dear": {"input": 3, "output": 15, "cached": 0.3}, "cheap": {"input": 1, "output": 2}}'
        ends: Step = [TurnEnded("tool_calls", Usage(90, 4, 50), "x:dear")]
        calls = [*calls_tools(("a", "sleep", "0"))[:-1], ends]
        fixture = ServiceFixture(calls, [[TurnEnded("stop", Usage(100, 1), "y:cheap")]], model_prices=prices)
        done = (await fixture.chat("hi")).frames[-1]
        costs = {"x:dear": (40 * 3 + 50 * 0.3 + 4 * 15) / 1e6, "y:cheap": 0.000102}
        assert done["usage"] == {"input": 190, "output": 5, "cached": 50, "cost": 0.000297}
        line = next(vars(record) for record in caplog.records if record.name == "winterbourne.chat.request")
        assert line["cost_usd"] == pytest.approx(sum(costs.values()))
        written = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
        assert {blob["model"]: blob["CostUsd"] for blob in emf.checked(written) if "model" in blob} == {
            model: [pytest.approx(cost)] for model, cost in costs.items()
        }

    @jumping
    async def test_has_the_usage_of_the_request(self, caplog: pytest.LogCaptureFixture) -> None:
        await ServiceFixture(answer("hello")).chat("hi", conversation_id="c-1")
        line = next(vars(record) for record in caplog.records if record.name == "winterbourne.chat.request")
        expected = {"conversation_id": "c-1", "model": "script", "turns": 1, "input_tokens": 2, "stop_reason": "stop"}
        assert line.items() >= expected.items()

    @jumping
    async def test_has_no_message_content(self, caplog: pytest.LogCaptureFixture) -> None:
        await ServiceFixture(answer("a reply")).chat("a question")
        assert not any("a reply" in str(vars(r)) or "a question" in str(vars(r)) for r in caplog.records)

    @jumping
    async def test_has_message_content_if_the_settings_allow_it(self, caplog: pytest.LogCaptureFixture) -> None:
        await ServiceFixture(answer("a reply"), log_messages=True).chat("a question")
        line = next(vars(record) for record in caplog.records if record.name == "winterbourne.chat.request")
        assert [message["role"] for message in line["messages"]] == ["user", "assistant"]

    @jumping
    async def test_names_the_files_of_a_message_without_their_data(self, caplog: pytest.LogCaptureFixture) -> None:
        parts = [{"type": "text", "text": "?"}, document("tides.csv")]
        fixture = ServiceFixture(answer("a reply"), log_messages=True)
        await fixture.send("POST", "/chat", {"messages": [{"role": "user", "content": parts}]})
        line = next(vars(record) for record in caplog.records if record.name == "winterbourne.chat.request")
        assert "tides.csv" in str(line["messages"])
        assert CSV not in str(line["messages"])

    @jumping
    async def test_has_the_time_to_the_first_token_of_the_first_turn_with_text(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        noted: list[float] = []
        clock = asyncio.get_running_loop().time
        monkeypatch.setattr(telemetry, "note_first_token", lambda _: noted.append(clock()))
        began = clock()
        texts: list[Step] = [pause(2), [TextDelta("a")], pause(1), [TextDelta("b")], [TurnEnded("pause")]]
        await ServiceFixture(calls_tools(("a", "sleep", "1")), texts, answer("done")).chat("hi")
        assert noted == [pytest.approx(began + 3, abs=0.1)]

    @pytest.mark.parametrize(
        ("turns", "tools_s", "first_token_s"),
        [
            ([[pause(2), *answer("hello")]], 0, 2),
            ([[pause(2), *calls_tools(("a", "sleep", "20"))], [pause(1), *answer("hello")]], 20, 23),
            # While the model goes on to talk, it is the model that is waited for.
            ([[*calls_tools(("a", "sleep", "20"))[:-1], pause(15), [TurnEnded("tool_calls")]], answer("hello")], 5, 20),
            # Whoever reads the first word waits no more.
            ([[[TextDelta("I look it up.")], *calls_tools(("a", "sleep", "20"))], answer("hello")], 0, 0),
        ],
    )
    @jumping
    async def test_has_the_time_to_the_first_token_without_that_of_the_tools(
        self,
        turns: list[list[Step]],
        tools_s: int,
        first_token_s: int,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        clock = SimpleNamespace(monotonic=asyncio.get_running_loop().time)
        monkeypatch.setattr("winterbourne.chat.infra.telemetry.time", clock)
        await ServiceFixture(*turns).chat("hi")
        line = next(vars(record) for record in caplog.records if record.name == "winterbourne.chat.request")
        whole_ms, of_model_ms = line["time_to_first_token_ms"], line["model_time_to_first_token_ms"]
        assert (whole_ms, whole_ms - of_model_ms) == (first_token_s * 1000, tools_s * 1000)

    @jumping
    async def test_names_the_tools_that_were_called(self, caplog: pytest.LogCaptureFixture) -> None:
        await ServiceFixture(calls_tools(("a", "sleep", "1"), ("b", "sleep", "0")), answer("done")).chat("hi")
        line = next(vars(record) for record in caplog.records if record.name == "winterbourne.chat.request")
        assert line["tools"] == ["sleep", "sleep"]
