"""HTTP providers against real sockets: timeouts, broken connections, floods, errors, retries, and prompt closing."""

import asyncio
import contextlib
import gzip
import json
import logging
import re
import sys
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx
import msgspec
import pytest

from tests import transcripts
from tests.chat.providers.provider_helpers import (
    DELTA,
    HELLO,
    KEY,
    TEXT,
    collect_events,
    failure,
    openai_provider,
    text,
)
from tests.clock import jumping
from tests.upstream import Exchange, Script, Upstream, failing, saying, upstream
from winterbourne.chat.core.events import TextDelta, TurnEnded
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Image,
    OutputSchema,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UserMessage,
)
from winterbourne.chat.core.provider import ModelRequest, Provider
from winterbourne.chat.errors import (
    ModelBusy,
    ModelError,
    ModelGarbled,
    ModelMisconfigured,
    ModelRefused,
    ModelSilent,
    ModelStreamTruncated,
    ModelUnreachable,
)
from winterbourne.chat.infra import http_pool, secrets
from winterbourne.chat.infra.sse_parser import MAX_EVENT_BYTES
from winterbourne.chat.providers import http_provider
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.providers.http_provider import MAX_ATTEMPTS, reads
from winterbourne.chat.providers.openai import OpenAIProvider
from winterbourne.chat.settings import Settings
from winterbourne.override import override


def breaking_after(good: bytes) -> Script:
    """Answer with a compressed body that is valid up to the end of `good` and broken after it."""

    async def answer(exchange: Exchange) -> None:
        packer = zlib.compressobj()
        await exchange.start(content_encoding="deflate")
        await exchange.send(packer.compress(good) + packer.flush(zlib.Z_SYNC_FLUSH))
        await asyncio.sleep(0.01)
        await exchange.send(b"\xff" * 20)
        await exchange.end()

    return answer


def sending(body: bytes, content_type: str) -> Script:
    async def answer(exchange: Exchange) -> None:
        await exchange.start(content_type=content_type)
        await exchange.send(body)
        await exchange.end()

    return answer


def provider_of(name: str, server: Upstream, **settings: Any) -> Provider:
    urls: dict[str, Any] = {f"{each}_base_url": server.url for each in ("openai", "anthropic", "bedrock")}
    return make_provider(Settings.of(model_provider=name, aws_bearer_token_bedrock="key", **urls, **settings).model)


class TestAnswer:
    async def test_the_events_of_one_read_are_one_batch(self) -> None:
        async with upstream(saying(TEXT)) as server:
            batches = [batch async for batch in openai_provider(server).stream(HELLO)]
        assert [type(event) for event in batches[0]] == [TextDelta, TurnEnded]
        assert len(batches) == 1

    async def test_the_next_turn_reuses_the_connection(self) -> None:
        async with upstream(saying(TEXT)) as server:
            provider = openai_provider(server)
            for _ in range(3):
                await collect_events(provider)
            assert http_pool.stats().idle == 1
        assert server.connections == 1

    async def test_the_next_turn_reuses_a_connection_whose_body_ended_after_the_last_event(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """GIVEN a server that ends the body once the client has the last event THEN the client reads that end too."""
        monkeypatch.setattr(http_provider, "_DRAIN_TIMEOUT_S", 30)
        has_ended = asyncio.Event()

        async def end_late(exchange: Exchange) -> None:
            await exchange.start()
            await exchange.send(TEXT)
            await has_ended.wait()
            await exchange.end()

        async with upstream(end_late) as server:
            for _ in range(3):
                has_ended.clear()
                async for batch in openai_provider(server).stream(HELLO):
                    if isinstance(batch[-1], TurnEnded):
                        has_ended.set()
        assert server.connections == 1

    async def test_the_key_is_sent_in_its_header_and_compression_is_not_requested(self) -> None:
        async with upstream(saying(TEXT)) as server:
            await collect_events(openai_provider(server))
        headers = server.requests[0].headers
        assert headers["authorization"] == f"Bearer {KEY}"
        assert headers["accept-encoding"] == "identity"

    async def test_an_answer_that_is_compressed_anyway_is_decoded(self) -> None:
        async def compressed(exchange: Exchange) -> None:
            await exchange.start(content_encoding="gzip")
            await exchange.send(gzip.compress(TEXT))
            await exchange.end()

        async with upstream(compressed) as server:
            assert text(await collect_events(openai_provider(server))) == "Hello, wörld 🌍!"


@pytest.mark.parametrize("name", ["openai", "anthropic", "bedrock"])
async def test_an_address_in_a_question_is_asked_by_nobody_here(name: str) -> None:
    """An image's URL goes to the provider as it is, or not at all."""
    async with upstream(saying(transcripts.wire(name, "text"))) as server, upstream(saying(b"")) as named:
        image = UserMessage((Text(named.url), Image("image/png", url=f"{named.url}/image.png")))
        await collect_events(provider_of(name, server), ModelRequest(messages=(image,)))
    assert len(server.requests) == 1
    assert named.requests == []


class TestErrorResponses:
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
    async def test_a_rejection_is_reported_at_once_with_the_setting_to_check(self, status: int, named: str) -> None:
        body = f'{{"error":{{"message":"Bad key {KEY}","code":"nope"}}}}'.encode()
        async with upstream(failing(status, body)) as server:
            _, error = await failure(openai_provider(server))
        assert isinstance(error, ModelRefused)
        assert named in str(error)
        assert "nope" in str(error)
        assert len(server.requests) == 1

    async def test_an_exhausted_quota_is_not_retried(self) -> None:
        async with upstream(failing(429, b'{"error":{"code":"insufficient_quota"}}')) as server:
            _, error = await failure(openai_provider(server))
        assert isinstance(error, ModelRefused)
        assert len(server.requests) == 1

    async def test_a_bad_request_is_reported_with_the_providers_message(self) -> None:
        async with upstream(failing(400, b'{"error":{"message":"temperature is not supported"}}')) as server:
            _, error = await failure(openai_provider(server))
        assert "temperature is not supported" in str(error)

    @pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/json", "text/event-stream"])
    @pytest.mark.parametrize(
        "page",
        [
            b'["welcome"]',
            b'{"status":"ok"}',
            b"<html><head><title>Sign in</title></head></html>",
            b'{"model":"m","message":{"content":"Hi"},"done":false}\n{"model":"m","message":{},"done":true}\n',
        ],
    )
    @pytest.mark.parametrize("provider", ["openai", "anthropic", "bedrock"])
    async def test_a_document_instead_of_a_stream_is_reported_with_the_base_url_setting(
        self, kind: str, page: bytes, provider: str
    ) -> None:
        async with upstream(sending(page, kind)) as server:
            _, error = await failure(provider_of(provider, server))
        assert isinstance(error, ModelRefused)
        assert f"{provider.upper()}_BASE_URL" in str(error)
        assert "Hi" not in str(error)
        assert str(error).endswith(": Sign in") or b"title" not in page
        assert len(server.requests) == 1

    @pytest.mark.parametrize("kind", ["application/json", "text/event-stream", "text/plain"])
    @pytest.mark.parametrize("provider", ["openai", "anthropic", "bedrock"])
    async def test_an_error_in_a_document_is_read(self, kind: str, provider: str) -> None:
        page = b'{"error":{"message":"no such model","code":"bad_model"}}'
        for document in (page, page.replace(b",", b",\n\n"), b"[" + page + b"]"):
            async with upstream(sending(document, kind)) as server:
                _, error = await failure(provider_of(provider, server))
            assert "bad_model: no such model" in str(error)

    @pytest.mark.parametrize("kind", ["application/json", "text/plain", "text/html", ""])
    async def test_a_stream_is_read_whatever_it_is_labelled(self, kind: str) -> None:
        async with upstream(sending(TEXT, kind)) as server:
            assert text(await collect_events(openai_provider(server))) == "Hello, wörld 🌍!"

    async def test_a_whole_completion_is_read_as_the_answer(self) -> None:
        page = b'{"choices": [\n{"message": {"content": "Hi"}, "finish_reason": "stop"}]}'
        async with upstream(sending(page, "application/json")) as server:
            assert text(await collect_events(openai_provider(server))) == "Hi"

    async def test_an_endless_error_body_is_read_up_to_a_limit(self) -> None:
        async def endless(exchange: Exchange) -> None:
            await exchange.start(400, content_type="application/json")
            while True:
                await exchange.send(b"x" * 65536)

        async with upstream(endless) as server:
            _, error = await failure(openai_provider(server))
        assert isinstance(error, ModelRefused)


class TestKeyEchoedByTheProvider:
    """The key does not look like one, so only its registration for redaction can mask it."""

    KEY = "made up of words"

    def provider(self, server: Upstream) -> Provider:
        return openai_provider(server, openai_api_key=self.KEY)

    @pytest.mark.parametrize("status", [400, 404, 422, 429, 503])
    @pytest.mark.parametrize("field", ["message", "code", "type"])
    async def test_is_redacted_in_an_error_response(self, status: int, field: str) -> None:
        error = {"message": "no", "code": "denied", field: f"Bearer {self.KEY}"}
        async with upstream(failing(status, json.dumps({"error": error}).encode())) as server:
            _, failed = await failure(self.provider(server), msgspec.structs.replace(HELLO, deadline=0))
        assert self.KEY not in str(failed)

    async def test_of_a_secret_is_redacted_in_an_error_response(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(secrets, "_fetch", lambda _: asyncio.sleep(0, self.KEY))
        body = json.dumps({"error": {"message": f"Bearer {self.KEY} has no model m"}}).encode()
        async with upstream(failing(400, body)) as server:
            arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:key"
            _, failed = await failure(openai_provider(server, model_api_key_secret_arn=arn))
        assert server.requests[0].headers["authorization"] == f"Bearer {self.KEY}"
        assert str(failed).endswith(": Bearer [redacted] has no model m")

    async def test_is_redacted_in_the_error_header_of_aws(self) -> None:
        async with upstream(failing(400, x_amzn_errortype=f"{self.KEY}:http://x")) as server:
            _, failed = await failure(self.provider(server))
        assert "[redacted]" in str(failed)
        assert self.KEY not in str(failed)

    async def test_does_not_hide_the_rest_of_the_message(self) -> None:
        body = json.dumps({"error": {"message": f"The key {self.KEY} has no model m"}}).encode()
        async with upstream(failing(400, body)) as server:
            _, failed = await failure(self.provider(server))
        assert str(failed).endswith(": The key [redacted] has no model m")

    @pytest.mark.parametrize(
        "frame",
        [
            {"error": {"message": "credential Bearer KEY is not for this model", "code": "denied"}},
            {"error": "KEY"},
            {"object": "error", "message": "KEY", "code": "KEY"},
            {"detail": "KEY"},
        ],
    )
    async def test_is_redacted_in_an_error_in_the_middle_of_a_stream(self, frame: dict[str, object]) -> None:
        sent = b"data: " + json.dumps(frame).replace("KEY", self.KEY).encode() + b"\n\n"
        async with upstream(saying(DELTA + sent)) as server:
            events, failed = await failure(self.provider(server))
        assert text(events) == "word "
        assert "[redacted]" in str(failed)
        assert self.KEY not in str(failed)

    async def test_is_redacted_in_a_document_instead_of_a_stream(self) -> None:
        async def page(exchange: Exchange) -> None:
            await exchange.start(content_type="application/json")
            await exchange.send(json.dumps({"error": {"message": self.KEY}}).encode())
            await exchange.end()

        async with upstream(page) as server:
            _, failed = await failure(self.provider(server))
        assert self.KEY not in str(failed)

    async def test_text_held_back_for_redaction_is_emitted_when_the_stream_breaks(self) -> None:
        begun, broken = DELTA.replace(b"word ", b"It is made "), b'data: {"error":{"message":"no"}}\n\n'

        async def cut(exchange: Exchange) -> None:
            await exchange.start()
            await exchange.send(begun)
            await asyncio.sleep(0.05)
            exchange.cut()

        for script in (saying(begun + broken), cut):
            async with upstream(script) as server:
                events, _ = await failure(self.provider(server))
            assert text(events) == "It is made "

    async def test_is_redacted_in_an_answer_even_if_split_across_reads(self) -> None:
        async def echo(exchange: Exchange) -> None:
            await exchange.start()
            for piece in ("The key is made u", "p of words", "."):
                await exchange.send(DELTA.replace(b"word ", piece.encode()))
                await asyncio.sleep(0.01)
            await exchange.send(b"data: [DONE]\n\n")
            await exchange.end()

        async with upstream(echo) as server:
            assert text(await collect_events(self.provider(server))) == "The key is [redacted]."


@pytest.mark.parametrize("provider", ["openai", "anthropic", "bedrock"])
async def test_no_secret_is_in_a_request_to_a_provider(provider: str) -> None:
    key = "made up of words"
    settings: dict[str, Any] = {
        "model_provider": provider,
        "openai_api_key": key,
        "anthropic_api_key": key,
        "aws_bearer_token_bedrock": key,
    }
    calls = AssistantMessage((ToolCall(f"id {key}", "look", f'{{"a":"{key}"}}'),))
    request = ModelRequest(
        messages=(
            UserMessage((Text(key),)),
            calls,
            ToolMessage(f"id {key}", "look", key),
            UserMessage((Text("and?"),)),
        ),
        tools=(ToolSchema("look", f"Looks with {key}.", {"type": "object", "properties": {"a": {"default": key}}}),),
        system=f"Use {key}.",
        deadline=0,
    )
    async with upstream(failing(400)) as server:
        urls: dict[str, Any] = {f"{name}_base_url": server.url for name in ("openai", "anthropic", "bedrock")}
        await failure(make_provider(Settings.of(**settings, **urls).model), request)
    body = server.requests[0].body.decode()
    assert key not in body
    assert body.count("[redacted]") >= 6


class TestDecompressionBomb:
    """A few kilobytes on the wire that decompress to 100 MB."""

    BOMB = gzip.compress(gzip.compress(bytes(100_000_000)))
    EVENT = gzip.compress(b"data: " + bytes(100_000_000))

    @pytest.mark.parametrize("status", [200, 400, 503])
    async def test_is_not_decompressed(self, status: int) -> None:
        async def bomb(exchange: Exchange) -> None:
            await exchange.start(status, content_encoding="gzip, gzip")
            await exchange.send(self.BOMB)
            await exchange.end()

        tracemalloc.start()
        async with upstream(bomb) as server:
            await failure(openai_provider(server), msgspec.structs.replace(HELLO, deadline=0))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10_000_000

    async def test_in_a_stream_is_read_only_up_to_the_size_limit_of_an_event(self) -> None:
        async def bomb(exchange: Exchange) -> None:
            await exchange.start(content_encoding="gzip")
            await exchange.send(self.EVENT)
            await exchange.end()

        tracemalloc.start()
        async with upstream(bomb) as server:
            _, failed = await failure(openai_provider(server))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert isinstance(failed, ModelGarbled)
        assert peak < 10_000_000


class TestBrokenStreams:
    @pytest.mark.parametrize("name", ["cut_in_text", "cut_in_arguments"])
    async def test_an_end_without_the_terminal_event_is_an_error(self, name: str) -> None:
        async with upstream(saying(transcripts.wire("openai", name))) as server:
            events, error = await failure(openai_provider(server))
        assert events
        assert isinstance(error, ModelStreamTruncated)

    async def test_a_connection_that_breaks_mid_answer_is_an_error(self) -> None:
        async def cut(exchange: Exchange) -> None:
            await exchange.start()
            await exchange.send(DELTA)
            await asyncio.sleep(0.05)
            exchange.cut()

        async with upstream(cut) as server:
            events, error = await failure(openai_provider(server))
        assert text(events) == "word "
        assert isinstance(error, ModelStreamTruncated)

    async def test_a_connection_that_breaks_after_the_terminal_event_does_no_harm(self) -> None:
        async def cut(exchange: Exchange) -> None:
            await exchange.start()
            await exchange.send(transcripts.wire("openai", "no_done"))
            await asyncio.sleep(0.05)
            exchange.cut()

        async with upstream(cut) as server:
            events = await collect_events(openai_provider(server))
        assert isinstance(events[-1], TurnEnded)

    @pytest.mark.parametrize("before", [b"", DELTA])
    async def test_a_broken_compressed_answer_is_an_error_of_the_provider(self, before: bytes) -> None:
        async with upstream(breaking_after(before)) as server:
            events, error = await failure(openai_provider(server))
        assert text(events) == ("word " if before else "")
        assert isinstance(error, ModelGarbled)

    async def test_a_broken_compressed_rejection_is_still_a_rejection(self) -> None:
        async with upstream(failing(403, b"no gzip at all", content_encoding="gzip")) as server:
            _, error = await failure(openai_provider(server))
        assert isinstance(error, ModelRefused)

    async def test_broken_data_after_the_terminal_event_does_no_harm(self) -> None:
        async with upstream(breaking_after(TEXT)) as server:
            assert isinstance((await collect_events(openai_provider(server)))[-1], TurnEnded)


class TestSilence:
    @jumping
    async def test_a_provider_that_never_answers_times_out(self) -> None:
        async with upstream(Exchange.gone) as server:
            _, error = await failure(openai_provider(server, model_idle_timeout=5.0))
        assert isinstance(error, ModelSilent)
        assert "5 s; check MODEL_IDLE_TIMEOUT" in str(error)

    @jumping
    async def test_a_stalled_answer_fails_after_the_idle_timeout(self) -> None:
        async def stall(exchange: Exchange) -> None:
            await exchange.start()
            await exchange.send(DELTA)
            await exchange.gone()

        async with upstream(stall) as server:
            began = asyncio.get_running_loop().time()
            events, error = await failure(openai_provider(server))
            assert asyncio.get_running_loop().time() - began == pytest.approx(60, abs=1)
        assert text(events) == "word "
        assert isinstance(error, ModelSilent)

    @jumping
    async def test_silence_after_the_terminal_event_ends_the_turn(self) -> None:
        async def linger(exchange: Exchange) -> None:
            await exchange.start()
            await exchange.send(transcripts.wire("openai", "no_done"))
            await exchange.gone()

        async with upstream(linger) as server:
            assert isinstance((await collect_events(openai_provider(server)))[-1], TurnEnded)

    @jumping
    async def test_a_trickle_is_not_silence(self) -> None:
        async def trickle(exchange: Exchange) -> None:
            await exchange.start()
            for at in range(len(TEXT)):
                await exchange.send(TEXT[at : at + 1])
                await asyncio.sleep(50)
            await exchange.end()

        async with upstream(trickle) as server:
            assert text(await collect_events(openai_provider(server))) == "Hello, wörld 🌍!"


class TestFloods:
    async def test_backpressure_of_a_slow_reader_reaches_the_provider(self) -> None:
        async def flood(exchange: Exchange) -> None:
            await exchange.start()
            while True:
                await exchange.send(DELTA * 1000)

        async with upstream(flood) as server, aclosing(openai_provider(server).stream(HELLO)) as batches:
            await anext(batches)
            sent = -1
            while sent != server.requests[0].sent:  # until the buffers between us are full
                sent = server.requests[0].sent
                await asyncio.sleep(0.1)
        assert sent < 16 * 1024 * 1024

    async def test_an_endless_event_is_an_error_at_a_bounded_size(self) -> None:
        async def endless(exchange: Exchange) -> None:
            await exchange.start()
            await exchange.send(b"data: ")
            while True:
                await exchange.send(b"x" * 65536)

        async with upstream(endless) as server:
            _, error = await failure(openai_provider(server))
        assert isinstance(error, ModelGarbled)
        assert server.requests[0].sent < MAX_EVENT_BYTES * 16

    async def test_an_endless_answer_is_an_error_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http_provider, "_MAX_RESPONSE_BYTES", 1_000_000)

        async def endless(exchange: Exchange) -> None:
            await exchange.start()
            while True:
                await exchange.send(DELTA * 100)

        async with upstream(endless) as server:
            events, error = await failure(openai_provider(server))
        assert isinstance(error, ModelGarbled)
        assert 0 < len(text(events)) < 1_000_000


class TestClosing:
    async def test_closing_the_stream_closes_the_connection_at_once(self) -> None:
        disconnected = asyncio.Event()

        async def answer(exchange: Exchange) -> None:
            await exchange.start()
            await exchange.send(DELTA)
            await exchange.gone()
            disconnected.set()

        async with upstream(answer) as server:
            batches = openai_provider(server).stream(HELLO)
            await anext(batches)
            await batches.aclose()
            assert http_pool.stats().open == 0
            await asyncio.wait_for(disconnected.wait(), 5)

    @pytest.mark.parametrize("begun", [False, True])
    async def test_cancelling_the_reader_closes_the_connection_at_once(self, begun: bool) -> None:  # noqa: FBT001 - parametrized
        requested, disconnected = asyncio.Event(), asyncio.Event()

        async def answer(exchange: Exchange) -> None:
            if begun:
                await exchange.start()
                await exchange.send(DELTA)
            requested.set()
            await exchange.gone()
            disconnected.set()

        async with upstream(answer) as server:
            task = asyncio.create_task(collect_events(openai_provider(server)))
            await requested.wait()
            await asyncio.sleep(0.02)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert http_pool.stats().open == 0
            await asyncio.wait_for(disconnected.wait(), 5)

    @jumping
    async def test_cancelling_between_two_attempts_ends_the_wait(self) -> None:
        async with upstream(failing(429, retry_after="3600")) as server:
            task = asyncio.create_task(collect_events(openai_provider(server)))
            await asyncio.sleep(60)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert http_pool.stats().waiting == 0
        assert len(server.requests) == 1

    async def test_a_provider_that_keeps_sending_an_error_is_disconnected(self) -> None:
        disconnected = asyncio.Event()

        async def complain(exchange: Exchange) -> None:
            await exchange.start(400)
            await exchange.send(b"x" * 200_000)
            await exchange.gone()
            disconnected.set()

        async with upstream(complain) as server:
            await failure(openai_provider(server))
            assert http_pool.stats().open == 0
            await asyncio.wait_for(disconnected.wait(), 5)

    @jumping
    async def test_a_provider_that_keeps_sending_after_the_end_is_disconnected(self) -> None:
        async def chatter(exchange: Exchange) -> None:
            await exchange.start()
            await exchange.send(TEXT)
            while True:
                await exchange.send(DELTA)
                await asyncio.sleep(0.01)

        async with upstream(chatter) as server:
            began = asyncio.get_running_loop().time()
            events = await collect_events(openai_provider(server))
            assert asyncio.get_running_loop().time() - began < 1
            assert http_pool.stats().open == 0
        assert text(events) == "Hello, wörld 🌍!"


class TestRetrying:
    @jumping
    async def test_a_single_429_is_retried_after_its_retry_after(self) -> None:
        async with upstream(failing(429, retry_after="7"), saying(TEXT)) as server:
            began = asyncio.get_running_loop().time()
            assert text(await collect_events(openai_provider(server))) == "Hello, wörld 🌍!"
            assert 7 <= asyncio.get_running_loop().time() - began < 8
        assert len(server.requests) == 2

    @jumping
    async def test_a_retry_is_logged_with_its_reason(self) -> None:
        lines: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]  # records only
        logging.getLogger("winterbourne.chat.providers.http_provider").addHandler(handler)
        async with upstream(failing(429, retry_after="7"), saying(TEXT)) as server:
            await collect_events(openai_provider(server))
        logging.getLogger("winterbourne.chat.providers.http_provider").removeHandler(handler)
        assert re.fullmatch(r"retrying the model's provider in 7\.\d s: .* busy \(429\)", lines.pop())

    @jumping
    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
    async def test_a_busy_provider_is_retried_until_it_answers(self, status: int) -> None:
        async with upstream(failing(status), failing(status), saying(TEXT)) as server:
            assert text(await collect_events(openai_provider(server))) == "Hello, wörld 🌍!"

    @jumping
    async def test_an_overload_reported_inside_the_stream_is_retried_too(self) -> None:
        overloaded = transcripts.wire("anthropic", "overloaded_first")
        async with upstream(saying(overloaded), saying(transcripts.wire("anthropic", "text"))) as server:
            settings = Settings.of(model_provider="anthropic", anthropic_base_url=server.url)
            assert text(await collect_events(make_provider(settings.model))) == "Hello, wörld 🌍!"

    @jumping
    async def test_a_connection_that_breaks_before_the_answer_is_retried(self) -> None:
        async def hang_up(exchange: Exchange) -> None:
            exchange.cut()

        async def hang_up_later(exchange: Exchange) -> None:
            await exchange.start()
            exchange.cut()

        async with upstream(hang_up, hang_up_later, saying(TEXT)) as server:
            assert text(await collect_events(openai_provider(server))) == "Hello, wörld 🌍!"

    @jumping
    @pytest.mark.parametrize(
        "nothing",
        [
            b"",
            b"data: [DONE]\n\n",
            b'data: {"choices":[{"delta":{"role":"assistant"}}]}\n\ndata: [DONE]\n\n',
            b'data: {"choices":[{"delta":{},"finish_reason":"network_error"}]}\n\ndata: [DONE]\n\n',
            b'error: {"code":503,"message":"loading"}\n\n',
        ],
    )
    async def test_a_stream_that_ends_before_anything_was_seen_is_retried(self, nothing: bytes) -> None:
        async with upstream(saying(nothing), saying(TEXT)) as server:
            assert text(await collect_events(openai_provider(server))) == "Hello, wörld 🌍!"

    @jumping
    async def test_a_stream_that_always_ends_before_it_begins_is_an_error(self) -> None:
        async with upstream(saying(b"data: [DONE]\n\n")) as server:
            events, error = await failure(openai_provider(server))
        assert events == []
        assert isinstance(error, ModelUnreachable)

    @jumping
    async def test_it_gives_up_after_some_attempts_with_the_last_error(self) -> None:
        async with upstream(failing(503)) as server:
            _, error = await failure(openai_provider(server))
        assert isinstance(error, ModelBusy)
        assert len(server.requests) == MAX_ATTEMPTS

    @jumping
    async def test_an_unreachable_provider_is_reported_with_the_setting_to_check(self) -> None:
        async with upstream(failing(503)) as server:
            provider = openai_provider(server, openai_base_url="http://127.0.0.1:9/v1")
            _, error = await failure(provider)
        assert isinstance(error, ModelUnreachable)
        assert "OPENAI_BASE_URL" in str(error)

    @jumping
    async def test_a_wait_past_the_deadline_is_not_started(self) -> None:
        loop = asyncio.get_running_loop()
        async with upstream(failing(429, retry_after="30")) as server:
            began = loop.time()
            request = ModelRequest(messages=HELLO.messages, deadline=began + 20)
            _, error = await failure(openai_provider(server), request)
            assert loop.time() - began < 1
        assert isinstance(error, ModelBusy)
        assert error.retry_after_s == 30

    @jumping
    async def test_nothing_is_retried_once_output_was_yielded(self) -> None:
        async with upstream(saying(transcripts.wire("openai", "error_object")), saying(TEXT)) as server:
            events, error = await failure(openai_provider(server))
        assert text(events) == "Hello"
        assert isinstance(error, ModelBusy)
        assert len(server.requests) == 1


class TestRefusedParameters:
    """A refusal that names an optional parameter is learned: the model is not sent it again, unless a caller asks."""

    REQUEST = msgspec.structs.replace(HELLO, max_tokens=7, temperature=0.2)

    async def sent(self, server: Upstream, **settings: object) -> list[set[str]]:
        provider = openai_provider(server, model_temperature=0.2, **settings)
        for _ in range(2):
            assert await collect_events(provider, self.REQUEST)
        return [set(json.loads(request.body)) - {"model", "messages", "stream"} for request in server.requests]

    @pytest.mark.parametrize(
        "error",
        [
            {
                "message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                "'max_completion_tokens' instead.",
                "param": "max_tokens",
                "code": "unsupported_parameter",
            },
            {"message": "use max_completion_tokens instead of max_tokens"},
            {"message": "This field is not supported", "param": "max_tokens"},
        ],
    )
    async def test_a_renamed_one_is_sent_under_its_other_name(self, error: dict[str, str]) -> None:
        refusal = failing(400, json.dumps({"error": error}).encode())
        async with upstream(refusal, saying(TEXT)) as server:
            first, *others = await self.sent(server)
        assert first == {"max_tokens", "temperature", "stream_options"}
        assert others == [{"max_completion_tokens", "temperature", "stream_options"}] * 2
        assert json.loads(server.requests[1].body)["max_completion_tokens"] == 7

    async def test_the_older_name_is_learned_too(self) -> None:
        refusal = failing(400, b'{"error":{"message":"Unrecognized request argument supplied: max_completion_tokens"}}')
        async with upstream(refusal, saying(TEXT)) as server:
            extra = '{"max_tokens":null,"max_completion_tokens":9}'
            first, *others = await self.sent(server, model_extra_body=extra)
        assert first == {"max_completion_tokens", "temperature", "stream_options"}
        assert others == [{"max_tokens", "temperature", "stream_options"}] * 2

    @pytest.mark.parametrize(
        ("name", "body"),
        [
            (
                "stream_options",
                {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]},
            ),
            ("temperature", {"error": {"message": "invalid temperature: only 1 is allowed for this model"}}),
            ("parallel_tool_calls", {"error": {"message": "Unknown argument", "param": "parallel_tool_calls"}}),
        ],
    )
    @pytest.mark.parametrize("status", [400, 422])
    async def test_another_one_is_left_out(self, name: str, body: object, status: int) -> None:
        async with upstream(failing(status, json.dumps(body).encode()), saying(TEXT)) as server:
            first, *others = await self.sent(server, model_extra_body='{"parallel_tool_calls":false}')
        assert others == [first - {name}] * 2 != [first] * 2

    async def test_one_that_the_request_chose_is_named_to_its_caller(self) -> None:
        refusal = failing(400, b'{"error":{"message":"Unsupported parameter: stop is not supported with this model"}}')
        async with upstream(refusal) as server:
            request = msgspec.structs.replace(self.REQUEST, stop=("END",))
            with pytest.raises(ModelRefused) as raised:
                await collect_events(openai_provider(server), request)
        assert raised.value.public_message == "The model does not accept this request: it refuses stop."

    async def test_a_temperature_that_the_request_chose_is_told_to_its_caller_each_time(self) -> None:
        refusal = failing(400, b'{"error":{"message":"temperature is not supported"}}')
        async with upstream(refusal, refusal, saying(TEXT), refusal, saying(TEXT)) as server:
            provider = openai_provider(server, model_temperature=0.5)
            default = msgspec.structs.replace(self.REQUEST, temperature=0.5)
            for _ in range(2):
                _, error = await failure(provider, self.REQUEST)
                assert isinstance(error, ModelRefused)
                assert await collect_events(provider, default)

    async def test_one_that_says_what_the_model_does_anyway_is_left_out(self) -> None:
        refusal = failing(400, b'{"error":{"message":"temperature is not supported"}}')
        async with upstream(refusal, saying(TEXT)) as server:
            assert await collect_events(openai_provider(server), msgspec.structs.replace(HELLO, temperature=1))

    async def test_of_the_output_it_is_told_in_words_instead(self) -> None:
        refusal = failing(400, b'{"error":{"message":"response_format: json_schema is not supported by this model"}}')
        schema = {"type": "object", "properties": {}, "additionalProperties": False}
        request = msgspec.structs.replace(self.REQUEST, output=OutputSchema(schema=schema))
        async with upstream(refusal, saying(TEXT)) as server:
            provider = openai_provider(server, model_capabilities='{"*": {"schema": true}}')
            assert await collect_events(provider, request)
            first, second = (json.loads(sent.body) for sent in server.requests)
        assert [message["role"] for message in first["messages"]] == ["user"]
        assert "response_format" in first
        assert "response_format" not in second
        assert json.dumps(schema) in second["messages"][0]["content"]

    async def test_a_schema_that_is_refused_is_told_in_words_and_no_other(self) -> None:
        words = b'{"error":{"message":"Invalid schema for response_format \'x\': \'not\' is not permitted."}}'
        odd, fine = (OutputSchema(schema={"type": "object", name: {}}) for name in ("not", "properties"))
        async with upstream(failing(400, words), saying(TEXT)) as server:
            provider = openai_provider(server, model_capabilities='{"*": {"schema": true}}')
            for output in (odd, fine):
                assert await collect_events(provider, msgspec.structs.replace(self.REQUEST, output=output))
            sent = [json.loads(request.body) for request in server.requests]
        assert ["response_format" in body for body in sent] == [True, False, True]
        assert json.dumps(odd.schema) in sent[1]["messages"][0]["content"]

    async def test_two_are_learned_in_one_request(self) -> None:
        one, other = (
            failing(400, b'{"error":{"message":"%b is not supported"}}' % name)
            for name in (b"max_tokens", b"temperature")
        )
        async with upstream(one, other, saying(TEXT)) as server:
            *_, last = await self.sent(server)
        assert last == {"max_completion_tokens", "stream_options"}

    @pytest.mark.parametrize(
        "message",
        [
            "max_tokens is too large: 7. This model supports at most 5 completion tokens",
            "temperature must be at most 0.1",
            "messages.0.content is not supported",
            "",
        ],
    )
    async def test_another_refusal_is_told_at_once(self, message: str) -> None:
        async with upstream(failing(400, json.dumps({"error": {"message": message}}).encode())) as server:
            _, error = await failure(openai_provider(server), self.REQUEST)
        assert isinstance(error, ModelRefused)
        assert len(server.requests) == 1

    async def test_what_did_not_help_is_not_learned(self) -> None:
        async with upstream(failing(400, b'{"error":{"message":"max_tokens is not supported"}}')) as server:
            provider = openai_provider(server)
            for _ in range(2):
                await failure(provider, self.REQUEST)
        assert [b'"max_tokens"' in request.body for request in server.requests] == [True, False] * 2

    @pytest.mark.parametrize(("refused", "is_answered"), [(6, True), (7, False), (9, False)])
    async def test_one_request_is_changed_six_times_at_most(
        self, refused: int, monkeypatch: pytest.MonkeyPatch, *, is_answered: bool
    ) -> None:
        """A server that finds another fault each time; a later request goes on with what the first has learned."""
        names = [f"field_{number}" for number in range(refused)]
        monkeypatch.setattr(OpenAIProvider, "lessons", {**OpenAIProvider.lessons, **dict.fromkeys(names)})
        refusals = [failing(400, b'{"error":{"message":"%b is not supported"}}' % name.encode()) for name in names]
        async with upstream(*refusals, saying(TEXT)) as server:
            provider = openai_provider(server, model_extra_body=json.dumps(dict.fromkeys(names, 1)))
            if is_answered:
                assert await collect_events(provider)
            else:
                _, error = await failure(provider)
                assert isinstance(error, ModelRefused)
            kept = [
                sum(b"field_%d" % number in request.body for number in range(refused)) for request in server.requests
            ]
            assert kept == [refused - learned for learned in range(7)]
            if not is_answered:
                assert await collect_events(provider)
                assert b"field_5" not in server.requests[7].body

    async def test_it_is_learned_of_one_model_only(self) -> None:
        async with upstream(failing(400, b'{"error":{"message":"temperature is deprecated"}}'), saying(TEXT)) as server:
            provider = openai_provider(server, model_temperature=0.2)
            await collect_events(provider, self.REQUEST)
            await collect_events(provider, msgspec.structs.replace(self.REQUEST, model_id="other"))
        assert [b"temperature" in request.body for request in server.requests] == [True, False, True]

    @pytest.mark.parametrize("name", ["anthropic", "bedrock"])
    async def test_other_providers_leave_out_the_temperature(self, name: str) -> None:
        refusal = failing(400, b'{"message":"`temperature` is deprecated for this model."}')
        async with upstream(refusal, saying(transcripts.wire(name, "text"))) as server:
            assert await collect_events(provider_of(name, server, model_temperature=0.2), self.REQUEST)
        assert [b"temperature" in request.body for request in server.requests] == [True, False]


class TestSilentlyDroppedConnections:
    """A connection that a gateway has forgotten: everything sent on it is lost, and nobody says so."""

    @pytest.mark.skipif(sys.platform != "linux", reason="TCP_USER_TIMEOUT and packet filters of Linux")
    async def test_the_request_is_sent_again_on_a_new_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http_pool, "UNACKNOWLEDGED_MS", 300)
        async with upstream(saying(TEXT)) as server:
            provider = openai_provider(server)
            await asyncio.gather(collect_events(provider), collect_events(provider))
            assert http_pool.stats().idle == server.connections == 2
            for exchange in server.requests:
                exchange.drop_packets()
            async with asyncio.timeout(30):
                assert text(await collect_events(provider)) == "Hello, wörld 🌍!"
            assert server.connections == 3  # the second kept one is as old, so it is not tried

    @pytest.mark.skipif(sys.platform != "linux", reason="TCP_USER_TIMEOUT of Linux")
    async def test_a_slow_model_is_not_taken_for_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http_pool, "UNACKNOWLEDGED_MS", 100)

        async def think(exchange: Exchange) -> None:
            await asyncio.sleep(0.5)
            await saying(TEXT)(exchange)

        async with upstream(think) as server:
            assert text(await collect_events(openai_provider(server))) == "Hello, wörld 🌍!"
        assert len(server.requests) == 1


@contextlib.asynccontextmanager
async def body(script: Script) -> AsyncIterator[AsyncIterator[bytes]]:
    async with upstream(script) as server:
        client = http_pool.client()
        response = await client.send(client.build_request("GET", server.url), stream=True)
        try:
            async with contextlib.aclosing(reads(response)) as items:
                yield items
        finally:
            await response.aclose()


def responding_with(data: bytes) -> Script:
    async def script(exchange: Exchange) -> None:
        exchange.writer.write(data)
        await exchange.writer.drain()
        exchange.writer.write_eof()

    return script


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class TestReads:
    """A body is yielded as one item per socket read, however HTTP frames it."""

    async def test_chunks_of_one_read_are_one_item(self) -> None:
        async with body(responding_with(CHUNKED + b"2\r\nab\r\n1\r\nc\r\n3\r\ndef\r\n0\r\n\r\n")) as items:
            assert [item async for item in items] == [b"abcdef"]

    async def test_half_a_chunk_does_not_wait_for_its_other_half(self) -> None:
        async def script(exchange: Exchange) -> None:
            exchange.writer.write(CHUNKED + b"2\r\nab\r\n4\r\ncd")
            await exchange.gone()

        async with body(script) as items:
            assert await anext(items) == b"abcd"

    async def test_data_before_broken_framing_is_yielded_first(self) -> None:
        async with body(responding_with(CHUNKED + b"2\r\nab\r\nnonsense\r\n")) as items:
            assert await anext(items) == b"ab"
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(items)

    async def test_a_truncated_body_is_an_error_and_not_an_end(self) -> None:
        async with body(responding_with(CHUNKED + b"2\r\nab\r\n")) as items:
            assert await anext(items) == b"ab"
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(items)


class TestBodiesThatAreNotChunked:
    @pytest.mark.parametrize(
        "head",
        [
            b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 6\r\n\r\n",
            b"HTTP/1.0 200 OK\r\n\r\n",
        ],
    )
    async def test_bodies_that_are_not_chunked(self, head: bytes) -> None:
        async with body(responding_with(head + b"abcdef")) as items:
            assert b"".join([item async for item in items]) == b"abcdef"

    async def test_compressed_bodies(self) -> None:
        data = zlib.compress(b"abcdef")
        head = b"HTTP/1.1 200 OK\r\ncontent-encoding: deflate\r\ncontent-length: %d\r\n\r\n" % len(data)
        async with body(responding_with(head + data)) as items:
            assert b"".join([item async for item in items]) == b"abcdef"

    async def test_without_access_to_the_parser_each_chunk_is_an_item(self) -> None:
        chunks = httpx.Response(200, stream=_Chunks())
        assert [item async for item in reads(chunks)] == [b"ab", b"c"]


class _Chunks(httpx.AsyncByteStream):
    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"c"


@pytest.mark.parametrize(
    "messages",
    [
        (UserMessage((Text("nice \ud83d"),)),),
        (
            UserMessage((Text("nice"),)),
            AssistantMessage((Text("\ud83d\ude00"), ToolCall("a\ud83d", "f\ud83d", '{"x":"\ud83d"}'))),
            ToolMessage("a\ud83d", "f", "\ud83d"),
        ),
    ],
)
@pytest.mark.parametrize("provider_name", ["openai", "anthropic", "bedrock"])
async def test_half_an_emoji_in_a_history_does_not_stop_the_request(
    messages: tuple[UserMessage | AssistantMessage | ToolMessage, ...], provider_name: str
) -> None:
    async with upstream(saying(transcripts.wire(provider_name, "text"))) as server:
        options = {f"{provider_name}_base_url": server.url, "aws_region": "us-east-1"}
        keys = {"openai_api_key": KEY, "anthropic_api_key": KEY, "aws_bearer_token_bedrock": KEY}
        provider = make_provider(Settings.of(model_provider=provider_name, **options, **keys).model)
        await collect_events(provider, ModelRequest(messages=messages))
    assert json.loads(server.requests[0].body.decode())["messages"]


class TestReadiness:
    """Asked without a token: the list of models, with the key."""

    @pytest.mark.parametrize("status", [200, 403, 404, 405, 429, 501])
    async def test_is_an_answer_of_any_kind(self, status: int) -> None:
        async with upstream(failing(status)) as server:
            await openai_provider(server).check_ready()  # type: ignore[attr-defined]  # of HTTP providers
        assert [exchange.head for exchange in server.requests] == ["GET /v1/models HTTP/1.1"]
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"

    @pytest.mark.parametrize(
        ("status", "error"), [(401, ModelMisconfigured), (500, ModelBusy), (503, ModelBusy), (529, ModelBusy)]
    )
    async def test_is_not_a_key_that_is_unknown_nor_a_server_that_fails(
        self, status: int, error: type[ModelError]
    ) -> None:
        async with upstream(failing(status)) as server:
            with pytest.raises(error):
                await openai_provider(server).check_ready()  # type: ignore[attr-defined]
        assert len(server.requests) == 1

    async def test_is_not_a_server_that_is_away(self) -> None:
        with pytest.raises(ModelUnreachable):
            await openai_provider(Upstream("http://127.0.0.1:9")).check_ready()  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        ("settings", "path"),
        [
            ({"model_provider": "anthropic", "anthropic_api_key": KEY}, "/v1/models"),
            ({"model_provider": "bedrock", "aws_bearer_token_bedrock": KEY, "bedrock_region": "eu-west-1"}, "/"),
        ],
    )
    async def test_is_asked_for_where_each_provider_has_it(self, settings: dict[str, object], path: str) -> None:
        async with upstream(saying(b"{}")) as server:
            urls = {"anthropic_base_url": server.url, "bedrock_base_url": server.url}
            await make_provider(Settings.of(**urls, **settings).model).check_ready()  # type: ignore[attr-defined]
        assert [exchange.head for exchange in server.requests] == [f"GET {path} HTTP/1.1"]
