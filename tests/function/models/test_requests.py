"""What each provider is sent: the history, the tools, images and options in its own shape."""

import asyncio
import base64
import json
from typing import Any

import boto3
import pytest
from botocore.config import Config

from chat.errors import ModelRefused
from chat.messages import (
    AssistantMessage,
    Image,
    Message,
    Reasoning,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UserMessage,
)
from chat.models import anthropic, bedrock, openai
from chat.models.base import ModelRequest
from chat.models.registry import make_model
from chat.settings import Settings
from tests import transcripts
from tests.upstream import saying, upstream

SETTINGS = Settings(model_id="m", model_max_tokens=100)
SCHEMA: dict[str, object] = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = (ToolSchema("get_weather", "The weather.", SCHEMA),)
PNG = base64.b64encode(b"png").decode()
TALK: tuple[Message, ...] = (
    SystemMessage("Be kind."),
    UserMessage((Text("Weather in Paris and Lima?"), Image("image/png", data=PNG))),
    AssistantMessage(
        (
            Reasoning("Two cities.", signature="sig"),
            Reasoning("", redacted="b3BhcXVl"),
            Text("Let me see."),
            ToolCall("a", "get_weather", '{"city":"Paris"}'),
            ToolCall("b", "get_weather", ""),
        )
    ),
    ToolMessage("a", "get_weather", '{"c":21}'),
    ToolMessage("b", "get_weather", "no city", is_error=True),
    UserMessage((Text("And tomorrow?"),)),
)


def request(*messages: Message, **options: Any) -> ModelRequest:
    return ModelRequest(messages=messages or TALK, **options)


class TestOpenAI:
    def body(self, *messages: Message, settings: Settings = SETTINGS, **options: Any) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(openai.body(request(*messages, **options), settings))
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
        said = json.loads(openai.body(request(max_tokens=7), SETTINGS, new_names=True))
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


class TestAnthropic:
    def body(self, *messages: Message, **options: Any) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(anthropic.body(request(*messages, **options), SETTINGS))
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
            model = make_model(Settings(model_provider="anthropic", anthropic_base_url=server.url))
            ask = request(UserMessage((Text("search"),)), AssistantMessage((Text("Searching"),)))
            _ = [batch async for batch in model.stream(ask)]
        assert json.loads(server.requests[0].body)["messages"][-1]["role"] == "assistant"


class TestBedrock:
    def body(self, *messages: Message, **options: Any) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(bedrock.body(request(*messages, **options), SETTINGS))
        return said

    def test_the_whole_history(self) -> None:
        said = self.body()
        assert said["system"] == [{"text": "Be kind."}]
        assert said["messages"] == [
            {
                "role": "user",
                "content": [
                    {"text": "Weather in Paris and Lima?"},
                    {"image": {"format": "png", "source": {"bytes": PNG}}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": "Two cities.", "signature": "sig"}}},
                    {"reasoningContent": {"redactedContent": "b3BhcXVl"}},
                    {"text": "Let me see."},
                    {"toolUse": {"toolUseId": "a", "name": "get_weather", "input": {"city": "Paris"}}},
                    {"toolUse": {"toolUseId": "b", "name": "get_weather", "input": {}}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"toolResult": {"toolUseId": "a", "content": [{"text": '{"c":21}'}], "status": "success"}},
                    {"toolResult": {"toolUseId": "b", "content": [{"text": "no city"}], "status": "error"}},
                    {"text": "And tomorrow?"},
                ],
            },
        ]

    def test_options(self) -> None:
        said = self.body(temperature=0.5, max_tokens=7, tools=TOOLS, tool_choice="get_weather")
        assert said["inferenceConfig"] == {"maxTokens": 7, "temperature": 0.5}
        spec = {"name": "get_weather", "description": "The weather.", "inputSchema": {"json": SCHEMA}}
        assert said["toolConfig"] == {"tools": [{"toolSpec": spec}], "toolChoice": {"tool": {"name": "get_weather"}}}

    def test_without_a_way_to_say_none_the_tools_are_left_out(self) -> None:
        assert "toolConfig" not in self.body(UserMessage((Text("hi"),)), tools=TOOLS, tool_choice="none")

    def test_a_history_with_calls_needs_its_tools(self) -> None:
        assert "toolConfig" in self.body(tools=TOOLS, tool_choice="none")

    def test_an_image_by_its_address_is_refused_with_a_reason(self) -> None:
        with pytest.raises(ModelRefused, match="not by their URL"):
            self.body(UserMessage((Image("image/png", url="https://example.com/a.png"),)))

    async def test_amazons_own_client_sends_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        model_id = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/eu.model-v1:0"
        async with upstream(saying(transcripts.wire("bedrock", "text"))) as server:
            settings = Settings(model_provider="bedrock", bedrock_base_url=server.url, aws_region="us-east-1")
            ask = request(model_id=model_id, max_tokens=7, tools=TOOLS)
            _ = [batch async for batch in make_model(settings).stream(ask)]
            await asyncio.to_thread(self._ask_with_boto3, server.url, model_id, ask)
        ours, theirs = server.requests
        assert ours.head == theirs.head
        assert json.loads(ours.body) == json.loads(theirs.body)
        assert _signed_by(ours.headers["authorization"]) == _signed_by(theirs.headers["authorization"])

    def _ask_with_boto3(self, url: str, model_id: str, ask: ModelRequest) -> None:
        config = Config(retries={"total_max_attempts": 1})
        client: Any = boto3.client("bedrock-runtime", endpoint_url=url, region_name="us-east-1", config=config)
        said = json.loads(bedrock.body(ask, SETTINGS))
        said["messages"][0]["content"][1]["image"]["source"]["bytes"] = base64.b64decode(PNG)
        said["messages"][1]["content"][1]["reasoningContent"]["redactedContent"] = b"opaque"
        client.converse_stream(modelId=model_id, **said)["stream"].close()
        client.close()

    async def test_an_api_key_needs_no_signature(self) -> None:
        async with upstream(saying(transcripts.wire("bedrock", "text"))) as server:
            settings = Settings(model_provider="bedrock", bedrock_base_url=server.url, aws_bearer_token_bedrock="key")
            _ = [batch async for batch in make_model(settings).stream(request())]
        assert server.requests[0].headers["authorization"] == "Bearer key"

    def test_the_region_is_the_models_own_where_it_is_set(self) -> None:
        settings = Settings(model_provider="bedrock", aws_region="eu-west-1", bedrock_region="us-west-2")
        assert vars(make_model(settings))["_base_url"] == "https://bedrock-runtime.us-west-2.amazonaws.com"


def _signed_by(authorization: str) -> tuple[str, str]:
    scheme, credential, *_ = authorization.split(" ")
    return scheme, credential.rpartition("/aws4_request")[0].partition("/")[2].partition("/")[2]


@pytest.mark.parametrize("module", [openai, anthropic, bedrock])
class TestHistoriesWithFaults:
    def sent(self, module: Any, *messages: Message) -> str:
        body: bytes = module.body(request(*messages), SETTINGS)
        return body.decode()

    def test_a_call_without_a_result_gets_one(self, module: Any) -> None:
        call = AssistantMessage((ToolCall("a", "f", "{}"),), incomplete=True)
        assert "there is no result" in self.sent(module, UserMessage((Text("x"),)), call, UserMessage((Text("y"),)))

    def test_a_result_without_a_call_is_left_out(self, module: Any) -> None:
        assert "orphan" not in self.sent(module, UserMessage((Text("x"),)), ToolMessage("z", "f", "orphan"))

    def test_broken_arguments_go_back_as_an_object(self, module: Any) -> None:
        call = AssistantMessage((ToolCall("a", "f", '{"x":'),))
        sent = self.sent(module, UserMessage((Text("x"),)), call, ToolMessage("a", "f", "bad", is_error=True))
        assert "broken_arguments" in sent
