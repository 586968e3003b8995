"""Cost per token between provider and client, compared with common stacks and with the bare parse.

The provider and every contender are processes of their own; CPU is what the kernel counts for the contender's process,
user and system, all threads. In a burst one read of the socket brings many tokens; paced, one read brings one.
"""

import asyncio
import contextlib
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.figure import Figure, environment
from tests.bench.models.provider import TOKENS
from tests.bench.models.runtime_api import FakeRuntimeApi, chat_event

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent / "models"
LAYER = ROOT / "layers" / "winterbourne" / "python"
OURS = [sys.executable, "-m", "winterbourne", "chat.app.handler"]
FIRST_BYTES = 200
FASTAPI = ("fastapi==0.165.0", "uvicorn==0.54.0", "openai==3.54.0")
PYDANTIC_AI = ("pydantic-ai-slim[openai,ui]==2.68.0", "starlette==1.10.0", "uvicorn==0.54.0")
# As many as a deployment has, and as long: all output is searched for them (redaction).
SECRETS = {
    "OPENAI_API_KEY": "made-up-" + "0aB1cD2eF3gH" * 4,
    "API_KEYS": json.dumps({f"caller-{n}": f"made-up-{n * 7919 % 1000}-{'xY7' * 9}" for n in range(10)}),
    "AWS_SECRET_ACCESS_KEY": "made/up+" * 5,
    "AWS_SESSION_TOKEN": "made/up+session" * 80,
}
CHAT = (
    b'{"trigger":"submit-message","id":"c","messages":[{"id":"m","role":"user",'
    b'"parts":[{"type":"text","text":"hello"}]}]}'
)

Measure = Callable[[str], float]
"""The base URL of a provider → CPU seconds for one stream."""


def figures() -> Iterable[Figure]:
    """Per token in both rhythms, then the first byte."""
    fastapi, pydantic_ai = environment("fastapi", FASTAPI), environment("pydantic-ai", PYDANTIC_AI)
    with provider() as url:
        for rhythm, what, fifth, rounds in (
            ("burst", "as fast as they come", 0.2, 7),
            ("paced", "one token a read", None, 3),
        ):
            base_url = f"{url}/{rhythm}/v1"
            ours, relay, floor, web, agent = _medians(
                [
                    _ours(base_url),
                    _relay(base_url),
                    _floor(base_url),
                    _served(fastapi, base_url),
                    _served(pydantic_ai, base_url),
                ],
                rounds,
            )
            name = f"CPU per token, {what}"
            if rhythm == "paced":
                yield _beside(name, ours, relay, "a bare asyncio relay, which parses nothing", 2)
            yield _beside(name, ours, floor, "httpx + orjson.loads alone", 1.5)
            yield _beside(name, ours, web, "FastAPI + uvicorn + openai", fifth)
            yield _beside(name, ours, agent, "pydantic-ai's Vercel adapter", None)
        yield from _reading(f"{url}/paced/v1")
        yield _first_byte(f"{url}/first/v1")


def _reading(base_url: str) -> Iterable[Figure]:
    """What each client takes alone to read one token a read, and orjson to parse it."""
    clients = {
        "h11 over asyncio, without pool, timeouts and TLS": "h11",
        "httpx2": "httpx2",
        "httpx": "httpx",
    }
    ours, *others = _medians([_floor(base_url, name) for name in ("ours", *clients.values())], 3)
    for what, other in zip(clients, others, strict=True):
        yield _beside("  of that, reading with httpx over our transport", ours, other, what, None)


def _beside(name: str, ours: list[float], other: list[float], what: str, bar: float | None) -> Figure:
    ratio = statistics.median(a / b for a, b in zip(ours, other, strict=True))
    return Figure(
        name=name,
        ours=_per_token(ours),
        beside=f"{what} {_per_token(other)}",
        ratio=ratio,
        bar=f"≤ {bar}" if bar else "",
        met=ratio <= bar if bar else None,
    )


def _per_token(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) / TOKENS * 1e6:.1f} µs"


def _medians(contenders: list[Callable[[], Iterator[float]]], rounds: int) -> list[list[float]]:
    """Each contender's CPU seconds, round by round, all of them taking turns."""
    running = [contender() for contender in contenders]
    measured = [[next(one) for one in running] for _ in range(rounds + 1)][1:]
    for one in running:
        one.close()  # type: ignore[attr-defined]  # it is a generator
    return [list(column) for column in zip(*measured, strict=True)]


# The contenders: each is a generator that yields the CPU seconds of one stream after another


def _ours(base_url: str) -> Callable[[], Iterator[float]]:
    def run() -> Iterator[float]:
        with asyncio.Runner() as runner:
            front = runner.run(FakeRuntimeApi().__aenter__())
            with process(
                [sys.executable, "-m", "winterbourne", "chat.app.handler"], **settings(base_url, front)
            ) as our:
                event = chat_event("hello")
                runner.run(front.invoke(event))  # its imports and connections are not measured
                while True:
                    yield cpu_of(our, lambda: runner.run(front.invoke(event)))

    return run


def settings(base_url: str, front: FakeRuntimeApi) -> dict[str, str]:
    """The variables of our function's process."""
    return {
        "AWS_LAMBDA_RUNTIME_API": front.address,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python3.{sys.version_info.minor}",
        "LAMBDA_TASK_ROOT": str(ROOT / "functions"),
        "PYTHONPATH": f"{ROOT / 'functions'}:{LAYER}",
        "AUTH": "none",
        "LIMIT_REQUESTS_PER_MINUTE": "0",  # a bench asks more often than a caller may
        "MODEL_PROVIDER": "openai",
        "OPENAI_BASE_URL": base_url,
        **SECRETS,
    }


def _floor(base_url: str, client: str = "httpx") -> Callable[[], Iterator[float]]:
    def run() -> Iterator[float]:
        with process([sys.executable, str(HERE / "baseline.py"), client]) as floor:
            while True:
                yield cpu_of(floor, lambda: _tell(floor, base_url))

    return run


def _relay(base_url: str) -> Callable[[], Iterator[float]]:
    def run() -> Iterator[float]:
        with socket.create_server(("127.0.0.1", 0)) as sink, process([sys.executable, str(HERE / "relay.py")]) as relay:
            threading.Thread(target=_swallow, args=[sink], daemon=True).start()
            line = f"{base_url}/chat/completions {sink.getsockname()[1]}"
            while True:
                yield cpu_of(relay, lambda: _tell(relay, line))

    return run


def _swallow(sink: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed at the end
        while True:
            accepted, _ = sink.accept()
            with accepted:
                while accepted.recv(1 << 16):
                    pass


def _tell(told: "subprocess.Popen[bytes]", line: str) -> None:
    """Tell a contender what to read, and wait until it has read it."""
    assert told.stdin
    assert told.stdout
    told.stdin.write(f"{line}\n".encode())
    told.stdin.flush()
    assert int(told.stdout.readline()) == TOKENS


def _served(python: Path, base_url: str) -> Callable[[], Iterator[float]]:
    script = HERE / f"with_{python.parents[1].name.replace('-', '_')}.py"

    def run() -> Iterator[float]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with process([str(python), str(script), str(port), base_url]) as server:
            _until_accepting(port)
            while True:
                yield cpu_of(server, lambda: _fetch(port))

    return run


def _fetch(port: int) -> None:
    head = "POST /chat HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(f"{head}content-length: {len(CHAT)}\r\n\r\n".encode() + CHAT)
        body = b"".join(iter(lambda: client.recv(1 << 16), b""))
    assert body.count(b"delta") >= TOKENS, body[-500:]


def _until_accepting(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return


def _first_byte(base_url: str) -> Figure:
    """From the provider's first byte to the client's, including both socket hops between the three processes."""
    waited_ms = asyncio.run(_first_bytes(base_url))
    median = statistics.median(waited_ms)
    return Figure(
        name="from the model's first byte to the client's",
        ours=f"{median:.2f} ms median, {statistics.quantiles(waited_ms, n=20)[-1]:.2f} ms p95",
        bar="≤ 1 ms median",
        met=median <= 1,
    )


async def _first_bytes(base_url: str) -> list[float]:
    waited_ms: list[float] = []

    def arrived(data: bytes) -> None:
        if match := re.search(rb'"content","delta":"(\d+)"', data):
            waited_ms.append((time.monotonic_ns() - int(match[1])) / 1e6)

    async with FakeRuntimeApi(arrived) as front:
        with process(OURS, **settings(base_url, front)):
            for _ in range(FIRST_BYTES + 1):
                await front.invoke(chat_event("hello"))
    return waited_ms[1:]


@contextmanager
def provider() -> Iterator[str]:
    """Run the provider; yields its URL."""
    with process([sys.executable, str(HERE / "provider.py")]) as server:
        assert server.stdout
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"


@contextmanager
def process(command: list[str], **environ: str) -> "Iterator[subprocess.Popen[bytes]]":
    """Run it; kill it at the end. Our log is discarded, since nobody reads the pipe."""
    out = subprocess.DEVNULL if environ else subprocess.PIPE
    running = subprocess.Popen(command, env={**os.environ, **environ}, stdin=subprocess.PIPE, stdout=out)
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def cpu_of(running: "subprocess.Popen[bytes]", work: Callable[[], object]) -> float:
    """CPU seconds of a process while the work is done."""
    before = cpu_s(running.pid)
    work()
    return cpu_s(running.pid) - before


def cpu_s(pid: int) -> float:
    """Seconds on a CPU, to the nanosecond, of all threads: https://docs.kernel.org/scheduler/sched-stats.html"""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
