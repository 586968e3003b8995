r"""Cost of each frame as it is sent, beside `json.dumps` and `orjson.dumps` of the same object.

Ours is `encode(batch)`, which a conversation calls: with the state of an answer whose model calls a tool for the second
time. Every call has an id of its own, every delta its own text. What is prepared, an encoder has prepared for frames
before, and a frame that prepares something is timed with that. `json.dumps` is in an f-string with `data: ` and the
line ends, as one would write it; `orjson.dumps` is without them, though a frame needs them. Both make the object anew
for each frame, from the event's fields, as every writer of a frame must.
"""

import json
import timeit
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import orjson

from tests.bench.figure import Figure
from winterbourne.chat.core import events as e
from winterbourne.chat.formats.ag_ui.encode import AgUiEncoder
from winterbourne.chat.formats.ai_sdk.encode import AiSdkEncoder
from winterbourne.chat.formats.base import Encoder
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
    ours, dumped, orjsons = (min(times) / FRAMES * 1e9 for times in zip(*rounds, strict=True))
    of_json, of_orjson = ours / dumped, ours / orjsons
    return Figure(
        name=f"{wire_format}: {frame.name}",
        ours=f"{ours:.0f} ns",
        beside=f"json.dumps in an f-string {dumped:.0f} ns, ratio {of_json:.3f}, orjson.dumps {orjsons:.0f} ns",
        ratio=of_orjson,
        bar="≤ 0.1 and ≤ 1",
        met=of_json <= 0.1 and of_orjson <= 1,
    )


def verify(wire_format: str, frame: Frame) -> None:
    """Raise AssertionError unless the frame says what its object says, in that order."""
    encode, event, batch = frame.sent(ENCODERS[wire_format])[-1]
    said = eval(frame.object, {"event": event, "ARGUMENTS": ARGUMENTS, "RESULT": RESULT})
    sent = encode(batch)
    if sent != b"data: %b\n\n" % orjson.dumps(said):
        raise AssertionError(f"{wire_format}: {frame.name}: {sent!r} is not {said}")


def _round(new_encoder: Callable[[], Encoder], frame: Frame) -> tuple[float, float, float]:
    """Seconds of ours, of json and of orjson, for the same frames."""
    names = {
        "sent": frame.sent(new_encoder),
        "json": json,
        "dumps": orjson.dumps,
        "ARGUMENTS": ARGUMENTS,
        "RESULT": RESULT,
    }
    dumped = f"said = json.dumps({frame.object}); f'data: {{said}}\\n\\n'"
    ours, theirs, orjsons = (
        timeit.Timer(f"for encode, event, batch in sent: {work}", globals=names).timeit(1)
        for work in ("encode(batch)", dumped, f"dumps({frame.object})")
    )
    return ours, theirs, orjsons
