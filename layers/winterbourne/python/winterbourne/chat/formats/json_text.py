r"""JSON text for frames: fast for ordinary text, right for any text, always on one line.

orjson refuses a lone surrogate, which a provider may send when it cuts an emoji in two. Such text takes the slow way:
escaped as `\udXXX`, so that a client that joins its pieces gets the emoji back.
"""

import json
from typing import Any

import orjson

__all__ = ["dumps", "dumps_str", "single_line"]


def dumps_str(text: str) -> bytes:
    """Any text → a JSON string in ASCII or UTF-8, never with a raw line break."""
    try:
        return orjson.dumps(text)
    except orjson.JSONEncodeError:
        return json.dumps(text).encode()


def dumps(value: Any) -> bytes:
    """Any JSON value → its text."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def single_line(text: bytes) -> bytes:
    """JSON text as it may stand in a frame: raw line breaks are only ever white space between tokens."""
    if b"\n" in text or b"\r" in text:
        return text.translate(_NEWLINES_TO_SPACES)
    return text


_NEWLINES_TO_SPACES = bytes.maketrans(b"\r\n", b"  ")
