"""Unhandled errors: exceptions in tasks, threads, callbacks and finalizers are logged, by default without messages."""

import asyncio
import gc
import json
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chat.log_lines import log_lines
from winterbourne.chat.infra.exception_text import EXCEPTION_REDACTOR
from winterbourne.chat.infra.unhandled_errors import log_unhandled


@pytest.fixture
def lines() -> Iterator[list[str]]:
    hooks = threading.excepthook, sys.unraisablehook
    with log_lines() as lines:
        yield lines
    threading.excepthook, sys.unraisablehook = hooks


async def fails(ship: str) -> None:
    raise ValueError(f"no {ship}")


@pytest.mark.parametrize("log_messages", [False, True])
async def test_an_exception_in_a_forgotten_task_is_logged(lines: list[str], *, log_messages: bool) -> None:
    log_unhandled(asyncio.get_running_loop(), log_messages=log_messages)
    forgotten: Any = asyncio.create_task(fails("Endeavour"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del forgotten
    gc.collect()
    (line,) = lines
    assert json.loads(line)["message"] == "Task exception was never retrieved"
    assert ("no Endeavour" in line) == log_messages
    assert log_messages or "ValueError: [not shown: 12 characters]" in line


@pytest.mark.parametrize("log_messages", [False, True])
async def test_an_exception_in_a_thread_is_logged(lines: list[str], *, log_messages: bool) -> None:
    log_unhandled(asyncio.get_running_loop(), log_messages=log_messages)

    def fails(ship: str) -> None:
        raise ValueError(f"no {ship}")

    thread = threading.Thread(target=fails, args=("Endeavour",), name="mooring")
    thread.start()
    thread.join()
    (line,) = lines
    assert json.loads(line)["message"] == (
        "uncaught exception in mooring" if log_messages else "uncaught exception in a thread"
    )
    assert ("no Endeavour" in line) == log_messages


async def test_an_exception_in_a_callback_is_logged_without_its_arguments(lines: list[str]) -> None:
    def moor(ship: str) -> None:
        raise ValueError(f"no {ship}")

    loop = asyncio.get_running_loop()
    log_unhandled(loop, log_messages=False)
    loop.call_soon(moor, "Endeavour")
    await asyncio.sleep(0)
    (line,) = lines
    assert json.loads(line)["message"] == "Exception in callback"
    assert "Endeavour" not in json.loads(line)["exception"]


async def test_an_event_loop_error_without_an_exception_is_logged(lines: list[str]) -> None:
    loop = asyncio.get_running_loop()
    log_unhandled(loop, log_messages=False)
    loop.call_exception_handler({"message": "odd"})
    (line,) = lines
    assert json.loads(line)["message"] == "an error in the event loop"
    assert EXCEPTION_REDACTOR.get() is None, "what follows is logged as ever"


async def test_an_exception_in_a_finalizer_is_logged(lines: list[str]) -> None:
    log_unhandled(asyncio.get_running_loop(), log_messages=False)

    class Moored:
        def __init__(self, ship: str) -> None:
            self.ship = ship

        def __del__(self) -> None:
            raise ValueError(f"no {self.ship}")

    Moored("Endeavour")
    gc.collect()
    (line,) = lines
    assert json.loads(line)["exception_name"] == "ValueError"
    assert "Endeavour" not in json.loads(line)["exception"]
