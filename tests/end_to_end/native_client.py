"""A client of the native format: httpx and httpx-sse, as a Python program would use it."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
from httpx_sse import connect_sse

__all__ = ["FIVE_TOOLS", "chat", "frames", "text_of"]

FIVE_TOOLS = "Compare AAPL and MSFT, the weather in Paris and Lima, and 1200 EUR in USD"


def frames(url: str, content: str, **more: Any) -> Iterator[dict[str, Any]]:
    """Ask one question; yields each frame as it arrives."""
    body = {"messages": [{"role": "user", "content": content}], **more}
    with httpx.Client(timeout=30) as client, connect_sse(client, "POST", f"{url}/chat", json=body) as source:
        for event in source.iter_sse():
            yield json.loads(event.data)


def chat(url: str, content: str, **more: Any) -> list[dict[str, Any]]:
    """Ask one question; returns all frames of the answer."""
    return list(frames(url, content, **more))


def text_of(answer: list[dict[str, Any]]) -> str:
    """The text of an answer."""
    return "".join(frame["delta"] for frame in answer if frame["type"] == "content")
