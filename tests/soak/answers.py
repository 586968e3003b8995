"""Reads an answer in any wire format: its words, and which terminal event ended it."""

import json
from collections.abc import Iterator
from typing import Any

__all__ = ["PATHS", "body", "read"]

PATHS = ("/chat", "/api/chat", "/agui", "/v1/chat/completions")


def body(path: str, text: str) -> dict[str, Any]:
    """A request for one question in this path's format."""
    match path:
        case "/api/chat":
            return {"id": "c", "messages": [{"id": "u", "role": "user", "parts": [{"type": "text", "text": text}]}]}
        case "/agui":
            message = {"id": "u", "role": "user", "content": text}
            rest: dict[str, Any] = {"state": {}, "tools": [], "context": [], "forwardedProps": {}}
            return {"threadId": "t", "runId": "r", "messages": [message], **rest}
        case "/v1/chat/completions":
            return {"model": "any", "stream": True, "messages": [{"role": "user", "content": text}]}
    return {"messages": [{"role": "user", "content": text}]}


def read(path: str, content: bytes) -> tuple[str, list[str]]:
    """The answer's words, and its terminal events: `end` or `error`; [] if it stops without one."""
    words, ends = "", []
    for frame in _frames(content):
        text, end = _READERS[path](frame)
        words += text
        ends += [end] if end else []
    return words, ends


def _frames(content: bytes) -> Iterator[dict[str, Any]]:
    for line in content.decode().splitlines():
        if line.startswith("data: {"):
            yield json.loads(line[6:])


def _native(frame: dict[str, Any]) -> tuple[str, str]:
    ends = {"done": "end", "error": "error"}
    return (frame["delta"] if frame["type"] == "content" else ""), ends.get(frame["type"], "")


def _ai_sdk(frame: dict[str, Any]) -> tuple[str, str]:
    ends = {"finish": "end", "error": "error", "abort": "end"}
    return (frame["delta"] if frame["type"] == "text-delta" else ""), ends.get(frame["type"], "")


def _ag_ui(frame: dict[str, Any]) -> tuple[str, str]:
    ends = {"RUN_FINISHED": "end", "RUN_ERROR": "error"}
    return (frame["delta"] if frame["type"] == "TEXT_MESSAGE_CONTENT" else ""), ends.get(frame["type"], "")


def _openai(frame: dict[str, Any]) -> tuple[str, str]:
    if "error" in frame:
        return "", "error"
    choice = frame["choices"][0] if frame["choices"] else {}
    return choice.get("delta", {}).get("content") or "", "end" if choice.get("finish_reason") else ""


_READERS = {"/chat": _native, "/api/chat": _ai_sdk, "/agui": _ag_ui, "/v1/chat/completions": _openai}
