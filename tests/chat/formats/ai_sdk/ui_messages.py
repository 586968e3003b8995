"""UI messages as the AI SDK's client sends them, for the tests of this format."""

from typing import Any

__all__ = ["assistant", "call", "user"]


def user(*parts: Any, id_: str = "u1") -> dict[str, Any]:
    return {"id": id_, "role": "user", "parts": [{"type": "text", "text": "Hi"}, *parts]}


def assistant(*parts: Any, id_: str = "a1") -> dict[str, Any]:
    return {"id": id_, "role": "assistant", "parts": list(parts)}


def call(state: str, **more: Any) -> dict[str, Any]:
    return {"type": "dynamic-tool", "toolName": "x", "toolCallId": "c1", "state": state, "input": {"a": 1}, **more}
