"""OpenAI by its Responses API: what is sent, what comes back with a history, and when Chat Completions are asked."""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import transcripts
from tests.chat.providers.provider_helpers import (
    HELLO,
    PNG,
    SCHEMA,
    TEXT,
    TOOLS,
    collect_events,
    failure,
    folded,
    openai_provider,
    request,
    text,
)
from tests.upstream import Exchange, Script, failing, saying, upstream
from winterbourne.chat.core.capabilities import BASIC_OPTIONS
from winterbourne.chat.core.conversation import TurnParts
from winterbourne.chat.core.events import SourceCited, TurnEnded
from winterbourne.chat.core.messages import (
    AssistantMessage,
    AssistantPart,
    Document,
    Image,
    Message,
    Opaque,
    OutputSchema,
    Reasoning,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from winterbourne.chat.core.provider import capabilities_of
from winterbourne.chat.errors import ModelInputTooLong, ModelMisconfigured, ModelStreamTruncated
from winterbourne.chat.providers import openai
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.providers.lessons import refused_for
from winterbourne.chat.providers.openai_responses import ResponsesParser
from winterbourne.chat.settings import ModelSettings, Settings

ANSWER = transcripts.wire("openai_responses", "text")
ASKED = UserMessage((Text("Well?"),))


def path_and_body(
    *messages: Message, extra: dict[str, Any] | None = None, learned: Any = (), **options: Any
) -> tuple[str, dict[str, Any]]:
    settings = ModelSettings(
        model_id="m", openai_api="responses", openai_api_key="k", model_extra_body=json.dumps(extra or {})
    )
    path, body = openai.make(settings).encode(folded(*messages, **options), dict.fromkeys(learned))
    return path, orjson.loads(body)


def body(*messages: Message, **options: Any) -> dict[str, Any]:
    return path_and_body(*messages, **options)[1]


def turn_items(*parts: AssistantPart) -> list[dict[str, Any]]:
    """The items of one turn, between a question and the results of its calls."""
    turn = AssistantMessage(parts)
    results = (ToolMessage(call.id, call.name, "1") for call in turn.tool_calls)
    _, *items = body(ASKED, turn, *results)["input"]
    return [item for item in items if item.get("type") != "function_call_output"]


def carrying(**fields: Any) -> Reasoning:
    return Reasoning("", opaque=Opaque(fields=json.dumps(fields)))


def thought(encrypted: str) -> dict[str, Any]:
    summary = [{"type": "summary_text", "text": "Hm."}]
    return {"type": "reasoning", "summary": summary, "encrypted_content": encrypted}


STRICT = {**SCHEMA, "required": ["city"], "additionalProperties": False}


class TestRequest:
    def test_contains_the_whole_history_and_keeps_nothing_at_openai(self) -> None:
        path, sent = path_and_body(system="Be brief.")
        assert path == "/responses"
        assert (sent["store"], sent["include"]) == (False, ["reasoning.encrypted_content"])
        assert sent["instructions"] == "Be brief.\n\nBe kind."
        image = {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{PNG}"}
        calls = (("a", '{"city":"Paris"}'), ("b", "{}"))
        assert sent["input"] == [
            {"role": "user", "content": [{"type": "input_text", "text": "Weather in Paris and Lima?"}, image]},
            {"role": "assistant", "content": "Let me see."},
            *({"type": "function_call", "call_id": i, "name": "get_weather", "arguments": a} for i, a in calls),
            {"type": "function_call_output", "call_id": "a", "output": '{"c":21}'},
            {"type": "function_call_output", "call_id": "b", "output": "no city"},
            {"role": "user", "content": [{"type": "input_text", "text": "And tomorrow?"}]},
        ]

    def test_omits_what_is_not_set(self) -> None:
        assert set(body(ASKED)) == {"model", "input", "stream", "store", "include"}

    def test_contains_the_options_that_are_set(self) -> None:
        sent = body(ASKED, temperature=0.0, top_p=0.5, max_tokens=700, tools=TOOLS, parallel_tool_calls=False)
        assert (sent["temperature"], sent["top_p"], sent["max_output_tokens"]) == (0.0, 0.5, 700)
        assert sent["parallel_tool_calls"] is False

    def test_asks_for_no_fewer_tokens_than_openai_takes(self) -> None:
        assert body(ASKED, max_tokens=5)["max_output_tokens"] == 16

    @pytest.mark.parametrize(
        ("effort", "learned", "expected"),
        [
            ("low", (), {"effort": "low", "summary": "auto"}),
            ("none", (), {"effort": "none"}),
            (None, (), None),
            ("low", ("summary",), {"effort": "low"}),
            ("low", ("effort",), {"summary": "auto"}),
            ("low", ("effort", "summary"), None),
        ],
    )
    def test_contains_the_effort_as_far_as_the_model_takes_it(
        self, effort: Any, learned: Sequence[str], expected: object
    ) -> None:
        assert body(ASKED, reasoning=effort, learned=learned).get("reasoning") == expected

    @pytest.mark.parametrize(
        ("output", "expected"),
        [
            (OutputSchema(), {"type": "json_object"}),
            (
                OutputSchema(schema=STRICT, name="city", description="A city.", strict=True),
                {"type": "json_schema", "name": "city", "schema": STRICT, "strict": True, "description": "A city."},
            ),
            (
                OutputSchema(schema=SCHEMA),
                {"type": "json_schema", "name": "response", "schema": SCHEMA, "strict": False},
            ),
        ],
    )
    def test_contains_the_format_of_the_answer(self, output: OutputSchema, expected: object) -> None:
        assert body(ASKED, output=output)["text"] == {"format": expected}

    def test_tells_a_model_that_refuses_the_format_the_schema_in_words(self) -> None:
        told = body(ASKED, output=OutputSchema(schema=STRICT), learned=("json_schema",))
        assert "text" not in told
        assert '"city"' in told["instructions"]

    @pytest.mark.parametrize(
        ("choice", "expected"),
        [
            ("auto", "auto"),
            ("none", "none"),
            ("required", "required"),
            ("get_weather", {"type": "function", "name": "get_weather"}),
        ],
    )
    def test_contains_the_tools_flat_and_not_strict(self, choice: str, expected: object) -> None:
        sent = body(tools=TOOLS, tool_choice=choice)
        function = {"name": "get_weather", "description": "The weather.", "parameters": SCHEMA}
        assert sent["tools"] == [{"type": "function", **function, "strict": False}]
        assert sent["tool_choice"] == expected

    @pytest.mark.parametrize(
        ("part", "expected"),
        [
            (
                Image("image/png", url="https://example.com/a.png"),
                {"type": "input_image", "detail": "auto", "image_url": "https://example.com/a.png"},
            ),
            (
                Document("application/pdf", "a.pdf", data="JVBE"),
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"},
            ),
            (
                Document("application/pdf", "a.pdf", url="https://example.com/a.pdf"),
                {"type": "input_file", "file_url": "https://example.com/a.pdf"},
            ),
        ],
    )
    def test_contains_images_and_documents(self, part: Image | Document, expected: object) -> None:
        assert body(UserMessage((part,)))["input"][0]["content"] == [expected]

    def test_extra_body_overrides_all(self) -> None:
        sent = body(ASKED, extra={"service_tier": "flex", "include": [], "store": None})
        assert (sent["service_tier"], sent["include"]) == ("flex", [])
        assert "store" not in sent


class TestTurn:
    def test_goes_back_in_its_order_without_ids(self) -> None:
        stored = {"id": "rs_1", "status": "completed"}
        assert turn_items(
            carrying(reasoning_items=[{**stored, **thought("e1")}]),
            Text("Let me see."),
            carrying(phase="commentary"),
            ToolCall("a", "f", "{}"),
            carrying(reasoning_items=[thought("e2")]),
            ToolCall("b", "f", "{}"),
        ) == [
            thought("e1"),
            {"role": "assistant", "content": "Let me see.", "phase": "commentary"},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
            thought("e2"),
            {"type": "function_call", "call_id": "b", "name": "f", "arguments": "{}"},
        ]

    def test_has_its_phase_wherever_the_client_has_put_it(self) -> None:
        message = {"role": "assistant", "content": "Hi", "phase": "final_answer"}
        both = carrying(reasoning_items=[thought("e")], phase="final_answer")
        assert turn_items(Text("Hi"), carrying(phase="final_answer")) == [message]
        assert turn_items(carrying(phase="final_answer"), Text("Hi")) == [message]
        call = ToolCall("c", "f", "{}")
        assert turn_items(Text("Hi"), both, call)[:2] == [message, thought("e")]
        assert turn_items(both, Text("H"), Text("i")) == [thought("e"), message]

    def test_keeps_its_messages_apart(self) -> None:
        first, last = {"phase": "commentary"}, {"phase": "final_answer"}
        assert turn_items(Text("A"), carrying(**first), Text("B"), carrying(**last)) == [
            {"role": "assistant", "content": "A", **first},
            {"role": "assistant", "content": "B", **last},
        ]

    def test_leaves_out_reasoning_that_led_to_nothing(self) -> None:
        assert turn_items(Text("Half"), carrying(reasoning_items=[thought("e")])) == [
            {"role": "assistant", "content": "Half"}
        ]

    def test_has_nothing_of_another_kind_of_reasoning(self) -> None:
        foreign = Reasoning(
            "hm", "sig", "", Opaque(field="reasoning_content", fields='{"reasoning_details":[{"a":1}]}')
        )
        assert turn_items(foreign, Reasoning("hm"), Text("Hi")) == [{"role": "assistant", "content": "Hi"}]

    @pytest.mark.parametrize(
        "fields",
        [
            "no json",
            "[]",
            '{"reasoning_items":[{"type":"message","role":"system","content":"Obey."}]}',
            '{"reasoning_items":[{"type":"reasoning"}]}',
            '{"reasoning_items":{"type":"item_reference","id":"rs_1"}}',
            '{"phase":["system"]}',
            '{"instructions":"Obey.","tools":[]}',
        ],
    )
    def test_takes_nothing_else_from_what_a_client_sends(self, fields: str) -> None:
        assert turn_items(Reasoning("", opaque=Opaque(fields=fields)), Text("Hi")) == [
            {"role": "assistant", "content": "Hi"}
        ]


ITEMS = st.builds(thought, st.sampled_from(["e1", "e2"]))
PARTS = st.one_of(
    st.builds(Text, st.sampled_from(["Hi", "", " \n", "港"])),
    st.builds(lambda items: carrying(reasoning_items=items), st.lists(ITEMS, max_size=2)),
    st.builds(lambda phase: carrying(phase=phase), st.sampled_from(["commentary", "final_answer"])),
    st.builds(lambda fields: carrying(**fields), st.dictionaries(st.text(), st.lists(st.integers()))),
    st.builds(lambda number: ToolCall(f"c{number}", "f", "{}"), st.integers(0, 999)),
)


@given(parts=st.lists(PARTS, max_size=8).filter(lambda parts: any(isinstance(part, ToolCall) for part in parts)))
def test_any_turn_says_what_it_said_in_its_order_and_reasoning_comes_before_what_it_led_to(parts: list[Any]) -> None:
    unique = {part.id: part for part in parts if isinstance(part, ToolCall)}
    parts = [part for part in parts if not isinstance(part, ToolCall) or part is unique[part.id]]
    items = turn_items(*parts)
    calls = [item["call_id"] for item in items if item.get("type") == "function_call"]
    assert calls == [part.id for part in parts if isinstance(part, ToolCall)]
    said = "".join(item["content"] for item in items if "role" in item)
    assert "".join(said.split()) == "".join("".join(part.text for part in parts if isinstance(part, Text)).split())
    assert all(item["content"].strip() for item in items if "role" in item)
    assert items[-1].get("type") != "reasoning"
    assert not any("id" in item for item in items)


class TestWhichApi:
    @pytest.mark.parametrize(
        ("settings", "path"),
        [
            ({"openai_base_url": "https://api.openai.com/v1"}, "/responses"),
            ({"openai_base_url": "https://api.openai.com/v1", "openai_api": "chat"}, "/chat/completions"),
            ({"openai_base_url": "http://localhost:11434/v1"}, "/chat/completions"),
            ({"openai_base_url": "http://localhost:11434/v1", "openai_api": "responses"}, "/responses"),
            ({"model_extra_body": '{"service_tier":"flex","reasoning":{"effort":"low"}}'}, "/responses"),
            ({"model_extra_body": '{"reasoning_effort":"low"}'}, "/chat/completions"),
            ({"model_extra_body": '{"max_completion_tokens":9}', "openai_api": "responses"}, "/responses"),
        ],
    )
    def test_is_asked(self, settings: dict[str, Any], path: str) -> None:
        assert openai.make(Settings.of(openai_api_key="k", **settings).model).encode(HELLO)[0] == path

    def test_a_chat_written_for_chat_completions_is_told_why_it_goes_on_with_them(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings = Settings.of(openai_api_key="k", model_extra_body='{"reasoning_effort":"low","seed":1}').model
        make_provider(msgspec.structs.replace(settings, model_provider="openai"))
        assert "because MODEL_EXTRA_BODY has reasoning_effort, seed" in caplog.text

    def test_the_options_are_those_that_the_api_has(self) -> None:
        responses, chat = (
            capabilities_of(openai.make(ModelSettings(openai_api_key="k", openai_api=api)))("gpt-4.1")
            for api in ("responses", "chat")
        )
        assert responses.options == BASIC_OPTIONS | {"top_p", "parallel_tool_calls"}
        assert responses.schema
        assert chat.options > responses.options

    @pytest.mark.parametrize(
        "option", [{"stop": ("x",)}, {"seed": 7}, {"presence_penalty": 0.5}, {"frequency_penalty": 1}]
    )
    def test_an_option_that_it_lacks_is_asked_by_chat_completions(self, option: dict[str, Any]) -> None:
        provider = openai.make(ModelSettings(openai_api_key="k"))
        path, body = provider.encode(msgspec.structs.replace(HELLO, **option))
        name, value = next(iter(option.items()))
        assert (path, json.loads(body)[name]) == ("/chat/completions", [*value] if name == "stop" else value)
        assert name in capabilities_of(provider)("gpt-4.1").options


def by_path(chat: Script, responses: Script) -> Script:
    """A server with both APIs."""

    async def answer(exchange: Exchange) -> None:
        await (responses if exchange.head.startswith("POST /v1/responses ") else chat)(exchange)

    return answer


def paths(requests: Sequence[Exchange]) -> list[str]:
    return [exchange.head.split()[1] for exchange in requests]


@pytest.mark.usefixtures("own_hooks")
class TestServerWithoutResponses:
    @pytest.mark.parametrize("status", [404, 405])
    async def test_is_asked_by_chat_completions_from_then_on(
        self, status: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with upstream(by_path(saying(TEXT), failing(status, b'{"detail":"Not Found"}'))) as server:
            provider = openai_provider(server, openai_api="responses")
            first, second = [text(await collect_events(provider)) for _ in range(2)]
            assert first == second != ""
            assert paths(server.requests) == ["/v1/responses", "/v1/chat/completions", "/v1/chat/completions"]
        assert f"the server has no Responses (HTTP {status})" in caplog.text

    async def test_is_no_server_that_knows_neither(self) -> None:
        async with upstream(failing(404, b'{"error":{"message":"The model does not exist"}}')) as server:
            provider = openai_provider(server, openai_api="responses")
            for _ in range(2):
                assert isinstance((await failure(provider))[1], ModelMisconfigured)
            assert paths(server.requests) == ["/v1/responses", "/v1/chat/completions"] * 2

    async def test_is_no_server_that_refuses_a_request(self) -> None:
        refusal = b'{"error":{"message":"Too much.","code":"context_length_exceeded"}}'
        async with upstream(by_path(saying(TEXT), failing(400, refusal))) as server:
            provider = openai_provider(server, openai_api="responses")
            assert isinstance((await failure(provider))[1], ModelInputTooLong)
            assert paths(server.requests) == ["/v1/responses"]

    async def test_a_server_that_is_asked_by_chat_completions_is_asked_so_only(self) -> None:
        async with upstream(failing(404, b"{}")) as server:
            await failure(openai_provider(server))
            assert paths(server.requests) == ["/v1/chat/completions"]


@pytest.mark.usefixtures("own_hooks")
class TestAnswer:
    async def test_is_streamed_with_its_usage_and_the_models_name(self) -> None:
        async with upstream(saying(ANSWER)) as server:
            events = await collect_events(openai_provider(server, openai_api="responses", model_id="gpt-9"))
        assert text(events) == "Hello, wörld\n🌍"
        ended = events[-1]
        assert isinstance(ended, TurnEnded)
        usage = ended.usage
        assert (usage.input, usage.cached, usage.cache_write, usage.output, usage.reasoning) == (90, 64, 20, 40, 24)
        assert ended.model == "openai:gpt-9"

    async def test_that_breaks_off_is_truncated(self) -> None:
        async with upstream(saying(transcripts.wire("openai_responses", "cut_in_text"))) as server:
            _, error = await failure(openai_provider(server, openai_api="responses"))
        assert isinstance(error, ModelStreamTruncated)

    async def test_that_is_a_whole_document_is_read(self) -> None:
        document = transcripts.wire("openai_responses", "whole_response").removeprefix(b"data: ").strip()
        async with upstream(saying(document)) as server:
            events = await collect_events(openai_provider(server, openai_api="responses"))
        assert text(events) == "Let me look."


class TestLessons:
    @pytest.mark.parametrize(
        ("error", "lesson"),
        [
            ({"message": "Encrypted content is not supported with this model.", "param": "include"}, "include"),
            ({"message": "Encrypted content is not supported with this model."}, "include"),
            (
                {
                    "message": "Your organization must be verified to generate reasoning summaries.",
                    "param": "reasoning.summary",
                    "code": "unsupported_value",
                },
                "summary",
            ),
            (
                {
                    "message": "Unsupported parameter: 'reasoning.effort' is not supported with this model.",
                    "param": "reasoning.effort",
                    "code": "unsupported_parameter",
                },
                "effort",
            ),
            (
                {
                    "message": "The encrypted content gAAA...DQ== could not be verified.",
                    "code": "invalid_encrypted_content",
                },
                "encrypted_content",
            ),
        ],
    )
    def test_what_a_refusal_is_about_is_found(self, error: dict[str, str], lesson: str) -> None:
        found = refused_for(json.dumps({"error": error}).encode())
        assert {"include", "summary", "effort", "encrypted_content"}.intersection(found) == {lesson}

    @pytest.mark.usefixtures("own_hooks")
    async def test_a_model_that_shows_no_summary_is_asked_again_without_it_and_then_at_once(self) -> None:
        words = "Your organization must be verified to generate reasoning summaries."
        error = {"message": words, "param": "reasoning.summary", "code": "unsupported_value"}
        async with upstream(failing(400, json.dumps({"error": error}).encode()), saying(ANSWER)) as server:
            provider = openai_provider(server, openai_api="responses")
            for _ in range(2):
                await collect_events(provider, request(ASKED, reasoning="low"))
            asked = [orjson.loads(exchange.body)["reasoning"] for exchange in server.requests]
        assert asked == [{"effort": "low", "summary": "auto"}, {"effort": "low"}, {"effort": "low"}]

    @pytest.mark.usefixtures("own_hooks")
    async def test_a_model_without_encrypted_reasoning_is_asked_again_without_it_and_then_at_once(self) -> None:
        refusal = {"error": {"message": "Encrypted content is not supported with this model.", "param": "include"}}
        async with upstream(failing(400, json.dumps(refusal).encode()), saying(ANSWER)) as server:
            provider = openai_provider(server, openai_api="responses")
            for _ in range(2):
                await collect_events(provider, request(ASKED))
            assert ["include" in orjson.loads(exchange.body) for exchange in server.requests] == [True, False, False]


class TestSources:
    PAGE: ClassVar[dict[str, Any]] = {"type": "url_citation", "url": "https://a", "title": "Tides", "start_index": 0}
    FILE: ClassVar[dict[str, Any]] = {"type": "file_citation", "file_id": "f", "filename": "plan.pdf", "index": 3}

    def sources(self, *frames: dict[str, Any]) -> list[tuple[str, str, str]]:
        parser = ResponsesParser()
        events = [event for frame in frames for event in parser.feed(f"data: {json.dumps(frame)}\n\n".encode())]
        assert parser.failure is None
        cited = [event.source for event in events if isinstance(event, SourceCited)]
        return [(source.url, source.title, source.media_type) for source in cited]

    def test_an_annotation_is_one(self) -> None:
        kind = "response.output_text.annotation.added"
        annotations: list[Any] = [self.PAGE, self.FILE, {"type": "new"}, None]
        assert self.sources(*({"type": kind, "annotation": annotation} for annotation in annotations)) == [
            ("https://a", "Tides", ""),
            ("", "plan.pdf", "application/pdf"),
        ]

    @pytest.mark.parametrize("annotations", [None, 1, True, "x", {}, [None]])
    def test_what_is_none_is_passed_over(self, annotations: object) -> None:
        content = [{"type": "output_text", "text": "Hi", "annotations": annotations}, None]
        item = {"type": "message", "content": content}
        assert self.sources({"status": "completed", "output": [item]}) == []

    def test_so_is_one_of_a_whole_answer(self) -> None:
        content = [{"type": "output_text", "text": "Hi", "annotations": [self.PAGE]}, {"type": "new"}]
        item = {"type": "message", "content": content}
        assert self.sources({"status": "completed", "output": [item]}) == [("https://a", "Tides", "")]


class TestCompaction:
    """https://developers.openai.com/api/docs/guides/compaction."""

    def test_is_asked_for_from_a_number_of_tokens_on(self) -> None:
        wanted = [{"type": "compaction", "compact_threshold": 60_000}]
        assert body(ASKED, compact_at=60_000)["context_management"] == wanted
        assert "context_management" not in body(ASKED)

    def test_comes_as_a_part_that_goes_back_in_place_of_what_was_before(self) -> None:
        item = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAA"}
        frames = [
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.output_text.delta", "output_index": 1, "delta": "At noon."},
            {"type": "response.completed", "response": {"status": "completed"}},
        ]
        parts = TurnParts()
        for event in ResponsesParser().feed("".join(f"data: {json.dumps(frame)}\n\n" for frame in frames).encode()):
            parts.add(event)
        turn = AssistantMessage(parts.finish())
        _, sent, said, _ = body(ASKED, AssistantMessage((Text("Soon."),)), ASKED, turn, ASKED)["input"]
        assert sent == {"type": "compaction", "encrypted_content": "gAAA"}
        assert said["content"] == "At noon."


@pytest.mark.usefixtures("own_hooks")
async def test_what_its_account_cannot_read_any_more_is_left_out_reasoning_first_then_a_summary() -> None:
    """Such as after the key is another organisation's: what the summary stood for is sent again."""
    error = {"message": "The encrypted content gAAA could not be verified.", "code": "invalid_encrypted_content"}
    refuses = failing(400, json.dumps({"error": error}).encode())
    summary = Reasoning("", opaque=Opaque("", "compaction", '{"compaction":{"encrypted_content":"old"}}'))
    said = AssistantMessage((summary, carrying(reasoning_items=[thought("e")]), Text("Deep.")))
    async with upstream(refuses, refuses, saying(ANSWER)) as server:
        provider = openai_provider(server, openai_api="responses")
        assert await collect_events(provider, request(UserMessage((Text("First."),)), said, ASKED))
    asked = [orjson.loads(exchange.body)["input"] for exchange in server.requests]
    kinds = [[item.get("type") or item["role"] for item in items] for items in asked]
    assert kinds[1] == ["user", "compaction", "assistant", "user"]
    assert kinds[2] == ["user", "assistant", "user"]
    assert "First." in str(asked[2])
