"""Coalesces the HTTP chunks of a response's body: one item per socket read.

httpx yields one item per HTTP chunk instead, and providers send every token in a chunk of its own: a read that brought
fifty tokens would become fifty batches and fifty writes to the client. So whatever httpx's HTTP/1.1 parser (h11) has
buffered from a read is taken from it directly, which also bypasses the layers in between.
"""

import operator
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final, cast

import h11
import httpx

__all__ = ["coalesce_reads"]

_TERMINAL_STATES: Final = frozenset({h11.DONE, h11.MUST_CLOSE, h11.CLOSED})
# Private attributes: httpx and httpcore have no public access to the parser. Their versions are locked and a test
# checks this path. If it cannot be found, everything still works, one item per chunk.
_GET_H11_CONNECTION: Final = operator.attrgetter("stream._stream._httpcore_stream._stream._connection._h11_state")


async def coalesce_reads(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The body of a streamed response, one item per read. The pool has already decompressed it if necessary.

    Raises:
        httpx.TransportError: Reading failed.
        httpx.DecodingError: The compressed body is broken, too large, or in an unsupported encoding.

    Cancellation:
        Closing this generator does not close the response; the caller must.
    """
    parser = _find_h11_connection(response)
    async with aclosing(_as_generator(response.aiter_raw())) as chunks:
        async for data in chunks:
            yield data + _buffered_body(parser) if parser else data
            if parser and parser.their_state in _TERMINAL_STATES:
                return  # the buffered data included the end of the body; httpcore would wait for another


def _as_generator(chunks: Any) -> AsyncGenerator[bytes, None]:
    # httpx declares an iterator, but it is a generator, and closing it ends a read in progress.
    return cast("AsyncGenerator[bytes, None]", chunks)


def _find_h11_connection(response: httpx.Response) -> h11.Connection | None:
    try:
        parser = _GET_H11_CONNECTION(response)
    except AttributeError:
        return None
    return parser if isinstance(parser, h11.Connection) else None


def _buffered_body(parser: h11.Connection) -> bytes:
    """The body data that the parser can return without another socket read."""
    pieces = []
    try:
        while isinstance(event := parser.next_event(), h11.Data):
            pieces.append(event.data)
    except h11.RemoteProtocolError:
        pass  # the parser is now in its error state, so httpcore raises on its next call
    return b"".join(pieces)
