"""The scripted provider matches patterns, calls tools in parallel, and answers from their results."""

import asyncio
from collections.abc import Sequence

import orjson
import pytest

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
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UserMessage,
)
from winterbourne.chat.errors import ModelBusy
from winterbourne.chat.providers.base import ModelRequest
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.providers.scripted.provider import ScriptedProvider
from winterbourne.chat.settings import Settings

SHIPPED = tuple(
    ToolSchema(name, "", {"type": "object"})
    for name in ("get_stock_quote", "get_weather", "convert_currency", "calculate", "current_time")
)
FIVE = "Compare AAPL and MSFT, the weather in Paris and Lima, and 1200 EUR in USD"


async def turn(
    *messages: Message | str,
    tools: Sequence[ToolSchema] = SHIPPED,
    model: ScriptedProvider | None = None,
    **options: object,
) -> list[ModelEvent]:
    said = tuple(UserMessage((Text(message),)) if isinstance(message, str) else message for message in messages)
    request = ModelRequest(messages=said, tools=tuple(tools), **options)  # type: ignore[arg-type]
    return [event async for batch in (model or ScriptedProvider()).stream(request) for event in batch]


def asked(events: Sequence[ModelEvent]) -> list[tuple[str, object]]:
    return [(event.name, orjson.loads(event.arguments)) for event in events if isinstance(event, ToolCallReady)]


def text(events: Sequence[ModelEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


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
    async def test_a_place_alone_repeats_the_last_intent(self) -> None:
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

    @pytest.mark.parametrize("arguments", ["", "{broken", "[]"])
    async def test_arguments_that_are_no_object_break_nothing(self, arguments: str) -> None:
        earlier = AssistantMessage((ToolCall("call_1", "get_weather", arguments),))
        events = await turn("weather in Paris", earlier, "And in Rome?")
        assert asked(events) == [("get_weather", {"city": "Rome"})]

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
            async for batch in ScriptedProvider().stream(
                ModelRequest(messages=(UserMessage((Text("fail halfway"),)),))
            ):
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
        loop, model = asyncio.get_running_loop(), make_provider(Settings(scripted_words_per_second=4))
        began = loop.time()
        assert isinstance(model, ScriptedProvider)
        await turn("count to 39", model=model)
        assert loop.time() - began == pytest.approx(10, abs=0.2)
