"""HTTP events: what function URLs, API Gateway and load balancers hand over, in one shape. No I/O.

https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
"""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlencode

from winterbourne.invocation import FrontEnd

__all__ = ["HttpEvent", "read_http_event", "read_identity"]

RESOURCE_PARAMETER = re.compile(r"\{([^{}+]+)\+?\}")

Event = dict[str, Any]


@dataclass(frozen=True)
class HttpEvent:
    """The request that an event describes, without its body.

    Attributes:
        method: In upper case.
        raw_path: Percent-encoded, as a rule as it was sent; without `root_path`.
        root_path: The stage or the base path before it, percent-encoded, or empty.
        raw_query: Percent-encoded, without `?`. API Gateway's payload 1.0 has only decoded values, which are encoded
            anew: equal in meaning, not in bytes.
        headers: Names in lower case, and values; names may repeat, but for `cookie`.
        client: The address of the peer that the front end has seen; empty if it names none.
    """

    method: str
    raw_path: str
    root_path: str
    raw_query: str
    headers: list[tuple[str, str]]
    client: str


def read_http_event(event: Any, front_end: FrontEnd) -> HttpEvent:
    """Read an event of this front end; fields that are missing or null are empty."""
    if front_end in {FrontEnd.FUNCTION_URL, FrontEnd.HTTP_API}:
        return _read_payload_2(event)
    return _read_payload_1(event, is_encoded=front_end.name.startswith("LOAD"))


def read_identity(request_context: Event) -> Event:
    """Who called, as AWS has verified it, and its `kind`; empty if nobody has.

    iam: by the names that a function URL has for it; jwt: the claims that a Cognito authorizer has checked; authorizer:
    what a Lambda authorizer says.
    """
    authorizer, identity = request_context.get("authorizer") or {}, request_context.get("identity") or {}
    if isinstance(iam := authorizer.get("iam"), dict):  # text is a Lambda authorizer's, which names things as it likes
        return {**iam, "kind": "iam"}
    if arn := identity.get("userArn"):
        return {"userArn": arn, "userId": identity.get("caller"), "accountId": identity.get("accountId"), "kind": "iam"}
    if isinstance(claims := authorizer.get("claims"), dict):
        return {**claims, "kind": "jwt"}
    return {**authorizer, "kind": "authorizer"} if authorizer else {}


def _read_payload_2(event: Event) -> HttpEvent:
    """Payload 2.0: one value per header; cookies are listed apart, and those of a function URL in a header too."""
    http = event["requestContext"]["http"]
    headers = _pairs(None, event.get("headers"))
    if cookies := event.get("cookies"):
        headers = [*(each for each in headers if each[0] != "cookie"), ("cookie", "; ".join(cookies))]
    return HttpEvent(
        method=(http.get("method") or "GET").upper(),
        raw_path=event.get("rawPath") or "/",
        root_path="",
        raw_query=event.get("rawQueryString") or "",
        headers=headers,
        client=http.get("sourceIp") or "",
    )


def _read_payload_1(event: Event, *, is_encoded: bool) -> HttpEvent:
    """Payload 1.0: lists of values, and no raw query.

    Args:
        event: The event.
        is_encoded: Whether the query's names and values are still percent-encoded, as load balancers leave them.
    """
    request = event["requestContext"]
    headers = _pairs(event.get("multiValueHeaders"), event.get("headers"))
    query = _query_pairs(event.get("multiValueQueryStringParameters"), event.get("queryStringParameters"))
    root_path, path = _split_root_path(event, request.get("path") or event.get("path") or "/")
    forwarded_for = dict(headers).get("x-forwarded-for", "")
    return HttpEvent(
        method=event["httpMethod"].upper(),
        raw_path=path,
        root_path=root_path,
        raw_query="&".join(map("=".join, query)) if is_encoded else urlencode(query, errors="replace"),
        headers=headers,
        client=(request.get("identity") or {}).get("sourceIp") or forwarded_for.rpartition(",")[2].strip(),
    )


def _split_root_path(event: Event, full_path: str) -> tuple[str, str]:
    """The stage or base path in front of the application's own path, and that.

    The own path is the resource with its parameters filled in; `path` is it only without a base path mapping.
    """
    parameters = event.get("pathParameters") or {}
    resource = RESOURCE_PARAMETER.sub(lambda m: str(parameters.get(m[1], m[0])), event.get("resource") or "")
    for own_path in filter(None, (resource, event.get("path"))):
        own_path = own_path.rstrip("/")  # noqa: PLW2901 - it is that
        root_path = "/".join(full_path.rstrip("/").split("/")[: -own_path.count("/") or None])
        rest = full_path[len(root_path) :]
        if unquote(rest.rstrip("/")) == unquote(own_path):
            return root_path, rest or "/"
    return "", event.get("path") or "/"


def _query_pairs(lists: Event | None, values: Event | None) -> list[tuple[str, str]]:
    """Names and values, one pair for each value; either may be missing."""
    lists = lists or {name: [value] for name, value in (values or {}).items()}
    return [(name, value or "") for name, several in lists.items() for value in several or ()]


def _pairs(lists: Event | None, values: Event | None) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in _query_pairs(lists, values)]
