"""Cost of encoding one frame of the native format, compared with two other ways to encode it.

`json.dumps in an f-string` is correct and slow. `the unescaped template` inserts a name into the frame unescaped,
which breaks with the first quotation mark in it; only text goes through json.dumps. Ours is correct for any text.
"""

import functools
import json
import timeit
from collections.abc import Callable, Iterable

import orjson

from tests.bench.figure import Figure, paired
from winterbourne.chat.core.events import TextDelta, ToolFinished
from winterbourne.chat.formats.native.encode import NativeEncoder, tool_call_frame_prefix, tool_finished_frame

FRAMES = 20_000

NAMES = {
    "json": json,
    "delta": " considerable",
    "name": "get_stock_quote",
    "dumps": orjson.dumps,
    "finished": tool_finished_frame,
    "call_frame": tool_call_frame_prefix,
    "encode": NativeEncoder().encode,
    "event": TextDelta(" considerable"),
    "batch": (TextDelta(" considerable"),),
    "finish": ToolFinished("call_1", "get_stock_quote", "completed", 230),
}

# The expressions as they stand in code; what is timed is each of them in a loop of its own.
CONTENT = r"""b'data: {"type":"content","delta":%b}\n\n' % dumps(event.text)"""
CONTENT_ENCODED = "encode(batch)"
CONTENT_DUMPED = """f"data: {json.dumps({'type': 'content', 'delta': delta})}\\n\\n" """
CONTENT_TEMPLATE = """f'"type":"content","delta":{json.dumps(delta)}'"""
CALL = r"""b"%b}\n\n" % call_frame(name, "completed")"""
CALL_DUMPED = """f"data: {json.dumps({'type': 'tool_call', 'name': name, 'status': 'completed'})}\\n\\n" """
CALL_TEMPLATE = """f'"type":"tool_call","name":"{name}","status":"completed"'"""
FULL = "finished(finish, dumps)"
FULL_DUMPED = (
    "json.dumps({'type': 'tool_call', 'name': name, 'status': 'completed', 'id': 'call_1', 'duration_ms': 230})"
)


def figures() -> Iterable[Figure]:
    """Nanoseconds per frame."""
    dumped, template = "json.dumps in an f-string", "the unescaped template"
    yield _figure("content frame", CONTENT, dumped, CONTENT_DUMPED, most=0.07)
    yield _figure("content frame", CONTENT, template, CONTENT_TEMPLATE, most=1.0)
    yield _figure("content frame, by way of the encoder", CONTENT_ENCODED, dumped, CONTENT_DUMPED)
    yield _figure("tool_call frame, name and status", CALL, dumped, CALL_DUMPED, most=0.07)
    yield _figure("tool_call frame, name and status", CALL, template, CALL_TEMPLATE)
    yield _figure("tool_call frame, with id and duration_ms", FULL, dumped, f'f"data: {{{FULL_DUMPED}}}\\n\\n"')


def _figure(name: str, ours: str, what: str, other: str, most: float | None = None) -> Figure:
    mine, theirs, ratio = paired(_loop(ours), _loop(other), rounds=31)
    return Figure(
        name=name,
        ours=f"{_ns(mine)} ns",
        beside=f"{what} {_ns(theirs)} ns",
        ratio=ratio,
        bar="" if most is None else f"ratio ≤ {most}",
        met=None if most is None else ratio <= most,
    )


def _loop(expression: str) -> Callable[[], object]:
    return functools.partial(timeit.Timer(expression.strip(), globals=NAMES).timeit, FRAMES)


def _ns(seconds: float) -> int:
    return round(seconds / FRAMES * 1e9)
