"""The response stream that a handler writes to, and its sinks: Lambda's socket, or a buffer.

A write reaches the socket in the same event loop iteration, with no queue and no task in between. Backpressure: `write`
waits while the reader is behind.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, ClassVar, Protocol, TypeVar

from winterbourne.errors import ErrorReport, StreamMisused
from winterbourne.invocation import FrontEnd
from winterbourne.prelude import (
    DEFAULT_CONTENT_TYPE,
    PRELUDE_CONTENT_TYPE,
    Response,
    buffered_response,
    encode_prelude,
    with_headers,
)
from winterbourne.write_lock import LOCK

__all__ = ["BufferedSink", "ResponseHead", "ResponseStream", "Sink", "as_bytes", "open_stream"]


class Sink(Protocol):
    """Where the bytes of a response stream go."""

    async def start_response(self, content_type: str, prelude: bytes) -> None:
        """Start the response with the prelude, which is empty if no HTTP front end reads it."""

    def write(self, data: bytes) -> bool:
        """Write a chunk immediately; return whether the caller must await `drain` before the next one."""

    async def drain(self) -> None:
        """Wait until the sink accepts more data."""

    async def end_response(self, failure: ErrorReport | None) -> None:
        """End the response; with a failure in a way that also says so, if there is one."""


S = TypeVar("S", bound=Sink)


class ResponseHead(Protocol):
    """Status and headers; a `Response` has them, and so may an object that learns its status late."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str] | Iterable[tuple[str, str]]:
        """As in `Response`."""


class ResponseStream:
    """The response that a handler writes. Its methods may be called from any task of the loop.

    Args:
        sink: Where the bytes go.
        http: Whether an HTTP front end reads them; if so, a prelude is sent even without a `Response`.
        rest_api: Whether that front end is an API Gateway REST API.

    Attributes:
        response: Status, headers and cookies as they were sent.
        started: Whether status and headers are final, so that an error can no longer replace the response.
        ended: Whether nothing more can be written.
        outlives_reader: Whether what writes it goes on when its reader has gone, for a server that is told of that;
            Lambda tells nobody.
        reader_left: Whether the reader has gone, as far as a server has told so, before the end.
        failure: What Lambda is told at the end of the response, in error trailers, so that it counts an error, though
            the reader has all that was written. None if the response is a success.
        own_headers: Headers that it has beside those of any `Response`, by names in lower case.
        lock: Held while bytes are made and sent in one step, which `put` is for: the watchdog's thread then adds none.
        last_words: Makes what the watchdog's thread sends while the event loop stands still. Called under the lock,
            with False for what is due now, if anything; with True for the end of the body, after which it has to keep
            everybody from sending more. It may do nothing that waits, such as writing to the log.
    """

    lock: ClassVar = LOCK

    def __init__(self, sink: Sink, *, http: bool = True, rest_api: bool = False) -> None:
        self.response: Response | None = None
        self.started = self.ended = self.outlives_reader = self.reader_left = self._is_open = False
        self._head: ResponseHead | None = Response() if http else None
        self.failure: ErrorReport | None = None
        self.own_headers: Mapping[str, str] = {}
        self._sink = sink
        self._write: Callable[[bytes], bool] = sink.write
        self._rest_api = rest_api
        self._has_body = True
        self._start_lock = asyncio.Lock()
        self._unsent = 0  # chunks that were put and wait for the start of the response
        self.last_words: Callable[[bool], bytes] | None = None

    def start_on_write(self, head: ResponseHead, last_words: Callable[[bool], bytes] | None = None) -> None:
        """Let the first write start the response, with the status and headers that `head` has by then.

        Args:
            head: A `Response`, or any object with its `status` and `headers`.
            last_words: For a response with this head.
        """
        self._head, self.last_words = head, last_words

    async def start(self, response: Response | None = None) -> None:
        """Send status, headers and cookies immediately.

        Args:
            response: With None, as with `write` without `start`, the response has the head of `start_on_write`; if
                there is none, an HTTP front end gets status 200 and any other client gets no prelude.

        Raises:
            StreamMisused: The stream has already started or ended.
            PreludeTooLarge: The prelude is too long; the stream is unchanged and can still be started.
            StreamLost: Lambda has closed the response.
        """
        with self.lock:
            head = self._begin(response)
            if response:
                self.last_words = None  # they are those of another head
        async with self._start_lock:
            await self._sink.start_response(*head)
            self._is_open = True

    async def write(self, data: bytes | str) -> None:
        """Send a chunk of the body.

        The data is on the socket before this first suspends; it then waits only if the reader is slow.

        Args:
            data: Bytes, or text to send as UTF-8. Empty data sends nothing.

        Raises:
            StreamMisused: The stream has ended.
            StreamLost: Lambda has closed the response; the data is discarded.
        """
        if not self._is_open or self.ended:
            await self._ensure_open()
        if not isinstance(data, bytes):
            data = as_bytes(data)
        if data and self._write(data):
            await self._sink.drain()

    def put(self, data: bytes) -> Awaitable[None] | None:
        """Send a chunk of the body that was made under the lock, which the caller still holds.

        Returns:
            What the caller must await once it no longer holds the lock: that the reader catches up or that the response
            starts, and the chunk with it. None if there is nothing to wait for.

        Raises:
            StreamLost: Lambda has closed the response; the data is discarded.
        """
        if self._is_open and not self.ended:
            return self._sink.drain() if self._write(data) else None
        self._unsent += 1
        return self._put_first(data)

    def speak(self, start: Callable[[str, bytes], None], *, is_last: bool = False) -> bool:
        """Send `last_words` from the watchdog's thread, which holds the lock.

        Args:
            start: Starts the response at once, if need be, with its content type and prelude.
            is_last: Whether they end the response.

        Returns:
            Whether they were asked for: not if there are none, or if a chunk or the start of the response is under way.

        Raises:
            StreamLost: There is no connection.
        """
        if not self.last_words or self._unsent or self.ended or self.started is not self._is_open:
            return False
        if data := self.last_words(is_last):
            if not self.started:
                start(*self._begin())
                self._is_open = True
            self._write(data)
        return True

    async def end(self) -> None:
        """End the response now, while the handler keeps running; otherwise it ends when the handler returns."""
        if self.ended:
            return
        if not self.started:
            self._has_body = False
            await self.start()
        self.close()
        await self._sink.end_response(self.failure)

    def close(self) -> None:
        """Reject all further writes; sends nothing. What made the response is let go."""
        self.ended = True
        with self.lock:
            self._head = self.last_words = None

    def _begin(self, response: Response | None = None) -> tuple[str, bytes]:
        """The content type and the prelude of the response, which counts as started."""
        if self.started or self.ended:
            raise StreamMisused("the response stream has already started or ended")
        if response is None and self._head is not None:
            response = Response(self._head.status, self._head.headers)
        if response and self.own_headers:
            response = with_headers(response, self.own_headers)
        prelude = encode_prelude(response, rest_api=self._rest_api, has_body=self._has_body) if response else b""
        if response and (not self._has_body or response.status in {204, 304}):
            self._write = _discard
        self.response = response
        self.started = True
        return PRELUDE_CONTENT_TYPE if response else DEFAULT_CONTENT_TYPE, prelude

    async def _put_first(self, data: bytes) -> None:
        try:
            await self._ensure_open()
            is_behind = self._write(data)
        finally:
            self._unsent -= 1
        if is_behind:
            await self._sink.drain()

    async def _ensure_open(self) -> None:
        if self.ended:
            raise StreamMisused("the response has ended")
        if not self.started:
            await self.start()
        async with self._start_lock:  # another task may be starting it while the client reconnects
            if not self._is_open:
                raise StreamMisused("the response could not be started")


class BufferedSink:
    """Collects the response for one buffered reply, for a front end or under a client that cannot stream.

    Args:
        front_end: What reads the reply.
        is_head: Whether only the headers were asked for.
    """

    def __init__(self, front_end: FrontEnd | None = None, *, is_head: bool = False) -> None:
        self._front_end, self._is_head = front_end, is_head
        self._body = bytearray()

    async def start_response(self, content_type: str, prelude: bytes) -> None:
        """Do nothing: the response is one piece."""

    def write(self, data: bytes) -> bool:
        """Append to the buffer."""
        self._body += data
        return False

    async def drain(self) -> None:
        """Return immediately: a buffer has no backpressure."""

    async def end_response(self, failure: ErrorReport | None) -> None:
        """Do nothing: the response is sent when the handler returns."""

    def result(self, response: Response | None) -> Any:
        """What a handler that does not stream would have returned."""
        body = bytes(self._body)
        if response is None:
            return body
        return buffered_response(response, body, self._front_end, has_body=not self._is_head)


def _discard(_: bytes) -> bool:
    """Write nothing: whoever asks for headers alone, or is told that nothing has changed, takes no body."""
    return False


def as_bytes(data: object) -> bytes:
    """Convert body data to bytes; text becomes UTF-8.

    Raises:
        TypeError: The data is neither bytes nor text.
    """
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    raise TypeError(f"a response stream takes bytes or str, not {type(data).__name__}")


def open_stream(
    sink: S | None, front_end: FrontEnd | None, *, is_head: bool
) -> tuple[ResponseStream, S | BufferedSink]:
    """The response stream for one event, and the sink it writes to.

    Args:
        sink: Where the bytes go, if what sent the event can read a stream; None collects them for it in any case.
        front_end: What sent the event; None if the event is no HTTP request.
        is_head: Whether only the headers were asked for.
    """
    can_stream = front_end in {None, FrontEnd.FUNCTION_URL, FrontEnd.REST_API}  # others wait for one JSON document
    chosen = sink if sink is not None and can_stream else BufferedSink(front_end, is_head=is_head)
    stream = ResponseStream(chosen, http=front_end is not None, rest_api=front_end is FrontEnd.REST_API)
    stream._has_body = not is_head  # noqa: SLF001 - of this module
    return stream, chosen
