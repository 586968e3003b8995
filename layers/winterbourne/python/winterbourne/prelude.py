"""The prelude of a streamed HTTP response: status, headers and cookies as JSON, then eight NUL bytes. No I/O.

Function URLs and API Gateway REST APIs read it:
https://docs.aws.amazon.com/lambda/latest/dg/response-streaming-tutorial.html
https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from winterbourne.errors import PreludeTooLarge
from winterbourne.invocation import FrontEnd

__all__ = ["MAX_PRELUDE_BYTES", "PRELUDE_CONTENT_TYPE", "SEPARATOR", "Response", "buffered_response", "encode_prelude"]

PRELUDE_CONTENT_TYPE = "application/vnd.awslambda.http-integration-response"
DEFAULT_CONTENT_TYPE = "application/octet-stream"
MAX_PRELUDE_BYTES = 16 * 1024  # including the separator

# JSON escapes NUL as \u0000, so eight raw NULs can only be the separator.
SEPARATOR = b"\0" * 8

# Hop-by-hop headers (RFC 9110 section 7.6.1), and headers determined by how Lambda frames the body.
PROXY_HEADERS = {"proxy-authenticate", "proxy-authorization", "proxy-connection"}
FRAMING_HEADERS = {"content-length", "trailer", "transfer-encoding"}
HOP_BY_HOP_HEADERS = frozenset({"connection", "keep-alive", "te", "upgrade"} | PROXY_HEADERS | FRAMING_HEADERS)


@dataclass(frozen=True)
class Response:
    """Status, headers and cookies of an HTTP response.

    Attributes:
        status: The HTTP status.
        headers: A mapping, or pairs if a name occurs more than once; repeated headers are joined with commas.
            Hop-by-hop headers, `content-length` and `transfer-encoding` are dropped; `set-cookie` becomes a cookie.
        cookies: Values of `Set-Cookie`, such as `"theme=dark; Path=/"`.
    """

    status: int = 200
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = field(default_factory=dict)
    cookies: Sequence[str] = ()


def encode_prelude(response: Response, *, rest_api: bool = False, has_body: bool = True) -> bytes:
    """Encode the prelude with its separator.

    Args:
        response: Status, headers and cookies.
        rest_api: Whether an API Gateway REST API reads it. Its page documents `cookies` too; it gets them as values of
            a header, as others have tested against AWS.
        has_body: Whether a body may follow. If so, it gets a content type.

    Raises:
        PreludeTooLarge: The prelude is longer than `MAX_PRELUDE_BYTES`.
    """
    headers, cookies = _normalize_headers(response, has_body=has_body)
    prelude: dict[str, Any] = {"statusCode": response.status, "headers": headers}
    if cookies:
        prelude |= {"multiValueHeaders": {"set-cookie": cookies}} if rest_api else {"cookies": cookies}
    encoded = json.dumps(prelude, separators=(",", ":")).encode() + SEPARATOR
    if (size := len(encoded)) > MAX_PRELUDE_BYTES:
        raise PreludeTooLarge(f"status, headers and cookies take {size} bytes; the limit is {MAX_PRELUDE_BYTES}")
    return encoded


def buffered_response(
    response: Response, body: bytes, front_end: FrontEnd | None = None, *, has_body: bool = True
) -> dict[str, Any]:
    """Build the buffered response that this front end reads; the body is base64 if it is not UTF-8."""
    headers, cookies = _normalize_headers(response, has_body=has_body and bool(body))
    answer = {"statusCode": response.status, **_buffered_headers(headers, cookies, front_end)}
    try:
        return {**answer, "body": body.decode(), "isBase64Encoded": False}
    except UnicodeDecodeError:
        import base64  # noqa: PLC0415 - loaded only for a buffered binary body, never to stream

        return {**answer, "body": base64.b64encode(body).decode(), "isBase64Encoded": True}


def _buffered_headers(headers: dict[str, str], cookies: list[str], front_end: FrontEnd | None) -> dict[str, Any]:
    """Headers and cookies as this front end reads them."""
    if front_end in {FrontEnd.REST_API, FrontEnd.HTTP_API_1}:
        return {"headers": headers, "multiValueHeaders": {"set-cookie": cookies} if cookies else {}}
    if front_end is FrontEnd.LOAD_BALANCER_MULTI_VALUE:
        multi = {name: [value] for name, value in headers.items()}
        return {"multiValueHeaders": multi | ({"set-cookie": cookies} if cookies else {})}
    if front_end is FrontEnd.LOAD_BALANCER:  # one value per name, which is compared with its case
        names = map("".join, product(*((letter, letter.upper()) for letter in "setcookie")))
        named = {f"{name[:3]}-{name[3:]}": cookie for name, cookie in zip(names, cookies, strict=False)}
        return {"headers": headers | named}
    return {"headers": headers, "cookies": cookies}


def _normalize_headers(response: Response, *, has_body: bool) -> tuple[dict[str, str], list[str]]:
    """The headers, with one value per lower-case name, and the cookies."""
    headers: dict[str, str] = {}
    cookies = list(response.cookies)
    given = response.headers.items() if isinstance(response.headers, Mapping) else response.headers
    pairs = [(name.lower(), value) for name, value in given]
    # A Connection header names further hop-by-hop headers.
    options = ",".join(value for name, value in pairs if name == "connection").split(",")
    dropped = HOP_BY_HOP_HEADERS.union(option.strip().lower() for option in options)
    for name, value in pairs:
        if name == "set-cookie":
            cookies.append(value)
        elif name not in dropped:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    # A cache that updates a stored page from a 304 would take over the type.
    if has_body and not _is_bodiless(response.status) and ("content-length", "0") not in pairs:
        headers.setdefault("content-type", DEFAULT_CONTENT_TYPE)
    return headers, cookies


def with_headers(response: Response, headers: Mapping[str, str]) -> Response:
    """A response with these headers, unless it has its own of that name."""
    given = [*(response.headers.items() if isinstance(response.headers, Mapping) else response.headers)]
    missing = headers.keys() - {name.lower() for name, _ in given}
    return Response(response.status, given + [(name, headers[name]) for name in sorted(missing)], response.cookies)


def _is_bodiless(status: int) -> bool:
    """Whether a response with this status has no body, or as a redirect none that anyone reads."""
    return status in {204, 205} or not (200 <= status < 300 or status >= 400)
