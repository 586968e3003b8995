"""Sans-I/O decoder for Amazon's event stream format.

Our own instead of botocore's, whose import takes some 30 ms of a cold start; its tests compare the two.
A message: total length u32, headers' length u32, CRC-32 of those eight bytes; headers; payload; CRC-32 of all before.
A header: name length u8, name, type u8, value. All big-endian. https://smithy.io/2.0/aws/amazon-eventstream.html
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

__all__ = ["EventStreamDecoder", "EventStreamMessage"]

MAX_HEADERS_BYTES: Final = 128 * 1024
MAX_PAYLOAD_BYTES: Final = 24 * 2**20
"""The format's own limits; they bound what is buffered."""

_PRELUDE: Final = struct.Struct(">III")
_CRC: Final = struct.Struct(">I")
_LENGTH: Final = struct.Struct(">H")
_FRAME_BYTES: Final = _PRELUDE.size + _CRC.size
_BOOLEANS: Final = {0: True, 1: False}
_BYTES, _STRING, _UUID = 6, 7, 9
_INTEGERS: Final = {kind: struct.Struct(form) for kind, form in ((2, ">b"), (3, ">h"), (4, ">i"), (5, ">q"), (8, ">q"))}


class EventStreamMessage(msgspec.Struct, frozen=True):
    """One message.

    Attributes:
        headers: By name, `:message-type` among them.
        payload: Its content, as the headers describe it.
    """

    headers: dict[str, Any]
    payload: bytes


class EventStreamDecoder(msgspec.Struct):
    """An incremental decoder of messages.

    Attributes:
        make_error: Makes what `feed` raises, from a sentence.
    """

    make_error: Callable[[str], Exception] = ValueError
    _buffer: bytearray = msgspec.field(default_factory=bytearray)

    def feed(self, data: bytes) -> Iterator[EventStreamMessage]:
        """The messages that this data completes, one by one: those before damage are not lost with it.

        Raises:
            Exception: As `make_error` makes it: a checksum, a length or a header is wrong.
        """
        self._buffer += data
        try:
            while len(self._buffer) >= _PRELUDE.size and len(self._buffer) >= (total := _total_length(self._buffer)):
                message = _parse(bytes(self._buffer[:total]))
                del self._buffer[:total]
                yield message
        except (struct.error, ValueError, LookupError) as error:
            raise self.make_error("the event stream is broken") from error

    def close(self) -> list[EventStreamMessage]:
        """No messages: an incomplete one is discarded."""
        return []


def _total_length(data: bytearray) -> int:
    """The length of the message that begins with this prelude."""
    total, headers, crc = _PRELUDE.unpack_from(data)
    if zlib.crc32(data[:8]) != crc or headers > MAX_HEADERS_BYTES:
        raise ValueError("damaged prelude")
    if not 0 <= total - headers - _FRAME_BYTES <= MAX_PAYLOAD_BYTES:
        raise ValueError("length of the payload")
    return int(total)


def _parse(message: bytes) -> EventStreamMessage:
    body, crc = message[: -_CRC.size], _CRC.unpack(message[-_CRC.size :])
    if (zlib.crc32(body),) != crc:
        raise ValueError("damaged message")
    headers_end = _PRELUDE.size + _PRELUDE.unpack_from(message)[1]
    return EventStreamMessage(_parse_headers(body[_PRELUDE.size : headers_end]), body[headers_end:])


def _parse_headers(data: bytes) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    at = 0
    while at < len(data):
        end = at + 1 + data[at]
        name = data[at + 1 : end].decode()
        if name in headers:
            raise ValueError("one header twice")
        headers[name], at = _parse_value(data[end], data, end + 1)
    return headers


def _parse_value(kind: int, data: bytes, at: int) -> tuple[Any, int]:
    """The value that begins there, and where the next header begins."""
    if kind in {_STRING, _BYTES}:
        begin = at + _LENGTH.size
        end = begin + _LENGTH.unpack_from(data, at)[0]
        return (data[begin:end].decode() if kind == _STRING else data[begin:end]), end
    if kind == _UUID:
        return data[at : at + 16], at + 16
    if kind in _BOOLEANS:
        return _BOOLEANS[kind], at
    integer = _INTEGERS[kind]
    return integer.unpack_from(data, at)[0], at + integer.size
