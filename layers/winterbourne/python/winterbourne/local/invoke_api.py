"""Invoke API (Invoke and InvokeWithResponseStream): boto3's `endpoint_url` is this server's address.

Signatures are not checked. https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
"""

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final
from urllib.parse import unquote

from winterbourne.local.event_stream import invoke_complete, payload_chunk
from winterbourne.local.http_server import BodyTooLarge, Exchange
from winterbourne.local.invocation import FunctionError, Invocation, ResponseSink, make_request_id
from winterbourne.local.tasks import cancel_all

__all__ = ["InvokeApi"]

PAYLOAD_LIMIT: Final = 6 * 1024 * 1024
ASYNC_PAYLOAD_LIMIT: Final = 1024 * 1024
LOG_TAIL_BYTES: Final = 4096
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")
_ROUTE: Final = re.compile(
    r"/(?:2015-03-31/functions/(?P<whole>[^/?]+)/invocations"
    r"|2021-11-15/functions/(?P<streamed>[^/?]+)/response-streaming-invocations)(?:\?.*)?"
)


class _BufferedSink:
    """Collects a response in memory, up to 6 MB."""

    def __init__(self) -> None:
        self.body = bytearray()

    async def begin(self, content_type: str, *, streaming: bool) -> None:
        """Do nothing: Invoke needs neither argument."""

    async def write(self, data: bytes) -> None:
        """Append to the response, until it is beyond the limit."""
        if len(self.body) <= PAYLOAD_LIMIT:
            self.body += data

    async def finish(self, error: FunctionError | None) -> None:
        """Do nothing: the caller reads the error from the invocation."""

    def error(self) -> FunctionError | None:
        """The error if the response was too large, otherwise None."""
        return FunctionError.response_too_large(PAYLOAD_LIMIT) if len(self.body) > PAYLOAD_LIMIT else None


class _EventStreamSink:
    """Sends a response as event-stream messages, as it arrives. A client disconnect does not stop the function."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange, self.request_id = exchange, ""

    async def begin(self, content_type: str, *, streaming: bool) -> None:  # noqa: ARG002 - both kinds are sent as messages
        """Start the response; boto3 calls its Content-Type ResponseStreamContentType."""
        headers = _response_headers(self.request_id, content_type or "application/json")
        await self._ignore_disconnect(self._exchange.start_response(200, headers))

    async def write(self, data: bytes) -> None:
        """Send a PayloadChunk message."""
        await self._ignore_disconnect(self._exchange.write(payload_chunk(data)))

    async def finish(self, error: FunctionError | None) -> None:  # noqa: ARG002 - `complete` sends it
        """Start the response if the function never did; `complete` sends its last message."""
        if not self._exchange.response_started:
            await self.begin("application/octet-stream", streaming=True)

    async def complete(self, error: FunctionError | None, log_result: str) -> None:
        """Send the InvokeComplete message and end the response."""
        await self._ignore_disconnect(self._exchange.write(invoke_complete(error, log_result)))
        await self._ignore_disconnect(self._exchange.end_response())

    async def _ignore_disconnect(self, operation: Awaitable[None]) -> None:
        with contextlib.suppress(ConnectionError):
            await operation


class InvokeApi:
    """Serves the Invoke API of one function.

    Args:
        name: The function's name; any other is not found.
        invoke: Runs an invocation to its end.
    """

    root = ""

    def __init__(self, name: str, invoke: Callable[[Invocation], Coroutine[Any, Any, None]]) -> None:
        self._name, self._invoke = name, invoke
        self._async_invocations: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Cancel asynchronous invocations that are still running."""
        await cancel_all(self._async_invocations)

    async def handle_request(self, exchange: Exchange) -> None:
        """Answer one request."""
        route = _ROUTE.fullmatch(exchange.target)
        if exchange.method != "POST" or route is None:
            await _send_error(exchange, 404, "UnknownOperationException", "No such operation here.")
            return
        name = unquote(route["whole"] or route["streamed"])
        if name.removesuffix(":$LATEST").split(":")[-1] != self._name:
            await _send_error(exchange, 404, "ResourceNotFoundException", f"Function not found: {name}")
        else:
            handler = self._invoke_as_asked if route["whole"] else self._invoke_with_response_stream
            await _with_payload(exchange, handler)

    async def _invoke_as_asked(self, exchange: Exchange, payload: bytes) -> None:
        match exchange.header("x-amz-invocation-type") or "RequestResponse":
            case "DryRun":
                await exchange.respond(204, [("x-amzn-requestid", make_request_id())])
            case "Event":
                await self._invoke_asynchronously(exchange, payload)
            case "RequestResponse":
                await self._invoke_synchronously(exchange, payload)
            case kind:
                await _send_error(exchange, 400, "InvalidParameterValueException", f"No such invocation type: {kind}")

    async def _invoke_asynchronously(self, exchange: Exchange, payload: bytes) -> None:
        invocation = _make_invocation(exchange, payload, _BufferedSink())
        task = asyncio.get_running_loop().create_task(self._invoke(invocation))
        self._async_invocations.add(task)
        task.add_done_callback(self._async_invocations.discard)
        await exchange.respond(202, [("x-amzn-requestid", invocation.request_id)])

    async def _invoke_synchronously(self, exchange: Exchange, payload: bytes) -> None:
        sink = _BufferedSink()
        invocation = _make_invocation(exchange, payload, sink)
        await self._invoke(invocation)
        error = invocation.error or sink.error()
        headers = _response_headers(invocation.request_id, "application/json")
        if error:
            headers.append(("x-amz-function-error", "Unhandled"))
        if log_result := await _log_result(exchange, invocation):
            headers.append(("x-amz-log-result", log_result))
        await exchange.respond(200, headers, error.document if error else bytes(sink.body))

    async def _invoke_with_response_stream(self, exchange: Exchange, payload: bytes) -> None:
        sink = _EventStreamSink(exchange)
        invocation = _make_invocation(exchange, payload, sink)
        sink.request_id = invocation.request_id
        await self._invoke(invocation)
        await sink.complete(invocation.error, await _log_result(exchange, invocation))


async def _with_payload(exchange: Exchange, handler: Callable[[Exchange, bytes], Awaitable[None]]) -> None:
    """Call `handler` with the event, unless that is invalid."""
    limit = ASYNC_PAYLOAD_LIMIT if exchange.header("x-amz-invocation-type") == "Event" else PAYLOAD_LIMIT
    try:
        payload = await exchange.read_body(limit) or b"{}"
        json.loads(payload.decode(), parse_int=str, parse_constant=_reject_constant)
    except BodyTooLarge:
        message = f"Request must be smaller than {limit} bytes for the InvokeFunction operation"
        await _send_error(exchange, 413, "RequestTooLargeException", message)
    except (ValueError, RecursionError):
        await _send_error(exchange, 400, "InvalidRequestContentException", "Could not parse request body into json.")
    else:
        await handler(exchange, payload)


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")  # Python reads NaN and Infinity


def _make_invocation(exchange: Exchange, payload: bytes, sink: ResponseSink) -> Invocation:
    client_context = ""
    with contextlib.suppress(ValueError):
        text = base64.b64decode(exchange.header("x-amz-client-context"), validate=True).decode()
        client_context = _CONTROL.sub(" ", text).strip()  # between the words of JSON; a header takes none
    return Invocation(
        payload=payload,
        sink=sink,
        trace_id=exchange.header("x-amzn-trace-id"),
        client_context=client_context,
        tenant_id=exchange.header("x-amz-tenant-id"),
    )


async def _log_result(exchange: Exchange, invocation: Invocation) -> str:
    """The last 4 KB of the log in base64, if the caller asked for it; waits until the log is complete."""
    if exchange.header("x-amz-log-type") != "Tail":
        return ""
    await invocation.runtime_done.wait()
    return base64.b64encode("\n".join(invocation.log).encode()[-LOG_TAIL_BYTES:]).decode("ascii")


def _response_headers(request_id: str, content_type: str) -> list[tuple[str, str]]:
    return [("content-type", content_type), ("x-amzn-requestid", request_id), ("x-amz-executed-version", "$LATEST")]


async def _send_error(exchange: Exchange, status: int, error_type: str, message: str) -> None:
    headers = [("x-amzn-errortype", error_type), ("connection", "close")]
    await exchange.respond_json(status, {"Type": "User", "Message": message}, headers)
