"""Conversations that are long enough for a prompt cache, with a strict provider that keeps one; for tests and bench."""

import itertools
from collections.abc import Callable, Iterator

import msgspec

from tests.contract.providers.clients import CLIENTS, Talk
from tests.contract.providers.fake import Answer, StrictProvider, strict_providers
from winterbourne.chat.app import OwnParts, build
from winterbourne.chat.infra import telemetry
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.declaration import Tool, tool

__all__ = ["INSTRUCTIONS", "TURNS", "begin", "many_questions", "ten_turns"]

TURNS = 10
INSTRUCTIONS = "You are the harbour desk of Whitby. " + "Say what the tables say, and say where they end. " * 260
_TOOLS = 20


@tool
def survey(harbour: str) -> str:
    """Survey a harbour: its depths, its lights, its berths, and who lies where since when."""
    return f"{harbour}: " + "berth 7, 3.4 m at low water, free until noon; " * 30


def _tools() -> list[Tool]:
    """Tools in an order that differs between processes, as hashes of text do."""
    tools = [
        msgspec.structs.replace(survey, name=f"survey_{number}", description=f"{survey.description} " * 4)
        for number in range(_TOOLS)
    ]
    return sorted(tools, key=lambda each: hash(each.name))


def begin(
    provider: StrictProvider, client: str = "native", context: Callable[[str], str] | None = None, **settings: object
) -> Talk:
    """A conversation whose chat has a long system prompt and twenty tools."""
    fixed = {"auth": "none", "title_model": "off", "system_prompt": INSTRUCTIONS}
    values = {**fixed, **provider.family.settings(provider.port), **settings}
    service = build(Settings.of(**values), _tools(), telemetry.make_logger(), own=OwnParts(context=context))
    return Talk(CLIENTS[client](), provider, service)


def _calls(numbers: Iterator[int], calls: int) -> Answer:
    names = (f"survey_{next(numbers) % _TOOLS}" for _ in range(calls))
    return Answer("Let me look.", tuple((name, '{"harbour":"Whitby"}') for name in names))


async def ten_turns(family: str, calls: int = 1, model_cache: str = "auto") -> StrictProvider:
    """One question with ten model turns, of which nine call tools."""
    async with strict_providers(family) as providers:
        talk, numbers = begin(provider := providers[family], model_cache=model_cache), itertools.count()
        talk.model(*(_calls(numbers, calls) for _ in range(TURNS - 1)), Answer("There is room."))
        await talk.ask("Where can I lie tonight?")
    return provider


async def many_questions(family: str, client: str, context: Callable[[str], str] | None = None) -> StrictProvider:
    """Ten questions of one conversation, for each of which the model calls tools twice."""
    async with strict_providers(family) as providers:
        talk, numbers = begin(provider := providers[family], client, context), itertools.count()
        for number in range(TURNS):
            talk.model(_calls(numbers, 1), _calls(numbers, 2), Answer(f"Berth {number}."))
            await talk.ask(f"And for ship {number}?")
    return provider
