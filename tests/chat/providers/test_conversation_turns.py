"""Provider turns in a conversation: the next request returns to the provider what it needs."""

import json
from typing import Any

import pytest

from tests import transcripts
from tests.chat.fakes import RecordingEmit
from tests.upstream import Upstream, saying, upstream
from winterbourne.chat.core.conversation import Conversation
from winterbourne.chat.core.events import ConversationEnded
from winterbourne.chat.core.messages import ChatRequest, Message, Text, UserMessage
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.declaration import tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor


@tool
async def f(x: int) -> int:
    """Double a number.

    Args:
        x: The number.
    """
    return 2 * x


async def run_conversation(provider: str, server: Upstream) -> RecordingEmit:
    emitted, stored = RecordingEmit(), list[Message]()
    settings = Settings.of(
        model_provider=provider,
        anthropic_base_url=server.url,
        bedrock_base_url=server.url,
        openai_base_url=server.url,
        aws_bearer_token_bedrock="key",
    )
    await Conversation(
        request=ChatRequest(messages=(UserMessage((Text("double one"),)),)),
        provider=make_provider(settings.model),
        tools=ToolExecutor([f], settings.tools),
        emit=emitted,
        on_message=stored.append,
        on_usage=lambda _: None,
        max_turns=5,
    ).run()
    return emitted


async def second_request(provider: str, *answers: str) -> list[dict[str, Any]]:
    async with upstream(*(saying(transcripts.wire(provider, name)) for name in answers)) as server:
        emitted = await run_conversation(provider, server)
    assert isinstance(emitted[-1], ConversationEnded)
    messages: list[dict[str, Any]] = json.loads(server.requests[1].body)["messages"]
    return messages


async def test_reasoning_of_anthropic_goes_back_unchanged_before_the_results() -> None:
    _, assistant, results = await second_request("anthropic", "thinking", "text")
    assert assistant["content"][:2] == [
        {"type": "thinking", "thinking": "Let me think.", "signature": "EqQB"},
        {"type": "redacted_thinking", "data": "b3BhcXVl"},
    ]
    (result,) = results["content"]
    assert result.pop("cache_control") == {"type": "ephemeral"}
    assert result == {"type": "tool_result", "tool_use_id": "toolu_a", "content": "2", "is_error": False}


async def test_a_paused_turn_is_resumed_with_its_text() -> None:
    _, assistant = await second_request("anthropic", "pause_turn", "text")
    assert assistant == {"role": "assistant", "content": [{"type": "text", "text": "Searching"}]}


@pytest.mark.parametrize(
    ("provider", "name"),
    [("openai", "arguments_broken"), ("anthropic", "arguments_broken"), ("bedrock", "arguments_broken")],
)
async def test_invalid_arguments_become_an_error_result_and_the_conversation_continues(
    provider: str, name: str
) -> None:
    sent = json.dumps(await second_request(provider, name, "text"))
    assert "broken_arguments" in sent


@pytest.mark.parametrize("provider", ["openai", "anthropic", "bedrock"])
async def test_a_truncated_call_is_not_run(provider: str) -> None:
    name = "length_in_arguments" if provider == "openai" else "max_tokens_in_arguments"
    async with upstream(saying(transcripts.wire(provider, name))) as server:
        emitted = await run_conversation(provider, server)
    assert {getattr(event, "id", "") for event in emitted if type(event).__name__ == "ToolFinished"} == {
        {"openai": "call_a", "anthropic": "toolu_a", "bedrock": "tooluse_a"}[provider]
    }
    assert isinstance(emitted[-1], ConversationEnded)
    assert emitted[-1].stop_reason == "max_tokens"
