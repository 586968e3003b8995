"""Replaces what differs from run to run: generated ids are numbered in order of appearance."""

import re
from typing import Final

__all__ = ["shortened", "steady"]

MADE: Final = re.compile(r"\b(?P<kind>c|m|call)_(?P<id>[0-9a-f]{32}|[0-9a-f]{24})\b")
RUN: Final = re.compile(r"(.)\1{200,}")

UNSTEADY: Final = (
    (re.compile(r'("created":)[1-9]\d{9}'), r"\1<seconds>"),
    (re.compile(r'(\\?"(?:duration_ms|durationMs)\\?":)\d{1,5}\b'), r"\1<ms>"),
    (re.compile(r'("(?:created_at|updated_at)":)"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"'), r"\1<time>"),
    (re.compile(r'("id":"u_)\d{13}_'), r"\1<epoch>_"),
    (re.compile(r'("next":)"[^"]+"'), r"\1<cursor>"),
    (re.compile(r"^(< etag: ).+$", re.MULTILINE), r"\1<etag>"),
    (re.compile(r"'sha256-[\w+/=]+'"), "'<hash>'"),  # of the page's script and style
    (re.compile(r"^(: keep-alive\n\n)\1+", re.MULTILINE), r"\1"),
    (re.compile(r'(\\?"stackTrace\\?": )\[.*\](?=\})'), r"\1[<lines>]"),
    (re.compile(r"http://127\.0\.0\.1:\d+"), "<provider>"),
    (
        re.compile(
            r'(x-request-id: |"x-request-id":"|\\?"request_id\\?": ?\\?"|\(request )'
            r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
        ),
        r"\1<request>",
    ),
)


def shortened(text: str) -> str:
    """The text with each run of hundreds of the same character shortened."""
    return RUN.sub(lambda match: f"<{match[1]} {len(match[0])} times>", text)


def steady(text: str) -> str:
    """A transcript without what differs in every run, shortened."""
    made: dict[str, str] = {}
    kinds: dict[str, int] = {}

    def numbered(match: re.Match[str]) -> str:
        if match[0] not in made:
            kinds[match["kind"]] = kinds.get(match["kind"], 0) + 1
            made[match[0]] = f"{match['kind']}_<{kinds[match['kind']]}>"
        return made[match[0]]

    text = shortened(MADE.sub(numbered, text))
    for pattern, replacement in UNSTEADY:
        text = pattern.sub(replacement, text)
    return text
