"""One question in each of the formats."""

from typing import Any, Final

from tests.recorded.exchange import Answer, Exchange, post

__all__ = ["CHAT_PATHS", "FORMATS", "FORMATS_WITH_TOOL_EVENTS", "question", "text_of_user"]

CHAT_PATHS: Final = ("/chat", "/api/chat", "/agui", "/v1/chat/completions")

FORMATS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "native": ("/chat", {}),
    "ai_sdk": ("/api/chat", {}),
    "ag_ui": ("/agui", {"threadId": "thread-1", "runId": "run-1"}),
    "openai": ("/v1/chat/completions", {"stream": True, "stream_options": {"include_usage": True}}),
    "openai_whole": ("/v1/chat/completions", {}),
}

FORMATS_WITH_TOOL_EVENTS: Final = ("native", "ai_sdk", "ag_ui")
"""Formats with events for the server's own tools."""


def text_of_user(path: str, text: str) -> dict[str, Any]:
    """A message of the user in the format of a path."""
    if path == "/api/chat":
        return {"id": "u1", "role": "user", "parts": [{"type": "text", "text": text}]}
    return {"role": "user", "content": text} | ({"id": "u1"} if path == "/agui" else {})


def question(form: str, text: str, *answers: Answer, **more: Any) -> Exchange:
    """The question in a format."""
    path, options = FORMATS[form]
    return post(path, {"messages": [text_of_user(path, text)], **options}, *answers, **more)
