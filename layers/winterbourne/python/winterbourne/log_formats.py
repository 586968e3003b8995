"""Lambda's formats of a log line, as text or as structured JSON: records, printed lines and errors. No I/O.

They are awslambdaric's, with one difference: in JSON, a printed line becomes a record with its request id, unless it
already is a JSON object, as written by Powertools.
"""

import contextlib
import json
import logging
import time
import traceback
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from winterbourne.override import override

__all__ = [
    "TEXT_FORMATTER",
    "JsonFormatter",
    "class_name",
    "error_as_json",
    "error_as_lines",
    "printed_line",
    "related_errors",
    "safe_str",
    "standard_level",
]

TEXT_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"
JSON_TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
NO_BREAK_SPACE = "\u00a0"  # CloudWatch drops plain spaces at the start of a line

# Of one error's causes and sub-exceptions, of which a group may have any number; of each, the innermost frames.
MAX_RELATED_ERRORS = 20
MAX_RELATED_FRAMES = 20

# Attributes that every record has, and the ids that the runtime's handler adds; any others came through `extra`.
STANDARD_ATTRIBUTES = {*logging.makeLogRecord({}).__dict__, "aws_request_id", "tenant_id", "taskName", "message"}

TEXT_FORMAT = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"
TEXT_FORMATTER = logging.Formatter(TEXT_FORMAT, TEXT_TIME_FORMAT)
"""The format of a record as text."""


class JsonFormatter(logging.Formatter):
    """The format of a record as JSON."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        """The line, with its newline."""
        trace = kind = message = location = None
        if record.exc_info and record.exc_info[0] is not None:
            kind, message = record.exc_info[0].__name__, safe_str(record.exc_info[1])
            trace = traceback.format_tb(record.exc_info[2])
            if record.exc_info[1] is not None:
                trace += related_errors(record.exc_info[1])
            location = f"{record.pathname}:{record.funcName}:{record.lineno}"
        entry = {
            "timestamp": self.formatTime(record, JSON_TIME_FORMAT),
            "level": logging.getLevelName(standard_level(record)),
            "message": record.msg if isinstance(record.msg, dict) and not record.args else record.getMessage(),
            "logger": record.name,
            "stackTrace": trace,
            "errorType": kind,
            "errorMessage": message,
            "requestId": getattr(record, "aws_request_id", None),
            "location": location,
            "tenantId": getattr(record, "tenant_id", None),
        }
        extra = {k: v for k, v in record.__dict__.items() if k not in STANDARD_ATTRIBUTES and k not in entry}
        return _json_line(entry | extra)


def standard_level(record: logging.LogRecord) -> int:
    """The level of logging itself that a record's level is, or is above."""
    return min(50, max(0, record.levelno)) // 10 * 10


def printed_line(line: str, level: int, request_id: str, tenant_id: str | None) -> str:
    """A printed line as a JSON record; a JSON object stays as it is."""
    if line.startswith("{"):
        with contextlib.suppress(ValueError):
            json.loads(line)
            return line + "\n"
    entry = {"timestamp": _now(), "level": logging.getLevelName(level), "message": line}
    return _json_line(entry | {"requestId": request_id or None, "tenantId": tenant_id})


def error_as_json(document: Mapping[str, Any]) -> str:
    """Lambda's own error line, of an error document, as JSON."""
    return json.dumps({"timestamp": _now(), "level": "ERROR", **document}, ensure_ascii=False)


def error_as_lines(document: Mapping[str, Any]) -> list[str]:
    """Lambda's own error line, of an error document, as text, which has several lines."""
    name, message = document["errorType"], document["errorMessage"]
    lines = [f"[ERROR] {name}: {message}" if message else f"[ERROR] {name}", "Traceback (most recent call last):"]
    for element in document["stackTrace"]:
        lines += [_preserve_indent(line) for line in element.splitlines()] or [""]
    return lines


def related_errors(error: BaseException) -> list[str]:
    """The notes of an error, and its causes, contexts and sub-exceptions, as elements of a stack trace.

    Nearest first, each once, however they are linked; at most `MAX_RELATED_ERRORS`.
    """
    elements = _notes(error)
    related = _related(error)
    for relation, other in islice(related, MAX_RELATED_ERRORS):
        elements.append(f"{relation}: {type(other).__name__}: {safe_str(other)}\n")
        elements += _notes(other) + traceback.format_tb(other.__traceback__, -MAX_RELATED_FRAMES)
    if next(related, None):
        elements.append(f"and more than {MAX_RELATED_ERRORS} others\n")
    return elements


def safe_str(error: object) -> str:
    """The text of an error, also of one that has none."""
    try:
        return str(error)
    except BaseException as worse:  # noqa: BLE001 - a __str__ may raise anything, even SystemExit; the error is reported anyway
        return f"<{class_name(error)} whose text raises {class_name(worse)}>"


def class_name(error: object) -> str:
    """The name of an error's class, even if its metaclass overrides `__name__`."""
    return str(type.__dict__["__name__"].__get__(type(error)))


def _related(error: BaseException) -> Iterator[tuple[str, BaseException]]:
    """The errors that led to this one, breadth first, with their relation to the one before."""
    seen, queue = {id(error)}, deque([error])
    while queue:
        for relation, other in _links(queue.popleft()):
            if id(other) not in seen:
                seen.add(id(other))
                queue.append(other)
                yield relation, other


def _links(error: BaseException) -> Iterator[tuple[str, BaseException]]:
    name = type(error).__name__
    if error.__cause__ is not None:
        yield f"{name} was caused by", error.__cause__
    elif error.__context__ is not None and not error.__suppress_context__:
        yield f"{name} was raised while handling", error.__context__
    if isinstance(error, BaseExceptionGroup):
        yield from ((f"{name}, {i} of {len(error.exceptions)}", each) for i, each in enumerate(error.exceptions, 1))


def _notes(error: BaseException) -> list[str]:
    notes = getattr(error, "__notes__", None)  # anything may have been set
    return [f"{safe_str(note)}\n" for note in notes[:MAX_RELATED_ERRORS]] if isinstance(notes, list) else []


def _now() -> str:
    return time.strftime(JSON_TIME_FORMAT, time.gmtime())


def _json_line(entry: dict[str, Any]) -> str:
    return json.dumps({k: v for k, v in entry.items() if v is not None}, ensure_ascii=False, default=str) + "\n"


def _preserve_indent(line: str) -> str:
    text = line.lstrip(" ")
    return NO_BREAK_SPACE * (len(line) - len(text)) + text
