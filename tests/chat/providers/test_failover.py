"""Failover: another model is asked where one fails, and those that keep failing are passed over for a while."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import msgspec
import pytest

import winterbourne
from tests.chat.fakes import FakeProvider, Step, answer, pause
from tests.chat.providers.provider_helpers import HELLO, collect_events, failure
from tests.chat.tool_runtime.recording_clients import recorded_metrics
from tests.clock import jumping
from tests.transcripts import wire
from tests.upstream import failing, saying, upstream
from winterbourne.chat.core.capabilities import Capabilities
from winterbourne.chat.core.events import (
    ModelEvent,
    ReasoningDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallDropped,
    ToolCallReady,
    ToolCallStarted,
    TurnEnded,
    TurnRetracted,
)
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Opaque,
    OutputSchema,
    Reasoning,
    Retractable,
    Text,
    ToolCall,
    ToolMessage,
)
from winterbourne.chat.core.provider import ModelRequest, Provider, model_name
from winterbourne.chat.errors import (
    ChatError,
    CredentialsMissing,
    ModelBusy,
    ModelContentRefused,
    ModelError,
    ModelGarbled,
    ModelImageRefused,
    ModelInputTooLong,
    ModelMisconfigured,
    ModelRefused,
    ModelSilent,
    ModelStreamTruncated,
    ModelUnreachable,
    SettingsError,
)
from winterbourne.chat.providers.factory import PROVIDERS, make_provider
from winterbourne.chat.providers.failover import FAILURES, OPEN_S, FailoverProvider, parse_fallback
from winterbourne.chat.settings import ModelSettings, Settings

KEYS: dict[str, object] = {"openai_api_key": "k", "anthropic_api_key": "k", "bedrock_region": "eu-west-1"}
SECOND: list[ModelEvent] = [TextDelta("second"), TurnEnded("stop")]
BUSY = ModelBusy("it is busy")


def failing_with(error: ChatError, times: int) -> list[list[Step]]:
    return [[error] for _ in range(times)]


def two(*first: list[Step], second: Sequence[list[Step]] = ()) -> tuple[FailoverProvider, FakeProvider, FakeProvider]:
    """A provider with these turns, and another behind it that always answers."""
    chosen, other = FakeProvider(*first), FakeProvider(*(second or [[SECOND] for _ in range(9)]))
    return FailoverProvider(chosen, ModelSettings(), {"": [("other", "b")]}, lambda _: other), chosen, other


def asked(retractable: Retractable = "nothing", **fields: Any) -> ModelRequest:
    return msgspec.structs.replace(HELLO, retractable=retractable, failed=set(), **fields)


class TestBeforeTheFirstOutput:
    @pytest.mark.parametrize(
        "error",
        [
            BUSY,
            ModelUnreachable("gone"),
            ModelSilent("silent"),
            ModelGarbled("garbled"),
            ModelMisconfigured("the key is refused"),
            ModelError("it says no more"),
            SettingsError("OPENAI_API_KEY_SECRET_ARN: cannot be read"),
            CredentialsMissing("none"),
        ],
    )
    async def test_another_model_answers_in_silence(self, error: ChatError) -> None:
        provider, _, other = two([error])
        assert await collect_events(provider, asked()) == SECOND
        assert [request.model_id for request in other.requests] == ["b"]

    @pytest.mark.parametrize("kind", [ModelRefused, ModelInputTooLong, ModelContentRefused, ModelImageRefused])
    async def test_what_is_the_callers_mistake_is_told_to_the_caller(self, kind: type[ModelError]) -> None:
        provider, _, other = two([kind("no")])
        _, error = await failure(provider, asked())
        assert type(error) is kind
        assert other.requests == []

    @pytest.mark.parametrize(
        ("turns", "told", "window"),
        [(([ModelInputTooLong("no", 900)],), 500, 900), (([BUSY],), 500, 500), (([BUSY],), 0, 800)],
    )
    async def test_a_window_is_told_with_whose_it_is(self, turns: Sequence[list[Step]], told: int, window: int) -> None:
        provider, _, other = two(*turns, second=[[ModelInputTooLong("no", told)]])
        other.capabilities = lambda _: Capabilities(window=800)  # type: ignore[attr-defined]
        _, error = await failure(provider, asked())
        assert isinstance(error, ModelInputTooLong)
        assert (error.window, error.is_fallbacks) == (window, turns == ([BUSY],))

    @pytest.mark.parametrize("kind", [ModelRefused, ModelImageRefused])
    async def test_what_only_another_model_refuses_is_not_the_callers_mistake(self, kind: type[ModelError]) -> None:
        models = [("other", "b"), ("other", "c")]
        chosen, other = FakeProvider([BUSY], [BUSY]), FakeProvider([kind("no")], [SECOND], [kind("no")], [kind("no")])
        provider = FailoverProvider(chosen, ModelSettings(), {"": models}, lambda _: other)
        assert await collect_events(provider, asked()) == SECOND
        _, error = await failure(provider, asked())
        assert isinstance(error, ModelBusy)

    async def test_no_model_is_asked_twice(self) -> None:
        """One of MODEL_CHOICES may be in the list for all of them."""
        provider, chosen, other = two([BUSY], [BUSY])
        chosen.model_of = lambda _: "other:b"  # type: ignore[attr-defined]
        assert (await failure(provider, asked()))[1] is BUSY
        assert chosen.requests[0].retries
        assert not other.requests

    async def test_the_last_models_error_is_raised(self) -> None:
        provider, _, _ = two([BUSY], second=[[ModelSilent("silent")]])
        _, error = await failure(provider, asked())
        assert isinstance(error, ModelSilent)

    async def test_a_stream_that_just_ends_has_failed(self) -> None:
        provider, _, _ = two([])
        assert await collect_events(provider, asked()) == SECOND

    async def test_only_the_last_one_repeats_an_attempt(self) -> None:
        provider, chosen, other = two([BUSY])
        await collect_events(provider, asked())
        assert [request.retries for request in (*chosen.requests, *other.requests)] == [False, True]

    @jumping
    async def test_the_first_server_is_asked_once_and_nobody_waits(self) -> None:
        begun = asyncio.get_running_loop().time()
        async with upstream(failing(503)) as busy, upstream(saying(wire("anthropic", "text"))) as fine:
            urls = {"openai_base_url": busy.url, "anthropic_base_url": fine.url}
            settings = Settings.of(model_provider="openai", model_fallback="anthropic:claude", **KEYS, **urls)
            events = await collect_events(make_provider(settings.model), asked())
            assert (len(busy.requests), len(fine.requests)) == (1, 1)
        assert isinstance(events[-1], TurnEnded)
        assert events[-1].model == "anthropic:claude"
        assert asyncio.get_running_loop().time() == begun

    @jumping
    async def test_each_model_is_told_of_a_schema_as_it_can_be(self) -> None:
        """The chosen one by a field; one that has none in words, once."""
        schema = OutputSchema(schema={"type": "object", "properties": {"depth": {"type": "integer"}}})
        async with upstream(failing(503)) as busy, upstream(saying(wire("anthropic", "text"))) as fine:
            urls = {"openai_base_url": busy.url, "anthropic_base_url": fine.url}
            names = {
                "model_provider": "openai",
                "model_id": "gpt-5.4-mini",
                "model_fallback": "anthropic:claude-3-haiku",
            }
            own = {"model_capabilities": '{"gpt-5.4-mini": {"schema": true}, "claude-3-haiku": {"schema": false}}'}
            provider = make_provider(Settings.of(**names, **own, **KEYS, **urls).model)
            await collect_events(provider, asked(output=schema))
            first, second = busy.requests[0].body, fine.requests[0].body
        assert b'"json_schema"' in first
        assert b"depth" in second
        assert second.count(b"depth") == 1
        assert b"output_config" not in second
        assert b"output_format" not in second

    async def test_a_level_that_another_model_refuses_is_left_out_for_it(self) -> None:
        words = b'{"error":{"message":"Unrecognized request argument supplied: reasoning_effort"}}'
        async with upstream(failing(400, words), saying(wire("openai", "text"))) as server:
            settings = Settings.of(openai_base_url=server.url, **KEYS)
            other = make_provider(msgspec.structs.replace(settings.model, model_provider="openai"))
            provider = FailoverProvider(
                FakeProvider([BUSY]), settings.model, {"": [("openai", "other")]}, lambda _: other
            )
            assert await collect_events(provider, asked(reasoning="high"))
            assert [b"reasoning_effort" in request.body for request in server.requests] == [True, False]

    async def test_reservations_are_for_the_model_that_is_asked_first(self) -> None:
        provider, _, _ = two([BUSY])
        request = asked()
        assert model_name(provider, request) == "script:scripted"
        await collect_events(provider, request)
        assert model_name(provider, request) == "other:b"

    async def test_both_names_are_in_the_log_and_it_is_measured(self, caplog: pytest.LogCaptureFixture) -> None:
        provider, _, _ = two([BUSY])
        with recorded_metrics() as metrics:
            await collect_events(provider, asked())
        assert metrics == [("ModelFailovers", 1, "")]
        assert caplog.messages == ["script:scripted failed, other:b is asked: it is busy"]
        assert caplog.records[0].levelno == logging.WARNING


class TestInTheMiddle:
    SAID: Sequence[ModelEvent] = [TextDelta("fir")]
    THOUGHT: Sequence[ModelEvent] = [ReasoningDelta("hm")]
    BEGUN: Sequence[ModelEvent] = [ToolCallStarted("1", "add"), ToolArgumentsDelta("1", '{"a')]
    READY: Sequence[ModelEvent] = [ToolCallStarted("0", "add"), ToolCallReady("0", "add", "{}")]

    @pytest.mark.parametrize("said", [SAID, THOUGHT, BEGUN, [*SAID, *BEGUN]])
    async def test_the_turn_is_taken_back_for_a_client_that_can_drop_it(self, said: Sequence[ModelEvent]) -> None:
        provider, _, _ = two([said, ModelStreamTruncated("cut")])
        events = await collect_events(provider, asked("everything"))
        assert events == [*said, TurnRetracted("script:scripted"), *SECOND]

    async def test_where_nothing_was_shown_it_is_taken_back_for_others_too(self) -> None:
        provider, _, _ = two([self.BEGUN, ModelStreamTruncated("cut")])
        events = await collect_events(provider, asked("calls"))
        assert events == [*self.BEGUN, TurnRetracted("script:scripted"), *SECOND]

    @pytest.mark.parametrize(
        ("said", "retractable"), [(SAID, "calls"), (THOUGHT, "calls"), (SAID, "nothing"), (BEGUN, "nothing")]
    )
    async def test_else_it_fails(self, said: Sequence[ModelEvent], retractable: Retractable) -> None:
        provider, _, other = two([said, BUSY])
        events, error = await failure(provider, asked(retractable))
        assert (events, error, other.requests) == ([*said], BUSY, [])

    @pytest.mark.parametrize("retractable", ["nothing", "calls", "everything"])
    async def test_thoughts_that_are_hidden_were_not_shown(self, retractable: Retractable) -> None:
        first, second = FakeProvider([self.THOUGHT, BUSY]), FakeProvider([SECOND])
        settings = ModelSettings(show_reasoning=False)
        provider = FailoverProvider(first, settings, {"": [("other", "b")]}, lambda _: second)
        events = await collect_events(provider, asked(retractable))
        assert events == [*self.THOUGHT, TurnRetracted("script:scripted"), *SECOND]

    @pytest.mark.parametrize("retractable", ["nothing", "calls", "everything"])
    async def test_text_that_is_held_back_was_not_shown(self, retractable: Retractable) -> None:
        """That of an answer that has to be JSON: see `core.conversation`."""
        provider, _, _ = two([self.SAID, BUSY])
        events = await collect_events(provider, asked(retractable, output=OutputSchema()))
        assert events == [*self.SAID, TurnRetracted("script:scripted"), *SECOND]

    @pytest.mark.parametrize("retractable", ["nothing", "calls", "everything"])
    async def test_a_turn_with_calls_that_are_ready_ends_with_these(self, retractable: Retractable) -> None:
        """They run already; the next turn has their results, and is another model's."""
        provider, chosen, other = two([[*self.SAID, *self.READY, *self.BEGUN], BUSY])
        request = asked(retractable)
        assert await collect_events(provider, request) == [
            *(*self.SAID, *self.READY, *self.BEGUN),
            ToolCallDropped("1", "add"),
            TurnEnded("tool_calls", model="script:scripted"),
        ]
        assert await collect_events(provider, request) == SECOND
        assert (len(chosen.requests), len(other.requests)) == (1, 1)

    async def test_the_last_models_turn_fails_with_its_calls(self) -> None:
        provider, _, _ = two([BUSY], second=[[self.READY, ModelSilent("silent")]])
        assert (await failure(provider, asked("everything")))[0] == self.READY


class TestBreaker:
    def start(self, *first: list[Step]) -> tuple[FailoverProvider, FakeProvider, FakeProvider]:
        self.now = 1000.0
        chosen, other = FakeProvider(*first), FakeProvider(*two(second=())[2].turns * 3)
        make = {"": [("other", "b")]}
        return FailoverProvider(chosen, ModelSettings(), make, lambda _: other, lambda: self.now), chosen, other

    async def test_a_model_that_keeps_failing_is_passed_over_then_tried_by_one_request(self) -> None:
        provider, chosen, _ = self.start(
            *failing_with(BUSY, FAILURES + 1), answer("first again"), answer("first again")
        )
        for _ in range(FAILURES + 3):
            assert await collect_events(provider, asked()) == SECOND
        assert len(chosen.requests) == FAILURES
        self.now += OPEN_S
        assert await collect_events(provider, asked()) == SECOND, "the trial fails"
        assert await collect_events(provider, asked()) == SECOND, "and others do not try"
        assert len(chosen.requests) == FAILURES + 1
        self.now += OPEN_S
        assert [await collect_events(provider, asked()) for _ in "12"] == [
            [TextDelta("first again"), (await collect_events(FakeProvider(answer("")), HELLO))[-1]]
        ] * 2

    async def test_a_callers_mistake_is_no_failure_of_the_model(self) -> None:
        provider, chosen, _ = self.start(*failing_with(ModelInputTooLong("no"), 9))
        for _ in range(9):
            await failure(provider, asked())
        assert len(chosen.requests) == 9

    async def test_a_trial_that_is_refused_shows_that_the_model_is_well(self) -> None:
        provider, chosen, _ = self.start(*failing_with(BUSY, FAILURES), [ModelInputTooLong("no")], answer("first"))
        for _ in range(FAILURES):
            await collect_events(provider, asked())
        self.now += OPEN_S
        await failure(provider, asked())
        await collect_events(provider, asked())
        assert len(chosen.requests) == FAILURES + 2

    @jumping
    async def test_a_model_is_tried_by_one_of_twenty_and_comes_back_though_its_answers_take_long(self) -> None:
        slow: list[Step] = [pause(OPEN_S * 1.5), *answer("first")]
        chosen = FakeProvider(*failing_with(BUSY, FAILURES), *[slow] * 99)
        other, loop = FakeProvider(*[answer("second") for _ in range(99)]), asyncio.get_running_loop()
        provider = FailoverProvider(chosen, ModelSettings(), {"": [("other", "b")]}, lambda _: other, loop.time)
        for _ in range(FAILURES):
            await collect_events(provider, asked())
        await asyncio.sleep(OPEN_S)
        counts: list[int] = []
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                for _ in range(20):
                    group.create_task(collect_events(provider, asked()))
                await asyncio.sleep(OPEN_S)
                counts.append(len(chosen.requests))
        assert counts == [FAILURES + 1, FAILURES + 2, FAILURES + 22]

    async def test_an_answer_stays_with_the_model_that_took_over(self) -> None:
        """Even if the first one is well again before its next turn."""
        provider, chosen, _ = self.start(*failing_with(BUSY, FAILURES), answer("first"))
        for _ in range(FAILURES):
            await collect_events(provider, asked())
        request = asked()
        await collect_events(provider, request)
        self.now += OPEN_S
        assert await collect_events(provider, request) == SECOND
        assert len(chosen.requests) == FAILURES

    async def test_what_a_caller_asks_of_the_chosen_model_is_told_though_another_is_passed_over(self) -> None:
        busy, fine = failing(503), saying(wire("openai", "text"))
        words = b'{"error":{"message":"Unrecognized request argument supplied: reasoning_effort"}}'
        async with upstream(busy, fine, busy, failing(400, words), fine) as server:
            settings = Settings.of(openai_base_url=server.url, model_provider="openai", model_id="m", **KEYS).model
            fallbacks, other = {"": [("other", "b")]}, FakeProvider(*failing_with(BUSY, FAILURES))
            provider = FailoverProvider(make_provider(settings), settings, fallbacks, lambda _: other)
            await failure(provider, asked())
            await collect_events(provider, asked())
            await failure(provider, asked())
            _, error = await failure(provider, asked(reasoning="high"))
        assert isinstance(error, ModelRefused)
        assert len(server.requests) == 4

    async def test_where_all_keep_failing_all_are_asked(self) -> None:
        chosen, other = (FakeProvider(*failing_with(BUSY, 9)) for _ in "12")
        provider = FailoverProvider(chosen, ModelSettings(), {"": [("other", "b")]}, lambda _: other)
        for _ in range(5):
            await failure(provider, asked())
        assert (len(chosen.requests), len(other.requests)) == (5, 5)


class TestWhatAnotherModelIsSent:
    async def test_one_that_cannot_be_constrained_is_told_the_schema(self) -> None:
        """The chosen model's request has none of it in words, if that one can."""
        provider, chosen, other = two([BUSY])
        await collect_events(provider, asked(output=OutputSchema(schema={"type": "object"})))
        assert "JSON" not in chosen.requests[0].system
        assert '{"type": "object"}' in other.requests[0].system

    async def test_options_that_it_lacks_are_left_out(self) -> None:
        provider, chosen, other = two([BUSY])
        other.capabilities = lambda _: Capabilities(options=frozenset({"top_p"}))  # type: ignore[attr-defined]
        await collect_events(provider, asked(temperature=0.5, top_p=0.1, seed=3, reasoning="low"))
        assert chosen.requests[0].options() == {"temperature": 0.5, "top_p": 0.1, "seed": 3, "reasoning": "low"}
        assert other.requests[0].options() == {"top_p": 0.1, "reasoning": "low"}

    def test_what_may_be_asked_for_is_what_the_chosen_one_takes(self) -> None:
        provider, chosen, _ = two()
        chosen.capabilities = lambda model_id: Capabilities(window=len(model_id))  # type: ignore[attr-defined]
        assert provider.capabilities("four").window == 4
        assert provider.name == chosen.name

    async def test_has_nothing_opaque_of_which_a_client_cannot_say_whose_it_is(self) -> None:
        """At /v1; it is the chosen model's. What this answer has of the other one says so."""
        thoughts = Reasoning("hm", "sig-a", opaque=Opaque()), Reasoning("", "", "sealed", Opaque(field="reasoning"))
        turn = AssistantMessage((*thoughts, ToolCall("1", "add", "{}", Opaque(fields='{"extra_content":{}}'))))
        messages = (*HELLO.messages, turn, ToolMessage("1", "add", "2"))
        async with upstream(failing(503)) as busy, upstream(saying(wire("anthropic", "text"))) as fine:
            urls = {"openai_base_url": busy.url, "anthropic_base_url": fine.url}
            settings = Settings.of(model_provider="openai", model_fallback="anthropic:claude", **KEYS, **urls)
            await collect_events(make_provider(settings.model), asked(messages=messages))
            first, second = busy.requests[0].body, fine.requests[0].body
        assert b"sig-a" in first
        assert b"sealed" in first
        assert b"add" in second
        assert b"sig-a" not in second
        assert b"sealed" not in second

    @pytest.mark.parametrize(
        ("name", "refusal"),
        [
            ("anthropic", "messages.1.content.0: Invalid `signature` in `thinking` block"),
            ("anthropic", "messages.1.content.0: Invalid `data` in `redacted_thinking` block"),
            ("anthropic", "`thinking` or `redacted_thinking` blocks in the latest message cannot be modified."),
            ("bedrock", "The model returned the following errors: reasoningContent is not supported"),
        ],
    )
    async def test_the_chosen_one_is_asked_again_without_it_if_it_was_anothers_and_nobody_knows(
        self, name: str, refusal: str
    ) -> None:
        """Else a conversation that another model has gone on with could not be taken up again."""
        turn = AssistantMessage((Reasoning("hm", "sig-b", opaque=Opaque()), Text("3")))
        messages = (*HELLO.messages, turn, *HELLO.messages)
        refused = failing(400, msgspec.json.encode({"message": refusal}))
        async with upstream(refused, saying(wire(name, "text"))) as server:
            own = {f"{name}_base_url": server.url, "aws_bearer_token_bedrock": "k"}
            settings = Settings.of(model_provider=name, **KEYS, **own)
            await collect_events(make_provider(settings.model), asked(messages=messages))
            first, second = (request.body for request in server.requests)
        assert b"sig-b" in first
        assert b"sig-b" not in second

    async def test_the_extra_body_and_the_secret_are_model_providers_alone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: dict[str, ModelSettings] = {}

        def make(settings: ModelSettings) -> Provider:
            seen[settings.model_provider] = settings
            return FakeProvider(answer("fine"))

        values = {"model_extra_body": '{"a":1}', "model_api_key_secret_arn": "arn", "model_id": "m"}
        settings = Settings.of(model_provider="mine", model_fallback="other:b,mine:n", **values).model
        make_provider(settings, {"mine": make, "other": make})
        assert (seen["other"].model_extra_body, seen["other"].model_api_key_secret_arn) == ("", "")
        assert (seen["mine"].model_extra_body, seen["mine"].model_api_key_secret_arn) == ("", "arn")


class TestTheSetting:
    def parse(self, text: str) -> object:
        settings = Settings.of(model_id="big", model_choices="small, odd:name", model_fallback=text).model
        return parse_fallback(settings, PROVIDERS)

    def test_is_a_list_for_all_models_and_one_for_each_that_needs_its_own(self) -> None:
        text = "bedrock:global.nova-v1:0, anthropic:claude ; small=openai:gpt;odd:name="
        assert self.parse(text) == {
            "": [("bedrock", "global.nova-v1:0"), ("anthropic", "claude")],
            "small": [("openai", "gpt")],
            "odd:name": [],
        }

    @pytest.mark.parametrize(
        "text", ["openai", "openai:", "oracle:x", "openai:a,,x", "huge=openai:a", "openai:a;openai:b"]
    )
    def test_is_an_init_error_that_names_it_if_it_is_wrong(self, text: str) -> None:
        with pytest.raises(SettingsError, match=r"^MODEL_FALLBACK: "):
            self.parse(text)

    async def test_the_chosen_models_own_list_is_asked(self) -> None:
        settings = ModelSettings(model_id="big", model_choices="small,none")
        lists = {"": [("x", "1")], "small": [("x", "2")], "none": []}
        other = FakeProvider([SECOND], [SECOND])
        provider = FailoverProvider(FakeProvider(*failing_with(BUSY, 3)), settings, lists, lambda _: other)
        await collect_events(provider, asked())
        await collect_events(provider, asked(model_id="small"))
        assert (await failure(provider, asked(model_id="none")))[1] is BUSY
        assert [request.model_id for request in other.requests] == ["1", "2"]

    @pytest.mark.parametrize(
        ("fallback", "values", "named"),
        [
            ("anthropic:claude", {}, "ANTHROPIC_API_KEY"),
            ("openai:gpt", {}, "OPENAI_API_KEY"),
            ("openai:gpt", {"openai_base_url": "localhost"}, "OPENAI_BASE_URL"),
            ("bedrock:nova", {}, "BEDROCK_REGION"),
            ("bedrock:nova", {"bedrock_region": "eu-west-1", "bedrock_guardrail": "?"}, "BEDROCK_GUARDRAIL"),
        ],
    )
    def test_a_fallbacks_own_settings_are_checked_at_init(
        self, fallback: str, values: dict[str, object], named: str
    ) -> None:
        with pytest.raises(SettingsError, match=f"^{named}: "):
            make_provider(Settings.of(model_fallback=fallback, **values).model)

    def test_the_secret_of_a_fallbacks_key_is_named_by_its_own_setting(self) -> None:
        arn = "arn:aws:ssm:eu-west-1:1:parameter/key"
        values = {"openai_api_key_secret_arn": arn, "anthropic_api_key_secret_arn": arn}
        make_provider(Settings.of(model_fallback="openai:gpt,anthropic:claude", **values).model)

    def test_fallbacks_are_imported_when_they_are_needed_and_failover_itself_only_if_it_is_set(self) -> None:
        check = f"""
import sys
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.settings import Settings
names = ["winterbourne.chat.providers." + name for name in ("failover", "openai", "anthropic", "bedrock")]
imported = lambda: [name.rpartition(".")[2] for name in names if name in sys.modules]
make_provider(Settings.of(model_provider="openai", **{KEYS!r}).model)
before = imported()
make_provider(Settings.of(model_provider="openai", model_fallback="anthropic:a,bedrock:b", **{KEYS!r}).model)
print(before, imported())
"""
        environ = {**os.environ, "PYTHONPATH": str(Path(winterbourne.__file__).parents[1])}
        done = subprocess.run([sys.executable, "-c", check], env=environ, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "['openai'] ['failover', 'openai']"


class TestReadiness:
    @pytest.mark.parametrize(("first", "second", "raised"), [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 1)])
    async def test_is_that_any_model_can_be_asked(
        self, monkeypatch: pytest.MonkeyPatch, first: int, second: int, raised: int
    ) -> None:
        failover, chosen, other = two()
        for provider, fails in ((chosen, first), (other, second)):
            check = AsyncMock(side_effect=ModelBusy(f"{fails}") if fails else None)
            monkeypatch.setattr(provider, "check_ready", check, raising=False)
        with pytest.raises(ModelBusy) if raised else nullcontext():
            await failover.check_ready()

    @jumping
    async def test_is_told_although_one_of_them_hangs(self) -> None:
        failover, chosen, _ = two()
        chosen.check_ready = lambda: asyncio.sleep(3600)  # type: ignore[attr-defined]  # a provider may have one
        await failover.check_ready()
