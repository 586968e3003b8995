"""The embedded model: it hears by pattern, asks side by side, and answers from what the tools said."""

import asyncio
from collections.abc import Sequence

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.errors import ModelBusy
from chat.events import (
    ModelEvent,
    ReasoningDelta,
    ReasoningEnded,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallReady,
    ToolCallStarted,
    TurnEnded,
)
from chat.messages import AssistantMessage, Message, Text, ToolCall, ToolMessage, ToolSchema, UserMessage
from chat.models.base import ModelRequest
from chat.models.registry import make_model
from chat.models.scripted import ScriptedModel
from chat.models.scripted_wishes import wishes
from chat.settings import Settings
from tests.clock import jumping

SHIPPED = tuple(
    ToolSchema(name, "", {"type": "object"})
    for name in ("get_stock_quote", "get_weather", "convert_currency", "calculate", "current_time")
)
FIVE = "Compare AAPL and MSFT, the weather in Paris and Lima, and 1200 EUR in USD"


async def turn(
    *messages: Message | str,
    tools: Sequence[ToolSchema] = SHIPPED,
    model: ScriptedModel | None = None,
    **options: object,
) -> list[ModelEvent]:
    said = tuple(UserMessage((Text(message),)) if isinstance(message, str) else message for message in messages)
    request = ModelRequest(messages=said, tools=tuple(tools), **options)  # type: ignore[arg-type]
    return [event async for batch in (model or ScriptedModel()).stream(request) for event in batch]


def asked(events: Sequence[ModelEvent]) -> list[tuple[str, object]]:
    return [(event.name, orjson.loads(event.arguments)) for event in events if isinstance(event, ToolCallReady)]


def text(events: Sequence[ModelEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


class TestHearing:
    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ("weather in new york today?", [("get_weather", {"city": "new york"})]),
            ("HOW IS THE WEATHER IN LIMA", [("get_weather", {"city": "LIMA"})]),
            ("Tokyo's weather", [("get_weather", {"city": "Tokyo"})]),
            (
                "Will it rain in São Paulo or Rio de Janeiro?",
                [("get_weather", {"city": "São Paulo"}), ("get_weather", {"city": "Rio de Janeiro"})],
            ),
            ("price of apple", [("get_stock_quote", {"symbol": "AAPL"})]),
            ("an apple pie", []),
            ("Tell me about JSON", []),
            (
                "the time in Tokyo, the weather in Paris and weather in Rome",
                [
                    ("get_weather", {"city": "Paris"}),
                    ("get_weather", {"city": "Rome"}),
                    ("current_time", {"timezone": "Asia/Tokyo"}),
                ],
            ),
            (
                "how many dollars are 1,250.5 euros?",
                [("convert_currency", {"amount": 1250.5, "from_currency": "EUR", "to_currency": "USD"})],
            ),
            (
                "$50 to yen and pounds",
                [
                    ("convert_currency", {"amount": 50, "from_currency": "USD", "to_currency": "JPY"}),
                    ("convert_currency", {"amount": 50, "from_currency": "USD", "to_currency": "GBP"}),
                ],
            ),
            ("What is (3+4)^2 / 7?", [("calculate", {"expression": "(3+4)**2 / 7"})]),
            ("17 times 23", [("calculate", {"expression": "17 * 23"})]),
            ("12% of 80", [("calculate", {"expression": "12 / 100 * 80"})]),
            ("square root of 2", [("calculate", {"expression": "2 ** 0.5"})]),
            ("On 2026-11-22", []),
            ("what time is it?", [("current_time", {"timezone": "UTC"})]),
            ("time in Tokyo and Europe/Paris", [("current_time", {"timezone": "Europe/Paris"})]),
            (
                "what time is it in Tokyo and Lima",
                [("current_time", {"timezone": "Asia/Tokyo"}), ("current_time", {"timezone": "America/Lima"})],
            ),
        ],
    )
    def test_words_become_wishes(self, words: str, expected: list[tuple[str, dict[str, object]]]) -> None:
        assert wishes(words) == expected

    @given(st.text())
    def test_no_words_are_too_odd(self, words: str) -> None:
        assert wishes(words) == wishes(words)


class TestFiveToolsAtOnce:
    async def test_one_turn_asks_for_all_five(self) -> None:
        assert asked(await turn(FIVE)) == [
            ("get_stock_quote", {"symbol": "AAPL"}),
            ("get_stock_quote", {"symbol": "MSFT"}),
            ("get_weather", {"city": "Paris"}),
            ("get_weather", {"city": "Lima"}),
            ("convert_currency", {"amount": 1200, "from_currency": "EUR", "to_currency": "USD"}),
        ]

    async def test_arguments_come_in_pieces_between_the_name_and_the_end(self) -> None:
        events = await turn(FIVE)
        last = [
            e
            for e in events
            if isinstance(e, (ToolCallStarted, ToolArgumentsDelta, ToolCallReady)) and e.id == "call_5"
        ]
        pieces = [event.json for event in last if isinstance(event, ToolArgumentsDelta)]
        assert isinstance(last[0], ToolCallStarted)
        assert len(pieces) > 3
        assert last[-1] == ToolCallReady("call_5", "convert_currency", "".join(pieces))

    async def test_the_turn_ends_for_its_calls(self) -> None:
        last = (await turn(FIVE))[-1]
        assert isinstance(last, TurnEnded)
        assert last.stop_reason == "tool_calls"
        assert last.usage.output > 0

    async def test_the_same_words_give_the_same_events(self) -> None:
        assert await turn(FIVE) == await turn(FIVE)


class TestAnswering:
    asking = AssistantMessage(
        (ToolCall("call_1", "get_weather", '{"city":"Paris"}'), ToolCall("call_2", "get_weather", '{"city":"Lima"}'))
    )

    async def test_results_are_told_in_the_order_of_the_calls(self) -> None:
        events = await turn(
            "weather in Paris and Lima",
            self.asking,
            ToolMessage("call_2", "get_weather", '{"temperature_c":17.5}'),
            ToolMessage("call_1", "get_weather", '{"temperature_c":21}'),
        )
        assert "**Paris**: temperature c 21\n- **Lima**: temperature c 17.5" in text(events)
        assert events[-1].stop_reason == "stop"  # type: ignore[union-attr]

    async def test_a_failure_is_told_beside_what_was_found(self) -> None:
        events = await turn(
            "weather in Paris and Lima",
            self.asking,
            ToolMessage("call_1", "get_weather", "timed out after 30 s", is_error=True),
            ToolMessage("call_2", "get_weather", '{"temperature_c":17}'),
        )
        assert "**Paris**: get_weather failed: timed out after 30 s" in text(events)
        assert "**Lima**: temperature c 17" in text(events)

    @pytest.mark.parametrize(
        ("tool", "result", "sentence"),
        [
            (
                "get_stock_quote",
                '{"symbol":"AAPL","price":496.66,"change":-8.54,"change_percent":-1.7496}',
                "**AAPL** is at 496.66, down 8.54 (1.7 %) since the last close.",
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
                "In Asia/Tokyo it is **03:59** on Monday, 2026-11-23.",
            ),
            ("other", '{"some_thing":[1]}', "**x**: some thing [1]"),
            ("other", "just words", "**x**: just words"),
            ("calculate", '{"result":42}', "**x**: result 42"),
        ],
    )
    async def test_a_result_becomes_a_sentence(self, tool: str, result: str, sentence: str) -> None:
        asked_for = AssistantMessage((ToolCall("call_1", tool, '{"a":"x"}'),))
        assert f"- {sentence}" in text(await turn("hi", asked_for, ToolMessage("call_1", tool, result)))

    async def test_practice_data_are_called_so(self) -> None:
        events = await turn(
            "weather in Paris", self.asking, ToolMessage("call_1", "get_weather", '{"source":"practice data"}')
        )
        assert "practice data, made up" in text(events)

    async def test_broken_arguments_are_no_obstacle(self) -> None:
        broken = AssistantMessage((ToolCall("call_1", "get_weather", '{"city":'),))
        events = await turn("x", broken, ToolMessage("call_1", "get_weather", "bad arguments", is_error=True))
        assert "get_weather failed: bad arguments" in text(events)

    async def test_without_the_tool_it_says_what_it_lacks(self) -> None:
        assert "need get_weather, which" in text(await turn("weather in Paris", tools=()))

    async def test_small_talk_tells_what_it_can_do(self) -> None:
        assert "scripted model" in text(await turn("hello"))


class TestFollowUps:
    async def test_a_place_alone_repeats_the_last_wish(self) -> None:
        events = await turn("weather in Paris", TestAnswering.asking, "And in Rome?")
        assert asked(events) == [("get_weather", {"city": "Rome"})]

    async def test_ids_go_on_counting(self) -> None:
        events = await turn("weather in Paris", TestAnswering.asking, "And in Rome?")
        assert next(e.id for e in events if isinstance(e, ToolCallReady)) == "call_3"

    @pytest.mark.parametrize(
        ("tool", "arguments", "words", "expected"),
        [
            (
                "convert_currency",
                '{"amount":1,"from_currency":"EUR","to_currency":"USD"}',
                "and in GBP?",
                {"amount": 1, "from_currency": "EUR", "to_currency": "GBP"},
            ),
            ("current_time", '{"timezone":"UTC"}', "and in Tokyo?", {"timezone": "Asia/Tokyo"}),
            ("get_stock_quote", '{"symbol":"AAPL"}', "what about nvidia?", {"symbol": "NVDA"}),
        ],
    )
    async def test_every_tool_but_sums_can_be_repeated(
        self, tool: str, arguments: str, words: str, expected: object
    ) -> None:
        events = await turn("x", AssistantMessage((ToolCall("call_1", tool, arguments),)), words)
        assert asked(events) == [(tool, expected)]

    async def test_a_new_subject_is_no_follow_up(self) -> None:
        assert asked(await turn("weather in Paris", TestAnswering.asking, "Thank you")) == []


class TestOtherPeoplesTools:
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

    async def test_a_tool_named_in_the_words_is_called_with_what_it_requires(self) -> None:
        events = await turn("please confirm_order of 3", tools=[self.schema])
        assert asked(events) == [
            ("confirm_order", {"count": 3, "size": "S", "note": "please confirm_order of 3", "gift": True})
        ]

    async def test_tool_choice_none_calls_nothing(self) -> None:
        assert asked(await turn(FIVE, tool_choice="none")) == []

    @pytest.mark.parametrize("choice", ["required", "confirm_order"])
    async def test_a_demanded_tool_is_called_whatever_was_said(self, choice: str) -> None:
        assert [name for name, _ in asked(await turn("hi", tools=[self.schema], tool_choice=choice))] == [
            "confirm_order"
        ]


class TestSpecialWords:
    async def test_counting_gives_a_long_answer(self) -> None:
        assert text(await turn("count to 500")).split() == [str(n) for n in range(1, 501)]

    async def test_thinking_comes_before_the_answer(self) -> None:
        events = await turn("think, then say hello")
        assert isinstance(events[0], ReasoningDelta)
        assert ReasoningEnded() in events

    async def test_failing_halfway_breaks_off_after_some_of_the_answer(self) -> None:
        said: list[ModelEvent] = []

        async def listen() -> None:
            async for batch in ScriptedModel().stream(ModelRequest(messages=(UserMessage((Text("fail halfway"),)),))):
                said.extend(batch)

        with pytest.raises(ModelBusy, match="as it was asked to"):
            await listen()
        assert text(said)

    async def test_max_tokens_cuts_the_answer_and_says_so(self) -> None:
        events = await turn("count to 500", max_tokens=7)
        assert text(events) == "1 2 3 4 5 6 7"
        assert events[-1].stop_reason == "max_tokens"  # type: ignore[union-attr]


class TestPace:
    @jumping
    async def test_words_come_at_the_set_pace(self) -> None:
        loop, model = asyncio.get_running_loop(), make_model(Settings(scripted_words_per_second=4))
        began = loop.time()
        assert isinstance(model, ScriptedModel)
        await turn("count to 39", model=model)
        assert loop.time() - began == pytest.approx(10, abs=0.2)
