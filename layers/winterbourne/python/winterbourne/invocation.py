"""Invocations: parses an event and its context, and serializes a handler's result. No I/O.

JSON is read and written as awslambdaric does, but with the standard library's json. The context has the attributes
that awslambdaric, AWS's runtime interface client, gives it. `current_context()` works in the handler, in every task it
creates and in `asyncio.to_thread`; a `threading.Thread` of its own has to run in `contextvars.copy_context()`.
"""

import contextlib
import json
import math
import os
import re
import sys
import time
from collections.abc import Collection, Mapping
from contextvars import ContextVar
from enum import Enum
from types import SimpleNamespace
from typing import Any

from winterbourne.errors import RuntimeFault
from winterbourne.large_body import LargeBody
from winterbourne.logs import runtime_handler
from winterbourne.override import override

__all__ = [
    "FrontEnd",
    "LambdaContext",
    "check_front_end",
    "current_context",
    "current_trace_id",
    "encode_result",
    "find_front_end",
    "is_head_request",
    "name_event_source",
    "parse_event",
]

W3C_FIELDS = ("traceparent", "tracestate", "baggage")
CLIENT_FIELDS = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")

# The json module cannot write a Decimal as a number: it becomes a string with this prefix, which is then unquoted.
DECIMAL_MARKER = f"decimal-{os.urandom(8).hex()}:"
DECIMAL_PATTERN = re.compile(f'"{DECIMAL_MARKER}([^"]*)"')


class LambdaContext:
    """Information about the invocation and the function, passed to the handler; as Lambda's own client has it.

    Args:
        headers: What Lambda tells of the invocation, such as `lambda-runtime-deadline-ms`, names in lower case.
        environ: Lambda's environment variables.

    Attributes:
        aws_request_id: The id of the invocation.
        log_group_name: The log group of the function.
        log_stream_name: The log stream of this environment.
        function_name: The function's name.
        memory_limit_in_mb: The function's memory in MB, as text.
        function_version: The version that runs, or `$LATEST`.
        invoked_function_arn: The ARN by which the function was invoked, with the alias if there was one.
        client_context: With `custom`, `env` and `client`, if the caller sent one; else None.
        identity: With `cognito_identity_id` and `cognito_identity_pool_id`, both None without Cognito.
        tenant_id: The tenant, of a function with tenant isolation; else None.

    Raises:
        RuntimeFault: The client context or the identity is not valid JSON.

    https://docs.aws.amazon.com/lambda/latest/dg/python-context.html
    """

    def __init__(self, headers: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> None:
        get = headers.get
        client = _parse_json_header(get("lambda-runtime-client-context"), "Client Context")
        self._trace_context = _pop_trace_context(client)
        self._deadline_ms = int(get("lambda-runtime-deadline-ms", 0))
        # In the order of awslambdaric's repr.
        self.aws_request_id = get("lambda-runtime-aws-request-id", "")
        self.log_group_name = environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = environ.get("AWS_LAMBDA_LOG_STREAM_NAME")
        self.function_name = environ.get("AWS_LAMBDA_FUNCTION_NAME")
        self.memory_limit_in_mb = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.function_version = environ.get("AWS_LAMBDA_FUNCTION_VERSION")
        self.invoked_function_arn = get("lambda-runtime-invoked-function-arn")
        self.client_context = _client_context(client)
        self.identity = _identity(_parse_json_header(get("lambda-runtime-cognito-identity"), "Cognito Identity"))
        self.tenant_id = get("lambda-runtime-aws-tenant-id")

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the deadline of the invocation; 0 once it has passed."""
        return max(0, self._deadline_ms - int(time.time() * 1000))

    def w3c(self) -> dict[str, str]:
        """The W3C trace context that the caller sent: any of `traceparent`, `tracestate` and `baggage`."""
        return dict(self._trace_context)

    def log(self, message: object) -> None:
        """Write a message to the function's log unchanged, without level and request id."""
        handler = runtime_handler()
        (handler.log_sink.log if handler else sys.stdout.write)(str(message))

    @override
    def __repr__(self) -> str:
        shown = ",".join(f"{name}={value}" for name, value in vars(self).items() if not name.startswith("_"))
        return f"{type(self).__name__}([{shown}])"


def current_context() -> LambdaContext | None:
    """The context of the current invocation, or None outside of an invocation."""
    return CONTEXT.get()


def current_trace_id() -> str | None:
    """The X-Ray trace header of the current invocation, also with concurrent invocations in one process.

    Under a client that runs one invocation at a time, it is that client's `_X_AMZN_TRACE_ID`.
    """
    trace_id = TRACE_ID.get()
    return (os.environ.get("_X_AMZN_TRACE_ID") if trace_id is None else trace_id) or None


CONTEXT: ContextVar[LambdaContext | None] = ContextVar("winterbourne_context", default=None)
TRACE_ID: ContextVar[str | None] = ContextVar("winterbourne_trace_id", default=None)  # empty: known to have none


def parse_event(headers: Mapping[str, str], pieces: list[bytearray], *, takes_large: bool = False) -> Any:
    """The event: parsed if its content type is JSON, otherwise bytes.

    Args:
        headers: Headers of the reply to `next`, names in lower case.
        pieces: Its body, which is then gone from here: a large one is not kept beside what it is parsed to.
        takes_large: Whether the handler takes the body of a large request as a `LargeBody`.

    Raises:
        RuntimeFault: The content type is JSON but the body is not.
    """
    is_json = headers.get("content-type", "application/json") == "application/json"
    event = _with_large_body(pieces) if is_json and takes_large and len(pieces) > 1 else None
    body = b"" if event else b"".join(pieces)
    pieces.clear()
    if event or not is_json:
        return event or body
    try:
        text, body = body.decode(json.detect_encoding(body), "surrogatepass"), b""
    except ValueError as error:
        raise RuntimeFault("Runtime.UnmarshalError", f"Unable to unmarshal input: {error}") from error
    return _parse_json(text, "Runtime.UnmarshalError", "unmarshal input")


def _with_large_body(pieces: list[bytearray]) -> dict[str, Any] | None:
    """An event whose body is large; None for another one, or if what is large is not in its body alone."""
    large = LargeBody.take_out(pieces)
    with contextlib.suppress(ValueError):
        event: Any = json.loads(large.text) if large.runs else None
        match event:
            case {"body": str(body)} if large.has_all_marks(body):
                large.text = body.encode("utf-8", "surrogatepass")
                return {**event, "body": large}
    return None


class FrontEnd(Enum):
    """What sent an HTTP event, and so what reads the response."""

    FUNCTION_URL = "function URL"
    REST_API = "REST API"
    HTTP_API = "HTTP API"  # payload 2.0
    HTTP_API_1 = "HTTP API, payload 1.0"
    LOAD_BALANCER = "load balancer"
    LOAD_BALANCER_MULTI_VALUE = "load balancer with multi value headers"


def find_front_end(event: Any) -> FrontEnd | None:
    """The front end that sent this event; None if it is no HTTP request.

    An event is known by what only its sender sets: those of a Lambda authorizer, for example, have all that a request
    has. A hand-written event with no more than `requestContext.http`, or `httpMethod`, is a function URL's, or a REST
    API's.
    """
    request = event.get("requestContext") if isinstance(event, dict) else None
    if not isinstance(request, dict) or "methodArn" in event or "routeArn" in event:
        return None
    if isinstance(request.get("http"), dict):
        return FrontEnd.HTTP_API if _is_http_api(request) else FrontEnd.FUNCTION_URL
    if "httpMethod" not in event:
        return None
    if "elb" in request:
        return FrontEnd.LOAD_BALANCER_MULTI_VALUE if "multiValueHeaders" in event else FrontEnd.LOAD_BALANCER
    return FrontEnd.HTTP_API_1 if event.get("version") == "1.0" else FrontEnd.REST_API


def check_front_end(event: Any, reader: str, accepted: Collection[FrontEnd] = tuple(FrontEnd)) -> FrontEnd:
    """The front end that sent this event.

    Args:
        event: The event.
        reader: What reads it, for the message of an error.
        accepted: What it accepts events of.

    Raises:
        RuntimeFault: Another sender sent it.
    """
    front_end = find_front_end(event)
    if front_end is None or front_end not in accepted:
        names, source = ", ".join(each.value for each in accepted), front_end and front_end.value
        message = (
            f"{reader} accepts HTTP events only, of: {names}; this one is from {source or name_event_source(event)}"
        )
        raise RuntimeFault("Runtime.NotAnHttpEvent", message)
    return front_end


def is_head_request(event: Any) -> bool:
    """Whether an event is an HTTP request that asks for headers only."""
    match event:
        case {"requestContext": {"http": {"method": "HEAD"}}} | {"requestContext": _, "httpMethod": "HEAD"}:
            return True
    return False


def name_event_source(event: Any) -> str:
    """What sent an event that is no HTTP request, such as `aws:sqs`, as far as it can be told."""
    event = event if isinstance(event, dict) else {}
    request = event.get("requestContext")
    request = request if isinstance(request, dict) else {}
    records = event.get("Records")
    record = records[0] if isinstance(records, list) and records and isinstance(records[0], dict) else {}
    names = {
        "a Lambda authorizer": "methodArn" in event or "routeArn" in event,
        "a WebSocket API": "connectionId" in request,
        "VPC Lattice": "serviceNetworkArn" in request or "raw_path" in event,
        "CloudFront": "cf" in record,
        "EventBridge": "detail-type" in event,
    }
    given = record.get("eventSource") or record.get("EventSource") or event.get("eventSource")
    return str(given or next((name for name, applies in names.items() if applies), "an unknown sender"))


def _is_http_api(request: Mapping[str, Any]) -> bool:
    """A function URL has neither routes nor stages, and its id is the first part of its domain."""
    domain, api_id, prefix = (str(request.get(name) or "") for name in ("domainName", "apiId", "domainPrefix"))
    if ".lambda-url." in domain:
        return False
    has_routes = any((request.get(name) or "$default") != "$default" for name in ("routeKey", "stage"))
    return has_routes or ".execute-api." in domain or bool(api_id and prefix and api_id != prefix)


def encode_result(result: Any) -> tuple[bytes, str]:
    """The body and the content type of a buffered response.

    Raises:
        RuntimeFault: The result is not JSON-serializable.
    """
    if isinstance(result, bytes):
        return result, "application/unknown"
    try:
        text = json.dumps(result, ensure_ascii=False, default=_json_default)
    except Exception as error:  # a user's __str__ or a circular reference may raise anything
        raise RuntimeFault("Runtime.MarshalError", f"Unable to marshal response: {error}") from error
    if DECIMAL_MARKER in text:
        text = DECIMAL_PATTERN.sub(r"\1", text)
    return text.encode(errors="backslashreplace"), "application/json"  # which escapes a lone surrogate as JSON does


def _parse_json(text: str | bytes, error_type: str, task: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise RuntimeFault(error_type, f"Unable to {task}: {error}") from error


def _parse_json_header(header: str | None, label: str) -> Any:
    return _parse_json(header, "Runtime.LambdaContextUnmarshalError", f"parse {label} JSON") if header else None


def _pop_trace_context(client: Any) -> dict[str, str]:
    trace_context = client.pop("w3c", None) if isinstance(client, dict) else None
    if not isinstance(trace_context, dict):
        return {}
    return {name: trace_context[name] for name in W3C_FIELDS if isinstance(trace_context.get(name), str)}


def _client_context(fields: dict[str, Any] | None) -> SimpleNamespace | None:
    if fields is None:
        return None
    if (client := fields.get("client")) is not None:
        client = SimpleNamespace(**{name: client.get(name) for name in CLIENT_FIELDS})
    return SimpleNamespace(custom=fields.get("custom"), env=fields.get("env"), client=client)


def _identity(fields: dict[str, Any] | None) -> SimpleNamespace:
    get = (fields or {}).get
    identity_id, pool_id = get("cognitoIdentityId"), get("cognitoIdentityPoolId")
    return SimpleNamespace(cognito_identity_id=identity_id, cognito_identity_pool_id=pool_id)


def _json_default(value: object) -> Any:
    """Serialize what awslambdaric supports and json does not: Decimal, and bytes that hold UTF-8."""
    type_name = type(value).__name__
    if type_name == "Decimal":
        return math.nan if value.is_nan() else f"{DECIMAL_MARKER}{value}"  # type: ignore[attr-defined]  # known by name
    if isinstance(value, bytes):
        return value.decode()
    raise TypeError(f"Object of type {type_name} is not JSON serializable")
