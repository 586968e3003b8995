"""Compaction of long conversations: when, by whom, how often, and what becomes of the answer if it fails."""

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import pytest

from tests.chat.fakes import FakeProvider, answer, pause
from tests.chat.http.test_titles import chat, says
from tests.clock import jumping
from tests.upstream import Exchange, failing, saying
from winterbourne.chat.core.capabilities import Capabilities
from winterbourne.chat.core.compaction import LEFT_OUT
from winterbourne.chat.core.events import TextDelta, TurnEnded, Usage
from winterbourne.chat.core.history import NATIVE_SUMMARY
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Message,
    Opaque,
    Reasoning,
    Summary,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.core.usage import estimate_input
from winterbourne.chat.errors import ModelBusy, ModelInputTooLong, RateLimitExceeded
from winterbourne.chat.http.compaction import FULL, ROOMY, Compaction, Compactor
from winterbourne.chat.storage.conversations import OpenConversation

WINDOW = 2_000
TOKENS = 200
ROOM = WINDOW - TOKENS


def turns(*numbers: int) -> tuple[Message, ...]:
    """Answered questions with a call each, of some 80 tokens."""
    return tuple(message for number in numbers for message in turn(number))


def turn(number: int) -> tuple[Message, ...]:
    call = ToolCall(f"call_{number}", "tide", '{"port":"Whitby"}')
    return (
        question(f"When is high water in port number {number}, and can a ship of three metres enter?", f"u_{number}"),
        AssistantMessage((call,)),
        ToolMessage(call.id, "tide", '{"high":"12:04","low":"18:11"}'),
        AssistantMessage((Text(f"In port {number} it is at noon, and she can enter two hours before that."),)),
    )


def question(text: str = "And now?", message_id: str = "u_new") -> UserMessage:
    return UserMessage((Text(text),), message_id)


LONG = (*turns(*range(22)), question())


class Kept:
    """A kept conversation, as far as it keeps a summary."""

    def __init__(self, summary: Summary | None = None) -> None:
        self.summary = summary
        self.kept: list[Summary] = []

    def keep_summary(self, summary: Summary) -> None:
        self.kept.append(summary)


class Asked:
    """A process's chat, whose provider has a script, and how its models are asked."""

    def __init__(self, *script: Any, window: int = WINDOW, model_id: str = "", compacts: bool = False) -> None:
        self.provider = FakeProvider(*script)
        known = Capabilities(window=window, compacts=compacts)
        self.chat = Compaction(self.provider, lambda _: known, lambda _, usage: usage, model_id, TOKENS, {}, {}, {})
        self.usages: list[Usage] = []

    def compactor(self, log: Kept | None = None, reserve: Any = None) -> Compactor:
        return self.chat.of_request(self.usages, cast("OpenConversation | None", log), reserve)

    async def fit(
        self, messages: Sequence[Message] = LONG, log: Kept | None = None, refusal: ModelInputTooLong | None = None
    ) -> tuple[Message, ...]:
        request, _ = await self.compactor(log).fit(request_of(messages), refusal)
        return request.messages

    @property
    def prompts(self) -> list[str]:
        """What was asked for summaries."""
        users = (cast("UserMessage", request.messages[0]) for request in self.provider.requests)
        return [cast("Text", user.parts[0]).text for user in users]


def request_of(messages: Sequence[Message], **fields: Any) -> ModelRequest:
    return ModelRequest(messages=tuple(messages), max_tokens=TOKENS, model_id="dear", deadline=1000.0, **fields)


def beginning(messages: Sequence[Message]) -> str:
    """The text that was put before the first question."""
    first = next(message for message in messages if isinstance(message, UserMessage))
    return cast("Text", first.parts[0]).text


class TestAConversation:
    @jumping
    async def test_is_sent_as_it_is_while_it_fills_less_than_four_fifths_of_the_window(self) -> None:
        one = Asked()
        short = (*turns(*range(14)), question())
        assert ROOMY * ROOM < estimate_input(request_of(short)) < FULL * ROOM
        assert await one.fit(short) == short
        assert not one.provider.requests

    @jumping
    async def test_is_sent_with_a_summary_of_its_oldest_turns_beyond_that(self) -> None:
        one = Asked(answer("Tides were asked for."))
        sent = await one.fit()
        assert estimate_input(request_of(sent)) <= ROOMY * ROOM
        assert "Tides were asked for." in beginning(sent)
        assert sent[-1] == question()
        assert sent[1:] == LONG[-len(sent) + 1 :]
        (asked,) = one.provider.requests
        assert (asked.model_id, asked.tools, asked.max_tokens) == ("dear", (), TOKENS)
        assert "port number 0," in one.prompts[0]
        assert "port number 21," not in one.prompts[0]

    @jumping
    async def test_is_summarised_by_the_model_that_the_setting_names(self) -> None:
        one = Asked(answer("Tides."), model_id="cheap")
        await one.fit()
        assert [asked.model_id for asked in one.provider.requests] == ["cheap"]

    @jumping
    async def test_is_summarised_once_for_all_requests_of_its_client(self) -> None:
        one = Asked(answer("Tides."))
        sent = await one.fit()
        longer = (*LONG, AssistantMessage((Text("Low."),)), question("Why?", "u_why"))
        assert (await one.fit(longer))[: len(sent)] == sent
        assert await one.fit() == sent
        assert len(one.provider.requests) == 1

    @jumping
    async def test_is_summarised_from_its_summary_and_what_came_since(self) -> None:
        one = Asked(answer("They sail."), answer("They sailed."))
        await one.fit()
        sent = await one.fit((*LONG[:-1], *turns(*range(22, 36)), question()))
        assert one.prompts[1].startswith("Summary of what was before: They sail.")
        assert "port number 0," not in one.prompts[1]
        assert "They sailed." in beginning(sent)

    @jumping
    async def test_is_summarised_anew_if_what_was_summarised_has_been_edited(self) -> None:
        one = Asked(answer("They sail."), answer("They fly."))
        await one.fit()
        sent = await one.fit((question("May they fly?", "u_0"), *LONG[1:]))
        assert "They sail" not in one.prompts[1]
        assert "They fly." in beginning(sent)

    @jumping
    async def test_keeps_its_summary_for_another_process_if_it_is_kept(self) -> None:
        one, log = Asked(answer("Tides.")), Kept()
        sent = await one.fit(log=log)
        (summary,) = log.kept
        other = Asked()
        assert await other.fit(log=Kept(summary)) == sent
        assert not other.provider.requests

    @jumping
    async def test_whose_newest_question_alone_is_too_long_is_cut_between_its_rounds(self) -> None:
        one = Asked(answer("Tides of many ports."))
        calls = [message for number in range(40) for message in turn(number)[1:3]]
        sent = await one.fit((question("All tides?"), *calls))
        assert isinstance(sent[0], UserMessage)
        assert sent[0].parts[-1] == Text("All tides?")
        assert sent[1:] == tuple(calls[-len(sent) + 1 :])
        assert isinstance(sent[1], AssistantMessage)

    @jumping
    async def test_that_ends_where_a_summary_does_is_sent_whole(self) -> None:
        """Its client lost what came after that, and asks again."""
        one = Asked(answer("Tides of many ports."))
        calls = [message for number in range(70) for message in turn(number)[1:3]]
        whole = (question("All tides?"), *calls)
        sent = await one.fit(whole)
        before = whole[: len(whole) - len(sent) + 1]
        assert await one.fit(before) == before

    @jumping
    async def test_of_one_short_question_is_left_to_the_provider(self) -> None:
        one = Asked()
        long_question = (SystemMessage("Be brief."), question("word " * 3000))
        assert await one.fit(long_question) == long_question

    @jumping
    async def test_of_500_turns_is_summarised_a_few_times(self) -> None:
        """And what is sent never fills the window."""
        texts = iter([answer(f"Summary {number}.") for number in range(99)])
        one = Asked(*texts, window=12_000)
        history: tuple[Message, ...] = ()
        for number in range(500):
            asked, *rest = turn(number)
            sent = await one.fit((*history, asked))
            assert estimate_input(request_of(sent)) <= FULL * (12_000 - TOKENS)
            history = (*history, asked, *rest)
        assert estimate_input(request_of(history)) > 30_000
        assert len(one.provider.requests) <= 8

    def test_of_many_conversations_only_the_newest_summaries_are_known(self) -> None:
        one = Asked()
        for number in range(300):
            one.chat.remember(Summary(str(number), "Tides."))
        assert [*one.chat.summaries] == [str(number) for number in range(44, 300)]


class TestATurnThatUsedTools:
    @jumping
    async def test_tells_how_its_provider_counts(self) -> None:
        """An estimate may be wrong by a quarter, and for code or base64 by more."""
        one = Asked(answer("Tides."))
        short = (*turns(*range(12)), question())
        compactor = one.compactor()
        sent, _ = await compactor.fit(request_of(short))
        assert sent.messages == short
        one.usages.append(Usage(2 * estimate_input(sent), 1))
        sent, _ = await compactor.fit(request_of((*short, *turn(99)[1:3])))
        assert "Tides." in beginning(sent.messages)

    @jumping
    async def test_is_not_believed_if_it_counts_nearly_nothing(self) -> None:
        one = Asked(answer("Tides."))
        compactor = one.compactor()
        await compactor.fit(request_of(turns(1)))
        one.usages.append(Usage(9, 1))
        compactor.learn_scale()
        assert one.chat.scales == {"dear": 1.0}


class TestASummary:
    @jumping
    async def test_counts_as_tokens_of_the_request(self) -> None:
        one = Asked(answer("Tides."))
        compactor = one.compactor()
        _, spent = await compactor.fit(request_of(LONG))
        assert spent == one.usages == [Usage(2, 3)]
        assert await compactor.fit(request_of(LONG)) == (await compactor.fit(request_of(LONG)))
        assert len(one.usages) == 1

    @jumping
    async def test_is_asked_for_with_what_its_provider_counts_as_no_more_than_the_window(self) -> None:
        one = Asked(answer("Tides."))
        one.chat.scales["dear"] = 2.0
        await one.fit((*turns(*range(99)), question()))
        assert 2 * estimate_input(one.provider.requests[0]) <= ROOM

    @jumping
    async def test_is_cut_off_if_its_model_writes_far_more_than_it_may(self) -> None:
        """Else the conversation would be too long for ever."""
        one = Asked(answer("Tides. " * 3000))
        sent = await one.fit()
        assert beginning(sent).count("Tides.") > TOKENS / 3
        assert estimate_input(request_of(sent)) <= FULL * ROOM

    @jumping
    async def test_reserves_its_tokens(self) -> None:
        reserved: list[ModelRequest] = []

        async def reserve(request: ModelRequest) -> None:
            reserved.append(request)

        one = Asked(answer("Tides."))
        await one.compactor(reserve=reserve).fit(request_of(LONG))
        assert reserved == one.provider.requests

    @pytest.mark.parametrize(
        "script", [[ModelBusy("busy")], [[TextDelta("")], [TurnEnded("refusal")]], answer(" "), [pause(900.0)]]
    )
    @jumping
    async def test_that_fails_is_replaced_by_a_note(self, script: Any, caplog: pytest.LogCaptureFixture) -> None:
        one, log = Asked(script), Kept()
        compactor = one.compactor(log)
        sent, _ = await compactor.fit(request_of(LONG))
        assert LEFT_OUT in beginning(sent.messages)
        assert estimate_input(sent) <= ROOMY * ROOM
        assert not log.kept
        assert (await compactor.fit(request_of(LONG)))[0] == sent  # nobody is asked again in this request
        assert len(one.provider.requests) == 1
        assert not one.chat.summaries

    @jumping
    async def test_has_half_of_the_time_that_is_left(self) -> None:
        one = Asked([pause(900.0)])
        start = asyncio.get_running_loop().time()
        request = msgspec.structs.replace(request_of(LONG), deadline=start + 60)
        await one.compactor().fit(request)
        assert asyncio.get_running_loop().time() - start == pytest.approx(30)
        assert one.provider.open == 0

    @jumping
    async def test_that_the_callers_limit_does_not_allow_is_replaced_by_a_note(self) -> None:
        async def reserve(_: ModelRequest) -> None:
            raise RateLimitExceeded("9 tokens per day", 1)

        one = Asked()
        sent, spent = await one.compactor(reserve=reserve).fit(request_of(LONG))
        assert LEFT_OUT in beginning(sent.messages)
        assert not spent

    @jumping
    async def test_that_fails_keeps_the_one_before(self) -> None:
        one = Asked(answer("They sail."), [ModelBusy("busy")])
        await one.fit()
        sent = await one.fit((*LONG[:-1], *turns(*range(22, 36)), question()))
        assert "They sail." in beginning(sent)
        assert LEFT_OUT in beginning(sent)


class TestARefusal:
    @jumping
    async def test_teaches_the_window_once(self, caplog: pytest.LogCaptureFixture) -> None:
        one = Asked(answer("Tides."), window=100_000)
        assert await one.fit() == LONG
        with caplog.at_level(logging.WARNING):
            sent = await one.fit(refusal=ModelInputTooLong("too long", WINDOW))
            assert await one.fit(refusal=None) == sent
        assert estimate_input(request_of(sent)) <= ROOMY * ROOM
        assert [record.message for record in caplog.records] == [
            "the model's window has 2000 tokens only: conversations are compacted for that"
        ]

    @jumping
    async def test_of_another_model_is_heeded_once(self) -> None:
        """The chosen one may take the whole when it is well again."""
        one, refusal = Asked(answer("Tides."), window=100_000), ModelInputTooLong("too long", WINDOW)
        refusal.is_fallbacks = True
        sent = await one.fit((*turns(*range(200)), question()), refusal=refusal)
        assert estimate_input(request_of(sent)) <= ROOMY * ROOM
        assert not one.chat.windows

    @jumping
    async def test_without_a_number_halves_what_is_sent(self) -> None:
        one = Asked(answer("Tides."), window=100_000)
        sent = await one.fit(refusal=ModelInputTooLong("too long"))
        assert estimate_input(request_of(sent)) < estimate_input(request_of(LONG)) / 2
        assert not one.chat.windows

    @jumping
    async def test_is_the_callers_if_nothing_can_be_left_out(self) -> None:
        refusal = ModelInputTooLong("too long", WINDOW)
        with pytest.raises(ModelInputTooLong) as caught:
            await Asked().fit((question("word " * 9999),), refusal=refusal)
        assert caught.value is refusal


class TestAProviderThatSummarisesItself:
    NATIVE = AssistantMessage((Reasoning("", opaque=Opaque("o", NATIVE_SUMMARY, '{"compaction":{}}')), Text("So.")))

    @jumping
    async def test_is_told_from_when_on_if_the_conversation_is_kept(self) -> None:
        one = Asked(compacts=True, window=100_000)
        sent, _ = await one.compactor(Kept()).fit(request_of(LONG))
        assert sent == msgspec.structs.replace(request_of(LONG), compact_at=int(FULL * (100_000 - TOKENS)))

    @jumping
    async def test_is_not_told_if_its_summary_would_be_lost(self) -> None:
        one = Asked(compacts=True, window=100_000)
        sent, _ = await one.compactor().fit(request_of(LONG))
        assert sent.compact_at == 0

    @jumping
    async def test_is_helped_where_a_history_of_elsewhere_is_beyond_its_window(self) -> None:
        one = Asked(answer("Tides."), compacts=True)
        sent, _ = await one.compactor(Kept()).fit(request_of((*turns(*range(30)), question())))
        assert "Tides." in beginning(sent.messages)

    @jumping
    async def test_is_not_helped_beyond_its_own_summary(self) -> None:
        one, history = Asked(compacts=True), (*LONG, self.NATIVE, question("Why?", "u_why"))
        sent, _ = await one.compactor(Kept()).fit(request_of(history))
        assert sent.messages == history


WORDS = "word " * 60
HELD = [
    message
    for number in range(40)
    for message in (
        {"role": "user", "content": f"{number} {WORDS}"},
        {"role": "assistant", "content": "Yes, as you say."},
    )
]
TOO_LONG = failing(400, b'{"error":{"message":"This model\'s maximum context length is 3000 tokens."}}')
FINE = saying(says("Fine.", tokens=10))
SUMMARY = saying(says("They count.", tokens=20))


class TestARequest:
    """Through the endpoint, with a provider over HTTP."""

    @jumping
    async def test_that_is_refused_as_too_long_is_compacted_and_asked_again(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with chat(TOO_LONG, SUMMARY, FINE, FINE, model_max_tokens=500) as one:
            response = await one.ask("Well?", messages=[*HELD, {"role": "user", "content": "Well?"}])
            done = response.frames[-1]
            await one.ask("And now?")
            refused, summarised, again, later = one.asked
        assert done["type"] == "done"
        assert done["usage"]["input"] == 30
        assert len(refused["messages"]) == 81
        assert "Summarise the conversation" in json.dumps(summarised)
        assert "They count." in again["messages"][0]["content"]
        assert later["messages"][: len(again["messages"])] == again["messages"]
        line = next(vars(record) for record in caplog.records if record.name == "winterbourne.chat.request")
        assert line["turns"] == 1

    @jumping
    async def test_is_answered_without_a_summary_if_that_fails(self) -> None:
        async with chat(TOO_LONG, failing(401), FINE, model_max_tokens=500) as one:
            response = await one.ask("Well?", messages=[*HELD, {"role": "user", "content": "Well?"}])
            assert LEFT_OUT in json.dumps(one.asked[-1])
        assert response.frames[-1]["type"] == "done"

    @jumping
    async def test_is_refused_twice_and_then_the_callers(self) -> None:
        async with chat(TOO_LONG, SUMMARY, TOO_LONG, model_max_tokens=500) as one:
            response = await one.ask("Well?", messages=[*HELD, {"role": "user", "content": "Well?"}])
        assert response.frames[-1]["code"] == "context_length_exceeded"

    @jumping
    async def test_is_the_providers_to_refuse_where_compaction_is_off(self) -> None:
        async with chat(TOO_LONG, compaction="off") as one:
            response = await one.ask("Well?", messages=[*HELD, {"role": "user", "content": "Well?"}])
        assert response.frames[-1]["code"] == "context_length_exceeded"

    @jumping
    async def test_has_heartbeats_while_it_is_summarised(self) -> None:
        async def slowly(exchange: Exchange) -> None:
            await asyncio.sleep(15)
            await SUMMARY(exchange)

        async with chat(TOO_LONG, slowly, FINE, model_max_tokens=500, heartbeat_interval=5) as one:
            response = await one.ask("Well?", messages=[*HELD, {"role": "user", "content": "Well?"}])
        assert response.body.partition(b'"type":"content"')[0].count(b"\n\n:") >= 2
