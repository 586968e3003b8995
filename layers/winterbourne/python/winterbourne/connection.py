"""Client of the Lambda Runtime API on asyncio: one persistent connection, reopened whenever it breaks.

Each poller has its own client. A response that fails costs its connection but not the next invocation:
`next_invocation` opens a new connection, with retries and exponential backoff.

The socket is our own, not a transport's, so that the watchdog's thread can write to it while the event loop stands
still: whoever builds bytes, sends them or parses a reply does so under `write_lock.LOCK`.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable

from winterbourne.errors import ErrorReport, RuntimeApiError, RuntimeApiUnavailable, StreamLost
from winterbourne.protocol import CHUNK, RESTORE_NEXT, Reply, RuntimeApiProtocol, State, Trigger
from winterbourne.write_lock import LOCK

__all__ = ["RuntimeClient"]

# As awslambdaric does where invocations share an environment: five attempts, 0.1 s backoff, doubling each time.
MAX_ATTEMPTS = 5
INITIAL_BACKOFF_S = 0.1

MAX_BACKLOG_BYTES = 64 * 1024  # a writer waits while more is unsent, as with asyncio's transports
READ_BYTES = 256 * 1024


class RuntimeClient:
    """Talks to the Runtime API for one poller; holds at most one invocation at a time.

    Args:
        address: `AWS_LAMBDA_RUNTIME_API`, as `host:port`.
    """

    def __init__(self, address: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._protocol = RuntimeApiProtocol(address)
        self._connection: _Connection | None = None
        self._pending_next: asyncio.Future[Reply] | None = None
        self._lost_reason = ""
        self._is_withdrawn = False

    @property
    def state(self) -> State:
        """The state of the protocol."""
        return self._protocol.state

    async def next_invocation(self) -> Reply | None:
        """Wait for the next invocation, without a timeout.

        Returns:
            Its ids, deadline and context in the headers, its event in the body. None if `withdraw` was in time.

        Raises:
            RuntimeApiUnavailable: Every attempt failed, or the Runtime API answered 500.
        """
        failures = 0
        while True:
            try:
                return await self._request(RuntimeApiProtocol.request_next)
            except (OSError, RuntimeApiError) as error:
                self._close_connection(str(error))
                if self._is_withdrawn:
                    return None
                failures += 1
                if failures == MAX_ATTEMPTS:
                    raise RuntimeApiUnavailable(f"no invocation after {MAX_ATTEMPTS} attempts: {error}") from error
            await asyncio.sleep(INITIAL_BACKOFF_S * 2 ** (failures - 1))

    def request_next(self) -> None:
        """Request the next invocation now if there is a connection; `next_invocation` waits for the reply."""
        if self._connection is not None:
            self._pending_next = self._connection.request(RuntimeApiProtocol.request_next)

    def withdraw(self) -> None:
        """Take back the request for the next invocation.

        Only our half of the connection is closed: an invocation that has just been handed out still arrives.
        """
        if self.state is State.POLLING and self._connection is not None:
            self._is_withdrawn = True
            self._connection.end_writing()

    async def start_response(self, content_type: str, prelude: bytes) -> None:
        """Start a streamed response. Unless it has to reconnect, it writes to the socket before it first suspends.

        Raises:
            StreamLost: The Runtime API cannot be reached.
        """
        try:
            connection = self._connection or await self._connect()
        except OSError as error:
            raise StreamLost(str(error)) from error
        connection.write(build=lambda protocol: protocol.start_response(content_type, prelude))

    def write(self, data: bytes) -> bool:
        """Write a chunk of the body to the socket immediately.

        Returns:
            Whether the caller must await `drain` for the reader to catch up (backpressure).

        Raises:
            StreamLost: Lambda has closed the response.
        """
        connection = self._connection
        if connection is None:
            raise StreamLost(self._lost_reason)
        if self._protocol.state is not State.STREAMING:
            self._protocol.transition(Trigger.CHUNK)  # says what is wrong
        return connection.write(CHUNK % (len(data), data))

    async def drain(self) -> None:
        """Wait until the socket accepts more data.

        Raises:
            StreamLost: Lambda closed the response in the meantime.
        """
        if connection := self._connection:
            connection.write_resumed.clear()
            await connection.write_resumed.wait()
        if connection is None or self._connection is not connection:
            raise StreamLost(self._lost_reason)

    async def end_response(self, failure: ErrorReport | None = None) -> None:
        """End the streamed response, with error trailers if it is a failure, and wait for its acknowledgement.

        Raises:
            StreamLost: The response was lost before its end.
        """
        if self.state is not State.STREAMING:
            raise StreamLost(self._lost_reason)
        end = RuntimeApiProtocol.end_response
        await self.deliver((lambda protocol: protocol.fail_response(failure)) if failure else end)

    async def deliver(self, build: "Build") -> None:
        """Send a request, or the rest of one, and wait until Lambda acknowledges it.

        Raises:
            StreamLost: The connection broke before the acknowledgement.
            RuntimeApiError: The Runtime API rejected the request.
            RuntimeApiUnavailable: The Runtime API answered 500.
        """
        try:
            await self._request(build)
        except OSError as error:
            raise StreamLost(str(error)) from error

    def send_now(self, build: "Build") -> None:
        """Send a part of a response from the watchdog's thread, which holds the lock.

        Raises:
            StreamLost: There is no connection.
        """
        if self._connection is None:
            raise StreamLost(self._lost_reason)
        self._connection.write(build=build)

    def start_now(self, content_type: str, prelude: bytes) -> None:
        """Start a streamed response from the watchdog's thread; see `send_now`."""
        self.send_now(lambda protocol: protocol.start_response(content_type, prelude))

    def flush_now(self) -> None:
        """Send from the watchdog's thread, which holds the lock, what the reader was too slow for."""
        if self._connection:
            self._connection.flush()

    def is_acknowledged(self) -> bool:
        """Look once more, on the watchdog's thread, which keeps the lock; return whether all is over."""
        if self._connection and self.state is State.AWAITING_ACK:
            self._connection.flush()
            self._connection.receive()
        return self.state is not State.AWAITING_ACK

    async def restore_next(self) -> None:
        """Signal that a snapshot may be taken; return after the restore, with the old connection closed."""
        await self._request(lambda protocol: protocol.call(RESTORE_NEXT))
        self._close_connection("the connection was made before the snapshot")

    def close(self) -> None:
        """Close the connection; anything in flight is lost."""
        if self._pending_next is not None:
            self._pending_next.cancel()
        self._close_connection("this process closed it")

    async def _request(self, build: "Build") -> Reply:
        """Send a request, unless `request_next` has sent it already, and wait for its reply."""
        pending, self._pending_next = self._pending_next, None
        if pending is None:
            connection = self._connection or await self._connect()
            pending = connection.request(build)
        reply = await pending
        if self._is_withdrawn or not reply.keeps_connection:
            self._is_withdrawn = False
            self._close_connection("the Runtime API closed it")
        if reply.status == 500:
            raise RuntimeApiUnavailable(f"the Runtime API answered 500 to {reply.path}, so this process must exit")
        if reply.status // 100 != 2:
            raise RuntimeApiError(reply.path, reply.status, reply.body)
        return reply

    async def _connect(self) -> "_Connection":
        opened = socket.socket()
        opened.settimeout(0)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.get_running_loop().sock_connect(opened, (self._host, self._port))
        except BaseException:
            opened.close()
            raise
        self._connection = _Connection(opened, self._protocol, self._on_connection_lost)
        return self._connection

    def _on_connection_lost(self, connection: "_Connection", reason: str) -> None:
        if connection is self._connection:
            self._close_connection(reason)

    def _close_connection(self, reason: str) -> None:
        with LOCK:
            connection, self._connection, self._lost_reason = self._connection, None, reason
            if connection is not None:
                self._protocol.connection_lost()
                connection.abort()


class _Connection:
    """One TCP connection: feeds received bytes to the protocol and resolves the pending request with the reply."""

    def __init__(self, opened: socket.socket, protocol: RuntimeApiProtocol, on_lost: "OnLost") -> None:
        self.write_resumed = asyncio.Event()
        self._socket, self._send = opened, opened.send
        self._protocol = protocol
        self._on_lost = on_lost
        self._backlog = bytearray()
        self._pending_reply: asyncio.Future[Reply] | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(opened, self.receive)

    def request(self, build: "Build") -> asyncio.Future[Reply]:
        """Build and write a complete request, or the rest of one; the future resolves to its reply."""
        self.write(build=build)
        self._pending_reply = self._loop.create_future()
        return self._pending_reply

    def write(self, data: bytes = b"", build: "Build | None" = None) -> bool:
        """Send what the socket takes of the data, or of what `build` makes, in order, and keep the rest; any thread.

        Returns:
            Whether too much is kept.
        """
        with LOCK:
            if build:
                data = build(self._protocol)
            if self._backlog:
                self._backlog += data
            else:
                try:
                    sent = self._send(data)
                except OSError as error:
                    sent = self._unsent(error, data)
                if sent == len(data):
                    return False
                self._backlog += data[sent:]
                self._loop.call_soon_threadsafe(self._follow_backlog)
            return len(self._backlog) > MAX_BACKLOG_BYTES

    def flush(self) -> None:
        """Send of the rest what the socket takes, on any thread."""
        with LOCK:
            try:
                sent = self._send(self._backlog)
            except OSError as error:
                sent = self._unsent(error, self._backlog)
            del self._backlog[:sent]

    def _unsent(self, error: OSError, data: bytes | bytearray) -> int:
        """How much of the data need not be sent again."""
        if isinstance(error, BlockingIOError | InterruptedError):
            return 0
        self._loop.call_soon_threadsafe(self._on_lost, self, str(error))
        return len(data)  # nobody reads it

    def end_writing(self) -> None:
        """Close our half of the connection; what is unsent is not sent."""
        with contextlib.suppress(OSError):  # the other end has closed it
            self._socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """Close the connection and wake everything that waits for it."""
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self.write_resumed.set()
        if self._pending_reply is not None and not self._pending_reply.done():
            self._pending_reply.set_exception(ConnectionResetError("the connection to the Runtime API was lost"))

    def receive(self) -> None:
        """Read what has arrived, and hand on the reply if it is complete."""
        with LOCK:
            try:
                data = self._socket.recv(READ_BYTES)
                reply = self._protocol.receive_data(data)  # without a length, a reply ends with the connection
            except (BlockingIOError, InterruptedError):
                return
            except (OSError, RuntimeApiError) as error:
                self._on_lost(self, str(error))
                return
        if reply and self._pending_reply and not self._pending_reply.done():
            self._pending_reply.set_result(reply)
        elif reply:
            reason = f"the Runtime API answered {reply.status} before the response ended: "
            self._on_lost(self, reason + reply.body.decode(errors="replace"))
        if not data:
            self._on_lost(self, "the Runtime API closed the connection")

    def _follow_backlog(self) -> None:
        """Send of the rest what the socket takes, here and whenever it takes more."""
        if self._socket.fileno() < 0:
            return
        self.flush()
        if self._backlog:
            self._loop.add_writer(self._socket, self._follow_backlog)
        else:
            self._loop.remove_writer(self._socket)
            self.write_resumed.set()


Build = Callable[[RuntimeApiProtocol], bytes]
OnLost = Callable[[_Connection, str], None]
