"""Reads the function's log from its process and formats it for the console.

A process writes to two pipes: lines on standard output and error, and Lambda's log frames on the file descriptor in
_LAMBDA_TELEMETRY_LOG_FD. The event loop reads both as data arrives; both can be drained before a freeze.
"""

import asyncio
import contextlib
import json
import os
import struct
from collections.abc import Callable, Iterator
from typing import Final

__all__ = ["FrameSplitter", "LineSplitter", "LogPipe", "Splitter", "format_for_console"]

FRAME_MAGIC: Final = 0xA55A0000
FRAME_HEADER: Final = struct.Struct(">IIQ")  # type, length, microseconds since 1970
MAX_FRAME_BYTES: Final = 8 * 1024 * 1024
MAX_READS_PER_DRAIN: Final = 16


class LineSplitter:
    """Splits chunks of any size into lines of text, without line endings."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that `data` completes."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace").rstrip("\r")

    def flush(self) -> Iterator[str]:
        """The incomplete rest, at the end of the input."""
        if self._buffer:
            yield self._buffer.decode(errors="replace")
        self._buffer = b""


class FrameSplitter:
    """Splits chunks of any size into texts of Lambda's log frames: type u32, length u32, time u64, text; big-endian.

    Bytes that are not a frame are passed on unchanged, so that no output is lost.
    """

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[str]:
        """The records that `data` completes."""
        self._buffer += data
        while len(self._buffer) >= FRAME_HEADER.size:
            frame_type, length, _ = FRAME_HEADER.unpack_from(self._buffer)
            if frame_type & 0xFFFF0000 != FRAME_MAGIC or length > MAX_FRAME_BYTES:
                yield from self.flush()
            elif len(self._buffer) < FRAME_HEADER.size + length:
                return
            else:
                yield (
                    self._consume(FRAME_HEADER.size + length)[FRAME_HEADER.size :].decode(errors="replace").rstrip("\n")
                )

    def flush(self) -> Iterator[str]:
        """The incomplete rest, at the end of the input."""
        if self._buffer:
            yield self._consume(len(self._buffer)).decode(errors="replace").rstrip("\n")

    def _consume(self, size: int) -> bytes:
        consumed, self._buffer = self._buffer[:size], self._buffer[size:]
        return consumed


Splitter = LineSplitter | FrameSplitter


class LogPipe:
    """A pipe whose reading end is watched by the running event loop. `write_fd` is for the process.

    Args:
        splitter: Splits the bytes into records.
        on_record: Called with each record.
    """

    def __init__(self, splitter: Splitter, on_record: Callable[[str], None]) -> None:
        self._splitter, self._on_record = splitter, on_record
        self._read_fd, self.write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._read_fd, self.drain)

    def close_write_end(self) -> None:
        """Close our copy of the writing end, once the process has its own."""
        os.close(self.write_fd)

    def drain(self) -> None:
        """Read what is available now, within limits: a process that keeps writing must not block the event loop."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(MAX_READS_PER_DRAIN):
                data = os.read(self._read_fd, 64 * 1024)
                if not data:
                    self._loop.remove_reader(self._read_fd)
                    return
                for record in self._splitter.feed(data):
                    self._on_record(record)

    def close(self) -> None:
        """Read the rest and close the reading end."""
        self.drain()
        for record in self._splitter.flush():
            self._on_record(record)
        self._loop.remove_reader(self._read_fd)
        os.close(self._read_fd)


def format_for_console(record: str) -> str:
    """A record for the console: level, message and traceback of a JSON record, any other record unchanged."""
    if not record.startswith("{"):
        return record
    try:
        document = json.loads(record)
        text = f"{document['level']:<7} {document['message']}"
    except (ValueError, KeyError, TypeError):
        return record
    traceback = document.get("exception") or document.get("stackTrace") or ""
    return "\n".join((text, *(traceback if isinstance(traceback, list) else str(traceback).splitlines())))
