"""Streams of model providers as they come over the wire, made by hand, and the events they mean.

`PROVIDER/NAME.sse` (or `.jsonl` for Amazon's event stream: one `[type, payload]` a line, `!` before an exception's) is
what comes in; `NAME.events` beside it is what it means, one event a line. Ids that we make are `~1`, `~2`, ...
"""

import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from winterbourne.chat.core.events import (
    ModelEvent,
    ReasoningDelta,
    ReasoningEnded,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallReady,
    ToolCallStarted,
    TurnEnded,
)

__all__ = ["event_stream_message", "expected", "names", "told", "wire"]

HOME = Path(__file__).parent


def names(provider: str) -> list[str]:
    """The names of a provider's transcripts."""
    return sorted(path.stem for path in (HOME / provider).iterdir() if path.suffix in {".sse", ".jsonl"})


def wire(provider: str, name: str) -> bytes:
    """The bytes of a transcript."""
    if provider == "bedrock":
        lines = (HOME / provider / f"{name}.jsonl").read_text("utf-8").splitlines()
        return b"".join(event_stream_message(*json.loads(line)) for line in lines)
    return (HOME / provider / f"{name}.sse").read_bytes()


def expected(provider: str, name: str) -> list[str]:
    """What a transcript means, one line an event."""
    return (HOME / provider / f"{name}.events").read_text("utf-8").splitlines()


def event_stream_message(kind: str, payload: object) -> bytes:
    """One message of Amazon's event stream, encoded here and not by the library that decodes it."""
    what = "exception" if kind.startswith("!") else "event"
    headers = b"".join(
        struct.pack(f">B{len(name)}sBH", len(name), name.encode(), 7, len(value)) + value.encode()
        for name, value in (
            (":message-type", what),
            (f":{what}-type", kind.removeprefix("!")),
            (":content-type", "application/json"),
        )
    )
    body = json.dumps(payload, ensure_ascii=False).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return message + struct.pack(">I", zlib.crc32(message))


def told(events: Iterable[ModelEvent], failure: Exception | None = None) -> list[str]:
    """Events as lines, neighbouring pieces of one kind joined, as they do not depend on how the bytes were cut."""
    made: dict[str, str] = {}
    lines: list[str] = []
    joined = ""
    for kind, text in _said(events, made):
        if kind == joined:
            lines[-1] += text
        else:
            lines.append(f"{kind} {text}")
        joined = kind if kind.startswith(("text", "reasoning:", "arguments")) else ""
    if failure:
        lines.append(f"{type(failure).__name__}: {failure}")
    return [line.rstrip() for line in lines]


def _said(events: Iterable[ModelEvent], made: dict[str, str]) -> Iterator[tuple[str, str]]:
    def known(call_id: str) -> str:
        ours = call_id.startswith("call_") and len(call_id) == len("call_") + 24
        return made.setdefault(call_id, f"~{len(made) + 1}") if ours else call_id

    for event in events:
        match event:
            case TextDelta(text):
                yield "text:", _escaped(text)
            case ReasoningDelta(text):
                yield "reasoning:", _escaped(text)
            case ReasoningEnded(signature, redacted):
                yield "reasoning ended", f"signature={signature} redacted={redacted}"
            case ToolCallStarted(id, name):
                yield "call", f"{known(id)} {name}"
            case ToolArgumentsDelta(id, piece):
                yield f"arguments {known(id)}:", _escaped(piece)
            case ToolCallReady(id, name, arguments):
                yield "ready", f"{known(id)} {name} {_escaped(arguments)}"
            case TurnEnded(reason, usage):
                yield "ended", f"{reason} input={usage.input} output={usage.output} cached={usage.cached}"


def _escaped(text: str) -> str:
    return text.replace("\n", "\\n")
