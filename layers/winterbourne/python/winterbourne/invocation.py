"""Headers and body of the answer to `next` → Invocation; what a handler returned → the body of an answer.

Pure. JSON in and out as the stock client does it, but with the standard library's json.
"""

import json
import math
import os
import re
from collections.abc import Iterable
from typing import Any

from winterbourne.context import LambdaContext
from winterbourne.errors import Fault

__all__ = ["Invocation", "encode_result", "is_http", "is_rest_api"]

# A Decimal is written as the number it is, which the json module cannot: it leaves as a string that bears this mark.
DECIMAL_MARKER = f"decimal-{os.urandom(8).hex()}:"
DECIMAL_PATTERN = re.compile(f'"{DECIMAL_MARKER}([^"]*)"')


class Invocation:
    """One answer to `next`.

    Args:
        headers: Its headers, names in lower case.
        body: Its body.
    """

    __slots__ = ("body", "deadline_ms", "headers", "request_id", "tenant_id", "trace_id")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        self.headers = {name.decode("latin-1"): value.decode("utf-8", "replace") for name, value in headers}
        self.body = body
        self.request_id = self.headers.get("lambda-runtime-aws-request-id", "")
        self.tenant_id = self.headers.get("lambda-runtime-aws-tenant-id")
        self.trace_id = self.headers.get("lambda-runtime-trace-id")
        self.deadline_ms = int(self.headers.get("lambda-runtime-deadline-ms", 0))

    def event(self) -> Any:
        """The event: parsed where it is JSON, bytes where it is not.

        Raises:
            Fault: It says it is JSON, and is not.
        """
        if self.headers.get("content-type", "application/json") != "application/json":
            return self.body
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise Fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {error}") from error

    def context(self) -> LambdaContext:
        """The context object of this invocation."""
        return LambdaContext(self.headers)


def is_http(event: Any) -> bool:
    """Whether a function URL (payload 2.0) or an API Gateway REST API sent this event."""
    if not isinstance(event, dict) or not isinstance(event.get("requestContext"), dict):
        return False
    return "http" in event["requestContext"] or is_rest_api(event)


def is_rest_api(event: Any) -> bool:
    """Whether it was an API Gateway REST API (payload 1.0)."""
    return isinstance(event, dict) and "httpMethod" in event and "requestContext" in event


def encode_result(result: Any) -> tuple[bytes, str]:
    """The body and the content type of a buffered answer.

    Raises:
        Fault: The result is not JSON-serializable.
    """
    if isinstance(result, bytes):
        return result, "application/unknown"
    try:
        text = _dumps(result, ascii_only=False)
        try:
            return text.encode(), "application/json"
        except UnicodeEncodeError:  # a lone surrogate; escaped, it is still JSON
            return _dumps(result, ascii_only=True).encode(), "application/json"
    except Exception as error:  # a __str__ or a circle in somebody's object may raise anything
        raise Fault("Runtime.MarshalError", f"Unable to marshal response: {error}") from error


def _dumps(result: Any, *, ascii_only: bool) -> str:
    text = json.dumps(result, ensure_ascii=ascii_only, default=_json_default)
    return DECIMAL_PATTERN.sub(r"\1", text) if DECIMAL_MARKER in text else text


def _json_default(value: object) -> Any:
    """What json does not know and the stock client does: Decimal, and bytes that hold text."""
    type_name = type(value).__name__
    if type_name == "Decimal":
        return math.nan if value.is_nan() else f"{DECIMAL_MARKER}{value}"  # type: ignore[attr-defined]
    if isinstance(value, bytes):
        return value.decode()
    raise TypeError(f"Object of type {type_name} is not JSON serializable")
