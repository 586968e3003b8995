"""Logging for Lambda, as text or as structured JSON: framed on the telemetry file descriptor, or lines on stdout.

The formats are awslambdaric's, with two differences. In JSON, each printed line becomes a record with its request
id, unless it already is a JSON object, as written by Powertools. And the ids come from context variables, so that they
are correct when concurrent invocations share the process.

A frame: type u32 | length u32 | microseconds since 1970 u64 | text, all big-endian.
"""

import io
import json
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import MutableMapping
from typing import Any, ClassVar, Protocol

from winterbourne.context import REQUEST_IDS
from winterbourne.errors import ErrorReport
from winterbourne.redaction import redact_text

__all__ = ["LogSink", "configure_logging", "flush_partial_lines", "log_error", "redirect_to_log_socket"]

TEXT_FRAME = 0xA55A0003
JSON_FRAME = 0xA55A0002
LEVEL_BITS = {logging.DEBUG: 0x8, logging.INFO: 0xC, logging.WARNING: 0x10, logging.ERROR: 0x14, logging.CRITICAL: 0x18}
TEXT_FORMAT = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"
TEXT_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"
JSON_TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
NO_BREAK_SPACE = "\u00a0"  # CloudWatch drops plain spaces at the start of a line

# Attributes that every record has, and the ids that `_LambdaLogHandler` adds; any others came through `extra`.
STANDARD_ATTRIBUTES = frozenset(logging.makeLogRecord({}).__dict__) | {
    "aws_request_id",
    "tenant_id",
    "taskName",
    "message",
}


_RequestIds = tuple[str, str | None]  # request id and tenant id


class LogSink(Protocol):
    """A destination of log text."""

    separator: str  # between the lines of one entry

    def log(self, text: str, frame_type: int = TEXT_FRAME) -> None:
        """Write one entry."""


class FramedSink:
    """Writes frames to a file descriptor; they tell Lambda where each entry ends.

    Args:
        descriptor: `_LAMBDA_TELEMETRY_LOG_FD`.
    """

    separator = "\n"

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._write_lock = threading.Lock()

    def log(self, text: str, frame_type: int = TEXT_FRAME) -> None:
        """Write one frame."""
        data = redact_text(text).encode(errors="backslashreplace")
        head = (
            frame_type.to_bytes(4, "big") + len(data).to_bytes(4, "big") + (time.time_ns() // 1000).to_bytes(8, "big")
        )
        rest = memoryview(head + data)
        with self._write_lock:  # a pipe may accept only part of a long frame
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]


class StdoutSink:
    """Writes lines to stdout; carriage returns keep the lines of one entry together in CloudWatch."""

    separator = "\r"

    def __init__(self) -> None:
        self._stdout = sys.stdout

    def log(self, text: str, frame_type: int = TEXT_FRAME) -> None:  # noqa: ARG002 - lines have no type
        """Write one entry."""
        self._stdout.write(text)


def configure_logging(environ: MutableMapping[str, str]) -> None:
    """Route logging, print and uncaught exceptions of threads to Lambda.

    Args:
        environ: Environment variables; `_LAMBDA_TELEMETRY_LOG_FD` is removed, so that no child process writes there.
    """
    _unbuffer_stdio()
    descriptor = environ.pop("_LAMBDA_TELEMETRY_LOG_FD", None)
    sink: LogSink = FramedSink(int(descriptor)) if descriptor else StdoutSink()
    as_json = environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"
    level = environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
    logging.Formatter.converter = time.gmtime
    _configure_root_logger(
        _LambdaLogHandler(sink, as_json=as_json, with_level_bits=as_json or bool(level)),
        "DEBUG" if level == "TRACE" else level,
    )
    if as_json:
        sys.stdout = _JsonLineStream(sys.stdout, sink, logging.INFO)
        sys.stderr = _JsonLineStream(sys.stderr, sink, logging.ERROR)
    threading.excepthook = _log_thread_exception


def log_error(report: ErrorReport) -> None:
    """Write an error in the format of Lambda's own error line, which alarms and filters match.

    It does so even if the function removed the runtime's handler from the root logger, as `basicConfig(force=True)`
    does.
    """
    handler = _LambdaLogHandler.installed
    if handler.as_json:
        stamp = time.strftime(JSON_TIME_FORMAT, time.gmtime())
        document = {"timestamp": stamp, "level": "ERROR", **report.document}
        text = json.dumps(document, ensure_ascii=False)
        handler.log_sink.log(
            text + "\n" * isinstance(handler.log_sink, StdoutSink), JSON_FRAME | LEVEL_BITS[logging.ERROR]
        )
        return
    text = handler.log_sink.separator.join(_format_error_lines(report))
    end = "\n" * isinstance(handler.log_sink, StdoutSink)
    handler.log_sink.log(text + end, TEXT_FRAME | LEVEL_BITS[logging.ERROR])


def flush_partial_lines() -> None:
    """Write what this invocation printed without a newline: the environment may be frozen and never thawed."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, _JsonLineStream):
            stream.flush()


def redirect_to_log_socket(path: str) -> None:
    """Redirect stdout and stderr to the socket from which Lambda Managed Instances collect logs."""
    import socket  # noqa: PLC0415 - asyncio imports it anyway; needed only here

    for descriptor in (1, 2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(path)
            os.dup2(connection.fileno(), descriptor)


class _LambdaLogHandler(logging.Handler):
    """The root logger's handler; other libraries recognize it by its `log_sink`."""

    installed: "ClassVar[_LambdaLogHandler]"  # the handler of this process

    def __init__(self, sink: LogSink, *, as_json: bool, with_level_bits: bool) -> None:
        super().__init__()
        self.log_sink = sink
        self.as_json = as_json
        self._with_level_bits = with_level_bits
        self.setFormatter(
            _JsonFormatter(datefmt=JSON_TIME_FORMAT) if as_json else logging.Formatter(TEXT_FORMAT, TEXT_TIME_FORMAT)
        )

    def emit(self, record: logging.LogRecord) -> None:
        record.aws_request_id, record.tenant_id = REQUEST_IDS.get()
        base = JSON_FRAME if self.as_json else TEXT_FRAME
        bits = LEVEL_BITS.get(_standard_level(record), 0) if self._with_level_bits else 0
        try:
            self.log_sink.log(self.format(record), base | bits)
        except Exception:  # noqa: BLE001 - logging's contract: a record that cannot be written raises nothing
            self.handleError(record)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        trace, kind, message, location = _exception_fields(record)
        return _json_line(
            {
                "timestamp": self.formatTime(record, self.datefmt),
                "level": logging.getLevelName(_standard_level(record)),
                "message": record.msg if isinstance(record.msg, dict) and not record.args else record.getMessage(),
                "logger": record.name,
                "stackTrace": trace,
                "errorType": kind,
                "errorMessage": message,
                "requestId": getattr(record, "aws_request_id", None),
                "location": location,
                "tenantId": getattr(record, "tenant_id", None),
            },
            record.__dict__,
        )


class _RedactingStream(io.TextIOWrapper):
    """Redacts what is written to stdout or stderr."""

    def write(self, text: str) -> int:
        super().write(redact_text(text))
        return len(text)


class _JsonLineStream(io.TextIOBase):
    """Turns printed lines into JSON records, with the ids of the invocation that prints them."""

    def __init__(self, stream: Any, sink: LogSink, level: int) -> None:
        self._stream = stream
        self._sink = sink
        self._level = level
        # A line may arrive in parts while other invocations and threads print theirs.
        self._partial_lines: dict[tuple[_RequestIds, int], str] = {}

    def write(self, text: str) -> int:
        ids = REQUEST_IDS.get()
        writer_key = ids, threading.get_ident()
        *lines, partial_line = (self._partial_lines.pop(writer_key, "") + text).split("\n")
        if partial_line:
            self._partial_lines[writer_key] = partial_line
        for line in lines:
            self._emit_line(line, ids)
        return len(text)

    def flush(self) -> None:
        """Write the partial lines of this invocation."""
        ids = REQUEST_IDS.get()
        for writer_key in list(self._partial_lines):
            if writer_key[0] == ids:
                self._emit_line(self._partial_lines.pop(writer_key, ""), ids)

    def writable(self) -> bool:
        return True

    @property
    def buffer(self) -> Any:
        """The underlying byte buffer; bytes written there become no records."""
        return self._stream.buffer

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def _emit_line(self, line: str, ids: _RequestIds) -> None:
        if line:
            self._sink.log(self._format_line(line, ids), JSON_FRAME | LEVEL_BITS[self._level])

    def _format_line(self, line: str, ids: _RequestIds) -> str:
        if line.startswith("{") and _is_json(line):
            return line + "\n"
        request_id, tenant_id = ids
        return _json_line(
            {
                "timestamp": time.strftime(JSON_TIME_FORMAT, time.gmtime()),
                "level": logging.getLevelName(self._level),
                "message": line,
                "requestId": request_id or None,
                "tenantId": tenant_id,
            }
        )


def _configure_root_logger(handler: _LambdaLogHandler, level: str) -> None:
    _LambdaLogHandler.installed = handler
    logging.getLogger("asyncio").setLevel(logging.INFO)  # its debug lines are about the event loop, not the function
    root = logging.getLogger()
    if level in logging.getLevelNamesMapping():
        root.setLevel(level)
    root.addHandler(handler)


def _unbuffer_stdio() -> None:
    """Make stdout and stderr unbuffered, as `python -u` does: output must be out before the environment is frozen."""
    for name in ("stdout", "stderr"):
        buffer = getattr(sys, name).buffer
        raw = getattr(buffer, "raw", buffer)  # under `python -u` it already is raw
        setattr(sys, name, _RedactingStream(raw, encoding="utf-8", errors="backslashreplace", write_through=True))


def _log_thread_exception(arguments: threading.ExceptHookArgs) -> None:
    where = arguments.thread.name if arguments.thread else "a thread"
    exc_info = (arguments.exc_type, arguments.exc_value or arguments.exc_type(), arguments.exc_traceback)
    logging.getLogger().error("uncaught exception in %s", where, exc_info=exc_info)


def _standard_level(record: logging.LogRecord) -> int:
    return min(50, max(0, record.levelno)) // 10 * 10


def _exception_fields(record: logging.LogRecord) -> tuple[list[str] | None, str | None, str | None, str | None]:
    """Return stack trace, type, message and location of a record's exception; all None without an exception."""
    if not record.exc_info or record.exc_info[0] is None:
        return None, None, None, None
    kind, value, trace = record.exc_info
    location = f"{record.pathname}:{record.funcName}:{record.lineno}"
    return traceback.format_tb(trace), kind.__name__, str(value), location


def _json_line(entry: dict[str, Any], extra: dict[str, Any] | None = None) -> str:
    for name, value in (extra or {}).items():
        if name not in STANDARD_ATTRIBUTES and name not in entry:
            entry[name] = value
    return json.dumps({k: v for k, v in entry.items() if v is not None}, ensure_ascii=False, default=str) + "\n"


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _format_error_lines(report: ErrorReport) -> list[str]:
    head = "[ERROR]"
    if report.name:
        head += f" {report.name}" + ":" * bool(report.message)
    if report.message:
        head += f" {report.message}"
    lines = [head, "Traceback (most recent call last):"]
    for element in report.stack:
        lines += [_preserve_indent(line) for line in element.splitlines()] or [""]
    return lines


def _preserve_indent(line: str) -> str:
    text = line.lstrip(" ")
    return NO_BREAK_SPACE * (len(line) - len(text)) + text
