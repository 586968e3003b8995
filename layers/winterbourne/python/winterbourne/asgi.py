"""ASGI adapter: turns an event into a scope, and an application's messages into writes to the response stream.

For function URLs (payload 2.0) and API Gateway REST APIs with streaming (payload 1.0).
https://asgi.readthedocs.io/en/stable/specs/www.html
https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
"""

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import unquote, urlencode

from winterbourne.errors import RuntimeFault, StreamLost, StreamMisused
from winterbourne.invocation import LambdaContext, is_http, is_rest_api
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
            StreamMisused: The application returned without a response.
        """
        scope = {**build_scope(event), "aws.event": event, "aws.context": context, "state": self._lifespan.state.copy()}
        cycle = _HttpCycle(_decode_body(event), stream)
        await self._application(scope, cycle.receive, cycle.send)
        if not stream.started:
            raise StreamMisused("the application returned without a response")


class _HttpCycle:
    """One HTTP request and its response: the application's `receive` and `send`."""

    def __init__(self, body: bytes, stream: ResponseStream) -> None:
        self._body: bytes | None = body
        self._stream = stream
        self._disconnected = asyncio.Event()

    async def receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        # Lambda does not report disconnects: the event is set when the response ends or is lost.
        await self._disconnected.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        try:
            if message["type"] == "http.response.start":
                headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in message.get("headers", ())]
                await self._stream.start(Response(message["status"], headers))
            elif message["type"] == "http.response.body":
                await self._stream.write(message.get("body", b""))
                if not message.get("more_body", False):
                    await self._stream.end()  # the client has its response while background tasks run
                    self._disconnected.set()
        except StreamLost:
            self._disconnected.set()
            raise


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
    if not is_http(event):
        message = "an ASGI application accepts events of function URLs and REST APIs only"
        raise RuntimeFault("Runtime.NotAnHttpEvent", message)
    scope = _rest_api_scope(event) if is_rest_api(event) else _function_url_scope(event)
    headers = dict(scope["headers"])
    host, port = _host_and_port(headers.get(b"host", b"").decode("latin-1"))
    scheme = headers.get(b"x-forwarded-proto", b"https").decode("latin-1")
    port = headers.get(b"x-forwarded-port", b"").decode("latin-1") or port
    default_port = 80 if scheme == "http" else 443
    common = {"type": "http", "asgi": ASGI_VERSION, "http_version": "1.1", "scheme": scheme, "root_path": ""}
    return {**common, "server": (host, int(port) if port.isdecimal() else default_port), **scope}


def _host_and_port(text: str) -> tuple[str, str]:
    """Split a Host header; an IPv6 address contains colons, inside brackets."""
    host, colon, port = text.rpartition(":")
    return (host, port) if colon and not port.endswith("]") else (text, "")


def _function_url_scope(event: Message) -> Message:
    """Payload 2.0: one value per header, cookies listed separately."""
    http = event["requestContext"]["http"]
    headers = _encode_headers(event.get("headers", {}).items())
    if cookies := event.get("cookies"):
        headers = [each for each in headers if each[0] != b"cookie"]
        headers.append((b"cookie", "; ".join(cookies).encode("latin-1", "replace")))
    path = event.get("rawPath") or "/"
    return {
        "method": http["method"],
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": event.get("rawQueryString", "").encode(),
        "headers": headers,
        "client": (http.get("sourceIp", ""), 0),
    }


def _rest_api_scope(event: Message) -> Message:
    """Payload 1.0: lists of values; a stage or base path in front of `path` becomes the `root_path`."""
    request = event["requestContext"]
    headers = event.get("multiValueHeaders") or {n: [v] for n, v in (event.get("headers") or {}).items()}
    query = event.get("multiValueQueryStringParameters") or event.get("queryStringParameters") or {}
    full_path, path = request.get("path", ""), event.get("path") or "/"
    root_path = full_path[: -len(path)] if full_path != path and full_path.endswith(path) else ""
    return {
        "method": event["httpMethod"],
        "path": root_path + path,
        "raw_path": (root_path + path).encode(),
        "root_path": root_path,
        "query_string": urlencode(query, doseq=True).encode(),
        "headers": _encode_headers((name, value) for name, values in headers.items() for value in values),
        "client": (request.get("identity", {}).get("sourceIp", ""), 0),
    }


def _encode_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers]


def _decode_body(event: Message) -> bytes:
    body: str = event.get("body") or ""
    return base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
