"""Telemetry: one log line and one set of metrics per request, and the log lines of errors."""

import asyncio
import contextlib
import datetime as dt
import io
import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from aws_lambda_powertools.logging.constants import (
    LOGGER_ATTRIBUTE_POWERTOOLS_HANDLER,
    LOGGER_ATTRIBUTE_PRECONFIGURED,
)
from hypothesis import given
from hypothesis import strategies as st

from tests import emf
from tests.chat.processes import run
from winterbourne.chat.infra import redaction, telemetry
from winterbourne.chat.infra.exception_text import EXCEPTION_REDACTOR, ArgumentRedactor


@pytest.fixture(autouse=True)
def _reset_logger() -> None:
    """Powertools keeps the stream of the first Logger that was created; each test has a stream of its own."""
    _forget_logger()


def _forget_logger() -> None:
    logger = logging.getLogger(telemetry.LOGGERS[0])
    logger.handlers.clear()
    for mark in (LOGGER_ATTRIBUTE_PRECONFIGURED, LOGGER_ATTRIBUTE_POWERTOOLS_HANDLER):
        vars(logger).pop(mark, None)


def output_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def metrics(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return emf.checked(lines)


class TestRequest:
    def test_writes_one_line_with_what_was_noted(self, capsys: pytest.CaptureFixture[str]) -> None:
        with telemetry.request_scope("r-1", telemetry.make_logger(), telemetry.SERVICE):
            telemetry.note(turns=2)
        line = output_lines(capsys)[0]
        assert (line["message"], line["request_id"], line["turns"]) == ("request", "r-1", 2)

    def test_writes_its_metrics_even_if_it_fails(self, capsys: pytest.CaptureFixture[str]) -> None:
        def fail() -> None:
            with telemetry.request_scope("r-1", telemetry.make_logger(), telemetry.SERVICE):
                telemetry.measure("Errors")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        (blob,) = metrics(output_lines(capsys))
        assert blob["Errors"] == [1.0]
        assert blob["Requests"] == [1.0]

    def test_gives_each_tool_an_object_of_its_own(self, capsys: pytest.CaptureFixture[str]) -> None:
        with telemetry.request_scope("r-1", telemetry.make_logger(), telemetry.SERVICE):
            telemetry.measure("ToolDuration", 12, tool="get_weather")
            telemetry.measure("ToolDuration", 34, tool="calculate")
            telemetry.measure("ToolDuration", 56, tool="get_weather")
        durations = {blob["tool"]: blob["ToolDuration"] for blob in metrics(output_lines(capsys)) if "tool" in blob}
        assert durations == {"get_weather": [12.0, 56.0], "calculate": [34.0]}

    def test_gives_each_model_an_object_of_its_own_and_sums_up_what_they_cost(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with telemetry.request_scope("r-1", telemetry.make_logger(), telemetry.SERVICE):
            for cost, model in ((0.1, "openai:a"), (0.2, "openai:a"), (0.4, "bedrock:b")):
                telemetry.measure("CostUsd", cost, model=model)
        line, *blobs = output_lines(capsys)
        assert line["cost_usd"] == 0.7
        costs = {blob["model"]: blob["CostUsd"] for blob in metrics(blobs) if "model" in blob}
        assert costs == {"openai:a": [pytest.approx(0.3)], "bedrock:b": [0.4]}

    def test_counts_the_first_token_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        with telemetry.request_scope("r-1", telemetry.make_logger(), telemetry.SERVICE):
            telemetry.note_first_token()
            telemetry.note_first_token()
        assert len(metrics(output_lines(capsys))[0]["TimeToFirstToken"]) == 1

    def test_tells_the_first_token_without_what_tools_took_before_it(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now_s = 100.0
        monkeypatch.setattr("winterbourne.chat.infra.telemetry.time", SimpleNamespace(monotonic=lambda: now_s))
        with telemetry.request_scope("r-1", telemetry.make_logger(), telemetry.SERVICE):
            now_s = 120.5
            telemetry.note_first_token(tools_s=20.0)
        line, blob = output_lines(capsys)
        assert (blob["TimeToFirstToken"], blob["ModelTimeToFirstToken"]) == ([20500.0], [500.0])
        assert (line["time_to_first_token_ms"], line["model_time_to_first_token_ms"]) == (20500, 500)

    def test_of_a_loop_that_stands_still_are_written_at_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Outside a request: the process may end before that does."""
        for names in ("tool dredge", "Task-7"):
            telemetry.record_stall("desk", "full", telemetry.make_logger(), names, False)  # noqa: FBT003 - as the runtime does
        told = [{k: v for k, v in blob.items() if k[0] != "_"} for blob in metrics(output_lines(capsys))]
        plain = {"service": "desk", "request_id": "", "LoopStalls": [1.0]}
        assert told == [plain, {"service": "desk", "tool": "dredge", "ToolStalls": [1.0]}, plain]

    def test_of_a_request_whose_process_ends_in_it_are_written_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        """With its log line, on the watchdog's thread, which has none of its context."""
        logger = telemetry.make_logger()
        with telemetry.request_scope("r-1", logger, telemetry.SERVICE) as record:
            record.fields["caller"] = "ada"
            ending = threading.Thread(target=telemetry.record_stall, args=("desk", "full", logger, "tool dredge", True))
            ending.start()
            ending.join()
        lines = output_lines(capsys)
        (blob,) = metrics(lines)
        assert (blob["Requests"], blob["Errors"], blob["request_id"]) == ([1.0], [1.0], "r-1")
        (line,) = [line for line in lines if line.get("message") == "request"]
        assert (line["request_id"], line["caller"], line["error_type"]) == ("r-1", "ada", "DeadlineReached")

    def test_of_a_chat_that_was_answered_before_its_process_ends_count_no_error(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        logger = telemetry.make_logger()
        with telemetry.request_scope("r-1", logger, telemetry.SERVICE) as record:
            record.is_chat = record.is_answered = True
            telemetry.record_stall("desk", "full", logger, "tool dredge", True)  # noqa: FBT003 - as the runtime does
        lines = output_lines(capsys)
        (blob,) = metrics(lines)
        assert (blob["Chats"], blob["FailedChats"], blob.get("Errors")) == ([1.0], [0.0], None)
        assert not any("error_type" in line for line in lines)

    def test_sums_its_counters(self, capsys: pytest.CaptureFixture[str]) -> None:
        with telemetry.request_scope("r-1", telemetry.make_logger(), telemetry.SERVICE):
            for _ in range(250):
                telemetry.measure("Heartbeats")
        assert metrics(output_lines(capsys))[0]["Heartbeats"] == [250.0]

    def test_lasts_until_its_response_ends(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now_s = 100.0
        monkeypatch.setattr("winterbourne.chat.infra.telemetry.time", SimpleNamespace(monotonic=lambda: now_s))
        with telemetry.request_scope("r-1", telemetry.make_logger(), telemetry.SERVICE):
            now_s = 102.0
            telemetry.note_end()
            now_s = 110.0
        line, blob = output_lines(capsys)
        assert (line["duration_ms"], blob["StreamDuration"]) == (2000, [2000.0])

    def test_has_all_its_tokens_in_its_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        with telemetry.request_scope("r-1", telemetry.make_logger(), telemetry.SERVICE):
            for tokens in (3, 4):
                telemetry.measure("InputTokens", tokens)
                telemetry.measure("OutputTokens", 1)
        line, blob = output_lines(capsys)
        assert (line["input_tokens"], line["output_tokens"]) == (7, 2)
        assert (blob["InputTokens"], blob["OutputTokens"]) == ([7.0], [2.0])

    def test_keeps_every_duration_of_hundreds(self, capsys: pytest.CaptureFixture[str]) -> None:
        with telemetry.request_scope("r-1", telemetry.make_logger(), telemetry.SERVICE):
            for number in range(200):
                telemetry.measure("ToolDuration", number, tool="x")
        blobs = [blob["ToolDuration"] for blob in metrics(output_lines(capsys)) if "ToolDuration" in blob]
        assert [value for blob in blobs for value in blob] == list(range(200))

    def test_the_first_of_an_environment_reports_its_cold_start(self, capsys: pytest.CaptureFixture[str]) -> None:
        telemetry.mark_ready()
        for name in ("r-1", "r-2"):
            with telemetry.request_scope(name, telemetry.make_logger(), telemetry.SERVICE):
                pass
        lines = output_lines(capsys)
        assert [line.get("cold_starts") for line in lines if line.get("message") == "request"] == [1, None]
        first, second = metrics(lines)
        assert (first["ColdStarts"], first["InitDuration"][0] > 0) == ([1.0], True)
        assert "ColdStarts" not in second

    def test_the_init_duration_has_a_fallback_if_the_process_start_is_unknown(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(telemetry, "Path", lambda _: Path("/there/is/no/proc"))
        telemetry.mark_ready()
        with telemetry.request_scope("r-1", telemetry.make_logger(), telemetry.SERVICE):
            pass
        assert metrics(output_lines(capsys))[0]["InitDuration"][0] > 0

    def test_lines_of_other_modules_carry_its_id(self, capsys: pytest.CaptureFixture[str]) -> None:
        with telemetry.request_scope("r-1", telemetry.make_logger(), telemetry.SERVICE):
            logging.getLogger("winterbourne.chat.tool_runtime.executor").info("tool x executed in 0.1s")
        assert output_lines(capsys)[0]["request_id"] == "r-1"

    def test_names_its_deployment_in_the_line_and_in_the_metrics(self, capsys: pytest.CaptureFixture[str]) -> None:
        with telemetry.request_scope("r-1", telemetry.make_logger(service="winterbourne-dev"), "winterbourne-dev"):
            telemetry.measure("ToolDuration", 12, tool="get_weather")
        assert {line["service"] for line in output_lines(capsys)} == {"winterbourne-dev"}


@given(
    mode=st.sampled_from(get_args(telemetry.MetricsMode)),
    measured=st.lists(st.sampled_from(telemetry.METRICS), max_size=30),
)
def test_metrics_are_those_of_their_mode_and_the_line_is_the_same_in_each(
    mode: telemetry.MetricsMode, measured: list[telemetry.Metric]
) -> None:
    def run_in(mode: telemetry.MetricsMode) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        with contextlib.redirect_stdout(io.StringIO()) as written:
            _forget_logger()
            with telemetry.request_scope("r-1", telemetry.make_logger(), telemetry.SERVICE, mode) as record:
                record.is_chat, record.ended_at = True, record.started_at
                for name in measured:
                    subject = name if name in {*telemetry.TOOL_METRICS, *telemetry.MODEL_METRICS} else ""
                    record.measurements.append((name, 1, subject))
        line, *blobs = map(json.loads, written.getvalue().splitlines())
        return line, metrics(blobs)

    line, blobs = run_in(mode)
    names = {metric["Name"] for blob in blobs for metric in blob["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    always = {"Chats", "FailedChats", "Requests", "StreamDuration", "MemoryUsed"}
    assert names == {*measured, *always} & set(telemetry.EMITTED[mode])
    if mode != "full":
        assert not any({"tool", "model"} & blob.keys() for blob in blobs)
        assert line.pop("metrics") == mode
    varies = "timestamp", "memory_used_mb"
    of_full, _ = run_in("full")
    assert {**line, **dict.fromkeys(varies)} == {**of_full, **dict.fromkeys(varies)}
    assert line.keys() >= {telemetry.FIELDS[name] for name in measured if name in telemetry.FIELDS} - {"requests"}


@pytest.mark.parametrize("mode", ["lean", "off"])
def test_a_loop_that_stands_still_is_told_by_the_log_alone_where_no_metric_may(
    mode: telemetry.MetricsMode, capsys: pytest.CaptureFixture[str]
) -> None:
    telemetry.record_stall("desk", mode, telemetry.make_logger(), "tool dredge", False)  # noqa: FBT003 - as the runtime does
    assert capsys.readouterr().out == ""


class TestConcurrentRequests:
    async def test_share_no_measurements(self, capsys: pytest.CaptureFixture[str]) -> None:
        logger = telemetry.make_logger()

        async def one(number: int) -> None:
            with telemetry.request_scope(f"r-{number}", logger, telemetry.SERVICE):
                for _ in range(number):
                    await asyncio.sleep(0)
                    telemetry.measure("Heartbeats")
                telemetry.note(number=number)

        await asyncio.gather(*map(one, range(1, 20)))
        lines = output_lines(capsys)
        assert all(line["request_id"] == f"r-{line['number']}" for line in lines if "_aws" not in line)
        heartbeats = {blob["request_id"]: blob["Heartbeats"] for blob in metrics(lines)}
        assert heartbeats == {f"r-{number}": [number] for number in range(1, 20)}


def test_outside_a_request_measuring_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.measure("Errors")
    telemetry.note(turns=1)
    assert capsys.readouterr().out == ""


class TestErrorLines:
    @pytest.fixture
    def line_of(self, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
        """A function that logs an error and returns the line."""

        def log_error(error: BaseException, message: str = "it broke") -> dict[str, Any]:
            telemetry.make_logger()
            logging.getLogger("winterbourne.chat.some.module").error(message, exc_info=error)
            return output_lines(capsys)[0]

        return log_error

    def test_have_the_fields_of_powertools(self, line_of: Callable[..., dict[str, Any]]) -> None:
        one = line_of(ValueError("odd"))
        assert one["exception_name"] == "ValueError"
        assert one["exception"] == "ValueError: odd\n"
        assert (one["stack_trace"]["type"], one["stack_trace"]["value"]) == ("ValueError", "odd")

    def test_are_short_whatever_was_raised(self, line_of: Callable[..., dict[str, Any]]) -> None:
        error = ValueError("x" * 5_000_000)
        error.add_note("n" * 5_000_000)
        assert len(json.dumps(line_of(error))) < 20_000

    def test_contain_no_tool_arguments(self, line_of: Callable[..., dict[str, Any]]) -> None:
        error = ValueError("no Endeavour")
        error.__cause__ = KeyError("Endeavour")
        error.add_note("it was the Endeavour")
        token = EXCEPTION_REDACTOR.set(ArgumentRedactor('{"ship": "Endeavour"}'))
        try:
            assert "Endeavour" not in json.dumps(line_of(error))
        finally:
            EXCEPTION_REDACTOR.reset(token)

    def test_contain_no_secret(self, line_of: Callable[..., dict[str, Any]]) -> None:
        redaction.register("sk-harbour")
        one = line_of(ValueError("key sk-harbour"), "asked with sk-harbour")
        assert "sk-harbour" not in json.dumps(one)
        assert one["message"] == "asked with [redacted]"


PROCESS = """
import logging, os, struct, sys
from winterbourne import logs
from winterbourne.chat.infra import redaction, telemetry
from winterbourne.chat.infra.exception_text import EXCEPTION_REDACTOR, ArgumentRedactor

redacted = []
redact_line = redaction.redact_line
redaction.redact_line = lambda line: redacted.append(line) or redact_line(line)
redaction.register("sk-harbour")


def log_all():
    logger = telemetry.make_logger(service="winterbourne-dev")
    with telemetry.request_scope("r-1", logger, "winterbourne-dev"):
        for name in LOGGERS:
            try:
                raise ValueError("sk-harbour sank the Endeavour")
            except ValueError:
                EXCEPTION_REDACTOR.set(ArgumentRedactor('{"ship": "Endeavour"}'))
                logging.getLogger(name).error("from %s with sk-harbour", name, exc_info=True)
"""
OURS = ["winterbourne.chat.some.module", "chat.tools.tide", "tool_worker.app"]
LIBRARIES = ["httpx", "asyncio", "shop.client"]


class TestInAProcess:
    """Every record has one format, is written once and redacted once, whoever logs it and whoever runs the process."""

    def check(self, lines: list[str], names: list[str]) -> None:
        written = [json.loads(line) for line in lines]
        errors = [line for line in written if line.get("level") == "ERROR"]
        assert [line["message"] for line in errors] == [f"from {name} with [redacted]" for name in names]
        for line in errors:
            assert (line["request_id"], line["service"]) == ("r-1", "winterbourne-dev")
            assert line["exception_name"] == line["stack_trace"]["type"] == "ValueError"
            assert line["stack_trace"]["value"] == "[redacted] sank the [argument]"
            assert {"aws_request_id", "tenant_id"}.isdisjoint(line)
        assert [line["message"] for line in written[len(errors) :] if "_aws" not in line] == ["request"]

    def output(self, configure: str, names: list[str]) -> tuple[list[str], int]:
        """The lines, and how many texts were redacted."""
        code = f"LOGGERS = {names}\n{configure}\nlog_all()\nsys.stdout.flush()\nos.write(1, b'%d' % len(redacted))"
        *lines, count = run(code, preamble=PROCESS).splitlines()
        return lines, int(count)

    @pytest.mark.parametrize("log_format", ["Text", "JSON"])
    def test_of_the_runtime(self, log_format: str) -> None:
        configure = f"logs.configure_logging({{'AWS_LAMBDA_LOG_FORMAT': {log_format!r}}})"
        lines, redacted = self.output(configure, OURS + LIBRARIES)
        self.check(lines, OURS + LIBRARIES)
        assert redacted == len(lines)

    def test_of_a_library_outside_a_request_has_the_invocations_ids_and_its_logger(self) -> None:
        code = """
        logs.configure_logging({})
        telemetry.make_logger()
        logs.REQUEST_IDS.set(("r-2", "t-1"))
        logging.getLogger("winterbourne.loop").error("late")
        logging.getLogger("chatterbox").error("not the chat's")
        """
        line, other = map(json.loads, run(code, preamble=PROCESS).splitlines())
        assert (line["request_id"], line["tenant_id"], line["logger"]) == ("r-2", "t-1", "winterbourne.loop")
        assert other["logger"] == "chatterbox"
        assert dt.datetime.fromisoformat(line["timestamp"]).utcoffset() == dt.timedelta()
        assert "T" in line["timestamp"]

    def test_without_the_runtime(self) -> None:
        lines, redacted = self.output("", OURS)
        self.check(lines, OURS)
        assert redacted == len([line for line in lines if "_aws" not in line])

    def test_without_the_runtime_the_log_of_libraries_is_left_alone(self) -> None:
        assert "sank" not in run(
            "LOGGERS = ['httpx']\nlogging.root.handlers = [logging.NullHandler()]\nlog_all()", preamble=PROCESS
        )

    @pytest.mark.parametrize(("log_format", "frame"), [("Text", 0xA55A0003), ("JSON", 0xA55A0016)])
    def test_with_frames(self, log_format: str, frame: int) -> None:
        code = f"""
        LOGGERS = {OURS + LIBRARIES}
        reading, writing = os.pipe()
        variables = {{"AWS_LAMBDA_LOG_FORMAT": {log_format!r}, "_LAMBDA_TELEMETRY_LOG_FD": str(writing)}}
        logs.configure_logging(variables)
        log_all()
        data = os.read(reading, 1 << 20)
        while data:
            kind, length, _ = struct.unpack(">IIQ", data[:16])
            os.write(1, b"%d %b" % (kind, data[16 : 16 + length]))
            data = data[16 + length :]
        """
        frames = [line.partition(" ") for line in run(code, preamble=PROCESS).splitlines() if not line.startswith("{")]
        self.check([text for _, _, text in frames], OURS + LIBRARIES)
        assert {int(kind) for kind, _, text in frames if '"ERROR"' in text} == {frame}

    def test_the_level_that_lambda_sets_counts(self) -> None:
        code = "logs.configure_logging(os.environ)\nLOGGERS = ['winterbourne.chat']\nlog_all()"
        lines = [json.loads(line) for line in run(code, preamble=PROCESS, AWS_LAMBDA_LOG_LEVEL="ERROR").splitlines()]
        assert [line["level"] for line in lines if "_aws" not in line] == ["ERROR"]

    def test_a_tools_own_powertools_logger_still_writes_its_lines_once(self) -> None:
        code = """
        from aws_lambda_powertools import Logger
        logs.configure_logging({})
        before, _, after = Logger(service="before"), telemetry.make_logger(), Logger(service="after")
        before.error("high water")
        after.error("low water")
        """
        lines = [json.loads(line) for line in run(code, preamble=PROCESS).splitlines()]
        assert [(line["service"], line["message"]) for line in lines] == [
            ("before", "high water"),
            ("after", "low water"),
        ]

    def test_a_function_that_replaces_the_handlers_of_the_root_logger_loses_no_line_of_the_chat(self) -> None:
        configure = "logs.configure_logging({})\ntelemetry.make_logger()\nlogging.basicConfig(force=True)"
        code = f"{configure}\nlogging.getLogger('chat.tools').warning('high water')"
        (line,) = run(code, preamble=PROCESS).splitlines()
        assert json.loads(line)["message"] == "high water"
