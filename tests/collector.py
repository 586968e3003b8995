"""A collector of traces on a loopback socket, which refuses what a real one refuses: OpenTelemetry's packages parse.

OTLP's JSON is protobuf's, but for ids, which are hexadecimal:
https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto_json.collector.trace.v1 import trace_service

from tests.upstream import Exchange, upstream

__all__ = ["Collector", "Span", "collector", "parse"]

KINDS = {1: "internal", 2: "server", 3: "client"}


@dataclass(frozen=True)
class Span:
    """A span as a collector has it."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    service: str
    started_ns: int
    ended_ns: int
    has_failed: bool
    attributes: dict[str, Any]


@dataclass
class Collector:
    """What was collected, and what was refused."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    requests: list[Exchange] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def named(self, name: str) -> Span:
        """The only span whose name begins so."""
        (span,) = (span for span in self.spans if span.name.startswith(name))
        return span


def parse(body: bytes) -> list[Span]:
    """The spans of a request.

    Raises:
        ValueError, TypeError: One of OpenTelemetry's parsers does not take it.
    """
    as_json = trace_service.ExportTraceServiceRequest.from_json(body.decode())
    as_protobuf = json_format.Parse(json.dumps(_with_base64(json.loads(body))), ExportTraceServiceRequest())
    spans = []
    for resource, other in zip(as_protobuf.resource_spans, as_json.resource_spans, strict=True):
        service = _attributes(resource.resource.attributes)["service.name"]
        for span, same in zip(resource.scope_spans[0].spans, other.scope_spans[0].spans, strict=True):
            ids = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
            if ids != tuple((each or b"").hex() for each in (same.trace_id, same.span_id, same.parent_span_id)):
                raise ValueError("the parsers do not agree on the ids")
            if (len(span.trace_id), len(span.span_id)) != (16, 8) or len(span.parent_span_id) not in {0, 8}:
                raise ValueError("ids have 16 and 8 bytes")
            if not 0 < span.start_time_unix_nano <= span.end_time_unix_nano:
                raise ValueError("a span ends after it has begun")
            times, has_failed = (span.start_time_unix_nano, span.end_time_unix_nano), span.status.code == 2
            named = _attributes(span.attributes)
            spans.append(Span(span.name, KINDS[span.kind], *ids, service, *times, has_failed, named))
    return spans


@contextlib.asynccontextmanager
async def collector(
    *statuses: int, answer: bytes = b"{}", before: Callable[[], Any] = lambda: None
) -> AsyncIterator[Collector]:
    """Serve; each request is answered with the next status, 200 after the last one; 0 never answers.

    Args:
        *statuses: Of those with another one than 200 nothing is kept.
        answer: The body of each response.
        before: Called when a request has come.
    """
    found, left = Collector(), list(statuses)

    async def take(exchange: Exchange) -> None:
        before()
        status = left.pop(0) if left else 200
        if exchange.head != "POST /v1/traces HTTP/1.1" or exchange.headers.get("content-type") != "application/json":
            found.refused.append(exchange.head)
            status = 400
        if not status:
            await exchange.gone()
            return
        if status == 200:
            try:
                found.spans += parse(exchange.body)
            except (ValueError, TypeError, json_format.ParseError) as error:
                found.refused.append(repr(error))
                status = 400
        await exchange.start(status, content_type="application/json")
        await exchange.send(answer)
        await exchange.end()

    async with upstream(take) as server:
        found.url, found.requests = server.url, server.requests
        yield found
    assert found.refused == []


def _with_base64(value: Any) -> Any:
    """The same with ids as protobuf's JSON has bytes."""
    if isinstance(value, list):
        return [_with_base64(each) for each in value]
    if not isinstance(value, dict):
        return value
    ids = {"traceId", "spanId", "parentSpanId"}
    return {
        name: base64.b64encode(bytes.fromhex(each)).decode() if name in ids else _with_base64(each)
        for name, each in value.items()
    }


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    inner = getattr(value, kind)
    return [_value(each) for each in inner.values] if kind == "array_value" else inner
