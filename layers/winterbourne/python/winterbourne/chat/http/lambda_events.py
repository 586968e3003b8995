"""The doors that hand over events: function URLs, REST APIs that stream, and callers of Invoke who send a URL's event.

https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html
"""

import asyncio
import functools
import logging
import time
from typing import Any, Final

import msgspec

from winterbourne import LambdaContext, ResponseStream, current_trace_id
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.http.request import LARGE_CHARS, Request, invalid_shape, join_headers
from winterbourne.chat.http.service import Service
from winterbourne.chat.infra import tracing
from winterbourne.chat.settings import DoorSettings
from winterbourne.http_event import read_http_event, read_identity
from winterbourne.invocation import FrontEnd, check_front_end
from winterbourne.large_body import LargeBody

__all__ = ["LambdaDoor"]

ACCEPTED: Final = FrontEnd.FUNCTION_URL, FrontEnd.REST_API, FrontEnd.HTTP_API

_LOGGER: Final = logging.getLogger(__name__)


class _Http(msgspec.Struct):
    method: str | None = None
    sourceIp: str | None = None  # noqa: N815 - as AWS writes it, as all of these


class _Identity(msgspec.Struct):
    sourceIp: str | None = None  # noqa: N815


class _Context(msgspec.Struct):
    http: _Http | None = None
    path: str | None = None
    authorizer: dict[str, Any] | None = None
    identity: _Identity | None = None
    timeEpoch: int | None = None  # noqa: N815
    requestTimeEpoch: int | None = None  # noqa: N815
    requestId: str | None = None  # noqa: N815


class _Event(msgspec.Struct):
    """The types of what is read of an event: a caller of Invoke may send others. The body may be a large one."""

    requestContext: _Context  # noqa: N815
    httpMethod: str = ""  # noqa: N815
    resource: str | None = None
    path: str | None = None
    rawPath: str | None = None  # noqa: N815
    rawQueryString: str | None = None  # noqa: N815
    cookies: list[str] | None = None
    headers: dict[str, Any] | None = None
    multiValueHeaders: dict[str, list[Any] | None] | None = None  # noqa: N815
    queryStringParameters: dict[str, str | None] | None = None  # noqa: N815
    multiValueQueryStringParameters: dict[str, list[str] | None] | None = None  # noqa: N815
    pathParameters: dict[str, Any] | None = None  # noqa: N815
    isBase64Encoded: bool | None = None  # noqa: N815


class LambdaDoor(msgspec.Struct, frozen=True):
    """Serves events, also several at once on one event loop.

    Attributes:
        service: Answers the requests.
        settings: Those of the doors.
    """

    service: Service
    settings: DoorSettings = DoorSettings()

    async def handle(self, event: Any, response_stream: ResponseStream, context: LambdaContext) -> None:
        """Answer one event.

        Raises:
            RuntimeFault: It is no event that is accepted here; Lambda tells its sender so.
            ChatError: An unexpected error after the start of the response; the runtime then ends it with an error.
        """
        await self.service.handle(self.read(event, context), response_stream)

    def read(self, event: Any, context: LambdaContext) -> Request:
        """The request that an event describes. A large body is taken out of it, so as not to be kept twice.

        Raises:
            RuntimeFault: See `handle`.
        """
        front_end = check_front_end(event, "a chat", ACCEPTED)
        if front_end is FrontEnd.HTTP_API:
            _warn_of_http_api()
        if refusal := _refusal(event):
            return Request(method="", raw_path="", request_id=context.aws_request_id, refusal=refusal, is_bare=True)
        remaining_s = min(context.get_remaining_time_in_millis() / 1000, self.settings.request_timeout)
        segment, is_rest = current_trace_id() or "", front_end is FrontEnd.REST_API
        body, request = event.get("body") or "", event["requestContext"]
        if isinstance(body, LargeBody) or len(body) > LARGE_CHARS:
            event["body"] = None
        http, identity = read_http_event(event, front_end), read_identity(request)
        headers, asked = join_headers(http.headers), request.get("path") or "/"
        return Request(
            method=http.method,
            raw_path=http.raw_path,
            root_path=http.root_path,
            raw_query=http.raw_query,
            headers=headers,
            raw_body=body,
            is_base64=bool(event.get("isBase64Encoded")),
            client=http.client,
            identity=identity,
            request_id=context.aws_request_id,
            received_ms=request.get("timeEpoch") or request.get("requestTimeEpoch") or int(time.time() * 1000),
            deadline=asyncio.get_running_loop().time() + remaining_s,
            trace=tracing.propagated_headers(headers, segment),
            door_fields={"gateway_request_id": request.get("requestId") or ""} if is_rest else {},
            is_bare=front_end is not FrontEnd.FUNCTION_URL,
            page=f"./{http.root_path.rpartition('/')[2]}/" if is_rest and asked == http.root_path else "",
        )


def _refusal(event: dict[str, Any]) -> RequestRejected | None:
    """Why an event is not answered that has a field of another type."""
    try:
        msgspec.convert(event, _Event)
    except msgspec.ValidationError as error:
        return invalid_shape(error)
    if isinstance(event.get("body") or "", str | LargeBody):
        return None
    return RequestRejected(400, "invalid_request", "body: expected str")


@functools.cache
def _warn_of_http_api() -> None:
    _LOGGER.warning("an HTTP API collects each answer and sends it at its end: put a function URL or a REST API there")
