"""Function response → status, headers and body as a function URL or a REST API sends them. Pure.

Streamed: a JSON prelude, eight NUL bytes, then the body. Buffered: one JSON document of payload format 2.0.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

__all__ = ["BadResponse", "ResponseHead", "parse_buffered_response", "parse_prelude"]

DELIMITER: Final = b"\0" * 8
PRELUDE_LIMIT: Final = 16 * 1024
# Headers that a function URL reserves for itself. If the function sets one of them, it is sent under another name, as
# behind API Gateway.
REMAPPED_HEADERS: Final = frozenset({"connection", "content-length", "date", "host", "server", "www-authenticate"})
DROPPED_HEADERS: Final = frozenset({"keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})


class BadResponse(ValueError):
    """A function URL cannot send this response."""


@dataclass(frozen=True)
class ResponseHead:
    """Status and headers for the client; cookies are included as Set-Cookie headers."""

    status: int
    headers: list[tuple[str, str]]


def parse_prelude(received: bytes, *, has_lists: bool = False) -> tuple[ResponseHead, bytes] | None:
    """Parse the prelude of a streamed response.

    Args:
        received: All of the response that has arrived.
        has_lists: Whether `multiValueHeaders` is read too, as REST APIs do; where it names a header, its values win.

    Returns:
        None until the prelude is complete; then the head, and the part of the body received so far.

    Raises:
        BadResponse: The prelude is invalid or longer than 16 KB.
    """
    document, delimiter, body = received.partition(DELIMITER)
    if len(document) > PRELUDE_LIMIT:
        raise BadResponse("The prelude is longer than 16 KB.")
    if not delimiter:
        return None
    prelude = _parse_json(document, "prelude")
    if not isinstance(prelude, dict):
        raise BadResponse("The prelude is not a JSON object.")
    return _response_head(prelude, "application/octet-stream", _lists(prelude) if has_lists else {}), body


def parse_buffered_response(document: bytes) -> tuple[ResponseHead, bytes]:
    """Parse a buffered response.

    A document without `statusCode` is the body itself (payload format 2.0).

    Raises:
        BadResponse: The response is invalid.
    """
    response = _parse_json(document, "response")
    if isinstance(response, dict) and "statusCode" in response:
        return _response_head(response, "application/json"), _decode_body(response)
    body = response.encode() if isinstance(response, str) else document
    return ResponseHead(200, [("content-type", "application/json")]), body


def _parse_json(document: bytes, name: str) -> Any:
    try:
        return json.loads(document)
    except ValueError:
        raise BadResponse(f"The {name} is not JSON.") from None


def _lists(prelude: dict[str, Any]) -> dict[str, list[Any]]:
    lists = prelude.get("multiValueHeaders") or {}
    if not isinstance(lists, dict) or not all(isinstance(values, list) for values in lists.values()):
        raise BadResponse("multiValueHeaders is not an object of lists.")
    return lists


def _response_head(
    response: dict[str, Any], content_type: str, lists: Mapping[str, list[Any]] = MappingProxyType({})
) -> ResponseHead:
    names = {name.lower() for name in lists}
    headers = [pair for pair in _remap_headers(response.get("headers")) if pair[0] not in names]
    headers += [pair for name, values in lists.items() for value in values for pair in _remap_headers({name: value})]
    status = _validate_status(response.get("statusCode", 200))
    if "content-type" not in dict(headers) and status not in {204, 205} and status // 100 != 3:
        headers.append(("content-type", content_type))
    cookies = response.get("cookies") or []
    if not isinstance(cookies, list):
        raise BadResponse("cookies is not a list.")
    headers += [("set-cookie", str(cookie)) for cookie in cookies]
    return ResponseHead(status, headers)


def _validate_status(status: object) -> int:
    text = str(status)
    if isinstance(status, int | str) and text.isascii() and text.isdigit() and 200 <= int(text) <= 599:
        return int(text)
    raise BadResponse(f"statusCode {text[:20]} is not between 200 and 599.")


def _remap_headers(headers: object) -> list[tuple[str, str]]:
    headers = headers or {}
    if not isinstance(headers, dict):
        raise BadResponse("headers is not an object.")
    kept = [(name.lower(), _text(value)) for name, value in headers.items() if name.lower() not in DROPPED_HEADERS]
    return [(f"x-amzn-remapped-{name}" if name in REMAPPED_HEADERS else name, value) for name, value in kept]


def _text(value: object) -> str:
    """The value as text; other types (booleans, numbers) are written as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _decode_body(response: dict[str, Any]) -> bytes:
    if response.get("body") is None:
        return b""
    text = _text(response["body"])
    if not response.get("isBase64Encoded"):
        return text.encode(errors="replace")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise BadResponse("The body is not base64.") from None
