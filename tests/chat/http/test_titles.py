"""Titles of kept conversations: written once, after the first answer, by a provider over HTTP; nothing waits."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.chat.http_events import FakeLambdaContext, RecordedResponse, event, handle
from tests.chat.test_app import make_service
from tests.clock import jumping
from tests.upstream import Exchange, Script, Upstream, failing, saying, upstream
from winterbourne import lifecycle
from winterbourne.chat.http.service import BACKGROUND_TIMEOUT_S, TIDY_RESERVE_S, Service
from winterbourne.chat.infra import http_pool

QUESTION = "How is the weather in Paris?"


def says(text: str, reason: str = "stop", tokens: int = 0) -> bytes:
    frames: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": {"content": text}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]},
    ]
    if tokens:
        frames.append({"choices": [], "usage": {"prompt_tokens": tokens, "completion_tokens": 1}})
    return b"".join(b"data: %b\n\n" % json.dumps(frame).encode() for frame in frames) + b"data: [DONE]\n\n"


CALL = (
    b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":'
    b'{"name":"look","arguments":"{}"}}]}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}\n\ndata: [DONE]\n\n'
)
SUNNY = saying(says("It is sunny.", tokens=10))
TITLED = saying(says('"Weather in Paris"', tokens=20))


class Chat:
    """A chat whose provider is the scripts' server, with its store in memory."""

    def __init__(self, provider: Upstream, settings: dict[str, object]) -> None:
        self.provider = provider
        self.service: Service = make_service(
            title_model=settings.pop("title_model", ""),
            model_provider="openai",
            openai_base_url=f"{provider.url}/v1",
            model_id="dear",
            **settings,
        )
        self.responses: list[RecordedResponse] = []

    async def send(self, method: str, path: str, body: object = None, remaining_s: float = 60) -> RecordedResponse:
        response, context = RecordedResponse(), FakeLambdaContext(remaining_ms=int(remaining_s * 1000))
        self.responses.append(response)
        await handle(self.service, event(method, path, body), response, context)
        return response

    async def ask(self, content: str = QUESTION, remaining_s: float = 60, **fields: object) -> RecordedResponse:
        body = {"messages": [{"role": "user", "content": content}], "conversation_id": "c", "store": True, **fields}
        return await self.send("POST", "/chat", body, remaining_s)

    async def title(self) -> str:
        (listed,) = (await self.send("GET", "/conversations")).json["conversations"]
        return str(listed["title"])

    @property
    def asked(self) -> list[Any]:
        """The bodies of the requests to the provider."""
        return [json.loads(exchange.body) for exchange in self.provider.requests]


@contextlib.asynccontextmanager
async def chat(*scripts: Script, **settings: object) -> AsyncIterator[Chat]:
    """A chat whose provider answers by the scripts; its hooks are its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lifecycle, "_startup_hooks", [])
        patch.setattr(lifecycle, "_shutdown_hooks", [])
        async with upstream(*scripts) as provider:
            yield Chat(provider, settings)
            await lifecycle.run_shutdown()
            await http_pool.close()


def line_of_first_request(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    return next(vars(record) for record in caplog.records if record.name == "winterbourne.chat.request")


class TestATitle:
    @jumping
    async def test_is_written_by_the_model_behind_the_first_answer(self) -> None:
        async with chat(SUNNY, TITLED) as one:
            await one.ask()
            assert await one.title() == "Weather in Paris"
            _, asked = one.asked
        assert asked["model"] == "dear"
        assert "tools" not in asked
        system, user = asked["messages"]
        assert system["content"].startswith("Write a title")
        assert user["content"] == f"User: {QUESTION}\n\nAssistant: It is sunny."

    @jumping
    async def test_is_written_by_the_model_that_the_setting_names(self) -> None:
        async with chat(SUNNY, TITLED, title_model="cheap") as one:
            await one.ask()
            assert [asked["model"] for asked in one.asked] == ["dear", "cheap"]

    @jumping
    async def test_is_written_once(self) -> None:
        async with chat(SUNNY, TITLED, SUNNY) as one:
            await one.ask()
            await one.ask("And in Rome?")
            assert await one.title() == "Weather in Paris"
            assert len(one.asked) == 3

    @jumping
    async def test_is_asked_for_once_also_if_there_was_none(self) -> None:
        async with chat(SUNNY, saying(says("")), SUNNY) as one:
            await one.ask()
            await one.ask("And in Rome?")
            assert await one.title() == QUESTION
            assert len(one.asked) == 3

    @jumping
    async def test_comes_after_the_end_of_the_response_when_all_is_saved(self) -> None:
        seen: list[Any] = []

        async def titled(exchange: Exchange) -> None:
            seen.append(one.responses[0].ended)
            seen.append((await one.send("GET", "/conversations/c")).json)
            await TITLED(exchange)

        async with chat(SUNNY, titled) as one:
            await one.ask()
            assert await one.title() == "Weather in Paris"
        has_ended, conversation = seen
        assert has_ended
        assert not conversation["running"]
        assert [message["role"] for message in conversation["messages"]] == ["user", "assistant"]

    @jumping
    async def test_is_no_part_of_how_long_the_request_took(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        now_s = 100.0
        monkeypatch.setattr("winterbourne.chat.infra.telemetry.time", SimpleNamespace(monotonic=lambda: now_s))

        async def titled(exchange: Exchange) -> None:
            nonlocal now_s
            now_s += 5
            await TITLED(exchange)

        async with chat(SUNNY, titled) as one:
            await one.ask()
        assert line_of_first_request(caplog)["duration_ms"] == 0

    @jumping
    async def test_leaves_the_conversation_free_for_the_next_question(self) -> None:
        async def titled(exchange: Exchange) -> None:
            assert (await one.ask("And in Rome?")).status == 200
            await TITLED(exchange)

        async with chat(SUNNY, titled, SUNNY) as one:
            await one.ask()
            assert await one.title() == "Weather in Paris"

    @jumping
    async def test_does_not_replace_the_users_own(self) -> None:
        async def titled(exchange: Exchange) -> None:
            await one.send("PATCH", "/conversations/c", {"title": "Mine"})
            await TITLED(exchange)

        async with chat(SUNNY, titled) as one:
            await one.ask()
            assert await one.title() == "Mine"

    @jumping
    async def test_is_not_asked_for_if_the_user_was_faster(self) -> None:
        async def sunny(exchange: Exchange) -> None:
            await one.send("PATCH", "/conversations/c", {"title": "Mine"})
            await SUNNY(exchange)

        async with chat(sunny, TITLED) as one:
            await one.ask()
            assert await one.title() == "Mine"
            assert len(one.asked) == 1

    @jumping
    async def test_of_a_conversation_that_is_deleted_meanwhile_brings_nothing_back(self) -> None:
        async def titled(exchange: Exchange) -> None:
            assert (await one.send("DELETE", "/conversations/c")).status == 204
            await TITLED(exchange)

        async with chat(SUNNY, titled) as one:
            await one.ask()
            assert (await one.send("GET", "/conversations")).json["conversations"] == []

    @jumping
    async def test_is_none_where_nothing_is_kept(self) -> None:
        async with chat(SUNNY, TITLED) as one:
            await one.ask(store=False)
            assert len(one.asked) == 1

    @jumping
    async def test_is_the_beginning_of_the_question_with_off(self) -> None:
        async with chat(SUNNY, TITLED, title_model="off") as one:
            await one.ask()
            assert await one.title() == QUESTION
            assert len(one.asked) == 1

    @jumping
    async def test_waits_for_an_answer_that_ends_well(self) -> None:
        broken = saying(says("It is").partition(b"\n\n")[0] + b"\n\n")
        async with chat(broken, saying(says("It is", "length")), SUNNY, TITLED) as one:
            await one.ask()
            assert await one.title() == QUESTION
            assert len(one.asked) == 1
            await one.ask("Again?")
            assert len(one.asked) == 2, "an answer cut short is one; a broken one is none"

    @jumping
    async def test_comes_behind_the_answer_if_the_first_one_failed(self) -> None:
        async with chat(failing(400), SUNNY, TITLED) as one:
            await one.ask()
            await one.ask("Again?")
            assert await one.title() == "Weather in Paris"

    @jumping
    async def test_comes_behind_the_answer_if_the_first_one_failed_after_calling_a_tool(self) -> None:
        async with chat(saying(CALL), failing(400), SUNNY, TITLED) as one:
            await one.ask()
            await one.ask("Again?")
            assert await one.title() == "Weather in Paris"


class TestATitleThatFails:
    @pytest.mark.parametrize("script", [failing(404), saying(b"data: {"), saying(says("x", "content_filter"))])
    @jumping
    async def test_leaves_the_beginning_of_the_question(self, script: Script) -> None:
        async with chat(SUNNY, script) as one:
            response = await one.ask()
            assert response.frames[-1]["type"] == "done"
            assert response.ended
            assert await one.title() == QUESTION

    @jumping
    async def test_is_a_line_in_the_log(self, caplog: pytest.LogCaptureFixture) -> None:
        async with chat(SUNNY, failing(404)) as one:
            await one.ask()
        (error,) = (record for record in caplog.records if record.levelname == "ERROR")
        assert error.exc_info
        assert "ModelMisconfigured" in str(error.exc_info[0])

    @pytest.mark.parametrize("remaining_s", [60.0, 4.0])
    @jumping
    async def test_is_given_up_in_time(self, remaining_s: float) -> None:
        gone: list[bool] = []

        async def hanging(exchange: Exchange) -> None:
            await exchange.gone()
            gone.append(True)

        loop = asyncio.get_running_loop()
        async with chat(SUNNY, hanging) as one:
            began = loop.time()
            await one.ask(remaining_s=remaining_s)
            took_s = loop.time() - began
            assert await one.title() == QUESTION
            await asyncio.sleep(1)
        assert took_s == pytest.approx(min(BACKGROUND_TIMEOUT_S, remaining_s - TIDY_RESERVE_S), abs=0.5)
        assert gone

    @jumping
    async def test_keeps_no_others_waiting_longer(self) -> None:
        """What was to be saved is saved before, within its own time."""

        async def hanging(exchange: Exchange) -> None:
            conversation = (await one.send("GET", "/conversations/c")).json
            assert not conversation["running"]
            await exchange.gone()

        async with chat(SUNNY, hanging, limit_tokens_per_day=10_000) as one:
            await one.ask()


class TestUsage:
    @jumping
    async def test_of_the_title_is_the_requests(self, caplog: pytest.LogCaptureFixture) -> None:
        async with chat(SUNNY, TITLED) as one:
            await one.ask()
        line = line_of_first_request(caplog)
        assert (line["input_tokens"], line["output_tokens"], line["turns"]) == (30, 2, 1)

    @jumping
    async def test_of_the_title_costs_too(self, caplog: pytest.LogCaptureFixture) -> None:
        async with chat(SUNNY, TITLED, model_prices='{"dear": {"input": 1, "output": 1}}') as one:
            assert (await one.ask()).frames[-1]["usage"]["cost"] == 11e-6
        assert line_of_first_request(caplog)["cost_usd"] == pytest.approx(32e-6)

    @jumping
    async def test_of_the_title_is_in_the_callers_limit_of_dollars(self) -> None:
        prices = '{"dear": {"input": 1, "output": 1}}'
        async with chat(SUNNY, TITLED, SUNNY, limit_dollars_per_day=32e-6, model_prices=prices) as one:
            await one.ask()
            assert (await one.ask("And in Rome?")).status == 429

    @jumping
    async def test_of_the_title_is_the_callers(self) -> None:
        async with chat(SUNNY, TITLED, SUNNY, limit_tokens_per_day=32) as one:
            await one.ask()
            assert await one.title() == "Weather in Paris"
            assert (await one.ask("And in Rome?")).status == 429, "11 for the answer, 21 for its title"

    @jumping
    async def test_has_no_title_if_the_day_is_used_up(self) -> None:
        async with chat(SUNNY, TITLED, limit_tokens_per_day=11) as one:
            assert (await one.ask()).frames[-1]["type"] == "done"
            assert await one.title() == QUESTION
            assert len(one.asked) == 1

    @jumping
    async def test_of_a_title_that_was_given_up_is_estimated(self) -> None:
        async def hanging(exchange: Exchange) -> None:
            await exchange.gone()

        async with chat(SUNNY, hanging, SUNNY, limit_tokens_per_day=60) as one:
            await one.ask()
            assert (await one.ask("And in Rome?")).status == 429
