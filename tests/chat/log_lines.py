"""The lines of the log as they would be written: formatted where they are logged, with that context."""

import contextlib
import logging
from collections.abc import Iterator

from winterbourne.chat.infra.telemetry import _Formatter

__all__ = ["log_lines"]


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(_Formatter())
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextlib.contextmanager
def log_lines() -> Iterator[list[str]]:
    """What the function logs inside."""
    handler, logger = _Lines(), logging.getLogger("winterbourne.chat")
    logger.addHandler(handler)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)
