"""What the local server writes: the log file gets everything, the console what a developer acts on.

Nothing waits for whoever reads the console: a terminal that is stopped, or a pipe that nobody reads, stops no stream.
"""

import contextlib
import json
import logging
import os
import queue
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from winterbourne.local.logs import format_for_console
from winterbourne.local.metrics import Metrics

__all__ = ["FunctionLog", "LineHandler", "LineWriter", "open_log"]

MAX_QUEUED_LINES: Final = 1000
FLUSH_TIMEOUT_S: Final = 0.5
PLATFORM_RECORD_PREFIXES: Final = tuple(f"{word} RequestId: " for word in ("START", "END", "FAILED", "REPORT"))


class LineWriter:
    """Writes lines to a file descriptor in a thread of its own; those that find the queue full are dropped."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lines: queue.Queue[str | threading.Event | None] = queue.Queue(MAX_QUEUED_LINES)
        threading.Thread(target=self._write_all, daemon=True).start()  # which may be blocked when the process exits

    def write(self, line: str) -> None:
        """Write a line when its turn comes, without waiting."""
        self._put(line)

    def flush(self) -> None:
        """Wait until everything is written, FLUSH_TIMEOUT_S at most."""
        written = threading.Event()
        self._put(written)
        written.wait(FLUSH_TIMEOUT_S)

    def close(self) -> None:
        """Flush, and end the thread."""
        self.flush()
        self._put(None)

    def _put(self, item: str | threading.Event | None) -> None:
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(item)

    def _write_all(self) -> None:
        while (item := self._lines.get()) is not None:
            if isinstance(item, str):
                write_line(self._fd, item)
            else:
                item.set()


class LineHandler(logging.Handler):
    """Passes the server's own log records to a `LineWriter`."""

    def __init__(self, lines: LineWriter) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record."""
        self._lines.write(self.format(record))


def write_line(fd: int, line: str) -> None:
    """Write a line; one that cannot be written, as to a closed pipe or a full disk, is lost."""
    data = f"{line}\n".encode(errors="backslashreplace")
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(fd, data) :]


def open_log(path: Path) -> tuple[Callable[[str], None], Callable[[], None]]:
    """Open a file to append lines to, and return what writes a line and what closes the file.

    Raises:
        OSError: It cannot be opened, or it is a named pipe that nobody reads.
    """
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o666)
    os.set_blocking(fd, True)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return lambda line: write_line(fd, line), lambda: os.close(fd)
    lines = LineWriter(fd)
    return lines.write, lines.close


class FunctionLog:
    """The function's records, and what they say of its tools.

    Args:
        write: Writes a line to the log file.
        metrics: Get the records that hold metrics.
        console: The console; it gets nothing before `show`.
        is_loopback: Whether only this machine can reach the server.

    Attributes:
        tools: The tools of the environment that started last, but for those of MCP servers; None if it named none.
        left_out: The tools and modules it could not use, with the reasons.
    """

    def __init__(
        self, write: Callable[[str], None], metrics: Metrics, console: LineWriter, *, is_loopback: bool
    ) -> None:
        self._write, self._metrics, self._console, self._is_loopback = write, metrics, console, is_loopback
        self._held: list[str] | None = []
        self.tools: list[str] | None = None
        self.left_out: list[str] = []

    def show(self, banner: str) -> None:
        """Write the banner to the console, then what has come before it; from now on lines are not held back."""
        held, self._held = self._held or [], None
        for line in filter(None, (banner, *held)):
            self._console.write(line)
        self._console.flush()

    def add(self, record: str) -> None:
        """A record of the function or of the platform."""
        self._write(record)
        if self._metrics.ingest(record) or record.startswith(PLATFORM_RECORD_PREFIXES):
            return
        document = _parse(record)
        self._note_tools(document)
        if not self._is_hidden(document):
            self.print(format_for_console(record))

    def add_access(self, line: str) -> None:
        """The line of a request."""
        self._write(line)
        self.print(line)

    def print(self, line: str) -> None:
        """Write a line to the console alone."""
        if self._held is None:
            self._console.write(line)
        else:
            self._held.append(line)

    def _is_hidden(self, document: dict[str, Any]) -> bool:
        message = str(document.get("message"))
        repeats_access_log = message == "request" and document.get("level") == "INFO"
        return (
            repeats_access_log or "tools_offered" in document or (self._is_loopback and message.startswith("AUTH=none"))
        )

    def _note_tools(self, document: dict[str, Any]) -> None:
        if reason := document.get("left_out"):
            self.left_out.append(str(reason))
        if "tools_offered" in document:
            changed = self.tools != document["tools_offered"]
            if self._held is None and changed:
                self.print(f"tools: {', '.join(document['tools_offered'])}")
            self.tools = document["tools_offered"]


def _parse(record: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        if record.startswith("{"):
            return dict(json.loads(record))
    return {}
