"""Intent parser of the scripted provider: text in, intents out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.providers.scripted.intents import parse_intents


class TestParsing:
    @pytest.mark.parametrize(
        ("text", "expected"),
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
    def test_text_becomes_intents(self, text: str, expected: list[tuple[str, dict[str, object]]]) -> None:
        assert [(intent.tool, intent.arguments) for intent in parse_intents(text)] == expected

    @given(st.text())
    def test_any_text_can_be_parsed(self, text: str) -> None:
        assert parse_intents(text) == parse_intents(text)
