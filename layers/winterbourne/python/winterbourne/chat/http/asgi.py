"""ASGI application: a chat behind any ASGI server, through the same service as on Lambda.

A request becomes an event of payload format 2.0, and what is written to the response stream becomes ASGI messages.
https://asgi.readthedocs.io/en/stable/specs/www.html
"""

import asyncio
import contextlib
import json
import time
import uuid
from typing import Final
from urllib.parse import quote

import msgspec

from winterbourne import LambdaContext, ResponseStream
from winterbourne.asgi import Message, Receive, Send
from winterbourne.chat.http.service import Service
from winterbourne.chat.infra.exception_text import format_exception
from winterbourne.invocation import FrontEnd
from winterbourne.large_body import LargeBody
from winterbourne.lifecycle import run_shutdown, run_startup
from winterbourne.prelude import SEPARATOR
from winterbourne.stream import open_stream

__all__ = ["AsgiApplication"]

REQUEST_TIMEOUT_MS: Final = 900_000
"""As long as a Lambda function may run: the answer ends before that."""


class AsgiApplication(msgspec.Struct, frozen=True):
    """Serves a chat: HTTP, and the lifespan, which runs the hooks for start-up and shutdown.

    Attributes:
        service: Answers the requests.
        max_body_bytes: Of a longer body no more is read; the service refuses it.
    """

    service: Service
    max_body_bytes: int

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection; what is neither HTTP nor the lifespan is not accepted.

        Raises:
            ChatError: An unexpected error after the start of a response, which the server then breaks off.

        Cancellation:
            Cancels the request, and waits until it has saved what it has.
        """
        if scope["type"] == "lifespan":
            await _run_lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        body, size = list[bytes](), 0
        message: Message = {"more_body": True}
        while message.get("more_body") and size <= self.max_body_bytes:
            message = await receive()
            body.append(message.get("body", b""))
            size += len(message.get("body", b""))
        stream, _ = open_stream(_Sink(send), FrontEnd.FUNCTION_URL, is_head=scope["method"] == "HEAD")
        event = _event(scope, body)
        body.clear()
        handling = asyncio.create_task(self._handle(event, stream))
        hanging_up = asyncio.create_task(_wait_for_disconnect(receive, message))
        try:
            await asyncio.wait((handling, hanging_up), return_when=asyncio.FIRST_COMPLETED)
            if stream.outlives_reader or stream.ended:  # after the end of a response, servers tell so too
                await asyncio.wait((handling,))
        finally:
            hanging_up.cancel()
            was_cancelled = handling.cancel()
            await asyncio.wait((handling,))
        if not was_cancelled:
            handling.result()

    async def _handle(self, event: Message, stream: ResponseStream) -> None:
        deadline_ms = int(time.time() * 1000) + REQUEST_TIMEOUT_MS
        headers = {"lambda-runtime-aws-request-id": str(uuid.uuid4()), "lambda-runtime-deadline-ms": str(deadline_ms)}
        await self.service.handle(event, stream, LambdaContext(headers))
        await stream.end()


class _Sink:
    """Sends the response as ASGI messages; whether anybody is there to read them does not matter here."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._lock = asyncio.Lock()

    async def start_response(self, content_type: str, prelude: bytes) -> None:  # noqa: ARG002 - it is the prelude's
        head = json.loads(prelude.removesuffix(SEPARATOR))
        pairs = [*head["headers"].items(), *(("set-cookie", cookie) for cookie in head.get("cookies", ()))]
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
        await self._tell({"type": "http.response.start", "status": head["statusCode"], "headers": headers})

    def write(self, data: bytes) -> bool:
        """Hold the data until `drain`, which the stream calls before anything else runs."""
        self._data = data
        return True

    async def drain(self) -> None:
        await self._tell({"type": "http.response.body", "body": self._data, "more_body": True})

    async def end_response(self) -> None:
        await self._tell({"type": "http.response.body"})

    async def _tell(self, message: Message) -> None:
        """Send a message, after what another task is sending to a slow reader."""
        async with self._lock:
            with contextlib.suppress(OSError):  # a client that has gone; servers before version 2.4 say nothing
                await self._send(message)


async def _wait_for_disconnect(receive: Receive, message: Message) -> None:
    while message["type"] != "http.disconnect":
        message = await receive()


async def _run_lifespan(receive: Receive, send: Send) -> None:
    for phase, run in (("startup", run_startup), ("shutdown", run_shutdown)):
        await receive()
        try:
            await run()
        except Exception as error:  # noqa: BLE001 - told to the server, which ends
            await send({"type": f"lifespan.{phase}.failed", "message": format_exception(error)})
            break
        await send({"type": f"lifespan.{phase}.complete"})


def _event(scope: Message, body: list[bytes]) -> Message:
    """The request as an event of payload format 2.0; nobody has checked who sends it."""
    raw_path = scope.get("raw_path") or quote(scope["path"]).encode()
    headers: dict[str, str] = {}
    for name, value in ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]):
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return {
        "rawPath": raw_path.decode("latin-1").removeprefix(quote(scope.get("root_path", "").rstrip("/"))),
        "rawQueryString": scope["query_string"].decode("latin-1"),
        "headers": headers,
        "requestContext": {"http": {"method": scope["method"]}, "timeEpoch": int(time.time() * 1000)},
        "body": LargeBody.take_out(body),
    }
