"""Cost of storing a conversation for the stream, with an SQLite file as in the local server.

Only handing over (write-behind) delays a token; the rest happens in a thread. Compared with the same writes made on the
event loop, as in a function that calls its database synchronously.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from tests.bench.figure import Figure
from tests.chat.storage.opening import opening
from winterbourne.chat.core.messages import AssistantMessage, ChatRequest, Text, UserMessage
from winterbourne.chat.settings import StorageSettings
from winterbourne.chat.storage.base import Store
from winterbourne.chat.storage.conversation_items import split_into_items
from winterbourne.chat.storage.conversations import ConversationStore
from winterbourne.chat.storage.sqlite import SqliteBackend

ROUNDS = 200
ANSWER = AssistantMessage((Text("considerable " * 160),), "m")  # 2 KB, some 300 words


def figures() -> Iterable[Figure]:
    """Microseconds."""
    yield asyncio.run(_handing_over())
    yield asyncio.run(_opening())


async def _handing_over() -> Figure:
    """How long one message blocks the loop: handed over, and written synchronously."""
    async with _store() as (store, file):
        on_loop = SqliteBackend(file)
        items = [split_into_items(ANSWER, "p", 0, number, 0) for number in range(ROUNDS)]
        async with opening(ConversationStore(store, StorageSettings()), "me", _request("handing over")) as record:
            ours = [await _us(lambda: record.append(ANSWER)) for _ in range(ROUNDS)]
        theirs = [await _us(partial(on_loop.put, some)) for some in items]
        on_loop.close()
    a, b = statistics.median(ours), statistics.median(theirs)
    return Figure(
        name="a message of 2 KB is handed over",
        ours=f"{a:.0f} µs",
        beside=f"written on the event loop: {b:.0f} µs",
        ratio=a / b,
        bar="less than writing it there",
        met=a < b,
    )


async def _opening() -> Figure:
    """Acquire the lease, read the history, release: what the first token of a stored conversation waits for."""
    times = []
    async with _store() as (store, _):
        conversations = ConversationStore(store, StorageSettings())
        for _ in range(ROUNDS):
            started = time.perf_counter()
            async with opening(conversations, "me", _request("opening")):
                times.append((time.perf_counter() - started) * 1e6)
    return Figure(name="a conversation of 100 messages is opened, SQLite", ours=f"{statistics.median(times):.0f} µs")


async def _us(work: Callable[[], None]) -> float:
    """Microseconds for which the loop is blocked; afterwards other tasks run."""
    started = time.perf_counter()
    work()
    took_us = (time.perf_counter() - started) * 1e6
    await asyncio.sleep(0)
    return took_us


@asynccontextmanager
async def _store() -> AsyncIterator[tuple[Store, str]]:
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "chat.db")
        store = Store(lambda: SqliteBackend(file), threads=1, is_shared=True)
        yield store, file
        await store.close()


def _request(conversation: str) -> ChatRequest:
    return ChatRequest(messages=(UserMessage((Text("hello"),)),), conversation_id=conversation, store=True)
