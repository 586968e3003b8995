"""Remote tools: `@remote_tool("function-name")` declares a tool that another Lambda function runs.

Both sides declare the same signature, so the model's arguments are validated before anything is sent. The call is a
signed request to Lambda's API over the shared connection pool, without an SDK client. The other side is `tool_worker`,
or any function that accepts the same payload. It may stream: a line with `{"progress":…}` for each progress, then the
answer. One that does not stream sends the answer alone.
https://docs.aws.amazon.com/lambda/latest/api/API_InvokeWithResponseStream.html
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import quote

import msgspec
import orjson
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace

from winterbourne.chat.errors import CredentialsMissing, StorageUnavailable, ToolError, ToolUnavailable
from winterbourne.chat.http_library import httpx
from winterbourne.chat.infra import http_pool
from winterbourne.chat.infra.aws_calls import public_endpoint
from winterbourne.chat.infra.event_stream import EventStreamDecoder
from winterbourne.chat.infra.sigv4 import sign
from winterbourne.chat.infra.tracing import SPAN
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Function, Tool, tool
from winterbourne.chat.tool_runtime.service_errors import translate_errors

if TYPE_CHECKING:
    from typing import Unpack

    from winterbourne.chat.tool_runtime.option_arguments import OptionArguments

__all__ = ["MAX_PAYLOAD_BYTES", "MAX_PROGRESS_BYTES", "RemoteAnswer", "RemoteCall", "encode_progress", "remote_tool"]

_LOGGER: Final = logging.getLogger(__name__)

# For the request and the response of a synchronous invocation:
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_PAYLOAD_BYTES: Final = 6 * 1024 * 1024

MAX_PROGRESS_BYTES: Final = 2 * 1024 * 1024
"""For all the progress of one call. A worker sends no more; of any other function, answer and progress together may
have this and MAX_PAYLOAD_BYTES."""

STOP_TIMEOUT_S: Final = 0.2
"""How long a cancelled call, which has CANCEL_GRACE_S in all, waits for its stop; a write that has begun goes on."""

_PROGRESS: Final = b'{"progress":'

LAMBDA_API_SETTINGS: Final = ("AWS_REGION", "AWS_ENDPOINT_URL_LAMBDA")
"""Settings that determine the endpoint of Lambda's API."""


class RemoteCall(msgspec.Struct, frozen=True):
    """The request payload.

    Attributes:
        tool: The tool's name in the other function.
        arguments: The model's arguments, validated.
        timeout_s: How long the caller waits for the answer.
        request_id: Of the invocation that calls, for the other function's log.
        caller: Who made the request; empty if unknown or if all callers share the tool's results.
        stream: Whether the caller reads progress; else it reads the answer and nothing before it.
        stop_key: The key of the signal that stops this call, in the chat's store; empty if none can come.
        traceparent: The trace context of the call: Lambda passes on X-Ray's alone.
        wants_spans: Whether the call is traced, and the spans of the answer are exported by the caller.
        idempotency_key: For the function's `context.idempotency_key`: that of a tool with `once`; else empty.
    """

    tool: str
    arguments: Any
    timeout_s: Annotated[float, Meta(gt=0)]
    request_id: str = ""
    caller: str = ""
    stream: bool = False
    stop_key: str = ""
    idempotency_key: str = ""
    traceparent: str = ""
    wants_spans: bool = False


class RemoteAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The response payload: the tool's result as JSON text, or an error message for the model.

    A worker also returns its spans, as an element of OTLP's `resourceSpans`: were it to send them itself, the end of
    its response would wait for that.
    """

    content: str
    is_error: bool = False
    spans: msgspec.Raw | UnsetType = UNSET


def remote_tool(function_name: str, **options: "Unpack[OptionArguments]") -> Callable[[Function], Tool]:
    """Declare a tool that runs in another Lambda function.

    Args:
        function_name: Name, partial ARN or ARN; or, in braces like `{TOOL_WORKER_FUNCTION}`, the setting that holds it.
            While that is not set, the tool is not offered.
        **options: Those of `tool`; they hold in the chat.

    Returns:
        A decorator for a typed function with a docstring, which declares the tool for the model; its body is never run.

    Raises:
        InvalidToolDeclaration: As for `tool`.
    """
    setting = function_name[1:-1] if function_name.startswith("{") else ""
    options["needs"] = (*options.get("needs", ()), *([setting] if setting else []))

    def declare(function: Function) -> Tool:
        declared = replace(tool(**options)(function), takes_context=True)

        async def call(arguments: Any, context: ToolContext) -> Any:
            caller = "" if declared.is_cache_shared else context.caller
            send_stop = context._send_stop  # noqa: SLF001 - of this package; no tool needs it
            stop_key = f"remote:{uuid.uuid4()}" if send_stop else ""
            remaining_s, request_id = context.remaining_s, context.request_id
            traceparent = http_pool.outgoing_headers.get({}).get("traceparent", "")
            keys: dict[str, Any] = {"stop_key": stop_key, "idempotency_key": context.idempotency_key}
            keys |= {"traceparent": traceparent, "wants_spans": SPAN.get() is not None}
            sent = RemoteCall(declared.name, arguments, remaining_s, request_id, caller, stream=True, **keys)
            try:
                return await _invoke(context.setting(setting) if setting else function_name, sent, context)
            except asyncio.CancelledError:
                # At its deadline the other function ends the call by itself.
                if send_stop and context.remaining_s > 0:
                    with contextlib.suppress(TimeoutError, StorageUnavailable):  # the store has logged it
                        async with asyncio.timeout(STOP_TIMEOUT_S):
                            await send_stop(stop_key)
                raise

        changes = {"optional_settings": LAMBDA_API_SETTINGS, "offered_if": setting, "function": None}
        return replace(declared, call=call, blocking=False, **changes)

    return declare


async def _invoke(target: str, remote_call: RemoteCall, context: ToolContext) -> Any:
    # In an ARN, the region is that of the function, which no other region's API has.
    region = target.split(":")[3] if target.startswith("arn:") else context.setting("AWS_REGION")
    request = _build_request(target, region, remote_call, context)
    with translate_errors("tool's function"):
        try:
            await sign(request, "lambda", region)
        except CredentialsMissing as error:
            raise ToolError(f"The tool's function cannot be called: {error}.") from None
        response = await context.http.send(request, stream=True)
        if response.status_code != 200:
            await response.aclose()
            raise _error_for_status(response.status_code, target)
        return _parse_answer(await _read_answer(response, context))


def _build_request(target: str, region: str, remote_call: RemoteCall, context: ToolContext) -> httpx.Request:
    payload = msgspec.json.encode(remote_call)
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ToolError(f"The arguments have {len(payload)} bytes; the tool's function accepts {MAX_PAYLOAD_BYTES}.")
    endpoint = context.setting("AWS_ENDPOINT_URL_LAMBDA") or public_endpoint("lambda", region)
    url = f"{endpoint}/2021-11-15/functions/{quote(target, safe='')}/response-streaming-invocations"
    # No read timeout: a tool may take long, and its own timeout ends it.
    timeout = httpx.Timeout(context.http.timeout.connect, read=None)
    headers = {"content-type": "application/json"}
    return context.http.build_request("POST", url, content=payload, headers=headers, timeout=timeout)


def encode_progress(data: bytes) -> bytes:
    """The line for a progress, which is JSON text."""
    return b"%b%b}\n" % (_PROGRESS, data)


def _error_for_status(status: int, target: str) -> ToolError:
    if status == 429 or status >= 500:
        return ToolUnavailable(f"The tool's function is busy or broken (HTTP {status}).")
    _LOGGER.error("%s: HTTP %d; InvokeWithResponseStream needs the right to lambda:InvokeFunction", target, status)
    return ToolError(f"The tool's function cannot be called (HTTP {status}).")


async def _read_answer(response: httpx.Response, context: ToolContext) -> bytearray:
    """Read the stream to its end and pass its progress on; returns what comes after that."""
    decoder, payload, ending = EventStreamDecoder(), bytearray(), None
    async with contextlib.aclosing(http_pool.iterate_body(response, MAX_PAYLOAD_BYTES + MAX_PROGRESS_BYTES)) as chunks:
        async for chunk in chunks:
            for message in decoder.feed(chunk):
                if message.headers.get(":event-type") == "PayloadChunk":
                    payload += message.payload
                    await _pass_progress_on(payload, context)
                else:
                    ending = message.headers.get(":event-type"), message.payload
    if ending is None:
        raise ToolUnavailable("The tool's function broke off before its answer was whole.")
    kind, details = ending
    if kind != "InvokeComplete" or msgspec.json.decode(details or b"{}", type=dict[str, Any]).get("ErrorCode"):
        raise ToolUnavailable("The tool's function failed while it ran; its log has the details.")
    return payload


async def _pass_progress_on(payload: bytearray, context: ToolContext) -> None:
    """Take the whole lines of progress from the beginning of the payload."""
    while payload.startswith(_PROGRESS) and (end := payload.find(b"\n")) >= 0:
        await context.progress(orjson.loads(payload[:end])["progress"])
        del payload[: end + 1]


def _parse_answer(payload: bytearray) -> Any:
    answer = msgspec.json.decode(payload, type=RemoteAnswer)
    if answer.spans and (span := SPAN.get()):
        span.trace.others.append(bytes(answer.spans))
    if answer.is_error:
        raise ToolError(answer.content)
    return orjson.loads(answer.content)
