"""Usage estimation: the tokens of a turn that failed or was stopped, estimated from the length of its text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.core.events import Usage
from winterbourne.chat.core.messages import (
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
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.core.usage import CHARS_PER_TOKEN, TOKENS_PER_IMAGE, estimate_usage


@pytest.mark.parametrize(
    ("message", "chars"),
    [
        (SystemMessage("x" * 400), 400),
        (UserMessage((Text("x" * 300), Text("x" * 100))), 400),
        (AssistantMessage((Reasoning("x" * 200, "signature"), Text("x" * 200))), 400),
        (AssistantMessage((ToolCall("id", "name", "x" * 400),)), 400),
        (ToolMessage("id", "name", "x" * 400), 400),
    ],
)
def test_every_kind_of_message_counts_with_its_text(message: Message, chars: int) -> None:
    assert estimate_usage(ModelRequest(messages=(message,)), 0) == Usage(chars // CHARS_PER_TOKEN, 0)


def test_an_image_counts_the_same_however_large() -> None:
    small, large = (UserMessage((Image("image/png", data="x" * size),)) for size in (10, 1_000_000))
    assert estimate_usage(ModelRequest(messages=(small, large)), 0).input == 2 * TOKENS_PER_IMAGE


def test_instructions_and_tools_count_too() -> None:
    tool = ToolSchema("t", "d" * 400, {"type": "object"})
    assert estimate_usage(ModelRequest(messages=(), system="x" * 400), 0).input == 100
    assert estimate_usage(ModelRequest(messages=(), tools=(tool,)), 0).input > 100


@given(st.integers(0, 10**7), st.integers(0, 10**4))
def test_more_output_never_means_less_usage(chars: int, more: int) -> None:
    request = ModelRequest(messages=())
    assert estimate_usage(request, chars).output <= estimate_usage(request, chars + more).output <= (chars + more) / 4
