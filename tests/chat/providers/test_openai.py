"""Requests sent to OpenAI-compatible servers."""

import json
from typing import Any

import pytest

from tests.chat.providers.provider_helpers import PNG, SCHEMA, SETTINGS, TOOLS, request
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Image,
    Message,
    Reasoning,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UserMessage,
)
from winterbourne.chat.providers import openai
from winterbourne.chat.settings import Settings


class TestTheRequest:
    def body(self, *messages: Message, settings: Settings = SETTINGS, **options: Any) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(openai.build_request_body(request(*messages, **options), settings))
        return said

    def test_the_whole_history(self) -> None:
        assert self.body(system="Be brief.")["messages"] == [
            {"role": "system", "content": "Be brief.\n\nBe kind."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Weather in Paris and Lima?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                ],
            },
            {
                "role": "assistant",
                "content": "Let me see.",
                "tool_calls": [
                    {"id": call_id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
                    for call_id, arguments in (("a", '{"city":"Paris"}'), ("b", "{}"))
                ],
            },
            {"role": "tool", "tool_call_id": "a", "content": '{"c":21}'},
            {"role": "tool", "tool_call_id": "b", "content": "no city"},
            {"role": "user", "content": "And tomorrow?"},
        ]

    def test_it_streams_with_usage(self) -> None:
        said = self.body(temperature=0.0, max_tokens=7)
        assert (said["stream"], said["stream_options"]) == (True, {"include_usage": True})
        assert (said["model"], said["temperature"], said["max_tokens"]) == ("m", 0.0, 7)

    def test_openai_itself_wants_the_new_name_of_the_limit(self) -> None:
        said = json.loads(openai.build_request_body(request(max_tokens=7), SETTINGS, use_max_completion_tokens=True))
        assert said["max_completion_tokens"] == 7
        assert "max_tokens" not in said

    def test_what_is_not_set_is_not_sent(self) -> None:
        assert set(self.body()) == {"model", "messages", "stream", "stream_options"}

    def test_an_image_by_its_address(self) -> None:
        said = self.body(UserMessage((Image("image/png", url="https://example.com/a.png"),)))
        assert said["messages"][0]["content"][0]["image_url"] == {"url": "https://example.com/a.png"}

    @pytest.mark.parametrize(
        ("choice", "expected"),
        [
            ("auto", "auto"),
            ("none", "none"),
            ("required", "required"),
            ("get_weather", {"type": "function", "function": {"name": "get_weather"}}),
        ],
    )
    def test_tools_and_choice(self, choice: str, expected: object) -> None:
        said = self.body(tools=TOOLS, tool_choice=choice)
        function = {"name": "get_weather", "description": "The weather.", "parameters": SCHEMA}
        assert said["tools"] == [{"type": "function", "function": function}]
        assert said["tool_choice"] == expected

    def test_strict_tools_are_strict(self) -> None:
        said = self.body(tools=(ToolSchema("f", "", SCHEMA, strict=True),))
        assert said["tools"][0]["function"]["strict"] is True

    def test_the_requests_model_wins_and_extras_win_over_all(self) -> None:
        settings = Settings(model_id="m", model_extra_body='{"reasoning_effort":"low","stream_options":null}')
        said = self.body(settings=settings, model_id="other")
        assert (said["model"], said["reasoning_effort"]) == ("other", "low")
        assert "stream_options" not in said

    def test_arguments_go_back_as_the_model_wrote_them(self) -> None:
        call = AssistantMessage((ToolCall("a", "f", '{ "x" : 1.0 }'),))
        said = self.body(UserMessage((Text("x"),)), call, ToolMessage("a", "f", "1"))
        assert said["messages"][1]["content"] is None
        assert said["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{ "x" : 1.0 }'

    def test_a_turn_of_thoughts_alone_is_left_out(self) -> None:
        said = self.body(UserMessage((Text("x"),)), AssistantMessage((Reasoning("hm"),)))
        assert [message["role"] for message in said["messages"]] == ["user"]
