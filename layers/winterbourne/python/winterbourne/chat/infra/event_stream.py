"""Sans-I/O decoder for Amazon's event stream format. botocore splits the messages and verifies checksums.

https://smithy.io/2.0/aws/amazon-eventstream.html
"""

import struct
from collections.abc import Callable, Iterator

import msgspec
from botocore.eventstream import EventStreamBuffer, EventStreamMessage, ParserError

__all__ = ["EventStreamDecoder", "EventStreamMessage"]


class EventStreamDecoder(msgspec.Struct):
    """An incremental decoder of messages: headers, `:message-type` among them, and a payload.

    Botocore's limit of 24 MiB for one message bounds its memory.

    Attributes:
        make_error: Makes what `feed` raises, from a sentence.
    """

    make_error: Callable[[str], Exception] = ValueError
    _buffer: EventStreamBuffer = msgspec.field(default_factory=EventStreamBuffer)

    def feed(self, data: bytes) -> Iterator[EventStreamMessage]:
        """The messages that this data completes, one by one: those before damage are not lost with it.

        Raises:
            Exception: As `make_error` makes it: a checksum, a length or a header is wrong.
        """
        self._buffer.add_data(data)
        try:
            yield from self._buffer
        except (ParserError, struct.error, UnicodeDecodeError, LookupError) as error:
            raise self.make_error("the event stream is broken") from error

    def close(self) -> list[EventStreamMessage]:
        """No messages: an incomplete one is discarded."""
        return []
