"""ASGI application: a chat behind any ASGI server, through the same service as on Lambda.

https://asgi.readthedocs.io/en/stable/specs/www.html
"""

import asyncio
import contextlib
import json
import logging
from functools import partial
from typing import Any, Final
from urllib.parse import quote, unquote

import msgspec

from winterbourne import ResponseStream
from winterbourne.asgi import Message, Receive, Send
from winterbourne.chat.errors import ChatError, RequestRejected
from winterbourne.chat.http.request import Request, join_headers
from winterbourne.chat.http.service import Service
from winterbourne.chat.infra import tracing
from winterbourne.chat.infra.exception_text import format_exception
from winterbourne.chat.settings import DoorSettings
from winterbourne.errors import ErrorReport
from winterbourne.invocation import FrontEnd
from winterbourne.large_body import LargeBody
from winterbourne.lifecycle import run_shutdown, run_startup, startup_has_begun
from winterbourne.prelude import SEPARATOR
from winterbourne.stream import open_stream

__all__ = ["AsgiApplication"]

CUT_MARGIN_S: Final = 0.25
"""How long before its deadline a request is cancelled that goes on although it had to end DEADLINE_MARGIN before."""

SHUTDOWN_WAIT_S: Final = 5.0
"""How long the shutdown waits for requests that the server has cancelled: they save what they have, and need the store
for that."""

SMALL_PIECE_BYTES: Final = 1024
"""Pieces of a body are joined up to this size: each by itself takes many times what is in it."""

AGENTCORE: Final = "x-amzn-bedrock-agentcore-runtime-"
REQUEST_ID_HEADERS: Final = {"web": "lambda-web-request-id", "agentcore": f"{AGENTCORE}request-id"}

_LOGGER: Final = logging.getLogger(__name__)


class AsgiApplication(msgspec.Struct, frozen=True):
    """Serves a chat: HTTP, and the lifespan, which runs the hooks for start-up and shutdown.

    Under a server without a lifespan the first request runs those for start-up. Of several applications in one process,
    the first to start and the last to shut down run them.

    Attributes:
        service: Answers the requests.
        settings: Those of the doors.
    """

    service: Service
    settings: DoorSettings = DoorSettings()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection; what is neither HTTP nor the lifespan is not accepted.

        Raises:
            ChatError: An unexpected error after the start of a response, which the server then breaks off; or the
                start-up has failed.

        Cancellation:
            Cancels the request, and waits until it has saved what it has.
        """
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
        elif scope["type"] == "http":
            await self._start()
            await self._serve(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # before it is accepted: the server answers 403

    async def _start(self) -> None:
        try:
            await _process.start()
        except Exception:
            _LOGGER.exception("the start-up failed; the next request tries again")
            raise ChatError("the start-up failed") from None

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        for phase, run in (("startup", partial(_process.start, lifespans=1)), ("shutdown", _process.shutdown)):
            await receive()
            try:
                await run()
            except Exception as error:  # noqa: BLE001 - told to the server, which ends
                await send({"type": f"lifespan.{phase}.failed", "message": format_exception(error)})
                break
            await send({"type": f"lifespan.{phase}.complete"})

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        inbox = _Inbox(receive)
        stream, _ = open_stream(_Sink(send, inbox), FrontEnd.FUNCTION_URL, is_head=scope["method"] == "HEAD")
        handling = asyncio.create_task(self._handle(self._read(scope, inbox), stream))
        _process.requests.add(handling)
        handling.add_done_callback(_process.requests.discard)
        hanging_up = asyncio.create_task(inbox.wait_for_disconnect())
        try:
            done, _ = await asyncio.wait((handling, hanging_up), return_when=asyncio.FIRST_COMPLETED)
            stream.reader_left = handling not in done
            if stream.outlives_reader or stream.ended:  # after the end of a response, servers tell so too
                await asyncio.wait((handling,))
        finally:
            hanging_up.cancel()
            was_cancelled = handling.cancel()
            await asyncio.wait((handling,))
        if not was_cancelled:
            handling.result()

    def _read(self, scope: Message, inbox: "_Inbox") -> Request:
        headers = join_headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        root_path, raw_path = _split_path(scope)
        door = self.settings.asgi_door
        client = (scope.get("client") or ("",))[0]
        named: dict[str, Any] = {}
        if request_id := headers.get(REQUEST_ID_HEADERS.get(door, ""), ""):
            named["request_id"] = request_id
        if session_id := headers.get(f"{AGENTCORE}session-id", "") if door == "agentcore" else "":
            named["door_fields"] = {"session_id": session_id}
        return Request(
            method=scope["method"].upper(),
            raw_path=raw_path,
            root_path=root_path,
            raw_query=scope["query_string"].decode("latin-1"),
            headers=headers,
            raw_body=inbox.read_body,
            client=headers.get("x-forwarded-for", "").rpartition(",")[2].strip() if door == "web" else client,
            deadline=asyncio.get_running_loop().time() + self.settings.request_timeout,
            trace=tracing.propagated_headers(headers),
            is_bare=True,
            **named,
        )

    async def _handle(self, request: Request, stream: ResponseStream) -> None:
        """Answer a request, as the Lambda runtime does: with last words if it does not end in time."""
        try:
            async with asyncio.timeout_at(request.deadline - CUT_MARGIN_S):
                await self.service.handle(request, stream)
                await stream.end()
        except TimeoutError:
            has_started, last_words = stream.started, stream.last_words
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CUT_MARGIN_S):  # a reader may be slow, or read no more
                    if last_words:
                        await stream.write(last_words(True))  # noqa: FBT003 - as the runtime's watchdog calls it
                        if not has_started:
                            await stream.end()
                            return
            raise ChatError("the request was cancelled at its deadline") from None


class _Process:
    """Runs the hooks, which all applications of the process have in common; those for shutdown after the requests.

    Under Lambda's runtime, which runs them itself, an application may be a handler, or part of one.
    """

    def __init__(self) -> None:
        self.requests = set[asyncio.Task[None]]()
        self._lock = asyncio.Lock()
        self._runs_hooks, self._lifespans = False, 0

    async def start(self, lifespans: int = 0) -> None:
        async with self._lock:
            if not startup_has_begun():
                await run_startup()
                self._runs_hooks = True
        self._lifespans += lifespans

    async def shutdown(self) -> None:
        self._lifespans -= 1
        if self._lifespans or not self._runs_hooks:
            return
        if self.requests:
            await asyncio.wait(self.requests, timeout=SHUTDOWN_WAIT_S)
        await run_shutdown()


_process = _Process()


def _split_path(scope: Message) -> tuple[str, str]:
    """Where the chat is mounted, and the path below that, both percent-encoded; some servers name the latter alone."""
    root_path = scope.get("root_path", "").rstrip("/")
    raw_path = (scope.get("raw_path") or quote(scope["path"]).encode()).decode("latin-1")
    mount = "/".join(raw_path.split("/")[: root_path.count("/") + 1])
    if unquote(mount) != root_path:
        return quote(root_path), raw_path or "/"
    return mount, raw_path[len(mount) :] or "/"


class _Inbox:
    """What the server tells of a request: its body, once that is asked for, and that the client has gone."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.may_watch = asyncio.Event()

    async def read_body(self, max_bytes: int) -> LargeBody:
        """Read the body; of a longer one no more than says so.

        Raises:
            RequestRejected: The client has gone before its end.
        """
        pieces, size = [bytearray()], 0
        message: Message = {"more_body": True}
        while message.get("more_body") and size <= max_bytes:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise RequestRejected(400, "invalid_body", "the body was not sent to its end")
            piece = message.get("body", b"")
            if len(pieces[-1]) + len(piece) > SMALL_PIECE_BYTES:
                pieces.append(bytearray())
            pieces[-1] += piece
            size += len(piece)
        if size <= max_bytes:
            self.may_watch.set()
        return LargeBody.take_out(pieces)

    async def wait_for_disconnect(self) -> None:
        """Wait for the end of the connection, once the body has been read or the response begins without."""
        await self.may_watch.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


class _Sink:
    """Sends the response as ASGI messages; whether anybody is there to read them does not matter here."""

    def __init__(self, send: Send, inbox: _Inbox) -> None:
        self._send = send
        self._inbox = inbox
        self._lock = asyncio.Lock()

    async def start_response(self, content_type: str, prelude: bytes) -> None:  # noqa: ARG002 - it is the prelude's
        head = json.loads(prelude.removesuffix(SEPARATOR))
        if head["statusCode"] < 400:  # nobody waits for the end of an error, and what is refused is not read
            self._inbox.may_watch.set()
        pairs = [*head["headers"].items(), *(("set-cookie", cookie) for cookie in head.get("cookies", ()))]
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
        await self._tell({"type": "http.response.start", "status": head["statusCode"], "headers": headers})

    def write(self, data: bytes) -> bool:
        """Hold the data until `drain`, which the stream calls before anything else runs."""
        self._data = data
        return True

    async def drain(self) -> None:
        await self._tell({"type": "http.response.body", "body": self._data, "more_body": True})

    async def end_response(self, failure: ErrorReport | None) -> None:  # noqa: ARG002 - ASGI has no word for one
        await self._tell({"type": "http.response.body"})

    async def _tell(self, message: Message) -> None:
        """Send a message, after what another task is sending to a slow reader."""
        async with self._lock:
            with contextlib.suppress(OSError):  # a client that has gone; servers before version 2.4 say nothing
                await self._send(message)
