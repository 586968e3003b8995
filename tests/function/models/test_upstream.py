"""The shell around the parsers, against real sockets: retries, silence, cuts, floods, and closing at once."""

import asyncio
import contextlib
import gzip
import logging
import re
from collections.abc import Sequence
from contextlib import aclosing

import pytest

from chat import http_pool, secrets
from chat.errors import (
    ChatError,
    ModelBusy,
    ModelError,
    ModelGarbled,
    ModelRefused,
    ModelSilent,
    ModelStreamTruncated,
    ModelUnreachable,
)
from chat.events import ModelEvent, TextDelta, TurnEnded
from chat.messages import Text, UserMessage
from chat.models import upstream as shell
from chat.models.base import Model, ModelRequest
from chat.models.registry import make_model
from chat.models.retry import MAX_ATTEMPTS
from chat.models.sse import MAX_EVENT_BYTES
from chat.settings import Settings
from tests import transcripts
from tests.clock import jumping
from tests.upstream import Exchange, Upstream, failing, saying, upstream

KEY = "sk-very-secret-0123456789"
HELLO = ModelRequest(messages=(UserMessage((Text("hello"),)),))
TEXT = transcripts.wire("openai", "text")
DELTA = b'data: {"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'


def openai(server: Upstream, **settings: object) -> Model:
    given = {"openai_base_url": f"{server.url}/v1", "openai_api_key": KEY, **settings}
    return make_model(Settings(model_provider="openai", **given))  # type: ignore[arg-type]


async def said(model: Model, request: ModelRequest = HELLO) -> list[ModelEvent]:
    async with aclosing(model.stream(request)) as batches:
        return [event async for batch in batches for event in batch]


async def failure(model: Model, request: ModelRequest = HELLO) -> tuple[list[ModelEvent], ChatError]:
    events: list[ModelEvent] = []

    async def listen() -> None:
        async for batch in model.stream(request):
            events.extend(batch)

    with pytest.raises(ChatError) as raised:
        await listen()
    assert KEY not in str(raised.value)
    return events, raised.value


def text(events: Sequence[ModelEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


class TestAGoodAnswer:
    async def test_what_one_read_brings_comes_as_one_batch(self) -> None:
        async with upstream(saying(TEXT)) as server:
            batches = [batch async for batch in openai(server).stream(HELLO)]
        assert [type(event) for event in batches[0]] == [TextDelta, TurnEnded]
        assert len(batches) == 1

    async def test_the_next_turn_uses_the_same_connection(self) -> None:
        async with upstream(saying(TEXT)) as server:
            model = openai(server)
            for _ in range(3):
                await said(model)
            assert http_pool.figures().idle == 1
        assert server.connections == 1

    async def test_the_key_goes_in_its_header_and_compression_is_not_asked_for(self) -> None:
        async with upstream(saying(TEXT)) as server:
            await said(openai(server))
        headers = server.requests[0].headers
        assert headers["authorization"] == f"Bearer {KEY}"
        assert headers["accept-encoding"] == "identity"

    async def test_an_answer_compressed_all_the_same_is_understood(self) -> None:
        async def squeezed(exchange: Exchange) -> None:
            await exchange.start(content_encoding="gzip")
            await exchange.send(gzip.compress(TEXT))
            await exchange.end()

        async with upstream(squeezed) as server:
            assert text(await said(openai(server))) == "Hello, wörld 🌍!"


class TestRetrying:
    @jumping
    async def test_too_many_requests_once_is_never_seen(self) -> None:
        async with upstream(failing(429, retry_after="7"), saying(TEXT)) as server:
            began = asyncio.get_running_loop().time()
            assert text(await said(openai(server))) == "Hello, wörld 🌍!"
            assert 7 <= asyncio.get_running_loop().time() - began < 8
        assert len(server.requests) == 2

    @jumping
    async def test_the_log_says_that_and_why_the_model_was_asked_again(self) -> None:
        lines: list[str] = []
        watch = logging.Handler()
        watch.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger("chat.models.retry").addHandler(watch)
        async with upstream(failing(429, retry_after="7"), saying(TEXT)) as server:
            await said(openai(server))
        logging.getLogger("chat.models.retry").removeHandler(watch)
        assert re.fullmatch(r"the model is asked again in 7\.\d s: .* busy \(429\)", lines.pop())

    @jumping
    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
    async def test_a_busy_provider_is_asked_again_until_it_answers(self, status: int) -> None:
        async with upstream(failing(status), failing(status), saying(TEXT)) as server:
            assert text(await said(openai(server))) == "Hello, wörld 🌍!"

    @jumping
    async def test_an_overload_that_is_told_inside_the_stream_is_retried_too(self) -> None:
        overloaded = transcripts.wire("anthropic", "overloaded_first")
        async with upstream(saying(overloaded), saying(transcripts.wire("anthropic", "text"))) as server:
            settings = Settings(model_provider="anthropic", anthropic_base_url=server.url)
            assert text(await said(make_model(settings))) == "Hello, wörld 🌍!"

    @jumping
    async def test_a_connection_that_breaks_before_the_answer_is_retried(self) -> None:
        async def hang_up(exchange: Exchange) -> None:
            exchange.cut()

        async def hang_up_later(exchange: Exchange) -> None:
            await exchange.start()
            exchange.cut()

        async with upstream(hang_up, hang_up_later, saying(TEXT)) as server:
            assert text(await said(openai(server))) == "Hello, wörld 🌍!"

    @jumping
    async def test_it_gives_up_after_some_attempts_with_the_last_error(self) -> None:
        async with upstream(failing(503)) as server:
            _, error = await failure(openai(server))
        assert isinstance(error, ModelBusy)
        assert len(server.requests) == MAX_ATTEMPTS

    @jumping
    async def test_nobody_there_is_told_with_the_setting_to_look_at(self) -> None:
        async with upstream(failing(503)) as server:
            model = openai(server, openai_base_url="http://127.0.0.1:9/v1")
            _, error = await failure(model)
        assert isinstance(error, ModelUnreachable)
        assert "OPENAI_BASE_URL" in str(error)

    @jumping
    async def test_a_wait_past_the_deadline_is_not_begun(self) -> None:
        loop = asyncio.get_running_loop()
        async with upstream(failing(429, retry_after="30")) as server:
            began = loop.time()
            request = ModelRequest(messages=HELLO.messages, deadline=began + 20)
            _, error = await failure(openai(server), request)
            assert loop.time() - began < 1
        assert isinstance(error, ModelBusy)
        assert error.retry_after_s == 30

    @jumping
    async def test_once_something_was_seen_nothing_is_repeated(self) -> None:
        async with upstream(saying(transcripts.wire("openai", "error_object")), saying(TEXT)) as server:
            events, error = await failure(openai(server))
        assert text(events) == "Hello"
        assert isinstance(error, ModelBusy)
        assert len(server.requests) == 1


class TestRefusals:
    @pytest.mark.parametrize(
        ("status", "named"),
        [
            (400, "MODEL_ID"),
            (401, "OPENAI_API_KEY"),
            (403, "OPENAI_API_KEY"),
            (404, "OPENAI_BASE_URL"),
            (302, "OPENAI_BASE_URL"),
        ],
    )
    async def test_a_refusal_is_told_at_once_with_the_setting_to_look_at(self, status: int, named: str) -> None:
        body = f'{{"error":{{"message":"Bad key {KEY}","code":"nope"}}}}'.encode()
        async with upstream(failing(status, body)) as server:
            _, error = await failure(openai(server))
        assert isinstance(error, ModelRefused)
        assert named in str(error)
        assert "nope" in str(error)
        assert len(server.requests) == 1

    async def test_an_empty_purse_is_no_reason_to_wait(self) -> None:
        async with upstream(failing(429, b'{"error":{"code":"insufficient_quota"}}')) as server:
            _, error = await failure(openai(server))
        assert isinstance(error, ModelRefused)
        assert len(server.requests) == 1

    async def test_what_the_provider_says_helps_with_a_bad_request(self) -> None:
        async with upstream(failing(400, b'{"error":{"message":"temperature is not supported"}}')) as server:
            _, error = await failure(openai(server))
        assert "temperature is not supported" in str(error)

    @pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/json"])
    async def test_a_document_instead_of_a_stream_points_at_the_address(self, kind: str) -> None:
        async def page(exchange: Exchange) -> None:
            await exchange.start(content_type=kind)
            await exchange.send(b'["welcome"]')
            await exchange.end()

        async with upstream(page) as server:
            _, error = await failure(openai(server))
        assert isinstance(error, ModelRefused)
        assert "OPENAI_BASE_URL" in str(error)

    async def test_an_error_in_a_document_is_read(self) -> None:
        async def page(exchange: Exchange) -> None:
            await exchange.start(content_type="application/json")
            await exchange.send(b'{"error":{"message":"no such model","code":"bad_model"}}')
            await exchange.end()

        async with upstream(page) as server:
            _, error = await failure(openai(server))
        assert "bad_model: no such model" in str(error)

    async def test_an_endless_error_is_read_only_so_far(self) -> None:
        async def rant(exchange: Exchange) -> None:
            await exchange.start(400, content_type="application/json")
            while True:
                await exchange.send(b"x" * 65536)

        async with upstream(rant) as server:
            _, error = await failure(openai(server))
        assert isinstance(error, ModelRefused)


class TestKeysFromSecrets:
    async def test_a_rotated_key_is_read_again_when_the_old_one_is_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys = ["sk-old", "sk-new"]
        monkeypatch.setattr(secrets, "_fetch", lambda _: keys.pop(0))
        async with upstream(failing(401), saying(TEXT)) as server:
            arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:key"
            assert text(await said(openai(server, model_api_key_secret_arn=arn))) == "Hello, wörld 🌍!"
        used = [request.headers["authorization"] for request in server.requests]
        assert used == ["Bearer sk-old", "Bearer sk-new"]

    async def test_a_key_that_stays_the_same_is_refused_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(secrets, "_fetch", lambda _: "sk-old")
        async with upstream(failing(401)) as server:
            arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:key"
            _, error = await failure(openai(server, model_api_key_secret_arn=arn))
        assert "MODEL_API_KEY_SECRET_ARN" in str(error)
        assert len(server.requests) == 1


class TestStreamsThatEndBadly:
    @pytest.mark.parametrize("name", ["cut_in_text", "cut_in_arguments"])
    async def test_an_end_without_the_formats_own_end_is_an_error(self, name: str) -> None:
        async with upstream(saying(transcripts.wire("openai", name))) as server:
            events, error = await failure(openai(server))
        assert events
        assert isinstance(error, ModelStreamTruncated)

    async def test_a_connection_that_breaks_mid_answer_is_an_error(self) -> None:
        async def cut(exchange: Exchange) -> None:
            await exchange.start()
            await exchange.send(DELTA)
            await asyncio.sleep(0.05)
            exchange.cut()

        async with upstream(cut) as server:
            events, error = await failure(openai(server))
        assert text(events) == "word "
        assert isinstance(error, ModelStreamTruncated)

    async def test_a_connection_that_breaks_after_the_last_word_harms_nobody(self) -> None:
        async def cut(exchange: Exchange) -> None:
            await exchange.start()
            await exchange.send(transcripts.wire("openai", "no_done"))
            await asyncio.sleep(0.05)
            exchange.cut()

        async with upstream(cut) as server:
            events = await said(openai(server))
        assert isinstance(events[-1], TurnEnded)


class TestSilence:
    @jumping
    async def test_a_provider_that_never_answers_is_given_up(self) -> None:
        async with upstream(Exchange.gone) as server:
            _, error = await failure(openai(server, model_idle_timeout=5.0))
        assert isinstance(error, ModelSilent)
        assert "5 s; look at MODEL_IDLE_TIMEOUT" in str(error)

    @jumping
    async def test_a_stalled_answer_is_given_up_after_the_idle_timeout(self) -> None:
        async def stall(exchange: Exchange) -> None:
            await exchange.start()
            await exchange.send(DELTA)
            await exchange.gone()

        async with upstream(stall) as server:
            began = asyncio.get_running_loop().time()
            events, error = await failure(openai(server))
            assert asyncio.get_running_loop().time() - began == pytest.approx(60, abs=1)
        assert text(events) == "word "
        assert isinstance(error, ModelSilent)

    @jumping
    async def test_a_trickle_is_no_silence(self) -> None:
        async def trickle(exchange: Exchange) -> None:
            await exchange.start()
            for at in range(len(TEXT)):
                await exchange.send(TEXT[at : at + 1])
                await asyncio.sleep(50)
            await exchange.end()

        async with upstream(trickle) as server:
            assert text(await said(openai(server))) == "Hello, wörld 🌍!"


class TestFloods:
    async def test_who_reads_slowly_makes_the_provider_wait(self) -> None:
        async def flood(exchange: Exchange) -> None:
            await exchange.start()
            while True:
                await exchange.send(DELTA * 1000)

        async with upstream(flood) as server, aclosing(openai(server).stream(HELLO)) as batches:
            await anext(batches)
            sent = -1
            while sent != server.requests[0].sent:  # until the buffers between us are full
                sent = server.requests[0].sent
                await asyncio.sleep(0.1)
        assert sent < 16 * 1024 * 1024

    async def test_an_event_without_end_is_refused_at_a_bounded_size(self) -> None:
        async def endless(exchange: Exchange) -> None:
            await exchange.start()
            await exchange.send(b"data: ")
            while True:
                await exchange.send(b"x" * 65536)

        async with upstream(endless) as server:
            _, error = await failure(openai(server))
        assert isinstance(error, ModelGarbled)
        assert server.requests[0].sent < MAX_EVENT_BYTES * 16

    async def test_an_answer_without_end_is_refused_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shell, "_TURN_BYTES", 1_000_000)

        async def endless(exchange: Exchange) -> None:
            await exchange.start()
            while True:
                await exchange.send(DELTA * 100)

        async with upstream(endless) as server:
            events, error = await failure(openai(server))
        assert isinstance(error, ModelGarbled)
        assert 0 < len(text(events)) < 1_000_000


class TestClosing:
    async def test_closing_the_stream_hangs_up_at_once(self) -> None:
        hung_up = asyncio.Event()

        async def talk(exchange: Exchange) -> None:
            await exchange.start()
            await exchange.send(DELTA)
            await exchange.gone()
            hung_up.set()

        async with upstream(talk) as server:
            batches = openai(server).stream(HELLO)
            await anext(batches)
            await batches.aclose()
            assert http_pool.figures().open == 0
            await asyncio.wait_for(hung_up.wait(), 5)

    @pytest.mark.parametrize("begun", [False, True])
    async def test_cancelling_the_reader_hangs_up_at_once(self, begun: bool) -> None:  # noqa: FBT001  (a parameter)
        asked, hung_up = asyncio.Event(), asyncio.Event()

        async def talk(exchange: Exchange) -> None:
            if begun:
                await exchange.start()
                await exchange.send(DELTA)
            asked.set()
            await exchange.gone()
            hung_up.set()

        async with upstream(talk) as server:
            task = asyncio.create_task(said(openai(server)))
            await asked.wait()
            await asyncio.sleep(0.02)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert http_pool.figures().open == 0
            await asyncio.wait_for(hung_up.wait(), 5)

    @jumping
    async def test_cancelling_between_two_attempts_ends_the_waiting(self) -> None:
        async with upstream(failing(429, retry_after="3600")) as server:
            task = asyncio.create_task(said(openai(server)))
            await asyncio.sleep(60)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert http_pool.figures().waiting == 0
        assert len(server.requests) == 1

    async def test_a_provider_that_talks_on_after_the_end_is_left(self) -> None:
        async def chatter(exchange: Exchange) -> None:
            await exchange.start()
            await exchange.send(TEXT)
            while True:
                await exchange.send(DELTA)
                await asyncio.sleep(0.01)

        async with upstream(chatter) as server:
            events = await said(openai(server))
            assert http_pool.figures().open == 0
        assert text(events) == "Hello, wörld 🌍!"


class TestSettings:
    @pytest.mark.parametrize("provider", ["openai", "anthropic", "bedrock"])
    @pytest.mark.parametrize("extra", ["[1]", "{", "1"])
    def test_an_extra_body_that_is_no_object_is_told_at_init(self, provider: str, extra: str) -> None:
        given = {"openai_api_key": "k", "anthropic_api_key": "k", "aws_region": "eu-west-1", "model_extra_body": extra}
        with pytest.raises(ChatError, match=r"^MODEL_EXTRA_BODY: "):
            make_model(Settings(model_provider=provider, **given))  # type: ignore[arg-type]

    @pytest.mark.parametrize("address", ["ftp://x", "localhost:8000", "http://", "http://a b", "http://x:0x"])
    def test_an_address_that_is_none_is_told_at_init(self, address: str) -> None:
        with pytest.raises(ChatError, match=r"^OPENAI_BASE_URL: "):
            make_model(Settings(model_provider="openai", openai_base_url=address))

    @pytest.mark.parametrize("key", ["sk-\x00", "schlüssel", "a\nb"])
    def test_a_key_no_header_can_carry_is_told_at_init_and_not_shown(self, key: str) -> None:
        with pytest.raises(ChatError, match=r"^OPENAI_API_KEY: ") as error:
            make_model(Settings(model_provider="openai", openai_api_key=key))
        assert key not in str(error.value)

    @pytest.mark.parametrize(
        ("provider", "named"),
        [("openai", "OPENAI_API_KEY"), ("anthropic", "ANTHROPIC_API_KEY"), ("bedrock", "BEDROCK_REGION")],
    )
    def test_what_a_provider_cannot_do_without_is_told_at_init(self, provider: str, named: str) -> None:
        with pytest.raises(ChatError, match=f"^{named}: "):
            make_model(Settings(model_provider=provider))  # type: ignore[arg-type]


def test_every_failure_is_a_model_error() -> None:
    kinds = {ModelBusy, ModelGarbled, ModelRefused, ModelSilent, ModelStreamTruncated, ModelUnreachable}
    assert {kind.__base__ for kind in kinds} == {ModelError}
