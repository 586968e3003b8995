"""The JSON-RPC messages in a response of an MCP server: one in a JSON body, or an event stream of them; bounded."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import orjson

from winterbourne.chat.errors import ToolUnavailable
from winterbourne.chat.http_library import httpx
from winterbourne.chat.infra import http_pool, redaction
from winterbourne.chat.infra.sse_parser import SseParser
from winterbourne.chat.tool_runtime.mcp.event_ids import EventIds

__all__ = ["error_code", "error_text", "is_event_stream", "read_error", "read_messages"]

MAX_RESPONSE_BYTES: Final = 8 * 1024 * 1024
MAX_ERROR_BYTES: Final = 16 * 1024
ERROR_TIMEOUT_S: Final = 2.0


def is_event_stream(response: httpx.Response) -> bool:
    """Whether the response is an event stream, not a JSON body."""
    return str(response.headers.get("content-type", "")).lower().startswith("text/event-stream")


async def read_messages(
    response: httpx.Response, event_ids: EventIds, secret: str = ""
) -> AsyncIterator[dict[str, Any]]:
    """Read the messages of a response as they come; those of a batch one by one. A `secret` in them is left out.

    Raises:
        ToolUnavailable: The event stream is too large.
        ValueError: It is not JSON.
        httpx.RequestError: The body is too large, or the connection broke.
    """
    forms = _forms(secret)
    async for payload in _read_payloads(response, event_ids):
        message = _decode(_without(forms, payload))
        for each in message if isinstance(message, list) else [message]:
            if not isinstance(each, dict):
                raise TypeError("a message is not an object")
            yield each


async def read_error(response: httpx.Response, secret: str = "") -> tuple[str, int]:
    """Message and code of the JSON-RPC error in a response with an error status; empty and 0 if it has none."""
    with contextlib.suppress(TimeoutError, httpx.HTTPError, ValueError):
        async with asyncio.timeout(ERROR_TIMEOUT_S):
            message = orjson.loads(_without(_forms(secret), await http_pool.read_body(response, MAX_ERROR_BYTES)))
        if isinstance(message, dict) and isinstance(error := message.get("error"), dict):
            return error_text(error, ""), error_code(error)
    return "", 0


def error_text(error: Any, default: str = "no reason given") -> str:
    """The message of a JSON-RPC error."""
    text = error.get("message") if isinstance(error, dict) else None
    return text if isinstance(text, str) and text else default


def error_code(error: Any) -> int:
    """The code of a JSON-RPC error; 0 if it has none."""
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else 0


def _forms(secret: str) -> list[bytes]:
    """The forms of a token that is not among the known secrets, which are redacted everywhere: it is kept nowhere."""
    is_one = len(secret) >= redaction.MIN_CHARS
    return [form.encode() for form in redaction.encoded_forms(secret)] if is_one else []


def _without(forms: list[bytes], payload: bytes) -> bytes:
    for form in forms:
        payload = payload.replace(form, redaction.MASK.encode())
    return payload


async def _read_payloads(response: httpx.Response, event_ids: EventIds) -> AsyncIterator[bytes]:
    if not is_event_stream(response):
        if body := await http_pool.read_body(response, MAX_RESPONSE_BYTES):
            yield body
        return
    parser, size = SseParser(MAX_RESPONSE_BYTES), 0
    async for chunk in response.aiter_bytes():
        if (size := size + len(chunk)) > MAX_RESPONSE_BYTES:
            raise ToolUnavailable(f"The tool's server sent more than {MAX_RESPONSE_BYTES} bytes.")
        event_ids.feed(chunk)
        for payload in parser.feed(chunk):
            if payload.lstrip()[:1] in {b"{", b"["}:  # a resumable stream begins with an empty event; some keep alive
                yield payload


def _decode(payload: bytes) -> Any:
    """Decode JSON. Half a surrogate pair, which servers in JavaScript send of a text that they cut, becomes `?`."""
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        if b"\\ud" not in payload.lower():
            raise
    return orjson.loads(json.dumps(json.loads(payload), ensure_ascii=False).encode(errors="replace"))
