"""Anthropic provider: the requests it sends."""

import json
from typing import Any, Final

import msgspec
import pytest

from tests import transcripts
from tests.chat.providers.provider_helpers import PNG, SCHEMA, TOOLS, body_of, encoded, folded, request
from tests.upstream import saying, upstream
from winterbourne.chat.core.conversation import TurnParts
from winterbourne.chat.core.documents import PDF
from winterbourne.chat.core.events import ModelEvent, SourceCited, TextDelta, ToolCallReady, TurnEnded, Usage
from winterbourne.chat.core.history import NATIVE_SUMMARY, with_parts
from winterbourne.chat.core.messages import (
    AssistantMessage,
    AssistantPart,
    Document,
    Image,
    Message,
    Opaque,
    OutputSchema,
    Reasoning,
    Source,
    Text,
    UserMessage,
    UserPart,
)
from winterbourne.chat.providers import anthropic
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.providers.reasoning import BINDING_BETA
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

    def documents(self, *parts: UserPart, **options: Any) -> list[Any]:
        options = {"model_id": "claude-haiku-4-5", **options}
        return list(self.body(UserMessage(parts), **options)["messages"][0]["content"])

    def test_contains_documents_to_cite(self) -> None:
        pdf, page = Document(PDF, "a.pdf", "aGk="), Document(PDF, url="https://a")
        notes, unnamed = Document("text/csv", "a.csv", "YSxi"), Document("application/octet-stream", "b.pdf", "aGk=")
        data = {"type": "base64", "media_type": PDF, "data": "aGk="}
        text = {"type": "text", "media_type": "text/plain", "data": "a,b"}
        cites = {"citations": {"enabled": True}}
        assert self.documents(pdf, page, notes, unnamed) == [
            {"type": "document", "source": data, "title": "a.pdf", **cites},
            {"type": "document", "source": {"type": "url", "url": "https://a"}, **cites},
            {"type": "document", "source": text, "title": "a.csv", **cites},
            {"type": "document", "source": data, "title": "b.pdf", **cites},
        ]

    def test_asks_for_no_citations_beside_a_schema_or_of_a_model_without_them(self) -> None:
        pdf = Document(PDF, "a.pdf", "aGk=")
        for options in ({"output": OutputSchema(schema=SCHEMA)}, {"model_id": "claude-3-haiku-20240307"}):
            assert "citations" not in self.documents(pdf, **options)[0]

    def test_leaves_sources_out_and_sends_the_text_in_one_piece(self) -> None:
        cited = AssistantMessage((Text("High "), Source("s"), Text("\n"), Source("s"), Text("water.")))
        plain = AssistantMessage((Text("High \nwater."),))
        question = UserMessage((Text("When?"),))
        assert encoded(anthropic, request(question, cited)) == encoded(anthropic, request(question, plain))

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
                    {"type": "compaction", "input_tokens": 900, "output_tokens": 70}
                    | {"cache_read_input_tokens": 4000, "cache_creation_input_tokens": 30},
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

    async def test_has_it_beside_that_of_a_model_whose_thinking_is_bound(self) -> None:
        async with upstream(saying(transcripts.wire("anthropic", "text"))) as server:
            provider = self.provider("claude-sonnet-5-5", url=server.url)
            _ = [batch async for batch in provider.stream(request(self.QUESTION, compact_at=60_000))]
        assert server.requests[0].headers["anthropic-beta"] == f"{BINDING_BETA},compact-2026-01-12"

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
        assert ended.usage == Usage(4940, 75, cached=4000, cache_write=30)

    async def test_that_has_failed_leaves_no_trace(self) -> None:
        frames = (self.FRAMES[0], *self.FRAMES[2:])
        _, turn = await self.answer(frames)
        body = self.body(self.QUESTION, with_parts(turn, _without_origin), self.QUESTION)
        assert body["messages"][1]["content"] == [{"type": "text", "text": "At noon."}]

    @pytest.mark.parametrize(
        "fields", ["", "[]", "{}", '{"other":{}}', '{"compaction":5}', '{"compaction":{"content":{"type":"image"}}}']
    )
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


def sources(*citations: dict[str, Any], streamed: bool = True) -> list[Source]:
    """What comes of text that cites these."""
    start = {"type": "text", "text": "High water is at 6."}
    frames: list[dict[str, Any]] = [{"type": "content_block_start", "index": 0, "content_block": start}]
    if not streamed:
        block = {**start, "citations": citations}
        frames = [{"type": "message", "content": [block], "stop_reason": "end_turn"}]
    for citation in citations if streamed else ():
        delta = {"type": "citations_delta", "citation": citation}
        frames.append({"type": "content_block_delta", "index": 0, "delta": delta})
    events: list[ModelEvent] = []
    parser = anthropic.AnthropicParser()
    for frame in frames:
        events += parser.feed(f"data: {json.dumps(frame)}\n\n".encode())
    assert parser.failure is None
    assert isinstance(events[0], TextDelta)
    return [event.source for event in events if isinstance(event, SourceCited)]


PAGE = {"title": "T", "cited_text": "6:00"}
DOCUMENT = {"cited_text": "6:00", "document_index": 0, "document_title": "Tides"}
CITATIONS: list[tuple[dict[str, Any], str, str, str]] = [
    ({**DOCUMENT, "type": "char_location", "start_char_index": 0, "end_char_index": 4}, "", "Tides", "text/plain"),
    ({**DOCUMENT, "type": "page_location", "start_page_number": 1, "end_page_number": 2}, "", "Tides", PDF),
    ({**DOCUMENT, "type": "content_block_location", "document_title": None}, "", "", "text/plain"),
    ({**PAGE, "type": "search_result_location", "source": "https://a"}, "https://a", "T", ""),
    ({**PAGE, "type": "web_search_result_location", "url": "https://b"}, "https://b", "T", ""),
]


@pytest.mark.parametrize(("citation", "url", "title", "media_type"), CITATIONS)
@pytest.mark.parametrize("streamed", [True, False])
def test_each_kind_of_citation_is_a_source(
    citation: dict[str, Any], url: str, title: str, media_type: str, *, streamed: bool
) -> None:
    [source] = sources(citation, streamed=streamed)
    assert (source.url, source.title, source.media_type, source.cited_text) == (url, title, media_type, "6:00")


def test_one_source_has_one_id_and_others_have_others() -> None:
    other = {**CITATIONS[0][0], "document_index": 1}
    again = {**CITATIONS[0][0], "cited_text": "other words"}
    first, second, third = sources(CITATIONS[0][0], again, other)
    assert first.id == second.id != third.id
