"""What traces cost: the CPU of a span, what comes before the first token, and what a start pays where they are off.

A span is begun, gets the attributes of its kind and the headers of its requests, ends, and is encoded, in an answer of
two turns and five tools, as it is exported: all but the one HTTP request for all of them.
CPU is the process's own, the least of the rounds: what else the machine does only adds to it.
"""

import asyncio
import contextlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from tests.bench.figure import Figure
from tests.chat.http_events import RecordedResponse, event, handle
from tests.chat.test_app import make_service
from winterbourne.chat.core.events import Usage
from winterbourne.chat.http.service import Service
from winterbourne.chat.infra.otlp import Tracer
from winterbourne.chat.infra.spans import Trace
from winterbourne.chat.settings import LogSettings, TraceSettings
from winterbourne.local.http_server import Exchange, HttpServer
from winterbourne.override import override

ROUNDS: Final = 300
SPANS: Final = 9
SPAN_BAR_US: Final = 30
FIRST_TOKEN_BAR_US: Final = 3 * SPAN_BAR_US  # the request's, the answer's and the turn's
ENDPOINT: Final = "http://127.0.0.1:4318"
OPTIONS: Final = {"max_tokens": 8192, "temperature": 0.5}
MODEL: Final = "openai:gpt-5.4-mini"
USED: Final = Usage(1200, 300, 800)
QUESTION: Final = {"messages": [{"role": "user", "content": "Hello"}]}
TRACES: Final = ("winterbourne.chat.infra.spans", "winterbourne.chat.infra.otlp")

IMPORTED: Final = """
import json, os, sys, time
import winterbourne.chat.app
from winterbourne.chat.process_setup import make_tracer
from winterbourne.chat.settings import Settings
settings = Settings.from_environment(os.environ)
begun = time.process_time()
make_tracer(settings)
print(json.dumps([(time.process_time() - begun) * 1e3, [name for name in sys.modules if name in %r]]))
"""


def figures() -> Iterable[Figure]:
    """A span; a request; the first token; a start."""
    tracer = Tracer(TraceSettings(otel_exporter_otlp_endpoint=ENDPOINT), LogSettings())
    span_us = _least_us(lambda: tracer.encode(_answer(tracer))) / SPANS
    size = len(tracer.encode(_answer(tracer)))
    yield Figure(
        name="CPU of a span, from its beginning to its bytes",
        ours=f"{span_us:.1f} µs",
        beside=f"{SPANS} spans of an answer, {size} bytes",
        bar=f"< {SPAN_BAR_US} µs",
        met=span_us < SPAN_BAR_US,
    )
    yield from asyncio.run(_requests())
    yield from _starts()


def _answer(tracer: Tracer) -> Trace:
    """The spans of an answer of two turns and five tools."""
    request = tracer.begin({}, "POST /chat", "r-1", http__request__method="POST", url__path="/chat")
    assert request
    with request, request.agent(MODEL, "c-1") as agent:
        for _ in range(2):
            with agent.model(MODEL, OPTIONS) as turn:
                turn.note_first_chunk()
                turn.note_usage(USED, MODEL, "stop")
        for _ in range(5):
            with agent.tool("get_weather", "call_1") as call:
                call.note_call("completed", "{}", "1")
        agent.note_answer(USED, {"stop_reason": "stop"})
    tracer.end(request, {}, None)
    return request.trace


class _Timed(RecordedResponse):
    """When its first token came, in seconds of CPU."""

    first_s = 0.0

    @override
    async def write(self, data: bytes) -> None:
        if not self.first_s and b'"content"' in data:
            self.first_s = time.process_time()
        await super().write(data)


async def _requests() -> list[Figure]:
    """The same question with and without traces, in turn: CPU until its first token, and of all of it."""
    before_first: list[bool] = []
    response = _Timed()

    async def take(exchange: Exchange) -> None:
        before_first.append(not response.first_s)
        await exchange.read_body(2**20)
        await exchange.respond_json(200, {})

    async with HttpServer(take) as collector:
        await collector.listen("127.0.0.1")
        with contextlib.redirect_stdout(io.StringIO()):
            services = {
                "off": make_service(),
                "on": make_service(otel_exporter_otlp_endpoint=f"http://127.0.0.1:{collector.port}"),
            }
            firsts: dict[str, list[float]] = {name: [] for name in services}
            for _ in range(ROUNDS):
                for name, service in services.items():
                    response = _Timed()
                    firsts[name].append(await _first_token_s(service, response))
    more_us = (min(firsts["on"]) - min(firsts["off"])) * 1e6
    return [
        Figure(
            name="requests to a collector before the first token",
            ours=str(sum(before_first)),
            beside=f"{len(before_first)} after it, one for each request",
            bar="none",
            met=not any(before_first) and len(before_first) == ROUNDS,
        ),
        Figure(
            name="CPU before the first token, of its three spans",
            ours=f"{more_us:.0f} µs",
            beside=f"without traces {min(firsts['off']) * 1e6:.0f} µs",
            bar=f"< {FIRST_TOKEN_BAR_US} µs",
            met=more_us < FIRST_TOKEN_BAR_US,
        ),
    ]


async def _first_token_s(service: Service, response: _Timed) -> float:
    begun = time.process_time()
    await handle(service, event("POST", "/chat", QUESTION), response)
    return response.first_s - begun


def _starts() -> Iterable[Figure]:
    """What a start imports for traces, and how long that takes."""
    off, on = ([_start(endpoint) for _ in range(5)] for endpoint in ("", ENDPOINT))
    imported = off[0][1]
    yield Figure(
        name="modules of traces that a start imports where they are off",
        ours=str(len(imported)),
        beside=f"where they are on {len(on[0][1])}, in {min(ms for ms, _ in on):.1f} ms",
        bar="none, 0 ms",
        met=not imported,
    )


def _start(endpoint: str) -> tuple[float, list[str]]:
    environ = {"PYTHONPATH": ":".join(filter(None, sys.path)), "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    command = [sys.executable, "-c", IMPORTED % (TRACES,)]
    ms, imported = json.loads(subprocess.run(command, env=environ, capture_output=True, check=True).stdout)
    return ms, imported


def _least_us(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(ROUNDS):
        begun = time.process_time_ns()
        work()
        times.append(time.process_time_ns() - begun)
    return min(times) / 1e3
