"""Tools for the tests of processes: a process finds its tool by module and name, so they cannot be in a test."""

import asyncio
import ctypes
import multiprocessing
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from winterbourne.chat import ToolContext, ToolError, ToolUnavailable, tool


@tool(isolation="process")
def add(one: int, other: int = 1) -> int:
    """Add."""
    return one + other


@tool(isolation="process")
async def add_later(one: int, other: int) -> int:
    """Add, in a coroutine."""
    await asyncio.sleep(0)
    return one + other


@tool(isolation="process")
def process_id() -> int:
    """The process that runs it."""
    return os.getpid()


@tool(isolation="process", timeout_s=1.5)
def catastrophic(length: int) -> str:
    """Hold the interpreter's lock in C code, twice as long for each letter."""
    return str(re.match(r"(\w+\s?)+$", "x" * length + "!"))


@tool(isolation="process")
def waits_for(path: str) -> str:
    """Wait until a file is there, and say which process did."""
    Path(f"{path}.pid").write_text(str(os.getpid()))
    while not Path(path).exists():
        time.sleep(0.01)
    return "there"


@tool(isolation="process")
def crashes(how: str) -> str:
    """End the process."""
    sys.stdout.write("about to crash\n")
    if how == "segfault":
        ctypes.string_at(0)
    if how == "os._exit":
        os._exit(3)
    if how == "sys.exit":
        sys.exit(3)
    return "alive"


_KEPT: list[bytes] = []


@tool(isolation="process", memory_mb=128)
def allocates(megabytes: int) -> int:
    """Take memory and keep it."""
    _KEPT.append(b"x" * (megabytes << 20))
    return len(_KEPT[-1])


@tool(isolation="process")
def raises(kind: str) -> None:
    """Raise."""
    known = {
        "refused": ToolError("Not on Sundays."),
        "unavailable": ToolUnavailable("Low tide."),
        "no text": ToolError("a file \udcff"),
    }
    raise known.get(kind) or KeyError(kind)


@tool(isolation="process", keys=["SHOP_API_KEY"], needs=["SHOP_URL"])
def context_of(context: ToolContext) -> dict[str, object]:
    """What a call is given."""
    return {
        "key": len(context.wait(context.key("SHOP_API_KEY"))),
        "setting": context.setting("SHOP_URL"),
        "request_id": context.request_id,
        "caller": context.caller,
        "has_time": 0 < context.remaining_s <= 30,
    }


@tool(isolation="process", keys=["SHOP_API_KEY"])
def shows_its_key(context: ToolContext) -> str:
    """Leak."""
    return context.wait(context.key("SHOP_API_KEY"))


@tool(isolation="process")
def variables() -> list[str]:
    """The names of its variables."""
    return sorted(os.environ)


@tool(isolation="process")
def generates(steps: int) -> Generator[str, None, None]:
    """Report progress."""
    for step in range(steps):
        yield f"step {step}"
        time.sleep(0.15)
    yield "done"


@tool(isolation="process")
async def generates_later(steps: int) -> AsyncGenerator[str, None]:
    """Report progress, in a coroutine."""
    for step in range(steps):
        yield f"step {step}"
        await asyncio.sleep(0.15)
    yield "done"


@tool(isolation="process")
def floods(context: ToolContext) -> str:
    """Report more than anybody reads."""
    for number in range(3000):
        context.wait(context.progress({"number": number, "echo": "." * 900}))
    return "flooded"


@tool(isolation="process")
def prints(text: str, times: int) -> str:
    """Write to standard output and error."""
    for _ in range(times):
        sys.stdout.write(f"{text}\n")
    sys.stderr.write("an error\n")
    return "printed"


@tool(isolation="process", max_result_bytes=300)
def large() -> str:
    """Return more than a model reads."""
    return "x" * 1_000_000


@tool(isolation="process", timeout_s=60)
def process_id_and_then(length: int) -> int:
    """Be busy in C code, longer for each letter, and say in which process."""
    re.match(r"(\w+\s?)+$", "x" * length + "!")
    return os.getpid()


def _sleeps(there: Any) -> None:
    there.send("begun")
    time.sleep(60)


@tool(isolation="process", timeout_s=20)
def has_children(how: str) -> str:
    """Start a process that outlives the call, returns as the call does, reads what it is given, or is ended."""
    if how == "reads":
        return sys.stdin.read() + subprocess.run(["cat"], capture_output=True, check=True).stdout.decode() + "nothing"
    if how == "is ended":
        here, there = multiprocessing.Pipe()
        child = multiprocessing.get_context("fork").Process(target=_sleeps, args=(there,))
        child.start()
        here.recv()
        child.terminate()
        child.join()
        return f"ended by {child.exitcode}"
    if os.fork():
        os.waitid(os.P_ALL, 0, os.WEXITED) if how == "returns" else os._exit(3)
        return "the parent"
    if how == "outlives":
        time.sleep(1)
    return "the child"


@tool(isolation="process")
def leaves_a_thread(context: ToolContext, *, leaves: bool) -> str:
    """Report from a thread, also after the end of the call; or report nothing."""

    def report() -> None:
        while True:
            context.wait(context.progress("of another call"))
            time.sleep(0.01)

    if leaves:
        threading.Thread(target=report, daemon=True).start()
    time.sleep(0.2)
    return "left"


@tool(isolation="process", keys=["SHOP_API_KEY"])
def waits_in_threads(context: ToolContext) -> list[int]:
    """Await in many threads at once."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda _: len(context.wait(context.key("SHOP_API_KEY"))), range(50)))


@tool(isolation="process", keys=["SHOP_API_KEY"])
def waits_and_yields(context: ToolContext) -> Generator[int, None, None]:
    """Await in a generator, which has a thread of its own."""
    yield len(context.wait(context.key("SHOP_API_KEY")))


@tool(isolation="process", keys=["SHOP_API_KEY"])
async def waits_beside_the_loop(context: ToolContext) -> int:
    """Await in a thread of a coroutine."""
    return await asyncio.to_thread(lambda: len(context.wait(context.key("SHOP_API_KEY"))))


@tool(isolation="process")
def fetches(url: str, context: ToolContext) -> int:
    """Ask another service."""
    return context.sync_http.get(url).status_code


@tool(isolation="process")
async def fetches_later(url: str, context: ToolContext) -> int:
    """Ask another service in a coroutine."""
    return (await context.http.get(url)).status_code
