"""Records and printed output in Lambda's formats, redacted; test_parity compares most with the stock client."""

import io
import json
import os
import struct
import sys
import threading
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.runtime.harness import program
from tests.runtime.runtime_api import RuntimeApi
from winterbourne.logs import JSON_FRAME, LEVEL_BITS, REQUEST_IDS, FramedSink, _JsonLineStream


class Frames:
    """Reads log frames from a pipe in a thread."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe()
        self._data = bytearray()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while data := os.read(self._reading, 65536):
            self._data += data

    def close(self) -> list[tuple[int, str]]:
        """Every frame: its type and its text."""
        os.close(self.writing)
        self._reader.join()
        os.close(self._reading)
        found, data = [], bytes(self._data)
        while data:
            kind, length, _ = struct.unpack(">IIQ", data[:16])
            found.append((kind, data[16 : 16 + length].decode()))
            data = data[16 + length :]
        return found


@given(st.lists(st.text(st.characters()), max_size=5))
def test_any_text_is_one_frame(texts: list[str]) -> None:
    frames = Frames()
    sink = FramedSink(frames.writing)
    for text in texts:
        sink.log(text)
    expected = [text.encode(errors="backslashreplace").decode() for text in texts]
    assert [text for _, text in frames.close()] == expected


def test_a_frame_larger_than_the_pipes_buffer_arrives_whole() -> None:
    frames = Frames()
    FramedSink(frames.writing).log("x" * 1_000_000)
    assert frames.close() == [(0xA55A0003, "x" * 1_000_000)]


class RecordingSink:
    separator = "\n"
    terminator = ""

    def __init__(self) -> None:
        self.entries: list[tuple[int, str]] = []

    def log(self, text: str, frame_type: int = 0) -> None:
        self.entries.append((frame_type, text))


class TestPrintedInJson:
    def printed(self, *pieces: str) -> list[Any]:
        sink = RecordingSink()
        stream = _JsonLineStream(io.TextIOWrapper(io.BytesIO(), "utf-8"), sink, 20)
        for piece in pieces:
            stream.write(piece)
        assert all(kind == JSON_FRAME | LEVEL_BITS[20] for kind, _ in sink.entries)
        return [json.loads(text) for _, text in sink.entries]

    def test_a_line_is_a_record_with_the_ids_of_its_invocation(self) -> None:
        token = REQUEST_IDS.set(("r-1", "blue"))
        try:
            (record,) = self.printed("said", "\n")
        finally:
            REQUEST_IDS.reset(token)
        assert record["message"] == "said"
        assert (record["level"], record["requestId"], record["tenantId"]) == ("INFO", "r-1", "blue")

    def test_pieces_make_a_line_and_a_piece_may_hold_several(self) -> None:
        assert [record["message"] for record in self.printed("a", " b\nc", "\n\nd\n")] == ["a b", "c", "d"]

    def test_a_json_object_is_not_wrapped(self) -> None:
        assert self.printed('{"_aws": {"CloudWatchMetrics": []}}\n') == [{"_aws": {"CloudWatchMetrics": []}}]

    def test_what_only_looks_like_a_json_object_is_wrapped(self) -> None:
        assert self.printed("{no json\n")[0]["message"] == "{no json"

    def test_pieces_of_two_invocations_are_two_lines_each_with_its_own_id(self) -> None:
        sink = RecordingSink()
        stream = _JsonLineStream(io.TextIOWrapper(io.BytesIO(), "utf-8"), sink, 20)
        for request_id, piece in [("r-1", "to"), ("r-2", "Wa"), ("r-1", "kens\n"), ("r-2", "ter\n")]:
            copy_context().run(lambda ids, text: (REQUEST_IDS.set(ids), stream.write(text)), (request_id, None), piece)
        records = [json.loads(text) for _, text in sink.entries]
        assert [(record["requestId"], record["message"]) for record in records] == [("r-1", "tokens"), ("r-2", "Water")]

    @given(st.text(st.characters(), min_size=1).filter(lambda text: "\n" not in text and not text.startswith("{")))
    def test_any_line_is_json(self, line: str) -> None:
        assert self.printed(line + "\n")[0]["message"] == line


APP = """
import logging, os, sys, threading
def prints(event, context):
    print("to stdout")
    print("to stderr", file=sys.stderr)
    return os.environ.get("_LAMBDA_TELEMETRY_LOG_FD")
def threads(event, context):
    thread = threading.Thread(target=lambda: 1 / 0, name="helper")
    thread.start()
    thread.join()
def binary(event, context):
    sys.stdout.buffer.write(b"bytes\\n")
def half(event, context):
    print("without an end", end="")
async def half_on_the_loop(event, context):
    half(event, context)
async def traceback_in_a_task(event, context):
    import asyncio
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


async def run_function(folder: Path, handler: str, **environ: str) -> tuple[Any, Any]:
    async with RuntimeApi() as api, program(api, folder, f"app.{handler}", **environ) as running:
        outcome = await api.invoke()
        await running.stop()
        return outcome, running


class TestTheProcess:
    async def test_printed_text_is_written_unchanged_in_text_format(self, folder: Path) -> None:
        _, running = await run_function(folder, "prints")
        assert (running.out, running.err) == ("to stdout\n", "to stderr\n")

    async def test_a_partial_line_is_flushed_before_a_freeze(self, folder: Path) -> None:
        async with RuntimeApi() as api, program(api, folder, "app.half") as running:
            await api.invoke()
            assert running.process.stdout is not None
            assert await running.process.stdout.read(100) == b"without an end"

    @pytest.mark.parametrize("handler", ["half", "half_on_the_loop"])
    async def test_a_partial_line_is_flushed_in_json_with_the_id_of_its_invocation(
        self, handler: str, folder: Path
    ) -> None:
        environ = {"AWS_LAMBDA_LOG_FORMAT": "JSON"}
        async with RuntimeApi() as api, program(api, folder, f"app.{handler}", **environ) as running:
            await api.invoke()
            assert running.process.stdout is not None
            record = json.loads(await running.process.stdout.readline())
        assert (record["message"], record["requestId"]) == ("without an end", "request-1")

    @pytest.mark.parametrize("form", ["Text", "JSON"])
    async def test_bytes_are_written_unchanged(self, form: str, folder: Path) -> None:
        _, running = await run_function(folder, "binary", AWS_LAMBDA_LOG_FORMAT=form)
        assert running.out == "bytes\n"

    async def test_in_json_both_streams_are_records(self, folder: Path) -> None:
        _, running = await run_function(folder, "prints", AWS_LAMBDA_LOG_FORMAT="JSON")
        records = [json.loads(line) for line in running.out.splitlines()]
        assert [(r["level"], r["message"], r["requestId"]) for r in records] == [
            ("INFO", "to stdout", "request-1"),
            ("ERROR", "to stderr", "request-1"),
        ]
        assert running.err == ""

    async def test_the_descriptor_is_hidden_from_the_function(self, folder: Path) -> None:
        frames = Frames()
        outcome, _ = await run_function(folder, "prints", _LAMBDA_TELEMETRY_LOG_FD=str(frames.writing))
        frames.close()
        assert outcome.json is None

    async def test_an_uncaught_error_of_a_thread_is_logged_with_its_traceback(self, folder: Path) -> None:
        frames = Frames()
        await run_function(
            folder, "threads", _LAMBDA_TELEMETRY_LOG_FD=str(frames.writing), AWS_LAMBDA_LOG_FORMAT="JSON"
        )
        ((kind, text),) = frames.close()
        record = json.loads(text)
        assert kind == 0xA55A0016
        assert record["message"] == "uncaught exception in helper"
        assert record["errorType"] == "ZeroDivisionError"
        assert "1 / 0" in record["stackTrace"][-1]

    async def test_an_uncaught_error_of_a_loop_callback_is_logged_with_its_request_id(self, folder: Path) -> None:
        _, running = await run_function(folder, "traceback_in_a_task", AWS_LAMBDA_LOG_FORMAT="JSON")
        record = json.loads(running.out)
        assert record["errorType"] == "ZeroDivisionError"
        if sys.version_info >= (3, 12):  # earlier, asyncio reports such errors outside of the callback's context
            assert record["requestId"] == "request-1"

    @pytest.mark.parametrize(("form", "start"), [("Text", "[ERROR] ValueError: no"), ("JSON", '{"timestamp": ')])
    async def test_an_error_is_logged_even_if_the_function_has_replaced_every_log_handler(
        self, form: str, start: str, folder: Path
    ) -> None:
        code = "import logging\nlogging.basicConfig(force=True)\ndef handler(event, context): raise ValueError('no')"
        (folder / "app.py").write_text(code)
        outcome, running = await run_function(folder, "handler", AWS_LAMBDA_LOG_FORMAT=form)
        assert outcome.json["errorType"] == "ValueError"
        assert running.out.startswith(start)

    async def test_an_error_in_a_frame_keeps_its_lines(self, folder: Path) -> None:
        (folder / "fails.py").write_text("def handler(event, context): raise ValueError('no')")
        frames = Frames()
        async with RuntimeApi() as api:
            environ = {"_LAMBDA_TELEMETRY_LOG_FD": str(frames.writing)}
            async with program(api, folder, "fails.handler", **environ) as running:
                await api.invoke()
                await running.stop()
        ((kind, text),) = frames.close()
        assert kind == 0xA55A0017
        assert text.startswith("[ERROR] ValueError: no\nTraceback (most recent call last):\n\u00a0\u00a0File")


KEY = "sk-harbour-42"

SECRET_APP = """
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
def secret_folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(SECRET_APP)
    return tmp_path


async def logged_by(folder: Path, handler: str, **environ: str) -> tuple[Any, str]:
    outcome, running = await run_function(folder, handler, **environ)
    return outcome, running.out + running.err


@pytest.mark.parametrize("form", ["Text", "JSON"])
@pytest.mark.parametrize("handler", ["prints", "logs", "in_a_thread", "fails", "fails_late"])
async def test_no_log_line_contains_a_secret(handler: str, form: str, secret_folder: Path) -> None:
    _, log = await logged_by(secret_folder, handler, AWS_LAMBDA_LOG_FORMAT=form)
    assert KEY not in log
    assert "[redacted]" in log


@pytest.mark.parametrize("form", ["Text", "JSON"])
@pytest.mark.parametrize("handler", ["logs", "in_a_thread", "fails"])
async def test_no_log_frame_contains_a_secret(handler: str, form: str, secret_folder: Path) -> None:
    reading, writing = os.pipe()
    await logged_by(secret_folder, handler, AWS_LAMBDA_LOG_FORMAT=form, _LAMBDA_TELEMETRY_LOG_FD=str(writing))
    os.close(writing)
    with os.fdopen(reading, "rb") as frames:
        log = frames.read().decode(errors="replace")
    assert KEY not in log
    assert "[redacted]" in log


async def test_no_error_report_contains_a_secret(secret_folder: Path) -> None:
    outcome, _ = await logged_by(secret_folder, "fails")
    assert outcome.json["errorMessage"] == "with [redacted]"
    assert KEY not in str(outcome.headers)


async def test_an_error_that_is_not_ascii_is_redacted_too(secret_folder: Path) -> None:
    (secret_folder / "app.py").write_text(
        SECRET_APP.replace('ValueError(f"with {KEY}")', 'ValueError(f"Zoë with {KEY}")')
    )
    outcome, _ = await logged_by(secret_folder, "fails")
    assert outcome.json["errorMessage"] == "Zoë with [redacted]"
    assert KEY not in str(outcome.headers)


async def test_the_trailers_of_a_failed_stream_contain_no_secret(secret_folder: Path) -> None:
    outcome, _ = await logged_by(secret_folder, "fails_late")
    assert outcome.trailing_error["errorMessage"] == "with [redacted]"


@pytest.mark.parametrize("form", ["Text", "JSON"])
async def test_a_redaction_function_that_fails_loses_the_line_and_nothing_else(form: str, secret_folder: Path) -> None:
    (secret_folder / "app.py").write_text(SECRET_APP.replace('text.replace(KEY, "[redacted]")', "1 / 0"))
    outcome, log = await logged_by(secret_folder, "fails", AWS_LAMBDA_LOG_FORMAT=form)
    assert KEY not in log + outcome.body.decode()
    assert "not shown: redaction raised ZeroDivisionError" in log + outcome.body.decode()


async def test_without_a_redaction_function_nothing_is_redacted(secret_folder: Path) -> None:
    (secret_folder / "app.py").write_text(f"def fails(event, context): raise ValueError('with {KEY}')")
    outcome, log = await logged_by(secret_folder, "fails")
    assert outcome.json["errorMessage"] == f"with {KEY}"
    assert KEY in log


TEXT_FILE = """
import json, sys
def handler(event, context):
    stream = getattr(sys, event)
    stream.reconfigure(line_buffering=True)
    stream.writelines(["a line\\n", "another\\n"])
    print("bytes go by themselves", file=stream, flush=True)
    stream.buffer.write(b"raw\\n")
    return {
        "encoding": stream.encoding, "errors": stream.errors, "name": stream.name, "mode": stream.mode,
        "line_buffering": stream.line_buffering, "newlines": stream.newlines, "closed": stream.closed,
        "isatty": stream.isatty(), "writable": stream.writable(), "readable": stream.readable(),
        "fileno": stream.fileno(), "write_through": stream.write_through,
    }
"""


@pytest.mark.parametrize("log_format", ["Text", "JSON"])
@pytest.mark.parametrize("name", ["stdout", "stderr"])
async def test_stdout_and_stderr_are_text_files(log_format: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(TEXT_FILE)
    environ = {"AWS_LAMBDA_LOG_FORMAT": log_format}
    async with RuntimeApi() as api, program(api, tmp_path, "app.handler", **environ) as running:
        shown = (await api.invoke(name)).json
        await running.stop()
    assert shown == {
        "encoding": "utf-8",
        "errors": "backslashreplace",
        "name": f"<{name}>",
        "mode": "w",
        "line_buffering": True,
        "newlines": None,
        "closed": False,
        "isatty": False,
        "writable": True,
        "readable": False,
        "fileno": 1 if name == "stdout" else 2,
        "write_through": True,
    }
    text = running.out + running.err
    for line in ("a line", "another", "bytes go by themselves", "raw"):
        assert line in text
    assert ('"message": "a line"' in text) is (log_format == "JSON")


async def test_a_group_is_told_in_a_record_and_in_lambdas_own_error_line(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import asyncio, logging\n"
        "async def dock(ship): raise RuntimeError(f'{ship} ran aground')\n"
        "async def handler(event, context):\n"
        "    try:\n"
        "        async with asyncio.TaskGroup() as group: group.create_task(dock('Aurora'))\n"
        "    except ExceptionGroup:\n"
        "        logging.getLogger().exception('logged')\n"
        "        raise\n"
    )
    async with RuntimeApi() as api, program(api, tmp_path, "app.handler", AWS_LAMBDA_LOG_FORMAT="JSON") as running:
        await api.invoke()
        await running.stop()
    record, error = (json.loads(line) for line in running.out.splitlines())
    for entry in (record, error):
        told = "".join(entry["stackTrace"])
        assert "ExceptionGroup, 1 of 1: RuntimeError: Aurora ran aground\n" in told
        assert "in dock" in told
