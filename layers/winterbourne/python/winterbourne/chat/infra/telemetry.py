"""Telemetry: one log line and one set of CloudWatch metrics per request, correct with many concurrent streams.

A context variable holds the `RequestRecord` of the current request; `measure` and `note` add to it from anywhere, and
do nothing outside a request. Powertools formats the output: log records as JSON, those of libraries included, and
metrics in the embedded metric format (EMF), from one provider object per request and tool, because Powertools'
`Metrics` shares its state between all requests. Message content is noted only if LOG_MESSAGES allows it.
"""

import contextlib
import contextvars
import logging
import os
import re
import resource
import time
import traceback
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec
from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import AmazonCloudWatchEMFProvider

from winterbourne.chat.infra import exception_text, redaction
from winterbourne.logs import format_logs, redact_logs

__all__ = [
    "EMITTED",
    "LEAN_METRICS",
    "METRICS",
    "MODEL_METRICS",
    "NAMESPACE",
    "SERVICE",
    "TOOL_METRICS",
    "TOOL_TASK",
    "MetricsMode",
    "RequestRecord",
    "count_error",
    "count_left_out",
    "exception_fields",
    "make_logger",
    "mark_ready",
    "measure",
    "note",
    "note_end",
    "note_first_token",
    "record_stall",
    "request_scope",
]

NAMESPACE: Final = "Winterbourne"
SERVICE: Final = "chat"

MetricsMode = Literal["full", "lean", "off"]
OutcomeMetric = Literal[
    "AuthErrors", "Chats", "ConversationsCut", "Errors", "FailedChats", "Rejections", "Requests", "Stops", "StoreErrors"
]
FailureMetric = Literal["GuardrailInterventions", "ModelFailovers"]
StreamMetric = Literal["Heartbeats", "ModelTimeToFirstToken", "StreamDuration", "TimeToFirstToken"]
TokenMetric = Literal["CachedInputTokens", "CacheWriteTokens", "InputTokens", "OutputTokens"]
ProcessMetric = Literal["AbandonedThreads", "ColdStarts", "InitDuration", "LoopStalls", "MemoryUsed", "ToolsLeftOut"]
PoolMetric = Literal["PoolConnectionsIdle", "PoolConnectionsOpen", "PoolRequestsWaiting"]
ToolMetric = Literal[
    "Approvals", "BreakerOpenings", "CacheHits", "ToolCalls", "ToolDuration", "ToolErrors", "ToolStalls", "ToolTimeouts"
]
ModelMetric = Literal["CostUsd"]
Metric = Literal[
    OutcomeMetric, FailureMetric, StreamMetric, TokenMetric, ProcessMetric, PoolMetric, ToolMetric, ModelMetric
]

TOOL_METRICS: Final[tuple[str, ...]] = get_args(ToolMetric)
MODEL_METRICS: Final[tuple[str, ...]] = get_args(ModelMetric)
METRICS: Final[tuple[str, ...]] = get_args(Metric)
"""Every metric that can be emitted. Those of tools have the dimension `tool` in addition to `service`, those of models
`model`.
"""

LEAN_METRICS: Final = {"Chats", "FailedChats", "InputTokens", "MemoryUsed", "OutputTokens", "TimeToFirstToken"}
"""What METRICS=lean emits: enough to tell whether chats are answered, how soon, and what they take. None has a further
dimension, so it is six metrics however many tools and models there are.
"""

EMITTED: Final[Mapping[MetricsMode, Collection[str]]] = {"full": METRICS, "lean": LEAN_METRICS, "off": ()}
"""The metrics of each METRICS."""

TOOL_TASK: Final = "tool "
"""What the name of a tool's task begins with; the tool's name follows."""

DURATIONS: Final = ("InitDuration", "ModelTimeToFirstToken", "StreamDuration", "TimeToFirstToken", "ToolDuration")
UNITS: Final[Mapping[str, str]] = {**dict.fromkeys(DURATIONS, "Milliseconds"), "MemoryUsed": "Megabytes"}
"""Units of the metrics that are not counts."""

FIELDS: Final = {name: re.sub(r"\B([A-Z])", r"_\1", name).lower() for name in METRICS if name not in UNITS}
"""Fields of a request's log line that sum up a metric, whatever METRICS is: `input_tokens` is `InputTokens`."""

LOGGERS: Final = ("winterbourne.chat", "chat", "tool_worker")
"""The engine's logger, and the parent loggers of the modules in `functions/`."""

_LOGGER: Final = logging.getLogger("winterbourne.chat.request")


class RequestRecord(msgspec.Struct):
    """The log fields and measurements of one request; whoever has it may add to them.

    Attributes:
        started_at: Monotonic clock, in seconds.
        service: The metric dimension that distinguishes deployments.
        fields: The fields of its log line.
        tools: The tools that the model called, for the log line.
        measurements: (metric, value, tool or model); the last is empty for metrics of the request.
        has_first_token: Whether the time to the first token is measured.
        is_chat: Whether an answer is asked for, and not refused as a mistake of the caller's, here or by the model.
        is_answered: Whether a chat has its answer, or needs none because its caller has stopped it or gone away.
        metrics: METRICS, see `EMITTED`.
        ended_at: When its response ended, if something was done after that; on the same clock.
    """

    started_at: float
    service: str
    fields: dict[str, object] = {}
    tools: list[str] = []
    measurements: list[tuple[Metric, float, str]] = []
    has_first_token: bool = False
    is_chat: bool = False
    is_answered: bool = False
    metrics: MetricsMode = "full"
    ended_at: float | None = None


def exception_fields(error: BaseException) -> dict[str, object]:
    """Powertools' own fields for an exception: truncated, with secrets and tool arguments redacted."""
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
    """What an environment's first request records: how long the start took, then None; how many tools it left out."""

    init_ms: float | None = None
    left_out: int = 0


_current_record: contextvars.ContextVar[RequestRecord | None] = contextvars.ContextVar("record", default=None)
_running: Final[dict[int, tuple[RequestRecord, str]]] = {}


def make_logger(level: str = "INFO", service: str = SERVICE) -> Logger:
    """Make the JSON logger that the engine and the functions (LOGGERS) write to; called once at init.

    Args:
        level: A level name of `logging`.
        service: `Settings.service_name`.
    """
    redact_logs(redaction.redact_line)
    formatter = LambdaPowertoolsFormatter(serialize_stacktrace=False, use_rfc3339=True)  # Lambda reads no other time
    handler = format_logs(formatter, exception_fields, LOGGERS)
    filters = handler.filters[:]
    # Powertools also uses the service as the logger's name.
    logger = Logger(service=LOGGERS[0], level=level, logger_formatter=formatter, logger_handler=handler)
    logger.append_keys(service=service)
    handler.filters = filters  # Powertools keeps the engine's records out of the root logger's handlers
    for name in LOGGERS:
        each = logging.getLogger(name)
        each.handlers = [handler]  # also if a function replaces those of the root logger
        each.propagate = name == LOGGERS[0] and handler not in logging.root.handlers
        if name != LOGGERS[0]:  # whose level Powertools has set: AWS_LAMBDA_LOG_LEVEL comes first
            each.setLevel(level)
    return logger


def mark_ready() -> None:
    """Record that the environment has started; its first request will count as a cold start.

    The duration counts from the start of the process as Linux reports it, which includes all imports.
    """
    _ColdStart.init_ms = _process_age_s() * 1000


def count_left_out() -> None:
    """Count a tool, or a module of tools, that cannot be used; the environment's first request records it."""
    _ColdStart.left_out += 1


def measure(name: Metric, value: float = 1, *, tool: str = "", model: str = "") -> None:
    """Add one value of a metric to the current request. Durations are in milliseconds, memory in megabytes."""
    if record := _current_record.get():
        record.measurements.append((name, value, tool or model))


def note(**fields: object) -> None:
    """Add fields to the current request's log line."""
    if record := _current_record.get():
        record.fields.update(fields)


def count_error(error_type: str, *, is_callers: bool) -> None:
    """Count an error with which the current request ends: the caller's mistake, with which it is no chat, or ours."""
    if record := _current_record.get():
        record.measurements.append(("Rejections", 1, "") if is_callers else ("Errors", 1, ""))
        record.is_chat = record.is_chat and not is_callers
        record.fields["error_type"] = error_type


def note_first_token(tools_s: float = 0.0) -> None:
    """Record the time to the first token of the answer, with and without the time that tools took before it.

    Later calls do nothing.

    Args:
        tools_s: Seconds for which tools alone were waited for.
    """
    if (record := _current_record.get()) and not record.has_first_token:
        record.has_first_token = True
        whole_ms = round((time.monotonic() - record.started_at) * 1000)
        of_model_ms = whole_ms - round(tools_s * 1000)
        record.fields.update(time_to_first_token_ms=whole_ms, model_time_to_first_token_ms=of_model_ms)
        record.measurements += [("TimeToFirstToken", whole_ms, ""), ("ModelTimeToFirstToken", of_model_ms, "")]


def note_end() -> None:
    """Record that the response has ended: what is done after that is no part of its duration."""
    if record := _current_record.get():
        record.ended_at = time.monotonic()


def record_stall(service: str, mode: MetricsMode, logger: Logger, task_names: str, has_ended: bool, /) -> None:  # noqa: FBT001 - a stall hook
    """Write at once that the event loop stands still, and in which tool: no request may live to write it.

    Args:
        service: The metric dimension, see `RequestRecord`.
        mode: METRICS.
        logger: See `request_scope`.
        task_names: The names of the asyncio tasks or threads that may block the loop.
        has_ended: Whether the process ends for that; then what is to be written of its requests is.
    """
    if has_ended:
        for record, request_id in tuple(_running.values()):
            if not record.is_answered:  # else only what comes after the answer is lost
                record.measurements.append(("Errors", 1, ""))
                record.fields["error_type"] = "DeadlineReached"
            _write_end(record, request_id, logger)
        return
    record = RequestRecord(time.monotonic(), service, measurements=[("LoopStalls", 1, "")], metrics=mode)
    tools = [name.removeprefix(TOOL_TASK) for name in task_names.split(", ") if name.startswith(TOOL_TASK)]
    record.measurements += [("ToolStalls", 1, tool) for tool in tools]
    _write_metrics(record, "")


@contextlib.contextmanager
def request_scope(request_id: str, logger: Logger, service: str, mode: MetricsMode = "full") -> Iterator[RequestRecord]:
    """Record everything inside as one request; at the end, write its log line and metrics, even after an exception.

    Args:
        request_id: The invocation's id.
        logger: The logger whose lines carry the id.
        service: The metric dimension, see `RequestRecord`.
        mode: METRICS.
    """
    record = RequestRecord(time.monotonic(), service, metrics=mode)
    _running[id(record)] = record, request_id
    token = _current_record.set(record)
    logger.thread_safe_append_keys(request_id=request_id, service=service)
    try:
        yield record
    finally:
        _write_end(record, request_id, logger)
        logger.thread_safe_clear_keys()
        _current_record.reset(token)


def _write_end(record: RequestRecord, request_id: str, logger: Logger) -> None:
    """Write the log line and metrics of a request, unless another thread does."""
    if _running.pop(id(record), None):
        logger.thread_safe_append_keys(request_id=request_id, service=record.service)
        _record_end(record)
        _LOGGER.info("request", extra={**record.fields, "tools": record.tools})
        _write_metrics(record, request_id)


def _record_end(record: RequestRecord) -> None:
    """Add what is known only at the end of a request; the environment's first request also adds its cold start."""
    duration_ms = round(((record.ended_at or time.monotonic()) - record.started_at) * 1000)
    init_ms, _ColdStart.init_ms = _ColdStart.init_ms, None
    left_out, _ColdStart.left_out = _ColdStart.left_out, 0
    if record.is_chat:
        record.measurements += [("Chats", 1, ""), ("FailedChats", int(not record.is_answered), "")]
    if left_out:
        record.measurements.append(("ToolsLeftOut", left_out, ""))
    if init_ms is not None:
        record.fields["init_duration_ms"] = round(init_ms)
        record.measurements += [("ColdStarts", 1, ""), ("InitDuration", init_ms, "")]
    sums: dict[str, float] = {}
    for name, value, _ in record.measurements:
        if field := FIELDS.get(name):
            sums[field] = round(sums.get(field, 0) + value, 9)
    record.fields.update(sums)
    if record.metrics != "full":
        record.fields["metrics"] = record.metrics  # where what is missed there has to be looked for here
    record.fields["duration_ms"] = duration_ms
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    record.fields["memory_used_mb"] = round(memory_mb)
    record.measurements += [("Requests", 1, ""), ("StreamDuration", duration_ms, ""), ("MemoryUsed", memory_mb, "")]


def _write_metrics(record: RequestRecord, request_id: str) -> None:
    """Write one EMF object for the request and one for each tool and model: durations one by one, counts summed.

    Each with what METRICS says.
    """
    emitted = EMITTED[record.metrics]
    measured: dict[tuple[str, str], dict[Metric, list[float]]] = {}
    for name, value, subject in record.measurements:
        if name in emitted:
            of = ("model" if name in MODEL_METRICS else "tool", subject)
            measured.setdefault(of, {}).setdefault(name, []).append(value)
    for of, metrics in measured.items():
        provider = AmazonCloudWatchEMFProvider(namespace=NAMESPACE, service=record.service)
        if of[1]:
            provider.add_dimension(*of)
        else:
            provider.add_metadata("request_id", request_id)
        for name, values in metrics.items():
            for value in values if name in UNITS else (sum(values),):
                provider.add_metric(name, UNITS.get(name, "Count"), value)
        if provider.metric_set:  # empty if Powertools has just flushed: it does so at 100 values of a metric
            provider.flush_metrics()


def _process_age_s() -> float:
    with contextlib.suppress(OSError, AttributeError):  # not Linux: the local server runs elsewhere too
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.process_time()
