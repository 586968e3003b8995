"""Traces of requests: which are sampled, and their export as OTLP over HTTP, in JSON, to X-Ray or any other collector.

Instead of OpenTelemetry's SDK, whose import alone takes many times the start of this module; it is imported only where
OTEL_EXPORTER_OTLP_ENDPOINT is set. Spans wait in memory until the response has ended, and what cannot be sent then is
sent with the next request, or dropped and counted.
https://opentelemetry.io/docs/specs/otlp/ https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-OTLPEndpoint.html
"""

import asyncio
import contextlib
import logging
import os
import re
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from winterbourne import Response, __version__
from winterbourne.chat.errors import ChatError, SettingsError
from winterbourne.chat.http_library import httpx
from winterbourne.chat.infra import http_pool, redaction, telemetry
from winterbourne.chat.infra.circuit_breaker import CircuitBreaker
from winterbourne.chat.infra.exception_text import exception_class_name
from winterbourne.chat.infra.http_retry import NO_RETRIES
from winterbourne.chat.infra.secrets import Secret
from winterbourne.chat.infra.sigv4 import sign
from winterbourne.chat.infra.spans import MAX_TEXT_CHARS, Attribute, Span, Trace
from winterbourne.chat.infra.tracing import TRACEPARENT, XRAY_HEADER, XRAY_ROOT
from winterbourne.chat.settings import LogSettings, TraceSettings, choose

__all__ = ["Tracer"]

SHUTDOWN_TIMEOUT_S: Final = 0.3
"""How long a shutdown may take to send what waits, in seconds: Lambda allows half a second."""

PAUSE_S: Final = 30.0
"""How long nothing is sent after a collector has failed: else every request would wait for it."""

# X-Ray takes 5 MB and 10,000 spans in a request.
MAX_BATCH_BYTES: Final = 2**20
MAX_WAITING_BYTES: Final = 4 * 2**20
"""Of spans that wait in a process; the oldest are dropped."""

MAX_ANSWER_BYTES: Final = 64 * 1024

RETRYABLE: Final = frozenset({429, 502, 503, 504})
"""Statuses with which a collector asks for the same once more."""

SAMPLERS: Final = {
    f"{parent}{name}": (bool(parent), share)
    for parent in ("", "parentbased_")
    for name, share in {"always_on": 1.0, "always_off": 0.0, "traceidratio": None}.items()
}
"""Whether a caller's decision holds; the share of other requests that is traced, None for OTEL_TRACES_SAMPLER_ARG."""

KINDS: Final = {"internal": 1, "server": 2, "client": 3}
ERROR: Final = 2

ARN_SETTING: Final = "OTEL_EXPORTER_OTLP_HEADERS_SECRET_ARN"

WORDS: Final = re.compile(r"[A-Za-z ._/-]{,19}")
"""Values of headers that are no key, such as the name of a data set."""

XRAY_HOST: Final = re.compile(r"xray(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|amazonaws\.eu|api\.aws)")

RESOURCE_VARIABLES: Final = {
    "cloud.region": "AWS_REGION",
    "faas.name": "AWS_LAMBDA_FUNCTION_NAME",
    "faas.version": "AWS_LAMBDA_FUNCTION_VERSION",
    "aws.log.group.names": "AWS_LAMBDA_LOG_GROUP_NAME",
}
"""What Lambda's variables say of where this runs. https://opentelemetry.io/docs/specs/semconv/resource/faas/"""

_LOGGER: Final = logging.getLogger(__name__)


class Tracer:
    """Begins the traces of a process's requests, and exports them.

    Args:
        settings: Where to, unless nothing is exported here; what is sampled; what the spans say of their deployment.
        log: The name of the deployment, and whether spans may have what is said.

    Raises:
        SettingsError: The endpoint, its headers or the resource attributes are invalid.
    """

    def __init__(self, settings: TraceSettings, log: LogSettings) -> None:
        self.service_name = settings.otel_service_name or log.service_name
        self._has_content = log.log_messages
        self._has_parent, share = choose("OTEL_TRACES_SAMPLER", settings.otel_traces_sampler, SAMPLERS, None)
        self._share = settings.otel_traces_sampler_arg if share is None else share
        self._url = _traces_url(settings.otel_exporter_otlp_endpoint) if settings.otel_exporter_otlp_endpoint else ""
        self._headers = _headers("OTEL_EXPORTER_OTLP_HEADERS", settings.otel_exporter_otlp_headers)
        self._secret_arn = settings.otel_exporter_otlp_headers_secret_arn
        self._secret = Secret(self._secret_arn, ARN_SETTING)
        xray = XRAY_HOST.fullmatch(urlsplit(self._url).hostname or "")
        self._xray_region = xray[1] if xray else ""
        self._resource = _resource(self.service_name, settings)
        self._waiting = deque[bytes]()
        self._waiting_bytes = self._dropped = 0
        self._breaker = CircuitBreaker(1, PAUSE_S)

    def begin(self, incoming: Mapping[str, str], name: str, request_id: str, **attributes: Attribute) -> Span | None:
        """The first span of a request, of the kind `server`; None if it is not sampled.

        Args:
            incoming: The trace headers that came with it, as `tracing.propagated_headers` gives them.
            name: As in `Span`.
            request_id: The invocation's id, as the log has it.
            **attributes: With `__` for a dot.
        """
        trace_id, parent_id, decision = _parent(incoming)
        trace_id = trace_id or f"{int(time.time()):08x}{os.urandom(12).hex()}"  # as X-Ray makes them
        if decision is None or not self._has_parent:
            decision = int(trace_id[16:], 16) < self._share * 2**64
        if not decision:
            return None
        named = {"faas.invocation_id": request_id, **{key.replace("__", "."): attributes[key] for key in attributes}}
        trace = Trace(trace_id, incoming, self.service_name, self._has_content)
        return Span(trace, name, "server", None, parent_id, named)

    def end(
        self, span: Span, fields: Mapping[str, object], response: Response | None
    ) -> Callable[[float], Awaitable[None]] | None:
        """End the first span of a request, with its response and what its log line has.

        Returns:
            `export` for its trace; None for one that has nothing to tell, such as of a probe or a refusal.
        """
        status = response.status if response else 0
        span.ended_ns = time.time_ns()
        span.attributes["http.response.status_code"] = status or None
        if cancelled := sys.exception():
            span.error = exception_class_name(cancelled)
        if "error_type" in fields and not 400 <= status < 500:
            span.error = str(fields["error_type"])
        is_told = bool(span.error) or len(span.trace.spans) > 1
        return partial(self.export, span.trace) if is_told else None

    async def export(self, trace: Trace, until: float) -> None:
        """Send the spans of a request, and those that wait from earlier ones; until this time of the loop's clock.

        Cancellation:
            What was not sent waits for the next request.
        """
        for spans in (self.encode(trace), *trace.others):
            self._keep(spans)
        trace.spans.clear()
        await self._send(until)
        if self._dropped:
            _LOGGER.warning("%d spans were dropped: the collector of traces does not take them", self._dropped)
            telemetry.note(spans_dropped=self._dropped)
            self._dropped = 0

    def encode(self, trace: Trace) -> bytes:
        """The spans of this process in a trace, as an element of OTLP's `resourceSpans`."""
        spans = msgspec.json.encode([_as_otlp(span) for span in trace.spans])
        return redaction.redact_json(b"%b%b}]}" % (self._resource, spans))

    async def close(self) -> None:
        """Send what waits, at shutdown."""
        await self._send(asyncio.get_running_loop().time() + SHUTDOWN_TIMEOUT_S)

    def _keep(self, spans: bytes) -> None:
        self._waiting.append(spans)
        self._waiting_bytes += len(spans)
        while self._waiting_bytes > MAX_WAITING_BYTES:
            oldest = self._waiting.popleft()
            self._waiting_bytes -= len(oldest)
            self._dropped += _count(oldest)

    def _take(self) -> list[bytes]:
        batch, size = list[bytes](), 0
        while self._waiting and (not batch or size + len(self._waiting[0]) <= MAX_BATCH_BYTES):
            batch.append(self._waiting.popleft())
            size += len(batch[-1])
        self._waiting_bytes -= size
        return batch

    async def _send(self, until: float) -> None:
        loop, is_done = asyncio.get_running_loop(), True
        while is_done and self._waiting and loop.time() < until and not self._breaker.remaining_open_s(time.time()):
            batch, is_done = self._take(), False
            generation = self._breaker.begin(time.time())
            try:
                async with asyncio.timeout_at(until):
                    is_done = await self._post(batch)
            except (TimeoutError, httpx.HTTPError, ChatError) as error:
                _LOGGER.warning("the collector of traces cannot be reached: %s", exception_class_name(error))
            finally:
                if not is_done:
                    self._waiting.extendleft(reversed(batch))
                    self._waiting_bytes += sum(map(len, batch))
                self._breaker.record(generation, succeeded=is_done, now=time.time())

    async def _post(self, batch: list[bytes]) -> bool:
        """Send spans; whether that is all that can be done for them."""
        secret = _headers(ARN_SETTING, await self._secret.read()) if self._secret_arn else {}
        headers = {**self._headers, **secret, "content-type": "application/json", "accept-encoding": "identity"}
        content = b'{"resourceSpans":[%b]}' % b",".join(batch)
        client = http_pool.client()
        extensions = {**NO_RETRIES, "repeatable": True}  # twice the same span is one
        request = client.build_request("POST", self._url, content=content, headers=headers, extensions=extensions)
        if self._xray_region:
            await sign(request, "xray", self._xray_region)
        own, answer = http_pool.outgoing_headers.set({}), b""  # nobody's request
        try:
            response = await client.send(request, stream=True)
            with contextlib.suppress(http_pool.BodyTooLarge):  # a page for people; its status tells
                answer = await http_pool.read_body(response, MAX_ANSWER_BYTES)
        finally:
            http_pool.outgoing_headers.reset(own)
        status = response.status_code
        if status in RETRYABLE:
            _LOGGER.warning("the collector of traces is busy: HTTP %d", status)
            return False
        if not response.is_success:
            _LOGGER.error("the collector of traces refuses spans: HTTP %d", status)
        self._dropped += _rejected(answer) if response.is_success else _count(content)
        return True


def _count(spans: bytes) -> int:
    return spans.count(b'"spanId":')


def _rejected(answer: bytes) -> int:
    """How many spans a collector has not taken, of those that it was sent."""
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        return int(msgspec.json.decode(answer or b"{}").get("partialSuccess", {}).get("rejectedSpans", 0))
    return 0


def _parent(incoming: Mapping[str, str]) -> tuple[str, str, bool | None]:
    """Trace id, parent id and decision of who calls; empty and None for what is not known.

    Lambda says of every invocation that nobody traces, or that it does not trace itself, that it is not sampled. That
    is no decision of the caller's, and Lambda's own segment, which would be the parent, does not exist.
    """
    if not (found := TRACEPARENT.fullmatch(incoming.get("traceparent", ""))):
        root = XRAY_ROOT.search(incoming.get(XRAY_HEADER, ""))
        return (root[1] + root[2] if root else ""), "", None
    trace_id, parent_id, is_sampled = found[1], found[2], bool(int(found[3], 16) & 1)
    is_lambdas = not is_sampled and f"Parent={parent_id}" in incoming.get(XRAY_HEADER, "")
    return (trace_id, "", None) if is_lambdas else (trace_id, parent_id, is_sampled)


def _traces_url(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingsError("OTEL_EXPORTER_OTLP_ENDPOINT: expected a URL such as https://collector.example:4318")
    return f"{endpoint.rstrip('/').removesuffix('/v1/traces')}/v1/traces"


def _headers(setting: str, text: str) -> dict[str, str]:
    """Those of a setting, whose values are redacted from now on; not words, which may be in what is said."""
    headers = _pairs(setting, text)
    redaction.register(*(value for value in headers.values() if not WORDS.fullmatch(value)))
    return headers


def _pairs(setting: str, text: str) -> dict[str, str]:
    """`key1=value1,key2=value2`, percent-encoded."""
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    if not all(name.strip() and equals for name, equals, _ in pairs):
        raise SettingsError(f"{setting}: expected name=value,name=value")
    return {unquote(name.strip()): unquote(value.strip()) for name, _, value in pairs}


def _resource(service_name: str, settings: TraceSettings) -> bytes:
    """What comes before the spans of a process: the resource, which it is itself, and the scope."""
    found = {name: os.environ.get(variable) for name, variable in RESOURCE_VARIABLES.items()}
    platform = {"cloud.provider": "aws", "cloud.platform": "aws_lambda"} if found["faas.name"] else {}
    own = _pairs("OTEL_RESOURCE_ATTRIBUTES", settings.otel_resource_attributes)
    log_group = found.pop("aws.log.group.names")
    resource: dict[str, Attribute] = {
        "telemetry.sdk.name": "winterbourne",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": __version__,
        **platform,
        **found,
        "aws.log.group.names": [log_group] if log_group else None,
        **own,
        "service.name": settings.otel_service_name or own.get("service.name") or service_name,
    }
    head = msgspec.json.encode({"resource": {"attributes": _attributes(resource)}})[:-1]
    scope = msgspec.json.encode({"name": "winterbourne", "version": __version__})
    return b'%b,"scopeSpans":[{"scope":%b,"spans":' % (head, scope)


def _as_otlp(span: Span) -> dict[str, Any]:
    return {
        "traceId": span.trace.trace_id,
        "spanId": span.span_id,
        "parentSpanId": span.parent_id,
        "name": span.name,
        "kind": KINDS[span.kind],
        "startTimeUnixNano": str(span.started_ns),
        "endTimeUnixNano": str(max(span.ended_ns or time.time_ns(), span.started_ns)),  # the clock may be set back
        "attributes": _attributes({**span.attributes, "error.type": span.error or None}),
        "status": {"code": ERROR} if span.error else {},
    }


def _attributes(values: Mapping[str, Attribute]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in values.items() if value is not None]


def _value(value: Attribute) -> dict[str, Any]:
    """A value as OTLP's JSON has it, where an integer of 64 bits is text."""
    if isinstance(value, str):
        is_long = len(value) > MAX_TEXT_CHARS  # at whose cut a secret may begin
        return {"stringValue": redaction.redact_prefix(value, MAX_TEXT_CHARS) if is_long else value}
    if isinstance(value, bool | float):
        return {"boolValue" if isinstance(value, bool) else "doubleValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"arrayValue": {"values": [_value(each) for each in value or ()]}}
