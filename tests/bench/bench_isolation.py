"""Tools in processes of their own: what a call costs and how exactly a timeout is kept, beside a bare pipe.

The bare pipe is a child that sends back what it reads; its timeout is a `kill` and a `wait` of the same C loop.
"""

import asyncio
import functools
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Self

from tests.bench.figure import Figure
from tests.chat.tool_runtime import isolated_idle, isolated_tools
from tests.chat.tool_runtime.recording_clients import run_turn, tool_call
from winterbourne.chat.core.messages import ToolCall
from winterbourne.chat.tool_runtime.executor import ToolExecutor

__all__ = ["figures"]

CALLS = 500
ROUNDS = 7
TIMEOUT_S = 1.5  # of `catastrophic`
MAX_CALL_MS, MAX_LATE_MS, MAX_IDLE_KB = 2, 20, 12 * 1024

ECHO = "import os, sys\nwhile data := os.read(int(sys.argv[1]), 65536): os.write(int(sys.argv[1]), data)"
LOOP = 'import re; print(flush=True); re.match(r"(\\w+\\s?)+$", "x" * 60 + "!")'


def figures() -> Iterable[Figure]:
    """A warm call, the lateness of a timeout, the memory of an idle process, and a start."""
    pipe_ms, call_ms, late_ms, start_ms, idle_kb = asyncio.run(_measure())
    kill_ms = _p95([_kill_ms() for _ in range(ROUNDS)])
    yield Figure(
        name="a warm call of a tool in a process, p95",
        ours=f"{_p95(call_ms):.2f} ms",
        beside=f"bare pipe {_p95(pipe_ms):.2f} ms",
        bar=f"adds ≤ {MAX_CALL_MS} ms",
        met=_p95(call_ms) - _p95(pipe_ms) <= MAX_CALL_MS,
    )
    yield Figure(
        name="a C loop that holds the interpreter's lock, ended after its timeout, p95",
        ours=f"{_p95(late_ms):.1f} ms",
        beside=f"kill and wait {kill_ms:.1f} ms",
        bar=f"≤ {MAX_LATE_MS} ms",
        met=_p95(late_ms) <= MAX_LATE_MS,
    )
    yield Figure(
        name="private memory of an idle process, its tool imports nothing",
        ours=f"{idle_kb / 1024:.1f} MB",
        bar=f"≤ {MAX_IDLE_KB // 1024} MB",
        met=idle_kb <= MAX_IDLE_KB,
    )
    yield Figure(name="the first call, which starts the process", ours=f"{start_ms:.0f} ms")


async def _measure() -> tuple[list[float], list[float], list[float], float, int]:
    executor = ToolExecutor([isolated_tools.add, isolated_tools.catastrophic, isolated_idle.private_kb])
    start_ms = await _turn_ms(executor, tool_call("private_kb"))
    await _turn_ms(executor, tool_call("add", one=1))
    pipe_ms, call_ms = [], []
    with _Echo() as echo:
        for _ in range(CALLS):
            pipe_ms.append(_ms(echo.send))
            call_ms.append(await _turn_ms(executor, tool_call("add", one=1)))
    await _turn_ms(executor, tool_call("catastrophic", length=1))
    late_ms = []
    for _ in range(ROUNDS):
        late_ms.append(await _turn_ms(executor, tool_call("catastrophic", length=60)) - TIMEOUT_S * 1000)
        await asyncio.sleep(0.5)  # until the next process has started
    (message,) = await run_turn(executor, tool_call("private_kb"))
    await executor.close()
    return pipe_ms, call_ms, late_ms, start_ms, int(message.content)


async def _turn_ms(executor: ToolExecutor, call: ToolCall) -> float:
    started = time.perf_counter()
    await run_turn(executor, call)
    return (time.perf_counter() - started) * 1000


def _ms(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def _kill_ms() -> float:
    with subprocess.Popen([sys.executable, "-c", LOOP], stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        time.sleep(0.1)
        return _ms(functools.partial(_end, child))


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()


class _Echo:
    """A child at the other end of a socket pair."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-c", ECHO, str(theirs.fileno())]
            self._child = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        self.send()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.close()
        self._child.wait()

    def send(self) -> None:
        """Send as much as a call has, and wait for it."""
        self._ours.sendall(b"x" * 200)
        self._ours.recv(65536)


def _p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[-1]
