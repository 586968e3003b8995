"""Call reporter: the events, the log line and the metrics of one tool call, each reported once."""

import logging

import pytest

from tests.chat.tool_runtime.recording_clients import RecordingClient, recorded_metrics, tool_call
from winterbourne.chat.core.events import EventBatch, ToolFinished, ToolStarted
from winterbourne.chat.tool_runtime.call_reporter import CallReporter
from winterbourne.chat.tool_runtime.results import CANCELLED, Outcome, failed, timed_out

FINE = Outcome("completed", b'{"a":1}')


async def test_the_terminal_event_is_sent_once() -> None:
    client = RecordingClient()
    call = CallReporter(tool_call("t"), "t", client)
    await call.report_started()
    first = await call.finish(FINE)
    assert await call.finish(CANCELLED) is first
    assert client.kinds("1") == ["Started", "Finished"]


async def test_a_call_that_never_ran_is_started_and_finished_in_one_batch() -> None:
    client = RecordingClient()
    await CallReporter(tool_call("t"), "t", client).finish(failed("no"))
    assert client.batches == [[ToolStarted("1", "t"), ToolFinished("1", "t", "failed", 0, error="no")]]


async def test_the_message_for_the_model_is_the_result_or_the_error() -> None:
    messages = [
        await CallReporter(tool_call("t"), "t", RecordingClient()).finish(outcome) for outcome in (FINE, failed("no"))
    ]
    assert [(message.content, message.is_error) for message in messages] == [('{"a":1}', False), ("no", True)]


@pytest.mark.parametrize(
    ("outcome", "counted"),
    [
        (FINE, []),
        (failed("no"), ["ToolErrors"]),
        (timed_out("late"), ["ToolTimeouts"]),
        (CANCELLED, []),
    ],
)
async def test_metrics_count_calls_durations_errors_and_timeouts(outcome: Outcome, counted: list[str]) -> None:
    with recorded_metrics() as values:
        await CallReporter(tool_call("made_up"), "unknown", RecordingClient()).finish(outcome)
    assert [name for name, _, _ in values] == ["ToolCalls", "ToolDuration", *counted]
    assert {tool for _, _, tool in values} == {"unknown"}


async def test_the_terminal_event_is_sent_before_the_log_line_and_the_metrics(caplog: pytest.LogCaptureFixture) -> None:
    reported_before: list[int] = []

    async def emit(_: EventBatch) -> None:
        reported_before.append(len(caplog.records) + len(values))

    with caplog.at_level(logging.INFO, "winterbourne.chat"), recorded_metrics() as values:
        await CallReporter(tool_call("t"), "t", emit).finish(FINE)
        assert (reported_before, len(caplog.records), len(values)) == ([0], 1, 2)


async def test_a_disconnected_client_does_not_suppress_the_log_line(caplog: pytest.LogCaptureFixture) -> None:
    async def emit(_: EventBatch) -> None:
        raise ConnectionResetError

    with caplog.at_level(logging.INFO, "winterbourne.chat"), pytest.raises(ConnectionResetError):
        await CallReporter(tool_call("t"), "t", emit).finish(FINE)
    assert len(caplog.records) == 1


async def test_the_log_has_the_tool_the_time_and_the_status_but_no_content(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "winterbourne.chat"):
        await CallReporter(tool_call("t", question="secret"), "t", RecordingClient()).finish(failed("secret"))
    (record,) = caplog.records
    assert record.getMessage() == "tool t executed in 0.000s"
    assert record.__dict__["tool_status"] == "failed"
    assert "secret" not in str(record.__dict__)
