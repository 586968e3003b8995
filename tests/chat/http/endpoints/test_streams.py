"""Stream endpoint: an answer is sent again, in any format, from its start or from a frame on, up to its end."""

import asyncio
import json
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from tests import emf
from tests.chat.fakes import FakeProvider, SleepingTools, Step, answer, calls_tools, pause
from tests.chat.http_events import FakeLambdaContext, RecordedResponse, event, handle
from tests.clock import jumping
from winterbourne.chat.auth.none import AnonymousAuthenticator
from winterbourne.chat.core.events import ConversationStarted, EventBatch, TextDelta, TurnEnded, TurnRetracted
from winterbourne.chat.core.messages import ChatRequest, Message
from winterbourne.chat.core.provider import capabilities_of
from winterbourne.chat.core.usage import Prices
from winterbourne.chat.errors import ModelBusy
from winterbourne.chat.formats import ag_ui, ai_sdk, native, openai
from winterbourne.chat.formats.base import Encoder, Format, ResumedAnswer
from winterbourne.chat.formats.native.encode import NativeEncoder
from winterbourne.chat.http.endpoints.chat import ChatEndpoint
from winterbourne.chat.http.endpoints.streams import StreamEndpoint
from winterbourne.chat.http.router import Router
from winterbourne.chat.http.service import Endpoint, Service
from winterbourne.chat.infra import telemetry
from winterbourne.chat.settings import Settings
from winterbourne.chat.storage.base import Item, Store
from winterbourne.chat.storage.conversations import ConversationStore
from winterbourne.chat.storage.memory import MemoryBackend
from winterbourne.chat.storage.rate_limits import RateLimiter
from winterbourne.chat.storage.stop_signals import StopSignals
from winterbourne.override import override

LEASE_S = 30
TALK: list[Step] = [[TextDelta("Hel")], pause(3), [TextDelta("lo "), TextDelta("there")], pause(3), [TurnEnded("stop")]]


class Chat:
    """A chat on the event loop's clock, in one format."""

    def __init__(
        self, *turns: list[Step], wire_format: Format = native.FORMAT, store: Store | None = None, **settings_: Any
    ) -> None:
        self.now_s = asyncio.get_running_loop().time
        self.store = store or Store(MemoryBackend, threads=0, is_shared=True, now=lambda: 1e9 + self.now_s())
        settings = Settings.of(auth="none", conversation_lease=LEASE_S, **settings_)
        conversations = ConversationStore(self.store, settings.storage)
        streams = StreamEndpoint(settings.stream, conversations)
        self.stop_signals = StopSignals(self.store, 0.5)
        limiter = RateLimiter(self.store, settings.limits)
        provider = FakeProvider(*turns)
        chat = ChatEndpoint(
            settings.request,
            settings.model,
            settings.stream,
            False,  # noqa: FBT003 - log_messages
            provider,
            capabilities_of(provider),
            SleepingTools(),
            conversations,
            limiter,
            Prices(settings.model),
            self.stop_signals,
            streams,
        )
        errors = native.FORMAT.encode_error
        routes = {("POST", "/chat"): Endpoint(partial(chat.handle, wire_format), errors, is_chat=True)}
        for each in (native, ai_sdk, ag_ui, openai):
            path = f"{each.FORMAT.path}/{{id}}/stream"
            routes["GET", path] = Endpoint(partial(streams.handle, each.FORMAT), errors)
        logger = telemetry.make_logger()
        self.service = Service(
            Router(routes), AnonymousAuthenticator(), limiter, errors, logger, telemetry.SERVICE, lambda: None
        )

    async def send(self, method: str, path: str, body: object = None, **headers: str) -> RecordedResponse:
        response = self.response = RecordedResponse()
        path, _, query = path.partition("?")
        request = event(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        await handle(self.service, {**request, "rawQueryString": query}, response, FakeLambdaContext())
        return response

    async def ask(self, **fields: Any) -> RecordedResponse:
        body = {"messages": [{"role": "user", "content": "hi"}], "conversation_id": "c", **fields}
        return await self.send("POST", "/chat", body)

    async def read(self, path: str = "/chat/c/stream", **headers: str) -> RecordedResponse:
        return await self.send("GET", path, **headers)


def frames(response: RecordedResponse) -> list[bytes]:
    return [line for line in response.body.split(b"\n") if line.startswith(b"data: ")]


def numbers(response: RecordedResponse) -> list[int]:
    return [int(number) for number in re.findall(rb"^id: (\d+)\ndata: ", response.body, re.MULTILINE)]


class TestAnAnswerThatRuns:
    @jumping
    @pytest.mark.parametrize("kept", [{}, {"store": True}])
    async def test_is_sent_from_its_start_and_followed_to_its_end(self, kept: dict[str, Any]) -> None:
        chat = Chat(TALK)
        asking = asyncio.create_task(chat.ask(**kept))
        await asyncio.sleep(2)
        reading = [asyncio.create_task(chat.read()) for _ in range(3)]
        await asyncio.sleep(2)
        late = await chat.read()
        asked = await asking
        for response in (*[await each for each in reading], late):
            assert frames(response) == frames(asked)
            assert numbers(response) == list(range(1, len(frames(asked)) + 1))
            assert response.headers["content-type"] == "text/event-stream"
            assert response.body.startswith(b"retry: 1000\nid: 1\n")

    @jumping
    async def test_can_be_read_at_once(self) -> None:
        chat = Chat([pause(5), *answer("hi")])
        asking = asyncio.create_task(chat.ask())
        await asyncio.sleep(0.01)
        assert frames(await chat.read()) == frames(await asking)

    @jumping
    async def test_is_not_followed_for_a_request_that_asks_for_the_headers_alone(self) -> None:
        chat = Chat(TALK)
        asking = asyncio.create_task(chat.ask())
        await asyncio.sleep(1)
        response, at = await chat.send("HEAD", "/chat/c/stream"), chat.now_s()
        assert (response.status, response.body) == (200, b"")
        assert response.headers["content-type"] == "text/event-stream"
        await asking
        assert chat.now_s() - at > 1

    @jumping
    async def test_sends_heartbeats_to_its_readers(self) -> None:
        chat = Chat([pause(25), *answer("hi")])
        asking = asyncio.create_task(chat.ask())
        await asyncio.sleep(0.01)
        assert (await chat.read()).body.count(b": keep-alive") == 2
        await asking

    @jumping
    async def test_goes_on_when_a_reader_leaves(self) -> None:
        chat = Chat(TALK)
        asking = asyncio.create_task(chat.ask())
        await asyncio.sleep(1)
        reading = asyncio.create_task(chat.read())
        await asyncio.sleep(1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert b'"stopped"' not in chat.response.body, "the reader's process may end alone, and its client come back"
        assert b'"done"' in (await asking).body

    @jumping
    async def test_is_stopped_for_its_readers_too(self) -> None:
        chat = Chat([[TextDelta("Hel")], pause(100)])
        asking = asyncio.create_task(chat.ask())
        await asyncio.sleep(1)
        reading = asyncio.create_task(chat.read())
        await asyncio.sleep(1)
        await chat.stop_signals.send("anonymous", "c")
        assert frames(await reading)[-1] == frames(await asking)[-1] == b'data: {"type":"stopped","reason":"user"}'


LOST: list[Step] = [[TextDelta("Wro")], pause(3), [TurnRetracted("openai:gpt")], [TextDelta("Hello")], pause(3)]


class TestAnAnswerOfWhichSomethingWasTakenBack:
    @jumping
    async def test_has_the_same_frames_for_a_native_reader(self) -> None:
        chat = Chat([*LOST, [TurnEnded("stop")]])
        asking = asyncio.create_task(chat.ask(retractions=True))
        await asyncio.sleep(1)
        early = asyncio.create_task(chat.read())
        await asyncio.sleep(4)
        late = await chat.read()
        asked = await asking
        assert b'{"type":"retract"}' in asked.body
        assert frames(await early) == frames(late) == frames(asked)
        assert numbers(late) == list(range(1, len(frames(asked)) + 1))

    @jumping
    @pytest.mark.parametrize("path", ["/api/chat", "/agui", "/v1/chat/completions"])
    @pytest.mark.parametrize("seconds", [5, 20])
    async def test_is_without_it_for_a_reader_who_comes_later(self, path: str, seconds: float) -> None:
        chat = Chat([*LOST, [TurnEnded("stop")]])
        asking = asyncio.create_task(chat.ask(retractions=True))
        await asyncio.sleep(seconds)
        body = (await chat.read(f"{path}/c/stream")).body
        assert b"Hello" in body
        assert b"Wro" not in body
        await asking

    @jumping
    async def test_ends_with_an_error_for_an_earlier_reader_that_cannot_drop_it(self) -> None:
        chat = Chat([*LOST, [TurnEnded("stop")]])
        asking = asyncio.create_task(chat.ask(retractions=True, approvals=True))
        await asyncio.sleep(1)
        body = (await chat.read("/api/chat/c/stream")).body
        assert b"Wro" in body
        assert b'{"type":"error","errorText":"The answer broke off.' in body
        assert b"Hello" not in body
        await asking

    @jumping
    async def test_is_kept_without_it(self) -> None:
        chat = Chat([*LOST, [TurnEnded("stop")]])
        await chat.ask(retractions=True, store=True)
        body = (await chat.read("/agui/c/stream")).body
        assert b"Hello" in body
        assert b"Wro" not in body


class TestAnAnswerThatHasEnded:
    @jumping
    @pytest.mark.parametrize("path", ["/chat", "/api/chat", "/agui", "/v1/chat/completions"])
    async def test_is_sent_again_for_an_hour_in_every_format(self, path: str) -> None:
        chat = Chat(calls_tools(("a", "sleep", "1")), answer("done"))
        await chat.ask()
        first = await chat.read(f"{path}/c/stream")
        assert b"done" in first.body
        await asyncio.sleep(3000)
        assert (await chat.read(f"{path}/c/stream")).body == first.body
        await asyncio.sleep(700)
        assert (await chat.read(f"{path}/c/stream")).status == 204

    @jumping
    async def test_is_the_latest_one(self) -> None:
        chat = Chat(answer("one"), answer("two"))
        await chat.ask()
        await asyncio.sleep(1)
        second = await chat.ask()
        assert frames(await chat.read()) == frames(second)

    @jumping
    async def test_that_failed_says_so_again(self) -> None:
        chat = Chat([[TextDelta("half")], RuntimeError("secret")])
        asked = await chat.ask()
        assert frames(await chat.read()) == frames(asked)
        assert b"secret" not in asked.body

    @jumping
    async def test_that_was_stopped_is_not_resumed_by_clients_that_show_it_already(self) -> None:
        chat = Chat([[TextDelta("Hel")], pause(100)])
        asking = asyncio.create_task(chat.ask())
        await asyncio.sleep(1)
        await chat.stop_signals.send("anonymous", "c")
        asked = await asking
        assert (await chat.read("/api/chat/c/stream")).status == 204
        assert frames(await chat.read()) == frames(asked)


class TestAnAnswerThatGoesOn:
    """After the client has run its own tools, the same message goes on in another request."""

    @jumping
    @pytest.mark.parametrize("kept", [False, True])
    async def test_is_sent_again_as_one_message(self, kept: object) -> None:
        calls = [[TextDelta("Pick.")], *calls_tools(("t", "pick", "{}"))[:-1], [TurnEnded("tool_calls")]]
        chat = Chat(calls, answer("done"), wire_format=ai_sdk.FORMAT)
        question = {"id": "u", "role": "user", "parts": [{"type": "text", "text": "hi"}]}
        body: dict[str, Any] = {"id": "c", "tools": {"pick": {"parameters": {}}}}
        first = {"message": question} if kept else {"messages": [question]}
        asked = await chat.send("POST", "/chat", {**body, **first})
        message_id = asked.frames[0]["messageId"]
        picked = {"type": "tool-pick", "toolCallId": "t", "state": "output-available", "input": {}, "output": 7}
        parts = [{"type": "step-start"}, {"type": "text", "text": "Pick."}, picked]
        turn = {"id": message_id, "role": "assistant", "parts": parts}
        await asyncio.sleep(1)
        goes_on = await chat.send(
            "POST", "/chat", {**body, **({"message": turn} if kept else {"messages": [question, turn]})}
        )
        told = [json.loads(line[6:]) for line in frames(await chat.read("/api/chat/c/stream"))[:-1]]
        kinds = [frame["type"] for frame in told]
        assert told[0] == goes_on.frames[0] == {"type": "start", "messageId": message_id}
        assert [kind for kind in kinds if kind.startswith("tool")] == [
            "tool-input-start",
            "tool-input-available",
            "tool-output-available",
        ]
        assert not any("dynamic" in frame for frame in told)
        assert [frame["delta"] for frame in told if frame["type"] == "text-delta"] == ["Pick.", "done"]
        assert kinds.count("start-step") == kinds.count("finish-step") == 2
        assert kinds[-1] == "finish"


class TestAKeptAnswerThatIsNotTheLatest:
    """As after an older release, which keeps no logs, has answered or deleted."""

    @jumping
    async def test_is_not_sent_again(self) -> None:
        chat = Chat(answer("one"))
        await chat.ask(store=True)
        (head,) = await chat.store.query_partition("conversations#anonymous")
        later = head.body.replace(b'"epoch":1', b'"epoch":2')
        await chat.store.put([replace(head, body=later)])
        assert (await chat.read()).status == 204
        await chat.store.put([head])
        assert (await chat.read()).status == 200
        await chat.store.delete([(head.pk, head.sk)])
        assert (await chat.read()).status == 204


class TestFramesAfterANumber:
    @jumping
    @pytest.mark.parametrize("by_header", [False, True])
    async def test_are_the_rest(self, by_header: object) -> None:
        chat = Chat(calls_tools(("a", "sleep", "1")), answer("done"))
        every = frames(await chat.ask())
        for after in range(len(every) + 3):
            query = "" if by_header else f"?after={after}"
            headers = {"last_event_id": str(after)} if by_header else {}
            response = await chat.read(f"/chat/c/stream{query}", **headers)
            if after >= len(every):
                assert response.status == 204
            else:
                assert frames(response) == every[after:]
                assert numbers(response) == list(range(after + 1, len(every) + 1))

    @jumping
    async def test_are_all_of_an_answer_that_is_not_the_one_the_client_has(self) -> None:
        chat = Chat(answer("one"), answer("two"))
        first = (await chat.ask()).frames[0]["message_id"]
        await asyncio.sleep(1)
        second = await chat.ask()
        assert frames(await chat.read(f"/chat/c/stream?after=1&answer={first}")) == frames(second)
        same = second.frames[0]["message_id"]
        assert frames(await chat.read(f"/chat/c/stream?after=1&answer={same}")) == frames(second)[1:]

    @jumping
    async def test_are_followed_while_the_answer_runs(self) -> None:
        chat = Chat(TALK)
        asking = asyncio.create_task(chat.ask())
        await asyncio.sleep(1)
        rest = await chat.read("/chat/c/stream?after=3")
        assert frames(rest) == frames(await asking)[3:]

    @jumping
    @pytest.mark.parametrize("after", ["", "x", "-1", "1e3", "²", "9" * 30])
    async def test_without_a_number_are_all(self, after: str) -> None:
        chat = Chat(answer("hi"))
        every = frames(await chat.ask())
        assert frames(await chat.read(last_event_id=after)) == every


class TestNothingToSend:
    @jumping
    @pytest.mark.parametrize("path", ["/chat", "/api/chat", "/agui", "/v1/chat/completions"])
    async def test_is_said_with_204(self, path: str) -> None:
        chat = Chat(answer("hi"))
        assert (await chat.read(f"{path}/c/stream")).status == 204
        body = {"messages": [{"role": "user", "content": "hi"}]}
        start = (await chat.send("POST", "/chat", body)).frames[0]  # a conversation that its client did not name
        assert (await chat.read(f"{path}/{start['conversation_id']}/stream")).status == 204


class TestADeadWriter:
    @jumping
    @pytest.mark.parametrize("kept", [{}, {"store": True}])
    async def test_ends_its_readers_with_an_error_within_the_lease(self, kept: dict[str, Any]) -> None:
        store = DyingStore()
        chat = Chat([[TextDelta("Hel")], pause(20), [TextDelta("lo")], pause(600)], store=store)
        asking = asyncio.create_task(chat.ask(**kept))
        await asyncio.sleep(2)
        reading = asyncio.create_task(chat.read())
        await asyncio.sleep(5)
        store.is_dead, began = True, chat.now_s()
        response = await reading
        told = [json.loads(frame.removeprefix(b"data: ")) for frame in frames(response)]
        assert (told[-1]["type"], told[-1]["code"]) == ("error", "answer_lost")
        assert [frame["delta"] for frame in told if frame["type"] == "content"] == ["Hel"]
        assert chat.now_s() - began <= LEASE_S
        store.is_dead = False
        assert frames(await chat.read()) == frames(response)
        asking.cancel()
        await asyncio.wait([asking])


class DyingStore(Store):
    """A store that takes no more of an answer, but for its end: as if the process that gives it were gone."""

    def __init__(self) -> None:
        now_s = asyncio.get_running_loop().time
        super().__init__(MemoryBackend, threads=0, is_shared=True, now=lambda: 1e9 + now_s())
        self.is_dead = False

    @override
    async def put(self, items: Sequence[Item]) -> None:
        if not self.is_dead or b"answer_lost" in items[-1].body:
            await super().put(items)

    @override
    async def compare_and_set(self, item: Item) -> bool:
        return self.is_dead or await super().compare_and_set(item)


class HistoryEncoder(NativeEncoder):
    """Native frames, after one that counts the messages of the history."""

    history: Sequence[Message] | None = None

    @override
    def encode(self, batch: EventBatch) -> bytes:
        starts = batch and isinstance(batch[0], ConversationStarted)
        texts = [part.text for one in self.history or () for part in getattr(one, "parts", ())]
        head = b"data: %b\n\n" % json.dumps({"type": "history", "texts": texts}).encode() if starts else b""
        return head + super().encode(batch)


def decode(body: dict[str, Any]) -> tuple[ChatRequest, Encoder]:
    if body.get("messages"):
        return native.FORMAT.decode(body)
    return ChatRequest(messages=(), conversation_id="c", reconnects=True), HistoryEncoder()


def resume(resumed: ResumedAnswer) -> Encoder:
    return HistoryEncoder(history=resumed.history)


SHOWS_HISTORY = Format("/chat", decode, native.FORMAT.encode_error, resume, shows_history=True)


class TestAFormatThatShowsTheHistory:
    @jumping
    async def test_is_not_counted_as_a_chat_when_it_reads_an_answer_again(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        chat = Chat(answer("one"), wire_format=SHOWS_HISTORY)
        await chat.ask(store=True)
        await chat.send("POST", "/chat", {})
        assert emf.totals(emf.read(capsys.readouterr().out))["Chats", ""] == 1

    @jumping
    async def test_has_what_was_kept_before_an_answer_that_runs(self) -> None:
        chat = Chat(answer("one"), TALK, wire_format=SHOWS_HISTORY)
        await chat.ask(store=True)
        asking = asyncio.create_task(chat.ask(store=True))
        await asyncio.sleep(2)
        again = await chat.send("POST", "/chat", {})
        assert again.frames[0] == {"type": "history", "texts": ["hi", "one", "hi"]}
        assert again.frames[1:] == (await asking).frames

    @jumping
    async def test_has_all_that_was_kept_once_the_answer_has_ended(self) -> None:
        chat = Chat(answer("one"), answer("two"), wire_format=SHOWS_HISTORY)
        await chat.ask(store=True)
        await chat.ask(store=True)
        again = await chat.send("POST", "/chat", {})
        assert again.frames[0] == {"type": "history", "texts": ["hi", "one", "hi", "two"]}
        assert [frame["type"] for frame in again.frames[1:]] == ["start", "done"]

    @jumping
    async def test_fails_once_more_if_the_answer_had_failed(self) -> None:
        chat = Chat([[TextDelta("half")], ModelBusy("no more")], wire_format=SHOWS_HISTORY)
        await chat.ask(store=True)
        again = await chat.send("POST", "/chat", {})
        assert again.frames[0] == {"type": "history", "texts": ["hi", "half"]}
        assert [(frame["type"], frame.get("code")) for frame in again.frames[1:]] == [
            ("start", None),
            ("error", "model_busy"),
        ]

    @jumping
    async def test_has_the_answer_alone_if_nothing_is_kept(self) -> None:
        chat = Chat(answer("one"), wire_format=SHOWS_HISTORY)
        asked = await chat.ask()
        again = await chat.send("POST", "/chat", {})
        assert again.frames == [{"type": "history", "texts": []}, *asked.frames]

    @jumping
    async def test_has_an_answer_alone_that_is_not_kept_though_what_was_before_it_is(self) -> None:
        chat = Chat(answer("kept"), answer("not kept"), wire_format=SHOWS_HISTORY)
        await chat.ask(store=True)
        asked = await chat.ask()
        again = await chat.send("POST", "/chat", {})
        assert again.frames == [{"type": "history", "texts": []}, *asked.frames]

    @jumping
    async def test_ends_at_once_if_there_is_nothing(self) -> None:
        again = await Chat(wire_format=SHOWS_HISTORY).send("POST", "/chat", {})
        assert [frame["type"] for frame in again.frames] == ["history", "start", "done"]

    @jumping
    async def test_is_counted_like_the_requests_that_ask_no_model(self) -> None:
        chat = Chat(wire_format=SHOWS_HISTORY, limit_requests_per_minute=1)
        assert [(await chat.send("POST", "/chat", {})).status for _ in range(6)] == [200] * 5 + [429]

    @jumping
    async def test_is_refused_if_it_cannot_send_an_answer_again(self) -> None:
        cannot = Format("/chat", decode, native.FORMAT.encode_error)
        again = await Chat(wire_format=cannot).send("POST", "/chat", {})
        assert (again.status, again.headers["x-error-code"]) == (400, "unsupported_parameter")
