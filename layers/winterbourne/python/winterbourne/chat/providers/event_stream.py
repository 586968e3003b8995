"""Sans-I/O decoder for Amazon's event stream format. botocore splits the messages and verifies checksums.

https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html#streaming-event-stream
"""

import struct
from collections.abc import Iterator

import msgspec
from botocore.eventstream import EventStreamBuffer, EventStreamMessage, ParserError

from winterbourne.chat.errors import ModelGarbled

__all__ = ["EventStreamDecoder", "EventStreamMessage"]


class EventStreamDecoder(msgspec.Struct):
    """An incremental decoder of messages: headers, `:message-type` among them, and a payload.

    Botocore's limit of 24 MiB for one message bounds its memory.
    """

    _buffer: EventStreamBuffer = msgspec.field(default_factory=EventStreamBuffer)

    def feed(self, data: bytes) -> Iterator[EventStreamMessage]:
        """The messages that this data completes, one by one: those before damage are not lost with it.

        Raises:
            ModelGarbled: A checksum or a length is wrong.
        """
        self._buffer.add_data(data)
        try:
            yield from self._buffer
        except (ParserError, struct.error, UnicodeDecodeError) as error:
            raise ModelGarbled("the model's provider sent a broken event stream") from error

    def close(self) -> list[EventStreamMessage]:
        """No messages: an incomplete one is discarded."""
        return []
