"""Scripted provider: a table of patterns calls tools in parallel, and their results are told in sentences."""

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clock import jumping
from winterbourne.chat.core.events import (
    ModelEvent,
    ReasoningDelta,
    ReasoningEnded,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallReady,
    ToolCallStarted,
    TurnEnded,
)
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Message,
    OutputSchema,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UserMessage,
)
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.core.title import ask_for_title, title_request
from winterbourne.chat.errors import ModelBusy
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.providers.scripted import ScriptedProvider
from winterbourne.chat.settings import ModelSettings

SHIPPED = tuple(
    ToolSchema(name, "", {"type": "object"})
    for name in ("get_stock_quote", "get_weather", "convert_currency", "calculate", "current_time")
)
FIVE_TOOLS = "Compare AAPL and MSFT, the weather in Paris and Lima, and 1200 EUR in USD"


async def turn(
    *messages: Message | str,
    tools: Sequence[ToolSchema] = SHIPPED,
    provider: ScriptedProvider | None = None,
    **options: object,
) -> list[ModelEvent]:
    history = tuple(UserMessage((Text(message),)) if isinstance(message, str) else message for message in messages)
    request = ModelRequest(messages=history, tools=tuple(tools), **options)  # type: ignore[arg-type]  # options by name
    return [event async for batch in (provider or ScriptedProvider()).stream(request) for event in batch]


def tool_calls(events: Sequence[ModelEvent]) -> list[tuple[str, object]]:
    return [(event.name, orjson.loads(event.arguments)) for event in events if isinstance(event, ToolCallReady)]


def text(events: Sequence[ModelEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


class TestFiveToolsAtOnce:
    async def test_one_turn_calls_all_five(self) -> None:
        assert tool_calls(await turn(FIVE_TOOLS)) == [
            ("get_stock_quote", {"symbol": "AAPL"}),
            ("get_stock_quote", {"symbol": "MSFT"}),
            ("get_weather", {"city": "Paris"}),
            ("get_weather", {"city": "Lima"}),
            ("convert_currency", {"amount": 1200, "from_currency": "EUR", "to_currency": "USD"}),
        ]

    async def test_arguments_come_in_pieces_between_the_name_and_the_end(self) -> None:
        events = await turn(FIVE_TOOLS)
        last = [
            e
            for e in events
            if isinstance(e, (ToolCallStarted, ToolArgumentsDelta, ToolCallReady)) and e.id == "call_5"
        ]
        pieces = [event.json for event in last if isinstance(event, ToolArgumentsDelta)]
        assert isinstance(last[0], ToolCallStarted)
        assert len(pieces) > 3
        assert last[-1] == ToolCallReady("call_5", "convert_currency", "".join(pieces))

    async def test_the_turn_ends_with_the_stop_reason_tool_calls(self) -> None:
        last = (await turn(FIVE_TOOLS))[-1]
        assert isinstance(last, TurnEnded)
        assert last.stop_reason == "tool_calls"
        assert last.usage.output > 0

    async def test_the_same_text_gives_the_same_events(self) -> None:
        assert await turn(FIVE_TOOLS) == await turn(FIVE_TOOLS)


class TestTheTable:
    @pytest.mark.parametrize(
        ("prompt", "expected"),
        [
            ("What is the weather in Paris?", [("get_weather", {"city": "Paris"})]),
            (
                "And the weather in New York or São Paulo?",
                [("get_weather", {"city": c}) for c in ("New York", "São Paulo")],
            ),
            ("weather in lima", [("get_weather", {"city": "lima"})]),
            (
                "the weather in Paris and Lima, and AAPL",
                [
                    ("get_stock_quote", {"symbol": "AAPL"}),
                    ("get_weather", {"city": "Paris"}),
                    ("get_weather", {"city": "Lima"}),
                ],
            ),
            (
                "1,250.5 EUR in USD",
                [("convert_currency", {"amount": 1250.5, "from_currency": "EUR", "to_currency": "USD"})],
            ),
            (
                "50 USD to JPY and GBP",
                [
                    ("convert_currency", {"amount": 50, "from_currency": "USD", "to_currency": "JPY"}),
                    ("convert_currency", {"amount": 50, "from_currency": "USD", "to_currency": "GBP"}),
                ],
            ),
            ("What is 12 * 7?", [("calculate", {"expression": "12 * 7"})]),
            ("What is (3+4)^2 / 7?", [("calculate", {"expression": "(3+4)**2 / 7"})]),
            (
                "What is 17.5 % of 2340, and what time is it in Tokyo?",
                [
                    ("calculate", {"expression": "17.5 / 100 * 2340"}),
                    ("current_time", {"timezone": "Asia/Tokyo"}),
                ],
            ),
            ("what time is it?", [("current_time", {"timezone": "UTC"})]),
            (
                "the time in Lima and Europe/Paris",
                [
                    ("current_time", {"timezone": "America/Lima"}),
                    ("current_time", {"timezone": "Europe/Paris"}),
                ],
            ),
            ("Tell me about JSON", []),
            ("On 2026-11-22", []),
        ],
    )
    async def test_words_become_calls(self, prompt: str, expected: list[tuple[str, object]]) -> None:
        assert tool_calls(await turn(prompt)) == expected

    @pytest.mark.parametrize(
        ("tool", "result", "sentence"),
        [
            (
                "get_stock_quote",
                '{"symbol":"AAPL","price":496.66,"change":-8.54,"change_percent":-1.7496}',
                "**AAPL** is at 496.66, -8.54 (-1.7 %) since the last close.",
            ),
            (
                "get_weather",
                '{"city":"Lima","country":"Peru","conditions":"fog","temperature_c":27.2,"feels_like_c":26.3}',
                "**Lima**, Peru: 27.2 °C and fog, feels like 26.3 °C.",
            ),
            (
                "convert_currency",
                '{"amount":1200.0,"from_currency":"EUR","result":1392.0,"to_currency":"USD","rate":1.16}',
                "1,200.00 EUR is **1,392.00 USD**, at a rate of 1.16.",
            ),
            ("calculate", '{"expression":"6*7","result":42}', "`6*7` is **42**."),
            (
                "current_time",
                '{"timezone":"Asia/Tokyo","time":"2026-11-23T03:59:18+09:00","weekday":"Monday"}',
                "In Asia/Tokyo it is **2026-11-23T03:59**, a Monday.",
            ),
            ("other", '{"paid_in":12}', "**x**: paid in 12"),
            ("other", "just words", "**x**: just words"),
            ("calculate", '{"result":42}', "**x**: result 42"),
        ],
    )
    async def test_a_result_becomes_a_sentence(self, tool: str, result: str, sentence: str) -> None:
        call = AssistantMessage((ToolCall("call_1", tool, '{"a":"x"}'),))
        assert f"- {sentence}" in text(await turn("x", call, ToolMessage("call_1", tool, result)))

    @given(st.text())
    def test_any_text_can_be_looked_up(self, prompt: str) -> None:
        assert asyncio.run(turn(prompt)) == asyncio.run(turn(prompt))

    @pytest.mark.parametrize("run", ["1", "1,", "A", "a ", "(", "A and ", "1 EUR ", "*"])
    async def test_a_long_prompt_takes_no_longer_than_its_length(self, run: str) -> None:
        """200,000 characters is the longest message; no pattern may backtrack through it."""
        await turn("weather in " + run * (200_000 // len(run)), tools=())

    async def test_deep_nesting_in_a_callers_history_is_told_as_it_came(self) -> None:
        deep = f'{{"city":{"[" * 1000}{"]" * 1000}}}'
        call = AssistantMessage((ToolCall("call_1", "get_weather", deep),))
        assert f"**get_weather**: {deep}" in text(await turn("x", call, ToolMessage("call_1", "get_weather", deep)))


class TestAnswers:
    calls = AssistantMessage(
        (ToolCall("call_1", "get_weather", '{"city":"Paris"}'), ToolCall("call_2", "get_weather", '{"city":"Lima"}'))
    )

    async def test_list_the_results_in_the_order_of_the_calls(self) -> None:
        events = await turn(
            "weather in Paris and Lima",
            self.calls,
            ToolMessage("call_2", "get_weather", '{"temperature_c":17.5}'),
            ToolMessage("call_1", "get_weather", '{"temperature_c":21}'),
        )
        assert "**Paris**: temperature c 21\n- **Lima**: temperature c 17.5" in text(events)
        assert events[-1].stop_reason == "stop"  # type: ignore[union-attr]  # a `TurnEnded`

    async def test_report_failures_beside_results(self) -> None:
        events = await turn(
            "weather in Paris and Lima",
            self.calls,
            ToolMessage("call_1", "get_weather", "timed out after 30 s", is_error=True),
            ToolMessage("call_2", "get_weather", '{"temperature_c":17}'),
        )
        assert "**Paris**: get_weather failed: timed out after 30 s" in text(events)
        assert "**Lima**: temperature c 17" in text(events)

    async def test_label_practice_data(self) -> None:
        events = await turn(
            "weather in Paris", self.calls, ToolMessage("call_1", "get_weather", '{"source":"practice data"}')
        )
        assert "practice data, made up" in text(events)

    async def test_cope_with_invalid_arguments(self) -> None:
        broken = AssistantMessage((ToolCall("call_1", "get_weather", '{"city":'),))
        events = await turn("x", broken, ToolMessage("call_1", "get_weather", "bad arguments", is_error=True))
        assert "get_weather failed: bad arguments" in text(events)

    async def test_name_a_tool_that_is_missing(self) -> None:
        assert "need get_weather, which" in text(await turn("weather in Paris", tools=()))

    async def test_to_small_talk_say_what_the_provider_can_do(self) -> None:
        assert "scripted model" in text(await turn("hello"))

    async def test_to_small_talk_name_the_tools_of_another_chat(self) -> None:
        own = [ToolSchema(name, "", {"type": "object"}) for name in ("moor", "hoist")]
        told = text(await turn("hello", tools=own))
        assert "I call every tool that you name: hoist, moor." in told
        assert "share prices" not in told

    async def test_to_small_talk_promise_nothing_without_tools(self) -> None:
        assert "I was given no tools." in text(await turn("hello", tools=()))


class TestFollowUps:
    async def test_a_city_alone_repeats_the_last_intent(self) -> None:
        events = await turn("weather in Paris", TestAnswers.calls, "And in Rome?")
        assert tool_calls(events) == [("get_weather", {"city": "Rome"})]

    async def test_ids_go_on_counting(self) -> None:
        events = await turn("weather in Paris", TestAnswers.calls, "And in Rome?")
        assert next(e.id for e in events if isinstance(e, ToolCallReady)) == "call_3"

    async def test_a_city_alone_may_mean_its_time(self) -> None:
        events = await turn("x", AssistantMessage((ToolCall("call_1", "current_time", ""),)), "what about Tokyo?")
        assert tool_calls(events) == [("current_time", {"timezone": "Asia/Tokyo"})]

    async def test_a_new_subject_is_not_a_follow_up(self) -> None:
        assert tool_calls(await turn("weather in Paris", TestAnswers.calls, "Thank you")) == []


class TestUnknownTools:
    schema = ToolSchema(
        "confirm_order",
        "",
        {
            "type": "object",
            "required": ["count", "size", "note", "gift"],
            "properties": {
                "count": {"type": "integer"},
                "size": {"enum": ["S", "M"]},
                "note": {"type": "string"},
                "gift": {"type": "boolean"},
            },
        },
    )

    async def test_a_tool_named_in_the_text_is_called_with_its_required_arguments(self) -> None:
        events = await turn("please confirm_order of 3", tools=[self.schema])
        assert tool_calls(events) == [
            ("confirm_order", {"count": 3, "size": "S", "note": "please confirm_order of 3", "gift": True})
        ]

    async def test_a_number_is_that_behind_the_tools_name_if_there_is_one(self) -> None:
        for prompt in ("hall 7, and confirm_order of 3", "3, please confirm_order"):
            ((_, arguments),) = tool_calls(await turn(prompt, tools=[self.schema]))
            assert isinstance(arguments, dict)
            assert arguments["count"] == 3

    async def test_tool_choice_none_calls_nothing(self) -> None:
        assert tool_calls(await turn(FIVE_TOOLS, tool_choice="none")) == []

    @pytest.mark.parametrize("choice", ["required", "confirm_order"])
    async def test_a_forced_tool_is_called_whatever_the_text(self, choice: str) -> None:
        assert [name for name, _ in tool_calls(await turn("hi", tools=[self.schema], tool_choice=choice))] == [
            "confirm_order"
        ]


class TestCommands:
    async def test_count_gives_a_long_answer(self) -> None:
        assert text(await turn("count to 500")).split() == [str(n) for n in range(1, 501)]

    async def test_think_gives_reasoning_before_the_answer(self) -> None:
        events = await turn("think, then say hello")
        assert isinstance(events[0], ReasoningDelta)
        assert ReasoningEnded() in events

    @pytest.mark.parametrize(("level", "thinks"), [("none", False), ("high", True)])
    async def test_a_request_may_say_whether_it_thinks(self, level: str, *, thinks: bool) -> None:
        assert ScriptedProvider().capabilities("").reasoning == ("none", "high")
        for prompt in ("think, then say hello", "hello"):
            assert (ReasoningEnded() in await turn(prompt, reasoning=level)) == thinks

    async def test_fail_halfway_fails_after_part_of_the_answer(self) -> None:
        events: list[ModelEvent] = []

        async def consume() -> None:
            async for batch in ScriptedProvider().stream(
                ModelRequest(messages=(UserMessage((Text("fail halfway"),)),))
            ):
                events.extend(batch)

        with pytest.raises(ModelBusy, match="as it was asked to"):
            await consume()
        assert text(events)

    async def test_max_tokens_truncates_the_answer_with_that_stop_reason(self) -> None:
        events = await turn("count to 500", max_tokens=7)
        assert text(events) == "1 2 3 4 5 6 7"
        assert events[-1].stop_reason == "max_tokens"  # type: ignore[union-attr]  # a `TurnEnded`


class TestSpeed:
    @jumping
    async def test_words_come_at_the_configured_rate(self) -> None:
        loop, provider = asyncio.get_running_loop(), make_provider(ModelSettings(scripted_words_per_second=4))
        began = loop.time()
        assert isinstance(provider, ScriptedProvider)
        await turn("count to 39", provider=provider)
        assert loop.time() - began == pytest.approx(10, abs=0.2)


class TestOptions:
    PLACE: ClassVar = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "kind": {"enum": ["port", "city"]},
            "boats": {"type": "array", "items": {"$ref": "#/$defs/Boat"}, "minItems": 1},
            "note": {"anyOf": [{"type": "null"}, {"type": "string"}]},
            "version": {"const": 2},
        },
        "required": ["name", "kind", "boats", "note", "version"],
        "$defs": {"Boat": {"type": "object", "properties": {"is_red": {"type": "boolean"}}, "required": ["is_red"]}},
    }

    async def test_an_answer_by_a_schema_is_an_example_of_it(self) -> None:
        events = await turn("Whitby", output=OutputSchema(schema=self.PLACE))
        place = {"name": "Whitby", "kind": "port", "boats": [{"is_red": True}], "note": None, "version": 2}
        assert orjson.loads(text(events)) == place

    @pytest.mark.parametrize(
        "schema",
        [
            {"type": "array", "minItems": 10**9, "items": True},
            {"$ref": "#/$defs/A", "$defs": {"A": {"anyOf": [{"type": "object", "required": ["a"]}]}}},
            {"$ref": "#/$defs/A", "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}]}}},
        ],
        ids=str,
    )
    async def test_a_schema_of_any_kind_is_answered(self, schema: dict[str, Any]) -> None:
        assert isinstance((await turn("x", output=OutputSchema(schema=schema)))[-1], TurnEnded)

    async def test_an_answer_ends_before_a_stop_text(self) -> None:
        assert text(await turn("count to 9", stop=("4", "x"))) == "1 2 3 "

    def test_all_of_them_are_taken(self) -> None:
        capabilities = ScriptedProvider().capabilities("")
        assert capabilities.schema
        assert capabilities.options >= {"stop", "seed", "top_p", "presence_penalty", "frequency_penalty"}


class TestATitle:
    @pytest.mark.parametrize(
        ("question", "title"),
        [
            (FIVE_TOOLS, "Compare AAPL and MSFT, the weather"),
            ("hello", "hello"),
            ("think, then\nfail halfway", "think, then fail halfway"),
            ("Assistant: are you one?", "Assistant: are you one?"),
            ("", ""),
        ],
    )
    async def test_is_the_first_words_of_the_question(self, question: str, title: str) -> None:
        messages = (UserMessage((Text(question),)), AssistantMessage((Text("The answer is 42."),)))
        asked = title_request(messages, "", 8192, 0.0)
        assert await ask_for_title(ScriptedProvider(), asked, lambda _: None) == title
