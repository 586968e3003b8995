"""The asyncio shell around the exchange: one connection to the Runtime API, made anew whenever it breaks.

Each poller has one client. A response that fails takes its connection with it, never the next invocation: `next` finds
the connection gone and opens another.
"""

import asyncio
from collections.abc import Callable

from winterbourne.errors import ErrorReport, RuntimeApiDown, RuntimeApiError, StreamLost
from winterbourne.invocation import Invocation
from winterbourne.protocol import INIT_ERROR, RESTORE_ERROR, RESTORE_NEXT, Exchange, Reply, State

__all__ = ["RuntimeClient"]

# As the stock client where many invocations share an environment: five attempts, 0.1 s before the second, doubling.
ATTEMPTS = 5
FIRST_DELAY_S = 0.1


class RuntimeClient:
    """Speaks to the Runtime API for one poller; at most one invocation is in hand.

    Args:
        address: `AWS_LAMBDA_RUNTIME_API`, as `host:port`.
    """

    def __init__(self, address: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._exchange = Exchange(address)
        self._line: _Line | None = None
        self._asked: asyncio.Future[Reply] | None = None
        self._why_lost = ""

    @property
    def sending(self) -> bool:
        """Whether a streamed response is under way."""
        return self._exchange.state is State.SENDING

    @property
    def undecided(self) -> bool:
        """Whether the invocation in hand has seen neither response nor error."""
        return self._exchange.state is State.OPEN

    async def next(self) -> Invocation:
        """Wait for the next invocation, as long as it takes.

        Raises:
            RuntimeApiDown: Every attempt failed, or the Runtime API answered 500.
        """
        delay_s = FIRST_DELAY_S
        for attempt in range(1, ATTEMPTS + 1):
            try:
                asked, self._asked = self._asked, None
                reply = await (self._settled(asked) if asked else self._request(self._exchange.ask))
                return Invocation(reply.headers, reply.body)
            except (OSError, RuntimeApiError) as error:
                self._drop(str(error))
                if attempt == ATTEMPTS:
                    raise RuntimeApiDown(f"no invocation after {ATTEMPTS} attempts: {error}") from error
            await asyncio.sleep(delay_s)
            delay_s *= 2
        raise AssertionError  # unreachable: the last attempt returned or raised

    def ask(self) -> None:
        """Ask for the next invocation now, if the connection stands; `next` waits for the answer."""
        if self._line is not None:
            self._asked = self._line.request(self._exchange.ask())

    async def begin(self, content_type: str, first: bytes) -> None:
        """Begin a streamed response; on the socket before the first suspension unless the connection had gone.

        Raises:
            StreamLost: The Runtime API cannot be reached.
        """
        try:
            line = self._line or await self._connect()
        except OSError as error:
            raise StreamLost(str(error)) from error
        line.transport.write(self._exchange.begin(content_type, first))

    def send(self, data: bytes) -> bool:
        """Put a piece of the body on the socket, at once.

        Returns:
            Whether the sender must wait, with `drained`, for the reader to catch up.

        Raises:
            StreamLost: Lambda has closed the response.
        """
        line = self._line
        if line is None:
            raise StreamLost(self._why_lost)
        line.transport.write(self._exchange.chunk(data))
        return line.paused

    async def drained(self) -> None:
        """Wait until the socket takes more.

        Raises:
            StreamLost: Lambda has closed the response meanwhile.
        """
        line = self._line
        if line is not None:
            await line.resumed.wait()
        if line is None or self._line is not line:
            raise StreamLost(self._why_lost)

    async def finish(self) -> None:
        """End the streamed response and wait for its acknowledgement.

        Raises:
            StreamLost: It was lost before.
        """
        if not self.sending:
            raise StreamLost(self._why_lost)
        await self._conclude(self._exchange.finish)

    async def fail(self, error: ErrorReport) -> None:
        """End the streamed response with error trailers."""
        await self._conclude(lambda: self._exchange.fail(error))

    async def answer(self, body: bytes, content_type: str) -> None:
        """Send a buffered response."""
        await self._conclude(lambda: self._exchange.answer(body, content_type))

    async def report(self, error: ErrorReport) -> None:
        """Send an error in place of a response."""
        await self._conclude(lambda: self._exchange.report(error))

    async def init_error(self, error: ErrorReport, error_type: str = "") -> None:
        """Tell that the function could not be started."""
        await self._conclude(lambda: self._exchange.call(INIT_ERROR, error, error_type))

    async def restore_next(self) -> None:
        """Say that a snapshot may be taken; return once the environment was restored from it, on a new connection."""
        (await self._request(lambda: self._exchange.call(RESTORE_NEXT))).require_success()
        self._drop("the connection was made before the snapshot")

    async def restore_error(self, error: ErrorReport, error_type: str) -> None:
        """Tell that a hook failed after the restore."""
        await self._conclude(lambda: self._exchange.call(RESTORE_ERROR, error, error_type))

    def close(self) -> None:
        """Close the connection; whatever was in flight is lost."""
        if self._asked is not None:
            self._asked.cancel()
        self._drop("this process closed it")

    # Private methods

    async def _conclude(self, step: Callable[[], bytes]) -> None:
        """Take a step that Lambda acknowledges.

        Raises:
            StreamLost: The connection broke before it did.
            RuntimeApiError: It refused.
            RuntimeApiDown: It answered 500.
        """
        try:
            await self._request(step)
        except OSError as error:
            raise StreamLost(str(error)) from error

    async def _request(self, step: Callable[[], bytes]) -> Reply:
        line = self._line or await self._connect()
        return await self._settled(line.request(step()))

    async def _settled(self, asked: asyncio.Future[Reply]) -> Reply:
        reply = await asked
        if not self._exchange.reusable:
            self._drop("the Runtime API closed it")
        if reply.status == 500:
            raise RuntimeApiDown(f"the Runtime API answered 500 to {reply.path}: it asks this process to end")
        return reply.require_success()

    async def _connect(self) -> "_Line":
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(lambda: _Line(self._exchange, self._lost), self._host, self._port)
        self._line = line
        return line

    def _lost(self, line: "_Line", why: str) -> None:
        if line is self._line:
            self._drop(why)

    def _drop(self, why: str) -> None:
        line, self._line, self._why_lost = self._line, None, why
        if line is not None:
            self._exchange.lost()
            line.drop()


class _Line(asyncio.Protocol):
    """One connection: bytes in go to the exchange, its reply goes to the one who waits for it."""

    transport: asyncio.Transport

    def __init__(self, exchange: Exchange, lost: "Callable[[_Line, str], None]") -> None:
        self.paused = False
        self.resumed = asyncio.Event()
        self._exchange = exchange
        self._lost = lost
        self._reply: asyncio.Future[Reply] | None = None

    def request(self, data: bytes) -> asyncio.Future[Reply]:
        """Write the end of a request; its reply will come."""
        self._reply = asyncio.get_running_loop().create_future()
        self.transport.write(data)
        return self._reply

    def drop(self) -> None:
        """Close it and wake everyone who waits for it."""
        self.transport.abort()
        self.resumed.set()
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(ConnectionResetError("the connection to the Runtime API was lost"))

    # Callbacks of asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - it is for a stream connection
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            reply = self._exchange.feed(data)
        except RuntimeApiError as error:
            self._lost(self, str(error))
            return
        if reply is None:
            return
        if self._reply is None or self._reply.done():
            answer = f"the Runtime API answered {reply.status} before the response had ended: "
            self._lost(self, answer + reply.body.decode(errors="replace"))
        else:
            self._reply.set_result(reply)

    def eof_received(self) -> None:
        self.data_received(b"")  # the end of a reply that has no length is the end of the connection

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(self, str(exc or "the Runtime API closed the connection"))

    def pause_writing(self) -> None:
        self.paused = True
        self.resumed.clear()

    def resume_writing(self) -> None:
        self.paused = False
        self.resumed.set()
