"""Provider responses in the formats of the three vendors. Plain data."""

import json
from collections.abc import Mapping
from typing import Any, Final

from tests.recorded.exchange import Answer
from tests.transcripts import event_stream_message

__all__ = ["anthropic", "bedrock", "calls", "chunk", "document", "says", "stream", "thinks"]

EVENT_STREAM: Final = {"content-type": "application/vnd.amazon.eventstream"}
USAGE: Final = {"prompt_tokens": 20, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 5}}

Call = tuple[str, str, str]
"""Id, name and arguments of a call, as the model writes them."""


def chunk(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
    """One chunk of OpenAI's stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _frame({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


def stream(*chunks: bytes, finish: str = "stop", usage: Mapping[str, Any] = USAGE, **more: Any) -> Answer:
    """A complete response of OpenAI, from chunks."""
    last = _frame({"id": "c1", "object": "chat.completion.chunk", "created": 1, "choices": [], "usage": usage})
    return Answer(body=b"".join([*chunks, chunk({}, finish), last, b"data: [DONE]\n\n"]), **more)


def says(*pieces: str, finish: str = "stop") -> Answer:
    """OpenAI sends a text in these pieces."""
    return stream(*(chunk({"content": piece}) for piece in pieces), finish=finish)


def thinks(*thoughts: str, then: str) -> Answer:
    """A compatible server sends reasoning before a text."""
    return stream(*(chunk({"reasoning_content": thought}) for thought in thoughts), chunk({"content": then}))


def calls(*asked: Call, text: str = "", finish: str = "tool_calls") -> Answer:
    """OpenAI calls tools, each call in two fragments."""
    said = [chunk({"content": text})] if text else []
    return stream(*said, *(part for n, call in enumerate(asked) for part in _fragments(n, *call)), finish=finish)


def document(status: int, error: Any, **headers: str) -> Answer:
    """A JSON document although a stream was requested."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(body=json.dumps(error).encode(), status=status, headers={"content-type": "application/json", **named})


def anthropic(*events: Mapping[str, Any], **more: Any) -> Answer:
    """Anthropic sends these events."""
    frames = (f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events)
    return Answer(body="".join(frames).encode(), **more)


def bedrock(*events: tuple[str, Mapping[str, Any]]) -> Answer:
    """Bedrock sends these events, as a binary event stream."""
    return Answer(body=b"".join(event_stream_message(*event) for event in events), headers=EVENT_STREAM)


def _fragments(number: int, call_id: str, name: str, arguments: str) -> list[bytes]:
    begin = {"index": number, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
    rest = {"index": number, "function": {"arguments": arguments}}
    return [chunk({"tool_calls": [begin]}), chunk({"tool_calls": [rest]})]


def _frame(value: object) -> bytes:
    return b"data: %b\n\n" % json.dumps(value, ensure_ascii=False).encode()
