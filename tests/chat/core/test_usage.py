"""Usage estimation: the tokens of a request and of an answer that the provider did not report."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    complete_usage,
    estimate_input,
    estimate_tokens,
)

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
