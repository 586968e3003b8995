"""A progress bar on the terminal, and what a part of the soak gives back."""

import sys
import time
from dataclasses import dataclass, field

__all__ = ["Outcome", "Progress"]

WIDTH = 30


@dataclass
class Outcome:
    """What a part did, in one sentence, and what went wrong, at most a few lines of it."""

    did: str
    wrong: list[str] = field(default_factory=list)


class Progress:
    """Draws one line for a part while it runs, if the error stream is a terminal; else nothing."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total, self._done = name, total, 0
        self._started = self._drawn = time.monotonic()

    def step(self) -> None:
        """One more is done."""
        self._done += 1
        now = time.monotonic()
        if sys.stderr.isatty() and (now - self._drawn > 0.2 or self._done == self._total):
            self._drawn = now
            filled = WIDTH * self._done // self._total
            left_s = (now - self._started) / self._done * (self._total - self._done)
            bar = "#" * filled + "." * (WIDTH - filled)
            end = "\n" if self._done == self._total else ""
            sys.stderr.write(f"\r{self._name:<16} [{bar}] {self._done}/{self._total}, {left_s:4.0f} s left {end}")
            sys.stderr.flush()
