"""Request dispatcher: routes and authenticates a request, calls its endpoint, and turns errors into responses.

Contains no business logic. `chat.app.build` makes one `Service` per execution environment.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
from aws_lambda_powertools import Logger

from winterbourne import Response, ResponseStream
from winterbourne.chat.auth.base import ANONYMOUS, Authenticator, Caller
from winterbourne.chat.errors import ChatError, DeadlineReached, InvalidHistory, RequestRejected, StorageError
from winterbourne.chat.formats.base import encode_text_error
from winterbourne.chat.http.cors import cors_headers, is_preflight
from winterbourne.chat.http.request import Request
from winterbourne.chat.http.router import Router
from winterbourne.chat.infra import http_pool, redaction, telemetry
from winterbourne.chat.infra.tracing import NO_SPAN
from winterbourne.chat.storage.base import time_limit
from winterbourne.chat.storage.rate_limits import RateLimiter

if TYPE_CHECKING:
    from winterbourne.chat.infra.otlp import Tracer
    from winterbourne.chat.infra.spans import Span

__all__ = [
    "JSON_HEADERS",
    "MAX_CLAIM_CHARS",
    "Endpoint",
    "ErrorEncoder",
    "RequestContext",
    "Service",
    "reply",
    "reply_json",
]

JSON_HEADERS: Final = {
    "content-type": "application/json",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
}

END_GRACE_S: Final = 0.2
"""How long the end of a response waits for what is left to save, in seconds: a store that is well needs a few
milliseconds, and who reads the conversation after the end then finds the answer in it."""

TIDY_TIMEOUT_S: Final = 3.0
"""How long an invocation may go on after the end of its response, in seconds."""

BACKGROUND_TIMEOUT_S: Final = 10.0
"""How long after that what is done in the background may take, in seconds: it may ask a model."""

EXPORT_TIMEOUT_S: Final = 1.0
"""How long after that spans are sent, in seconds: X-Ray needs some hundredths. Others go with the next request."""

TIDY_RESERVE_S: Final = 0.5
"""How long before the request's deadline both end at the latest; the door cancels what goes on."""

MIN_TIDY_S: Final = 0.1
"""How long an invocation may go on that the runtime has cancelled, in seconds: a lease that is not released keeps its
conversation busy."""

MAX_CLAIM_CHARS: Final = 256
"""How much of what a client says of itself is in the log."""

AfterResponse = Callable[[float], Awaitable[None]]
"""What is done after the end of the response, until the given time of the event loop's clock."""

_LOGGER: Final = logging.getLogger(__name__)


class RequestContext(msgspec.Struct, frozen=True):
    """Everything an endpoint needs: the request, its caller, its path parameters, and the stream for the response.

    `record` has the fields of the request's log line. To `after_response`, an endpoint adds what the caller need not
    wait for: it is called after the end of the response, whatever that was. `background` is called when all that is
    done, unless the response has failed.
    """

    request: Request
    caller: Caller
    path_params: Mapping[str, str]
    stream: ResponseStream
    record: telemetry.RequestRecord
    after_response: list[AfterResponse] = []
    background: list[AfterResponse] = []


Handler = Callable[[RequestContext], Awaitable[None]]
ErrorEncoder = Callable[[int, str, str, str], tuple[str, bytes]]
"""(status, code, message, request id) → the content type and the body of an error response."""


class Endpoint(msgspec.Struct, frozen=True):
    """The target of a route.

    Attributes:
        handler: Answers the request.
        encode_error: Encodes its error responses.
        is_public: Whether it may be called without authentication; such requests are not counted.
        is_chat: Whether it counts its requests itself, those that it answers; the others are counted here.
        prepare: Awaited before each request, once its caller is known.
    """

    handler: Handler
    encode_error: ErrorEncoder
    is_public: bool = False
    is_chat: bool = False
    prepare: Callable[[], Awaitable[None]] | None = None


class Service(msgspec.Struct, frozen=True):
    """Serves all requests of one execution environment.

    Attributes:
        router: Finds the endpoint.
        authenticator: Identifies the caller.
        rate_limiter: Counts the caller's requests.
        encode_error: Encodes error responses when no route matches.
        logger: The logger that is given the request id for each request.
        service_name: SERVICE_NAME, for the metrics.
        after_request: Called after each request, for example to retire an environment that is no longer healthy.
        cors_origins: Whose pages may call through doors that leave CORS to the chat.
        logs_clients: Whether the log line of a request says where it came from.
        metrics: METRICS.
        tracer: Traces the requests; None if nobody collects their traces.
    """

    router: Router[Endpoint]
    authenticator: Authenticator
    rate_limiter: RateLimiter
    encode_error: ErrorEncoder
    logger: Logger
    service_name: str
    after_request: Callable[[], None]
    cors_origins: frozenset[str] = frozenset()
    logs_clients: bool = True
    metrics: telemetry.MetricsMode = "full"
    tracer: "Tracer | None" = None

    async def handle(self, request: Request, response_stream: ResponseStream) -> None:
        """Answer one request. An error before the stream is opened is answered with an error response.

        Raises:
            ChatError: An unexpected error after the stream was opened, which the door then breaks off.

        Cancellation:
            Cancels what the endpoint does, and waits until it has saved what it has.
        """
        encode_error, request_id = self.encode_error, request.request_id
        after_response, background = list[AfterResponse](), list[AfterResponse]()
        with self._recorded(request) as (record, begun):
            span = begun
            if request.is_bare:
                response_stream.own_headers = {"x-request-id": request_id, **cors_headers(self.cors_origins, request)}
            try:
                _check(request)
                if self.cors_origins and request.is_bare and is_preflight(request):
                    await reply(response_stream, 204, b"", {})
                    return
                endpoint, path_params = self.router.match(request.method, request.raw_path)
                encode_error, record.is_chat = endpoint.encode_error, endpoint.is_chat
                response_stream.last_words = partial(_late_words, response_stream, encode_error, request_id)
                span = None if endpoint.is_public else begun  # the page and the probes are not told
                caller = ANONYMOUS if endpoint.is_public else await self.authenticator.authenticate(request)
                record.fields["caller"] = caller.name
                if not endpoint.is_public and not endpoint.is_chat:
                    async with time_limit():
                        await self.rate_limiter.count_request(caller.id, is_chat=False)
                if endpoint.prepare:
                    await endpoint.prepare()
                more = record, after_response, background
                await endpoint.handler(RequestContext(request, caller, path_params, response_stream, *more))
            except (RequestRejected, StorageError, InvalidHistory) as error:
                _count_error(record, error.code, error.status)
                await _reply_error(response_stream, error, encode_error, request_id)
            except Exception as error:
                _LOGGER.exception("the request failed with an unexpected error")
                _count_error(record, type(error).__name__, 500)
                if response_stream.started:
                    # No details and no cause, because Lambda's Invoke API returns the error text to its caller.
                    raise ChatError(ChatError.public_message) from None
                await _reply_error(response_stream, ChatError(), encode_error, request_id)
            except asyncio.CancelledError:
                record.is_answered = response_stream.reader_left
                raise
            finally:
                self.after_request()
                pool = http_pool.stats()
                record.measurements += [("PoolConnectionsOpen", pool.open, ""), ("PoolConnectionsIdle", pool.idle, "")]
                record.measurements.append(("PoolRequestsWaiting", pool.waiting, ""))
                response = response_stream.response
                export = self.tracer.end(span, record.fields, response) if self.tracer and span else None
                await _tidy(after_response, background, export, response_stream, request.deadline)

    @contextlib.contextmanager
    def _recorded(self, request: Request) -> "Iterator[tuple[telemetry.RequestRecord, Span | None]]":
        """Record a request: for its log line and metrics, and as a span if it is traced."""
        span = self._begin_trace(request, self.tracer) if self.tracer else None
        scope = telemetry.request_scope(request.request_id, self.logger, self.service_name, self.metrics)
        with scope as record, span or NO_SPAN:
            record.fields.update(method=request.method, path=request.raw_path, **request.door_fields)
            if self.logs_clients:
                record.fields.update(_client_fields(request))
            if span:
                record.fields["trace_id"] = span.trace.trace_id
            else:
                http_pool.outgoing_headers.set(request.trace)
            http_pool.marks.set((http_pool.PoolMarks(), http_pool.PoolMarks()))
            yield record, span

    def _begin_trace(self, request: Request, tracer: "Tracer") -> "Span | None":
        """The span of a request: with its path in the name only if that is a route, and so one of a few."""
        is_route = self.router.is_fixed(request.raw_path)
        return tracer.begin(
            request.trace,
            f"{request.method} {request.raw_path}" if is_route else request.method,
            request.request_id,
            http__request__method=request.method,
            http__route=request.raw_path if is_route else None,
            url__path=request.raw_path,
        )


def _check(request: Request) -> None:
    if request.refusal:
        raise request.refusal


def _count_error(record: telemetry.RequestRecord, error_type: str, status: int) -> None:
    """Count what is answered with an error: the caller's mistake, or ours, of whoever checks the caller included."""
    is_callers = status < 500
    telemetry.count_error(error_type, is_callers=is_callers)
    if not is_callers and "caller" not in record.fields:
        record.measurements.append(("AuthErrors", 1, ""))
    record.fields["status"] = status


def _client_fields(request: Request) -> dict[str, str]:
    """Where a request came from: the address that the door vouches for, and what the request claims itself.

    Proxies append to `x-forwarded-for`, so its end is worth most: behind one, the address is the proxy's.
    """
    headers = request.headers
    claims = headers.get("user-agent", "")[:MAX_CLAIM_CHARS], headers.get("x-forwarded-for", "")[-MAX_CLAIM_CHARS:]
    fields = zip(("client_address", "user_agent", "forwarded_for"), (request.client, *claims), strict=True)
    return {name: value for name, value in fields if value and (name != "forwarded_for" or value != request.client)}


def _late_words(stream: ResponseStream, encode: ErrorEncoder, request_id: str, is_last: bool, /) -> bytes:  # noqa: FBT001 - as the runtime's watchdog calls it
    """The response to a request whose endpoint has not begun it when the event loop stands still at the deadline."""
    if not is_last:
        return b""
    error = DeadlineReached()
    headers, body = _error_response(error, encode, request_id)
    stream.start_on_write(Response(error.status, headers))
    return body


async def _reply_error(stream: ResponseStream, error: ChatError, encode: ErrorEncoder, request_id: str) -> None:
    headers, body = _error_response(error, encode, request_id)
    await reply(stream, error.status, body, headers)


def _error_response(error: ChatError, encode: ErrorEncoder, request_id: str) -> tuple[dict[str, str], bytes]:
    """What the caller may know. Code and request id are headers too: a body for people does not have them."""
    message = redaction.redact(error.public_message)
    try:
        content_type, body = encode(error.status, error.code, message, request_id)
    except Exception:  # boundary: a format may be anybody's, and the text of its exception must not leave
        _LOGGER.exception("the format cannot encode an error")
        content_type, body = encode_text_error(error.status, error.code, message, request_id)
    headers = JSON_HEADERS | {"content-type": content_type, "x-error-code": error.code, "x-request-id": request_id}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    return headers | (error.headers if isinstance(error, RequestRejected) else {}), body


async def _tidy(
    tasks: list[AfterResponse],
    background: Sequence[AfterResponse],
    export: AfterResponse | None,
    stream: ResponseStream,
    deadline: float,
) -> None:
    """Do what the response need not wait for, and end the response, unless it has failed, after END_GRACE_S at most.

    Spans are exported last; those of a response that has failed wait for the next request: nobody can end it here.
    """
    if not (tasks or export):
        return
    has_failed = sys.exception() is not None
    tidying = asyncio.create_task(_run(tasks, TIDY_TIMEOUT_S, deadline))
    try:
        await asyncio.wait((tidying,), timeout=END_GRACE_S)
        if not has_failed:
            await stream.end()
            telemetry.note_end()
    finally:
        await tidying
        tasks.clear()  # they have the request, with its documents
    if not has_failed:
        await _run(background, BACKGROUND_TIMEOUT_S, deadline)
    if export and has_failed:
        await export(0.0)
    elif export:
        await _run([export], EXPORT_TIMEOUT_S, deadline)


async def _run(tasks: Sequence[AfterResponse], timeout_s: float, deadline: float) -> None:
    now = asyncio.get_running_loop().time()
    until = max(now + MIN_TIDY_S, min(now + timeout_s, deadline - TIDY_RESERVE_S))
    for error in await asyncio.gather(*(task(until) for task in tasks), return_exceptions=True):
        if isinstance(error, Exception):
            _LOGGER.error("what was left of a request failed", exc_info=error)


async def reply(stream: ResponseStream, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    """Send a complete, non-streaming response."""
    await stream.start(Response(status, dict(headers)))
    if body:
        await stream.write(body)


async def reply_json(stream: ResponseStream, value: object, status: int = 200) -> None:
    """Send a complete response with one JSON value."""
    await reply(stream, status, msgspec.json.encode(value), JSON_HEADERS)
