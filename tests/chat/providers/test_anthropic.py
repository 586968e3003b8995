"""Requests sent to Anthropic."""

import json
from typing import Any

import pytest

from tests import transcripts
from tests.chat.providers.provider_helpers import PNG, SCHEMA, SETTINGS, TOOLS, request
from tests.upstream import saying, upstream
from winterbourne.chat.core.messages import AssistantMessage, Image, Message, Reasoning, Text, UserMessage
from winterbourne.chat.providers import anthropic
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.settings import Settings


class TestTheRequest:
    def body(self, *messages: Message, **options: Any) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(anthropic.build_request_body(request(*messages, **options), SETTINGS))
        return said

    def test_the_whole_history(self) -> None:
        assert self.body()["messages"] == [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Weather in Paris and Lima?"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Two cities.", "signature": "sig"},
                    {"type": "redacted_thinking", "data": "b3BhcXVl"},
                    {"type": "text", "text": "Let me see."},
                    {"type": "tool_use", "id": "a", "name": "get_weather", "input": {"city": "Paris"}},
                    {"type": "tool_use", "id": "b", "name": "get_weather", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "a", "content": '{"c":21}', "is_error": False},
                    {"type": "tool_result", "tool_use_id": "b", "content": "no city", "is_error": True},
                    {"type": "text", "text": "And tomorrow?"},
                ],
            },
        ]

    def test_options(self) -> None:
        said = self.body(system="Be brief.", temperature=0.5, max_tokens=7, tools=TOOLS, tool_choice="required")
        assert said["system"] == "Be brief.\n\nBe kind."
        assert (said["model"], said["stream"], said["max_tokens"], said["temperature"]) == ("m", True, 7, 0.5)
        assert said["tools"] == [{"name": "get_weather", "description": "The weather.", "input_schema": SCHEMA}]
        assert said["tool_choice"] == {"type": "any"}

    def test_the_limit_it_demands_comes_from_the_settings(self) -> None:
        assert self.body()["max_tokens"] == 100

    @pytest.mark.parametrize(
        ("choice", "expected"),
        [("auto", {"type": "auto"}), ("none", {"type": "none"}), ("f", {"type": "tool", "name": "f"})],
    )
    def test_choices(self, choice: str, expected: object) -> None:
        assert self.body(tools=TOOLS, tool_choice=choice)["tool_choice"] == expected

    def test_an_image_by_its_address(self) -> None:
        said = self.body(UserMessage((Image("image/png", url="https://example.com/a.png"),)))
        assert said["messages"][0]["content"][0]["source"] == {"type": "url", "url": "https://example.com/a.png"}

    def test_thoughts_without_a_signature_and_empty_text_stay_here(self) -> None:
        said = self.body(UserMessage((Text("a"),)), AssistantMessage((Reasoning("hm"), Text(""), Text("b"))))
        assert said["messages"][1]["content"] == [{"type": "text", "text": "b"}]

    async def test_a_turn_that_paused_is_sent_back_as_it_was(self) -> None:
        paused = saying(transcripts.wire("anthropic", "pause_turn"))
        async with upstream(paused, saying(transcripts.wire("anthropic", "text"))) as server:
            model = make_provider(Settings(model_provider="anthropic", anthropic_base_url=server.url))
            ask = request(UserMessage((Text("search"),)), AssistantMessage((Text("Searching"),)))
            _ = [batch async for batch in model.stream(ask)]
        assert json.loads(server.requests[0].body)["messages"][-1]["role"] == "assistant"
