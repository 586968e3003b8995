"""Request parsing: a function-URL event → Request, and its body → a JSON object within the size and depth limits.

Independent of conversations and wire formats.
Payload format 2.0: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
"""

import base64
import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
import orjson

from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.settings import RequestSettings
from winterbourne.large_body import LargeBody

__all__ = ["NOT_AN_OBJECT", "Request", "invalid_shape"]

NOT_AN_OBJECT: Final = "the body must be a JSON object"

LARGE_CHARS: Final = 512 * 1024
"""Of a body from which it is not copied needlessly."""


MAX_REASON_CHARS: Final = 300
"""Length limit of an error message: a parser's message may quote the body, and a body may be long."""


class Request(msgspec.Struct, kw_only=True):
    """One HTTP request; header names are in lower case. The body can be taken once.

    `identity` is the function URL's description of an IAM caller (`requestContext.authorizer.iam`), empty for any
    other caller; `received_ms` is when the function URL received the request, in epoch milliseconds.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    raw_body: str | LargeBody = ""
    is_base64: bool = False
    identity: Mapping[str, Any] = {}
    received_ms: int | None = None

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> "Request":
        """Read payload format 2.0. Missing fields (hand-written events) are left empty; a missing path is `/`.

        A large body is taken out of the event, so that it is not kept beside what it is parsed to.
        """
        raw_body = event.get("body") or ""
        if isinstance(event, dict) and (isinstance(raw_body, LargeBody) or len(raw_body) > LARGE_CHARS):
            event["body"] = None
        context = event.get("requestContext") or {}
        http = context.get("http") or {}
        headers: Iterable[tuple[str, object]] = (event.get("headers") or {}).items()
        return cls(
            method=http.get("method", "GET"),
            path=event.get("rawPath") or "/",
            headers={name.lower(): _without_surrogates(text) for name, text in headers if isinstance(text, str)},
            query=dict(parse_qsl(event.get("rawQueryString") or "", keep_blank_values=True)),
            raw_body=raw_body,
            is_base64=bool(event.get("isBase64Encoded")),
            identity=(context.get("authorizer") or {}).get("iam") or {},
            received_ms=context.get("timeEpoch"),
        )

    def body(self, max_bytes: int) -> bytes:
        """The body as it was sent.

        Raises:
            RequestRejected: 413 if the body exceeds `max_bytes` bytes, 400 if it is not valid base64.
        """
        self.raw_body, self.is_base64 = self._take_body(max_bytes), False
        return b"".join(self.raw_body.pieces())

    def json_object(self, limits: RequestSettings) -> dict[str, Any]:
        """The body as a JSON object.

        Raises:
            RequestRejected: 415 if the content type is not JSON, 413 if the body is too large, 400 if it is not a
                JSON object in UTF-8 or is nested deeper than MAX_JSON_DEPTH.
        """
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json" and not media_type.endswith("+json"):
            raise RequestRejected(415, "unsupported_media_type", "send the body as content-type: application/json")
        body = self._take_body(limits.max_body_bytes)
        value = _loads(body.text)
        if not isinstance(value, dict):
            raise RequestRejected(400, "invalid_json", NOT_AN_OBJECT)
        if not _is_within_depth(value, limits.max_json_depth):
            raise RequestRejected(400, "json_too_deep", f"the body nests deeper than {limits.max_json_depth} levels")
        try:
            if body.runs:
                body.fill_in(value)
        except ValueError as error:
            raise RequestRejected(400, "invalid_json", f"the body is not read: {error}") from None
        return value

    def _take_body(self, max_bytes: int) -> LargeBody:
        """The body, which is then gone from here."""
        body, self.raw_body = self.raw_body, ""
        if isinstance(body, str):
            body = LargeBody(body.encode("utf-8", "surrogatepass"))
        if self.is_base64 and len(body.text) <= max_bytes * 2:  # else not worth decoding
            try:
                body = LargeBody(base64.b64decode(b"".join(body.pieces()), validate=True))
            except ValueError:
                raise RequestRejected(400, "invalid_body", "the body is not valid base64") from None
        if len(body.text) > max_bytes or (body.runs and sum(map(len, body.pieces())) > max_bytes):
            raise RequestRejected(413, "body_too_large", f"the body exceeds the limit of {max_bytes} bytes")
        return body


def invalid_shape(error: msgspec.ValidationError, levels: Sequence[str] = ()) -> RequestRejected:
    """400 for a body of another shape; the message names the field, and the `levels` that reasoning has."""
    reason, _, json_path = str(error).replace("`", "").partition(" - at ")
    if levels and "reasoning" in json_path and reason.startswith("Invalid enum value"):
        reason = f"expected one of {', '.join(levels)}"
    field = json_path.removeprefix("key in ").removeprefix("$").removeprefix(".") or "body"
    return RequestRejected(400, "invalid_request", f"{field}: {reason[:1].lower()}{reason[1:]}"[:MAX_REASON_CHARS])


def _without_surrogates(text: str) -> str:
    """Half a surrogate pair, which JSON events of direct Invokes can hold, is no character and cannot be encoded."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _is_within_depth(value: object, max_depth: int) -> bool:
    """Whether containers nest at most `max_depth` deep. Iterative, so that deep JSON cannot exhaust the call stack."""
    level: list[Any] = [value]
    for _ in range(max_depth):
        children = (child for node in level for child in (node.values() if type(node) is dict else node))
        level = [child for child in children if type(child) is dict or type(child) is list]
        if not level:
            return True
    return False


def _loads(body: bytes) -> Any:
    has_nul = _NUL in body
    if len(body) > LARGE_CHARS and not has_nul:  # orjson needs many times its size
        with contextlib.suppress(ValueError, RecursionError):
            return msgspec.json.decode(body)
    if not has_nul:
        with contextlib.suppress(orjson.JSONDecodeError):
            return orjson.loads(body)
    return _loads_leniently(body)


def _loads_leniently(body: bytes) -> Any:
    """Parse JSON in which an emoji was cut in half, escaped or not. A client that kept it could never mend it."""
    try:
        return orjson.loads(_without_half_characters(body))
    except UnicodeDecodeError as error:
        raise RequestRejected(400, "invalid_utf8", f"the body is not UTF-8 at byte {error.start}") from None
    except orjson.JSONDecodeError as error:
        raise _invalid_json(error) from None


def _without_half_characters(body: bytes) -> bytes:
    """Replace lone surrogates and NULs with U+FFFD."""
    text = body.decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return re.sub(_ESCAPES, lambda match: match[1] or rb"\ufffd", text.encode())


_NUL: Final = rb"\u0000"
_ESCAPES: Final = (
    rb"(?s)(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\(?!u[dD][89a-fA-F]|u0000).)"
    rb"|\\u(?:[dD][89a-fA-F][0-9a-fA-F]{2}|0000)"
)
"""Escapes in JSON text: pairs of surrogates and harmless ones in a group, the others without."""


def _invalid_json(error: orjson.JSONDecodeError) -> RequestRejected:
    if "depth" in error.msg:
        return RequestRejected(400, "json_too_deep", "the body nests too deeply")
    return RequestRejected(400, "invalid_json", f"the body is not JSON: {error.msg}"[:MAX_REASON_CHARS])
