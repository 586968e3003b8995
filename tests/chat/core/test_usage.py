"""Usage: the tokens of a request and of an answer that the provider did not report; what turns cost."""

import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.processes import run
from winterbourne.chat.core.events import Usage
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Document,
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
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.core.usage import (
    MIN_TOKENS_PER_DOCUMENT,
    TOKENS_PER_IMAGE,
    TOKENS_PER_MESSAGE,
    Price,
    Prices,
    complete_usage,
    estimate_input,
    estimate_tokens,
    micro_dollars,
)
from winterbourne.chat.errors import SettingsError
from winterbourne.chat.infra import telemetry
from winterbourne.chat.settings import ModelSettings

PROSE = (
    "The harbour was quiet in the early morning. A few boats came back from the night's fishing, and the men on them"
    " were tired but content. She walked along the quay with a cup of coffee, thinking about what her brother had"
    " written: that the house would be sold by the end of the summer, whatever anybody said, and that she should come"
    " home before it was too late to take anything with her."
)
CHINESE = "海港在清晨很安静几艘船从夜间捕鱼归来船上的人们疲惫但满足她端着一杯咖啡沿着码头走着想着她哥哥写的话"


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        # https://help.openai.com/en/articles/4936856-what-are-tokens-and-how-to-count-them
        ("You miss 100% of the shots you don't take", 11),
        ("Cómo estás", 5),
        pytest.param(PROSE, len(PROSE) / 4, id="1 token is about 4 characters"),
        pytest.param(PROSE, len(PROSE.split()) * 4 / 3, id="100 tokens are about 75 words"),
        # https://github.com/openai/openai-cookbook/blob/main/examples/How_to_count_tokens_with_tiktoken.ipynb
        ("tiktoken is great!", 6),
        ("antidisestablishmentarianism", 6),
        ("お誕生日おめでとう", 9),
        # https://ai.google.dev/api/tokens
        ("The quick brown fox jumps over the lazy dog.", 10),
        # https://api-docs.deepseek.com/quick_start/token_usage
        pytest.param(PROSE, len(PROSE) * 0.3, id="1 English character is about 0.3 tokens"),
        pytest.param(CHINESE, len(CHINESE) * 0.6, id="1 Chinese character is about 0.6 tokens"),
    ],
)
def test_the_providers_own_examples_are_met_within_a_quarter(text: str, tokens: float) -> None:
    assert 0.75 * tokens <= estimate_tokens(text) <= 1.25 * tokens


def user(text: str) -> UserMessage:
    return UserMessage((Text(text),))


WEATHER = ToolSchema(
    "get_current_weather",
    "Get the current weather in a given location",
    {
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
            "unit": {
                "type": "string",
                "description": "The unit of temperature to return",
                "enum": ["celsius", "fahrenheit"],
            },
        },
        "required": ["location"],
    },
)


@pytest.mark.parametrize(
    ("request_", "tokens"),
    [
        # The notebook named above: a chat without and with a tool.
        (
            ModelRequest(
                system="You are a helpful, pattern-following assistant that translates corporate jargon into plain"
                " English.",
                messages=(
                    user("New synergies will help drive top-line growth."),
                    AssistantMessage((Text("Things working well together will increase revenue."),)),
                    user(
                        "Let's circle back when we have more bandwidth to touch base on opportunities for increased"
                        " leverage."
                    ),
                    AssistantMessage((Text("Let's talk later when we're less busy about how to do better."),)),
                    user(
                        "This late pivot means we don't have time to boil the ocean for the client deliverable.",
                    ),
                ),
            ),
            124,
        ),
        (
            ModelRequest(
                system="You are a helpful assistant that can answer to questions about the weather.",
                messages=(user("What's the weather like in Pittsburgh today?"),),
                tools=(WEATHER,),
            ),
            101,
        ),
        # https://platform.claude.com/docs/en/build-with-claude/token-counting
        (ModelRequest(system="You are a scientist", messages=(user("Hello, Claude"),)), 14),
    ],
)
def test_chats_are_met_within_a_quarter_too(request_: ModelRequest, tokens: int) -> None:
    assert 0.75 * tokens <= estimate_input(request_) <= 1.25 * tokens


@pytest.mark.parametrize(
    "message",
    [
        SystemMessage("x" * 400),
        UserMessage((Text("x" * 300), Text("x" * 100))),
        AssistantMessage((Reasoning("x" * 200, "signature"), Text("x" * 200))),
        AssistantMessage((ToolCall("id", "x" * 100, "x" * 300),)),
        ToolMessage("id", "name", "x" * 400),
    ],
)
def test_every_kind_of_message_counts_with_its_text(message: Message) -> None:
    assert estimate_input(ModelRequest(messages=(message,))) == 100 + TOKENS_PER_MESSAGE


def test_an_image_counts_the_same_however_large() -> None:
    small, large = (UserMessage((Image("image/png", data="x" * size),)) for size in (10, 1_000_000))
    estimated = estimate_input(ModelRequest(messages=(small, large)))
    assert estimated == 2 * (TOKENS_PER_IMAGE + TOKENS_PER_MESSAGE)


def test_a_document_counts_by_its_size() -> None:
    small, large = (UserMessage((Document("application/pdf", data="x" * size),)) for size in (10, 100_000))
    estimated = estimate_input(ModelRequest(messages=(small, large)))
    assert estimated == MIN_TOKENS_PER_DOCUMENT + 5000 + 2 * TOKENS_PER_MESSAGE


REQUEST = ModelRequest(messages=(user("x" * 400),))


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        (Usage(7, 3, 2), Usage(7, 3, 2)),
        (Usage(), Usage(104, 10)),
        (Usage(7, 0, 2), Usage(7, 10, 2)),
        (Usage(0, 3), Usage(104, 3)),
    ],
)
def test_only_what_was_not_reported_is_estimated(reported: Usage, usage: Usage) -> None:
    assert complete_usage(reported, REQUEST, ["x" * 39, "x"]) == usage


def test_no_output_is_not_estimated() -> None:
    assert complete_usage(Usage(7, 0), REQUEST, []) == Usage(7, 0)


@given(st.text(st.characters()), st.text(st.characters()))
def test_more_text_never_means_less_usage(text: str, more: str) -> None:
    longer = estimate_tokens(text + more)
    assert max(estimate_tokens(text), estimate_tokens(more)) <= longer <= 2 * len(text + more)
    assert (longer > 0) == any(text + more)


def test_a_large_history_takes_no_longer_than_a_moment() -> None:
    started = time.process_time()
    estimate_tokens("The harbour was quiet. " * 50_000)
    assert time.process_time() - started < 1


def cost(model: str, usage: Usage, **settings: Any) -> float | None:
    """What a turn costs with these settings."""
    return Prices(ModelSettings(**settings)).cost(model, usage)


def known(model: str, usage: Usage, **settings: Any) -> float:
    dollars = cost(model, usage, **settings)
    assert dollars is not None
    return dollars


EXAMPLES = [
    # https://platform.claude.com/docs/en/build-with-claude/prompt-caching: 100,000 tokens read from the cache, 50 after
    # them; an hour's cache is written at twice the price of input, that of five minutes at 1.25 times, read at a tenth.
    ("anthropic:claude-sonnet-4-5", "auto", Usage(100_050, 0, 100_000), 100_000 * 0.3e-6 + 50 * 3e-6),
    (
        "anthropic:claude-opus-4-5-20251101",
        "auto",
        Usage(10_000, 100, 0, 9_000),
        (1_000 + 9_000 * 1.25) * 5e-6 + 0.0025,
    ),
    ("anthropic:claude-opus-4-5-20251101", "1h", Usage(10_000, 100, 0, 9_000), (1_000 + 9_000 * 2) * 5e-6 + 0.0025),
    # https://platform.openai.com/docs/guides/prompt-caching: the usage of its example, at $2.50, $1.25 and $10.
    ("openai:gpt-4o-2024-08-06", "auto", Usage(2006, 300, 1920), 86 * 2.5e-6 + 1920 * 1.25e-6 + 300 * 10e-6),
    # https://stackoverflow.com/questions/79451488: the sum that its answer comes to for gpt-4o-mini.
    ("openai:gpt-4o-mini", "auto", Usage(1204, 12, 1024), 0.000111),
    # https://zilliz.com/ai-faq (Bedrock): 500 tokens at $0.003 and 300 at $0.015 for a thousand.
    ("bedrock:anthropic.claude-3-5-sonnet-20240620-v1:0", "auto", Usage(500, 300), 0.006),
    # https://aws.amazon.com/bedrock/pricing: Nova Micro, $0.000035 and $0.00014 for a thousand, US East.
    ("bedrock:us.amazon.nova-micro-v1:0", "auto", Usage(11_000, 4_000), 11 * 0.000035 + 4 * 0.00014),
    # https://platform.claude.com/docs/en/about-claude/pricing: regional profiles of Bedrock cost a tenth more.
    ("bedrock:eu.anthropic.claude-haiku-4-5-20251001-v1:0", "auto", Usage(1_000, 1_000), 1.1 * 0.006),
]


class TestDocumentedExamples:
    @pytest.mark.parametrize(("model", "cache", "usage", "dollars"), EXAMPLES)
    def test_cost_what_the_documentation_says(self, model: str, cache: str, usage: Usage, dollars: float) -> None:
        assert cost(model, usage, model_cache=cache) == pytest.approx(dollars, rel=0.01)

    def test_writing_to_openais_cache_costs_the_same_however_long_others_are_kept(self) -> None:
        """MODEL_CACHE=1h is about marks; OpenAI is asked for no longer one."""
        usage = Usage(10_000, 0, 0, 10_000)
        for model_cache in ("auto", "1h"):
            assert cost("openai:gpt-6-sol", usage, model_cache=model_cache) == pytest.approx(0.025)

    def test_input_beyond_the_models_limit_costs_more_all_of_it(self) -> None:
        model = "anthropic:claude-haiku-5-5"
        assert cost(model, Usage(100_000, 100)) == pytest.approx(100_000 * 0.1e-6 + 100 * 0.5e-6)
        assert cost(model, Usage(100_001, 100)) == pytest.approx(100_001 * 0.5e-6 + 100 * 2.5e-6)


class TestPrices:
    @pytest.mark.parametrize(
        ("model", "settings"),
        [
            ("openai:gpt-5.4-mini", {}),
            ("openai:gpt-5.4-mini-2026-03-17", {}),
            ("openai:deepseek-chat", {"openai_base_url": "https://api.deepseek.com/v1"}),
            ("openai:openai/gpt-oss-120b", {"openai_base_url": "https://api.groq.com/openai/v1"}),
            ("openai:mistral-large-latest", {"openai_base_url": "https://api.mistral.ai/v1"}),
            ("openai:gemini-2.5-pro", {"openai_base_url": "https://generativelanguage.googleapis.com/v1beta/openai"}),
            ("openai:grok-4.6", {"openai_base_url": "https://api.x.ai/v1"}),
            ("bedrock:global.amazon.nova-2-lite-v1:0", {"bedrock_base_url": "https://vpce-1.example"}),
            ("bedrock:us.amazon.nova-premier-v1:0", {}),
        ],
    )
    def test_are_known_of_the_providers_own_hosts(self, model: str, settings: dict[str, str]) -> None:
        assert known(model, Usage(1000, 10), **settings) > 0

    @pytest.mark.parametrize(
        ("model", "settings"),
        [
            ("openai:gpt-9", {}),
            ("openai:gpt-5.4-mini-turbo", {}),
            ("openai:gpt-5.4-mini", {"openai_base_url": "http://127.0.0.1:11434/v1"}),
            ("anthropic:claude-haiku-4-5", {"anthropic_base_url": "https://gateway.example"}),
            ("mine:gpt-5.4-mini", {}),
            ("scripted:", {}),
        ],
    )
    def test_of_others_are_not_made_up(self, model: str, settings: dict[str, Any]) -> None:
        prices = Prices(ModelSettings(**settings))
        assert prices.cost(model, Usage(1000, 10)) is None
        assert prices.priced(model, Usage(1000, 10)) == Usage(1000, 10)
        assert prices.highest(model, 1000, 10) == 0.0

    def test_of_a_provider_of_ones_own_are_not_those_of_its_namesake(self) -> None:
        assert Prices(ModelSettings(), {"openai"}).cost("openai:gpt-4o", Usage(1, 1)) is None

    @pytest.mark.parametrize("pattern", ["llama-*", "llama-4", "openai:llama-4", "*"])
    def test_of_ones_own_come_first(self, pattern: str) -> None:
        own = f'{{"{pattern}": {{"input": 2, "output": 6, "cached": 1, "cache_write": 3}}}}'
        usage = Usage(1000, 100, 500, 200)
        assert cost("openai:llama-4", usage, model_prices=own) == pytest.approx((300 * 2 + 500 + 600 + 600) / 1e6)

    def test_of_a_cache_that_are_not_named_are_those_of_input(self) -> None:
        own = '{"m": {"input": 2, "output": 6}}'
        assert cost("mine:m", Usage(1000, 100, 500, 200), model_prices=own) == pytest.approx(0.0026)

    @pytest.mark.parametrize(
        "text",
        [
            "{",
            "[]",
            '{"m": 3}',
            '{"m": {"input": 1}}',
            '{"m": {"input": -1, "output": 1}}',
            '{"m": {"input": "1", "output": 1}}',
            '{"m": {"input": 1, "output": 1, "cache": 1}}',
        ],
    )
    def test_that_are_not_valid_are_an_error_that_names_the_setting(self, text: str) -> None:
        with pytest.raises(SettingsError, match=r"^MODEL_PRICES: "):
            Prices(ModelSettings(model_prices=text))

    def test_that_have_another_shape_are_an_error_that_names_the_model_and_the_field(self) -> None:
        with pytest.raises(SettingsError, match=r"^MODEL_PRICES: my-llama: object contains unknown field cache$"):
            Prices(ModelSettings(model_prices='{"my-llama": {"input": 1, "output": 1, "cache": 1}}'))

    @pytest.mark.parametrize("must_know", [True, False])
    def test_that_are_not_known_are_warned_of_once_if_there_is_a_limit_in_dollars(
        self, caplog: pytest.LogCaptureFixture, *, must_know: bool
    ) -> None:
        prices = Prices(ModelSettings(), must_know=must_know)
        for _ in range(3):
            prices.cost("mine:m", Usage(1, 1))
        assert len(caplog.records) == must_know
        assert ("the price of mine:m is not known" in caplog.text) is must_know

    def test_are_measured_by_model(self) -> None:
        with telemetry.request_scope("r-1", telemetry.make_logger(), "chat") as record:
            priced = Prices(ModelSettings()).priced("openai:gpt-4o", Usage(1000, 100))
        assert priced == Usage(1000, 100, cost=0.0035)
        assert ("CostUsd", 0.0035, "openai:gpt-4o") in record.measurements

    def test_are_read_when_they_are_needed(self) -> None:
        code = """
        import sys
        from winterbourne.chat.core.usage import Prices, Usage
        from winterbourne.chat.settings import ModelSettings
        prices = Prices(ModelSettings())
        print("winterbourne.chat.core.price_table" in sys.modules)
        prices.cost("openai:gpt-4o", Usage(1, 1))
        print("winterbourne.chat.core.price_table" in sys.modules)
        """
        assert run(code).split() == ["False", "True"]


class TestDollars:
    COUNTS = st.integers(0, 2_000_000)
    PRICES = st.builds(Price, *[st.floats(0, 200)] * 2, *[st.none() | st.floats(0, 200)] * 2)

    @given(PRICES, COUNTS, COUNTS, COUNTS, COUNTS)
    def test_are_the_sum_of_the_parts_each_at_its_price(
        self, price: Price, plain: int, cached: int, written: int, output: int
    ) -> None:
        of_cached, of_written = (price.input if each is None else each for each in (price.cached, price.cache_write))
        parts = plain * price.input, cached * of_cached, written * of_written, output * price.output
        usage = Usage(plain + cached + written, output, cached, written)
        assert price.dollars(usage) == pytest.approx(sum(parts) / 1e6)

    @given(PRICES, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
    def test_are_never_negative_and_more_tokens_never_cost_less(
        self, price: Price, tokens: int, output: int, cached: int, written: int, more: int
    ) -> None:
        """Whatever a provider reports: also more cached tokens than input."""
        dollars = price.dollars(Usage(tokens, output, cached, written))
        assert dollars >= 0
        assert price.dollars(Usage(tokens + more, output, cached, written)) >= dollars * (1 - 1e-9)
        assert price.dollars(Usage(tokens, output + more, cached, written)) >= dollars

    @given(st.sampled_from([model for model, *_ in EXAMPLES]), COUNTS, COUNTS, st.data())
    def test_of_a_turn_are_at_most_what_was_reserved_for_it(
        self, model: str, tokens: int, output: int, data: st.DataObject
    ) -> None:
        cached = data.draw(st.integers(0, tokens))
        usage = Usage(tokens, output, cached, data.draw(st.integers(0, tokens - cached)))
        assert known(model, usage) <= Prices(ModelSettings()).highest(model, tokens, output) + sys.float_info.epsilon

    @given(st.lists(st.integers(0, 10**9), max_size=50))
    def test_in_millionths_are_as_many_as_their_sum(self, amounts: list[int]) -> None:
        assert micro_dollars(sum(amount / 1e6 for amount in amounts)) == sum(amounts)

    def test_in_millionths_are_rounded_up(self) -> None:
        assert [micro_dollars(dollars) for dollars in (0, 1e-9, 1e-6, 1.1e-6)] == [0, 1, 1, 2]
