"""Telemetry: one log line and one set of CloudWatch metrics per request, correct with many concurrent streams.

A context variable holds the `RequestRecord` of the current request; `measure` and `note` add to it from anywhere, and
do nothing outside a request. Powertools writes the output: Logger as JSON, metrics in the embedded metric format (EMF),
from one provider object per request and tool, because Powertools' `Metrics` shares its state between all requests.
Message content is noted only if LOG_MESSAGES allows it.
"""

import contextlib
import contextvars
import logging
import os
import resource
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import AmazonCloudWatchEMFProvider

from winterbourne.chat.infra import exception_text, redaction

__all__ = [
    "METRICS",
    "NAMESPACE",
    "SERVICE",
    "TOOL_METRICS",
    "RequestRecord",
    "make_logger",
    "mark_ready",
    "measure",
    "note",
    "note_first_token",
    "note_tool_call",
    "request_scope",
]

NAMESPACE: Final = "Winterbourne"
SERVICE: Final = "chat"

RequestMetric: TypeAlias = Literal[
    "AbandonedThreads",
    "ColdStarts",
    "ConversationsCut",
    "Errors",
    "Heartbeats",
    "InitDuration",
    "InputTokens",
    "MemoryUsed",
    "OutputTokens",
    "PoolConnectionsIdle",
    "PoolConnectionsOpen",
    "PoolRequestsWaiting",
    "Rejections",
    "Requests",
    "Stops",
    "StoreErrors",
    "StreamDuration",
    "TimeToFirstToken",
]
ToolMetric: TypeAlias = Literal[
    "BreakerOpenings", "CacheHits", "ToolCalls", "ToolDuration", "ToolErrors", "ToolTimeouts"
]
Metric: TypeAlias = RequestMetric | ToolMetric

TOOL_METRICS: Final[tuple[str, ...]] = get_args(ToolMetric)
METRICS: Final[tuple[str, ...]] = (*get_args(RequestMetric), *TOOL_METRICS)
"""Every metric that can be emitted. Tool metrics have the dimension `tool` in addition to `service`."""

UNITS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "InitDuration": "Milliseconds",
        "MemoryUsed": "Megabytes",
        "StreamDuration": "Milliseconds",
        "TimeToFirstToken": "Milliseconds",
        "ToolDuration": "Milliseconds",
    }
)
"""Units of the metrics that are not counts."""

LOGGERS: Final = ("winterbourne.chat", "chat", "tool_worker")
"""The engine's logger, and the parent loggers of the modules in `functions/`."""

_LOGGER: Final = logging.getLogger("winterbourne.chat.request")


class RequestRecord:
    """The log fields and measurements of one request.

    Args:
        started_at: Monotonic clock, in seconds.
        service: The metric dimension that distinguishes deployments.
    """

    def __init__(self, started_at: float, service: str) -> None:
        self.started_at = started_at
        self.service = service
        self.fields: dict[str, object] = {}
        self.measurements: list[tuple[str, float, str]] = []
        self.tools: list[str] = []
        self.has_first_token = False

    def emit(self) -> None:
        """Write the metrics: one EMF object for the request and one for each tool it used."""
        for tool in dict.fromkeys(tool for _, _, tool in self.measurements):
            metrics = AmazonCloudWatchEMFProvider(namespace=NAMESPACE, service=self.service)
            if tool:
                metrics.add_dimension("tool", tool)
            else:
                metrics.add_metadata("request_id", self.fields.get("request_id", ""))
            for name, unit, value in self._aggregate(tool):
                metrics.add_metric(name, unit, value)
            if metrics.metric_set:  # empty if Powertools has just flushed: it does so at 100 values of a metric
                metrics.flush_metrics()

    def _aggregate(self, tool: str) -> Iterator[tuple[str, str, float]]:
        """The metrics of one tool, or of the request if `tool` is empty: durations one by one, counts summed."""
        counts: dict[str, float] = {}
        for name, value, of_tool in self.measurements:
            if of_tool == tool and name in UNITS:
                yield name, UNITS[name], value
            elif of_tool == tool:
                counts[name] = counts.get(name, 0) + value
        for name, total in counts.items():
            yield name, "Count", total


class _Formatter(LambdaPowertoolsFormatter):
    """Powertools' JSON formatter, with secrets redacted and exceptions truncated before they are formatted."""

    def __init__(self) -> None:
        super().__init__(serialize_stacktrace=False)

    def format(self, record: logging.LogRecord) -> str:
        """The line, with Powertools' own field names for an exception."""
        if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None:
            fields = _exception_fields(record.exc_info[1])
            record = logging.makeLogRecord({**record.__dict__, "exc_info": None, **fields})
        return redaction.redact_line(super().format(record))


def _exception_fields(error: BaseException) -> dict[str, object]:
    name = exception_text.exception_class_name(error)
    frames = traceback.extract_tb(error.__traceback__, -exception_text.MAX_FRAMES)
    return {
        "exception": exception_text.format_exception(error),
        "exception_name": name,
        "exception_notes": exception_text.exception_notes(error) or None,
        "stack_trace": {
            "type": name,
            "value": exception_text.format_message(error),
            "module": str(type(error).__module__),
            "frames": [{"file": f.filename, "line": f.lineno, "function": f.name, "statement": f.line} for f in frames],
        },
    }


class _ColdStart:
    """How long this execution environment took to start; None once its first request has recorded it."""

    init_ms: float | None = None


_current_record: contextvars.ContextVar[RequestRecord | None] = contextvars.ContextVar("record", default=None)


def make_logger(level: str = "INFO", service: str = SERVICE) -> Logger:
    """Make the JSON logger that the engine and the functions (LOGGERS) write to; called once at init.

    Args:
        level: A level name of `logging`.
        service: `Settings.service_name`.
    """
    engine, *functions = LOGGERS
    # Powertools also uses the service as the logger's name.
    logger = Logger(service=engine, level=level, logger_formatter=_Formatter())
    logger.append_keys(service=service)
    for name in functions:
        function_logger = logging.getLogger(name)
        function_logger.handlers, function_logger.propagate = [logger.registered_handler], False
        function_logger.setLevel(level)
    return logger


def mark_ready() -> None:
    """Record that the environment has started; its first request will count as a cold start.

    The duration counts from the start of the process as Linux reports it, which includes all imports.
    """
    _ColdStart.init_ms = _process_age_s() * 1000


def measure(name: Metric, value: float = 1, *, tool: str = "") -> None:
    """Add one value of a metric to the current request. Durations are in milliseconds, memory in megabytes."""
    if record := _current_record.get():
        record.measurements.append((name, value, tool))


def note(**fields: object) -> None:
    """Add fields to the current request's log line."""
    if record := _current_record.get():
        record.fields.update(fields)


def note_tool_call(tool: str) -> None:
    """Add a tool that the model called to the list in the request's log line."""
    if record := _current_record.get():
        record.tools.append(tool)


def note_first_token() -> None:
    """Record the time to the first token of the answer; later calls do nothing."""
    if (record := _current_record.get()) and not record.has_first_token:
        record.has_first_token = True
        elapsed_ms = round((time.monotonic() - record.started_at) * 1000)
        record.fields["time_to_first_token_ms"] = elapsed_ms
        record.measurements.append(("TimeToFirstToken", elapsed_ms, ""))


@contextlib.contextmanager
def request_scope(request_id: str, logger: Logger, service: str) -> Iterator[RequestRecord]:
    """Record everything inside as one request; at the end, write its log line and metrics, even after an exception.

    Args:
        request_id: The invocation's id.
        logger: The logger whose lines carry the id.
        service: The metric dimension, see `RequestRecord`.
    """
    record = RequestRecord(time.monotonic(), service)
    token = _current_record.set(record)
    logger.thread_safe_append_keys(request_id=request_id)
    try:
        yield record
    finally:
        duration_ms = round((time.monotonic() - record.started_at) * 1000)
        _record_cold_start()
        measure("Requests")
        measure("StreamDuration", duration_ms)
        measure("MemoryUsed", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        _LOGGER.info("request", extra={**record.fields, "tools": record.tools, "duration_ms": duration_ms})
        record.fields["request_id"] = request_id
        record.emit()
        logger.thread_safe_clear_keys()
        _current_record.reset(token)


def _process_age_s() -> float:
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):  # not Linux: the local server runs elsewhere too
        return time.process_time()


def _record_cold_start() -> None:
    if _ColdStart.init_ms is not None:
        measure("ColdStarts")
        measure("InitDuration", _ColdStart.init_ms)
        note(init_duration_ms=round(_ColdStart.init_ms))
        _ColdStart.init_ms = None
