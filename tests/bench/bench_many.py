"""Many chats in one process: how long a token takes from provider to client, and what all of it costs the process.

Provider, local server, function and client share this machine's cores, so the delay is that of all of them.

The bar is for chats that know nothing of each other, as those of many callers do: the provider spreads their tokens
evenly over the time between two. Its plain sleep after each token did not: chats that were late together once stayed
together, and within seconds up to all 128 tokens were sent in a tenth of a millisecond. That is a row of its own, `in
step`: there the last of them waits at least for the CPU time of the 127 before, however it is written.
"""

import asyncio
import re
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from tests.bench.bench_models import cpu_s, provider
from tests.bench.figure import Figure
from tests.bench.models.provider import REAL_TOKENS, RHYTHMS
from tests.local_server import LocalServer, local_server
from winterbourne.override import override

CHATS = 128
PER_SECOND = round(1 / RHYTHMS["stamped"][1])
STEADY_FROM_S, STEADY_TO_S = 2.0, 7.0  # all chats have begun, none has ended
BODY = b'{"messages":[{"role":"user","content":"hello"}]}'
REQUEST = (
    b"POST /chat HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
    % (
        len(BODY),
        BODY,
    )
)


def figures() -> Iterable[Figure]:
    """The delay of a token, the share of a core, and the delay where all have theirs at once."""
    name = f"{CHATS} chats at {PER_SECOND} tokens a second each, in one process"
    delays, p99, cores = _chats("stamped")
    yield Figure(name=f"{name}: from the provider to the client", ours=delays, bar="≤ 6 ms p99", met=p99 <= 6)
    token_us = cores / CHATS / PER_SECOND * 1e6
    yield Figure(
        name=f"{name}: CPU",
        ours=f"{cores:.2f} of a core",
        beside=f"{token_us:.0f} µs a token",
        bar="≤ 0.35",
        met=cores <= 0.35,
    )
    delays, _, cores = _chats("in-step")
    last_ms = cores / PER_SECOND * 1e3
    yield Figure(name=f"{name}, in step", ours=delays, beside=f"CPU of {CHATS} tokens {last_ms:.1f} ms")


def _chats(rhythm: str) -> tuple[str, float, float]:
    """The delay of a token in words, its 99th percentile in ms, and the share of a core."""
    with provider() as url, tempfile.TemporaryDirectory() as folder:
        settings = {
            "MODEL_PROVIDER": "openai",
            "OPENAI_API_KEY": "made-up-key",
            "OPENAI_BASE_URL": f"{url}/{rhythm}/v1",
            "HTTP_POOL_MAXSIZE": str(2 * CHATS),
            "LIMIT_REQUESTS_PER_MINUTE": "0",
        }
        flags = [flag for name, value in settings.items() for flag in ("--env", f"{name}={value}")]
        with local_server(Path(folder), "--managed-instances", str(CHATS), "--no-freeze", *flags) as server:
            delays_ms, cores = asyncio.run(_measure(server))
    p99 = statistics.quantiles(delays_ms, n=100)[-1]
    return f"{statistics.median(delays_ms):.2f} ms median, {p99:.2f} ms p99", p99, cores


async def _measure(server: LocalServer) -> tuple[list[float], float]:
    """The delays in ms and the cores of the function's process while all chats stream."""
    loop = asyncio.get_running_loop()
    host, _, port = server.url.removeprefix("http://").rstrip("/").partition(":")
    warm_up = _Client()
    await loop.create_connection(lambda: warm_up, host, int(port))
    await warm_up.ended.wait()
    clients = [_Client() for _ in range(CHATS)]
    for client in clients:
        await loop.create_connection(lambda client=client: client, host, int(port))  # type: ignore[misc]  # a default
        await asyncio.sleep(1 / PER_SECOND / CHATS)  # so that they do not stream in step
    await asyncio.sleep(STEADY_FROM_S)
    before, began = _cpu_of_children_s(server.process.pid), time.monotonic()
    await asyncio.sleep(STEADY_TO_S - STEADY_FROM_S)
    cores = (_cpu_of_children_s(server.process.pid) - before) / (time.monotonic() - began)
    for client in clients:
        await client.ended.wait()
        assert len(client.tokens) == REAL_TOKENS, f"{len(client.tokens)} of {REAL_TOKENS} tokens"
    steady = range(int(began * 1e9), int((began + STEADY_TO_S - STEADY_FROM_S) * 1e9))
    return [(came - sent) / 1e6 for client in clients for sent, came in client.tokens if came in steady], cores


class _Client(asyncio.Protocol):
    """One chat: when each of its tokens was sent, and when it came."""

    def __init__(self) -> None:
        self.tokens: list[tuple[int, int]] = []
        self.ended = asyncio.Event()
        self._rest = b""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(REQUEST)

    @override
    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        *frames, self._rest = (self._rest + data).split(b"\n\n")
        for frame in frames:
            if match := re.search(rb'"content","delta":"([\d ]+)"', frame):
                self.tokens += [(int(sent), now) for sent in match[1].split()]  # those of one read are one frame
        if b'"type":"done"' in data:
            self.ended.set()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


def _cpu_of_children_s(pid: int) -> float:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(cpu_s(int(child)) for child in children)
