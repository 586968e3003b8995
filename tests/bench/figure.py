"""One line of what `make bench` prints, and the few helpers every bench needs."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Figure", "environment", "paired"]

CACHE = Path(__file__).parents[2] / ".bench"


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
