"""Provider retries: a request is retried only as long as nothing of its response has been yielded."""

import asyncio
import logging
import re

import pytest

from tests import transcripts
from tests.chat.providers.provider_helpers import HELLO, TEXT, collect_events, failure, openai_provider, text
from tests.clock import jumping
from tests.upstream import Exchange, failing, saying, upstream
from winterbourne.chat.errors import ModelBusy, ModelUnreachable
from winterbourne.chat.providers.base import ModelRequest
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.providers.retry import MAX_ATTEMPTS
from winterbourne.chat.settings import Settings


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
        logging.getLogger("winterbourne.chat.providers.retry").addHandler(handler)
        async with upstream(failing(429, retry_after="7"), saying(TEXT)) as server:
            await collect_events(openai_provider(server))
        logging.getLogger("winterbourne.chat.providers.retry").removeHandler(handler)
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
            assert text(await collect_events(make_provider(settings))) == "Hello, wörld 🌍!"

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
