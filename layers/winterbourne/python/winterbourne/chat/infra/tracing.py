"""Trace context propagation: the headers that carry an invocation's trace ids to outgoing requests; the current span.

There are spans, and the modules for them are imported, only where traces are exported: see `otlp`. Whoever has
something to add to a trace asks `SPAN`, which is None otherwise.

X-Ray's header: https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
W3C's: https://www.w3.org/TR/trace-context/#traceparent-header
"""

import contextlib
import contextvars
import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = [
    "NO_SPAN",
    "SPAN",
    "TRACEPARENT",
    "W3C_HEADERS",
    "XRAY_HEADER",
    "XRAY_ROOT",
    "outgoing_headers",
    "propagated_headers",
]

SPAN: Final[contextvars.ContextVar[Any]] = contextvars.ContextVar("span", default=None)
"""The `spans.Span` of what runs now; None where nothing is traced."""

outgoing_headers: Final[contextvars.ContextVar[dict[str, str]]] = contextvars.ContextVar("outgoing_headers")
"""Headers added to every request sent on behalf of the current invocation: its trace ids."""

NO_SPAN: Final = contextlib.nullcontext()
"""What is entered in place of a span then."""

W3C_HEADERS: Final = ("traceparent", "tracestate")
XRAY_HEADER: Final = "x-amzn-trace-id"
TRACE_HEADERS: Final = {*W3C_HEADERS, XRAY_HEADER}
XRAY_ROOT: Final = re.compile(r"Root=1-(?!0{8}-0{24})([0-9a-f]{8})-([0-9a-f]{24})")
XRAY_PARENT: Final = re.compile(r"Parent=(?!0{16})([0-9a-f]{16})")
TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
"""Ids of zeros are invalid, and so is version ff."""

MAX_CHARS: Final = 512
"""Of one header: as much of `tracestate` as W3C asks everybody to pass on; servers refuse requests with long ones."""


def propagated_headers(headers: Mapping[str, str], environment_trace: str = "") -> dict[str, str]:
    """The trace headers for outgoing requests.

    Args:
        headers: Headers of the incoming request, names in lower case.
        environment_trace: Lambda's `_X_AMZN_TRACE_ID`, which has the id of the function's own segment.

    Returns:
        `x-amzn-trace-id` if there is one, and `traceparent`: the caller's own with its `tracestate`, else one with the
        ids of the X-Ray trace. Malformed headers are dropped.
    """
    headers = {name: value for name, value in headers.items() if name in TRACE_HEADERS and _can_be_sent(value)}
    xray = environment_trace or headers.get(XRAY_HEADER, "")
    propagated = {XRAY_HEADER: xray} if XRAY_ROOT.search(xray) else {}
    if TRACEPARENT.fullmatch(headers.get("traceparent", "")):
        return propagated | {name: headers[name] for name in W3C_HEADERS if name in headers}
    if (root := XRAY_ROOT.search(xray)) and (parent := XRAY_PARENT.search(xray)):
        sampled = "01" if "Sampled=1" in xray else "00"
        propagated["traceparent"] = f"00-{root[1]}{root[2]}-{parent[1]}-{sampled}"
    return propagated


def _can_be_sent(value: str) -> bool:
    """Whether a header can go out again; if not, every request to a model would fail because of it."""
    return len(value) <= MAX_CHARS and value.isascii() and value.isprintable()
