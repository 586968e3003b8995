"""A response's body, one item for each read of the socket.

httpx gives one item for each chunk of HTTP instead, and providers send every token in a chunk of its own: a read that
brought fifty tokens would become fifty batches and fifty writes to the client. So what httpx's own HTTP/1.1 parser
still holds of a read is taken from it at once, which also spares its layers. Knows nothing of what the bytes mean.
"""

import operator
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final, cast

import h11
import httpx

__all__ = ["coalesce_reads"]

_TERMINAL_STATES: Final = frozenset({h11.DONE, h11.MUST_CLOSE, h11.CLOSED})
# httpx and httpcore have no public way to it; the versions are locked, a test watches it, and without it all goes on
# to work, chunk by chunk.
_GET_H11_CONNECTION: Final = operator.attrgetter("stream._stream._httpcore_stream._stream._connection._h11_state")


async def coalesce_reads(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The body of a streamed response as it comes. One that is compressed, unasked, was decompressed by the pool.

    Raises:
        httpx.TransportError: As httpx raises it.
        httpx.DecodingError: What is compressed is broken, too much, or not gzip.

    Cancellation:
        Closing it leaves the response to its owner, who closes it.
    """
    parser = _find_h11_connection(response)
    async with aclosing(_as_generator(response.aiter_raw())) as chunks:
        async for data in chunks:
            yield data + _buffered_body(parser) if parser else data
            if parser and parser.their_state in _TERMINAL_STATES:
                return  # the end was among what was held, and httpcore would wait for another one


def _as_generator(chunks: Any) -> AsyncGenerator[bytes, None]:
    # httpx declares an iterator; it is a generator, and closing it is what ends a read under way.
    return cast("AsyncGenerator[bytes, None]", chunks)


def _find_h11_connection(response: httpx.Response) -> h11.Connection | None:
    try:
        parser = _GET_H11_CONNECTION(response)
    except AttributeError:
        return None
    return parser if isinstance(parser, h11.Connection) else None


def _buffered_body(parser: h11.Connection) -> bytes:
    """What the parser can give without another read."""
    pieces = []
    try:
        while isinstance(event := parser.next_event(), h11.Data):
            pieces.append(event.data)
    except h11.RemoteProtocolError:
        pass  # the parser is in its error state now; httpcore meets it there and raises
    return b"".join(pieces)
