"""One request from its route to its last byte: route, authorise, answer; and what becomes of errors.

Knows which part does what and does nothing of it itself. Made once per execution environment by `app`.
"""

import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import msgspec
import orjson
from aws_lambda_powertools import Logger

from winterbourne import Response, ResponseStream
from winterbourne.chat.auth.base import ANONYMOUS, Authenticator, Caller
from winterbourne.chat.errors import INTERNAL_ERROR_MESSAGE, ChatError, RequestRejected
from winterbourne.chat.http.request import Request
from winterbourne.chat.http.router import Router
from winterbourne.chat.infra import http_pool, redaction, telemetry, tracing

__all__ = [
    "JSON_HEADERS",
    "Endpoint",
    "ErrorEncoder",
    "InvocationContext",
    "RequestContext",
    "Service",
    "reply",
    "reply_json",
]

JSON_HEADERS: Final = {"content-type": "application/json", "cache-control": "no-store"}

_LOGGER: Final = logging.getLogger(__name__)


class InvocationContext(Protocol):
    """What is used of Lambda's context object."""

    @property
    def aws_request_id(self) -> str:
        """The invocation's id."""
        ...

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the environment is stopped."""
        ...


class RequestContext(msgspec.Struct, frozen=True, kw_only=True):
    """One request on its way: who calls, what stood in the path's named places, and where the answer goes."""

    request: Request
    caller: Caller
    path_params: Mapping[str, str]
    stream: ResponseStream
    lambda_context: InvocationContext


Handler = Callable[[RequestContext], Awaitable[None]]
ErrorEncoder = Callable[[int, str, str], bytes]
"""(status, code, message) → the JSON body of a refusal."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What stands behind a route.

    Args:
        act: Answers the call.
        is_open: Whether anybody may call it.
        error_body: The shape of its refusals.
    """

    handler: Handler
    is_public: bool = False
    error_body: ErrorEncoder


class Service:
    """Everything one execution environment serves.

    Args:
        routes: (method, path) → endpoint.
        authenticator: Tells who calls.
        error_body: The shape of refusals outside any route.
        logger: Whose lines carry the request's id.
        name: SERVICE_NAME, for the metrics.
    """

    def __init__(
        self,
        routes: Mapping[tuple[str, str], Endpoint],
        authenticator: Authenticator,
        error_body: ErrorEncoder,
        logger: Logger,
        service_name: str,
    ) -> None:
        self._router = Router(routes)
        self._authenticator = authenticator
        self._error_body = error_body
        self._logger = logger
        self._service_name = service_name

    async def handle(self, event: Mapping[str, Any], stream: ResponseStream, context: InvocationContext) -> None:
        """Answer one invocation. Every request gets an answer, also where something broke before the stream opened.

        Raises:
            ChatError: Something broke after the stream was opened; the runtime ends the stream with an error then.
        """
        with telemetry.request_scope(context.aws_request_id, self._logger, self._service_name):
            request = Request.from_event(event)
            http_pool.outgoing_headers.set(
                tracing.propagated_headers(request.headers, os.environ.get("_X_AMZN_TRACE_ID", ""))
            )
            telemetry.note(method=request.method, path=request.path)
            try:
                await self._dispatch(request, stream, context)
            finally:
                _record_pool_metrics()

    async def _dispatch(self, request: Request, stream: ResponseStream, context: InvocationContext) -> None:
        error_body = self._error_body
        try:
            endpoint, path_params = self._router.match(request.method, request.path)
            error_body = endpoint.error_body
            caller = ANONYMOUS if endpoint.is_public else await self._authenticator.authenticate(request)
            telemetry.note(caller=caller.name)
            await endpoint.handler(
                RequestContext(
                    request=request, caller=caller, path_params=path_params, stream=stream, lambda_context=context
                )
            )
        except RequestRejected as rejected:
            telemetry.measure("Rejections")
            telemetry.note(error_type=rejected.code, status=rejected.status)
            body = error_body(rejected.status, rejected.code, redaction.redact(str(rejected)))
            await reply(stream, rejected.status, body, JSON_HEADERS | rejected.headers)
        except Exception as error:
            telemetry.measure("Errors")
            telemetry.note(error_type=type(error).__name__, status=500)
            _LOGGER.exception("the request broke")
            if stream.started:
                raise ChatError(
                    INTERNAL_ERROR_MESSAGE
                ) from None  # Lambda tells callers of its own API what an error says
            await reply(stream, 500, error_body(500, "internal_error", INTERNAL_ERROR_MESSAGE), JSON_HEADERS)


def _record_pool_metrics() -> None:
    pool_stats = http_pool.stats()
    telemetry.measure("PoolConnectionsOpen", pool_stats.open)
    telemetry.measure("PoolConnectionsIdle", pool_stats.idle)
    telemetry.measure("PoolRequestsWaiting", pool_stats.waiting)


async def reply(stream: ResponseStream, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    """Answer in one piece."""
    await stream.start(Response(status, dict(headers)))
    if body:
        await stream.write(body)


async def reply_json(stream: ResponseStream, value: object, status: int = 200) -> None:
    """Answer with one JSON value."""
    await reply(stream, status, orjson.dumps(value), JSON_HEADERS)
