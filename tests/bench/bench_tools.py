"""Tool execution as the client sees it, through the local function URL; compared with other agent libraries.

Every library runs the same turn with a model of its own kind for tests: 0.8 s long, asking one after another for
tools of 1.5, 0.2, 0.6, 1.0 and 0.4 s. Ours is measured at the client, with everything in between; theirs at their own
event stream, in their own process, which leaves out the path to a client. There every tool is an `asyncio.sleep`;
our tools of 0.2 to 0.6 s take exactly that long (`timerfd.py`), so that what is more is ours.
"""

import asyncio
import contextlib
import http.client
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.bench.figure import Figure, environment
from tests.bench.tools_function.scripted_provider import ToolCallingProvider, work
from tests.local_server import local_server
from winterbourne.chat.core.conversation import Conversation
from winterbourne.chat.core.events import EventBatch
from winterbourne.chat.core.messages import ChatRequest, Text, ToolCall, UserMessage
from winterbourne.chat.formats.native.encode import NativeEncoder
from winterbourne.chat.tool_runtime.executor import ToolExecutor

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]

AT_ONCE: Final = (0.2, 0.3, 0.4, 0.5, 0.6)
TURN_S: Final = 0.8
IN_TURN: Final = (1.5, 0.2, 0.6, 1.0, 0.4)
LIMIT_S: Final = max(TURN_S * (n + 1) / len(IN_TURN) + seconds for n, seconds in enumerate(IN_TURN))

ROUNDS: Final = 7
MANY: Final = 50

RIVALS: Final = {
    "pydantic-ai": ("with_pydantic_ai", "pydantic-ai-slim==2.68.0"),
    "Strands Agents": ("with_strands", "strands-agents==1.62.0"),
    "OpenAI Agents SDK": ("with_openai_agents", "openai-agents==0.24.0"),
}


@dataclass(frozen=True)
class Seen:
    """When each result was seen, from the moment the request was sent, and how long after its tool had ended."""

    at_s: tuple[float, ...]
    late_s: tuple[float, ...]


def figures() -> Iterable[Figure]:
    """Five tools at once; five tools during a turn, beside others; what one call costs, beside others."""
    with tempfile.TemporaryDirectory() as folder, _served(Path(folder)) as client:
        _ask(client, 0, (0, 0))  # starts the process and opens its connection
        at_once = [_ask(client, 0, AT_ONCE, "wait") for _ in range(ROUNDS * 2)]
        in_turn = [_ask(client, TURN_S, IN_TURN) for _ in range(ROUNDS)]
    yield from _at_once(at_once)
    yield from _in_turn(in_turn)
    rivals = {name: _rival(*how) for name, how in RIVALS.items()}
    last_s = _median(max(seen.at_s) for seen in in_turn)
    for name, rival in rivals.items():
        yield _beside("last of five results, turn of 0.8 s", last_s, name, max(rival["seen_s"]), "s", 3)
    cost_us = _call_us()
    for name, rival in rivals.items():
        yield _beside("one call without work, in a whole conversation", cost_us, name, rival["call_us"], "µs", 0)
    yield Figure(name="one call without work, the executor alone", ours=f"{_executor_us():.0f} µs")


def _at_once(rounds: Sequence[Seen]) -> Iterator[Figure]:
    one_by_one = f"one by one {sum(AT_ONCE):.2f} s"
    for name, pick, most in (("last", max, 0.606), ("first", min, 0.205)):
        seconds = _median(pick(seen.at_s) for seen in rounds)
        yield Figure(
            name=f"five tools of 0.2 to 0.6 s, {name} result at the client",
            ours=f"{seconds:.4f} s",
            beside=one_by_one,
            bar=f"≤ {most} s",
            met=seconds <= most,
        )


def _in_turn(rounds: Sequence[Seen]) -> Iterator[Figure]:
    last_s = _median(max(seen.at_s) for seen in rounds)
    yield Figure(
        name="five tools during a turn of 0.8 s, last result at the client",
        ours=f"{last_s:.4f} s",
        beside=f"theoretical limit {LIMIT_S:.2f} s",
        ratio=last_s / LIMIT_S,
        bar="ratio ≤ 1.02",
        met=last_s <= LIMIT_S * 1.02,
    )
    latest_ms = _median(max(seen.late_s) for seen in rounds) * 1000
    late_ms = _median(late for seen in rounds for late in seen.late_s) * 1000
    yield Figure(
        name="from the end of a tool to its result at the client",
        ours=f"median {late_ms:.2f} ms, the latest of a round {latest_ms:.2f} ms",
        bar="each ≤ 5 ms",
        met=latest_ms <= 5,
    )


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[http.client.HTTPConnection]:
    """A client of our bench function behind the local function URL."""
    function = ["--task-root", str(ROOT / "tests/bench/tools_function"), "--handler", "handler.handler"]
    paths = ["--env", f"PYTHONPATH={ROOT / 'functions'}:{ROOT}"]
    with local_server(folder, *function, *paths) as server:
        client = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
        with contextlib.closing(client):
            yield client


def _ask(client: http.client.HTTPConnection, turn_s: float, tools_s: Sequence[float], tool: str = "work") -> Seen:
    body = json.dumps({"turn_s": turn_s, "tools_s": tools_s, "tool": tool})
    seen: list[tuple[float, float]] = []
    began = time.monotonic()
    client.request("POST", "/", body, {"content-type": "application/json"})
    with client.getresponse() as response:
        for line in response:
            now = time.monotonic()
            if b'"status":"completed"' in line:
                ended = json.loads(line.removeprefix(b"data: "))["result"]
                seen.append((now - began, now - ended))
    at_s, late_s = zip(*seen, strict=True)
    return Seen(at_s, late_s)


def _rival(script: str, package: str) -> dict[str, Any]:
    asked = json.dumps({"turn_s": TURN_S, "tools_s": IN_TURN, "many": MANY})
    command = [str(environment(script, [package])), str(HERE / "rivals" / f"{script}.py"), asked]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def _beside(name: str, ours: float, rival: str, theirs: float, unit: str, digits: int) -> Figure:
    return Figure(
        name=name,
        ours=f"{ours:.{digits}f} {unit}",
        beside=f"{rival} {theirs:.{digits}f} {unit}",
        ratio=ours / theirs,
    )


def _call_us() -> float:
    """As `rivals/timing.py` measures it: a turn of MANY calls less a turn of one, by call."""
    return _median((_conversation_s(MANY) - _conversation_s(1)) / (MANY - 1) for _ in range(ROUNDS * 5)) * 1e6


def _conversation_s(count: int) -> float:
    async def run() -> float:
        encoder = NativeEncoder()

        async def emit(batch: EventBatch) -> None:
            encoder.encode(batch)

        began = time.perf_counter()
        await Conversation(
            request=ChatRequest(messages=(UserMessage((Text("go"),)),)),
            provider=ToolCallingProvider(0, [0] * count),
            tools=ToolExecutor([work]),
            emit=emit,
            on_message=lambda _: None,
            on_usage=lambda _: None,
            max_turns=2,
        ).run()
        return time.perf_counter() - began

    return asyncio.run(run())


def _executor_us() -> float:
    async def run() -> float:
        async def emit(_: EventBatch) -> None: ...

        executor = ToolExecutor([work])
        began = time.perf_counter()
        for _ in range(20):
            async with executor.turn(emit) as turn:
                for number in range(MANY):
                    turn.start(ToolCall(str(number), "work", '{"seconds":0}'))
                await turn.results()
        return (time.perf_counter() - began) / 20 / MANY * 1e6

    return _median(asyncio.run(run()) for _ in range(ROUNDS * 3))


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)
