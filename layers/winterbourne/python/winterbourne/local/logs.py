"""Reads the function's log from its process and formats it for the console.

A process writes to two pipes: lines on standard output and error, and Lambda's log frames on the file descriptor in
_LAMBDA_TELEMETRY_LOG_FD. The event loop reads both as data arrives; both can be drained before a freeze.
"""

import asyncio
import contextlib
import json
import os
import struct
from collections.abc import Callable
from typing import Any, Final

__all__ = ["LogPipe", "format_for_console", "parse_record", "split_frames", "split_lines"]

FRAME_MAGIC: Final = 0xA55A0000
FRAME_HEADER: Final = struct.Struct(">IIQ")  # type, length, microseconds since 1970
MAX_FRAME_BYTES: Final = 8 * 1024 * 1024
MAX_LINE_BYTES: Final = 256 * 1024  # as in a log event of CloudWatch
MAX_READS_PER_DRAIN: Final = 16


def split_lines(data: bytes) -> tuple[list[str], bytes]:
    """The whole lines of text in `data`, without line endings, and the incomplete rest, MAX_LINE_BYTES at most."""
    *lines, rest = data.split(b"\n")
    if len(rest) > MAX_LINE_BYTES:
        lines, rest = [*lines, rest], b""
    return [_decode(line).rstrip("\r") for line in lines], rest


def split_frames(data: bytes) -> tuple[list[str], bytes]:
    """The texts of Lambda's log frames in `data`, and the incomplete rest.

    A frame: type u32, length u32, time u64, text; big-endian. Bytes that are not a frame are passed on unchanged, so
    that no output is lost.
    """
    records = []
    while len(data) >= FRAME_HEADER.size:
        frame_type, length, _ = FRAME_HEADER.unpack_from(data)
        start, end = FRAME_HEADER.size, FRAME_HEADER.size + length
        if frame_type & 0xFFFF0000 != FRAME_MAGIC or length > MAX_FRAME_BYTES:
            start, end = 0, len(data)
        elif len(data) < end:
            break
        records.append(_decode(data[start:end]))
        data = data[end:]
    return records, data


def _decode(data: bytes) -> str:
    return data.decode(errors="replace").rstrip("\n")


class LogPipe:
    """A pipe whose reading end is watched by the running event loop. `write_fd` is for the process.

    Args:
        split: Splits what was read so far into whole records and the incomplete rest.
        on_record: Called with each record.
    """

    def __init__(self, split: Callable[[bytes], tuple[list[str], bytes]], on_record: Callable[[str], None]) -> None:
        self._split, self._on_record, self._rest = split, on_record, b""
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
                records, self._rest = self._split(self._rest + data)
                for record in records:
                    self._on_record(record)

    def close(self) -> None:
        """Read the rest and close the reading end."""
        self.drain()
        if self._rest:
            self._on_record(_decode(self._rest))
        self._loop.remove_reader(self._read_fd)
        os.close(self._read_fd)


def parse_record(record: str) -> dict[str, Any]:
    """The object that a JSON record is; empty for any other record."""
    with contextlib.suppress(ValueError, RecursionError):
        if record.startswith("{"):
            return dict(json.loads(record))
    return {}


def format_for_console(record: str) -> str:
    """A record for the console: level, message and traceback of a JSON record, any other record unchanged."""
    document = parse_record(record)
    if not {"level", "message"} <= document.keys():
        return record
    text = f"{document['level']!s:<7} {document['message']}"
    traceback = document.get("exception") or document.get("stackTrace") or ""
    return "\n".join((text, *(traceback if isinstance(traceback, list) else str(traceback).splitlines())))
