"""A chat whose answers follow from what is asked: `answer SEED at PACE` is the same answer whenever it is asked for.

It has turns, text, reasoning, tools that report progress, fail and run side by side, calls of the client's own tools,
errors and limits, and text that looks like frames or breaks off in mid-emoji. `speak SECONDS at PACE` is a long answer,
which begins with the id of the process that gives it. A pace is in batches a second; 0 is as fast as they are taken.
"""

import asyncio
import os
import random
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any

import msgspec

from winterbourne.chat import Chat, ToolContext, ToolError, tool
from winterbourne.chat.core.events import (
    ModelEvent,
    ReasoningDelta,
    ReasoningEnded,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallReady,
    ToolCallStarted,
    TurnEnded,
    Usage,
)
from winterbourne.chat.core.messages import AssistantMessage, Message, Text, UserMessage
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.errors import ModelBusy

PIECES = (
    "word ",
    " ",
    "ünïcödé ",
    "\n\n",
    "\r\n",
    'data: {"type":"done"}\n\n',
    "data: [DONE]\n\n",
    ": keep-alive\n\n",
    "\N{GRINNING FACE}",
    "\u2028\u2029\ufeff\x00\x7f",
    "</script>\\",
    "x" * 300,
)
"""What a text is made of; half an emoji is followed by its other half, in a delta of its own."""

FIRST_WORD_S = 0.3
"""What a model takes to begin a long answer; meanwhile its log has begun, or nobody could be told that it is lost."""

ASKED = re.compile(r"(answer|speak) (\d+) at (\d+)")


class RepeatableProvider:
    """Gives the answer that the latest question asks for."""

    name = "repeatable"
    takes_image_urls = True

    async def stream(self, request: ModelRequest, /) -> AsyncGenerator[Sequence[ModelEvent], None]:
        """Stream one turn.

        Raises:
            ModelBusy: As a part of the answer, whose running tools are then cancelled.
        """
        asked, turn = _position(request.messages)
        kind, number, pace = asked[1], int(asked[2]), int(asked[3])
        own = [tool.name for tool in request.tools if tool.name.startswith("page_")]
        batches = _long_answer(number * pace) if kind == "speak" else _turn(number, turn, own)
        await asyncio.sleep(FIRST_WORD_S if kind == "speak" else 0)
        for batch in batches:
            if pace:
                await asyncio.sleep(1 / pace)
            if not batch:
                await _break_off()
            yield batch


async def _break_off() -> None:
    """Fail, once every tool that was called has begun."""
    for _ in range(100):
        await asyncio.sleep(0)
    raise ModelBusy("a part of the answer")


def _position(messages: Sequence[Message]) -> tuple[re.Match[str], int]:
    """What is asked for, and the number of the turn, from 1."""
    turn = 1
    for message in reversed(messages):
        if isinstance(message, UserMessage):
            text = "".join(part.text for part in message.parts if isinstance(part, Text))
            if asked := ASKED.search(text):
                return asked, turn
        turn += isinstance(message, AssistantMessage)
    raise ModelBusy("nothing that is known was asked for")


def _long_answer(words: int) -> Iterator[Sequence[ModelEvent]]:
    yield [TextDelta(f"{os.getpid()}: ")]
    for number in range(words):
        yield [TextDelta(f"{number} ")]
    yield [TurnEnded("stop", Usage(1, words))]


def _turn(seed: int, turn: int, own_tools: Sequence[str]) -> Iterator[Sequence[ModelEvent]]:
    chance = random.Random(f"{seed} {turn}")
    events: list[ModelEvent] = []
    breaks_off = chance.random() < 0.15
    tools = ["hang"] if breaks_off else ["look", "look", "fail", "nosuch"]
    calls = chance.choice([0, 0, 1, 2, 3]) if turn < 4 else 0
    events += _reasoning(chance)
    events += _text(chance, chance.randint(0 if calls else 1, 12))
    for number in range(calls):
        events += _call(chance, f"call_{turn}_{number}", chance.choice(tools))
        events += _text(chance, chance.randint(0, 2))
    if own_tools and not calls and chance.random() < 0.5:
        calls = 1
        events += _call(chance, f"call_{turn}_own", own_tools[0])
    yield from _batches(chance, events)
    if breaks_off:
        yield []
    reason = "tool_calls" if calls else chance.choice(["stop", "stop", "max_tokens", "content_filter"])
    yield [TurnEnded(msgspec.convert(reason, Any), Usage(len(events), seed, turn))]


def _batches(chance: random.Random, events: Sequence[ModelEvent]) -> Iterator[Sequence[ModelEvent]]:
    at = 0
    while at < len(events):
        size = chance.choice([1, 1, 1, 2, 10])
        yield events[at : at + size]
        at += size


def _text(chance: random.Random, count: int) -> Iterator[ModelEvent]:
    for _ in range(count):
        if chance.random() < 0.1:
            yield from (TextDelta("half \ud83d"), TextDelta("\ude00 whole"))
        yield TextDelta("".join(chance.choices(PIECES, k=chance.choice([1, 1, 1, 3]))))


def _reasoning(chance: random.Random) -> Iterator[ModelEvent]:
    if chance.random() < 0.5:
        yield from (ReasoningDelta(chance.choice(PIECES)) for _ in range(chance.randint(1, 4)))
        yield ReasoningEnded(chance.choice(["", "signed"]))


def _call(chance: random.Random, call_id: str, name: str) -> Iterator[ModelEvent]:
    arguments = msgspec.json.encode({"seed": chance.randrange(10**6), "why": chance.choice(PIECES)}).decode()
    yield ToolCallStarted(call_id, name)
    for at in range(0, len(arguments), size := chance.choice([7, 100])):
        yield ToolArgumentsDelta(call_id, arguments[at : at + size])
    yield ToolCallReady(call_id, name, arguments)


@tool
async def look(seed: int, why: str, context: ToolContext) -> Any:
    """Look something up, and report progress.

    Args:
        seed: Decides what is found.
        why: Is returned.
    """
    chance = random.Random(seed)
    for percent in range(chance.randint(0, 3)):
        await context.progress({"percent": percent, "note": chance.choice(PIECES)})
        await asyncio.sleep(0)
    return chance.choice([why, {"why": why, "list": [1, 2.5, None]}, [], None, "y" * 3000])


@tool
async def fail(seed: int, why: str) -> str:
    """Fail.

    Args:
        seed: Is told.
        why: Is told.
    """
    raise ToolError(f"{seed}: {why}")


@tool
async def hang(seed: int, why: str) -> str:
    """Never end.

    Args:
        seed: Unused.
        why: Unused.
    """
    await asyncio.Event().wait()
    return ""


chat = Chat(
    tools=[look, fail, hang],
    providers={"repeatable": lambda _: RepeatableProvider()},
    model_provider="repeatable",
    auth="none",
)
handler = chat.handler
