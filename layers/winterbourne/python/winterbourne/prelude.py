"""Status, headers and cookies → the JSON and the eight NULs that go ahead of a streamed body.

Pure. The front ends that read it are function URLs and API Gateway REST APIs:
https://docs.aws.amazon.com/lambda/latest/dg/response-streaming-tutorial.html
https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from winterbourne.errors import PreludeTooLarge

__all__ = ["MAX_PRELUDE_BYTES", "PRELUDE_CONTENT_TYPE", "SEPARATOR", "Response", "buffered_response", "encode_prelude"]

PRELUDE_CONTENT_TYPE = "application/vnd.awslambda.http-integration-response"
DEFAULT_CONTENT_TYPE = "application/octet-stream"
MAX_PRELUDE_BYTES = 16 * 1024  # the separator must end within these

# JSON writes NUL as \u0000, so the eight raw NULs can only be the separator.
SEPARATOR = b"\0" * 8

# Of one connection, not of the message (RFC 9110 section 7.6.1), or settled by how Lambda frames the body.
HOP_BY_HOP_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


@dataclass(frozen=True)
class Response:
    """What an HTTP client sees ahead of the body.

    Args:
        status: The HTTP status.
        headers: A mapping, or pairs where a name comes more than once: those are folded with commas. Headers of the
            connection, `content-length` and `transfer-encoding` are dropped; `set-cookie` becomes a cookie.
        cookies: Values of `Set-Cookie`, such as `"theme=dark; Path=/"`.
    """

    status: int = 200
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = field(default_factory=dict)
    cookies: Sequence[str] = ()


def encode_prelude(response: Response, *, rest_api: bool = False) -> bytes:
    """The prelude with its separator.

    Args:
        response: Status, headers and cookies.
        rest_api: Whether an API Gateway REST API reads it, which knows no `cookies` key.

    Raises:
        PreludeTooLarge: It is longer than `LIMIT_BYTES`.
    """
    headers, cookies = _normalize_headers(response)
    prelude: dict[str, Any] = {"statusCode": response.status, "headers": headers}
    if cookies and rest_api:
        prelude["multiValueHeaders"] = {"set-cookie": cookies}
    elif cookies:
        prelude["cookies"] = cookies
    encoded = json.dumps(prelude, separators=(",", ":")).encode() + SEPARATOR
    if len(encoded) > MAX_PRELUDE_BYTES:
        raise PreludeTooLarge(
            f"status, headers and cookies take {len(encoded)} bytes; Lambda reads {MAX_PRELUDE_BYTES}"
        )
    return encoded


def buffered_response(response: Response, body: bytes) -> dict[str, Any]:
    """The same response as an ordinary, buffered function-URL answer; base64 where the body is not UTF-8."""
    headers, cookies = _normalize_headers(response)
    answer = {"statusCode": response.status, "headers": headers, "cookies": cookies}
    try:
        return {**answer, "body": body.decode(), "isBase64Encoded": False}
    except UnicodeDecodeError:
        import base64  # noqa: PLC0415 - only where a binary body is collected, never on Lambda's streaming path

        return {**answer, "body": base64.b64encode(body).decode(), "isBase64Encoded": True}


def _normalize_headers(response: Response) -> tuple[dict[str, str], list[str]]:
    """Headers as one value per lower-case name, and cookies."""
    headers: dict[str, str] = {}
    cookies = list(response.cookies)
    raw_headers = response.headers
    pairs = [
        (name.lower(), value)
        for name, value in (raw_headers.items() if isinstance(raw_headers, Mapping) else raw_headers)
    ]
    dropped = HOP_BY_HOP_HEADERS.union(*(_connection_options(value) for name, value in pairs if name == "connection"))
    for name, value in pairs:
        if name == "set-cookie":
            cookies.append(value)
        elif name not in dropped:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    headers.setdefault("content-type", DEFAULT_CONTENT_TYPE)
    return headers, cookies


def _connection_options(connection: str) -> set[str]:
    """The headers that a `Connection` header declares to be of the connection too."""
    return {name.strip().lower() for name in connection.split(",")}
