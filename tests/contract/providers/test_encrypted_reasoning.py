"""OpenAI's encrypted reasoning goes back as it came, in its place, from every client and from the store."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.contract.providers.clients import CLIENTS, Talk
from tests.contract.providers.fake import Answer, strict_providers
from tests.contract.providers.scenarios import ADD, COUNT, TOOLS

pytestmark = pytest.mark.usefixtures("own_hooks")


def outline(request: Mapping[str, Any]) -> list[str]:
    """What an input consists of, in order: of reasoning what is encrypted, of messages their phase."""
    return [
        item.get("encrypted_content") or item.get("phase") or item.get("role") or item["type"]
        for item in request["input"]
    ]


LOOP = ["gAAAA/Thought 3.==", "commentary", "function_call", "function_call", *["function_call_output"] * 2]
ANSWER = ["gAAAA/Thought 4.==", "final_answer"]
TEXTS = ["user", "assistant", "user"]
EXPECTED = {
    "native": TEXTS,  # the page keeps no more; a chat that needs more is stored
    "openai": TEXTS,  # keeps nothing that the API does not document
    "openai-whole": ["user", *ANSWER, "user"],  # the server's own tools are not shown to it
}


@pytest.mark.parametrize("client", CLIENTS)
async def test_in_a_tool_loop_and_with_the_next_question(client: str) -> None:
    async with strict_providers("openai") as providers:
        provider = providers["openai"]
        talk = Talk.begin(client, provider)
        talk.model(Answer("Let me see.", (ADD, COUNT)), Answer("3 and 3."))
        await talk.ask("1 + 2, and ships?")
        await talk.ask("Sure?")
        assert provider.unlearned == []
    _, loop, later = provider.requests
    assert outline(loop) == ["user", *LOOP]
    assert outline(later) == EXPECTED.get(client, ["user", *LOOP, *ANSWER, "user"])
    summary = [{"type": "summary_text", "text": "Thought 3."}]
    assert loop["input"][1] == {"type": "reasoning", "summary": summary, "encrypted_content": LOOP[0]}


@pytest.mark.parametrize("client", [name for name, client in CLIENTS.items() if client().runs_tools])
async def test_in_a_loop_of_a_tool_that_the_client_runs(client: str) -> None:
    async with strict_providers("openai") as providers:
        provider = providers["openai"]
        talk = Talk.begin(client, provider)
        talk.model(Answer("Let me measure.", (("measure", '{"what":"depth"}'),)), Answer("Deep."))
        reply = await talk.ask("How deep is it?", tools=TOOLS)
        talk.client.result(reply.calls[0][0], "12 m")
        await talk.ask(tools=TOOLS)
        assert provider.unlearned == []
    thought = ["assistant"] if client == "openai" else ["gAAAA/Thought 2.==", "commentary"]
    assert outline(provider.requests[1]) == ["user", *thought, "function_call", "function_call_output"]


@pytest.mark.parametrize("client", ["stored", "ai-sdk", "ag-ui"])
async def test_not_to_another_model(client: str) -> None:
    async with strict_providers("openai") as providers:
        provider = providers["openai"]
        talk = Talk.begin(client, provider, model_choices="gpt-5.4")
        talk.model(Answer(calls=(ADD,)), Answer("It is 3."))
        await talk.ask("1 + 2?")
        if client != "stored":  # another deployment, for clients that cannot choose
            talk.service = Talk.begin(client, provider, model_id="gpt-5.4").service
        await talk.ask("Sure?", model="gpt-5.4")
    loop = ["user", "function_call", "function_call_output", "assistant", "user"]
    assert (provider.requests[2]["model"], outline(provider.requests[2])) == ("gpt-5.4", loop)


async def test_what_openai_cannot_read_is_left_out_of_that_request_alone() -> None:
    """As after a change of the account, in the history of a client that cannot say who made it."""
    async with strict_providers("openai") as providers:
        provider = providers["openai"]
        talk = Talk.begin("openai-whole", provider)
        talk.model(Answer("It is 3."), Answer("Yes."), Answer("Sure."))
        await talk.ask("1 + 2?")
        provider.given.thinking.clear()
        await talk.ask("Sure?")
        await talk.ask("Quite?")
    assert [refusal.rule.name for refusal in provider.refusals] == [
        "encrypted reasoning of another account, or changed"
    ] * 2
    assert outline(provider.requests[1]) == ["user", "assistant", "user"]
