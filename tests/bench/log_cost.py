"""What the stream log of an answer costs on DynamoDB: the items that it writes, in request units at list price.

Nothing is measured: an answer is logged on a clock that jumps, and DynamoDB's rules are applied to what the store is
asked to do. https://aws.amazon.com/dynamodb/pricing/on-demand/ and
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
"""

import asyncio
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from tests.clock import JumpingLoop
from winterbourne.chat.core.events import (
    ConversationEnded,
    ConversationStarted,
    TextDelta,
    TurnEnded,
    TurnStarted,
    Usage,
)
from winterbourne.chat.core.messages import AssistantMessage, ChatRequest, Text, UserMessage
from winterbourne.chat.settings import StorageSettings
from winterbourne.chat.storage.base import Item, Store
from winterbourne.chat.storage.conversations import ConversationStore
from winterbourne.chat.storage.dynamodb import _to_attributes
from winterbourne.chat.storage.memory import MemoryBackend
from winterbourne.chat.storage.stream_log import StreamLogs
from winterbourne.override import override

__all__ = [
    "INPUT_TOKENS",
    "MODELS",
    "OUTPUT_TOKENS",
    "READ_UNIT",
    "SPEEDS",
    "WRITE_UNIT",
    "MeteredStore",
    "Units",
    "followed_answer",
    "item_bytes",
    "log_dollars",
    "log_units",
    "reader_dollars_per_s",
    "share",
    "speed_from_which",
    "started",
    "tokens_dollars",
]

WRITE_UNIT: Final = 0.625 / 1e6
READ_UNIT: Final = 0.125 / 1e6
"""Dollars, US East (N. Virginia), on demand, table class Standard."""

SPEEDS: Final = (20, 30, 50, 100)
"""Tokens a second."""

MODELS: Final = {
    "any model of $3": (0.5, 3.0),
    "claude-haiku-4-5": (1.0, 5.0),
    "gpt-5.4-mini": (0.75, 4.5),
    "nova-2-lite": (0.3, 2.5),
}
"""Dollars for a million tokens of input and of output: the least that the bar is for, and the providers' defaults."""

OUTPUT_TOKENS: Final = 500
INPUT_TOKENS: Final = 1000
FIRST_TOKEN_S: Final = 0.6

CALLER: Final = "key:frontend"
CONVERSATION: Final = "7d1c0f3e-6a52-4b0e-9f7e-2f1f6a4f0b11"

TEXT: Final = (
    "A winterbourne is a chalk stream that flows only when there is water for it: in autumn the springs break, and by "
    "the middle of December the bed that was grass and nettles a week before carries a foot of clear water. Nobody "
    "turns it on. It rises where the ground is full, runs for as long as it is, and by midsummer is gone again.\n\n"
)
TOKENS: Final = re.findall(r" ?\w{1,9}|\W", TEXT)
"""Some 4.5 characters each, as an English text has."""


@dataclass
class Units:
    """Request units, and what they were for."""

    written: int = 0
    deleted: int = 0
    read: int = 0

    @property
    def dollars(self) -> float:
        """What they cost."""
        return (self.written + self.deleted) * WRITE_UNIT + self.read * READ_UNIT


class MeteredStore(Store):
    """A store in memory that counts the units of the partitions of stream logs, on the event loop's clock."""

    def __init__(self) -> None:
        clock = asyncio.get_running_loop().time
        super().__init__(MemoryBackend, threads=0, is_shared=True, now=lambda: 1.8e9 + clock())
        self.units = Units()
        self.written_at: list[float] = []
        self.read_at: list[float] = []

    @override
    async def put(self, items: Sequence[Item]) -> None:
        logged = [item for item in items if _is_logged(item.pk)]
        self.written_at += [self.now()] * bool(logged)
        for item in logged:
            before = await super().get(item.pk, item.sk)
            self.units.written += started(1024, max(item_bytes(item), item_bytes(before) if before else 0))
        await super().put(items)

    @override
    async def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        for key in keys:
            if _is_logged(key[0]):
                item = await super().get(*key)
                self.units.deleted += started(1024, item_bytes(item) if item else 0)
        await super().delete(keys)

    @override
    async def get(self, pk: str, sk: str) -> Item | None:
        item = await super().get(pk, sk)
        if _is_logged(pk):
            self.read_at.append(self.now())
            self.units.read += started(4096, item_bytes(item) if item else 0)
        return item

    @override
    async def query_partition(self, pk: str) -> list[Item]:
        items = await super().query_partition(pk)
        if _is_logged(pk):
            self.units.read += started(4096, sum(map(item_bytes, items)))
        return items


def item_bytes(item: Item) -> int:
    """The size of an item as DynamoDB counts it: names and values of its attributes."""
    return sum(len(name) + _value_bytes(value) for name, value in _to_attributes(item).items())


def _value_bytes(value: dict[str, Any]) -> int:
    ((kind, content),) = value.items()
    return math.ceil(len(content.lstrip("-")) / 2) + 1 if kind == "N" else len(content)  # keys are in ASCII


def _is_logged(pk: str) -> bool:
    return pk.startswith("stream#")


def started(size: int, count: int) -> int:
    """How many units of a size are begun: one at least."""
    return max(1, math.ceil(count / size))


@cache
def log_units(speed: int, tokens: int = OUTPUT_TOKENS, *, kept: bool = False) -> Units:
    """The units for one answer in a conversation, the deletion of the earlier answer's log included."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(_second_answer(speed, tokens, kept=kept))


async def _second_answer(speed: int, tokens: int, *, kept: bool) -> Units:
    store = MeteredStore()
    conversations = ConversationStore(store, StorageSettings())
    for _ in range(2):
        store.units = Units()
        await _answer(conversations, [tokens], speed, kept=kept)
        await asyncio.sleep(120)
    return store.units


async def followed_answer(seconds: int, turns: int, readers: int) -> MeteredStore:
    """The store of a kept answer of so many seconds at 50 tokens each, followed by readers from its start."""
    store = MeteredStore()
    conversations = ConversationStore(store, StorageSettings())
    answering = asyncio.create_task(_answer(conversations, [seconds * 50 // turns] * turns, 50, kept=True))
    await asyncio.sleep(0.1)
    await asyncio.gather(*[_follow(conversations.logs) for _ in range(readers)])
    await answering
    return store


async def _follow(logs: StreamLogs) -> None:
    log = await logs.read(CALLER, CONVERSATION)
    assert log
    async for _ in logs.follow(log):
        pass


async def _answer(conversations: ConversationStore, turns: Sequence[int], speed: int, *, kept: bool) -> None:
    question = UserMessage((Text("What is a winterbourne?"),))
    request = ChatRequest(messages=(question,), conversation_id=CONVERSATION, store=kept)
    stored = conversations.open(CALLER, request)
    log = stored if kept else conversations.logs.open(CALLER, request)
    if kept:
        await stored.start()
    log.log((ConversationStarted(CONVERSATION, f"m_{'0123456789abcdef' * 2}", "gpt-5.4-mini"),))
    for turn, tokens in enumerate(turns, 1):
        log.log((TurnStarted(turn),))
        await asyncio.sleep(FIRST_TOKEN_S)
        for number in range(tokens):
            log.log((TextDelta(TOKENS[number % len(TOKENS)]),))
            await asyncio.sleep(1 / speed)
        if kept:
            stored.append(AssistantMessage((Text("".join(TOKENS)),), "m"))
        log.log((TurnEnded("stop", Usage(INPUT_TOKENS, tokens)),))
    log.log((ConversationEnded("stop", Usage(INPUT_TOKENS, sum(turns)), len(turns)),))
    await log.close(asyncio.get_running_loop().time() + 5)


def log_dollars(speed: int, tokens: int = OUTPUT_TOKENS, *, kept: bool = False) -> float:
    """What the log of one answer costs, if nobody reads it."""
    return log_units(speed, tokens, kept=kept).dollars


def tokens_dollars(model: str, *, with_input: bool = False, tokens: int = OUTPUT_TOKENS) -> float:
    """What a model's provider takes for an answer."""
    input_price, output_price = MODELS[model]
    return (tokens * output_price + INPUT_TOKENS * input_price * with_input) / 1e6


def share(
    speed: int, model: str, *, kept: bool = False, with_input: bool = False, tokens: int = OUTPUT_TOKENS
) -> float:
    """The log's cost, as a share of the tokens'."""
    return log_dollars(speed, tokens, kept=kept) / tokens_dollars(model, with_input=with_input, tokens=tokens)


def speed_from_which(model: str, *, with_input: bool, most: float = 0.01) -> int:
    """The least speed from which on the log of a kept answer costs less than this share."""
    slower = (speed for speed in range(100, 0, -1) if share(speed, model, kept=True, with_input=with_input) >= most)
    return next(slower) + 1


def reader_dollars_per_s(reads_per_s: float = 4) -> float:
    """What one reader costs who follows an answer live."""
    return reads_per_s * READ_UNIT
