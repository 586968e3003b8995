"""A process and its children: one group, ended together."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.coverage_variables import COVERAGE
from winterbourne.local.process_group import ProcessGroup

SLEEPS = "import time; time.sleep(60)"
DEAF = f"import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); {SLEEPS}"
WITH_A_CHILD = f"""
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", {SLEEPS!r}]).pid, flush=True)
{SLEEPS}
"""


async def start(code: str) -> tuple[ProcessGroup, int]:
    """The group, and the number that it has printed."""
    reading, writing = os.pipe()
    group = await ProcessGroup.start([sys.executable, "-c", code], cwd=Path(), env=COVERAGE, output=writing)
    os.close(writing)
    with os.fdopen(reading) as output:
        return group, int(await asyncio.to_thread(output.readline))


def is_running(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and " Z " not in state.read_text()


class TestTerminating:
    async def test_waits_no_longer_than_the_grace_for_one_that_does_not_hear(self) -> None:
        group, _ = await start(DEAF)
        await group.terminate(0.05)
        assert await group.wait() == -signal.SIGKILL

    async def test_ends_children_and_frozen_processes_too(self) -> None:
        group, child = await start(WITH_A_CHILD)
        group.signal(signal.SIGSTOP)
        await group.terminate(5)
        assert await group.wait() == -signal.SIGTERM
        while is_running(child):  # noqa: ASYNC110 - the event is in another process
            await asyncio.sleep(0.01)

    async def test_of_one_that_has_exited_does_nothing(self) -> None:
        group, _ = await start("print(1)")
        assert await group.wait() == 0
        group.signal(signal.SIGCONT)
        await group.terminate(5)
