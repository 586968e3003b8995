"""Bedrock provider: the requests it sends, and their signature."""

import asyncio
import base64
import hashlib
import json
from typing import Any

import boto3
import orjson
import pytest
from botocore.config import Config

from tests import transcripts
from tests.chat.providers.provider_helpers import PNG, SCHEMA, TOOLS, body_of, folded, request
from tests.upstream import saying, upstream
from winterbourne.chat.core.documents import DOCUMENT_TYPES, PDF
from winterbourne.chat.core.events import SourceCited
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Document,
    Image,
    Message,
    OutputSchema,
    Source,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
    UserPart,
)
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.providers import bedrock
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.providers.http_provider import fold_system_messages
from winterbourne.chat.settings import Settings

CLOSED = {**SCHEMA, "required": ["city"], "additionalProperties": False}


class TestRequest:
    def body(self, *messages: Message, **options: Any) -> dict[str, Any]:
        return body_of(bedrock, folded(*messages, **options))

    def test_contains_every_option_of_this_api(self) -> None:
        body = self.body(top_p=0.5, stop=("END",))
        assert body["inferenceConfig"].items() >= {"topP": 0.5, "stopSequences": ["END"]}.items()

    def test_constrains_the_output_of_models_that_can_be(self) -> None:
        """By a schema that is a string."""
        output = OutputSchema(schema=CLOSED)
        told = self.body(output=output, model_id="eu.anthropic.claude-haiku-4-5-20251001-v1:0")["outputConfig"]
        assert told["textFormat"]["type"] == "json_schema"
        assert orjson.loads(told["textFormat"]["structure"]["jsonSchema"]["schema"]) == output.schema
        for model in ("amazon.nova-pro-v1:0", "anthropic.claude-opus-4-1-20250805-v1:0", "anthropic.claude-fable-5"):
            body = self.body(output=output, model_id=model)
            assert "outputConfig" not in body
            assert '"city"' in body["system"][0]["text"]

    def test_contains_the_whole_history(self) -> None:
        body = self.body()
        assert body["system"] == [{"text": "Be kind."}]
        assert body["messages"] == [
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

    def documents(self, *parts: UserPart, **options: Any) -> list[Any]:
        return list(self.body(UserMessage(parts), **options)["messages"][0]["content"])

    @pytest.mark.parametrize(("media_type", "ending"), DOCUMENT_TYPES.items())
    def test_contains_a_document_of_each_kind(self, media_type: str, ending: str) -> None:
        document = {"format": ending, "name": "plan", "source": {"bytes": "aGk="}}
        assert self.documents(Document(media_type, f"plan.{ending}", "aGk="), Text("?")) == [
            {"document": document},
            {"text": "?"},
        ]

    @pytest.mark.parametrize(
        ("name", "sent"),
        [
            ("a.b_c  d.pdf", "a b c d"),
            ("Plan (2) [x]-y", "Plan (2) [x]-y"),
            ("отчёт.pdf", "document"),
            ("", "document"),
            ("x" * 300, "x" * 190),
        ],
    )
    def test_a_documents_name_has_the_signs_that_are_allowed(self, name: str, sent: str) -> None:
        assert self.documents(Document("text/csv", name, "aGk="), Text("?"))[0]["document"]["name"] == sent

    def test_the_names_of_documents_differ(self) -> None:
        names = ("a.pdf", "a (2)", "a", "a")
        blocks = self.documents(*(Document("text/csv", name, "aGk=") for name in names), Text("?"))
        sent = [block["document"]["name"] for block in blocks if "document" in block]
        assert sent == ["a", "a (2)", "a (3)", "a (4)"]

    def test_a_document_has_text_beside_it_and_no_result(self) -> None:
        call, result = AssistantMessage((ToolCall("a", "f", "{}"),)), ToolMessage("a", "f", "1")
        question = UserMessage((Document("text/csv", "a", "aGk="),))
        messages = self.body(UserMessage((Text("?"),)), call, result, question)["messages"]
        assert [(m["role"], [next(iter(block)) for block in m["content"]]) for m in messages] == [
            ("user", ["text"]),
            ("assistant", ["toolUse"]),
            ("user", ["toolResult"]),
            ("assistant", ["text"]),
            ("user", ["document", "text"]),
        ]

    def test_asks_claude_alone_for_citations_and_not_beside_a_schema(self) -> None:
        document, claude = Document("text/csv", "a", "aGk="), "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
        cited = self.documents(document, model_id=claude)[0]["document"]
        assert cited["citations"] == {"enabled": True}
        schema = OutputSchema(schema=SCHEMA)
        assert "citations" not in self.documents(document, model_id=claude, output=schema)[0]["document"]
        assert "citations" not in self.documents(document, model_id="amazon.nova-lite-v1:0")[0]["document"]

    def test_contains_the_options(self) -> None:
        body = self.body(temperature=0.5, max_tokens=7, tools=TOOLS, tool_choice="get_weather")
        assert body["inferenceConfig"] == {"maxTokens": 7, "temperature": 0.5}
        spec = {"name": "get_weather", "description": "The weather.", "inputSchema": {"json": SCHEMA}}
        assert body["toolConfig"] == {"tools": [{"toolSpec": spec}], "toolChoice": {"tool": {"name": "get_weather"}}}

    def test_tool_choice_none_leaves_out_the_tools(self) -> None:
        assert "toolConfig" not in self.body(UserMessage((Text("hi"),)), tools=TOOLS, tool_choice="none")

    def test_a_history_with_calls_keeps_the_tools(self) -> None:
        assert "toolConfig" in self.body(tools=TOOLS, tool_choice="none")

    def test_an_image_by_its_url_that_was_stored_under_another_provider_is_a_line(self) -> None:
        body = self.body(UserMessage((Image("image/png", url="https://example.com/a.png"),)))
        assert body["messages"][0]["content"] == [{"text": "[an image that cannot be shown to this model]"}]

    async def test_equals_the_request_of_boto3(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        model_id = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/eu.model-v1:0"
        async with upstream(saying(transcripts.wire("bedrock", "text"))) as server:
            settings = Settings.of(model_provider="bedrock", bedrock_base_url=server.url, aws_region="us-east-1")
            model_request = request(model_id=model_id, max_tokens=7, tools=TOOLS)
            _ = [batch async for batch in make_provider(settings.model).stream(model_request)]
            await asyncio.to_thread(self._send_with_boto3, server.url, model_id, model_request)
        ours, theirs = server.requests
        assert ours.head == theirs.head
        assert json.loads(ours.body) == json.loads(theirs.body)
        assert _signed_by(ours.headers["authorization"]) == _signed_by(theirs.headers["authorization"])

    def _send_with_boto3(self, url: str, model_id: str, model_request: ModelRequest) -> None:
        config = Config(retries={"total_max_attempts": 1})
        client: Any = boto3.client("bedrock-runtime", endpoint_url=url, region_name="us-east-1", config=config)
        body = body_of(bedrock, fold_system_messages(model_request))
        body["messages"][0]["content"][1]["image"]["source"]["bytes"] = base64.b64decode(PNG)
        body["messages"][1]["content"][1]["reasoningContent"]["redactedContent"] = b"opaque"
        client.converse_stream(modelId=model_id, **body)["stream"].close()
        client.close()

    async def test_an_api_key_needs_no_signature(self) -> None:
        async with upstream(saying(transcripts.wire("bedrock", "text"))) as server:
            settings = Settings.of(
                model_provider="bedrock", bedrock_base_url=server.url, aws_bearer_token_bedrock="key"
            )
            _ = [batch async for batch in make_provider(settings.model).stream(request())]
        assert server.requests[0].headers["authorization"] == "Bearer key"

    def test_the_bedrock_region_overrides_the_aws_region(self) -> None:
        settings = Settings.of(model_provider="bedrock", aws_region="eu-west-1", bedrock_region="us-west-2")
        assert vars(make_provider(settings.model))["_base_url"] == "https://bedrock-runtime.us-west-2.amazonaws.com"


def _signed_by(authorization: str) -> tuple[str, str]:
    scheme, credential, *_ = authorization.split(" ")
    return scheme, credential.rpartition("/aws4_request")[0].partition("/")[2].partition("/")[2]


CONTENT = {"title": "Tides", "sourceContent": [{"text": "6:"}, {"text": "00"}]}


@pytest.mark.parametrize(
    ("citation", "url", "media_type"),
    [
        ({**CONTENT, "location": {"documentPage": {"documentIndex": 1, "start": 1, "end": 2}}}, "", PDF),
        ({**CONTENT, "location": {"documentChar": {"documentIndex": 1, "start": 0, "end": 4}}}, "", "text/plain"),
        ({**CONTENT, "location": {"documentChunk": {"documentIndex": 1, "start": 0, "end": 1}}}, "", "text/plain"),
        ({**CONTENT, "location": {"web": {"url": "https://a", "domain": "a"}}}, "https://a", ""),
        ({**CONTENT, "source": None, "location": {"documentPage": {"documentIndex": 1}}}, "", PDF),
        ({**CONTENT, "source": None, "location": {"odd": None}}, "", "text/plain"),
        (
            {**CONTENT, "source": "https://b", "location": {"searchResultLocation": {"searchResultIndex": 0}}},
            "https://b",
            "",
        ),
    ],
)
def test_each_kind_of_citation_is_a_source(citation: dict[str, Any], url: str, media_type: str) -> None:
    fields = {"contentBlockIndex": 0, "delta": {"citation": citation}}
    [event] = bedrock.BedrockParser().feed(transcripts.event_stream_message("contentBlockDelta", fields))
    assert isinstance(event, SourceCited)
    assert event.source == Source(event.source.id, url, "Tides", media_type, "6:00")


async def test_a_large_document_is_signed_by_its_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-these-tests")
    data = base64.b64encode(b"%PDF-1.7\n" * 10_000).decode()
    async with upstream(saying(transcripts.wire("bedrock", "text"))) as server:
        options = {"bedrock_base_url": server.url, "bedrock_region": "eu-west-1", "model_provider": "bedrock"}
        provider = make_provider(Settings.of(**options).model)
        async for _ in provider.stream(request(UserMessage((Document(PDF, "a.pdf", data), Text("?"))))):
            pass
    [sent] = server.requests
    assert json.loads(sent.body)["messages"][0]["content"][0]["document"]["source"] == {"bytes": data}
    assert sent.headers["x-amz-content-sha256"] == hashlib.sha256(sent.body).hexdigest()
    assert "x-amz-content-sha256" in sent.headers["authorization"]
