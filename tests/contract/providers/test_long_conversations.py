"""Conversations of 500 turns with tools, longer than the model's window: answered, and nothing is refused twice."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from tests.chat.stores import KINDS, Clock, open_store
from tests.chat.test_app import send
from tests.contract.providers.clients import CLIENTS, Talk, add, count_ships
from tests.contract.providers.failing import FINAL, OPENING, Harbour, positions
from tests.contract.providers.fake import Answer, StrictProvider, strict_providers
from tests.contract.providers.families import FAMILIES
from winterbourne import lifecycle
from winterbourne.chat.app import OwnParts, build
from winterbourne.chat.http.service import Service
from winterbourne.chat.infra import telemetry
from winterbourne.chat.settings import Settings
from winterbourne.chat.storage.base import Store

pytestmark = pytest.mark.usefixtures("own_hooks")

TURNS = 500
WINDOW = 6_000
SILENT = {
    name: 24_000
    for name, family in FAMILIES.items()
    if family.dialect == "bedrock" or name in {"openai", "openai-chat", "openai-astra", "azure"}
}
"""The windows of those whose refusals do not name it: half of what they refuse has to be right."""
CALL = (("add", '{"a":1,"b":2}'),)


def write_turns(talk: Talk, turns: int = TURNS) -> None:
    """Put answered questions into the client's history, each with a call if the model can call tools."""
    for number in range(turns):
        talk.client.user(f"How many ships are in harbour {number}, and how many of them sail today?")
        if talk.provider.family.has_tools:
            talk.client.assistant("", (f"call{number:05}", "count_ships", '{"harbour":"Whitby"}'))
            talk.client.result(f"call{number:05}", '"3 in Whitby"')
        talk.client.assistant(f"There are 3 ships in harbour {number}, and all of them sail with the tide.")


async def ask_twice(talk: Talk) -> str:
    """What went wrong in two more questions; empty if nothing did."""
    for question in ("1 + 2?", "And again?"):
        if talk.provider.family.has_tools:
            talk.model(Answer("Let me add.", CALL))
        talk.model(Answer("It is 3."))
        reply = await talk.try_to_ask(question)
        if not reply.is_whole or not reply.text.endswith("It is 3."):
            return f"{question} {reply}"
    return "; ".join(talk.provider.unlearned)


MANY = ["anthropic-thinking", "bedrock-nova", "openai", "deepseek"]


@pytest.mark.parametrize(
    ("client", "families"),
    [("stored", [*FAMILIES]), *((name, MANY) for name in ("native", "ai-sdk", "ag-ui", "openai"))],
)
async def test_is_answered(client: str, families: list[str]) -> None:
    complaints, summaries = dict[str, str](), dict[str, int]()
    async with strict_providers(*families) as providers:
        for name, provider in providers.items():
            provider.window = SILENT.get(name, WINDOW)
            talk = Talk.begin(client, provider, model_max_tokens=1500)
            write_turns(talk)
            complaints[name] = await ask_twice(talk)
            summaries[name] = len(provider.summaries)
    assert {name: text for name, text in complaints.items() if text} == {}
    assert summaries == dict.fromkeys(families, 1)


def service_of(provider: StrictProvider, store: Store) -> Service:
    """One execution environment of a chat that keeps conversations in this store, which outlives it."""
    values = {"auth": "none", "title_model": "off", "model_max_tokens": 1500, "store": "ours:here"}
    settings = Settings.of(**values, **provider.family.settings(provider.port))
    own = OwnParts(stores={"ours": lambda _: store})
    service = build(settings, (add, count_ships), telemetry.make_logger(), own=own)
    lifecycle._shutdown_hooks.remove(store.close)
    return service


@pytest.mark.parametrize("kind", KINDS)
async def test_is_kept_whole_and_summarised_once_for_all_environments(kind: str, tmp_path: Path) -> None:
    turns = TURNS if kind != "dynamodb" else TURNS // 4  # moto reads 2,000 items as slowly as no table does
    async with strict_providers("anthropic") as providers, open_store(kind, tmp_path, Clock()) as store:
        provider = providers["anthropic"]
        provider.window = WINDOW
        talk = Talk(CLIENTS["stored"](), provider, service_of(provider, store))
        write_turns(talk, turns)
        assert await ask_twice(talk) == ""
        talk.service = service_of(provider, store)  # which has not learned the window
        assert await ask_twice(talk) == ""
        kept = json.loads((await send(talk.service, "GET", "/conversations/c-1"))["body"])["messages"]
    assert len(kept) == 4 * turns + 4 * 4
    assert len(provider.summaries) == 1
    assert all(provider.summaries[0] in json.dumps(body) for body in provider.requests[1:])


@pytest.mark.parametrize(
    ("first", "second", "window"), [("anthropic-thinking", "openai", 10_000), ("openai", "anthropic", WINDOW)]
)
async def test_is_gone_on_with_by_a_model_with_a_smaller_window(first: str, second: str, window: int) -> None:
    """Wherever the first one dies, and whether the second one says how small it is."""
    async with strict_providers(first, second) as providers:
        chat = Harbour(providers[first], providers[second])
        places = await positions(chat, 6)
        providers[second].window = window
        for at in places[:-1]:
            talk = Talk(CLIENTS["native"](), providers[first], cast("Service", None))
            write_turns(talk, TURNS // 2)
            outcome = await chat.ask(talk.client, at, retractions=True)
            assert (outcome.reply.text, outcome.reply.error) == (OPENING + FINAL, "")
            assert sorted(outcome.ran) == ["add", "count_ships"]
            assert "Ships were counted." in json.dumps(providers[second].requests[-1])


def contents(body: Mapping[str, Any]) -> list[Any]:
    """The blocks or items of a request, in order."""
    if "input" in body:
        return [*body["input"]]
    return [block for message in body["messages"] for block in message["content"]]


@pytest.mark.parametrize(
    ("family", "model_id", "summary"),
    [
        ("anthropic-adaptive", "claude-sonnet-5", {"content": "Summary 1.", "encrypted_content": "e30="}),
        ("openai", "gpt-5.4-mini", {"encrypted_content": "Summary 1."}),
    ],
)
async def test_is_summarised_by_a_model_that_does_it_itself(family: str, model_id: str, summary: Any) -> None:
    """Which then is sent its summary and what came after it, and none is asked for beside that."""
    async with strict_providers(family) as providers:
        provider = providers[family]
        window = json.dumps({model_id: {"window": 70_000}})
        talk = Talk.begin("stored", provider, model_id=model_id, model_capabilities=window, model_max_tokens=1500)
        for number in range(TURNS):
            talk.client.user(f"{number}: {'How many ships are in the harbour, and who sails today? ' * 4}")
            talk.client.assistant(f"There are 3 ships in harbour {number}, and all of them sail with the tide. " * 3)
        assert await ask_twice(talk) == ""
        first, *later = map(contents, provider.requests)
    assert len(first) == 2 * TURNS + 1
    assert [each[1] for each in later] == [{"type": "compaction", **summary}] * 3
    assert len(later[-1]) < 20
    assert provider.summaries == ["Summary 1."]
