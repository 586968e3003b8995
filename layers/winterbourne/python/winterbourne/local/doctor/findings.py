"""The result of a check (a finding), and how findings are printed. Pure."""

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["Finding", "format_finding", "ok", "unknown", "wrong"]

State = Literal["ok", "wrong", "unknown"]

STATE_LABELS: Final[dict[State, str]] = {"ok": "ok   ", "wrong": "WRONG", "unknown": "?    "}


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        subject: What was checked, in a word or two.
        state: `unknown` if the check was inconclusive, which is not a fault.
        message: What was found.
        fix: What to do about it, a command if possible; empty unless something is wrong.
    """

    subject: str
    state: State
    message: str
    fix: str = ""


def ok(subject: str, message: str) -> Finding:
    """A check that passed."""
    return Finding(subject, "ok", message)


def wrong(subject: str, message: str, fix: str) -> Finding:
    """A check that failed, and how to fix it."""
    return Finding(subject, "wrong", message, fix)


def unknown(subject: str, message: str) -> Finding:
    """A check that was inconclusive."""
    return Finding(subject, "unknown", message)


def format_finding(finding: Finding) -> str:
    """One line, and a second one for the fix, if any."""
    line = f"{STATE_LABELS[finding.state]}  {finding.subject:<12} {finding.message}"
    return f"{line}\n       {'':<12} → {finding.fix}" if finding.fix else line
