"""A scripted model provider on a loopback socket, in the test's own event loop: a script answers each request.

Real sockets and real HTTP, but the clock is the test's: with `tests.clock.jumping` nobody waits.
"""

import asyncio
import contextlib
import ctypes
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from winterbourne.chat.infra import http_pool

__all__ = ["Exchange", "Script", "Upstream", "failing", "saying", "upstream"]


@dataclass
class Exchange:
    """One request and the means to answer it."""

    head: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    sent: int = 0

    async def start(self, status: int = 200, **headers: str) -> None:
        """Send the head of a chunked response; `content_type="x"` becomes `content-type: x`."""
        lines = {"content_type": "text/event-stream", "transfer_encoding": "chunked", **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
        self.writer.write(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode())
        await self.writer.drain()

    async def send(self, data: bytes) -> None:
        """Send one chunk."""
        self.writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.sent += len(data)
        await self.writer.drain()

    async def end(self) -> None:
        """End the response properly."""
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    def cut(self) -> None:
        """Break the connection."""
        self.writer.transport.abort()

    def drop_packets(self) -> None:
        """Lose what the other side sends from now on, and acknowledge none of it. Linux only."""
        drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # classic BPF: return 0
        program = struct.pack("HL", 1, ctypes.addressof(drop_all))
        attach_filter = 26  # SO_ATTACH_FILTER, which the socket module does not name
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, attach_filter, program)

    async def gone(self) -> None:
        """Wait until the other side has closed the connection."""
        with contextlib.suppress(ConnectionError):
            await self.reader.read()


Script = Callable[[Exchange], Awaitable[None]]


@dataclass
class Upstream:
    """The server: its URL, and the connections and requests it received."""

    url: str = ""
    connections: int = 0
    requests: list[Exchange] = field(default_factory=list)


def saying(data: bytes) -> Script:
    """Answer with these bytes in one chunk."""

    async def answer(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.send(data)
        await exchange.end()

    return answer


def failing(status: int, body: bytes = b"{}", **headers: str) -> Script:
    """Answer with an error."""

    async def answer(exchange: Exchange) -> None:
        await exchange.start(status, content_type="application/json", **headers)
        await exchange.send(body)
        await exchange.end()

    return answer


@contextlib.asynccontextmanager
async def upstream(*scripts: Script) -> AsyncIterator[Upstream]:
    """Serve; each request takes the next script, and the last one is repeated. Closes the shared pool at the end."""
    server = Upstream()
    left = list(scripts)
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        server.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                exchange = await _request(reader, writer)
                server.requests.append(exchange)
                await (left.pop(0) if len(left) > 1 else left[0])(exchange)
        writer.transport.abort()

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        await http_pool.close()
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)


async def _request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange:
    head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    pairs = (line.split(": ", 1) for line in lines if line)
    headers = {name.lower(): value for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Exchange(head, headers, body, reader, writer)
