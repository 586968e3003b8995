"""The function's log on its way from the process to the file and the screen.

Two pipes leave a process: its standard output (and error) in lines, and Lambda's log frames, as offered in
_LAMBDA_TELEMETRY_LOG_FD. Both are read by the loop as they come and can be drained before a freeze.
"""

import asyncio
import contextlib
import json
import os
import struct
from collections.abc import Callable, Iterator
from typing import Final

__all__ = ["FrameSplitter", "LineSplitter", "LogPipe", "Splitter", "for_people"]

MAGIC: Final = 0xA55A0000
HEADER: Final = struct.Struct(">IIQ")  # type, length, microseconds since 1970
LONGEST_FRAME: Final = 8 * 1024 * 1024
READS_AT_ONCE: Final = 16


class LineSplitter:
    """Bytes, cut anywhere, → lines of text without their ends."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that `data` completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace").rstrip("\r")

    def end(self) -> Iterator[str]:
        """What is left when nothing more comes."""
        if self._rest:
            yield self._rest.decode(errors="replace")
        self._rest = b""


class FrameSplitter:
    """Bytes, cut anywhere, → the texts of Lambda's log frames: type u32, length u32, time u64, big-endian, text.

    Bytes that are no frame are given out as they stand, so that nothing a function says is lost.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[str]:
        """The records that `data` completes."""
        self._rest += data
        while len(self._rest) >= HEADER.size:
            kind, length, _ = HEADER.unpack_from(self._rest)
            if kind & 0xFFFF0000 != MAGIC or length > LONGEST_FRAME:
                yield from self.end()
            elif len(self._rest) < HEADER.size + length:
                return
            else:
                yield self._take(HEADER.size + length)[HEADER.size :].decode(errors="replace").rstrip("\n")

    def end(self) -> Iterator[str]:
        """What is left when nothing more comes."""
        if self._rest:
            yield self._take(len(self._rest)).decode(errors="replace").rstrip("\n")

    def _take(self, size: int) -> bytes:
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


Splitter = LineSplitter | FrameSplitter


class LogPipe:
    """The reading end of one pipe, in the hands of the running loop. `write_fd` goes to the process.

    Args:
        splitter: How the bytes become records.
        out: Gets each record.
    """

    def __init__(self, splitter: Splitter, out: Callable[[str], None]) -> None:
        self._splitter, self._out = splitter, out
        self._read_fd, self.write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._read_fd, self.drain)

    def release(self) -> None:
        """The process has its own copy of the writing end: close ours."""
        os.close(self.write_fd)

    def drain(self) -> None:
        """Read what is there now; a process that never stops writing does not keep the loop."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(READS_AT_ONCE):
                data = os.read(self._read_fd, 64 * 1024)
                if not data:
                    self._loop.remove_reader(self._read_fd)
                    return
                for record in self._splitter.feed(data):
                    self._out(record)

    def close(self) -> None:
        """Read the rest and let go of the pipe."""
        self.drain()
        for record in self._splitter.end():
            self._out(record)
        self._loop.remove_reader(self._read_fd)
        os.close(self._read_fd)


def for_people(record: str) -> str:
    """A record as the screen shows it: of a JSON line the level, the message and the traceback, else all of it."""
    if not record.startswith("{"):
        return record
    try:
        said = json.loads(record)
        text = f"{said['level']:<7} {said['message']}"
    except (ValueError, KeyError, TypeError):
        return record
    traceback = said.get("exception") or said.get("stackTrace") or ""
    return "\n".join((text, *(traceback if isinstance(traceback, list) else str(traceback).splitlines())))
