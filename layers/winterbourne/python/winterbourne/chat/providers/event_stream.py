"""Amazon's event stream, incoming: bytes in, messages out. Pure; botocore cuts the frames and verifies checksums.

https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html#streaming-event-stream
"""

import struct
from typing import Any, cast

import msgspec
from botocore.eventstream import EventStreamBuffer, ParserError

from winterbourne.chat.errors import ModelGarbled

__all__ = ["EventStreamDecoder", "EventStreamMessage"]


class EventStreamMessage(msgspec.Struct, frozen=True):
    """One message: its headers, `:message-type` among them, and its payload."""

    headers: dict[str, Any]
    payload: bytes


class EventStreamDecoder:
    """A push parser; memory is bounded by botocore's limit for one message, 24 MiB."""

    def __init__(self) -> None:
        self._buffer = EventStreamBuffer()

    def feed(self, data: bytes) -> list[EventStreamMessage]:
        """The messages that are complete now.

        Raises:
            ModelGarbled: A checksum or a length is wrong.
        """
        self._buffer.add_data(data)
        try:
            return [EventStreamMessage(cast("Any", frame.headers), frame.payload) for frame in self._buffer]
        except (ParserError, struct.error, UnicodeDecodeError) as error:
            raise ModelGarbled("the model's provider sent a broken event stream") from error

    def close(self) -> list[EventStreamMessage]:
        """Nothing: half a message says nothing."""
        return []
