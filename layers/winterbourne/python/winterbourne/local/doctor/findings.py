"""What a check found, and how a list of findings reads. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["Finding", "format_findings", "ok", "unknown", "wrong"]

State = Literal["ok", "wrong", "unknown"]

STATE_LABELS: Final[dict[State, str]] = {"ok": "ok   ", "wrong": "WRONG", "unknown": "?    "}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        about: What was looked at, in a word or two.
        state: `unknown` where it could not be told, which is no fault.
        says: What was seen.
        mend: What to do, a command where there is one; empty unless something is wrong.
    """

    subject: str
    state: State
    message: str
    fix: str = ""


def ok(subject: str, message: str) -> Finding:
    """It is as it should be."""
    return Finding(subject, "ok", message)


def wrong(subject: str, message: str, fix: str) -> Finding:
    """It is not, and this mends it."""
    return Finding(subject, "wrong", message, fix)


def unknown(subject: str, message: str) -> Finding:
    """It could not be told."""
    return Finding(subject, "unknown", message)


def format_findings(findings: Iterable[Finding]) -> Iterator[str]:
    """One line for each finding, and one more for what mends it."""
    for finding in findings:
        yield f"{STATE_LABELS[finding.state]}  {finding.subject:<12} {finding.message}"
        if finding.fix:
            yield f"       {'':<12} → {finding.fix}"
