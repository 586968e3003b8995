"""Function response → status, headers and body as a function URL sends them. Pure.

Streamed: a JSON prelude, eight NUL bytes, then the body. Buffered: one JSON document of payload format 2.0.
"""

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["BadResponse", "PreludeReader", "ResponseHead", "parse_buffered_response"]

DELIMITER: Final = b"\0" * 8
PRELUDE_LIMIT: Final = 16 * 1024
# Headers that a function URL reserves for itself. If the function sets one of them, it is sent under another name, as
# behind API Gateway.
REMAPPED_HEADERS: Final = frozenset({"connection", "content-length", "date", "host", "server", "www-authenticate"})
DROPPED_HEADERS: Final = frozenset({"keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})


class BadResponse(Exception):
    """A function URL cannot send this response."""


@dataclass(frozen=True)
class ResponseHead:
    """Status and headers for the client; cookies are included as Set-Cookie headers."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)


class PreludeReader:
    """Parses the prelude of a streamed response from chunks of any size."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> tuple[ResponseHead, bytes] | None:
        """Add a chunk.

        Returns:
            None until the prelude is complete; then the head, and the part of the body received so far.

        Raises:
            BadResponse: The prelude is invalid or longer than 16 KB.
        """
        self._buffer += data
        prelude, delimiter, body = self._buffer.partition(DELIMITER)
        if len(prelude) > PRELUDE_LIMIT:
            raise BadResponse("The prelude is longer than 16 KB.")
        return (_response_head(_parse_prelude(prelude), "application/octet-stream"), body) if delimiter else None


def parse_buffered_response(document: bytes) -> tuple[ResponseHead, bytes]:
    """Parse a buffered response.

    A document without `statusCode` is the body itself (payload format 2.0).

    Raises:
        BadResponse: The response is invalid.
    """
    try:
        response = json.loads(document)
    except ValueError:
        raise BadResponse("The response is not JSON.") from None
    if isinstance(response, dict) and "statusCode" in response:
        return _response_head(response, "application/json"), _decode_body(response)
    body = response.encode() if isinstance(response, str) else document
    return ResponseHead(200, [("content-type", "application/json")]), body


def _parse_prelude(document: bytes) -> dict[str, Any]:
    try:
        prelude = json.loads(document)
    except ValueError:
        raise BadResponse("The prelude is not JSON.") from None
    if not isinstance(prelude, dict):
        raise BadResponse("The prelude is not a JSON object.")
    return prelude


def _response_head(response: dict[str, Any], content_type: str) -> ResponseHead:
    headers = _remap_headers(response.get("headers"))
    if "content-type" not in dict(headers):
        headers.append(("content-type", content_type))
    cookies = response.get("cookies") or []
    if not isinstance(cookies, list):
        raise BadResponse("cookies is not a list.")
    return ResponseHead(
        _validate_status(response.get("statusCode", 200)), headers + [("set-cookie", str(cookie)) for cookie in cookies]
    )


def _validate_status(status: object) -> int:
    text = str(status)
    if isinstance(status, int | str) and text.isascii() and text.isdigit() and 200 <= int(text) <= 599:
        return int(text)
    raise BadResponse(f"statusCode {text[:20]} is not between 200 and 599.")


def _remap_headers(headers: object) -> list[tuple[str, str]]:
    headers = headers or {}
    if not isinstance(headers, dict):
        raise BadResponse("headers is not an object.")
    named = ((name.lower(), _header_value(value)) for name, value in headers.items())
    return [
        (f"x-amzn-remapped-{name}" if name in REMAPPED_HEADERS else name, value)
        for name, value in named
        if name not in DROPPED_HEADERS
    ]


def _header_value(value: object) -> str:
    """The value as text; other types (booleans, numbers) are written as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _decode_body(response: dict[str, Any]) -> bytes:
    body = response.get("body")
    if body is None:
        return b""
    text = body if isinstance(body, str) else json.dumps(body)
    if not response.get("isBase64Encoded"):
        return text.encode(errors="replace")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadResponse("The body is not base64.") from None
