r"""Cost of each frame as it is sent, beside `json.dumps` and `orjson.dumps` of the same object.

Ours is `encode(batch)`, which a conversation calls: with the state of an answer whose model calls a tool for the second
time. Every call has an id of its own, every delta its own text. What is prepared, an encoder has prepared for frames
before, and a frame that prepares something is timed with that. `json.dumps` is in an f-string with `data: ` and the
line ends, as one would write it; `orjson.dumps` is without them, though a frame needs them. Both make the object anew
for each frame, from the event's fields, as every writer of a frame must.

The floor of a tool's frame is less than any encoder in Python can do for it: one test of the event's type, the look-ups
of what is known of the call and the tool, the serializing of the texts that nobody has seen before, and the join. It
keeps no state, closes nothing that is open, looks for no line breaks and checks nothing that a model has written. Where
the floor is above a bar, no encoder meets that.
"""

import json
import re
import timeit
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

import orjson

from tests.bench.figure import Figure
from winterbourne.chat.core import events as e
from winterbourne.chat.formats.ag_ui.encode import AgUiEncoder
from winterbourne.chat.formats.ai_sdk.encode import AiSdkEncoder
from winterbourne.chat.formats.base import Encoder
from winterbourne.chat.formats.json_text import quote
from winterbourne.chat.formats.native.encode import NativeEncoder
from winterbourne.chat.formats.openai.encode import OpenAiChunkEncoder

FRAMES, ROUNDS = 200, 41
TOOL: Final = "get_stock_quote"
ARGUMENTS: Final = '{"symbol":"ACME"}'
RESULT: Final = {"symbol": "ACME", "price": 123.4}
BEGUN: Final = (e.ConversationStarted("c", "m", "scripted"), e.TurnStarted(1))

ENCODERS: Final[dict[str, Callable[[], Encoder]]] = {
    "native": NativeEncoder,
    "AI SDK": AiSdkEncoder,
    "AG-UI": AgUiEncoder,
    "OpenAI": lambda: OpenAiChunkEncoder("scripted", frozenset({TOOL}), include_usage=False, created=1),
}


def text(number: int) -> e.TextDelta:
    """A token of the answer."""
    return e.TextDelta(f" considerable{number}")


def thought(number: int) -> e.ReasoningDelta:
    """A token of the reasoning before it."""
    return e.ReasoningDelta(f" considerable{number}")


def call(number: int) -> Sequence[e.ChatEvent]:
    """The events of a call, in the order of `STEPS`."""
    id_ = f"call_{number}"
    return (
        e.ToolCallStarted(id_, TOOL),
        e.ToolArgumentsDelta(id_, '{"symbol":'),
        e.ToolArgumentsDelta(id_, '"ACME"}'),
        e.ToolCallReady(id_, TOOL, ARGUMENTS),
        e.ToolQueued(id_, TOOL),
        e.ToolStarted(id_, TOOL),
        e.ToolProgressed(id_, TOOL, b'{"done":0.5}'),
        e.ToolFinished(id_, TOOL, "completed", 230, orjson.dumps(RESULT)),
    )


STEPS: Final = ("start", "", "arguments", "ready", "queued", "started", "progress", "completed")


def failed(number: int) -> e.ToolFinished:
    """Another end of such a call."""
    return e.ToolFinished(f"call_{number}", TOOL, "failed", 230, error="there is no such symbol")


Next: TypeAlias = tuple[Callable[[e.EventBatch], bytes], e.ChatEvent, e.EventBatch]
"""What encodes it, the event, and its batch."""


@dataclass(frozen=True)
class Frame:
    """A frame of a format.

    Attributes:
        name: As the format calls it.
        step: What it is made of: `text`, `thought`, `failed` or one of `STEPS`.
        object: The expression of what it says, of the `event`.
    """

    name: str
    step: str
    object: str

    @property
    def has_floor(self) -> bool:
        """Whether it is no delta: of those, all but the text was prepared for the one before."""
        return self.step not in {"", "text", "thought", "arguments"}

    def sent(self, new_encoder: Callable[[], Encoder]) -> list[Next]:
        """Encoders on the way, each with the event that it is to encode next, and its batch."""
        if self.step in {"text", "thought"}:
            make: Callable[[int], e.ChatEvent] = text if self.step == "text" else thought
            encoder = new_encoder()
            encoder.encode((*BEGUN, make(0)))
            return [(encoder.encode, event, (event,)) for event in map(make, range(FRAMES))]
        return [self._next_of_call(new_encoder(), number) for number in range(FRAMES)]

    def _next_of_call(self, encoder: Encoder, number: int) -> Next:
        at = STEPS.index("completed" if self.step == "failed" else self.step)
        events = call(number)
        encoder.encode((*BEGUN, *call(FRAMES), *events[:at]))
        event = failed(number) if self.step == "failed" else events[at]
        return encoder.encode, event, (event,)


PIECES: Final = (
    "ids[event.id]",
    "ids[event.id][1:]",
    "names[event.name]",
    "quote(event.text)",
    "quote(event.json)",
    "quote(event.error)",
    "quote(event.error)[1:-1]",
    "quote(event.duration_ms)",
    "quote(event.result.decode())",
    "event.result",
    "event.data",
    "event.arguments.encode()",
)
"""What a frame has of its event, as the floor writes it; in a call's first frame its id is no known one."""


def floor(frame: Frame, sent: Sequence[Next]) -> list[Next]:
    """The same events, each with what joins its frame and does nothing else: see above."""
    encode, last, batch = sent[-1]
    events = [event for _, event, _ in sent]
    names: dict[str, Any] = {"quote": quote, "join": b"".join, "kind": type(last)}
    for known in ("id", "name"):
        names[f"{known}s"] = {text: quote(text) for text in (getattr(event, known, "") for event in events)}
    joined = _join(frame, encode(batch), names | {"event": last})
    exec(f"def encode(batch):\n [event] = batch\n if type(event) is kind:\n  return {joined}", names)
    return [(names["encode"], event, (event,)) for event in events]


def _join(frame: Frame, sent: bytes, names: Mapping[str, Any]) -> str:
    """The expression that joins such a frame: of constants, and the pieces of its event."""
    found = {}
    for piece in PIECES:
        code = piece.replace("ids[event.id]", "quote(event.id)") if frame.step == "start" else piece
        with suppress(AttributeError):
            found[eval(code, dict(names))] = code
    found = {value: code for value, code in found.items() if value.strip(b'"')}
    first, *rest = re.split(b"(%b)" % b"|".join(map(re.escape, found)), sent)
    if len(rest) == 2:
        return f"{found[rest[0]]}.join(({first!r}, {rest[1]!r}))"
    return f"join(({first!r}, {', '.join(found.get(piece) or repr(piece) for piece in rest)}))"


ENDED: Final = '"status": event.status, "id": event.id, "duration_ms": event.duration_ms'
CALL: Final = '"type": "tool_call", "name": event.name'
AI_CALL: Final = '"toolCallId": event.id, "toolName": event.name, "dynamic": True'
AI_OUTPUT: Final = '"type": "tool-output-available", "toolCallId": event.id, "dynamic": True'
AG_UI_RESULT: Final = '"type": "TOOL_CALL_RESULT", "messageId": f"result-{event.id}", "toolCallId": event.id'
AG_UI_END: Final = (
    '"role": "tool", "metadata": {"winterbourne": {"status": event.status, "durationMs": event.duration_ms}}'
)
CHUNK: Final = '"id": "chatcmpl-m", "object": "chat.completion.chunk", "created": 1, "model": "scripted"'
DELTA: Final = '{%s, "choices": [{"index": 0, "delta": {%s}, "logprobs": None, "finish_reason": None}]}'
FUNCTION: Final = '"type": "function", "function": {"name": event.name, "arguments": ""}'

FORMATS: Final = {
    "native": (
        Frame("content", "text", '{"type": "content", "delta": event.text}'),
        Frame("reasoning", "thought", '{"type": "reasoning", "delta": event.text}'),
        Frame("tool_call, queued", "queued", f'{{{CALL}, "status": "queued", "id": event.id}}'),
        Frame(
            "tool_call, started, with its arguments",
            "started",
            f'{{{CALL}, "status": "started", "id": event.id, "arguments": ARGUMENTS}}',
        ),
        Frame(
            "tool_call, progress",
            "progress",
            f'{{{CALL}, "status": "progress", "id": event.id, "data": {{"done": 0.5}}}}',
        ),
        Frame(
            "tool_call, completed, with duration_ms and result",
            "completed",
            f'{{{CALL}, {ENDED}, "result": RESULT}}',
        ),
        Frame(
            "tool_call, failed, with duration_ms and error",
            "failed",
            f'{{{CALL}, {ENDED}, "error": event.error}}',
        ),
    ),
    "AI SDK": (
        Frame("text-delta", "text", '{"type": "text-delta", "id": "p1", "delta": event.text}'),
        Frame("reasoning-delta", "thought", '{"type": "reasoning-delta", "id": "p1", "delta": event.text}'),
        Frame("tool-input-start", "start", f'{{"type": "tool-input-start", {AI_CALL}}}'),
        Frame(
            "tool-input-delta",
            "arguments",
            '{"type": "tool-input-delta", "toolCallId": event.id, "inputTextDelta": event.json}',
        ),
        Frame("tool-input-available", "ready", f'{{"type": "tool-input-available", {AI_CALL}, "input": {ARGUMENTS}}}'),
        Frame(
            "tool-output-available, preliminary",
            "progress",
            f'{{{AI_OUTPUT}, "output": {{"done": 0.5}}, "preliminary": True}}',
        ),
        Frame("tool-output-available", "completed", f'{{{AI_OUTPUT}, "output": RESULT}}'),
        Frame(
            "tool-output-error",
            "failed",
            '{"type": "tool-output-error", "toolCallId": event.id, "errorText": event.error, "dynamic": True}',
        ),
    ),
    "AG-UI": (
        Frame(
            "TEXT_MESSAGE_CONTENT", "text", '{"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": event.text}'
        ),
        Frame(
            "REASONING_MESSAGE_CONTENT",
            "thought",
            '{"type": "REASONING_MESSAGE_CONTENT", "messageId": "m-reasoning-1", "delta": event.text}',
        ),
        Frame(
            "TOOL_CALL_START",
            "start",
            '{"type": "TOOL_CALL_START", "toolCallId": event.id, "toolCallName": event.name, "parentMessageId": "m"}',
        ),
        Frame("TOOL_CALL_ARGS", "arguments", '{"type": "TOOL_CALL_ARGS", "toolCallId": event.id, "delta": event.json}'),
        Frame("TOOL_CALL_END", "ready", '{"type": "TOOL_CALL_END", "toolCallId": event.id}'),
        Frame(
            "CUSTOM tool_progress",
            "progress",
            '{"type": "CUSTOM", "name": "tool_progress", "value": '
            '{"toolCallId": event.id, "toolCallName": event.name, "data": {"done": 0.5}}}',
        ),
        Frame(
            "TOOL_CALL_RESULT, completed",
            "completed",
            f'{{{AG_UI_RESULT}, "content": event.result.decode(), {AG_UI_END}}}',
        ),
        Frame(
            "TOOL_CALL_RESULT, failed",
            "failed",
            f'{{{AG_UI_RESULT}, "content": \'{{"error":"there is no such symbol"}}\', {AG_UI_END}}}',
        ),
    ),
    "OpenAI": (
        Frame("content", "text", DELTA % (CHUNK, '"content": event.text')),
        Frame("reasoning_content", "thought", DELTA % (CHUNK, '"reasoning_content": event.text')),
        Frame(
            "tool_calls, start", "start", DELTA % (CHUNK, f'"tool_calls": [{{"index": 1, "id": event.id, {FUNCTION}}}]')
        ),
        Frame(
            "tool_calls, arguments",
            "arguments",
            DELTA % (CHUNK, '"tool_calls": [{"index": 1, "function": {"arguments": event.json}}]'),
        ),
    ),
}


def figures() -> Iterable[Figure]:
    """Nanoseconds per frame, of each the least of all rounds: more are other processes' doing."""
    for name, frames in FORMATS.items():
        for frame in frames:
            yield _figure(name, frame)
    nothing = Frame("", "arguments", "None")
    least_s = min(_round(NativeEncoder, nothing)[0] for _ in range(ROUNDS))
    yield Figure(name="native: an event that has no frame", ours=f"{least_s / FRAMES * 1e9:.0f} ns")


def _figure(wire_format: str, frame: Frame) -> Figure:
    verify(wire_format, frame)
    rounds = [_round(ENCODERS[wire_format], frame) for _ in range(ROUNDS)]
    ours, dumped, orjsons, *least = (min(times) / FRAMES * 1e9 for times in zip(*rounds, strict=True))
    of_json, of_orjson = ours / dumped, ours / orjsons
    return Figure(
        name=f"{wire_format}: {frame.name}",
        ours=f"{ours:.0f} ns",
        beside=f"json.dumps in an f-string {dumped:.0f} ns, ratio {of_json:.3f}, orjson.dumps {orjsons:.0f} ns"
        + "".join(f", floor {ns / dumped:.3f} and {ns / orjsons:.2f}" for ns in least),
        ratio=of_orjson,
        bar="≤ 0.1 and ≤ 1",
        met=of_json <= 0.1 and of_orjson <= 1,
    )


def verify(wire_format: str, frame: Frame) -> None:
    """Raise AssertionError unless the frame says what its object says, in that order."""
    _, event, _ = frame.sent(ENCODERS[wire_format])[-1]
    said = eval(frame.object, {"event": event, "ARGUMENTS": ARGUMENTS, "RESULT": RESULT})
    for make in (list, partial(floor, frame)) if frame.has_floor else (list,):
        encode, _, batch = make(frame.sent(ENCODERS[wire_format]))[-1]
        if (sent := encode(batch)) != b"data: %b\n\n" % orjson.dumps(said):
            raise AssertionError(f"{wire_format}: {frame.name}: {sent!r} is not {said}")


def _round(new_encoder: Callable[[], Encoder], frame: Frame) -> list[float]:
    """Seconds of ours, of json, of orjson and of the floor, for the same frames."""
    names = {
        "sent": frame.sent(new_encoder),
        "json": json,
        "dumps": orjson.dumps,
        "ARGUMENTS": ARGUMENTS,
        "RESULT": RESULT,
    }
    dumped = f"said = json.dumps({frame.object}); f'data: {{said}}\\n\\n'"
    works = ["encode(batch)", dumped, f"dumps({frame.object})"]
    times = [_seconds(work, names) for work in works]
    if frame.has_floor:
        times.append(_seconds(works[0], {"sent": floor(frame, frame.sent(new_encoder))}))
    return times


def _seconds(work: str, names: dict[str, Any]) -> float:
    return timeit.Timer(f"for encode, event, batch in sent: {work}", globals=names).timeit(1)
