"""One line of what `make bench` prints, and the few helpers every bench needs."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Figure", "environment", "least", "on_first_core", "paired", "to_last_core"]

CACHE = Path(__file__).parents[2] / ".bench"
CORES = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured figure.

    Args:
        name: What was measured, in words.
        ours: Our value with its unit, a median.
        beside: What it is compared with, with its value and unit.
        ratio: Ours divided by the other, median of the rounds' ratios; None if there is nothing to divide.
        bar: What we promised, in words; empty where the figure is only printed.
        met: Whether the bar was met in this run; None without a bar.
    """

    name: str
    ours: str
    beside: str = ""
    ratio: float | None = None
    bar: str = ""
    met: bool | None = None

    @property
    def verdict(self) -> str:
        """How the bar ended; a bar that was not measured is missed."""
        return "met" if self.met else "**missed**"


def paired(ours: Callable[[], object], other: Callable[[], object], rounds: int = 7) -> tuple[float, float, float]:
    """Time both in turn, after one warm-up of each.

    Returns:
        Median seconds of ours, of the other, and the median of the rounds' ratios ours / other.
    """
    times = [(_seconds(ours), _seconds(other)) for _ in range(rounds + 1)][1:]
    a, b = zip(*times, strict=True)
    return statistics.median(a), statistics.median(b), statistics.median(x / y for x, y in times)


def least(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """The least of ours and of the other in all rounds, and their ratio: a busy machine only ever adds to CPU."""
    ours, other = (min(column) for column in zip(*pairs, strict=True))
    return ours, other, ours / other


@contextmanager
def on_first_core() -> Iterator[None]:
    """Keep this thread, and what it starts, on one core meanwhile: what it feeds and measures goes `to_last_core`.

    Two processes that wake each other else cost what the scheduler makes of it in that run. Only Linux can do this.
    """
    _keep(0, CORES[:1])
    try:
        yield
    finally:
        _keep(0, CORES)


def to_last_core(pid: int) -> None:
    """Move a process that has just been started, and so has no threads yet."""
    _keep(pid, CORES[-1:])


def _keep(pid: int, cores: Sequence[int]) -> None:
    if sys.platform == "linux":
        os.sched_setaffinity(pid, cores)


def environment(name: str, packages: Sequence[str]) -> Path:
    """The Python of a virtual environment with pinned packages, as this one; created once and cached under `.bench`."""
    home = CACHE / name
    python = home / "bin" / "python"
    stamp = home / "packages.txt"
    wanted = "\n".join([sys.version, *packages])
    if not stamp.exists() or stamp.read_text() != wanted:
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, home], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *packages], check=True)
        stamp.write_text(wanted)
    return python


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
