"""Guardrails of Bedrock: what they say is told to the caller as a refusal, in every format; why, to the log alone."""

import json
from typing import Any

import pytest

from tests.chat.test_app import send
from tests.contract.providers.clients import CLIENTS, Reply, Talk
from tests.contract.providers.fake import Answer, strict_providers

pytestmark = pytest.mark.usefixtures("own_hooks")

SORRY = "I cannot talk about that."
BLOCKED = Answer("The secret ", blocked=SORRY)
FAMILY = "bedrock-nova"


async def blocked(
    client: str, answer: Answer = BLOCKED, guardrail: str = "g1:7", **options: Any
) -> tuple[Reply, Talk, dict[str, Any]]:
    """The reply that a guardrail gives, its conversation, and the guardrail of the request."""
    async with strict_providers(FAMILY) as providers:
        talk = Talk.begin(client, providers[FAMILY], bedrock_guardrail=guardrail)
        talk.model(answer)
        reply = await talk.ask("Where are the goods?", **options)
        assert not talk.provider.refusals
        return reply, talk, talk.provider.requests[0]["guardrailConfig"]


@pytest.mark.parametrize("client", CLIENTS)
async def test_the_message_of_a_blocked_question_is_the_answer(client: str) -> None:
    reply, _, _ = await blocked(client, Answer(blocked=SORRY))
    assert reply.text == SORRY


@pytest.mark.parametrize(
    ("client", "options"),
    [("native", {"retractions": True}), ("ai-sdk", {"retractions": True}), ("ag-ui", {}), ("openai-whole", {})],
)
async def test_an_answer_that_was_shown_in_part_is_taken_back_where_the_client_can(
    client: str, options: dict[str, Any]
) -> None:
    reply, _, _ = await blocked(client, **options)
    assert reply.text == SORRY


@pytest.mark.parametrize("client", ["native", "ai-sdk", "openai"])
async def test_elsewhere_the_message_follows_what_was_shown(client: str) -> None:
    reply, _, _ = await blocked(client)
    assert reply.text == "The secret " + SORRY


async def test_of_a_kept_conversation_only_the_message_is_kept_then() -> None:
    async with strict_providers(FAMILY) as providers:
        talk = Talk.begin("stored", providers[FAMILY], bedrock_guardrail="g1:7")
        talk.model(BLOCKED)
        await talk.ask("Where are the goods?", retractions=True)
        kept = json.loads((await send(talk.service, "GET", "/conversations/c-1"))["body"])["messages"]
    assert [part["text"] for part in kept[-1]["parts"]] == [SORRY]


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/chat", {}, '"stop_reason":"refusal"'),
        (
            "/api/chat",
            {"messages": [{"id": "u", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}]},
            '"finishReason":"content-filter"',
        ),
        ("/agui", {"threadId": "t"}, '"stopReason":"refusal"'),
        ("/v1/chat/completions", {"stream": True}, '"finish_reason":"content_filter"'),
        ("/v1/chat/completions", {}, '"finish_reason":"content_filter"'),
    ],
)
async def test_every_format_says_that_it_is_a_refusal(path: str, body: dict[str, Any], told: str) -> None:
    async with strict_providers(FAMILY) as providers:
        talk = Talk.begin("native", providers[FAMILY], bedrock_guardrail="g1:7")
        talk.model(BLOCKED)
        messages = {"messages": [{"id": "u", "role": "user", "content": "Hi"}]}
        assert told in (await send(talk.service, "POST", path, messages | body))["body"]


async def test_the_log_has_the_names_of_the_policies_and_none_of_the_words(caplog: pytest.LogCaptureFixture) -> None:
    await blocked("native")
    (line,) = (one for one in caplog.messages if "guardrail" in one)
    assert line == (
        "the guardrail intervened: customWords:BLOCKED, piiEntities:EMAIL:ANONYMIZED, regexes:berth:BLOCKED, "
        "topics:Smuggling:BLOCKED"
    )
    assert not any(words in caplog.text for words in ("contraband", "secret", "ada@", "B-12", "INSULTS"))


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("g1:7", {"guardrailIdentifier": "g1", "guardrailVersion": "7"}),
        ("g1:DRAFT:async", {"guardrailIdentifier": "g1", "guardrailVersion": "DRAFT", "streamProcessingMode": "async"}),
        (
            "arn:aws:bedrock:eu-west-1:123456789012:guardrail/g1:12:sync",
            {
                "guardrailIdentifier": "arn:aws:bedrock:eu-west-1:123456789012:guardrail/g1",
                "guardrailVersion": "12",
                "streamProcessingMode": "sync",
            },
        ),
    ],
)
async def test_the_setting_is_what_is_sent(setting: str, expected: dict[str, str]) -> None:
    assert (await blocked("native", guardrail=setting))[2] == {**expected, "trace": "enabled"}
