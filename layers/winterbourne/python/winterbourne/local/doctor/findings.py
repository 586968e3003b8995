"""What a check found, and how a list of findings reads. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["Finding", "ok", "report", "unknown", "wrong"]

State = Literal["ok", "wrong", "unknown"]

WORDS: Final[dict[State, str]] = {"ok": "ok   ", "wrong": "WRONG", "unknown": "?    "}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        about: What was looked at, in a word or two.
        state: `unknown` where it could not be told, which is no fault.
        says: What was seen.
        mend: What to do, a command where there is one; empty unless something is wrong.
    """

    about: str
    state: State
    says: str
    mend: str = ""


def ok(about: str, says: str) -> Finding:
    """It is as it should be."""
    return Finding(about, "ok", says)


def wrong(about: str, says: str, mend: str) -> Finding:
    """It is not, and this mends it."""
    return Finding(about, "wrong", says, mend)


def unknown(about: str, says: str) -> Finding:
    """It could not be told."""
    return Finding(about, "unknown", says)


def report(findings: Iterable[Finding]) -> Iterator[str]:
    """One line for each finding, and one more for what mends it."""
    for finding in findings:
        yield f"{WORDS[finding.state]}  {finding.about:<12} {finding.says}"
        if finding.mend:
            yield f"       {'':<12} → {finding.mend}"
