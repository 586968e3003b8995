"""Server of the Lambda Runtime API for one execution environment, on loopback; responds as AWS's own does.

Invocations come from the environment, requests from the function process. Scheduling and process management are
elsewhere. https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import asyncio
import base64
import binascii
import contextlib
import json
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Self

from winterbourne.local.function_config import FunctionConfig
from winterbourne.local.http_server import JSON_HEADERS, BodyTooLarge, Exchange, HttpServer, IncompleteRequest
from winterbourne.local.invocation import FunctionError, Invocation, make_request_id
from winterbourne.local.response_limits import ResponseLimits, ResponseTooLarge, TokenBucket
from winterbourne.local.tasks import cancel_all

__all__ = ["BUFFERED_LIMIT", "RuntimeApi", "RuntimeCallbacks"]

BUFFERED_LIMIT: Final = 6 * 1024 * 1024 + 100
"""Maximum size of a buffered (not streamed) response in bytes, as in AWS's emulator."""

ACCEPTED: Final = b'{"status":"OK"}\n'
ERROR_LIMIT: Final = 1024 * 1024
MAX_TRAILER_BYTES: Final = 4096
"""Longest trailer section that Go's HTTP server reads, and so AWS's emulator, with the empty line at its end."""

ERROR_TYPE_TRAILER: Final = "lambda-runtime-function-error-type"
ERROR_BODY_TRAILER: Final = "lambda-runtime-function-error-body"

_ROUTE: Final = re.compile(r"/2018-06-01/runtime/(invocation|init|restore)/(?:([^/]+)/)?(next|response|error)")


@dataclass(frozen=True)
class RuntimeCallbacks:
    """Called by the Runtime API to notify the environment.

    Attributes:
        on_ready: The process polls for an invocation (one call per poll); respond with `RuntimeApi.dispatch`.
        on_unavailable: A poll ended without an invocation, so one fewer can be dispatched.
        on_response_done: An invocation's response is complete or was rejected.
    """

    on_ready: Callable[[], None]
    on_unavailable: Callable[[], None]
    on_response_done: Callable[[Invocation], None]


class RuntimeApi:
    """The Runtime API of one execution environment. An async context manager; `address` is valid inside it.

    `initialized` says whether the process has ever asked for an invocation; `init_error` is what it reported if it
    failed to start or to be restored.
    """

    def __init__(self, function: FunctionConfig, response_limits: ResponseLimits, callbacks: RuntimeCallbacks) -> None:
        self._function, self._response_limits, self._callbacks = function, response_limits, callbacks
        self._server = HttpServer(self._handle_request)
        self._waiting_polls: deque[_NextPoll] = deque()
        self._running: dict[str, Invocation] = {}
        self._responding: set[str] = set()
        self.initialized = self._restored = False
        self.init_error: FunctionError | None = None

    @property
    def address(self) -> str:
        """The value of AWS_LAMBDA_RUNTIME_API: host and port."""
        return f"127.0.0.1:{self._server.port}"

    def dispatch(self, invocation: Invocation) -> None:
        """Hand an invocation to the oldest waiting poll. Its timeout starts now."""
        self._running[invocation.request_id] = invocation
        self._waiting_polls.popleft().set_result(invocation)

    async def finish_invocation(self, invocation: Invocation, error: FunctionError | None) -> None:
        """Finish an invocation; whatever the process still sends for it has no effect."""
        await invocation.finish(error)
        if self._running.pop(invocation.request_id, None):
            self._callbacks.on_response_done(invocation)

    async def drain(self, timeout_s: float) -> None:
        """Read to its end what a process sent that has exited: its exit may be noticed before its last bytes are."""
        await self._server.drain(timeout_s)

    async def __aenter__(self) -> Self:
        await self._server.listen("127.0.0.1")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()

    async def _handle_request(self, exchange: Exchange) -> None:
        try:
            await self._route(exchange)
        except _Refused as refused:
            status, error_type, message = refused.args
            await exchange.respond_json(status, {"errorMessage": message, "errorType": error_type})

    async def _route(self, exchange: Exchange) -> None:
        route = _ROUTE.fullmatch(exchange.target)
        match (exchange.method, *route.groups()) if route else None:
            case ("GET", "invocation", None, "next"):
                await self._next_invocation(exchange)
            case ("POST", "invocation", str(request_id), "response"):
                await self._end_invocation(exchange, request_id, self._read_response)
            case ("POST", "invocation", str(request_id), "error"):
                await self._end_invocation(exchange, request_id, lambda *_: _read_error(exchange))
            case ("POST", "init", None, "error"):
                await self._init_error(exchange)
            case ("GET", "restore", None, "next") if self._function.snap_start:
                await self._restore_next(exchange)
            case ("POST", "restore", None, "error") if self._function.snap_start:
                await self._init_error(exchange)
            case _:
                await exchange.respond(404, [("content-type", "text/plain")], b"404 page not found\n")

    async def _next_invocation(self, exchange: Exchange) -> None:
        if len(self._waiting_polls) + len(self._running) >= (self._function.managed_instances or 1):
            raise _Refused(403, "InvalidStateTransition", "An invocation is still under way.")
        poll: _NextPoll = asyncio.get_running_loop().create_future()
        self._waiting_polls.append(poll)
        self.initialized = True
        self._callbacks.on_ready()
        disconnect = asyncio.create_task(exchange.wait_for_disconnect())
        disconnect.add_done_callback(lambda _: self._cancel_poll(poll))
        try:
            if invocation := await poll:
                await exchange.respond(200, self._invocation_headers(invocation), invocation.payload)
        finally:  # after responding, so that cleaning up does not delay the process
            self._cancel_poll(poll)
            await cancel_all([disconnect])

    def _cancel_poll(self, poll: "_NextPoll") -> None:
        """Stop waiting; no effect on a poll that has received its invocation."""
        if poll in self._waiting_polls:
            self._waiting_polls.remove(poll)
            self._callbacks.on_unavailable()
        if not poll.done():
            poll.set_result(None)

    def _invocation_headers(self, invocation: Invocation) -> list[tuple[str, str]]:
        deadline_ms = int((time.time() + self._function.timeout_s) * 1000)
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Invocation-Id": make_request_id(),
            "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": self._function.arn,
            "Lambda-Runtime-Trace-Id": invocation.trace_id,
            "Lambda-Runtime-Client-Context": invocation.client_context,
            "Lambda-Runtime-Aws-Tenant-Id": invocation.tenant_id,
        }
        return [(name, value) for name, value in headers.items() if value]

    async def _end_invocation(self, exchange: Exchange, request_id: str, read: "_ReadOutcome") -> None:
        """Read how an invocation ended and finish it; with the refusal, if what the process has sent is refused."""
        invocation = self._running.get(request_id)
        if invocation is None:
            raise _Refused(400, "InvalidRequestID", "Invalid request ID")
        if request_id in self._responding or invocation.finished:
            raise _Refused(403, "InvalidStateTransition", "The invocation has been answered.")
        self._responding.add(request_id)
        try:
            await self.finish_invocation(invocation, await read(exchange, invocation))
        except _Refused as refused:
            await self.finish_invocation(invocation, FunctionError.from_message(*refused.args[1:]))
            raise
        finally:
            self._responding.discard(request_id)
        await exchange.respond(202, JSON_HEADERS, ACCEPTED)

    async def _read_response(self, exchange: Exchange, invocation: Invocation) -> FunctionError | None:
        mode = exchange.header("lambda-runtime-function-response-mode")
        if mode == "streaming":
            return await self._read_streamed_response(exchange, invocation)
        if mode:
            raise _Refused(400, "Runtime.InvalidFunctionResponseMode", f"Invalid response mode {mode!r}")
        try:
            body = await exchange.read_body(BUFFERED_LIMIT)
        except BodyTooLarge:
            raise _too_large(BUFFERED_LIMIT) from None
        await invocation.begin(exchange.header("content-type"), streaming=False)
        await invocation.write(body)
        return None

    async def _read_streamed_response(self, exchange: Exchange, invocation: Invocation) -> FunctionError | None:
        await invocation.begin(exchange.header("content-type") or "application/octet-stream", streaming=True)
        try:
            await self._forward_rate_limited(exchange, invocation)
        except ResponseTooLarge:
            raise _too_large(self._response_limits.max_bytes) from None
        except IncompleteRequest as incomplete:
            message = f"The response ended before it was whole: {incomplete}"
            raise _Refused(400, "Runtime.TruncatedResponse", message) from None
        return error_from_trailers(exchange.trailers)

    async def _forward_rate_limited(self, exchange: Exchange, invocation: Invocation) -> None:
        bucket = TokenBucket(self._response_limits, asyncio.get_running_loop().time)
        async for chunk in exchange.iter_body():
            if wait_s := bucket.reserve(len(chunk)):
                await asyncio.sleep(wait_s)
            await invocation.write(chunk)
        if (size := sum(len(name) + len(value) + 4 for name, value in exchange.trailers) + 2) > MAX_TRAILER_BYTES:
            raise IncompleteRequest(f"the trailers take {size} bytes, and Lambda reads at most {MAX_TRAILER_BYTES}")

    async def _init_error(self, exchange: Exchange) -> None:
        error = await _read_error(exchange)
        if self.initialized and not self._function.snap_start:
            raise _Refused(403, "InvalidStateTransition", "The environment is already initialized.")
        self.init_error = error
        await exchange.respond(202, JSON_HEADERS, ACCEPTED)

    async def _restore_next(self, exchange: Exchange) -> None:
        if self._restored or self.initialized:
            raise _Refused(403, "InvalidStateTransition", "The environment is already restored.")
        self._restored = True
        await exchange.respond(200, JSON_HEADERS)


class _Refused(Exception):
    """What the process is told of an invalid request: HTTP status, error type and message."""


def _too_large(max_bytes: int) -> _Refused:
    error = FunctionError.response_too_large(max_bytes)
    return _Refused(413, error.type, error.message)


_ReadOutcome = Callable[[Exchange, Invocation], Awaitable[FunctionError | None]]
_NextPoll = asyncio.Future[Invocation | None]


def error_from_trailers(trailers: list[tuple[str, str]]) -> FunctionError | None:
    """The error in the trailers, or None if there is none.

    A body that is not valid base64 is kept as it is, so that the function's error is not lost.
    """
    values = dict(trailers)
    if ERROR_TYPE_TRAILER not in values:
        return None
    encoded = values.get(ERROR_BODY_TRAILER, "")
    try:
        document = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        document = encoded.encode("latin-1")
    return FunctionError(values[ERROR_TYPE_TRAILER], document)


async def _read_error(exchange: Exchange) -> FunctionError:
    """The error a process reports; its type comes from the header, otherwise from the document."""
    try:
        document = await exchange.read_body(ERROR_LIMIT)
    except BodyTooLarge:
        document = b'{"errorMessage":"The error document is larger than 1 MiB.","errorType":"Runtime.ErrorTooLarge"}'
    error_type = exchange.header(ERROR_TYPE_TRAILER)
    if not error_type:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            error_type = str(json.loads(document)["errorType"])
    return FunctionError(error_type or "Runtime.Unknown", document)
