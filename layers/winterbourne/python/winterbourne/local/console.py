"""What the local server writes: the log file gets everything, the console what a developer acts on.

Nothing waits for whoever reads the console: a terminal that is stopped, or a pipe that nobody reads, stops no stream.
"""

import contextlib
import os
import queue
import stat
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from winterbourne.local.logs import format_for_console, parse_record
from winterbourne.local.metrics import Metrics

__all__ = ["LIMITS", "SET_LOCALLY", "FunctionLog", "LineWriter", "open_log"]

LIMITS: Final = ("LIMIT_REQUESTS_PER_MINUTE", "LIMIT_TOKENS_PER_DAY", "LIMIT_DOLLARS_PER_DAY")
SET_LOCALLY: Final = ("MODEL_PROVIDER", "AUTH", "STORE", *LIMITS)
"""The settings of a chat that this server sets, whatever the chat's own code says."""

MAX_QUEUED_LINES: Final = 1000
MAX_REQUESTS: Final = 20
FLUSH_TIMEOUT_S: Final = 0.5
PLATFORM_RECORD_PREFIXES: Final = tuple(f"{word} RequestId: " for word in ("START", "END", "FAILED", "REPORT"))


class LineWriter:
    """Writes to a file descriptor in a thread of its own; what finds the queue full is dropped."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._queue: queue.Queue[str | threading.Event | None] = queue.Queue(MAX_QUEUED_LINES)
        threading.Thread(target=self._write_all, daemon=True).start()  # which may be blocked when the process exits

    def write(self, item: str | threading.Event | None) -> None:
        """Write text, as lines with their ends, when its turn comes; without waiting. Set an event; with None, end."""
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(item)

    def drain(self) -> None:
        """Wait until everything is written, FLUSH_TIMEOUT_S at most."""
        written = threading.Event()
        self.write(written)
        written.wait(FLUSH_TIMEOUT_S)

    def close(self) -> None:
        """Drain, and end the thread."""
        self.drain()
        self.write(None)

    def _write_all(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, str):
                write_text(self._fd, item)
            else:
                item.set()


def write_text(fd: int, text: str) -> None:
    """Write text; what cannot be written, as to a closed pipe or a full disk, is lost."""
    data = text.encode(errors="backslashreplace")
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(fd, data) :]


def open_log(path: Path) -> tuple[Callable[[str], None], Callable[[], None]]:
    """Open a file to append to, and return what writes text and what closes the file.

    Raises:
        OSError: It cannot be opened, or it is a named pipe that nobody reads.
    """
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o666)
    os.set_blocking(fd, True)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return partial(write_text, fd), partial(os.close, fd)
    writer = LineWriter(fd)
    return writer.write, writer.close


class FunctionLog:
    """The function's records, and what they say of its tools.

    Args:
        write: Writes text to the log file.
        metrics: Get the records that hold metrics.
        console: The console; it gets nothing before `show`.
        is_loopback: Whether only this machine can reach the server.

    Attributes:
        tools: The tools of the environment that started last, but for those of MCP servers; with what one lacks.
        left_out: The tools and modules it could not use, with the reasons.
        requests: The lines of the latest requests, the newest first.
    """

    def __init__(
        self, write: Callable[[str], None], metrics: Metrics, console: LineWriter, *, is_loopback: bool
    ) -> None:
        self._write, self._metrics, self._console, self._is_loopback = write, metrics, console, is_loopback
        self._held: list[str] | None = []
        self.tools: list[str] = []
        self.left_out: list[str] = []
        self.requests: deque[str] = deque(maxlen=MAX_REQUESTS)

    def show(self, banner: str) -> None:
        """Write the banner to the console, then what has come before it; from now on lines are not held back."""
        held, self._held = self._held or [], None
        for line in filter(None, (banner, *held)):
            self._console.write(f"{line}\n")
        self._console.drain()

    def add(self, record: str) -> None:
        """A record of the function or of the platform."""
        self._write(f"{record}\n")
        if self._metrics.ingest(record) or record.startswith(PLATFORM_RECORD_PREFIXES):
            return
        document = parse_record(record)
        self._note_tools(document)
        self._metrics.mode = str(document.get("metrics") or self._metrics.mode)
        if not self._is_hidden(document):
            self.print(format_for_console(record))

    def add_access(self, line: str) -> None:
        """The line of a request."""
        self.requests.appendleft(line)
        self._write(f"{line}\n")
        self.print(line)

    def print(self, line: str) -> None:
        """Write a line to the console alone."""
        if self._held is None:
            self._console.write(f"{line}\n")
        else:
            self._held.append(line)

    def _is_hidden(self, document: dict[str, Any]) -> bool:
        message = str(document.get("message"))
        repeats_access_log = message == "request" and document.get("level") == "INFO"
        warns_of_nobody = self._is_loopback and message.startswith("AUTH=none")
        wins_as_ever = "variables_win" in document and {*document["variables_win"]} <= {*SET_LOCALLY}
        return repeats_access_log or warns_of_nobody or wins_as_ever or "tools_offered" in document

    def _note_tools(self, document: dict[str, Any]) -> None:
        if reason := document.get("left_out"):
            self.left_out.append(str(reason))
        if "tools_offered" not in document:
            return
        missing = document.get("tools_unavailable", {})
        remarks = {tool: f" (not available: {key} is not set)" for tool, key in missing.items()}
        before, self.tools = self.tools, [tool + remarks.get(tool, "") for tool in document["tools_offered"]]
        if self._held is None and self.tools != before:
            self.print(f"tools: {', '.join(self.tools)}")
