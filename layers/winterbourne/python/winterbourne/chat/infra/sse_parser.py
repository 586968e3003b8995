"""Incremental parser for server-sent events (SSE), sans-I/O: takes bytes, returns the payloads of the data fields.

WHATWG HTML, section 9.2.6 "Interpreting an event stream". Event names, ids and retry times are ignored: those of model
providers repeat what is in the data. The MCP client, which resumes streams, reads ids and times itself.
"""

import contextlib
import re
from collections.abc import Callable
from typing import Final, Literal

import msgspec
import orjson

__all__ = ["MAX_EVENT_BYTES", "SseParser"]

MAX_EVENT_BYTES: Final = 1024 * 1024
"""Default limit. Model providers send events of a few kilobytes at most; the limit bounds memory in any case."""

_BOM: Final = b"\xef\xbb\xbf"
_ERROR_FIELDS: Final = (b"error:", b"event: error", b"event:error")
_DOCUMENT_STARTS: Final = (b"{", b"[", b"<")
_UNUSUAL_STARTS: Final = (*_ERROR_FIELDS, *_DOCUMENT_STARTS)
# Base64 in a JSON string, as in a picture; `\/` is how some encoders write its slash.
_BINARY_TEXT: Final = re.compile(rb'(?<=[",])(?:[A-Za-z0-9+/_=-]|\\/){4096,}')


class SseParser(msgspec.Struct):
    """A push parser that processes whole reads: one split, then one short step per line.

    Attributes:
        max_event_bytes: Limit for one event, its field names included.
        is_tolerant: Whether to accept what model providers send against the standard: an `error` field, an event of the
            type `error` whose data does not say so (both become `{"error": ...}`), JSON or HTML without a field name,
            and pictures that are larger than the limit (their data is dropped while it arrives).
        make_error: Makes the exception for a larger event from a message.
    """

    max_event_bytes: int = MAX_EVENT_BYTES
    make_error: Callable[[str], Exception] = ValueError
    is_tolerant: bool = False
    _partial_line: list[bytes] = []  # an incomplete line
    _data_lines: list[bytes] = []  # the data lines of an incomplete event
    _line_bytes: int = 0
    _data_bytes: int = 0
    _after_cr: bool = False  # the last read ended with CR; if the next begins with LF, it is the same line end
    _at_start: bool = True
    _unusual: Literal["", "error", "document"] = ""  # what the incomplete event is, if not an ordinary one

    def feed(self, data: bytes) -> list[bytes]:
        """Take the bytes of one read; return the payloads of the events that are complete now.

        Raises:
            ValueError: An event has more than `max_event_bytes`. `make_error` may make another exception.
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
        if rest or self._line_bytes:
            self._line_bytes = len(rest) + (0 if complete_lines else self._line_bytes)
        if self._line_bytes + self._data_bytes > self.max_event_bytes and not self._drop_binary_text():
            raise self.make_error(f"the server sent an event of more than {self.max_event_bytes} bytes")
        return payloads

    def close(self) -> list[bytes]:
        """End the stream: return the payload of a last event without its closing blank line.

        The standard discards such an event. Some servers omit the last blank line, so a caller that knows the format
        can decide whether to use it.
        """
        return self.feed(b"\n\n")

    def _parse_lines(self, lines: list[bytes]) -> list[bytes]:
        if lines and self._at_start:
            lines[0], self._at_start = lines[0].removeprefix(_BOM), False
        payloads = []
        data, data_bytes = self._data_lines, self._data_bytes
        for line in lines:
            if line.startswith(b"data:"):
                data.append(line[6:] if line.startswith(b" ", 5) else line[5:])
                data_bytes += len(line)
            elif data and not line:
                payload = data[0] if len(data) == 1 else b"\n".join(data)
                data.clear()
                data_bytes = 0
                if self._unusual:
                    payload = _as_error(payload) if self._unusual == "error" else payload
                    self._unusual = ""
                payloads.append(payload)
            elif line == b"data":
                data.append(b"")
                data_bytes += len(line)
            elif self.is_tolerant and (line.startswith(_UNUSUAL_STARTS) or self._unusual == "document"):
                payloads += self._parse_unusual_line(line)
                data_bytes += len(line) if self._unusual == "document" else 0
        if data_bytes != self._data_bytes:
            self._data_bytes = data_bytes
        return payloads

    def _parse_unusual_line(self, line: bytes) -> list[bytes]:
        """Handle a line that only a tolerant parser reads; return the payload if it is complete in itself."""
        if line.startswith(b"error:"):
            return [_as_error(line[6:].strip())]
        if line.startswith(_ERROR_FIELDS):
            self._unusual = "error"
        elif not self._data_lines and _is_json(line):
            return [line]
        else:
            self._unusual = "document"
            self._data_lines.append(line)
        return []

    def _drop_binary_text(self) -> bool:
        """Drop the pictures in the incomplete line; return whether the event is within its limit now."""
        if self.is_tolerant:
            self._partial_line[:] = [_BINARY_TEXT.sub(b"", b"".join(self._partial_line))]
            self._line_bytes = len(self._partial_line[0])
        return self._line_bytes + self._data_bytes <= self.max_event_bytes


def _as_error(payload: bytes) -> bytes:
    """An error as a JSON object with the field `error`, in which data that is not JSON is a string."""
    if not _is_json(payload):
        payload = orjson.dumps(payload.decode(errors="replace") or "error")
    return payload if b'"error"' in payload else b'{"error":%b}' % payload


def _is_json(data: bytes) -> bool:
    with contextlib.suppress(orjson.JSONDecodeError):
        orjson.loads(data)
        return True
    return False
