"""What nobody waits for is logged all the same, without what it says."""

import asyncio
import gc
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from chat import exception_text
from chat.unhandled import log_unhandled


class Lines(logging.Handler):
    """Formats what is logged where it is logged, as a formatter does."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self.lines.append(f"{record.getMessage()} | {exception_text.format_exception(error) if error else ''}")


@pytest.fixture
def lines() -> Iterator[list[str]]:
    handler, logger, hook = Lines(), logging.getLogger("chat.unhandled"), threading.excepthook
    logger.addHandler(handler)
    yield handler.lines
    logger.removeHandler(handler)
    threading.excepthook = hook


async def fails(ship: str) -> None:
    raise ValueError(f"no {ship}")


@pytest.mark.parametrize("log_messages", [False, True])
async def test_of_a_task_that_was_left_behind(lines: list[str], *, log_messages: bool) -> None:
    log_unhandled(asyncio.get_running_loop(), log_messages=log_messages)
    left: Any = asyncio.create_task(fails("Endeavour"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del left
    gc.collect()
    (line,) = lines
    assert line.startswith("Task exception was never retrieved | Traceback")
    assert ("Endeavour" in line) == log_messages
    assert log_messages or "ValueError: [not shown: 12 characters]" in line


@pytest.mark.parametrize("log_messages", [False, True])
async def test_of_a_thread(lines: list[str], *, log_messages: bool) -> None:
    log_unhandled(asyncio.get_running_loop(), log_messages=log_messages)

    def fails(ship: str) -> None:
        raise ValueError(f"no {ship}")

    thread = threading.Thread(target=fails, args=("Endeavour",), name="mooring")
    thread.start()
    thread.join()
    (line,) = lines
    assert line.startswith("uncaught in mooring | Traceback")
    assert ("Endeavour" in line) == log_messages


async def test_of_a_callback_without_an_exception(lines: list[str]) -> None:
    loop = asyncio.get_running_loop()
    log_unhandled(loop, log_messages=False)
    loop.call_exception_handler({"message": "odd"})
    assert lines == ["odd | "]
