"""Captures log lines as they would be written: formatted while they are logged, in the context of that moment."""

import contextlib
import logging
from collections.abc import Iterator

from winterbourne.chat.infra.telemetry import _Formatter

__all__ = ["log_lines"]


class _LineCollector(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(_Formatter())
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextlib.contextmanager
def log_lines() -> Iterator[list[str]]:
    """Collects the lines that the chat logs inside the block."""
    handler, logger = _LineCollector(), logging.getLogger("winterbourne.chat")
    logger.addHandler(handler)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)
