"""One HTTP request, whatever door it came through, and its body as a JSON object within the size and depth limits.

Independent of conversations and wire formats.
"""

import base64
import contextlib
import math
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

import msgspec
import orjson

from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.settings import RequestSettings
from winterbourne.large_body import LargeBody

__all__ = ["LARGE_CHARS", "NOT_AN_OBJECT", "ReadBody", "Request", "invalid_shape", "join_headers"]

ReadBody: TypeAlias = Callable[[int], Awaitable[LargeBody]]
"""Reads a body that has not come yet. Of one that is longer than the given number of bytes, the rest is left."""

NOT_AN_OBJECT: Final = "the body must be a JSON object"

LARGE_CHARS: Final = 512 * 1024
"""Of a body from which it is not copied needlessly."""


MAX_REASON_CHARS: Final = 300
"""Length limit of an error message: a parser's message may quote the body, and a body may be long."""


class Request(msgspec.Struct, kw_only=True):
    """One HTTP request. What a door does not know has a default, so that nobody asks which door it was.

    Attributes:
        method: In upper case.
        raw_path: Percent-encoded, from `/`; without `root_path`.
        root_path: The stage or base path before it, percent-encoded, or empty: for links alone.
        raw_query: Percent-encoded, without `?`.
        headers: See `join_headers`.
        raw_body: The body, or what reads it once it is asked for; it can be taken once.
        is_base64: Whether `raw_body` is text in base64.
        client: The address of the peer that the door vouches for; empty if it vouches for none.
        identity: What the door itself has verified of the caller, by AWS's names, and its `kind`: iam, jwt, authorizer.
        request_id: The door's, or a new one.
        received_ms: When the door received it, in epoch milliseconds.
        deadline: When the response must have ended, on the event loop's clock.
        trace: The trace headers of outgoing requests.
        door_fields: What else the door knows it by, for the log line.
        is_bare: Whether the door leaves CORS and the id of the request in its response to the chat.
        refusal: Why it is refused, if what came through the door was no request.
        page: Where the page is, relative to what was asked for, if that lacks the slash which its links begin from.
    """

    method: str
    raw_path: str
    root_path: str = ""
    raw_query: str = ""
    headers: Mapping[str, str] = {}
    raw_body: str | LargeBody | ReadBody = ""
    is_base64: bool = False
    client: str = ""
    identity: Mapping[str, Any] = {}
    request_id: str = msgspec.field(default_factory=lambda: str(uuid.uuid4()))
    received_ms: int = msgspec.field(default_factory=lambda: int(time.time() * 1000))
    deadline: float = math.inf
    trace: dict[str, str] = {}
    door_fields: Mapping[str, str] = {}
    is_bare: bool = False
    refusal: RequestRejected | None = None
    page: str = ""

    @property
    def query(self) -> dict[str, str]:
        """The query, decoded; of a name that repeats the last value."""
        return dict(parse_qsl(self.raw_query, keep_blank_values=True))

    async def json_object(self, limits: RequestSettings) -> dict[str, Any]:
        """The body as a JSON object.

        Raises:
            RequestRejected: 415 if the content type is not JSON, 413 if the body is too large, 400 if it is not a
                JSON object in UTF-8 or is nested deeper than MAX_JSON_DEPTH.
        """
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json" and not media_type.endswith("+json"):
            raise RequestRejected(415, "unsupported_media_type", "send the body as content-type: application/json")
        body = await self._take_body(limits.max_body_bytes)
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

    async def _take_body(self, max_bytes: int) -> LargeBody:
        """The body, which is then gone from here."""
        body, self.raw_body = self.raw_body, ""
        if isinstance(body, str):
            body = LargeBody(body.encode("utf-8", "surrogatepass"))
        elif not isinstance(body, LargeBody):
            body = await body(max_bytes)
        if self.is_base64 and len(body.text) <= max_bytes * 2:  # else not worth decoding
            try:
                body = LargeBody(base64.b64decode(b"".join(body.pieces()), validate=True))
            except ValueError:
                raise RequestRejected(400, "invalid_body", "the body is not valid base64") from None
        if len(body.text) > max_bytes or (body.runs and sum(map(len, body.pieces())) > max_bytes):
            raise RequestRejected(413, "body_too_large", f"the body exceeds the limit of {max_bytes} bytes")
        return body


def join_headers(pairs: Iterable[tuple[str, object]]) -> dict[str, str]:
    """One text for each name, in lower case: those of a name that repeats are joined, cookies by semicolons."""
    headers = dict[str, str]()
    for name, text in ((name.lower(), _without_surrogates(text)) for name, text in pairs if isinstance(text, str)):
        headers[name] = f"{headers[name]}{'; ' if name == 'cookie' else ','}{text}" if name in headers else text
    return headers


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
