"""A provider that dies at any byte of a tool loop: another one goes on, and no tool runs twice."""

import json
import logging

import pytest

from tests.contract.providers.failing import FINAL, OPENING, Harbour, Outcome, harbour, positions

pytestmark = pytest.mark.usefixtures("own_hooks")

RETRACTING = {
    "native": {"retractions": True},
    "ai-sdk": {"retractions": True},
    "ag-ui": {},
    "openai-whole": {},
}
"""The clients that can drop what they have shown, and how they say so."""
PAIRS = [("anthropic-thinking", "openai"), ("openai", "bedrock-nova"), ("bedrock-claude-thinking", "anthropic")]


def problem(outcome: Outcome) -> str:
    """What is wrong with an answer that must be like an undisturbed one; empty if nothing is."""
    text = outcome.reply.text.replace("\n\n", "")  # at /v1, between two turns
    if not outcome.reply.is_whole or outcome.reply.error:
        return f"not whole: {outcome.reply}"
    if text != OPENING + FINAL:
        return f"text: {text}"
    return "" if sorted(outcome.ran) == ["add", "count_ships"] else f"ran: {outcome.ran}"


async def disturbed(chat: Harbour, client: str, at: int, **options: object) -> str:
    return problem(await chat.ask(client, at, **options))


@pytest.mark.parametrize(("client", "count"), [("native", 200), ("ai-sdk", 20), ("ag-ui", 20)])
async def test_every_answer_is_like_an_undisturbed_one_in_formats_that_can_retract(
    client: str, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Stock clients of the others: tests/end_to_end. Nothing is sent again to what died, so nobody waits for it."""
    async with harbour(*PAIRS[0]) as chat:
        places = await positions(chat, count)
        problems = {at: await disturbed(chat, client, at, **RETRACTING[client]) for at in places}
    assert {at: text for at, text in problems.items() if text} == {}
    assert "retrying" not in caplog.text


@pytest.mark.parametrize("pair", PAIRS[1:])
@pytest.mark.parametrize("client", RETRACTING)
async def test_so_it_is_whatever_the_two_providers_are(client: str, pair: tuple[str, str]) -> None:
    async with harbour(*pair) as chat:
        problems = {at: await disturbed(chat, client, at, **RETRACTING[client]) for at in await positions(chat, 9)}
    assert {at: text for at, text in problems.items() if text} == {}


@pytest.mark.parametrize("client", ["native", "ai-sdk", "openai"])
async def test_elsewhere_an_answer_is_like_an_undisturbed_one_or_ends_with_an_error(client: str) -> None:
    """It is whole if nothing was shown that would have to be dropped."""
    whole = 0
    async with harbour(*PAIRS[1]) as chat:
        for at in await positions(chat, 20):
            outcome = await chat.ask(client, at)
            assert problem(outcome) == "" or outcome.reply.error, (at, problem(outcome))
            assert len(outcome.ran) == len(set(outcome.ran))
            assert b"retract" not in outcome.body
            assert b"reset-step" not in outcome.body
            whole += not problem(outcome)
    assert 5 < whole < 20


@pytest.mark.parametrize("client", ["native", "ai-sdk", "ag-ui"])
async def test_the_next_question_is_taken_by_the_second_provider(client: str) -> None:
    """With all that the first one made, signatures and dropped calls included: `harbour` checks what is refused."""
    async with harbour(*PAIRS[0]) as chat:
        for at in await positions(chat, 9):
            outcome = await chat.ask(client, at, **RETRACTING[client])
            assert problem(await chat.ask(outcome.client, 0, **RETRACTING[client])) in {"", f"text: {FINAL}", "ran: []"}


async def test_a_client_of_ag_ui_has_a_result_for_every_call() -> None:
    async with harbour(*PAIRS[0]) as chat:
        for at in await positions(chat, 9):
            messages = (await chat.ask("ag-ui", at)).client.history
            calls = [call["id"] for each in messages for call in each.get("toolCalls") or ()]
            assert sorted(calls) == sorted(each["toolCallId"] for each in messages if each["role"] == "tool")
            assert len(calls) == 2


async def test_the_log_names_both_models_and_the_one_that_answered(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with harbour(*PAIRS[0]) as chat:
        await chat.ask("native", 0)
        assert len(chat.first.requests) == 1
        assert len(chat.second.requests) == 2
    warning = next(one for one in caplog.records if "is asked" in one.getMessage())
    assert warning.levelno == logging.WARNING
    assert "anthropic:claude-sonnet-4-5 failed, openai:gpt-5.4-mini is asked" in warning.getMessage()


async def test_what_was_sent_to_the_first_provider_alone_is_not_sent_to_the_second() -> None:
    async with harbour("anthropic-thinking", "openai") as chat:
        await chat.ask("native", 0)
        assert "thinking" in chat.first.requests[0]
        assert "thinking" not in json.dumps(chat.second.requests)
