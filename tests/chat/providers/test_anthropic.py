"""Anthropic provider: the requests it sends."""

import json
from typing import Any

import pytest

from tests import transcripts
from tests.chat.providers.provider_helpers import PNG, SCHEMA, TOOLS, body_of, folded, request
from tests.upstream import saying, upstream
from winterbourne.chat.core.events import ToolCallReady
from winterbourne.chat.core.messages import AssistantMessage, Image, Message, OutputSchema, Reasoning, Text, UserMessage
from winterbourne.chat.providers import anthropic
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.settings import Settings

CLOSED = {**SCHEMA, "required": ["city"], "additionalProperties": False}


class TestRequest:
    def body(self, *messages: Message, **options: Any) -> dict[str, Any]:
        return body_of(anthropic, folded(*messages, **options))

    def test_contains_every_option_of_this_api(self) -> None:
        body = self.body(top_p=0.5, stop=("END",), parallel_tool_calls=False, tools=TOOLS)
        assert (body["top_p"], body["stop_sequences"]) == (0.5, ["END"])
        assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}

    def test_constrains_the_output_of_models_that_can_be(self) -> None:
        output = OutputSchema(schema=CLOSED)
        config = {"format": {"type": "json_schema", "schema": CLOSED}}
        for model in ("claude-haiku-4-5", "claude-opus-4-1-20250805", "claude-sonnet-5-5", "claude-fable-5"):
            assert self.body(output=output, model_id=model)["output_config"] == config
        for model in ("claude-3-5-sonnet-latest", "claude-sonnet-4-20250514", "claude-opus-4-0"):
            body = self.body(output=output, model_id=model)
            assert "output_config" not in body
            assert '"city"' in body["system"]

    def test_keeps_the_effort_beside_the_outputs_schema(self) -> None:
        output, extra = OutputSchema(schema=CLOSED), {"effort": "low"}
        asked = request(output=output, model_id="claude-opus-4-6")
        body = body_of(anthropic, asked, extra_body={"output_config": extra})
        assert body["output_config"].keys() == {"effort", "format"}

    def test_contains_the_whole_history(self) -> None:
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

    def test_contains_the_options(self) -> None:
        body = self.body(system="Be brief.", temperature=0.5, max_tokens=7, tools=TOOLS, tool_choice="required")
        assert body["system"] == "Be brief.\n\nBe kind."
        assert (body["model"], body["stream"], body["max_tokens"], body["temperature"]) == ("m", True, 7, 0.5)
        assert body["tools"] == [{"name": "get_weather", "description": "The weather.", "input_schema": SCHEMA}]
        assert body["tool_choice"] == {"type": "any"}

    def test_max_tokens_defaults_to_the_setting(self) -> None:
        assert self.body()["max_tokens"] == 100

    @pytest.mark.parametrize(
        ("choice", "expected"),
        [("auto", {"type": "auto"}), ("none", {"type": "none"}), ("f", {"type": "tool", "name": "f"})],
    )
    def test_contains_the_tool_choice(self, choice: str, expected: object) -> None:
        assert self.body(tools=TOOLS, tool_choice=choice)["tool_choice"] == expected

    def test_contains_an_image_by_its_url(self) -> None:
        body = self.body(UserMessage((Image("image/png", url="https://example.com/a.png"),)))
        assert body["messages"][0]["content"][0]["source"] == {"type": "url", "url": "https://example.com/a.png"}

    def test_omits_unsigned_reasoning_and_empty_text(self) -> None:
        body = self.body(UserMessage((Text("a"),)), AssistantMessage((Reasoning("hm"), Text(""), Text("b"))))
        assert body["messages"][1]["content"] == [{"type": "text", "text": "b"}]

    async def test_ends_with_the_turn_that_paused(self) -> None:
        paused = saying(transcripts.wire("anthropic", "pause_turn"))
        async with upstream(paused, saying(transcripts.wire("anthropic", "text"))) as server:
            provider = make_provider(Settings.of(model_provider="anthropic", anthropic_base_url=server.url).model)
            model_request = request(UserMessage((Text("search"),)), AssistantMessage((Text("Searching"),)))
            _ = [batch async for batch in provider.stream(model_request)]
        assert json.loads(server.requests[0].body)["messages"][-1]["role"] == "assistant"


@pytest.mark.parametrize("delta_type", ["input_json_delta", "", "json_delta"])
@pytest.mark.parametrize("arguments", [{"city": "Lima"}, '{"city":"Lima"}'])
def test_arguments_are_read_as_an_object_and_whatever_the_delta_is_called(delta_type: str, arguments: object) -> None:
    block = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
    frames = [
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": {"type": delta_type, "partial_json": arguments}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
        {"type": "message_stop"},
    ]
    events = anthropic.AnthropicParser().feed("".join(f"data: {json.dumps(frame)}\n\n" for frame in frames).encode())
    assert ToolCallReady("t1", "look", '{"city":"Lima"}') in events
