"""Logging for Lambda: records, prints and errors, framed on the telemetry file descriptor or as lines on stdout.

Each line is redacted once, where it leaves the process. The request ids come from context variables, so that they are
correct when concurrent invocations share the process.

A frame: type u32 | length u32 | microseconds since 1970 u64 | text, all big-endian.
"""

import io
import logging
import os
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, ClassVar, Protocol

from winterbourne.log_formats import (
    TEXT_FORMATTER,
    JsonFormatter,
    error_as_json,
    error_as_lines,
    printed_line,
    standard_level,
)
from winterbourne.override import override

__all__ = [
    "REQUEST_IDS",
    "LogHandler",
    "LogSink",
    "configure_logging",
    "flush_partial_lines",
    "format_logs",
    "log_error",
    "redact_logs",
    "redact_text",
    "redirect_to_log_socket",
    "runtime_handler",
]

TEXT_FRAME = 0xA55A0003
JSON_FRAME = 0xA55A0002
LEVEL_BITS = {logging.DEBUG: 0x8, logging.INFO: 0xC, logging.WARNING: 0x10, logging.ERROR: 0x14, logging.CRITICAL: 0x18}

_RequestIds = tuple[str, str | None]  # request id and tenant id
_ExceptionFields = Callable[[BaseException], dict[str, Any]]

REQUEST_IDS: ContextVar[_RequestIds] = ContextVar("winterbourne_request_ids", default=("", None))


def redact_logs(redact: Callable[[str], str]) -> None:
    """Redact everything that is logged or printed, and every error that is reported to Lambda.

    Example: `redact_logs(lambda text: text.replace(KEY, "[redacted]"))`. Output that bypasses Python's stdout and
    stderr, from a C library or a child process, is not redacted.

    Args:
        redact: Takes any text and returns it without secrets. It is called from any thread, and may get the same text
            twice. Only the last registered function is used.
    """
    _Redactor.redact = redact


def redact_text(text: str) -> str:
    """The redacted text; if redaction fails, the text is withheld."""
    try:
        return _Redactor.redact(text)
    except Exception as error:  # noqa: BLE001 - user code: fail closed without failing the invocation
        return f"<not shown: redaction raised {type(error).__name__}>" + "\n" * text.endswith("\n")


class _Redactor:
    redact: Callable[[str], str] = staticmethod(str)


class LogSink(Protocol):
    """A destination of log text; redacts it."""

    separator: str  # between the lines of one entry
    terminator: str  # after an entry that may not end with a newline

    def log(self, text: str, frame_type: int = TEXT_FRAME) -> None:
        """Write one entry."""


class FramedSink:
    """Writes frames to a file descriptor; they tell Lambda where each entry ends.

    Args:
        descriptor: `_LAMBDA_TELEMETRY_LOG_FD`.
    """

    separator = "\n"
    terminator = ""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._write_lock = threading.Lock()

    def log(self, text: str, frame_type: int = TEXT_FRAME) -> None:
        """Write one frame."""
        data = redact_text(text).encode(errors="backslashreplace")
        head = struct.pack(">IIQ", frame_type, len(data), time.time_ns() // 1000)
        rest = memoryview(head + data)
        with self._write_lock:  # a pipe may accept only part of a long frame
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]


class StdoutSink:
    """Writes lines to stdout; carriage returns keep the lines of one entry together in CloudWatch."""

    separator = "\r"
    terminator = "\n"

    def __init__(self) -> None:
        self._stdout = sys.stdout
        self._write = getattr(sys.stdout, "write_as_is", sys.stdout.write)  # redacted here, and not once more

    def log(self, text: str, frame_type: int = TEXT_FRAME) -> None:  # noqa: ARG002 - lines have no type
        """Write one entry."""
        self._write(redact_text(text))
        self._stdout.flush()


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
    handler = LogHandler(sink, as_json=as_json, with_level_bits=as_json or bool(level))
    _configure_root_logger(handler, "DEBUG" if level == "TRACE" else level)
    if as_json:
        sys.stdout = _JsonLineStream(sys.stdout, sink, logging.INFO)
        sys.stderr = _JsonLineStream(sys.stderr, sink, logging.ERROR)
    threading.excepthook = _log_thread_exception


def format_logs(
    formatter: logging.Formatter, exception_fields: _ExceptionFields, own_loggers: tuple[str, ...]
) -> "LogHandler":
    """Format every log record of this process with another library's JSON formatter, such as Powertools'.

    The runtime still writes the records: in its frames, with their levels, redacted. Printed lines, and Lambda's own
    error line, keep the runtime's formats.

    Args:
        formatter: Makes one line of a record.
        exception_fields: The attributes that describe an exception; the record gets them in place of `exc_info`.
        own_loggers: The loggers whose request id the library knows. The records of others get the invocation's ids, and
            the name of their logger.

    Returns:
        The handler of the root logger. In a process that this runtime does not run, it is a handler that writes to
        stdout and belongs to no logger yet.
    """
    handler = runtime_handler() or LogHandler(StdoutSink())
    handler.setFormatter(formatter)
    handler.exception_fields, handler.own_loggers = exception_fields, tuple(f"{name}." for name in own_loggers)
    return handler


def runtime_handler() -> "LogHandler | None":
    """The runtime's handler of the root logger, unless the function has removed it."""
    return next((handler for handler in logging.root.handlers if isinstance(handler, LogHandler)), None)


def log_error(document: Mapping[str, Any]) -> None:
    """Write an error document in the format of Lambda's own error line, which alarms and filters match.

    It does so even if the function removed the runtime's handler from the root logger, as `basicConfig(force=True)`
    does.
    """
    handler = LogHandler.installed
    text = error_as_json(document) if handler.as_json else handler.log_sink.separator.join(error_as_lines(document))
    handler.log_sink.log(text + handler.log_sink.terminator, handler.frame_type | LEVEL_BITS[logging.ERROR])


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


class LogHandler(logging.Handler):
    """The root logger's handler; other libraries recognize it by its `log_sink`."""

    installed: "ClassVar[LogHandler]"  # the handler of this process

    def __init__(self, sink: LogSink, *, as_json: bool = False, with_level_bits: bool = False) -> None:
        super().__init__()
        self.log_sink = sink
        self.as_json = as_json
        self.frame_type = JSON_FRAME if as_json else TEXT_FRAME
        self.exception_fields: _ExceptionFields | None = None  # see `format_logs`
        self.own_loggers: tuple[str, ...] = ()  # each with a dot at its end
        self._with_level_bits = with_level_bits
        self.setFormatter(JsonFormatter() if as_json else TEXT_FORMATTER)

    @override
    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; one that cannot be written is reported on stderr and raises nothing."""
        try:
            if self.exception_fields is None:
                record.aws_request_id, record.tenant_id = REQUEST_IDS.get()
                text = self.format(record)
            else:
                fields: dict[str, Any] = {}
                if isinstance(record.exc_info, tuple) and (error := record.exc_info[1]) is not None:
                    fields |= {"exc_info": None, **self.exception_fields(error)}
                if not f"{record.name}.".startswith(self.own_loggers):
                    fields |= _origin(record)
                text = self.format(logging.makeLogRecord(record.__dict__ | fields) if fields else record) + "\n"
            level_bits = LEVEL_BITS.get(standard_level(record), 0) if self._with_level_bits else 0
            self.log_sink.log(text, self.frame_type | level_bits)
        except Exception:  # noqa: BLE001 - logging's contract: a record that cannot be written raises nothing
            self.handleError(record)


def _origin(record: logging.LogRecord) -> dict[str, Any]:
    request_id, tenant_id = REQUEST_IDS.get()
    fields = {"logger": record.name, "request_id": request_id, "tenant_id": tenant_id}
    return {name: value for name, value in fields.items() if value}


class _RedactingStream(io.TextIOWrapper):
    """Redacts what is written to stdout or stderr."""

    write_as_is = io.TextIOWrapper.write

    @override
    def write(self, text: str) -> int:
        super().write(text if text == "\n" else redact_text(text))  # `print` writes its newline by itself
        return len(text)


class _JsonLineStream(io.TextIOWrapper):
    """Turns printed lines into JSON records, with the ids of the invocation that prints them.

    A text file in every other respect; bytes written to its `buffer` become no records.
    """

    def __init__(self, stream: Any, sink: LogSink, level: int) -> None:
        super().__init__(stream.buffer, encoding=stream.encoding, errors=stream.errors, write_through=True)
        self.mode: str = "w"
        self._stream = stream  # which would close the buffer when it is collected
        self._sink = sink
        self._level = level
        # A line may arrive in parts while other invocations and threads print theirs.
        self._partial_lines: dict[tuple[_RequestIds, int], str] = {}

    @override
    def write(self, text: str) -> int:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        ids = REQUEST_IDS.get()
        writer_key = ids, threading.get_ident()
        *lines, partial_line = (self._partial_lines.pop(writer_key, "") + text).split("\n")
        if partial_line:
            self._partial_lines[writer_key] = partial_line
        for line in lines:
            self._emit_line(line, ids)
        return len(text)

    @override
    def flush(self) -> None:
        """Write the partial lines of this invocation."""
        ids = REQUEST_IDS.get()
        for writer_key in list(self._partial_lines):
            if writer_key[0] == ids:
                self._emit_line(self._partial_lines.pop(writer_key, ""), ids)
        super().flush()

    def _emit_line(self, line: str, ids: _RequestIds) -> None:
        if line:
            self._sink.log(printed_line(line, self._level, *ids), JSON_FRAME | LEVEL_BITS[self._level])


def _configure_root_logger(handler: LogHandler, level: str) -> None:
    LogHandler.installed = handler
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
        stream = _RedactingStream(raw, encoding="utf-8", errors="backslashreplace", write_through=True)
        stream.mode = "w"  # type: ignore[misc]  # as `open` does
        setattr(sys, name, stream)


def _log_thread_exception(arguments: threading.ExceptHookArgs) -> None:
    where = arguments.thread.name if arguments.thread else "a thread"
    exc_info = (arguments.exc_type, arguments.exc_value or arguments.exc_type(), arguments.exc_traceback)
    logging.getLogger().error("uncaught exception in %s", where, exc_info=exc_info)
