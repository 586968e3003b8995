"""What it costs that an answer can be read again: CPU of its log, its readers' delays, the store's work, and dollars.

CPU is compared in one process, answer by answer: with a conversation id, so that it is logged, and without one.
`the log's own work` is what that cannot go below: to keep each event, to encode them, and one write of the store. Where
tokens come as fast as they can, it is more than the twentieth of a token's CPU that the bar leaves.
"""

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Generator, Iterable
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Final

import httpx

from tests.bench import log_cost
from tests.bench.bench_models import OURS, cpu_of, process, provider, settings
from tests.bench.figure import Figure, least, on_first_core, to_last_core
from tests.bench.models.provider import REAL_TOKENS, TOKENS
from tests.bench.models.runtime_api import FakeRuntimeApi, chat_event
from tests.clock import JumpingLoop
from tests.local_server import local_server
from winterbourne.chat.core.events import TextDelta
from winterbourne.chat.storage.base import Store
from winterbourne.chat.storage.sqlite import SqliteBackend
from winterbourne.chat.storage.stream_log import LogHeader, StreamLogWriter

REPLAYS: Final = 100
READERS: Final = 3
WORDS: Final = 500
MINUTE_S: Final = 60
TURNS: Final = 3


def figures() -> Iterable[Figure]:
    """CPU, then delays, then the store's work, then what that costs."""
    with on_first_core(), provider() as url:
        for rhythm, what, tokens, rounds in (
            ("burst", "as fast as they come", TOKENS, 45),
            ("paced", "one token a read, 1,000 a second", TOKENS, 9),
            ("real", "one token a read, 50 a second", REAL_TOKENS, 8),
        ):
            yield _cpu(f"{url}/{rhythm}/v1", f"CPU per token, {what}", tokens, rounds)
    with tempfile.TemporaryDirectory() as folder:
        yield asyncio.run(_log_alone(f"{folder}/store"))
    with tempfile.TemporaryDirectory() as folder:
        flags = ("--concurrency", str(READERS + 2), "--env", "SCRIPTED_WORDS_PER_SECOND=50")
        with local_server(Path(folder), *flags) as server:
            yield _lag(server.url)
            yield _first_replayed_byte(server.url)
    yield from _store_work()
    yield from _dollars()


def _cpu(base_url: str, name: str, tokens: int, rounds: int) -> Figure:
    with tempfile.TemporaryDirectory() as folder, closing(_pairs(base_url, folder)) as pairs:
        next(pairs)  # imports and connections are not measured
        logged, unlogged, ratio = least([next(pairs) for _ in range(rounds)])
    return Figure(
        name=name,
        ours=f"logged {logged / tokens * 1e6:.1f} µs",
        beside=f"not logged {unlogged / tokens * 1e6:.1f} µs",
        ratio=ratio,
        bar="≤ 1.05",
        met=ratio <= 1.05,
    )


async def _log_alone(path: str) -> Figure:
    """The writer's own work, with a write of a second's tokens at a thousand a second: the rest differs by chance."""
    store, tokens = (
        Store(lambda: SqliteBackend(path), threads=1, is_shared=True),
        [(TextDelta(" considerable"),)] * 1000,
    )
    writer = StreamLogWriter(store, "c", 1, LogHeader(), 5, int(time.time()) + 60)
    spent_s = []
    for _ in range(15):
        begun = time.process_time()
        for batch in tokens:
            writer.append(batch)
        await store.put(writer.items())
        spent_s.append(time.process_time() - begun)
    least_us = min(spent_s) / len(tokens) * 1e6
    return Figure(name="  of that, the log's own work, one write in 1,000 tokens", ours=f"{least_us:.2f} µs per token")


def _pairs(base_url: str, folder: str) -> Generator[tuple[float, float]]:
    """CPU seconds of an answer that is logged, and of one that is not, from one process."""
    with asyncio.Runner() as runner:
        front = runner.run(FakeRuntimeApi().__aenter__())

        def ask(**more: str) -> None:
            runner.run(front.invoke(chat_event("hello", **more)))
            runner.run(front.is_idle())

        with process(OURS, **settings(base_url, front), STORE=f"file:{folder}/store") as our:
            to_last_core(our.pid)
            number = 0
            while True:
                number += 1
                name = f"c-{number}"
                unlogged = cpu_of(our, ask) if number % 2 else 0.0
                logged = cpu_of(our, lambda name=name: ask(conversation_id=name))  # type: ignore[misc]
                yield logged, unlogged or cpu_of(our, ask)


def _first_replayed_byte(url: str) -> Figure:
    """Of an answer that has ended; and of one that is being given, whose readers stay until its end, once each."""
    _ask(url, "ended", WORDS // 5).read()
    running = _ask(url, "running", WORDS)
    next(running.iter_raw())
    waited_ms = [_first_byte_ms(url, "ended") for _ in range(REPLAYS + 1)][1:]
    live_ms = [_first_byte_ms(url, "running") for _ in range(READERS)]
    running.close()
    p95 = statistics.quantiles(waited_ms, n=20)[-1]
    return Figure(
        name="first replayed byte, warm, local function URL",
        ours=f"{statistics.median(waited_ms):.1f} ms median, {p95:.1f} ms p95; a running one {max(live_ms):.1f} ms",
        bar="p95 ≤ 150 ms",
        met=p95 <= 150,
    )


def _ask(url: str, conversation: str, words: int) -> httpx.Response:
    body = {"conversation_id": conversation, "messages": [{"role": "user", "content": f"count to {words}"}]}
    client = httpx.Client(base_url=url, timeout=60)
    return client.send(client.build_request("POST", "/chat", json=body), stream=True)


def _first_byte_ms(url: str, conversation: str) -> float:
    started = time.perf_counter()
    with httpx.stream("GET", f"{url}/chat/{conversation}/stream", timeout=60) as response:
        next(response.iter_raw())
        return (time.perf_counter() - started) * 1000


def _lag(url: str) -> Figure:
    """How much later than the client that has asked the readers have each word."""
    lags = asyncio.run(_lags(url))
    p95 = statistics.quantiles(lags, n=20)[-1]
    return Figure(
        name=f"{READERS} readers behind the writer",
        ours=f"{statistics.median(lags):.2f} s median, {p95:.2f} s p95",
        bar="p95 ≤ 1.5 s",
        met=p95 <= 1.5,
    )


async def _lags(url: str) -> list[float]:
    body = {"conversation_id": "followed", "messages": [{"role": "user", "content": f"count to {WORDS}"}]}
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        writing = asyncio.create_task(_arrivals(client.stream("POST", "/chat", json=body)))
        await asyncio.sleep(1)
        streams = [client.stream("GET", "/chat/followed/stream") for _ in range(READERS)]
        readings = await asyncio.gather(*map(_arrivals, streams))
        written = await writing
    begun = max(min(reading.values()) for reading in readings)  # until then their environments were starting
    return [reading[word] - at for reading in readings for word, at in written.items() if at > begun]


async def _arrivals(stream: AbstractAsyncContextManager[httpx.Response]) -> dict[str, float]:
    """When each word arrived."""
    arrived = dict[str, float]()
    async with stream as response:
        async for line in response.aiter_lines():
            if line.startswith('data: {"type":"content"'):
                arrived[json.loads(line[6:])["delta"]] = time.monotonic()
    return arrived


def _store_work() -> Iterable[Figure]:
    """Reads and writes of an answer of a minute with three turns and two readers, on a clock that jumps."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        store = runner.run(log_cost.followed_answer(MINUTE_S, TURNS, READERS))
    periodic = len(store.written_at) - 2 * TURNS
    yield Figure(
        name="periodic writes of an answer, those at the ends of turns apart",
        ours=f"{periodic / MINUTE_S:.2f} a second, {len(store.written_at)} in all in {MINUTE_S} s and {TURNS} turns",
        bar="≤ 1 a second",
        met=periodic <= MINUTE_S,
    )
    polls = len(store.read_at) / READERS - 1  # the first read brings what is there
    reads = polls / (store.read_at[-1] - store.read_at[0])
    yield Figure(name="reads of each reader", ours=f"{reads:.2f} a second", bar="≤ 4 a second", met=reads <= 4)


def _dollars() -> Iterable[Figure]:
    """The bar is for output and input together: those are an answer's tokens."""
    for model, (input_price, output_price) in log_cost.MODELS.items():
        least = log_cost.speed_from_which(model, with_input=True)
        alone = log_cost.speed_from_which(model, with_input=False)
        has_bar = output_price >= 3
        yield Figure(
            name=f"cost of a kept answer's log on DynamoDB, {model} (${input_price:g} and ${output_price:g})",
            ours=f"{_shares(model, with_input=True)} of its tokens, below 1 % from {least} tokens a second on",
            beside=f"of its output alone {_shares(model, with_input=False)}, from {alone} on",
            bar="< 1 % at 30 tokens a second and more" if has_bar else "",
            met=least <= 30 if has_bar else None,
        )


def _shares(model: str, *, with_input: bool) -> str:
    shares = (log_cost.share(speed, model, kept=True, with_input=with_input) for speed in log_cost.SPEEDS)
    return " · ".join(f"{share:.2%}" for share in shares)
