"""What every test of the layer may rely on."""

import logging
from collections.abc import Iterator

import pytest

from winterbourne import lifecycle, logs


class ListSink:
    """Keeps what is logged."""

    separator = "\n"

    def __init__(self) -> None:
        self.entries: list[str] = []

    def log(self, text: str, frame_type: int = 0) -> None:
        self.entries.append(text)


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[str]]:
    """What the layer logs, as the function's log would show it, in text."""
    sink = ListSink()
    handler = logs._Handler(sink, as_json=False, typed=False)
    logs._set_up_root(handler, "")
    yield sink.entries
    logging.getLogger().removeHandler(handler)


@pytest.fixture(autouse=True)
def no_hooks() -> Iterator[None]:
    """Hooks of one test are not those of the next."""
    yield
    for hooks in (lifecycle._startup, lifecycle._shutdown, lifecycle._leave, lifecycle._stream_error):
        hooks.clear()
