"""Cost of 1,000 chats on Lambda: CPU, memory, bytes and seconds measured here, the provider's latency assumed.

Lambda bills the whole time a stream is open, and most of it is waiting. So the model's pace decides the cost, and the
CPU only how small the memory may be: Lambda gives 1,769 MB one core, and less memory a proportional share.
"""

import os
import tempfile
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from tests.bench import door_cost
from tests.bench.figure import Figure
from tests.local_server import LocalServer, local_server

__all__ = ["figures"]

# US East (N. Virginia), arm64; the first 6 MB of a response stream are free
GB_SECOND: Final = door_cost.RATES["lambda_gb_s"].dollars
REQUEST: Final = door_cost.RATES["lambda_request"].dollars
CORE_MB: Final = 1769

# Assumptions about the provider and the tools
FIRST_TOKEN_S: Final = 0.6
WORDS_PER_S: Final = 50
TOOLS_S: Final = 0.6

# Quick enough to measure, slow enough that each word travels alone, as a model's do
PACE: Final = 200
ROUNDS: Final = 5
MEMORY_MB: Final = (256, 512, 1024, 1769)


@dataclass(frozen=True)
class Length:
    """One kind of chat."""

    name: str
    question: str
    words: int
    turns: int = 1

    @property
    def duration_s(self) -> float:
        """How long its stream is open, without our own CPU time."""
        return self.turns * FIRST_TOKEN_S + (self.turns - 1) * TOOLS_S + self.words / WORDS_PER_S


LENGTHS: Final = (
    Length("short, 100 words", "count to 100", 100),
    Length(
        "five tools and 60 words", "Compare AAPL and MSFT, the weather in Paris and Lima, and 1200 EUR in USD", 60, 2
    ),
    Length("long, 1,000 words", "count to 1000", 1000),
)


def figures() -> Iterable[Figure]:
    """CPU of each kind of chat, memory of the process, the resulting bill; how long a stream is open, and its bytes."""
    with tempfile.TemporaryDirectory() as folder, _served(Path(folder), PACE) as server:
        process = _function(server.process.pid, server.url)
        cpu_s = {length: _cpu_per_chat(server.url, process, length) for length in LENGTHS}
        memory_mb = _peak_mb(process)
    for length in LENGTHS:
        yield Figure(name=f"CPU of one chat, {length.name}", ours=f"{cpu_s[length] * 1000:.0f} ms")
        yield Figure(name=f"1,000 chats, {length.name}", ours=_bill(length, cpu_s[length]))
    yield Figure(name="memory of the process at most", ours=f"{memory_mb:.0f} MB")
    for length, (seconds, sent_bytes) in zip(LENGTHS, _at_a_models_pace(), strict=True):
        yield Figure(name=f"stream of one chat, {length.name}", ours=f"{seconds:.1f} s open, {sent_bytes:,} bytes")


def _at_a_models_pace() -> list[tuple[float, int]]:
    """How long the stream of each kind of chat is open, and how many bytes it has.

    What the scripted model does not wait for is added: the first token of each turn.
    """
    with tempfile.TemporaryDirectory() as folder, _served(Path(folder), WORDS_PER_S) as server:
        _ask(server.url, "Hello")
        return [_timed(server.url, length) for length in LENGTHS]


def _timed(url: str, length: Length) -> tuple[float, int]:
    started = time.monotonic()
    sent_bytes = _ask(url, length.question)
    return time.monotonic() - started + length.turns * FIRST_TOKEN_S, sent_bytes


def cost(duration_s: float, memory_mb: int, chats: int = 1000) -> float:
    """Dollars: chats * (seconds * GB * price of a GB-second + price of a request)."""
    return chats * (duration_s * memory_mb / 1024 * GB_SECOND + REQUEST)


def billed_s(length: Length, cpu_s: float, memory_mb: int) -> float:
    """Our work overlaps with waiting until the share of a core is too small for it."""
    return max(length.duration_s, cpu_s * CORE_MB / min(memory_mb, CORE_MB))


def _bill(length: Length, cpu_s: float) -> str:
    bills = ((mb, billed_s(length, cpu_s, mb)) for mb in MEMORY_MB)
    return ", ".join(f"{mb} MB: {seconds:.1f} s each, ${cost(seconds, mb):.3f}" for mb, seconds in bills)


def _served(folder: Path, pace: int) -> AbstractContextManager[LocalServer]:
    return local_server(folder, "--concurrency", "1", "--env", f"SCRIPTED_WORDS_PER_SECOND={pace}")


def _ask(url: str, question: str) -> int:
    """Ask, wait for the whole answer, and return the size of its body in bytes."""
    body = {"messages": [{"role": "user", "content": question}]}
    return len(httpx.post(f"{url}/chat", json=body, timeout=60).raise_for_status().content)


def _function(server: int, url: str) -> int:
    """The process id of the one execution environment, which the first question starts."""
    _ask(url, "Hello")
    (child,) = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    return int(child)


def _cpu_per_chat(url: str, process: int, length: Length) -> float:
    before = _cpu_s(process)
    for _ in range(ROUNDS):
        _ask(url, length.question)
    return (_cpu_s(process) - before) / ROUNDS


def _cpu_s(process: int) -> float:
    """User and system time. https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html"""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mb(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
