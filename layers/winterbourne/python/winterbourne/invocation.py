"""Parses invocations (the reply to `next`) and serializes handler results. No I/O.

JSON is read and written as awslambdaric does, but with the standard library's json.
"""

import json
import math
import os
import re
from collections.abc import Iterable
from typing import Any

from winterbourne.context import LambdaContext
from winterbourne.errors import RuntimeFault

__all__ = ["Invocation", "encode_result", "is_http", "is_rest_api"]

# The json module cannot write a Decimal as a number: it becomes a string with this prefix, which is then unquoted.
DECIMAL_MARKER = f"decimal-{os.urandom(8).hex()}:"
DECIMAL_PATTERN = re.compile(f'"{DECIMAL_MARKER}([^"]*)"')


class Invocation:
    """One invocation, as received in the reply to `next`.

    Args:
        headers: Headers of the reply, names in lower case.
        body: Body of the reply.
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
        """The event: parsed if its content type is JSON, otherwise bytes.

        Raises:
            RuntimeFault: The content type is JSON but the body is not.
        """
        if self.headers.get("content-type", "application/json") != "application/json":
            return self.body
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise RuntimeFault("Runtime.UnmarshalError", f"Unable to unmarshal input: {error}") from error

    def context(self) -> LambdaContext:
        """Build the context object of this invocation."""
        return LambdaContext(self.headers)


def is_http(event: Any) -> bool:
    """Whether a function URL (payload 2.0) or an API Gateway REST API sent this event."""
    if not isinstance(event, dict) or not isinstance(event.get("requestContext"), dict):
        return False
    return "http" in event["requestContext"] or is_rest_api(event)


def is_rest_api(event: Any) -> bool:
    """Whether an API Gateway REST API (payload 1.0) sent this event."""
    return isinstance(event, dict) and "httpMethod" in event and "requestContext" in event


def encode_result(result: Any) -> tuple[bytes, str]:
    """The body and the content type of a buffered response.

    Raises:
        RuntimeFault: The result is not JSON-serializable.
    """
    if isinstance(result, bytes):
        return result, "application/unknown"
    try:
        text = _dumps(result, ascii_only=False)
        try:
            return text.encode(), "application/json"
        except UnicodeEncodeError:  # a lone surrogate: valid JSON if escaped
            return _dumps(result, ascii_only=True).encode(), "application/json"
    except Exception as error:  # a user's __str__ or a circular reference may raise anything
        raise RuntimeFault("Runtime.MarshalError", f"Unable to marshal response: {error}") from error


def _dumps(result: Any, *, ascii_only: bool) -> str:
    text = json.dumps(result, ensure_ascii=ascii_only, default=_json_default)
    return DECIMAL_PATTERN.sub(r"\1", text) if DECIMAL_MARKER in text else text


def _json_default(value: object) -> Any:
    """Serialize what awslambdaric supports and json does not: Decimal, and bytes that hold UTF-8."""
    type_name = type(value).__name__
    if type_name == "Decimal":
        return math.nan if value.is_nan() else f"{DECIMAL_MARKER}{value}"  # type: ignore[attr-defined]  # known by name
    if isinstance(value, bytes):
        return value.decode()
    raise TypeError(f"Object of type {type_name} is not JSON serializable")
