"""Hypothesis strategies for request bodies: valid ones of each wire format, with a few values corrupted."""

from typing import Any

import orjson
from hypothesis import strategies as st

from tests.chat.conversations import histories, json_values
from tests.chat.formats.writers import WRITERS

__all__ = ["bodies"]

OPTIONS = {"model": "", "temperature": 0.5, "max_tokens": 50, "stream": True, "store": False, "tool_choice": "auto"}
WORDS = [
    "",
    "user",
    "assistant",
    "tool",
    "text",
    "file",
    "image",
    "input-streaming",
    "c1",
    "https://a.example",
]


@st.composite
def bodies(draw: st.DrawFn, path: str) -> Any:
    """A body for this path with up to three values changed, dropped or doubled; or any JSON at all."""
    history = draw(histories())
    body: Any = orjson.loads(orjson.dumps(WRITERS[path](history) | OPTIONS))
    for _ in range(draw(st.integers(0, 3))):
        key = draw(st.sampled_from(sorted(body)))
        body[key] = _corrupted(draw, body[key])
    return draw(json_values) if draw(st.integers(0, 9)) == 9 else body


def _corrupted(draw: st.DrawFn, value: Any) -> Any:
    """The same value with something in it changed, dropped or doubled."""
    keys: list[Any] = sorted(value) if isinstance(value, dict) else []
    if isinstance(value, list):
        keys = list(range(len(value)))
    if not keys or draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(WORDS) | json_values)
    key = draw(st.sampled_from(keys))
    match draw(st.sampled_from(["change", "drop", "double"])):
        case "drop":
            del value[key]
        case "double" if isinstance(value, list):
            value.append(value[key])
        case _:
            value[key] = _corrupted(draw, value[key])
    return value
