"""Titles: what a model is asked for one, and what is made of what it writes."""

import asyncio
from math import inf
from typing import Any

import pytest

from tests.chat.fakes import FakeProvider, Step, answer
from tests.clock import jumping
from winterbourne.chat.core.events import ReasoningDelta, StopReason, TextDelta, TurnEnded, Usage
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Image,
    Message,
    Reasoning,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.core.title import MAX_TITLE_CHARS, ask_for_title, shorten, single_line, title_request
from winterbourne.chat.core.usage import estimate_tokens
from winterbourne.chat.errors import ModelBusy
from winterbourne.chat.infra import redaction


def request(*messages: Message, max_tokens: int = 8192) -> ModelRequest:
    return title_request(messages, "cheap", max_tokens, inf)


def prompt(*messages: Message) -> str:
    (message,) = request(*messages).messages
    assert isinstance(message, UserMessage)
    (part,) = message.parts
    assert isinstance(part, Text)
    return part.text


class Asking:
    """One request for a title, and what it used."""

    def __init__(self, *steps: Any) -> None:
        turn: list[Step] = list(steps)
        self.provider = FakeProvider(turn)
        self.usages: list[Usage] = []

    async def title(self) -> str:
        return await ask_for_title(self.provider, request(UserMessage((Text("hello"),))), self.usages.append)


class TestTheRequest:
    def test_names_the_model_and_offers_no_tools(self) -> None:
        asked = request(UserMessage((Text("hello"),)))
        assert (asked.model_id, asked.tools, asked.max_tokens) == ("cheap", (), 2048)

    def test_asks_for_no_more_tokens_than_the_model_may_write(self) -> None:
        assert request(UserMessage((Text("hello"),)), max_tokens=300).max_tokens == 300

    def test_has_the_first_question_and_all_that_was_answered(self) -> None:
        said = prompt(
            UserMessage((Text("the weather"), Image("image/png", "AAAA"), Text("in Paris?"))),
            AssistantMessage((Reasoning("hm"), Text("Let me look."), ToolCall("1", "get_weather", "{}"))),
            ToolMessage("1", "get_weather", "sunny"),
            AssistantMessage((Text("It is sunny."),)),
            UserMessage((Text("and in Rome?"),)),
        )
        assert said == "User: the weather in Paris?\n\nAssistant: Let me look. It is sunny."

    def test_has_the_beginnings_of_long_ones(self) -> None:
        said = prompt(UserMessage((Text("q" * 5000),)), AssistantMessage((Text("z" * 5000),)))
        assert (said.count("q"), said.count("z")) == (2000, 2000)

    def test_is_one_also_where_nothing_was_asked(self) -> None:
        assert prompt(UserMessage((Image("image/png", "AAAA"),)), AssistantMessage((Text("A cat."),))) == (
            "User: \n\nAssistant: A cat."
        )
        assert prompt() == "User: \n\nAssistant: "


class TestTheTitle:
    @pytest.mark.parametrize(
        ("written", "title"),
        [
            ("Weather in Paris", "Weather in Paris"),
            ('  "Weather in  Paris"\n', "Weather in Paris"),
            ("\n\n**Weather\tin Paris**\n\nI hope this helps!", "Weather in Paris"),
            ("# \u201eWetter in Paris\u201c", "Wetter in Paris"),
            ("\u00ab\u00a0Météo à Paris\u00a0\u00bb", "Météo à Paris"),
            ("<think>\nParis, then.\n</think>\n\nWeather in Paris", "Weather in Paris"),
            ("Sunny \ud83c\udf1e \ud83c", "Sunny \U0001f31e \ufffd"),
            ("x" * 81, "x" * 79 + "…"),
            ("x" * 80, "x" * 80),
            ('""\n', ""),
            ("", ""),
        ],
    )
    @jumping
    async def test_is_one_line_without_what_stands_around_it(self, written: str, title: str) -> None:
        texts = [[TextDelta(letter)] for letter in written]
        assert await Asking(*texts, [TurnEnded("stop")]).title() == title

    @jumping
    async def test_has_no_secrets(self) -> None:
        redaction.register("a-secret-of-ours")
        assert await Asking(*answer("It is a-secret-of-ours")).title() == f"It is {redaction.MASK}"

    @pytest.mark.parametrize("reason", ["max_tokens", "content_filter", "refusal", "tool_calls"])
    @jumping
    async def test_is_none_if_the_model_did_not_finish_it(self, reason: StopReason) -> None:
        assert await Asking([TextDelta("I cannot")], [TurnEnded(reason)]).title() == ""

    def test_may_have_80_characters(self) -> None:
        assert shorten("x" * MAX_TITLE_CHARS) == "x" * 80
        assert single_line(" a\n\tb\u00a0c ") == "a b c"


class TestUsage:
    @jumping
    async def test_is_what_the_provider_reported(self) -> None:
        asking = Asking([ReasoningDelta("hm")], *answer("Weather"))
        await asking.title()
        assert asking.usages == [Usage(2, 3)]

    @jumping
    async def test_is_estimated_for_a_title_that_broke_off(self) -> None:
        asking = Asking([ReasoningDelta("hm, hm")], [TextDelta("Wea")], ModelBusy("too busy"))
        with pytest.raises(ModelBusy):
            await asking.title()
        (used,) = asking.usages
        assert used.input > 50
        assert used.output == estimate_tokens("hm, hmWea")

    @jumping
    async def test_is_none_of_a_provider_that_sent_nothing(self) -> None:
        asking = Asking(ModelBusy("too busy"))
        with pytest.raises(ModelBusy):
            await asking.title()
        assert asking.usages == []

    @jumping
    async def test_is_estimated_for_one_that_was_given_up(self) -> None:
        asking = Asking(lambda: asyncio.sleep(60))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asking.title()
        assert len(asking.usages) == 1
        assert asking.provider.open == 0


@pytest.mark.parametrize(
    ("text", "line"),
    [("a\u200b\u202eb\x1b[1m\n c", "ab[1m c"), ("\u200b \u2066\u061c\u00ad", ""), ("👩‍👩‍👧 Family", "👩‍👩‍👧 Family")],
)
def test_a_line_has_nothing_that_cannot_be_seen(text: str, line: str) -> None:
    assert single_line(text) == line
