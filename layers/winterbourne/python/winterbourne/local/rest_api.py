"""The door `rest`: a stage of an API Gateway REST API whose integrations stream (payload format 1.0).

https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html
"""

import secrets
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl

from winterbourne.local.event_door import Answer, EventDoor, json_answer
from winterbourne.local.http_server import Exchange
from winterbourne.local.invocation import FunctionError, Invocation
from winterbourne.local.request_event import HOP_BY_HOP_HEADERS, URL_HEADERS, Request, encode_body, format_time
from winterbourne.override import override

__all__ = ["STAGE", "RestApi", "build_rest_event"]

API_ID: Final = "local"
STAGE: Final = "v1"
METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
"""What `ANY` means."""

MAX_HEAD_BYTES: Final = 10_240
GATEWAY_HEADERS: Final = {"host": "Host", "user-agent": "User-Agent"}
"""Headers whose names the gateway writes itself; it leaves others as they were sent."""

NOT_FORWARDED: Final = HOP_BY_HOP_HEADERS | URL_HEADERS | {"content-length"}
IDENTITY: Final = (
    "accessKey accountId apiKey apiKeyId caller cognitoAuthenticationProvider cognitoAuthenticationType"
    " cognitoIdentityId cognitoIdentityPoolId principalOrgId user userArn"
)


class RestApi(EventDoor):
    """Serves a function as the resources `/` and `/{proxy+}` of a stage with method `ANY` do. There is no CORS.

    Args:
        invoke: Runs an invocation to its end.
        log_access: Gets one line per request.
        base_path: The base path of a custom domain; without one, requests come to the default domain, where the
            stage is the first segment.
    """

    wants_prelude: ClassVar = True
    too_large: ClassVar = json_answer(413, message="Request Too Long")
    late: ClassVar = json_answer(504, message="Endpoint request timed out")
    idle_timeout_s: ClassVar = 300.0
    timeout_s: ClassVar = 900.0

    def __init__(
        self, invoke: Callable[[Invocation], Awaitable[None]], *, log_access: Callable[[str], None], base_path: str = ""
    ) -> None:
        super().__init__(invoke, log_access=log_access)
        self._base_path = base_path.strip("/")
        self.root = f"/{self._base_path or STAGE}"

    @override
    def answer_itself(self, exchange: Exchange) -> Answer | None:
        """What the gateway refuses: other stages, other methods, too long a head."""
        path = exchange.target.partition("?")[0]
        head = len(exchange.target) + sum(len(name) + len(value) for name, value in exchange.headers)
        refusals = (
            (path != self.root and not path.startswith(f"{self.root}/"), 403, "Forbidden"),
            (exchange.method not in METHODS, 403, "Missing Authentication Token"),
            (head > MAX_HEAD_BYTES, 431, "Request Header Fields Too Large"),
        )
        return next((json_answer(status, message=text) for applies, status, text in refusals if applies), None)

    @override
    def headers(self, invocation: Invocation) -> list[tuple[str, str]]:
        """The ids of request and trace."""
        ids = {"x-amzn-requestid": invocation.request_id, "x-amz-apigw-id": secrets.token_urlsafe(11) + "="}
        return [*ids.items(), ("x-amzn-trace-id", invocation.trace_id)]

    @override
    def build_event(self, request: Request, *, request_id: str, trace_id: str, now: datetime) -> dict[str, Any]:
        """The event in payload format 1.0."""
        ids = {"request_id": request_id, "trace_id": trace_id}
        return build_rest_event(request, base_path=self._base_path, **ids, now=now)

    @override
    def answer_to(self, error: FunctionError, exchange: Exchange) -> Answer:  # noqa: ARG002 - all the same to a gateway
        """The same for every failure."""
        return json_answer(502, message="Internal server error")


def build_rest_event(
    request: Request, *, request_id: str, trace_id: str, now: datetime, base_path: str = ""
) -> dict[str, Any]:
    """The event, ready for JSON. `now` must be timezone-aware, and the target must begin with stage or base path."""
    full_path, _, query = request.target.partition("?")
    own_path = full_path.removeprefix(f"/{base_path or STAGE}") or "/"
    resource = "/" if own_path == "/" else "/{proxy+}"
    headers = _lists((GATEWAY_HEADERS.get(n, n), v) for n, v in request.headers if n not in NOT_FORWARDED)
    headers |= {
        "X-Amzn-Trace-Id": [trace_id],
        "X-Forwarded-For": [request.source_ip],
        "X-Forwarded-Port": [str(request.port)],
        "X-Forwarded-Proto": ["http"],
    }
    values = _lists(parse_qsl(query, keep_blank_values=True))
    body = encode_body(request.body, headers.get("content-type", [""])[-1])
    return {
        "resource": resource,
        "path": full_path if base_path else own_path,
        "httpMethod": request.method,
        "headers": _last(headers),
        "multiValueHeaders": headers,
        "queryStringParameters": _last(values) or None,
        "multiValueQueryStringParameters": values or None,
        "pathParameters": None if own_path == "/" else {"proxy": own_path[1:]},
        "stageVariables": None,
        "requestContext": {
            **_request_context(request, _last(headers), request_id, now),
            "path": full_path,
            "resourcePath": resource,
        },
        "body": None,
        **body,
    }


def _request_context(request: Request, headers: dict[str, str], request_id: str, now: datetime) -> dict[str, Any]:
    return {
        "accountId": "123456789012",
        "apiId": API_ID,
        "authorizer": None,
        "domainName": headers.get("Host", ""),
        "domainPrefix": API_ID,
        "extendedRequestId": secrets.token_urlsafe(11) + "=",
        "httpMethod": request.method,
        "identity": {
            **dict.fromkeys(IDENTITY.split(), ""),
            "sourceIp": request.source_ip,
            "userAgent": headers.get("User-Agent", ""),
        },
        "protocol": "HTTP/1.1",
        "requestId": request_id,
        "requestTime": format_time(now),
        "requestTimeEpoch": int(now.astimezone(UTC).timestamp() * 1000),
        "resourceId": "local",
        "stage": STAGE,
    }


def _lists(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """All values of each name, in order of arrival."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values


def _last(values: dict[str, list[str]]) -> dict[str, str]:
    return {name: several[-1] for name, several in values.items()}
