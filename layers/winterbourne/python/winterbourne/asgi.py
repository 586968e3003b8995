"""ASGI adapter: turns an event into a scope, and an application's messages into writes to the response stream.

https://asgi.readthedocs.io/en/stable/specs/www.html
"""

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

from winterbourne.errors import RuntimeFault, StreamLost, StreamMisused
from winterbourne.http_event import read_http_event
from winterbourne.invocation import LambdaContext, check_front_end, is_head_request
from winterbourne.lifecycle import on_shutdown, on_startup
from winterbourne.prelude import Response
from winterbourne.stream import ResponseStream

__all__ = ["AsgiHandler", "build_scope"]

_LOGGER = logging.getLogger(__name__)

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

# Since 2.4, `send` raises an OSError once the client has disconnected; StreamLost is one.
ASGI_VERSION = {"version": "3.0", "spec_version": "2.4"}


class AsgiHandler:
    """Serves an ASGI application; its lifespan is that of the execution environment.

    Args:
        application: A callable of `scope`, `receive` and `send`.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._lifespan = _Lifespan(application)
        on_startup(self._lifespan.startup)
        on_shutdown(self._lifespan.shutdown)

    async def __call__(self, event: Any, stream: ResponseStream, context: LambdaContext) -> None:
        """Handle one HTTP event.

        Raises:
            RuntimeFault: The event is not an HTTP event.
            StreamMisused: The application returned without a response, or before its end.
        """
        scope = {**build_scope(event), "aws.event": event, "aws.context": context, "state": self._lifespan.state.copy()}
        cycle = _HttpCycle(_decode_body(event), stream, is_head=is_head_request(event))
        await self._application(scope, cycle.receive, cycle.send)
        if not stream.started:
            raise StreamMisused("the application returned without a response")
        if not cycle.disconnected.is_set():
            raise StreamMisused("the application returned before the end of its response")


class _HttpCycle:
    """One HTTP request and its response: the application's `receive` and `send`."""

    def __init__(self, body: bytes, stream: ResponseStream, *, is_head: bool) -> None:
        self._body: bytes | None = body
        self._stream = stream
        self._is_head = is_head
        self._missing_bytes = 0  # of the content length that the application declared
        self.disconnected = asyncio.Event()  # when the response ends or is lost: Lambda reports no others

    async def receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.disconnected.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Send a part of the response.

        Raises:
            StreamMisused: The application broke the protocol, or its body is shorter than it declared.
            StreamLost: Lambda has closed the response.
        """
        try:
            if message["type"] == "http.response.start":
                await self._start(message)
            elif message["type"] == "http.response.body":
                await self._send_body(message.get("body", b""), more_body=message.get("more_body", False))
        except StreamLost:
            self.disconnected.set()
            raise

    async def _start(self, message: Message) -> None:
        headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in message.get("headers", ())]
        await self._stream.start(Response(message["status"], headers))
        length = next((value for name, value in headers if name.lower() == "content-length"), "")
        if length.isdecimal() and not self._is_head and message["status"] != 304:
            self._missing_bytes = int(length)

    async def _send_body(self, body: bytes, *, more_body: bool) -> None:
        if not self._stream.started:
            raise StreamMisused("the application sent a body before the start of its response")
        self._missing_bytes -= len(body)
        await self._stream.write(body)
        if more_body:
            return
        if self._missing_bytes > 0:
            raise StreamMisused(f"the body is {self._missing_bytes} bytes shorter than the content-length")
        await self._stream.end()  # the client has its response while background tasks run
        self.disconnected.set()


class _Lifespan:
    """The application's lifespan protocol, run in one task from `startup` to `shutdown`."""

    def __init__(self, application: Application) -> None:
        self.state: dict[str, Any] = {}
        self._application = application
        self._receive_queue: asyncio.Queue[Message] = asyncio.Queue()
        self._send_queue: asyncio.Queue[Message | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Run the application's startup.

        Raises:
            RuntimeFault: The application sent `lifespan.startup.failed`.
        """
        self._task = asyncio.create_task(self._run(), name="lifespan")
        await self._run_phase("startup")

    async def shutdown(self) -> None:
        """Run the application's shutdown, if it supports the lifespan protocol."""
        if self._task is None or self._task.done():
            return
        try:
            await self._run_phase("shutdown")
        finally:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run_phase(self, phase: str) -> None:
        self._receive_queue.put_nowait({"type": f"lifespan.{phase}"})
        reply = await self._send_queue.get()
        if reply and reply["type"] == f"lifespan.{phase}.failed":
            reason = reply.get("message", "")
            raise RuntimeFault("Runtime.LifespanFailed", f"the application failed at {phase}: {reason}")

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": ASGI_VERSION, "state": self.state}
        try:
            await self._application(scope, self._receive_queue.get, self._send_queue.put)
        except Exception:  # by the specification: no lifespan support; serve it without
            _LOGGER.info("the application does not support the lifespan protocol", exc_info=True)
        finally:
            self._send_queue.put_nowait(None)


def build_scope(event: Any) -> Message:
    """Build the `http` scope for an event.

    Raises:
        RuntimeFault: The event did not come from an HTTP front end.
    """
    request = read_http_event(event, check_front_end(event, "an ASGI application"))
    headers = dict(request.headers)
    host, port = _host_and_port(headers.get("host", ""))
    scheme = headers.get("x-forwarded-proto", "https")
    port = headers.get("x-forwarded-port", "") or port
    default_port = 80 if scheme == "http" else 443
    return {
        "type": "http",
        "asgi": ASGI_VERSION,
        "http_version": "1.1",
        "scheme": scheme,
        "method": request.method,
        "path": unquote(request.root_path + request.raw_path),
        "raw_path": (request.root_path + request.raw_path).encode(),
        "root_path": unquote(request.root_path),
        "query_string": request.raw_query.encode(),
        "headers": [
            (name.encode("latin-1", "replace"), text.encode("latin-1", "replace")) for name, text in request.headers
        ],
        "client": (request.client, 0),
        "server": (host, int(port) if port.isdecimal() else default_port),
    }


def _host_and_port(text: str) -> tuple[str, str]:
    """Split a Host header; an IPv6 address contains colons, inside brackets."""
    host, colon, port = text.rpartition(":")
    host, port = (host, port) if colon and not port.endswith("]") else (text, "")
    return host.strip("[]"), port


def _decode_body(event: Message) -> bytes:
    body: str = event.get("body") or ""
    return base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
