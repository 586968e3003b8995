"""Where requests are marked for a prompt cache, for whom, and what a refused mark teaches."""

import json
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import transcripts
from tests.chat.conversations import histories
from tests.chat.providers.provider_helpers import HISTORY, SETTINGS, TOOLS, collect_events, encoded, folded, request
from tests.contract.providers.prompt_cache import blocks_of
from tests.upstream import failing, saying, upstream
from winterbourne.chat.core.history import normalize_history
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Image,
    Message,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
    VolatilePart,
)
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.core.title import title_request
from winterbourne.chat.providers import anthropic, bedrock, openai
from winterbourne.chat.providers.caching import cache_key, mark_prompt, split_system
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.settings import ModelSettings, Settings

CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "global.amazon.nova-2-lite-v1:0"
OWN = "Be brief."


def cached(*messages: Message, **options: Any) -> ModelRequest:
    return folded(*messages, **{"cache": True, "tools": TOOLS, "system": OWN, "conversation_id": "c-1", **options})


def marks(module: Any, asked: ModelRequest, **settings: object) -> list[str]:
    """The kind and the lifetime of each marked block, in order."""
    values = msgspec.structs.asdict(SETTINGS) | {"system_prompt": OWN} | settings
    extra_body = json.loads(str(values.pop("model_extra_body") or "{}"))
    body = orjson.loads(encoded(module, asked, ModelSettings(**values), extra_body=extra_body))
    dialect = "bedrock" if module is bedrock else "anthropic"
    return [f"{block.place} {block.kind} {block.ttl}" for block in blocks_of(dialect, body) if block.ttl]


def question(text: str, *more: Any) -> UserMessage:
    return UserMessage((Text(text), *more))


LOOP: tuple[Message, ...] = (
    question("One?"),
    AssistantMessage((Text("Yes."),)),
    question("Two?"),
    AssistantMessage((ToolCall("a", "get_weather", "{}"),)),
    ToolMessage("a", "get_weather", "21"),
)
SPOKEN_LOOP = (
    *LOOP[:3],
    AssistantMessage((Text("Let me look."), ToolCall("a", "get_weather", "{}"))),
    ToolMessage("a", "get_weather", "21"),
)
NOVAS = (("user", "One?"), ("user", "Two?"), ("assistant", "Let me look."))
CLAUDES_MARKS = ["tools toolSpec 5m", "system text 5m", "messages text 5m", "messages toolResult 5m"]
HOURS = [mark.replace("5m", "1h") for mark in CLAUDES_MARKS]


class TestPlaces:
    def test_of_anthropic(self) -> None:
        body = orjson.loads(encoded(anthropic, cached(*LOOP), msgspec.structs.replace(SETTINGS, system_prompt=OWN)))
        mark = {"cache_control": {"type": "ephemeral"}}
        assert [tool.get("cache_control") for tool in body["tools"]] == [mark["cache_control"]]
        assert body["system"] == [{"type": "text", "text": OWN, **mark}]
        assert body["messages"][2]["content"] == [{"type": "text", "text": "Two?", **mark}]
        assert body["messages"][4]["content"][0]["cache_control"] == mark["cache_control"]
        assert json.dumps(body).count("cache_control") == 4

    def test_of_bedrock(self) -> None:
        settings = msgspec.structs.replace(SETTINGS, system_prompt=OWN)
        body = orjson.loads(encoded(bedrock, cached(*LOOP, model_id=CLAUDE), settings))
        point = {"cachePoint": {"type": "default"}}
        assert body["toolConfig"]["tools"][1:] == [point]
        assert body["system"] == [{"text": OWN}, point]
        assert body["messages"][2]["content"] == [{"text": "Two?"}, point]
        assert body["messages"][4]["content"][1:] == [point]
        assert json.dumps(body).count("cachePoint") == 4

    def test_before_a_question_the_end_of_the_one_before_is_marked(self) -> None:
        asked = cached(*LOOP, AssistantMessage((Text("21."),)), question("Three?"))
        body = orjson.loads(encoded(anthropic, asked))
        marked = [b["text"] for m in body["messages"] for b in m["content"] if "cache_control" in b]
        assert marked == ["Two?", "Three?"]

    def test_what_a_request_adds_to_the_system_prompt_stands_after_its_mark(self) -> None:
        assert split_system("Own.\n\nTheirs.", "Own.") == ["Own.", "Theirs."]
        assert split_system("Own.", "Own.") == ["Own."]
        assert split_system("Theirs.", "") == ["Theirs."]
        assert split_system("Own.\n\n ", "Own.") == ["Own."]
        assert marks(anthropic, cached(system=f"{OWN}\n\nNow."))[1] == "system text 5m"

    def test_what_is_told_of_one_request_alone_stands_after_its_mark(self) -> None:
        for module, model_id in ((anthropic, ""), (bedrock, CLAUDE), (bedrock, NOVA)):
            asked = cached(question("One?", VolatilePart("\n\nIt is noon.")), model_id=model_id)
            text = encoded(module, asked).decode()
            before, _, after = text.partition("It is noon.")
            assert "cache" in before[before.index("One?") :]
            assert "cache" not in after[: after.index("]")]

    def test_nova_takes_them_after_text_alone(self) -> None:
        asked = cached(question("One?"), *LOOP[1:], model_id=NOVA)
        assert marks(bedrock, asked) == ["system text 5m", "messages text 5m", "messages text 5m"]
        assert marks(bedrock, cached(UserMessage((Image("image/png", "aW1n"),)), model_id=NOVA)) == ["system text 5m"]

    def test_of_novas_tool_loop_follow_what_it_says_before_its_calls(self) -> None:
        body = orjson.loads(encoded(bedrock, cached(*SPOKEN_LOOP, model_id=NOVA)))
        point = {"cachePoint": {"type": "default"}}
        marked = [message["content"][:2] for message in body["messages"] if point in message["content"]]
        assert marked == [[{"text": "Two?"}, point], [{"text": "Let me look."}, point]]

    def test_of_novas_next_question_follow_questions_alone(self) -> None:
        """What was sent of an answer need not come back."""
        asked = cached(*SPOKEN_LOOP, AssistantMessage((Text("21."),)), question("Three?"), model_id=NOVA)
        body = orjson.loads(encoded(bedrock, asked))
        point = {"cachePoint": {"type": "default"}}
        marked = [message["content"][0] for message in body["messages"] if point in message["content"]]
        assert marked == [{"text": "Two?"}, {"text": "Three?"}]

    def test_none_follows_a_document(self) -> None:
        places: list[int] = []
        blocks: list[dict[str, Any]] = [{"text": "One?"}, {"document": {}}]
        kinds = {"text", "image", "toolResult"}
        messages: list[dict[str, Any]] = [
            {"role": "user", "content": [{"document": {}}]},
            {"role": "user", "content": blocks},
        ]
        mark_prompt(request(), ([], [], messages), {"messages"}, lambda _, at: places.append(at), kinds)
        assert places == [0]

    @given(histories(), st.sampled_from([(anthropic, ""), (bedrock, CLAUDE), (bedrock, NOVA)]))
    def test_of_any_history_are_four_at_most_and_change_nothing_else(
        self, history: list[Message], provider: tuple[Any, str]
    ) -> None:
        module, model_id = provider
        messages = normalize_history(history)
        asked = cached(*messages, question("And now?"), model_id=model_id)
        marked, plain = (
            blocks_of("bedrock" if module is bedrock else "anthropic", orjson.loads(encoded(module, one)))
            for one in (asked, msgspec.structs.replace(asked, cache=False))
        )
        kinds = [block.kind for block in marked if block.ttl and block.place == "messages"]
        assert 1 <= len(kinds) <= 2
        assert not {"thinking", "redacted_thinking", "reasoningContent", "tool_use", "toolUse"} & {*kinds}
        assert [b.content for b in marked if b.place != "system"] == [b.content for b in plain if b.place != "system"]


class TestModels:
    @pytest.mark.parametrize(
        ("model_id", "expected"),
        [
            (CLAUDE, ["1h"] * 4),
            ("us.anthropic.claude-opus-5-20260401-v1:0", ["1h"] * 4),
            ("anthropic.claude-haiku-4-5-20251001-v1:0", ["1h"] * 4),
            ("us.anthropic.claude-opus-4-1-20250805-v1:0", ["5m"] * 4),
            ("us.anthropic.claude-sonnet-4-20250514-v1:0", ["5m"] * 4),
            ("anthropic.claude-3-5-haiku-20241022-v1:0", ["5m"] * 4),
            ("anthropic.claude-3-7-sonnet-20250219-v1:0", ["5m"] * 4),
            ("anthropic.claude-3-5-sonnet-20240620-v1:0", []),
            ("anthropic.claude-3-haiku-20240307-v1:0", []),
            ("us.amazon.nova-pro-v1:0", ["5m"] * 3),
            ("us.meta.llama3-3-70b-instruct-v1:0", []),
            ("mistral.mistral-large-2407-v1:0", []),
            ("openai.gpt-oss-120b-1:0", []),
        ],
    )
    def test_of_bedrock_that_have_none_are_sent_none(self, model_id: str, expected: list[str]) -> None:
        found = marks(bedrock, cached(*LOOP, model_id=model_id), model_cache="1h")
        assert [mark.rpartition(" ")[2] for mark in found] == expected

    @pytest.mark.parametrize(
        ("url", "model_id", "count"),
        [
            ("https://api.anthropic.com", "m", 4),
            ("https://gateway.example/anthropic", "claude-sonnet-5", 4),
            ("https://api.deepseek.com/anthropic", "deepseek-chat", 0),
        ],
    )
    def test_of_anthropics_api_are_claudes(self, url: str, model_id: str, count: int) -> None:
        assert len(marks(anthropic, cached(*LOOP), anthropic_base_url=url, model_id=model_id)) == count

    def test_other_servers_are_sent_the_system_prompt_as_text(self) -> None:
        settings = msgspec.structs.replace(SETTINGS, anthropic_base_url="http://localhost")
        assert orjson.loads(encoded(anthropic, cached(), settings))["system"] == f"{OWN}\n\nBe kind."

    @pytest.mark.parametrize(
        ("url", "has_key"),
        [
            ("https://api.openai.com/v1", True),
            ("https://harbour.openai.azure.com/openai/v1", True),
            ("https://api.mistral.ai/v1", False),
            ("http://localhost:8000/v1", False),
        ],
    )
    def test_a_key_goes_to_openai_and_azure(self, url: str, *, has_key: bool) -> None:
        settings = msgspec.structs.replace(SETTINGS, openai_base_url=url)
        body = orjson.loads(encoded(openai, cached(), settings))
        assert body.get("prompt_cache_key") == (cache_key("c-1") if has_key else None)
        assert "prompt_cache_key" not in orjson.loads(encoded(openai, cached(conversation_id=""), settings))


class TestWhoDecides:
    def test_nothing_is_marked_if_it_is_off(self) -> None:
        assert marks(anthropic, cached(*LOOP), model_cache="off") == []

    @pytest.mark.parametrize(
        "extra_body", ['{"cache_control":{"type":"ephemeral"}}', '{"metadata":{"note":"prompt_cache_key"}}']
    )
    def test_nothing_is_marked_beside_ones_own_marks(self, extra_body: str) -> None:
        assert marks(anthropic, cached(*LOOP), model_extra_body=extra_body) == []

    def test_what_no_request_will_repeat_is_not_marked(self) -> None:
        assert marks(anthropic, title_request(HISTORY, "", 100, 1.0)) == []


class TestRefusals:
    """A refused mark is left out from then on, and no other."""

    @pytest.mark.parametrize(
        ("message", "status", "left"),
        [
            ("tools.0.custom.cache_control: Extra inputs are not permitted", 400, HOURS[1:]),
            (
                "#/toolConfig/tools/1: extraneous key [cachePoint] is not permitted",
                400,
                HOURS[1:],
            ),
            (
                "#/system/1: extraneous key [cachePoint] is not permitted",
                400,
                [HOURS[0], *HOURS[2:]],
            ),
            ("#/messages/6/content/0: extraneous key [cachePoint]", 400, HOURS[:2]),
            ("cachePoint.ttl is not supported by this model", 400, CLAUDES_MARKS),
            ("You invoked an unsupported model or your request did not allow prompt caching.", 403, []),
        ],
    )
    async def test_of_bedrock(self, message: str, status: int, left: list[str]) -> None:
        refusal = failing(status, json.dumps({"message": message}).encode())
        async with upstream(refusal, saying(transcripts.wire("bedrock", "text"))) as server:
            values = {"bedrock_base_url": server.url, "aws_bearer_token_bedrock": "k", "model_cache": "1h"}
            provider = make_provider(Settings.of(model_provider="bedrock", system_prompt=OWN, **values).model)
            for _ in range(2):
                assert await collect_events(provider, cached(*LOOP, model_id=CLAUDE))
        bodies = [json.loads(each.body) for each in server.requests]
        found = [[f"{b.place} {b.kind} {b.ttl}" for b in blocks_of("bedrock", body) if b.ttl] for body in bodies]
        assert found == [HOURS, left, left]

    async def test_of_nova_after_its_own_words_leaves_those_after_questions(self) -> None:
        refusal = failing(400, b'{"message": "#/messages/3/content/0: extraneous key [cachePoint] is not permitted"}')
        fine = saying(transcripts.wire("bedrock", "text"))
        async with upstream(refusal, fine, refusal, fine) as server:
            values = {"bedrock_base_url": server.url, "aws_bearer_token_bedrock": "k"}
            provider = make_provider(Settings.of(model_provider="bedrock", system_prompt=OWN, **values).model)
            for _ in range(2):
                assert await collect_events(provider, cached(*SPOKEN_LOOP, model_id=NOVA))
        bodies = [json.loads(each.body) for each in server.requests]
        found = [[b.content.decode() for b in blocks_of("bedrock", body) if b.ttl][1:] for body in bodies]
        one, two, look = (f'{role}{{"text":"{text}"}}' for role, text in NOVAS)
        assert found == [[two, look], [one, two], [one, two], []]

    async def test_of_a_gateway_to_claude(self) -> None:
        refusal = failing(400, b'{"error":{"message":"system.0.cache_control: Extra inputs are not permitted"}}')
        async with upstream(refusal, saying(transcripts.wire("anthropic", "text"))) as server:
            values = {"anthropic_base_url": server.url, "model_id": "claude-5"}
            provider = make_provider(Settings.of(model_provider="anthropic", **values).model)
            for _ in range(2):
                assert await collect_events(provider, cached(*LOOP))
        counts = [each.body.count(b"cache_control") for each in server.requests]
        assert counts == [4, 3, 3]

    def test_of_a_key(self) -> None:
        settings = msgspec.structs.replace(SETTINGS, openai_base_url="https://api.openai.com/v1")
        assert b"prompt_cache_key" not in encoded(openai, cached(), settings, learned={"cache": None})


def test_a_key_does_not_tell_the_conversations_id() -> None:
    keys = {cache_key(one) for one in ("c-1", "c-2", "\ud83d")}
    assert len(keys) == 3
    assert all(len(key) == 32 and "c-1" not in key for key in keys)


def test_the_parsers_count_what_was_written() -> None:
    written = {
        anthropic.AnthropicParser: b'data: {"type":"message_start","message":{"usage":{"input_tokens":1,'
        b'"cache_read_input_tokens":20,"cache_creation_input_tokens":300}}}\n\n',
        openai.OpenAIParser: b'data: {"choices":[],"usage":{"prompt_tokens":321,"prompt_tokens_details":'
        b'{"cached_tokens":20,"cache_write_tokens":300}}}\n\n',
        bedrock.BedrockParser: transcripts.event_stream_message(
            "metadata", {"usage": {"inputTokens": 1, "cacheReadInputTokens": 20, "cacheWriteInputTokens": 300}}
        ),
    }
    for parser_type, data in written.items():
        parser = parser_type()
        parser.feed(data)
        usage = parser.assembler.usage
        assert (usage.input, usage.cached, usage.cache_write) == (321, 20, 300), parser_type
