"""Lessons: what a refusal is about, in the words of many servers, and what is asked after it."""

import json
import logging
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import transcripts
from tests.chat.conversations import json_values
from tests.chat.providers.provider_helpers import HELLO, TEXT, collect_events, failure, openai_provider
from tests.chat.providers.test_http_provider import provider_of
from tests.upstream import Upstream, failing, saying, upstream
from winterbourne.chat.core.history import normalize_history
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Image,
    Opaque,
    Reasoning,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UserMessage,
)
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.errors import ModelImageRefused, ModelInputTooLong, ModelRefused
from winterbourne.chat.providers.lessons import FOR_EVERY_MODEL, apply_lessons, max_tokens_allowed, refused_for
from winterbourne.chat.providers.openai import OpenAIProvider

NO_TOOLS = [
    "registry.ollama.ai/library/gemma3:latest does not support tools",
    '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
    "This model doesn't support tool use.",
    "This model doesn't support tool use in streaming mode.",
    "No endpoints found that support tool use. To learn more about provider routing, visit: a page",
    "Unsupported param: tools",
    "tools param requires --jinja flag",
    "tools is not supported in this model.",
    "`tool calling` is not supported with this model",
    "Function calling is not enabled for models/gemma-3-12b-it",
    "deepseek-reasoner does not support Function Calling",
    "model features function calling not support",
    "litellm.UnsupportedParamsError: ollama does not support parameters: ['tools'], for model=gemma",
    "Unrecognized request argument supplied: tools",
    "Unknown parameter: 'tools'.",
    "tools: Extra inputs are not permitted",
]
NOT_ABOUT_TOOLS = [
    "This model does not support tools[0].function.strict",
    "Unknown parameter: 'tools[0].function.strict'.",
    "tools.0.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level",
    "tools.0.function.strict: Extra inputs are not permitted",
    "Invalid schema for function 'f': 'x' is not supported, see tools",
    "deepseek-reasoner does not support this tool_choice",
    "Tool choice 'required' is not supported",
    "messages.1: unexpected `tool_use_id` found in `tool_result` blocks: a",
    "Function tools with reasoning_effort are not supported for this model in /v1/chat/completions.",
    "The model does not exist",
    "",
]
CALLS = (ToolCall("a", "add", '{"x":1}'), ToolCall("b", "count", ""))
PICTURE = Image("image/png", "aW1n")
REQUEST = ModelRequest(
    messages=(
        UserMessage((Text("What is it?"), PICTURE)),
        AssistantMessage((Text("Let me see."), *CALLS)),
        ToolMessage("a", "add", "3"),
        ToolMessage("b", "count", "4"),
        AssistantMessage((Text("7."),)),
        UserMessage((Text("Sure?"),)),
    ),
    tools=(ToolSchema("add", "Add.", {"type": "object", "properties": {}}),),
    tool_choice="required",
    system="Be brief.",
)


def refusal(message: str) -> bytes:
    return json.dumps({"error": {"message": message}}).encode()


async def bodies(provider: Any, server: Upstream, request: ModelRequest = REQUEST, times: int = 1) -> list[Any]:
    for _ in range(times):
        assert await collect_events(provider, request)
    return [json.loads(each.body) for each in server.requests]


class TestReasons:
    @pytest.mark.parametrize("message", NO_TOOLS)
    def test_a_model_without_tools_says_so_in_many_ways(self, message: str) -> None:
        assert refused_for(refusal(message))[0] == "tools"

    @pytest.mark.parametrize("message", NOT_ABOUT_TOOLS)
    def test_most_refusals_that_name_tools_are_about_one(self, message: str) -> None:
        assert "tools" not in refused_for(refusal(message))

    @pytest.mark.parametrize(
        ("reason", "message"),
        [
            ("tool_choice", "deepseek-reasoner does not support this tool_choice"),
            ("tool_choice", "tool_choice 'required' is incompatible with thinking enabled"),
            ("tool_choice", "This model doesn't support the toolConfig.toolChoice.any field. Remove it and try again."),
            ("tool_choice", "No endpoints found that support the provided 'tool_choice' value."),
            ("single_calls", "This model only supports single tool-calls at once!"),
            ("call_ids", "Tool call id was a but must be a-z, A-Z, 0-9, with a length of 9."),
            ("call_ids", "Tool call IDs should be alphanumeric strings with length 9!"),
            ("call_ids", "Unexpected role 'user' after role 'tool'"),
            ("system", "System role not supported"),
            ("system", "Developer instruction is not enabled for models/gemma-3-27b-it"),
            ("system", "Unsupported value: 'messages[0].role' does not support 'system' with this model."),
            ("images", "No endpoints found that support image input"),
            ("images", "messages[0]: unknown variant `image_url`, expected `text`"),
            ("images", "google/gemma-2 is not a multimodal model"),
            (
                "images",
                "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
            ),
            ("opaque", "property 'reasoning_content' is unsupported"),
            ("opaque", "Additional properties are not allowed: 'thinking_blocks'."),
            ("reasoning_content", "The reasoning_content in the thinking mode must be passed back to the API."),
            ("reasoning_details", "Gemini models require OpenRouter reasoning details to be preserved."),
            ("thought_signature", "Function call is missing a thought_signature in functionCall parts."),
        ],
    )
    def test_what_else_a_refusal_may_be_about(self, reason: str, message: str) -> None:
        assert next(iter(refused_for(refusal(message)))) == reason

    def test_a_field_of_another_name_is_none(self) -> None:
        assert "opaque" not in refused_for(refusal("Unsupported parameter: 'reasoning_effort'"))

    @given(json_values)
    def test_any_body_has_reasons_or_none(self, value: object) -> None:
        assert isinstance(refused_for(json.dumps(value).encode()), list)


class TestToolsThatNobodyTakes:
    @pytest.mark.parametrize("status", [400, 404, 422, 500])
    async def test_the_request_is_made_again_without_them_and_later_ones_at_once(
        self, status: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with upstream(failing(status, refusal(NO_TOOLS[0])), saying(TEXT)) as server:
            first, *others = await bodies(openai_provider(server), server, times=2)
        assert first.keys() - others[0].keys() == {"tools", "tool_choice"}
        assert len(others) == 2
        assert len([r for r in caplog.records if r.levelno == logging.WARNING and "because of tools" in r.message]) == 1

    @pytest.mark.parametrize("words", ["this model does not support tools", 'it\'s "odd": it does not support tools'])
    async def test_what_a_caller_has_written_and_a_refusal_quotes_teaches_nothing(self, words: str) -> None:
        """Else one caller's tool would take all tools from others."""
        refuses = failing(400, refusal(f"Invalid schema for function 'f': {words!r} is not valid under the schemas."))
        async with upstream(refuses, saying(TEXT)) as server:
            provider = openai_provider(server)
            await failure(provider, REQUEST)
            assert await collect_events(provider, REQUEST)
        assert all("tools" in json.loads(request.body) for request in server.requests)

    async def test_calls_and_results_of_the_history_are_told_as_text(self) -> None:
        async with upstream(failing(400, refusal(NO_TOOLS[0])), saying(TEXT)) as server:
            _, body = await bodies(openai_provider(server), server)
        assert [message["role"] for message in body["messages"]] == ["system", *["user", "assistant"] * 2, "user"]
        assert '[called add with {"x":1}]' in body["messages"][2]["content"]
        assert "[called count with {}]" in body["messages"][2]["content"]
        assert body["messages"][3]["content"] == "[result of add: 3]\n\n[result of count: 4]"

    @pytest.mark.parametrize("name", ["anthropic", "bedrock"])
    async def test_other_apis_learn_it_too(self, name: str) -> None:
        answer = saying(transcripts.wire(name, "text"))
        async with upstream(failing(400, refusal("This model doesn't support tool use.")), answer) as server:
            _, body = await bodies(provider_of(name, server), server)
        assert body.keys().isdisjoint({"tools", "tool_choice", "toolConfig"})
        assert "[result of add: 3]" in json.dumps(body)

    async def test_another_model_of_the_server_keeps_them(self) -> None:
        async with upstream(failing(400, refusal(NO_TOOLS[0])), saying(TEXT)) as server:
            provider = openai_provider(server)
            await bodies(provider, server)
            *_, last = await bodies(provider, server, msgspec.structs.replace(REQUEST, model_id="other"))
        assert "tools" in last


class TestOtherLessons:
    @pytest.mark.parametrize("name", ["openai", "anthropic", "bedrock"])
    async def test_a_forced_call_is_left_to_the_model(self, name: str) -> None:
        words = "This model doesn't support the toolConfig.toolChoice.any field."
        answer = saying(TEXT if name == "openai" else transcripts.wire(name, "text"))
        async with upstream(failing(400, refusal(words)), answer) as server:
            provider = provider_of(name, server)
            first, second = await bodies(provider, server)
            *_, none = await bodies(provider, server, msgspec.structs.replace(REQUEST, tool_choice="none"))
        assert "hoice" in json.dumps(first)
        assert "hoice" not in json.dumps(second)
        assert name == "bedrock" or "none" in json.dumps(none["tool_choice"])

    async def test_system_messages_are_told_by_the_user(self) -> None:
        async with upstream(failing(400, refusal("System role not supported")), saying(TEXT)) as server:
            _, body = await bodies(openai_provider(server), server)
        question = body["messages"][0]
        assert question["role"] == "user"
        assert [part.get("text") for part in question["content"]][:1] == ["Be brief."]

    async def test_images_of_the_past_become_lines(self) -> None:
        async with upstream(
            failing(404, refusal("No endpoints found that support image input")), saying(TEXT)
        ) as server:
            first, second = await bodies(openai_provider(server), server)
        assert "image_url" in json.dumps(first)
        assert "image_url" not in json.dumps(second)
        assert "not shown any more" in second["messages"][1]["content"]

    async def test_who_shows_one_is_told(self) -> None:
        async with upstream(failing(404, refusal("No endpoints found that support image input"))) as server:
            request = ModelRequest(messages=(UserMessage((PICTURE,)),))
            _, error = await failure(openai_provider(server), request)
        assert isinstance(error, ModelImageRefused)
        assert len(server.requests) == 1

    async def test_each_call_has_a_turn_of_its_own(self) -> None:
        words = "This model only supports single tool-calls at once!"
        async with upstream(failing(400, refusal(words)), saying(TEXT)) as server:
            _, body = await bodies(openai_provider(server), server)
        turns = [message for message in body["messages"] if message["role"] in {"assistant", "tool"}]
        assert [turn.get("tool_call_id") or [c["id"] for c in turn.get("tool_calls", ())] for turn in turns] == [
            ["a"],
            "a",
            ["b"],
            "b",
            [],
        ]

    @pytest.mark.parametrize(
        "words", ["Tool call IDs should be alphanumeric strings with length 9!", "Unexpected role 'user'"]
    )
    async def test_the_rules_of_mistrals_template_hold_under_any_name(self, words: str) -> None:
        history = (*REQUEST.messages[:4], REQUEST.messages[-1])
        request = msgspec.structs.replace(REQUEST, messages=history)
        async with upstream(failing(500, refusal(words)), saying(TEXT)) as server:
            _, body = await bodies(openai_provider(server, model_id="local"), server, request)
        assert [message["role"] for message in body["messages"][-3:]] == ["tool", "assistant", "user"]
        assert {len(call["id"]) for call in body["messages"][2]["tool_calls"]} == {9}

    async def test_roles_that_must_alternate_end_without_tools(self) -> None:
        """The message does not say which rule of the template is meant: each change is tried."""
        words = failing(400, refusal("Conversation roles must alternate user/assistant/user/assistant/..."))
        async with upstream(words, words, words, saying(TEXT)) as server:
            *_, body = await bodies(openai_provider(server), server)
        assert [message["role"] for message in body["messages"]] == [*["user", "assistant"] * 2, "user"]

    async def test_opaque_fields_are_left_out_for_a_server_that_does_not_know_them(self) -> None:
        parts = (Reasoning("hm", opaque=Opaque(field="reasoning_content")), *CALLS)
        history = normalize_history((REQUEST.messages[0], AssistantMessage(parts), REQUEST.messages[-1]))
        request = msgspec.structs.replace(REQUEST, messages=history)
        async with upstream(
            failing(422, refusal("property 'reasoning_content' is unsupported")), saying(TEXT)
        ) as server:
            first, second = await bodies(openai_provider(server), server, request)
        assert first["messages"][2]["reasoning_content"] == "hm"
        assert second["messages"][2].keys() == {"role", "content", "tool_calls"}

    async def test_what_gemini_demands_is_made_up_for_calls_that_have_lost_it(self) -> None:
        own = ToolCall("a", "add", "{}", Opaque(fields='{"extra_content":{"google":{"thought_signature":"s"}}}'))
        lost = AssistantMessage(CALLS)
        history = normalize_history((REQUEST.messages[0], AssistantMessage((own,)), lost, REQUEST.messages[-1]))
        request = msgspec.structs.replace(REQUEST, messages=history)
        words = "Function call is missing a thought_signature in functionCall parts."
        async with upstream(failing(400, refusal(words)), saying(TEXT)) as server:
            _, body = await bodies(openai_provider(server), server, request)
        calls = [call for message in body["messages"] for call in message.get("tool_calls", ())]
        signatures = [call.get("extra_content", {}).get("google", {}).get("thought_signature") for call in calls]
        assert signatures == ["s", "skip_thought_signature_validator", None]

    async def test_and_openrouter_in_its_own_form(self) -> None:
        words = "Gemini models require OpenRouter reasoning details to be preserved in each request."
        async with upstream(failing(400, refusal(words)), saying(TEXT)) as server:
            _, body = await bodies(openai_provider(server), server)
        [details] = body["messages"][2]["reasoning_details"]
        assert (details["id"], details["type"]) == ("a", "reasoning.encrypted")

    async def test_what_helped_is_kept_though_the_request_fails_for_another_reason(self) -> None:
        wrong = failing(400, refusal("messages: something else"))
        async with upstream(failing(400, refusal(NO_TOOLS[0])), wrong, saying(TEXT)) as server:
            provider = openai_provider(server)
            await failure(provider, REQUEST)
            *_, body = await bodies(provider, server)
        assert len(server.requests) == 3
        assert "tools" not in body

    async def test_half_an_emoji_is_no_hindrance(self) -> None:
        request = msgspec.structs.replace(HELLO, temperature=0.5, messages=(UserMessage((Text("\ud83d"),)),))
        async with upstream(failing(400, refusal("temperature is not supported")), saying(TEXT)) as server:
            _, body = await bodies(openai_provider(server, model_temperature=0.5), server, request)
        assert "temperature" not in body


@given(
    names=st.sets(st.sampled_from([*FOR_EVERY_MODEL, *OpenAIProvider.lessons])),
    choice=st.sampled_from(["auto", "none", "required", "add"]),
    calls=st.lists(st.integers(0, 3), max_size=4),
)
def test_any_lessons_leave_a_normalized_history(names: set[str], choice: str, calls: list[int]) -> None:
    turns = [AssistantMessage(tuple(ToolCall(f"{n}-{m}", "f", "{}") for m in range(n))) for n in calls]
    history = normalize_history(each for turn in turns for each in (REQUEST.messages[0], turn))
    request = msgspec.structs.replace(REQUEST, messages=history, tool_choice=choice)
    changed, _ = apply_lessons(request, dict.fromkeys(names))
    assert normalize_history(changed.messages) == changed.messages
    assert "single_calls" not in names or all(
        len(message.tool_calls) <= 1 for message in changed.messages if isinstance(message, AssistantMessage)
    )
    assert "tools" not in names or not changed.tools


class TestMostTokens:
    """The most tokens of an answer that a model takes, in the words of the refusals."""

    @pytest.mark.parametrize(
        ("message", "sent", "allowed"),
        [
            ("max_tokens: 100000 > 64000, which is the maximum for m-4-5", 100_000, 64_000),
            ("max_tokens is too large: 99999. This model supports at most 16384 tokens", 99_999, 16_384),
            ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", 9_000, 8192),
            ("The maximum tokens you requested exceeds the limit of 4096. Try a value lower than 4096.", 8192, 4095),
            ("max_tokens must be less than or equal to `8192`", 9000, 8192),
            ("maxOutputTokens of 70000, the range is from 1 (inclusive) to 65537 (exclusive)", 70_000, 65_536),
            ("Unsupported parameter: 'max_tokens' is not supported with gpt-5", 8192, None),
            ("`max_tokens` must be greater than `thinking.budget_tokens`: 2000", 8192, None),
            ("prompt is too long: 210000 tokens > 200000 maximum", 8192, None),
            ("max_tokens: 100000 > 64000, which is the maximum", None, None),
        ],
    )
    def test_is_read(self, message: str, sent: int | None, allowed: int | None) -> None:
        assert max_tokens_allowed(refusal(message), sent) == (allowed and str(allowed))

    @pytest.mark.parametrize(
        "message",
        [
            "'max_tokens' is too large: 8192. The context length is 4096 tokens and there are 4000 input",
            "context length is 4096 tokens. You asked 4000 in the messages, 8192 in the completion",
            "context length 4096. You sent 3900 in the messages, 100 in the functions, 8192 in the completion",
            "context length 4096. About 12192 (3900 of text input, 100 of tool input, 8192 in the output)",
        ],
    )
    async def test_what_a_long_history_leaves_is_the_most_of_its_own_answer_alone(self, message: str) -> None:
        asked = msgspec.structs.replace(HELLO, max_tokens=8192)
        async with upstream(failing(400, refusal(message)), saying(TEXT)) as server:
            provider = openai_provider(server)
            for _ in range(2):
                assert await collect_events(provider, asked)
        assert [json.loads(request.body)["max_tokens"] for request in server.requests] == [8192, 96, 8192]

    async def test_a_history_that_leaves_nothing_is_too_long_and_teaches_nothing(self) -> None:
        asked = msgspec.structs.replace(HELLO, max_tokens=8192)
        words = "maximum context length is 4096 tokens. You asked 4090 in the messages, 8192 in the completion"
        async with upstream(failing(400, refusal(words)), saying(TEXT)) as server:
            provider = openai_provider(server)
            _, error = await failure(provider, asked)
            assert isinstance(error, ModelInputTooLong)
            assert error.window == 4096
            assert await collect_events(provider, asked)
        assert [json.loads(request.body)["max_tokens"] for request in server.requests] == [8192, 8192]

    async def test_a_model_is_asked_again_with_it_and_later_requests_keep_to_it(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        refuses = failing(400, refusal("max_tokens is too large: 9000. This model supports at most 4096 tokens"))
        async with upstream(refuses, saying(TEXT)) as server:
            provider = openai_provider(server)
            for _ in range(2):
                assert await collect_events(provider, msgspec.structs.replace(HELLO, max_tokens=9000))
        assert [json.loads(request.body)["max_tokens"] for request in server.requests] == [9000, 4096, 4096]
        assert sum("the most tokens" in record.message for record in caplog.records) == 1

    async def test_a_lower_one_is_learned_later(self) -> None:
        def refuses(limit: int) -> Any:
            return failing(400, refusal(f"max_tokens is too large. This model supports at most {limit} tokens"))

        async with upstream(refuses(4096), saying(TEXT), refuses(2048), saying(TEXT)) as server:
            provider = openai_provider(server)
            for _ in range(2):
                assert await collect_events(provider, msgspec.structs.replace(HELLO, max_tokens=9000))
        assert [json.loads(request.body)["max_tokens"] for request in server.requests] == [9000, 4096, 4096, 2048]


class TestReasoningThatIsRefused:
    REFUSALS = (
        "Unrecognized request argument supplied: reasoning_effort",
        '"some-model" does not support thinking',
        "Function tools with reasoning_effort are not supported for gpt-5.4 in /v1/chat/completions.",
    )

    @pytest.mark.parametrize("words", REFUSALS)
    async def test_of_the_settings_is_left_out_and_later_too(self, words: str) -> None:
        async with upstream(failing(400, refusal(words)), saying(TEXT)) as server:
            provider = openai_provider(server, model_id="some-model", model_reasoning="high")
            for _ in range(2):
                assert await collect_events(provider, msgspec.structs.replace(HELLO, reasoning="high"))
        assert ["reasoning_effort" in json.loads(request.body) for request in server.requests] == [True, False, False]

    @pytest.mark.parametrize("words", REFUSALS)
    async def test_of_the_request_is_told_to_its_caller(self, words: str) -> None:
        """Also where it is left out of requests that do not ask for it themselves."""
        refuses, asked = failing(400, refusal(words)), msgspec.structs.replace(HELLO, reasoning="low")
        async with upstream(refuses, refuses, saying(TEXT), refuses) as server:
            provider = openai_provider(server, model_id="some-model", model_reasoning="high")
            _, first = await failure(provider, asked)
            assert await collect_events(provider, msgspec.structs.replace(HELLO, reasoning="high"))
            _, second = await failure(provider, asked)
        assert type(first) is type(second) is ModelRefused
        assert first.public_message == "The model does not accept this request: it refuses reasoning."
        efforts = [json.loads(request.body).get("reasoning_effort") for request in server.requests]
        assert efforts == ["low", "high", None, "low"]

    async def test_a_model_that_is_not_to_think_and_cannot_is_asked_without_it(self) -> None:
        async with upstream(failing(400, refusal(self.REFUSALS[0])), saying(TEXT)) as server:
            provider = openai_provider(server, model_id="some-model")
            assert await collect_events(provider, msgspec.structs.replace(HELLO, reasoning="none"))


@pytest.mark.parametrize("default", [None, 0.5])
async def test_a_temperature_that_is_refused_beside_top_p_is_told_or_is_the_settings(default: float | None) -> None:
    """Claude takes one of the two since 4.1: https://github.com/open-webui/pipelines/pull/546."""
    words = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
    answer = saying(transcripts.wire("anthropic", "text"))
    both, one = (msgspec.structs.replace(HELLO, temperature=0.5, top_p=each) for each in (0.9, None))
    async with upstream(failing(400, refusal(words)), answer, answer) as server:
        provider = provider_of("anthropic", server, model_temperature=default)
        if default is None:
            _, error = await failure(provider, both)
            assert isinstance(error, ModelRefused)
            assert "it refuses temperature" in (error.public_message or "")
        else:
            assert await collect_events(provider, both)
        assert await collect_events(provider, one)
    sent = [json.loads(request.body).get("temperature") for request in server.requests]
    assert sent == ([0.5, 0.5] if default is None else [0.5, None, 0.5])


@pytest.mark.parametrize("default", [None, 0.5])
async def test_a_temperature_that_is_refused_while_a_caller_lets_the_model_think_likewise(
    default: float | None,
) -> None:
    """Others, for whom it does not think, keep theirs."""
    words = "`temperature` may only be set to 1 when thinking is enabled."
    thinking = msgspec.structs.replace(HELLO, temperature=0.5, reasoning="high")
    async with upstream(failing(400, refusal(words)), saying(TEXT)) as server:
        provider = openai_provider(server, model_id="some-model", model_temperature=default)
        if default is None:
            _, error = await failure(provider, thinking)
            assert isinstance(error, ModelRefused)
            assert "it refuses temperature" in (error.public_message or "")
        else:
            assert await collect_events(provider, thinking)
        assert await collect_events(provider, msgspec.structs.replace(HELLO, temperature=0.5))
    sent = [json.loads(request.body).get("temperature") for request in server.requests]
    assert sent == ([0.5, 0.5] if default is None else [0.5, None, 0.5])
