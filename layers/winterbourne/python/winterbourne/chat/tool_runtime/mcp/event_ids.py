"""Where to resume an event stream: the id of its last whole event, and when to come back. Sans-I/O.

WHATWG HTML, section 9.2.6 "Interpreting an event stream": an id counts once the blank line after it has come. Only what
resuming needs is read here; the events themselves are read by `infra.sse_parser`.
"""

from typing import Final

import msgspec

__all__ = ["DEFAULT_RETRY_S", "MAX_RETRY_S", "EventIds"]

DEFAULT_RETRY_S: Final = 1.0
MAX_RETRY_S: Final = 5.0

_MAX_LINE_BYTES: Final = 1024  # of lines that are kept; those with an id or a time are short


class EventIds(msgspec.Struct):
    """Reads the ids and retry times of one stream.

    Attributes:
        last: The id to resume after; empty if the stream cannot be resumed.
        retry_s: How long to wait before that.
    """

    last: bytes = b""
    retry_s: float = DEFAULT_RETRY_S
    _pending: bytes = b""
    _partial_line: bytes = b""

    def feed(self, data: bytes) -> None:
        """Take the bytes of one read."""
        lines = (self._partial_line + data).splitlines(keepends=True)
        rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""  # after CR there may be LF
        kept = _MAX_LINE_BYTES + 1  # so that a line that was cut is known to be too long
        self._partial_line = rest if len(rest) <= kept else rest[:kept] + rest[-1:]
        for line in lines:
            self._take(line.rstrip(b"\r\n"))

    def reconnect(self) -> None:
        """Forget the unfinished event of a stream that has ended, before the next one is read."""
        self._pending, self._partial_line = self.last, b""

    def _take(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            self.last = self._pending
        elif field == b"id" and b"\0" not in value and len(line) <= _MAX_LINE_BYTES:
            self._pending = value
        elif field == b"retry" and value.isdigit():
            self.retry_s = min(int(value[:9]) / 1000, MAX_RETRY_S)
