"""Server-sent events, incoming: bytes in, data payloads out. Pure; knows nothing of what the data mean.

WHATWG HTML, section 9.2.6 "Interpreting an event stream". Only `data` is of use here: event names, ids and retry
times of model providers and MCP servers repeat what their data say.
"""

from collections.abc import Callable
from typing import Final

__all__ = ["MAX_EVENT_BYTES", "SseParser"]

MAX_EVENT_BYTES: Final = 1024 * 1024
"""Unless told otherwise: no model sends events of more than a few kilobytes; memory stays bounded whatever comes."""

_BOM: Final = b"\xef\xbb\xbf"


class SseParser:
    """A push parser that works on whole reads: one split, then one short step a line.

    Args:
        max_event_bytes: Of one event, its field names included.
        error: Makes the error for a larger one.
    """

    def __init__(
        self, max_event_bytes: int = MAX_EVENT_BYTES, make_error: Callable[[str], Exception] = ValueError
    ) -> None:
        self._max_event_bytes = max_event_bytes
        self._make_error = make_error
        self._partial_line: list[bytes] = []  # a line whose end has not come yet
        self._data_lines: list[bytes] = []  # the data lines of an event whose end has not come yet
        self._line_bytes = self._data_bytes = 0
        self._after_cr = False  # the last line ended with CR; an LF that comes next belongs to it
        self._at_start = True

    def feed(self, data: bytes) -> list[bytes]:
        """Take what one read brought; give the payloads of the events that are complete now.

        Raises:
            ValueError: An event has more than `max_event_bytes`; or what `error` makes.
        """
        if self._after_cr and data:
            data, self._after_cr = data.removeprefix(b"\n"), False
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *complete_lines, rest = data.split(b"\n")
        if complete_lines and self._partial_line:
            complete_lines[0] = b"".join((*self._partial_line, complete_lines[0]))
            self._partial_line.clear()
        payloads = self._parse_lines(complete_lines)
        if rest:
            self._partial_line.append(rest)
        self._line_bytes = len(rest) + (0 if complete_lines else self._line_bytes)
        if self._line_bytes + self._data_bytes > self._max_event_bytes:
            raise self._make_error(f"the server sent an event of more than {self._max_event_bytes} bytes")
        return payloads

    def close(self) -> list[bytes]:
        """The stream is over: give what it brought of an event without the blank line that should end it.

        The standard throws this away. Servers forget the last blank line, so whoever knows the format may look.
        """
        return self.feed(b"\n\n")

    def _parse_lines(self, lines: list[bytes]) -> list[bytes]:
        if lines and self._at_start:
            lines[0], self._at_start = lines[0].removeprefix(_BOM), False
        payloads = []
        data = self._data_lines
        for line in lines:
            if line.startswith(b"data:"):
                data.append(line[6:] if line.startswith(b" ", 5) else line[5:])
                self._data_bytes += len(line)
            elif data and not line:
                payloads.append(data[0] if len(data) == 1 else b"\n".join(data))
                data.clear()
                self._data_bytes = 0
            elif line == b"data":
                data.append(b"")
                self._data_bytes += len(line)
        return payloads
