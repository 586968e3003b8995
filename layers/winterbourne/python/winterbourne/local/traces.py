"""Keeps the newest traces that a function has exported as OTLP in JSON, each laid out as a waterfall. Pure.

https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["Traces"]

MAX_TRACES: Final = 50
MAX_SPANS: Final = 1000
"""Of one trace; what is beyond is not shown."""


@dataclass(frozen=True)
class _Span:
    """One span as it is kept; times are nanoseconds since 1970."""

    span_id: str
    parent_id: str
    name: str
    service: str
    started_ns: int
    ended_ns: int
    has_failed: bool
    attributes: dict[str, Any] = field(default_factory=dict)


class Traces:
    """The newest traces of a function, and of others that took part."""

    def __init__(self) -> None:
        self._spans: dict[str, dict[str, _Span]] = {}  # by trace and span; the trace that has come last is the last

    def ingest(self, body: bytes) -> None:
        """Add what a request to a collector has.

        Raises:
            ValueError: It is no such request.
        """
        try:
            spans = list(_read(json.loads(body)))
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"expected an ExportTraceServiceRequest: {type(error).__name__}: {error}") from error
        for trace_id, span in spans:
            known = self._spans[trace_id] = self._spans.pop(trace_id, {})
            if len(known) < MAX_SPANS:
                known[span.span_id] = span
        while len(self._spans) > MAX_TRACES:
            del self._spans[next(iter(self._spans))]

    def waterfalls(self) -> list[dict[str, Any]]:
        """The traces, the newest first: each span under the one that it is part of, in the order in which they began.

        Spans that say they are part of one another are not shown.
        """
        laid_out = (_waterfall(trace_id, spans) for trace_id, spans in reversed(self._spans.items()))
        return [trace for trace in laid_out if trace["spans"]]


def _read(document: Mapping[str, Any]) -> Iterator[tuple[str, _Span]]:
    for resource in document["resourceSpans"]:
        service = _attributes(resource["resource"]).get("service.name", "")
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                yield (
                    str(span["traceId"]),
                    _Span(
                        str(span["spanId"]),
                        str(span.get("parentSpanId", "")),
                        str(span["name"]),
                        str(service),
                        int(span["startTimeUnixNano"]),
                        int(span["endTimeUnixNano"]),
                        span.get("status", {}).get("code") == 2,
                        _attributes(span),
                    ),
                )


def _attributes(owner: Mapping[str, Any]) -> dict[str, Any]:
    return {each["key"]: _value(each["value"]) for each in owner.get("attributes", ())}


def _value(value: Mapping[str, Any]) -> Any:
    kind, inner = next(iter(value.items()), ("", None))
    if kind == "arrayValue":
        return [_value(each) for each in inner.get("values", ())]
    return int(inner) if kind == "intValue" else inner


def _waterfall(trace_id: str, spans: Mapping[str, _Span]) -> dict[str, Any]:
    started_ns = min(span.started_ns for span in spans.values())
    rows = [
        {
            "name": span.name,
            "service": span.service,
            "depth": depth,
            "start_ms": (span.started_ns - started_ns) / 1e6,
            "duration_ms": (span.ended_ns - span.started_ns) / 1e6,
            "has_failed": span.has_failed,
            "attributes": span.attributes,
        }
        for depth, span in _in_order(spans)
    ]
    duration_ms = (max(span.ended_ns for span in spans.values()) - started_ns) / 1e6
    return {"trace_id": trace_id, "started_ms": started_ns / 1e6, "duration_ms": duration_ms, "spans": rows}


def _in_order(spans: Mapping[str, _Span]) -> Iterator[tuple[int, _Span]]:
    """The spans, parents before their children, each with the number of those above it."""
    by_parent: dict[str, list[_Span]] = {}
    for span in spans.values():
        by_parent.setdefault(span.parent_id if span.parent_id in spans else "", []).append(span)
    left = [(0, span) for span in sorted(by_parent.pop("", ()), key=_start, reverse=True)]
    while left:
        depth, span = left.pop()
        yield depth, span
        left += [(depth + 1, child) for child in sorted(by_parent.pop(span.span_id, ()), key=_start, reverse=True)]


def _start(span: _Span) -> int:
    return span.started_ns
