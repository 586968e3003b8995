"""OpenAI provider: the requests it sends to OpenAI-compatible servers."""

from typing import Any

import pytest

from tests.chat.providers.provider_helpers import PNG, SCHEMA, TOOLS, body_of, folded, request
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Document,
    Image,
    Message,
    OutputSchema,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from winterbourne.chat.providers import openai
from winterbourne.chat.settings import ModelSettings

CLOSED = {**SCHEMA, "required": ["city"], "additionalProperties": False}


class TestRequest:
    def body(self, *messages: Message, extra: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        return body_of(openai, folded(*messages, **options), extra_body=extra or {})

    def test_contains_the_whole_history(self) -> None:
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

    def test_streams_with_usage(self) -> None:
        body = self.body(temperature=0.0, max_tokens=7)
        assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})
        assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0.0, 7)

    def test_to_openai_itself_has_max_completion_tokens(self) -> None:
        body = body_of(openai, request(max_tokens=7), ModelSettings(openai_api="chat"))
        assert body["max_completion_tokens"] == 7
        assert "max_tokens" not in body

    def test_omits_what_is_not_set(self) -> None:
        assert set(self.body()) == {"model", "messages", "stream", "stream_options"}

    def test_contains_every_option(self) -> None:
        options: dict[str, Any] = {"top_p": 0.5, "seed": 1, "presence_penalty": 0.1, "frequency_penalty": 0.2}
        body = self.body(**options, stop=("END",), parallel_tool_calls=False, tools=TOOLS)
        assert body.items() >= {**options, "stop": ["END"], "parallel_tool_calls": False}.items()

    def test_has_the_seed_under_the_name_that_mistral_gives_it(self) -> None:
        settings = ModelSettings(openai_base_url="https://api.mistral.ai/v1", openai_api_key="k")
        body = body_of(openai, request(seed=1), settings)
        assert body["random_seed"] == 1
        assert "seed" not in body

    def test_says_nothing_of_parallel_calls_without_tools(self) -> None:
        assert "parallel_tool_calls" not in self.body(parallel_tool_calls=False)

    def test_constrains_the_output_at_openai_itself_only(self) -> None:
        output = OutputSchema(schema=CLOSED, name="place", strict=True)
        described = {"name": "place", "schema": CLOSED, "strict": True}
        body = body_of(openai, request(output=output), ModelSettings(openai_api="chat"))
        assert body["response_format"] == {"type": "json_schema", "json_schema": described}
        elsewhere = self.body(output=output)
        assert "response_format" not in elsewhere
        assert '"city"' in elsewhere["messages"][0]["content"]

    def test_asks_openai_for_any_object_with_the_word_that_it_demands(self) -> None:
        body = body_of(openai, request(output=OutputSchema()), ModelSettings(openai_api="chat"))
        assert body["response_format"] == {"type": "json_object"}
        assert "JSON" in body["messages"][0]["content"]

    def test_contains_an_image_by_its_url(self) -> None:
        body = self.body(UserMessage((Image("image/png", url="https://example.com/a.png"),)))
        assert body["messages"][0]["content"][0]["image_url"] == {"url": "https://example.com/a.png"}

    @pytest.mark.parametrize(
        ("choice", "expected"),
        [
            ("auto", "auto"),
            ("none", "none"),
            ("required", "required"),
            ("get_weather", {"type": "function", "function": {"name": "get_weather"}}),
        ],
    )
    def test_contains_the_tools_and_the_tool_choice(self, choice: str, expected: object) -> None:
        body = self.body(tools=TOOLS, tool_choice=choice)
        function = {"name": "get_weather", "description": "The weather.", "parameters": SCHEMA}
        assert body["tools"] == [{"type": "function", "function": function}]
        assert body["tool_choice"] == expected

    def test_model_of_the_request_overrides_the_settings_and_the_extra_body_overrides_all(self) -> None:
        body = self.body(extra={"reasoning_effort": "low", "stream_options": None}, model_id="other")
        assert (body["model"], body["reasoning_effort"]) == ("other", "low")
        assert "stream_options" not in body

    def test_returns_arguments_as_the_model_wrote_them(self) -> None:
        call = AssistantMessage((ToolCall("a", "f", '{ "x" : 1.0 }'),))
        body = self.body(UserMessage((Text("x"),)), call, ToolMessage("a", "f", "1"))
        assert body["messages"][1]["content"] is None
        assert body["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{ "x" : 1.0 }'


def test_a_document_by_url_is_a_line_where_responses_are_not_asked() -> None:
    """Chat Completions has no place for its URL, and an option such as `stop` leads there."""
    asked = UserMessage((Text("Read it."), Document("application/pdf", "a.pdf", url="https://example.com/a.pdf")))
    parts = body_of(openai, request(asked, stop=("END",)), ModelSettings())["messages"][0]["content"]
    assert [part["text"] for part in parts] == ["Read it.", "[a PDF, a.pdf, that cannot be shown to this model]"]
