"""Request dispatcher: routes and authenticates a request, calls its endpoint, and turns errors into responses.

Contains no business logic. `chat.app.build` makes one `Service` per execution environment.
"""

import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from aws_lambda_powertools import Logger

from winterbourne import LambdaContext, Response, ResponseStream
from winterbourne.chat.auth.base import ANONYMOUS, Authenticator, Caller
from winterbourne.chat.errors import (
    INTERNAL_ERROR_MESSAGE,
    ChatError,
    ConversationBusy,
    ConversationNotFound,
    InvalidHistory,
    RateLimitExceeded,
    RequestRejected,
    StorageError,
    StorageUnavailable,
)
from winterbourne.chat.http.request import Request
from winterbourne.chat.http.router import Router
from winterbourne.chat.infra import http_pool, redaction, telemetry, tracing

__all__ = ["JSON_HEADERS", "Endpoint", "ErrorEncoder", "RequestContext", "Service", "reply", "reply_json"]

JSON_HEADERS: Final = {"content-type": "application/json", "cache-control": "no-store"}

ERROR_STATUS: Final[Mapping[type[ChatError], int]] = {
    InvalidHistory: 400,
    ConversationNotFound: 404,
    ConversationBusy: 409,
    RateLimitExceeded: 429,
    StorageUnavailable: 503,
}

_LOGGER: Final = logging.getLogger(__name__)


class RequestContext(msgspec.Struct, frozen=True):
    """Everything an endpoint needs: the request, its caller, its path parameters, and the stream for the response.

    `record` has the fields of the request's log line.
    """

    request: Request
    caller: Caller
    path_params: Mapping[str, str]
    stream: ResponseStream
    lambda_context: LambdaContext
    record: telemetry.RequestRecord


Handler = Callable[[RequestContext], Awaitable[None]]
ErrorEncoder = Callable[[int, str, str], bytes]
"""(status, code, message) → the JSON body of an error response."""


class Endpoint(msgspec.Struct, frozen=True):
    """The target of a route.

    Attributes:
        handler: Answers the request.
        error_body: Encodes its error responses.
        is_public: Whether it may be called without authentication.
        prepare: Awaited before each request, once its caller is known.
    """

    handler: Handler
    error_body: ErrorEncoder
    is_public: bool = False
    prepare: Callable[[], Awaitable[None]] | None = None


class Service(msgspec.Struct, frozen=True):
    """Serves all requests of one execution environment.

    Attributes:
        router: Finds the endpoint.
        authenticator: Identifies the caller.
        error_body: Encodes error responses when no route matches.
        logger: The logger that is given the request id for each request.
        service_name: SERVICE_NAME, for the metrics.
        after_request: Called after each request, for example to retire an environment that is no longer healthy.
    """

    router: Router[Endpoint]
    authenticator: Authenticator
    error_body: ErrorEncoder
    logger: Logger
    service_name: str
    after_request: Callable[[], None]

    async def handle(self, event: Mapping[str, Any], response_stream: ResponseStream, context: LambdaContext) -> None:
        """Answer one function-URL request. An error before the stream is opened is answered with an error response.

        https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html

        Raises:
            ChatError: An unexpected error after the stream was opened; the runtime then ends the stream with an error.
        """
        error_body = self.error_body
        with telemetry.request_scope(context.aws_request_id, self.logger, self.service_name) as record:
            request = Request.from_event(event)
            record.fields.update(method=request.method, path=request.path)
            xray = os.environ.get("_X_AMZN_TRACE_ID", "")  # has the id of the function's own segment
            http_pool.outgoing_headers.set(tracing.propagated_headers(request.headers, xray))
            try:
                endpoint, path_params = self.router.match(request.method, request.path)
                error_body = endpoint.error_body
                caller = ANONYMOUS if endpoint.is_public else await self.authenticator.authenticate(request)
                record.fields["caller"] = caller.name
                if endpoint.prepare:
                    await endpoint.prepare()
                await endpoint.handler(RequestContext(request, caller, path_params, response_stream, context, record))
            except (RequestRejected, StorageError, InvalidHistory) as error:
                rejected = error if isinstance(error, RequestRejected) else _as_rejection(error)
                record.measurements.append(("Rejections", 1, ""))
                record.fields.update(error_type=rejected.code, status=rejected.status)
                body = error_body(rejected.status, rejected.code, redaction.redact(str(rejected)))
                await reply(response_stream, rejected.status, body, JSON_HEADERS | rejected.headers)
            except Exception as error:
                _LOGGER.exception("the request failed with an unexpected error")
                record.measurements.append(("Errors", 1, ""))
                record.fields.update(error_type=type(error).__name__, status=500)
                await _fail(response_stream, error_body)
            finally:
                self.after_request()
                pool = http_pool.stats()
                record.measurements += [("PoolConnectionsOpen", pool.open, ""), ("PoolConnectionsIdle", pool.idle, "")]
                record.measurements.append(("PoolRequestsWaiting", pool.waiting, ""))


def _as_rejection(error: StorageError | InvalidHistory) -> RequestRejected:
    """What storage or the history's normalization, which know no HTTP, have reported, with its status."""
    retry_after_s = error.retry_after_s if isinstance(error, StorageError) else None
    headers = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}
    status = next((ERROR_STATUS[kind] for kind in type(error).__mro__ if kind in ERROR_STATUS), 503)
    return RequestRejected(status, error.code, str(error), headers)


async def _fail(stream: ResponseStream, error_body: ErrorEncoder) -> None:
    if stream.started:
        # A fixed message and no cause, because Lambda's Invoke API returns the error text to its caller.
        raise ChatError(INTERNAL_ERROR_MESSAGE) from None
    await reply(stream, 500, error_body(500, "internal_error", INTERNAL_ERROR_MESSAGE), JSON_HEADERS)


async def reply(stream: ResponseStream, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    """Send a complete, non-streaming response."""
    await stream.start(Response(status, dict(headers)))
    if body:
        await stream.write(body)


async def reply_json(stream: ResponseStream, value: object, status: int = 200) -> None:
    """Send a complete response with one JSON value."""
    await reply(stream, status, msgspec.json.encode(value), JSON_HEADERS)
