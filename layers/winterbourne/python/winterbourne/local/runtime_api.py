"""The Runtime API of one execution environment, on loopback, as AWS's own answers it.

Takes invocations from one side and the function process's requests from the other. Who gets which invocation, and
what a process is, is not known here. https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import asyncio
import base64
import binascii
import contextlib
import json
import re
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from winterbourne.local.http_server import BodyTooLarge, Exchange, Server, Truncated
from winterbourne.local.invocation import FunctionError, Invocation, make_request_id
from winterbourne.local.response_limits import Bucket, Shape, TooLarge

__all__ = ["BUFFERED_LIMIT", "Events", "RuntimeApi", "Seat"]

BUFFERED_LIMIT: Final = 6 * 1024 * 1024 + 100
"""Bytes of a response that is not streamed, as AWS's emulator counts them."""

ERROR_LIMIT: Final = 1024 * 1024
TRAILER_TYPE: Final = "lambda-runtime-function-error-type"
TRAILER_BODY: Final = "lambda-runtime-function-error-body"
TOO_LARGE: Final = "Response payload size exceeded maximum allowed payload size ({} bytes)."

_ROUTE: Final = re.compile(r"/2018-06-01/runtime/(invocation|init|restore)/(?:([^/]+)/)?(next|response|error)")


@dataclass(frozen=True)
class Events:
    """What the environment is told.

    Args:
        ready: The process waits for an invocation (one call for each place it has); answer with `give`.
        withdrawn: One who waited has gone; there is a place less.
        answered: An invocation's response is complete, or was refused.
        init_failed: The process said why it cannot start, or cannot be restored.
    """

    ready: Callable[[], None]
    withdrawn: Callable[[], None]
    answered: Callable[[Invocation], None]
    init_failed: Callable[[FunctionError], None]


@dataclass(frozen=True)
class Seat:
    """What the environment is: ARN and timeout of its function, places for invocations, shape of its responses."""

    function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:local"
    timeout_s: float = 30.0
    places: int = 1
    snap_start: bool = False
    shape: Shape = field(default_factory=Shape)


class RuntimeApi:
    """One execution environment's end of the Runtime API. An async context manager; `address` is set inside it."""

    def __init__(self, seat: Seat, events: Events) -> None:
        self._seat, self._events = seat, events
        self._server = Server(self._answer)
        self._waiting: deque[_Place] = deque()
        self._running: dict[str, Invocation] = {}
        self._responding: set[str] = set()
        self._initialized = self._restored = False

    @property
    def address(self) -> str:
        """What AWS_LAMBDA_RUNTIME_API says: host and port."""
        return f"127.0.0.1:{self._server.port}"

    @property
    def initialized(self) -> bool:
        """Whether the process has ever asked for an invocation."""
        return self._initialized

    def give(self, invocation: Invocation) -> None:
        """Hand an invocation to a waiting place. The process's time for it starts now."""
        self._running[invocation.request_id] = invocation
        self._waiting.popleft().set_result(invocation)

    async def abandon(self, invocation: Invocation, error: FunctionError) -> None:
        """Take an invocation back: it has failed, and what the process still says of it counts no more."""
        await invocation.finish(error)
        self._release(invocation)

    async def __aenter__(self) -> Self:
        await self._server.listen("127.0.0.1")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._server.close()

    # Private methods: the routes

    async def _answer(self, exchange: Exchange) -> None:
        match self._route(exchange):
            case ("GET", "invocation", None, "next"):
                await self._next(exchange)
            case ("POST", "invocation", str(request_id), "response"):
                await self._with_invocation(exchange, request_id, self._response)
            case ("POST", "invocation", str(request_id), "error"):
                await self._with_invocation(exchange, request_id, self._error)
            case ("POST", "init", None, "error"):
                await self._init_error(exchange)
            case ("GET", "restore", None, "next") if self._seat.snap_start:
                await self._restore_next(exchange)
            case ("POST", "restore", None, "error") if self._seat.snap_start:
                await self._init_error(exchange)
            case _:
                await exchange.answer(404, [("content-type", "text/plain")], b"404 page not found\n")

    def _route(self, exchange: Exchange) -> tuple[str, str, str | None, str] | None:
        match = _ROUTE.fullmatch(exchange.target)
        return (exchange.method, match[1], match[2], match[3]) if match else None

    async def _next(self, exchange: Exchange) -> None:
        if len(self._waiting) + len(self._running) >= self._seat.places:
            await _refuse(exchange, 403, "InvalidStateTransition", "An invocation is still under way.")
            return
        place: _Place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self._initialized = True
        self._events.ready()
        gone = asyncio.create_task(exchange.gone())
        gone.add_done_callback(lambda _: self._withdraw(place))
        try:
            if invocation := await place:
                await exchange.answer(200, self._head_of(invocation), invocation.payload)
        finally:  # only now: the process is at work already
            self._withdraw(place)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)

    def _withdraw(self, place: "_Place") -> None:
        """Wait no more; nothing happens to a place that has had its invocation."""
        if place in self._waiting:
            self._waiting.remove(place)
            self._events.withdrawn()
        if not place.done():
            place.set_result(None)

    def _head_of(self, invocation: Invocation) -> list[tuple[str, str]]:
        deadline_ms = int((time.time() + self._seat.timeout_s) * 1000)
        optional = {
            "Lambda-Runtime-Trace-Id": invocation.trace_id,
            "Lambda-Runtime-Client-Context": invocation.client_context,
            "Lambda-Runtime-Aws-Tenant-Id": invocation.tenant_id,
        }
        return [
            ("Content-Type", "application/json"),
            ("Lambda-Runtime-Aws-Request-Id", invocation.request_id),
            ("Lambda-Runtime-Invocation-Id", make_request_id()),
            ("Lambda-Runtime-Deadline-Ms", str(deadline_ms)),
            ("Lambda-Runtime-Invoked-Function-Arn", self._seat.function_arn),
            *((name, value) for name, value in optional.items() if value),
        ]

    async def _with_invocation(self, exchange: Exchange, request_id: str, answer: "_Step") -> None:
        invocation = self._running.get(request_id)
        if invocation is None:
            await _refuse(exchange, 400, "InvalidRequestID", "Invalid request ID")
        elif request_id in self._responding or invocation.finished:
            await _refuse(exchange, 403, "InvalidStateTransition", "The invocation has been answered.")
        else:
            self._responding.add(request_id)
            try:
                await answer(exchange, invocation)
            finally:
                self._responding.discard(request_id)

    async def _settle(self, exchange: Exchange, invocation: Invocation, error: FunctionError | None = None) -> None:
        """The invocation has been answered: tell its sink, free its place, acknowledge."""
        await invocation.finish(error)
        self._release(invocation)
        await _accept(exchange)

    def _release(self, invocation: Invocation) -> None:
        if self._running.pop(invocation.request_id, None):
            self._events.answered(invocation)

    async def _response(self, exchange: Exchange, invocation: Invocation) -> None:
        mode = exchange.header("lambda-runtime-function-response-mode")
        if mode == "streaming":
            await self._streamed(exchange, invocation)
        elif mode:
            error = FunctionError.of("Runtime.InvalidFunctionResponseMode", f"Invalid response mode {mode!r}")
            await self._reject(exchange, invocation, 400, error)
        else:
            await self._buffered(exchange, invocation)

    async def _buffered(self, exchange: Exchange, invocation: Invocation) -> None:
        try:
            body = await exchange.body(BUFFERED_LIMIT)
        except BodyTooLarge:
            error = FunctionError.of("Function.ResponseSizeTooLarge", TOO_LARGE.format(BUFFERED_LIMIT))
            await self._reject(exchange, invocation, 413, error)
            return
        await invocation.begin(exchange.header("content-type"), streaming=False)
        await invocation.write(body)
        await self._settle(exchange, invocation)

    async def _streamed(self, exchange: Exchange, invocation: Invocation) -> None:
        await invocation.begin(exchange.header("content-type") or "application/octet-stream", streaming=True)
        try:
            await self._pass_on(exchange, invocation)
        except TooLarge:
            error = FunctionError.of("Function.ResponseSizeTooLarge", TOO_LARGE.format(self._seat.shape.limit))
            await self._reject(exchange, invocation, 413, error)
        except Truncated:
            error = FunctionError.of("Runtime.TruncatedResponse", "The response ended before it was whole.")
            await self._reject(exchange, invocation, 400, error)
        else:
            await self._settle(exchange, invocation, error_of(exchange.trailers))

    async def _pass_on(self, exchange: Exchange, invocation: Invocation) -> None:
        bucket = Bucket(self._seat.shape, asyncio.get_running_loop().time)
        async for chunk in exchange.chunks():
            if wait_s := bucket.take(len(chunk)):
                await asyncio.sleep(wait_s)
            await invocation.write(chunk)

    async def _reject(self, exchange: Exchange, invocation: Invocation, status: int, error: FunctionError) -> None:
        """The answer is none: the invocation fails, and the process is told."""
        await invocation.finish(error)
        self._release(invocation)
        with contextlib.suppress(ConnectionError):
            await _refuse(exchange, status, error.type, error.message)

    async def _error(self, exchange: Exchange, invocation: Invocation) -> None:
        await self._settle(exchange, invocation, await _reported(exchange))

    async def _init_error(self, exchange: Exchange) -> None:
        error = await _reported(exchange)
        if self._initialized and not self._seat.snap_start:
            await _refuse(exchange, 403, "InvalidStateTransition", "The environment is already initialized.")
            return
        self._events.init_failed(error)
        await _accept(exchange)

    async def _restore_next(self, exchange: Exchange) -> None:
        if self._restored or self._initialized:
            await _refuse(exchange, 403, "InvalidStateTransition", "The environment is already restored.")
            return
        self._restored = True
        await exchange.answer(200, [("content-type", "application/json")])


_Step = Callable[[Exchange, Invocation], Coroutine[None, None, None]]
_Place = asyncio.Future[Invocation | None]


def error_of(trailers: list[tuple[str, str]]) -> FunctionError | None:
    """What error trailers say, None where there are none.

    A body that is not base64 is taken as it stands: what the function wanted to say is worth more than its form.
    """
    values = dict(trailers)
    if TRAILER_TYPE not in values:
        return None
    encoded = values.get(TRAILER_BODY, "")
    try:
        document = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        document = encoded.encode("latin-1")
    return FunctionError(values[TRAILER_TYPE], document)


async def _reported(exchange: Exchange) -> FunctionError:
    """The error a process reports: type from the header, else from the document."""
    try:
        document = await exchange.body(ERROR_LIMIT)
    except BodyTooLarge:
        document = b'{"errorMessage":"The error has more to say than 1 MiB.","errorType":"Runtime.ErrorTooLarge"}'
    kind = exchange.header(TRAILER_TYPE)
    if not kind:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            kind = str(json.loads(document)["errorType"])
    return FunctionError(kind or "Runtime.Unknown", document)


async def _accept(exchange: Exchange) -> None:
    await exchange.answer(202, [("content-type", "application/json")], b'{"status":"OK"}\n')


async def _refuse(exchange: Exchange, status: int, kind: str, message: str) -> None:
    body = json.dumps({"errorMessage": message, "errorType": kind}).encode()
    await exchange.answer(status, [("content-type", "application/json")], body)
