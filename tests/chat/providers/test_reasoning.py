"""How reasoning is asked for: in each provider's words, within its limits, and beside what the settings say."""

from types import ModuleType
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.providers.provider_helpers import KEY, TOOLS, body_of
from tests.upstream import upstream
from winterbourne.chat.core.events import TurnEnded
from winterbourne.chat.core.messages import Text, UserMessage
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.providers import anthropic, bedrock, openai
from winterbourne.chat.providers.capabilities import LEVELS
from winterbourne.chat.providers.stream_parser import StreamParser
from winterbourne.chat.settings import ModelSettings

ASKED = UserMessage((Text("Why?"),))
SUMMARIZED = {"type": "adaptive", "display": "summarized"}
DROP = {"prefix_mismatch_behavior": "drop_block"}
SHOWN = {"effort": "xhigh", "summary": "auto"}
LOW = {"effort": "low", "summary": "auto"}
HOSTS = {
    "gpt": "https://api.openai.com/v1",
    "deepseek": "https://api.deepseek.com",
    "kimi": "https://api.moonshot.ai/v1",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/openai",
}


def body(module: ModuleType, model_id: str, *, host: str = "", extra: Any = None, **options: Any) -> dict[str, Any]:
    """What is sent; on Bedrock what is for the model."""
    settings = ModelSettings(
        model_id=model_id,
        openai_base_url=HOSTS.get(host, "http://localhost/v1"),
        openai_api=options.pop("api", "chat"),
        show_reasoning=options.pop("show_reasoning", True),
    )
    request = ModelRequest(messages=(ASKED,), **options)
    sent = body_of(module, request, settings, extra_body=extra or {})
    return sent.get("additionalModelRequestFields") or {} if module is bedrock else sent


CASES: list[tuple[ModuleType, str, str, str, dict[str, Any]]] = [
    (openai, "gpt", "gpt-5.4-mini", "minimal", {"reasoning_effort": "low"}),
    (openai, "gpt", "gpt-5.4-mini", "none", {"reasoning_effort": "none"}),
    (openai, "gpt", "gpt-5.4-mini", "max", {"reasoning_effort": "xhigh"}),
    (openai, "gpt", "gpt-5", "none", {"reasoning_effort": "minimal"}),
    (openai, "gpt", "gpt-5", "max", {"reasoning_effort": "high"}),
    (openai, "gemini", "gemini-3-flash-preview", "none", {"reasoning_effort": "minimal"}),
    (openai, "", "some-model", "max", {"reasoning_effort": "high"}),
    (openai, "kimi", "kimi-k3", "medium", {"reasoning_effort": "high"}),
    (openai, "kimi", "kimi-k2.5", "none", {"thinking": {"type": "disabled"}}),
    (openai, "kimi", "kimi-k2.5", "minimal", {"thinking": {"type": "disabled"}}),
    (openai, "kimi", "kimi-k2.5", "low", {"thinking": {"type": "enabled"}}),
    (openai, "deepseek", "deepseek-v4-pro", "none", {"thinking": {"type": "disabled"}}),
    (openai, "deepseek", "deepseek-v4-pro", "max", {"thinking": {"type": "enabled"}, "reasoning_effort": "max"}),
    (anthropic, "", "claude-haiku-4-5", "none", {"thinking": {"type": "disabled"}}),
    (anthropic, "", "claude-haiku-4-5", "minimal", {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
    (anthropic, "", "claude-haiku-4-5", "low", {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
    (anthropic, "", "claude-haiku-4-5", "high", {"thinking": {"type": "enabled", "budget_tokens": 6144}}),
    (anthropic, "", "claude-opus-4-7", "max", {"thinking": SUMMARIZED, "output_config": {"effort": "max"}}),
    (anthropic, "", "claude-opus-4-7", "minimal", {"thinking": SUMMARIZED, "output_config": {"effort": "low"}}),
    (anthropic, "", "claude-opus-4-7", "none", {"thinking": {"type": "disabled"}}),
    (anthropic, "", "claude-sonnet-5-5", "none", {"thinking": {"type": "between_tools"}}),
    (
        anthropic,
        "",
        "claude-opus-5-5",
        "none",
        {"thinking": {**SUMMARIZED, "block_binding": DROP}, "output_config": {"effort": "low"}},
    ),
    (
        bedrock,
        "",
        "us.anthropic.claude-haiku-4-5-v1:0",
        "low",
        {"thinking": {"type": "enabled", "budget_tokens": 2048}},
    ),
    (
        bedrock,
        "",
        "global.amazon.nova-2-lite-v1:0",
        "high",
        {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}},
    ),
    (bedrock, "", "global.amazon.nova-2-lite-v1:0", "none", {"reasoningConfig": {"type": "disabled"}}),
    (bedrock, "", "openai.gpt-oss-120b-1:0", "none", {"reasoning_effort": "low"}),
    (bedrock, "", "openai.gpt-5.6-sol", "max", {"reasoning": {"effort": "xhigh"}}),
    (bedrock, "", "qwen.qwen3-32b-v1:0", "max", {"reasoning_config": "high"}),
    (bedrock, "", "deepseek.v3.2", "none", {"reasoning_effort": "none"}),
    (bedrock, "", "us.meta.llama4-maverick-17b-instruct-v1:0", "high", {}),
]
FIELDS = ("reasoning_effort", "reasoning", "thinking", "output_config", "reasoning_config", "reasoningConfig")


@pytest.mark.parametrize(("module", "host", "model_id", "level", "sent"), CASES)
def test_a_level_is_asked_for_in_the_providers_words(
    module: ModuleType, host: str, model_id: str, level: str, sent: dict[str, Any]
) -> None:
    asked = body(module, model_id, host=host, reasoning=level, max_tokens=8192)
    assert {name: asked[name] for name in FIELDS if name in asked} == sent


@pytest.mark.parametrize("model_id", ["claude-haiku-4-5", "claude-opus-4-7"])
def test_a_model_that_is_not_asked_does_what_it_does_by_itself(model_id: str) -> None:
    assert "thinking" not in body(anthropic, model_id)


@pytest.mark.parametrize(
    ("level", "reasoning"), [(None, None), ("none", {"effort": "none"}), ("max", SHOWN), ("minimal", LOW)]
)
def test_responses_are_asked_for_a_summary_too(level: str | None, reasoning: object) -> None:
    assert body(openai, "gpt-5.4-mini", host="gpt", api="responses", reasoning=level).get("reasoning") == reasoning


@pytest.mark.parametrize("model_id", ["claude-haiku-4-5", "claude-opus-4-7"])
def test_text_that_nobody_is_shown_is_left_out_by_the_provider(model_id: str) -> None:
    """So its signature is whole without it, and goes to and fro with a history that the client keeps."""
    sent = body(anthropic, model_id, reasoning="high", max_tokens=8192, show_reasoning=False)
    assert sent["thinking"]["display"] == "omitted"


def test_a_server_that_may_not_know_that_is_not_asked_for_it() -> None:
    sent = body(anthropic, "some-model", reasoning="high", max_tokens=8192, show_reasoning=False)
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": 6144}


def test_one_that_thinks_by_itself_is_told_whether_to_show_it() -> None:
    assert body(anthropic, "claude-opus-5")["thinking"] == SUMMARIZED
    assert body(anthropic, "claude-opus-5", show_reasoning=False)["thinking"]["display"] == "omitted"
    assert "output_config" not in body(anthropic, "claude-opus-5")


@given(st.sampled_from(LEVELS[1:]), st.integers(1, 200_000))
def test_a_budget_leaves_tokens_for_the_answer(level: str, max_tokens: int) -> None:
    sent = body(anthropic, "claude-haiku-4-5", reasoning=level, max_tokens=max_tokens)
    assert sent["max_tokens"] == min(max_tokens, 64_000)
    assert "thinking" in sent or max_tokens < 1366
    assert (
        1024 <= sent.get("thinking", {"budget_tokens": 1024})["budget_tokens"] <= max(1024, sent["max_tokens"] * 3 / 4)
    )


def test_the_extra_body_wins() -> None:
    extra = {"thinking": {"type": "enabled", "budget_tokens": 1500}}
    assert body(anthropic, "claude-haiku-4-5", extra=extra, reasoning="high")["thinking"] == extra["thinking"]


@pytest.mark.parametrize(
    ("model_id", "level", "temperature"),
    [
        ("claude-haiku-4-5", "high", None),
        ("claude-haiku-4-5", "none", 0.5),
        ("claude-haiku-4-5", None, 0.5),
        ("claude-opus-4-7", None, None),
        ("claude-opus-4-6", "low", None),
        ("claude-opus-4-6", "none", 0.5),
    ],
)
def test_a_temperature_is_left_out_where_the_model_takes_none(
    model_id: str, level: str | None, temperature: float | None
) -> None:
    assert body(anthropic, model_id, reasoning=level, temperature=0.5).get("temperature") == temperature


@pytest.mark.parametrize(("level", "temperature"), [("high", None), ("none", 0.5), (None, 0.5)])
def test_so_is_that_of_openai(level: str | None, temperature: float | None) -> None:
    assert body(openai, "gpt-5.4-mini", host="gpt", reasoning=level, temperature=0.5).get("temperature") == temperature


def test_no_call_is_forced_while_a_model_thinks_that_does_not_take_it() -> None:
    sent = body(openai, "deepseek-v4-pro", host="deepseek", tools=TOOLS, tool_choice="required")
    assert sent["tool_choice"] == "auto"
    sent = body(openai, "deepseek-v4-pro", host="deepseek", tools=TOOLS, tool_choice="required", reasoning="none")
    assert sent["tool_choice"] == "required"


@pytest.mark.parametrize(("model_id", "beta"), [("claude-sonnet-5-5", True), ("claude-opus-5", False)])
async def test_claude_whose_thinking_is_bound_is_asked_for_the_beta_that_unbinds_it(
    model_id: str, *, beta: bool
) -> None:
    seen: dict[str, str] = {}

    async def answer(exchange: Any) -> None:
        seen.update(exchange.headers)
        await exchange.start(400)
        await exchange.end()

    async with upstream(answer) as server:
        settings = ModelSettings(anthropic_base_url=server.url, anthropic_api_key=KEY, model_id=model_id)
        with pytest.raises(Exception, match="rejected"):
            async for _ in anthropic.make(settings).stream(ModelRequest(messages=(ASKED,))):
                pass
    assert ("anthropic-beta" in seen) == beta


def test_on_bedrock_the_beta_is_a_field() -> None:
    assert "anthropic_beta" in body(bedrock, "us.anthropic.claude-sonnet-5-5-v1:0")
    assert "anthropic_beta" not in body(bedrock, "us.anthropic.claude-opus-5-v1:0")


@pytest.mark.parametrize(
    ("parser_type", "frames", "reasoning"),
    [
        (
            openai.OpenAIParser,
            [
                {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]},
                {
                    "choices": [],
                    "usage": {"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 7}},
                },
            ],
            7,
        ),
        (
            openai.OpenAIParser,
            [
                {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]},
                {"usage": {"completion_tokens": 9, "completion_tokens_details": "odd"}},
            ],
            0,
        ),
        (
            anthropic.AnthropicParser,
            [
                {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Hi"}},
                {
                    "type": "message_delta",
                    "delta": {"stop_reason": "end_turn"},
                    "usage": {"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 7}},
                },
                {"type": "message_stop"},
            ],
            7,
        ),
    ],
)
def test_tokens_of_reasoning_are_in_the_usage(
    parser_type: type[StreamParser[bytes]], frames: list[dict[str, Any]], reasoning: int
) -> None:
    parser = parser_type()
    events = parser.feed(b"".join(b"data: %b\n\n" % orjson.dumps(frame) for frame in frames))
    (usage,) = (event.usage for event in (*events, *parser.close()) if isinstance(event, TurnEnded))
    assert (usage.output, usage.reasoning) == (9, reasoning)


@pytest.mark.parametrize(
    ("reported", "output", "reasoning"),
    [
        # https://github.com/vercel/ai/pull/12425 (xAI)
        ({"prompt_tokens": 12, "completion_tokens": 1, "total_tokens": 399}, 387, 386),
        # https://discuss.ai.google.dev/t/127400 (Gemini), which does not tell of reasoning at all
        ({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 105}, 96, 93),
        ({"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 60}, 51, 51),
        ({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}, 3, 0),
        ({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 5}, 3, 0),
        ({"completion_tokens": 3, "total_tokens": 900}, 3, 0),
    ],
)
def test_reasoning_that_is_only_in_the_total_is_output(reported: dict[str, int], output: int, reasoning: int) -> None:
    """It is charged as output, so it has to count in costs and limits."""
    parser = openai.OpenAIParser()
    parser.feed(b"data: %b\n\n" % orjson.dumps({"choices": [], "usage": reported}))
    usage = parser.assembler.usage
    assert (usage.output, usage.reasoning) == (output, reasoning)
