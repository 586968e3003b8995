"""The response stream a handler writes to, and the two places its bytes can go: Lambda's socket, or one answer.

Push: what is written is handed to the socket in the caller's own turn of the loop; no queue and no task lie between.
"""

import asyncio
from typing import Any, Protocol

from winterbourne.errors import StreamMisused
from winterbourne.prelude import DEFAULT_CONTENT_TYPE, PRELUDE_CONTENT_TYPE, Response, buffered_response, encode_prelude

__all__ = ["BufferedSink", "ResponseStream", "Sink", "as_bytes"]


class Sink(Protocol):
    """Where the bytes of a response stream go."""

    async def start_response(self, content_type: str, prelude: bytes) -> None:
        """Begin with the prelude, which is empty where nobody would read one."""

    def write(self, data: bytes) -> bool:
        """Take a piece at once; say whether the sender must wait for `drained`."""

    async def drain(self) -> None:
        """Wait until more can be taken."""

    async def end_response(self) -> None:
        """End the response."""


class ResponseStream:
    """What a handler writes its response to. Every method may be called from any task of the loop.

    Args:
        sink: Where the bytes go.
        http: Whether an HTTP front end reads them, so that a prelude goes first even if nobody gave a `Response`.
        rest_api: Whether that front end is an API Gateway REST API.
    """

    def __init__(self, sink: Sink, *, http: bool = True, rest_api: bool = False) -> None:
        self.response: Response | None = None
        self._sink = sink
        self._sink_write = sink.write
        self._http = http
        self._rest_api = rest_api
        self._started = self._is_open = self._ended = False
        self._start_lock = asyncio.Lock()

    @property
    def started(self) -> bool:
        """Whether status and headers are decided, so that an error can no longer become the response."""
        return self._started

    @property
    def ended(self) -> bool:
        """Whether nothing more can be written."""
        return self._ended

    async def start(self, response: Response | None = None) -> None:
        """Send status, headers and cookies, at once.

        Args:
            response: None sends what `write` without a `start` sends: status 200 to an HTTP front end, and no
                prelude to anyone else.

        Raises:
            StreamMisused: The stream was started before.
            PreludeTooLarge: The response does not fit; the stream is as it was.
            StreamLost: Lambda has closed the response.
        """
        if self._started or self._ended:
            raise StreamMisused("a response stream starts once")
        response = response or (Response() if self._http else None)
        prelude = encode_prelude(response, rest_api=self._rest_api) if response else b""
        self.response = response
        self._started = True
        async with self._start_lock:
            await self._sink.start_response(PRELUDE_CONTENT_TYPE if response else DEFAULT_CONTENT_TYPE, prelude)
            self._is_open = True

    async def write(self, data: bytes | str) -> None:
        """Send a piece of the body.

        It is on the socket before the first suspension; then this waits only if the reader is slow.

        Args:
            data: Bytes, or text to send as UTF-8. Empty pieces send nothing.

        Raises:
            StreamMisused: The stream has ended.
            StreamLost: Lambda has closed the response; whatever is written goes nowhere.
        """
        if not self._is_open or self._ended:
            await self._ensure_open()
        if not isinstance(data, bytes):
            data = as_bytes(data)
        if data and self._sink_write(data):
            await self._sink.drain()

    async def end(self) -> None:
        """End the response now, while the handler goes on; without this it ends when the handler returns."""
        if self._ended:
            return
        if not self._started:
            await self.start()
        self._ended = True
        await self._sink.end_response()

    def close(self) -> None:
        """Refuse everything from here on; sends nothing."""
        self._ended = True

    async def _ensure_open(self) -> None:
        if self._ended:
            raise StreamMisused("the response has ended")
        if not self._started:
            await self.start()
        async with self._start_lock:  # another task may be at it, on a connection that has to be made anew
            if not self._is_open:
                raise StreamMisused("the response could not be started")


class BufferedSink:
    """A sink that keeps everything, for one buffered answer: under a client that cannot stream, and under sam."""

    def __init__(self) -> None:
        self._content_type = ""
        self._body = bytearray()

    async def start_response(self, content_type: str, prelude: bytes) -> None:  # noqa: ARG002 - `answer` makes its own head
        """Keep whether a prelude was wanted."""
        self._content_type = content_type

    def write(self, data: bytes) -> bool:
        """Keep it."""
        self._body += data
        return False

    async def drain(self) -> None:
        """Return at once: memory always takes more."""

    async def end_response(self) -> None:
        """Do nothing: the answer goes out when the handler returns."""

    def result(self, response: Response | None) -> Any:
        """What a handler that does not stream would have returned."""
        if response is None:
            return bytes(self._body)
        return buffered_response(response, bytes(self._body))


def as_bytes(data: object) -> bytes:
    """What a function gave for the body.

    Raises:
        TypeError: It is neither bytes nor text.
    """
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    raise TypeError(f"a response stream takes bytes or str, not {type(data).__name__}")
