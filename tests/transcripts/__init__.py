"""Hand-written provider streams as sent on the wire, with the model events expected from each.

`PROVIDER/NAME.sse` is the input (`.jsonl` for Amazon's event stream: one `[type, payload]` per line, with `!` before an
exception's type); `NAME.events` beside it has the expected events, one per line. Ids that we make are `~1`, `~2`, ...
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

__all__ = ["event_stream_message", "expected", "format_events", "names", "wire"]

HOME = Path(__file__).parent
DETAILS = ("cache_write", "reasoning")  # of usage, where there are any


def names(provider: str) -> list[str]:
    """The names of a provider's transcripts."""
    return sorted(path.stem for path in (HOME / provider).iterdir() if path.suffix in {".sse", ".jsonl"})


def wire(provider: str, name: str) -> bytes:
    """The bytes of a transcript as sent on the wire."""
    if provider == "bedrock":
        lines = (HOME / provider / f"{name}.jsonl").read_text("utf-8").splitlines()
        return b"".join(event_stream_message(*json.loads(line)) for line in lines)
    return (HOME / provider / f"{name}.sse").read_bytes()


def expected(provider: str, name: str) -> list[str]:
    """The expected events of a transcript, one line per event."""
    return (HOME / provider / f"{name}.events").read_text("utf-8").splitlines()


def event_stream_message(kind: str, payload: object) -> bytes:
    """Encode one message of Amazon's event stream, independently of the library that decodes it."""
    message_type = "exception" if kind.startswith("!") else "event"
    headers = b"".join(
        struct.pack(f">B{len(name)}sBH", len(name), name.encode(), 7, len(value)) + value.encode()
        for name, value in (
            (":message-type", message_type),
            (f":{message_type}-type", kind.removeprefix("!")),
            (":content-type", "application/json"),
        )
    )
    body = json.dumps(payload, ensure_ascii=False).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return message + struct.pack(">I", zlib.crc32(message))


def format_events(events: Iterable[ModelEvent], failure: Exception | None = None) -> list[str]:
    """Events as lines, with adjacent deltas of one kind merged, so that how the bytes were split does not matter."""
    made_ids: dict[str, str] = {}
    lines: list[str] = []
    mergeable_kind = ""
    for kind, text in _labelled(events, made_ids):
        if kind == mergeable_kind:
            lines[-1] += text
        else:
            lines.append(f"{kind} {text}")
        mergeable_kind = kind if kind.startswith(("text", "reasoning:", "arguments")) else ""
    if failure:
        lines.append(f"{type(failure).__name__}: {failure}")
    return [line.rstrip() for line in lines]


def _labelled(events: Iterable[ModelEvent], made_ids: dict[str, str]) -> Iterator[tuple[str, str]]:
    def stable_id(call_id: str) -> str:
        is_made = call_id.startswith("call_") and len(call_id) == len("call_") + 24
        return made_ids.setdefault(call_id, f"~{len(made_ids) + 1}") if is_made else call_id

    for event in events:
        match event:
            case TextDelta(text):
                yield "text:", _escaped(text)
            case ReasoningDelta(text):
                yield "reasoning:", _escaped(text)
            case ReasoningEnded(signature, redacted, opaque):
                fields = f" fields={opaque.fields}" if opaque and opaque.fields else ""
                yield "reasoning ended", f"signature={signature} redacted={redacted}{fields}"
            case ToolCallStarted(id, name):
                yield "call", f"{stable_id(id)} {name}"
            case ToolArgumentsDelta(id, piece):
                yield f"arguments {stable_id(id)}:", _escaped(piece)
            case ToolCallReady(id, name, arguments):
                yield "ready", f"{stable_id(id)} {name} {_escaped(arguments)}"
            case TurnEnded(reason, usage):
                details = "".join(f" {name}={count}" for name in DETAILS if (count := getattr(usage, name)))
                yield "ended", f"{reason} input={usage.input} output={usage.output} cached={usage.cached}{details}"


def _escaped(text: str) -> str:
    return text.replace("\n", "\\n")
