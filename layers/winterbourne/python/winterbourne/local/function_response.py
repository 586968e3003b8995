"""What a function answered → status and headers as a function URL sends them. Pure.

Streamed: a JSON prelude, eight NUL bytes, then the body. Buffered: one JSON document of payload format 2.0.
"""

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["BadResponse", "Head", "PreludeReader", "buffered"]

DELIMITER: Final = b"\0" * 8
PRELUDE_LIMIT: Final = 16 * 1024
# Headers a function URL keeps for itself. What the function says under these names arrives under another,
# as behind API Gateway.
REMAPPED: Final = frozenset({"connection", "content-length", "date", "host", "server", "www-authenticate"})
DROPPED: Final = frozenset({"keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})


class BadResponse(Exception):
    """The function's answer is none that a function URL can send."""


@dataclass(frozen=True)
class Head:
    """Status and headers for the client; cookies are among the headers."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)


class PreludeReader:
    """The streamed response's bytes, cut anywhere, until its prelude is there."""

    def __init__(self) -> None:
        self._seen = b""

    def feed(self, data: bytes) -> tuple[Head, bytes] | None:
        """More bytes.

        Returns:
            None until the prelude is whole; then the head and what is already there of the body.

        Raises:
            BadResponse: What came is no prelude, or grows past 16 KB without an end.
        """
        self._seen += data
        prelude, delimiter, body = self._seen.partition(DELIMITER)
        if len(prelude) > PRELUDE_LIMIT:
            raise BadResponse("The prelude is longer than 16 KB.")
        return (_head(_object(prelude), "application/octet-stream"), body) if delimiter else None


def buffered(document: bytes) -> tuple[Head, bytes]:
    """A whole response.

    A document without `statusCode` is the body itself, as payload format 2.0 has it.

    Raises:
        BadResponse: It cannot be sent.
    """
    try:
        answer = json.loads(document)
    except ValueError:
        raise BadResponse("The response is not JSON.") from None
    if isinstance(answer, dict) and "statusCode" in answer:
        return _head(answer, "application/json"), _body(answer)
    body = answer.encode() if isinstance(answer, str) else document
    return Head(200, [("content-type", "application/json")]), body


def _object(document: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(document)
    except ValueError:
        raise BadResponse("The prelude is not JSON.") from None
    if not isinstance(answer, dict):
        raise BadResponse("The prelude is not a JSON object.")
    return answer


def _head(answer: dict[str, Any], content_type: str) -> Head:
    headers = _headers(answer.get("headers"))
    if "content-type" not in dict(headers):
        headers.append(("content-type", content_type))
    cookies = answer.get("cookies") or []
    if not isinstance(cookies, list):
        raise BadResponse("cookies is not a list.")
    return Head(_status(answer.get("statusCode", 200)), headers + [("set-cookie", str(cookie)) for cookie in cookies])


def _status(status: object) -> int:
    text = str(status)
    if isinstance(status, int | str) and text.isascii() and text.isdigit() and 200 <= int(text) <= 599:
        return int(text)
    raise BadResponse(f"statusCode {text[:20]} is none of 200 to 599.")


def _headers(headers: object) -> list[tuple[str, str]]:
    if not isinstance(headers or {}, dict):
        raise BadResponse("headers is not an object.")
    named = ((name.lower(), _text(value)) for name, value in (headers or {}).items())  # type: ignore[attr-defined]
    return [
        (f"x-amzn-remapped-{name}" if name in REMAPPED else name, value) for name, value in named if name not in DROPPED
    ]


def _text(value: object) -> str:
    """`true` and numbers as JSON writes them."""
    return value if isinstance(value, str) else json.dumps(value)


def _body(answer: dict[str, Any]) -> bytes:
    body = answer.get("body")
    if body is None:
        return b""
    text = body if isinstance(body, str) else json.dumps(body)
    if not answer.get("isBase64Encoded"):
        return text.encode(errors="replace")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadResponse("The body is not base64.") from None
