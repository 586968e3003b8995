"""HTTP request → function URL event (payload format 2.0). Pure.

https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
"""

import base64
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

__all__ = ["Request", "build_event", "encode_body", "format_time"]

URL_ID: Final = "local"
HOP_BY_HOP_HEADERS: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade"})
# The function URL sets these itself so that no caller can forge them.
URL_HEADERS: Final = frozenset({"x-amzn-trace-id", "x-forwarded-for", "x-forwarded-port", "x-forwarded-proto"})
# Cookies are joined by semicolons, and are a field of their own as well.
NOT_FORWARDED_HEADERS: Final = HOP_BY_HOP_HEADERS | URL_HEADERS | {"cookie"}


@dataclass(frozen=True)
class Request:
    """An HTTP request. Header names are in lower case; repeated headers are separate entries."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    source_ip: str
    port: int


def build_event(request: Request, *, request_id: str, trace_id: str, now: datetime) -> dict[str, Any]:
    """The event, ready for JSON. `now` must be timezone-aware."""
    path, _, query = request.target.partition("?")
    headers = _headers(request, trace_id)
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "cookies": _cookies(request.headers),
        "headers": headers,
        "queryStringParameters": _join_repeated(parse_qsl(query, keep_blank_values=True)),
        "requestContext": _request_context(request, headers, request_id, now),
        **encode_body(request.body, headers.get("content-type", "")),
    }
    # Lambda omits these two if they are empty.
    return {key: value for key, value in event.items() if value or key not in {"cookies", "queryStringParameters"}}


def _request_context(request: Request, headers: dict[str, str], request_id: str, now: datetime) -> dict[str, Any]:
    return {
        "accountId": "anonymous",
        "apiId": URL_ID,
        "domainName": headers.get("host", ""),
        "domainPrefix": URL_ID,
        "http": {
            "method": request.method,
            "path": unquote(request.target.partition("?")[0]),
            "protocol": "HTTP/1.1",
            "sourceIp": request.source_ip,
            "userAgent": headers.get("user-agent", ""),
        },
        "requestId": request_id,
        "routeKey": "$default",
        "stage": "$default",
        "time": format_time(now),
        "timeEpoch": int(now.timestamp() * 1000),
    }


def format_time(now: datetime) -> str:
    """A time as events have it."""
    return now.astimezone(UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")


def _headers(request: Request, trace_id: str) -> dict[str, str]:
    return {
        **_join_repeated((name, value) for name, value in request.headers if name not in NOT_FORWARDED_HEADERS),
        **({"cookie": "; ".join(cookies)} if (cookies := _cookies(request.headers)) else {}),
        "x-amzn-trace-id": trace_id,
        "x-forwarded-for": request.source_ip,
        "x-forwarded-port": str(request.port),
        "x-forwarded-proto": "http",
    }


def _join_repeated(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The values of a repeated name, joined by commas in order of arrival."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return {name: ",".join(several) for name, several in values.items()}


def _cookies(headers: Iterable[tuple[str, str]]) -> list[str]:
    cookies = (cookie.strip() for name, value in headers if name == "cookie" for cookie in value.split(";"))
    return [cookie for cookie in cookies if cookie]


def encode_body(body: bytes, content_type: str) -> dict[str, Any]:
    """The body as an event has it, without the key if there is none."""
    if not body:
        return {"isBase64Encoded": False}
    if _is_text(content_type):
        with contextlib.suppress(UnicodeDecodeError):  # declared as text, but not valid UTF-8
            return {"body": body.decode(), "isBase64Encoded": False}
    return {"body": base64.b64encode(body).decode("ascii"), "isBase64Encoded": True}


def _is_text(content_type: str) -> bool:
    """Whether a body is passed as text. Forms and bodies without a type are base64, as in API Gateway's payload 2.0."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type.startswith("text/") or media_type.endswith(("/json", "+json", "/xml", "+xml", "/javascript"))
