"""Every level of reasoning, with any history and options: no family refuses what it is sent."""

import re
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.providers.clients import CLIENTS, Talk
from tests.contract.providers.fake import strict_providers
from tests.contract.providers.families import FAMILIES
from tests.contract.providers.requests import Given, read_request
from tests.contract.providers.rules import RULES, refusals
from tests.contract.providers.scenarios import client_tool, loop_of_three_turns, question_after_a_tool_loop
from winterbourne.chat.core.messages import (
    AssistantMessage,
    AssistantPart,
    Message,
    Opaque,
    Reasoning,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UserMessage,
)
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.providers.capabilities import LEVELS
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.providers.http_provider import HttpProvider
from winterbourne.chat.settings import Settings

pytestmark = pytest.mark.usefixtures("own_hooks")

LEARNED = {rule.name for rule in RULES if rule.may_be_learned}
TOOL = ToolSchema("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}})
QUESTION = UserMessage((Text("1 + 2?"),))
SIGNED = Reasoning("Thought.", "sig/Thought==")
GIVEN = Given(
    thinking=[
        {"type": "thinking", "thinking": SIGNED.text, "signature": SIGNED.signature},
        {"reasoningText": {"text": SIGNED.text, "signature": SIGNED.signature}},
    ]
)
THOUGHTS = {
    "thinking": SIGNED,
    "reasoning_content": Reasoning("Thought.", opaque=Opaque(field="reasoning_content")),
}
"""As a family sends them; the others send none that they want back."""
STEPS = st.lists(st.sampled_from(["ask", "answer", "call", "think and answer", "think and call"]), max_size=6)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "reasoning": st.sampled_from(LEVELS),
        "temperature": st.sampled_from([0.0, 0.5, 2.0]),
        "max_tokens": st.sampled_from([1, 500, 1365, 1366, 2048, 8192, 200_000]),
        "tool_choice": st.sampled_from(["auto", "none", "required", "add"]),
    },
)


def provider_of(family: str, **settings: object) -> HttpProvider:
    provider = make_provider(Settings.of(**FAMILIES[family].settings(8080), **settings).model)
    assert isinstance(provider, HttpProvider)
    return provider


def history(steps: list[str], thought: Reasoning) -> tuple[Message, ...]:
    """A normalized history that ends with a question or with results. A tool loop is with thinking, or without."""
    messages: list[Message] = [QUESTION]
    loop: list[AssistantPart] | None = None
    for number, step in enumerate(steps):
        parts: list[AssistantPart] = [thought] if step.startswith("think") else []
        if step.endswith("call"):
            loop = parts if loop is None else loop
            call = ToolCall(f"tool{number:05d}", "add", '{"a":1}')
            messages += [AssistantMessage((*loop, call)), ToolMessage(call.id, "add", "3")]
            continue
        loop = None
        messages += [QUESTION] if step == "ask" else [AssistantMessage((*parts, Text("3."))), QUESTION]
    return tuple(messages)


def refused(family: str, provider: HttpProvider, request: ModelRequest) -> list[str]:
    """Why the family would refuse the request; what its refusal may teach does not count."""
    body: Mapping[str, Any] = orjson.loads(provider.encode(request)[1])
    kind = FAMILIES[family]
    seen = read_request(family, kind.dialect, body, GIVEN, thinks=kind.thinks(body))
    return [f"{each.rule.name}: {each.message}" for each in refusals(seen) if each.rule.name not in LEARNED]


@pytest.mark.parametrize("family", [name for name in FAMILIES if not name.startswith(("litellm", "openrouter"))])
@given(steps=STEPS, options=OPTIONS)
def test_no_level_is_refused(family: str, steps: list[str], options: dict[str, Any]) -> None:
    provider = provider_of(family)
    messages = history(steps, THOUGHTS.get(FAMILIES[family].reasoning, Reasoning("Thought.")))
    request = ModelRequest(messages=messages, tools=(TOOL,), system="Be brief.", **options)
    assert refused(family, provider, request) == []


IN_WORDS = r"(?<!sig/)(?<!opaque )(?<!enc/)(?<!gAAAA/)Thought"
"""A thought, and not what is opaque of it."""
THINKING = [name for name in FAMILIES if FAMILIES[name].reasoning]
BUDGETS = {"anthropic-thinking", "bedrock-claude-thinking"}
"""Those that go on without thinking where what a tool loop began with is lost."""


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("is_shown", [True, False])
async def test_thinking_that_a_request_asks_for_goes_back_as_its_provider_demands(
    client: str, *, is_shown: bool
) -> None:
    """Over a tool loop, a question after it and a tool of the client's own; hidden, no client has a word of it."""
    complaints: dict[str, str] = {}
    async with strict_providers(*THINKING) as providers:
        for name, provider in providers.items():
            own = {} if name.startswith("litellm") else {"model_extra_body": ""}
            talk = Talk.begin(client, provider, model_reasoning="high", show_reasoning=is_shown, **own)
            for scenario in (loop_of_three_turns, question_after_a_tool_loop, client_tool):
                if scenario is client_tool and not talk.client.runs_tools:
                    continue
                await scenario(talk)
            leaks = not is_shown and re.search(IN_WORDS, repr(talk.client.history))
            complaints[name] = "; ".join([*provider.unlearned, *(["it is shown"] if leaks else [])])
            asked = [FAMILIES[name].thinks(body) for body in provider.requests]
            goes_on = name in BUDGETS and client != "openai"  # its stream has chunks, and no message to send back whole
            assert all(asked) if goes_on else any(asked), name
    assert {name: text for name, text in complaints.items() if text} == {}
