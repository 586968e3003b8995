"""What one request uses of AWS beside Lambda's time: lines of the log, custom metrics, units of DynamoDB. Counted.

Nothing is timed: each request runs in a process of its own, on a clock that jumps, with a store that counts by
DynamoDB's rules what it is asked to do, and its log is what the process prints.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final, TypeVar

from tests import emf
from tests.bench.bench_cost import WORDS_PER_S
from tests.bench.log_cost import READ_UNIT, WRITE_UNIT, item_bytes, started
from tests.chat.http_events import FakeLambdaContext, event
from tests.clock import JumpingLoop
from winterbourne.chat import Chat, ToolError, tool
from winterbourne.chat.storage.base import Item, Store
from winterbourne.chat.storage.memory import MemoryBackend

__all__ = ["QUESTIONS", "Used", "used"]

T = TypeVar("T")

QUESTIONS: Final = {
    "tools": "Compare AAPL and MSFT, the weather in Paris and Lima, and 1200 EUR in USD",
    "long": "count to 1000",
    "stranger": "",
}
"""What is asked, by the kind of request; a stranger has no key."""

PLATFORM_BYTES: Final = 450
"""Lambda's own lines about an invocation, `platform.start` and `platform.report`: the others are of level DEBUG.
https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
"""


@dataclass(frozen=True)
class Used:
    """What a request used.

    Attributes:
        log_bytes: Of the lines of the function and of Lambda.
        metrics: Custom metrics that have a value after it: names with their dimensions.
        request: The fields of its line.
        written: Write request units.
        read: Read request units.
    """

    log_bytes: int
    metrics: frozenset[tuple[str, str]]
    request: dict[str, Any]
    written: int
    read: int

    @property
    def table_dollars(self) -> float:
        """What DynamoDB takes for it, on demand in US East (N. Virginia)."""
        return self.written * WRITE_UNIT + self.read * READ_UNIT


@cache
def used(kind: str, metrics: str) -> Used:
    """What one request of this kind uses, with METRICS as given."""
    environ = {**os.environ, "METRICS": metrics, "SERVICE_NAME": "winterbourne"}
    command = [sys.executable, "-m", "tests.bench.used", kind]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=100)
    *lines, units = done.stdout.splitlines(keepends=True)
    own = [line for line in lines if "request_id" in line or "_aws" in line]  # others are of the start
    parsed = [json.loads(line) for line in own]
    (request,) = [line for line in parsed if line.get("message") == "request"]
    documents = emf.checked(parsed)
    names = {
        (metric["Name"], "/".join(document[name] for name in directive["Dimensions"][0]))
        for document in documents
        for directive in document["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
    }
    return Used(PLATFORM_BYTES + sum(map(len, own)), frozenset(names), request, *json.loads(units))


class _Meter:
    """A store in memory that counts units as DynamoDB does, the local secondary index `newest` included."""

    def __init__(self) -> None:
        self._items = MemoryBackend()
        self.written = self.read = 0

    def _write(self, key: tuple[str, str], write: Callable[[], T]) -> T:
        before, done, after = self._items.get(*key), write(), self._items.get(*key)
        items = [item for item in (before, after) if item]
        self.written += started(1024, max(map(item_bytes, items), default=0))
        if before != after:  # a changed sort key of the index is a deletion and a write there
            self.written += sum(started(1024, item_bytes(item)) for item in items if item.updated_ms)
        return done

    def get(self, pk: str, sk: str) -> Item | None:
        item = self._items.get(pk, sk)
        self.read += started(4096, item_bytes(item) if item else 0)
        return item

    def query_partition(self, pk: str) -> list[Item]:
        items = self._items.query_partition(pk)
        self.read += started(4096, sum(map(item_bytes, items)))
        return items

    def query_newest(self, pk: str, limit: int, cursor: Item | None) -> list[Item]:
        return self._items.query_newest(pk, limit, cursor)

    def put(self, items: Sequence[Item]) -> None:
        for item in items:
            self._write((item.pk, item.sk), partial(self._items.put, [item]))

    def compare_and_set(self, item: Item, now_s: float) -> bool:
        return self._write((item.pk, item.sk), partial(self._items.compare_and_set, item, now_s))

    def increment(self, pk: str, sk: str, amount: int, expires_at_s: int) -> int:
        return self._write((pk, sk), partial(self._items.increment, pk, sk, amount, expires_at_s))

    def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        for key in keys:
            self._write(key, partial(self._items.delete, [key]))

    def delete_expired(self, now_s: float) -> None:
        """DynamoDB does so by itself, and takes nothing for it."""

    def close(self) -> None:
        """There is nothing to close."""


@tool
async def get_stock_quote(symbol: str) -> dict[str, Any]:
    """Look up the price of a share."""
    await asyncio.sleep(0.6)
    return {"symbol": symbol, "price": 496.66, "change": 8.54, "change_percent": 1.7}


@tool
async def get_weather(city: str) -> dict[str, Any]:
    """Look up the weather in a city."""
    await asyncio.sleep(0.6)
    return {"city": city, "country": "Peru", "conditions": "rain", "temperature_c": 18.5, "feels_like_c": 17.0}


@tool
async def convert_currency(amount: float, from_currency: str, to_currency: str) -> dict[str, Any]:
    """Convert money."""
    await asyncio.sleep(0.6)
    names = {"amount": amount, "from_currency": from_currency, "to_currency": to_currency}
    return {**names, "result": 1404.0, "rate": 1.17}


async def _ask(kind: str) -> _Meter:
    """One question in a new conversation that is kept, by a caller with limits."""
    meter, time = _Meter(), asyncio.get_running_loop().time
    chat = Chat(
        tools=[get_stock_quote, get_weather, convert_currency],
        stores={"metered": lambda _: Store(lambda: meter, threads=0, is_shared=True, now=lambda: 1.8e9 + time())},
        store="metered:",
        model_provider="scripted",
        model_prices='{"*": {"input": 0.3, "output": 2.5}}',
        scripted_words_per_second=WORDS_PER_S,
        auth="api_key",
        api_keys='{"ada": "the-key-of-ada-0123456789"}',
        limit_requests_per_minute=60,
        limit_tokens_per_day=1_000_000,
        limit_dollars_per_day=5,
        title_model="off",
    )
    body = {
        "conversation_id": "7d1c0f3e-6a52-4b0e-9f7e-2f1f6a4f0b11",
        "store": True,
        "messages": [{"role": "user", "content": QUESTIONS[kind] or "hello"}],
    }
    headers = {"x-api-key": "the-key-of-ada-0123456789"} if QUESTIONS[kind] else {}
    headers["content-type"] = "application/json"
    answer = await chat.handler._serve_buffered(event("POST", "/chat", body, headers), FakeLambdaContext())
    if answer["statusCode"] != (200 if QUESTIONS[kind] else 401):
        raise ToolError(f"unexpected answer: {answer}")
    return meter


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        counted = runner.run(_ask(sys.argv[1]))
    print(json.dumps([counted.written, counted.read]))
