"""Stock clients of an answer whose model dies at any byte: their last message is that of an undisturbed one."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests import npm
from tests.chat.conftest import own_hooks
from tests.contract.providers.clients import AgUiClient, AiSdkClient, Client
from tests.contract.providers.failing import CALLS, FINAL, OPENING, QUESTION, harbour, positions
from winterbourne.override import override

__all__ = ["own_hooks"]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_hooks")]

POSITIONS = 16


class OlderAgUiClient(AgUiClient):
    """A client of before 1.0 names no version."""

    @override
    def body(self, *_: Any, **options: Any) -> dict[str, Any]:
        return {name: value for name, value in super().body((), **options).items() if name != "protocolVersion"}


async def streams(client: Callable[[], Client], **options: Any) -> list[str]:
    """The answers to one question, each from a model that dies a little later than that of the one before."""
    async with harbour("anthropic-thinking", "openai") as chat:
        return [(await chat.ask(client(), at, **options)).body.decode() for at in await positions(chat, POSITIONS)]


def said(messages: list[Any]) -> tuple[str, list[tuple[str, Any]]]:
    """The text of an answer and its calls with their results, as an AG-UI client has them."""
    results = {one["toolCallId"]: json.loads(one["content"]) for one in messages if one["role"] == "tool"}
    answer = [one for one in messages if one["role"] == "assistant"]
    calls = [call for one in answer for call in one.get("toolCalls") or ()]
    text = "".join(one.get("content") or "" for one in answer)
    return text, [(call["function"]["name"], results[call["id"]]) for call in calls]


def shown(message: Any) -> tuple[str, list[tuple[str, Any]]]:
    """The same of a message of the AI SDK; a call that was dropped is a failed one there."""
    parts = message["parts"]
    text = "".join(part["text"] for part in parts if part["type"] == "text")
    calls = [part for part in parts if part["type"] == "dynamic-tool" and part["state"] != "output-error"]
    return text, [(part["toolName"], part["output"]) for part in calls]


UNDISTURBED = (OPENING + FINAL, [(CALLS[0][0], 3), (CALLS[1][0], "3 in Whitby")])


async def test_version_7_of_the_ai_sdk() -> None:
    outcomes = npm.run("retracted.mjs", "ai", given=await streams(AiSdkClient, retractions=True))
    assert [outcome["errors"] for outcome in outcomes] == [[]] * POSITIONS
    assert [shown(outcome["message"]) for outcome in outcomes] == [UNDISTURBED] * POSITIONS


@pytest.mark.parametrize(("package", "client"), [("@ag-ui/client", AgUiClient), ("ag-ui-0", OlderAgUiClient)])
async def test_both_versions_of_ag_ui(package: str, client: Callable[[], Client]) -> None:
    outcomes = npm.run("retracted.mjs", package, given=await streams(client))
    assert [outcome["errors"] for outcome in outcomes] == [[]] * POSITIONS
    assert [said(outcome["messages"]) for outcome in outcomes] == [UNDISTURBED] * POSITIONS
    assert all(outcome["messages"][0]["content"] == QUESTION for outcome in outcomes)
