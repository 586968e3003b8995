"""Growth: the memory of a function's process after many chats is what it was after the first ones."""

import os
from pathlib import Path

import httpx

from tests.local_server import local_server
from tests.soak.answers import PATHS, body
from tests.soak.progress import Outcome, Progress

__all__ = ["growth"]

QUESTIONS = ("What is 12 * 7?", "Hello", "fail halfway", "What time is it?", "the weather in Paris and Lima")
MAY_GROW_KB = 4096


def growth(total: int, folder: Path) -> Outcome:
    """Ask `total` questions of one process; a tenth of them come before the first measurement."""
    progress = Progress("growth", total)
    with local_server(
        folder, "--concurrency", "1", "--env", "SCRIPTED_WORDS_PER_SECOND=0", "--env", "MODEL_ID=any"
    ) as server:
        before = 0
        with httpx.Client(base_url=server.url, timeout=60) as client:
            for number in range(total):
                path = PATHS[number % len(PATHS)]
                client.post(path, json=body(path, f"{QUESTIONS[number % len(QUESTIONS)]}")).raise_for_status()
                progress.step()
                if number == total // 10:
                    before = _resident_kb(server.process.pid)
            grown = _resident_kb(server.process.pid) - before
    outcome = Outcome(f"{total} chats in one process, which grew by {grown / 1024:.1f} MB")
    if grown > MAY_GROW_KB:
        outcome.wrong.append(f"it may grow by {MAY_GROW_KB / 1024:.0f} MB")
    return outcome


def _resident_kb(parent: int) -> int:
    """The resident memory of the function's process, which is the local server's only child."""
    (child,) = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    pages = int(Path(f"/proc/{child}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024
