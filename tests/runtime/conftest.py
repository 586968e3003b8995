"""Fixtures of all runtime tests: the captured log, and lifecycle hooks that are cleared after each test."""

import logging
from collections.abc import Iterator

import pytest

from winterbourne import lifecycle, logs


class ListSink:
    """A log sink that keeps its entries in a list."""

    separator = "\n"
    terminator = ""

    def __init__(self) -> None:
        self.entries: list[str] = []

    def log(self, text: str, frame_type: int = 0) -> None:
        self.entries.append(text)


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[str]]:
    """The log entries, in text format, as the function's log would show them."""
    sink = ListSink()
    handler = logs.LogHandler(sink, as_json=False, with_level_bits=False)
    logs._configure_root_logger(handler, "")
    yield sink.entries
    logging.getLogger().removeHandler(handler)


@pytest.fixture(autouse=True)
def no_hooks() -> Iterator[None]:
    """Clear the lifecycle hooks after each test."""
    yield
    for hooks in (
        lifecycle._startup_hooks,
        lifecycle._shutdown_hooks,
        lifecycle._retire_hooks,
        lifecycle._stream_error_hooks,
        lifecycle._stall_hooks,
    ):
        hooks.clear()
