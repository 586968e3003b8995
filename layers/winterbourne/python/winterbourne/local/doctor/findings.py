"""The result of a check (a finding), why each check is made, and how findings are printed. Pure."""

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["WHY", "Finding", "format_finding", "ok", "unknown", "wrong"]

State = Literal["ok", "wrong", "unknown"]

STATE_LABELS: Final[dict[State, str]] = {"ok": "ok   ", "wrong": "WRONG", "unknown": "?    "}

WHY: Final = {
    # Of the stack
    "stack": "what is checked is in it, and one that failed or was rolled back is another than the one that you meant",
    "settings": "the function reads them at its start, and does not start with wrong ones",
    "snapshot": "with SnapStart callers get the published version, and not what was changed since",
    "function": "Lambda's stock client for Python cannot stream: the layer does, started by its exec wrapper",
    "capacity": "with no concurrency reserved for it Lambda turns every caller away with 429",
    "url": "the URL decides by itself whether it streams, and whether Lambda or the function knows the callers",
    "cloudfront": "the function URL takes requests that this distribution has signed, and no others",
    "api": "a gateway that is not told to stream collects the whole answer first",
    "permissions": "Lambda asks the function's own policy who may call, before the function is asked",
    "keys": "callers prove who they are with a key of this secret",
    "model key": "the provider refuses requests without its key",
    "table": "conversations, limits and stop requests are in it, and with limits no chat runs without it",
    "alarms": "they ring when the chat fails, is slow or costs too much, and ring for this stack alone",
    "callers": "what callers see can only be checked as one of them",
    # Of the URL
    "reachable": "nothing else can be told before something answers",
    "clock": "signatures and tokens say when they were made, and are refused if that is too far off",
    "cors": "a browser shows a page only what the chat allows it to see, in exactly one header",
    "ready": "the chat itself says whether its store, its keys, its model and its tools' threads are there",
    "auth": "who finds the address may ask, and the model costs money",
    "key": "the chat knows its callers by their keys",
    "model": "an answer that ends without its terminal frame, or with an error, is no answer",
    "streaming": "whatever collects an answer keeps its reader waiting for all of it",
    "connection": "a stream that breaks off ends for its reader in the middle of a word",
}
"""Why each check is made, by its subject."""


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        subject: What was checked, in a word or two; `WHY` has it.
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
    """What was found; if it is not good, why that matters; and what to do about it, if anything: a line each."""
    lines = [f"{STATE_LABELS[finding.state]}  {finding.subject:<12} {finding.message}"]
    if finding.state != "ok":
        lines.append(f"({WHY[finding.subject]})")
    if finding.fix:
        lines.append(f"→ {finding.fix}")
    return f"\n{'':<20}".join(lines)
