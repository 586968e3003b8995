"""The console of the local server: what is shown, and that nobody waits for it."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from winterbourne.local.console import MAX_QUEUED_LINES, FunctionLog, LineWriter, open_log
from winterbourne.local.metrics import Metrics


class Pipe:
    """A pipe to write lines to, and what has come through."""

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()
        self.lines = LineWriter(self.write_fd)

    def text(self) -> str:
        self.lines.drain()
        os.set_blocking(self.read_fd, False)
        try:
            return os.read(self.read_fd, 1 << 20).decode()
        except BlockingIOError:
            return ""


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.lines.close()
    os.close(made.read_fd)


def record(level: str = "INFO", message: str = "hello", **fields: object) -> str:
    return json.dumps({"level": level, "message": message, **fields})


class TestLines:
    def test_are_written_in_order(self, pipe: Pipe) -> None:
        for line in ("one", "two 港", "\ud800"):
            pipe.lines.write(f"{line}\n")
        assert pipe.text() == "one\ntwo 港\n\\ud800\n"

    def test_are_dropped_and_not_waited_for_if_nobody_reads(self) -> None:
        read_fd, write_fd = os.pipe()
        lines = LineWriter(write_fd)
        for _ in range(MAX_QUEUED_LINES * 3):  # more than queue and pipe together hold
            lines.write("x" * 100 + "\n")
        lines.close()
        os.close(read_fd)

    def test_to_a_closed_pipe_are_lost(self) -> None:
        read_fd, write_fd = os.pipe()
        os.close(read_fd)
        lines = LineWriter(write_fd)
        lines.write("one\n")
        lines.close()

    def test_of_the_servers_own_log_are_among_them(self, pipe: Pipe) -> None:
        logger = logging.getLogger("of this test")
        logger.addHandler(logging.StreamHandler(pipe.lines))
        logger.warning("it %s", "leaks")
        assert pipe.text() == "it leaks\n"
        logger.handlers.clear()


class TestTheLogFile:
    def test_is_appended_to(self, tmp_path: Path) -> None:
        for line in ("one", "two"):
            write, close = open_log(tmp_path / "log")
            write(f"{line}\n")
            close()
        assert (tmp_path / "log").read_text() == "one\ntwo\n"

    @pytest.mark.parametrize("path", ["/dev/full", "/dev/null"])
    def test_that_takes_nothing_does_no_harm(self, path: str) -> None:
        write, close = open_log(Path(path))
        write("one\n")
        close()

    def test_as_a_pipe_that_nobody_reads_is_refused(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "log")
        with pytest.raises(OSError, match="No such device"):
            open_log(tmp_path / "log")


class TestTheRecordsOfTheFunction:
    def log(self, pipe: Pipe, *, is_loopback: bool = True) -> FunctionLog:
        return FunctionLog(lambda _: None, Metrics(), pipe.lines, is_loopback=is_loopback)

    def test_say_which_metrics_the_function_emits(self, pipe: Pipe) -> None:
        metrics = Metrics()
        log = FunctionLog(lambda _: None, metrics, pipe.lines, is_loopback=True)
        assert metrics.mode == "full"
        log.add(record(message="request", metrics="lean"))
        log.add(record(message="something else"))
        assert metrics.mode == "lean"

    def test_are_beside_the_lines_of_the_latest_requests(self, pipe: Pipe) -> None:
        log = self.log(pipe)
        for number in range(30):
            log.add_access(f"request {number}")
        assert len(log.requests) == 20
        assert log.requests[0] == "request 29"

    def test_come_after_the_banner(self, pipe: Pipe) -> None:
        log = self.log(pipe)
        log.add("early")
        assert pipe.text() == ""
        log.show("banner")
        log.add("late")
        assert pipe.text() == "banner\nearly\nlate\n"

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            (record(), True),
            (record(message="request"), False),
            (record("ERROR", "request"), True),
            (record("WARNING", "AUTH=none: anyone who finds this URL may call it"), False),
            (record(message="tools", tools_offered=["a"]), False),
            ("START RequestId: 1", False),
            ("[ERROR] plain", True),
            ("[1, 2]", True),
            ('{"message": 1}', True),
            ("{", True),
        ],
    )
    def test_are_shown_if_a_developer_acts_on_them(self, pipe: Pipe, text: str, *, shown: bool) -> None:
        log = self.log(pipe)
        log.add(text)
        log.show("")
        assert bool(pipe.text()) == shown

    def test_warn_of_an_open_chat_where_others_can_reach_it(self, pipe: Pipe) -> None:
        log = self.log(pipe, is_loopback=False)
        log.add(record("WARNING", "AUTH=none: anyone who finds this URL may call it"))
        log.show("")
        assert "AUTH=none" in pipe.text()

    def test_tell_which_tools_there_are_and_when_that_changes(self, pipe: Pipe) -> None:
        log = self.log(pipe)
        log.add(record(message="tools", tools_offered=["a", "b"]))
        assert log.tools == ["a", "b"]
        log.show("")
        for names in (["a", "b"], ["a"]):
            log.add(record(message="tools", tools_offered=names))
        assert pipe.text() == "tools: a\n"

    def test_tell_which_were_left_out(self, pipe: Pipe) -> None:
        log = self.log(pipe)
        log.add(record("ERROR", "left out: a.py: why", left_out="a.py: why"))
        assert log.left_out == ["a.py: why"]
