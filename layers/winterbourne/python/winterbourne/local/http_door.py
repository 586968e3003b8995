"""Doors that hand over HTTP: a small proxy in front of an ASGI server, which changes what the platform's own changes.

One request is one connection to the server, so that a client that has gone can be told by closing it.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import ClassVar, Final

import h11

from winterbourne.local.asgi_servers import Connection
from winterbourne.local.event_door import Answer, json_answer
from winterbourne.local.function_config import FunctionConfig, base_variables
from winterbourne.local.http_server import BodyTooLarge, Exchange, IncompleteRequest, decode_headers, next_event
from winterbourne.local.tasks import cancel_all

__all__ = ["HttpDoor"]

HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "expect", "content-length"})

Pairs = list[tuple[str, str]]
Connect = Callable[[], AbstractAsyncContextManager[Connection]]


class HttpDoor:
    """The door `asgi`: a stock server with nothing in front of it. The other doors are subclasses.

    Args:
        connect: Connects to the server.
        timeout_s: How long a request may take, where the door enforces that.
        log_access: Gets one line per request.

    Attributes:
        setting: ASGI_DOOR of a chat.
        grace_s: Seconds between SIGTERM and SIGKILL.
        tells_gone: Whether the application learns that a client has gone.
        enforces_timeout: Whether the door ends what takes longer than the timeout.
        request_limit: The most bytes of a body.
        root: The path in front of the application's own.
    """

    root = ""
    setting: ClassVar = "server"
    grace_s: ClassVar = 2.0
    tells_gone: ClassVar = True
    enforces_timeout: ClassVar = False
    request_limit: ClassVar[int] = 100 * 1024 * 1024

    def __init__(self, connect: Connect, *, timeout_s: float, log_access: Callable[[str], None]) -> None:
        self._connect, self._log_access = connect, log_access
        self._timeout_s = timeout_s if self.enforces_timeout else None

    @classmethod
    def variables(
        cls,
        function: FunctionConfig,
        user_environment: Mapping[str, str],
        address: str,  # noqa: ARG003 - of those that name it
    ) -> dict[str, str]:
        """The environment variables of a process that is to listen at this address."""
        return base_variables(function, user_environment)

    def answer_itself(self, exchange: Exchange) -> Answer | None:
        """The answer to a request that never reaches the application; None for all others."""

    def target(self, exchange: Exchange) -> str:
        """The path and query that the application is asked for."""
        return exchange.target

    def request_headers(self, exchange: Exchange) -> Pairs:
        """The headers that the application gets."""
        return exchange.headers

    def response_headers(self, headers: Pairs, request: Pairs) -> Pairs:  # noqa: ARG002 - of those that add some
        """The headers that the client gets, after those that the application got."""
        return headers

    def late(self) -> Answer:
        """The answer to a request whose response has not begun at the timeout."""
        return json_answer(504, message="Gateway Timeout")

    async def handle_request(self, exchange: Exchange) -> None:
        """Answer one request."""
        if answer := self.answer_itself(exchange):
            await exchange.respond(*answer)
            return
        started_at = time.perf_counter()
        try:
            remark = await self._relay(exchange, await exchange.read_body(self.request_limit))
        except BodyTooLarge:
            status, headers, body = json_answer(413, message="Request Entity Too Large")
            await exchange.respond(status, [*headers, ("connection", "close")], body)
            return
        size = f"{exchange.bytes_out:,} bytes in {time.perf_counter() - started_at:.3f} s"
        self._log_access(f"{exchange.method} {exchange.target} {exchange.status or '-'} {size}{remark}")

    async def _relay(self, exchange: Exchange, body: bytes) -> str:
        """Ask the application, and pass its response on; returns what is remarkable about that."""
        gone = asyncio.create_task(exchange.wait_for_disconnect())
        try:
            async with asyncio.timeout(self._timeout_s), self._connect() as connection:
                if self.tells_gone:
                    gone.add_done_callback(lambda _: connection[1].transport.abort())
                await self._exchange(exchange, body, connection)
        except TimeoutError:
            await self._cut(exchange)
            return ", cut at its timeout"
        except (ConnectionError, IncompleteRequest) as error:
            if not gone.done():
                await _fail(exchange, str(error))
                return ", the application did not answer in full"
        finally:
            was_gone = not gone.cancel()
            await cancel_all([gone])
        return ", the client disconnected before the end" if was_gone else ""

    async def _exchange(self, exchange: Exchange, body: bytes, connection: Connection) -> None:
        reader, writer = connection
        http, asked = h11.Connection(h11.CLIENT), self.request_headers(exchange)
        writer.write(_encode_request(http, exchange.method, self.target(exchange), asked, body))
        event = await next_event(http, reader)
        if not isinstance(event, h11.Response):
            raise IncompleteRequest("the application sent no response")
        headers = [pair for pair in decode_headers(event.headers) if pair[0] not in HOP_BY_HOP - {"content-length"}]
        await self._tell(exchange.start_response(event.status_code, self.response_headers(headers, asked)))
        while isinstance(event := await next_event(http, reader), h11.Data):
            await self._tell(exchange.write(bytes(event.data)))
        await self._tell(exchange.end_response())

    async def _tell(self, writing: Awaitable[None]) -> None:
        """Write to the client; if the application is not told that it has gone, the rest of its response is lost."""
        with contextlib.suppress(*() if self.tells_gone else (ConnectionError,)):
            await writing

    async def _cut(self, exchange: Exchange) -> None:
        """End what takes too long: a response that has begun ends as if it were whole, without any sign."""
        with contextlib.suppress(ConnectionError, h11.LocalProtocolError):  # or it had named its length
            await (exchange.end_response() if exchange.response_started else exchange.respond(*self.late()))


def _encode_request(http: h11.Connection, method: str, target: str, headers: Pairs, body: bytes) -> bytes:
    names = dict(headers).keys()
    kept = [(name.encode(), value.encode()) for name, value in headers if name not in HOP_BY_HOP]
    kept += [] if "host" in names else [(b"host", b"")]  # HTTP/1.0 may have none
    has_length = body or {"content-length", "transfer-encoding"} & names
    length = [(b"content-length", str(len(body)).encode())] if has_length else []
    request = h11.Request(method=method, target=target, headers=[*kept, *length])
    return b"".join([http.send(event) or b"" for event in (request, h11.Data(data=body), h11.EndOfMessage())])


async def _fail(exchange: Exchange, reason: str) -> None:
    """Why an application did not start is told to its developer alone."""
    if exchange.response_started:
        exchange.abort()
        return
    is_local = exchange.peer in {"127.0.0.1", "::1"}
    await exchange.respond(502, [("content-type", "text/plain")], reason.encode() if is_local else b"Bad Gateway")
