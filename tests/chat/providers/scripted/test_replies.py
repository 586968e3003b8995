"""Replies of the scripted provider: tool results as sentences."""

import pytest

from winterbourne.chat.core.messages import ToolCall, ToolMessage
from winterbourne.chat.providers.scripted.replies import compose_reply


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
def test_a_result_becomes_a_sentence(tool: str, result: str, sentence: str) -> None:
    call = ToolCall("call_1", tool, '{"a":"x"}')
    assert f"- {sentence}" in compose_reply([call], [ToolMessage("call_1", tool, result)])


class TestDeepNesting:
    """A caller's history may contain anything; orjson serializes at most 254 levels of nesting."""

    @pytest.mark.parametrize("levels", [253, 255, 1000])
    def test_in_a_result_is_shown_as_it_came(self, levels: int) -> None:
        result = f'{{"a":{"[" * levels}{"]" * levels}}}'
        assert "[" * levels in compose_reply(
            [ToolCall("call_1", "other", "{}")], [ToolMessage("call_1", "other", result)]
        )

    def test_in_arguments_is_replaced_by_the_name_of_the_tool(self) -> None:
        arguments = f'{{"a":{"[" * 1000}{"]" * 1000}}}'
        assert "**other**" in compose_reply(
            [ToolCall("call_1", "other", arguments)], [ToolMessage("call_1", "other", "no")]
        )
