"""Titles of conversations: one short line each. Pure."""

from typing import Final

from winterbourne.chat.infra.redaction import redact

__all__ = ["MAX_TITLE_CHARS", "shorten", "single_line"]

MAX_TITLE_CHARS: Final = 80


def single_line(text: str) -> str:
    """The text on one line, redacted."""
    return " ".join(redact(text).split())


def shorten(line: str) -> str:
    """The line, or its beginning if it is too long for a title."""
    return line if len(line) <= MAX_TITLE_CHARS else f"{line[: MAX_TITLE_CHARS - 1]}…"
