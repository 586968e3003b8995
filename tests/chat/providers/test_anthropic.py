"""Anthropic provider: the requests it sends."""

import json
from typing import Any, Final

import msgspec
import pytest

from tests import transcripts
from tests.chat.providers.provider_helpers import PNG, SCHEMA, TOOLS, body_of, folded, request
from tests.upstream import saying, upstream
from winterbourne.chat.core.conversation import TurnParts
from winterbourne.chat.core.events import ToolCallReady, TurnEnded, Usage
from winterbourne.chat.core.history import NATIVE_SUMMARY, with_parts
from winterbourne.chat.core.messages import (
    AssistantMessage,
    AssistantPart,
    Image,
    Message,
    Opaque,
    Reasoning,
    Text,
    UserMessage,
)
from winterbourne.chat.providers import anthropic
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.settings import Settings


class TestRequest:
    def body(self, *messages: Message, **options: Any) -> dict[str, Any]:
        return body_of(anthropic, folded(*messages, **options))

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


class TestCompaction:
    """https://platform.claude.com/docs/en/build-with-claude/compaction-threshold."""

    FRAMES = (
        {"type": "content_block_start", "index": 0, "content_block": {"type": "compaction", "content": None}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "compaction_delta", "content": "They sail.", "encrypted_content": "e30="},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "At noon."}},
        {"type": "content_block_stop", "index": 1},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {
                "input_tokens": 10,
                "output_tokens": 5,
                "iterations": [
                    {"type": "compaction", "input_tokens": 900, "output_tokens": 70},
                    {"type": "message", "input_tokens": 10, "output_tokens": 5},
                ],
            },
        },
        {"type": "message_stop"},
    )
    BLOCK: Final = {"type": "compaction", "content": "They sail.", "encrypted_content": "e30="}
    QUESTION = UserMessage((Text("When?"),))

    def provider(self, model_id: str = "claude-sonnet-5", url: str = "https://api.anthropic.com") -> Any:
        values = {"model_provider": "anthropic", "anthropic_api_key": "k", "model_id": model_id}
        return make_provider(Settings.of(**values, anthropic_base_url=url).model)

    def body(self, *messages: Message, **options: Any) -> Any:
        return json.loads(self.provider().encode(request(*messages, **options))[1])

    async def answer(self, frames: Any = FRAMES) -> tuple[TurnEnded, AssistantMessage]:
        """How the turn ended, and the message that it has become."""
        parts, wire = TurnParts(), "".join(f"data: {json.dumps(frame)}\n\n" for frame in frames).encode()
        async with upstream(saying(wire)) as server:
            batches = self.provider(url=server.url).stream(request(self.QUESTION, compact_at=60_000))
            events = [event async for batch in batches for event in batch]
        for event in events:
            parts.add(event)
        assert isinstance(events[-1], TurnEnded)
        return events[-1], AssistantMessage(parts.finish())

    @pytest.mark.parametrize(("tokens", "trigger"), [(60_000, 60_000), (9, 50_000)])
    def test_is_asked_for_from_a_number_of_tokens_on(self, tokens: int, trigger: int) -> None:
        body = self.body(self.QUESTION, compact_at=tokens)
        edit = {"type": "compact_20260112", "trigger": {"type": "input_tokens", "value": trigger}}
        assert body["context_management"] == {"edits": [edit]}
        assert "context_management" not in self.body(self.QUESTION)

    async def test_has_the_header_of_its_beta(self) -> None:
        async with upstream(saying(transcripts.wire("anthropic", "text"))) as server:
            provider = self.provider(url=server.url)
            for tokens in (0, 60_000):
                _ = [batch async for batch in provider.stream(request(self.QUESTION, compact_at=tokens))]
        assert [each.headers.get("anthropic-beta") for each in server.requests] == [None, "compact-2026-01-12"]

    async def test_comes_as_a_part_that_goes_back_in_place_of_what_was_before(self) -> None:
        _, turn = await self.answer()
        assert [type(part) for part in turn.parts] == [Reasoning, Text]
        before = (self.QUESTION, AssistantMessage((Text("Soon."),)), self.QUESTION)
        without_origin = with_parts(turn, _without_origin)
        body = self.body(*before, without_origin, self.QUESTION)
        assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
        assert body["messages"][1]["content"] == [self.BLOCK, {"type": "text", "text": "At noon."}]
        assert body["context_management"]
        assert "Soon." not in json.dumps(body)

    async def test_counts_as_tokens_of_the_turn(self) -> None:
        ended, _ = await self.answer()
        assert ended.usage == Usage(910, 75)

    async def test_that_has_failed_leaves_no_trace(self) -> None:
        frames = (self.FRAMES[0], *self.FRAMES[2:])
        _, turn = await self.answer(frames)
        body = self.body(self.QUESTION, with_parts(turn, _without_origin), self.QUESTION)
        assert body["messages"][1]["content"] == [{"type": "text", "text": "At noon."}]

    @pytest.mark.parametrize("fields", ["", "[]", '{"compaction":5}', '{"compaction":{"content":{"type":"image"}}}'])
    def test_that_a_client_has_made_up_adds_nothing_but_text(self, fields: str) -> None:
        made_up = Reasoning("", opaque=Opaque(field=NATIVE_SUMMARY, fields=fields))
        body = self.body(self.QUESTION, AssistantMessage((made_up, Text("Soon."))), self.QUESTION)
        assert body["messages"][-2]["content"] == [{"type": "text", "text": "Soon."}]

    @pytest.mark.parametrize(
        ("model_id", "compacts"),
        [("claude-sonnet-5", True), ("claude-opus-5-5", True), ("claude-opus-4-6", True), ("claude-haiku-4-5", False)],
    )
    def test_is_what_newer_models_do(self, model_id: str, compacts: bool) -> None:  # noqa: FBT001
        assert self.provider(model_id).capabilities("").compacts is compacts
        assert self.provider().capabilities(model_id).compacts is compacts

    def test_is_what_other_servers_may_not_know(self) -> None:
        assert not self.provider(url="https://claude.example.com").capabilities("").compacts


def _without_origin(part: AssistantPart) -> AssistantPart:
    """The part as if this server had made it."""
    if isinstance(part, Reasoning) and part.opaque:
        return msgspec.structs.replace(part, opaque=msgspec.structs.replace(part.opaque, origin=""))
    return part


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
