"""Redaction: logged, printed and reported text leaves the process without the function's secrets."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.harness import program
from tests.runtime.runtime_api import RuntimeApi

KEY = "sk-harbour-42"

APP = """
import logging
import sys
import threading

from winterbourne import redact_logs

KEY = "sk-harbour-42"
redact_logs(lambda text: text.replace(KEY, "[redacted]"))

def prints(event, context):
    print("to stdout", KEY)
    print(f"to stderr {KEY}", file=sys.stderr)
    sys.stdout.write(f"half {KEY}")

def logs(event, context):
    logging.getLogger("a.library").warning("with %s", KEY)
    try:
        raise KeyError(KEY)
    except KeyError:
        logging.getLogger().exception("caught")

def in_a_thread(event, context):
    def fail():
        raise ValueError(KEY)
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()

def fails(event, context):
    raise ValueError(f"with {KEY}")

async def fails_late(event, context):
    yield b"half"
    raise ValueError(f"with {KEY}")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


async def run_function(folder: Path, handler: str, **environ: str) -> tuple[Any, str]:
    async with RuntimeApi() as api, program(api, folder, f"app.{handler}", **environ) as running:
        outcome = await api.invoke()
        await running.stop()
        return outcome, running.out + running.err


@pytest.mark.parametrize("form", ["Text", "JSON"])
@pytest.mark.parametrize("handler", ["prints", "logs", "in_a_thread", "fails", "fails_late"])
async def test_no_log_line_contains_a_secret(handler: str, form: str, folder: Path) -> None:
    _, log = await run_function(folder, handler, AWS_LAMBDA_LOG_FORMAT=form)
    assert KEY not in log
    assert "[redacted]" in log


@pytest.mark.parametrize("form", ["Text", "JSON"])
@pytest.mark.parametrize("handler", ["logs", "in_a_thread", "fails"])
async def test_no_log_frame_contains_a_secret(handler: str, form: str, folder: Path) -> None:
    reading, writing = os.pipe()
    await run_function(folder, handler, AWS_LAMBDA_LOG_FORMAT=form, _LAMBDA_TELEMETRY_LOG_FD=str(writing))
    os.close(writing)
    with os.fdopen(reading, "rb") as frames:
        log = frames.read().decode(errors="replace")
    assert KEY not in log
    assert "[redacted]" in log


async def test_no_error_report_contains_a_secret(folder: Path) -> None:
    outcome, _ = await run_function(folder, "fails")
    assert outcome.json["errorMessage"] == "with [redacted]"
    assert KEY not in str(outcome.headers)


async def test_an_error_that_is_not_ascii_is_redacted_too(folder: Path) -> None:
    (folder / "app.py").write_text(APP.replace('ValueError(f"with {KEY}")', 'ValueError(f"Zoë with {KEY}")'))
    outcome, _ = await run_function(folder, "fails")
    assert outcome.json["errorMessage"] == "Zoë with [redacted]"
    assert KEY not in str(outcome.headers)


async def test_the_trailers_of_a_failed_stream_contain_no_secret(folder: Path) -> None:
    outcome, _ = await run_function(folder, "fails_late")
    assert outcome.trailing_error["errorMessage"] == "with [redacted]"


@pytest.mark.parametrize("form", ["Text", "JSON"])
async def test_a_redaction_function_that_fails_loses_the_line_and_nothing_else(form: str, folder: Path) -> None:
    (folder / "app.py").write_text(APP.replace('text.replace(KEY, "[redacted]")', "1 / 0"))
    outcome, log = await run_function(folder, "fails", AWS_LAMBDA_LOG_FORMAT=form)
    assert KEY not in log + outcome.body.decode()
    assert "not shown: redaction raised ZeroDivisionError" in log + outcome.body.decode()


async def test_without_a_redaction_function_nothing_is_redacted(folder: Path) -> None:
    (folder / "app.py").write_text(f"def fails(event, context): raise ValueError('with {KEY}')")
    outcome, log = await run_function(folder, "fails")
    assert outcome.json["errorMessage"] == f"with {KEY}"
    assert KEY in log
