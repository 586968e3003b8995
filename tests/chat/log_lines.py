"""Captures log lines as they would be written: formatted while they are logged, in the context of that moment."""

import contextlib
import logging
from collections.abc import Iterator

from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

from winterbourne.chat.infra.telemetry import LOGGERS, exception_fields
from winterbourne.logs import format_logs, redact_text

__all__ = ["log_lines"]


class _ListSink:
    separator = "\n"
    terminator = ""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, text: str, frame_type: int = 0) -> None:
        self.lines.append(redact_text(text))


@contextlib.contextmanager
def log_lines() -> Iterator[list[str]]:
    """Collects the lines that the chat logs inside the block."""
    logger, sink = logging.getLogger("winterbourne.chat"), _ListSink()
    handler = format_logs(LambdaPowertoolsFormatter(serialize_stacktrace=False), exception_fields, LOGGERS)
    handler.log_sink = sink
    logger.addHandler(handler)
    try:
        yield sink.lines
    finally:
        logger.removeHandler(handler)
