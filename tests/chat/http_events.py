"""Requests to the service without HTTP: builds Lambda events and records the response a client would receive."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from typing import Any, cast

from winterbourne import LambdaContext, Response, ResponseStream
from winterbourne.chat.auth.base import ANONYMOUS, Caller
from winterbourne.chat.http.lambda_events import LambdaDoor
from winterbourne.chat.http.request import Request
from winterbourne.chat.http.service import Handler, RequestContext, Service
from winterbourne.chat.infra.telemetry import RequestRecord
from winterbourne.chat.settings import RequestSettings
from winterbourne.override import override
from winterbourne.stream import ResponseHead

__all__ = [
    "FakeLambdaContext",
    "RecordedResponse",
    "call_endpoint",
    "event",
    "handle",
    "parsed",
    "read_event",
    "request",
]

LIMITS = RequestSettings()


def event(method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A function-URL event, payload format 2.0."""
    default_headers = {"content-type": "application/json"} if body is not None else {}
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {**default_headers, **(headers or {})},
        "requestContext": {"http": {"method": method, "path": path, "sourceIp": "127.0.0.1"}},
        "body": body if isinstance(body, str) or body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


def request(method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Request:
    return read_event(event(method, path, body, headers))


def read_event(event: dict[str, Any], remaining_ms: int = 60_000) -> Request:
    """The request of an event, which may have less than AWS sends."""
    context = event["requestContext"] = event.get("requestContext") or {}
    context.setdefault("http", {"method": "GET"})
    return LambdaDoor(cast("Service", None)).read(event, FakeLambdaContext(remaining_ms=remaining_ms))


class FakeLambdaContext(LambdaContext):
    """Lambda's context; its remaining time never changes."""

    def __init__(self, aws_request_id: str = "r-1", remaining_ms: int = 60_000) -> None:
        super().__init__({"lambda-runtime-aws-request-id": aws_request_id})
        self._remaining_ms = remaining_ms

    @override
    def get_remaining_time_in_millis(self) -> int:
        return self._remaining_ms


class RecordedResponse:
    """A response stream that records what is written to it."""

    lock = nullcontext()
    last_words: Callable[[bool], bytes] | None = None

    def __init__(self) -> None:
        self.response: Response | None = None
        self.body = b""
        self.ended = self.reader_left = False
        self.own_headers: Mapping[str, str] = {}
        self._head: ResponseHead | None = None

    @property
    def started(self) -> bool:
        return self.response is not None

    async def start(self, response: Response) -> None:
        assert not self.started, "a response starts once"
        self.response = response

    def start_on_write(self, head: ResponseHead, last_words: Callable[[bool], bytes] | None = None) -> None:
        self._head, self.last_words = head, last_words

    async def end(self) -> None:
        assert self.started, "a response that ends has started"
        self.ended = True

    async def write(self, data: bytes) -> None:
        assert not self.ended, "nothing is written after the end"
        if not self.response and self._head:
            self.response = Response(self._head.status, self._head.headers)
        self.body += data

    def put(self, data: bytes) -> Awaitable[None]:
        return self.write(data)

    @property
    def status(self) -> int:
        assert self.response
        return self.response.status

    @property
    def headers(self) -> Mapping[str, str]:
        assert self.response
        return {**dict(self.response.headers), **self.own_headers}

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def frames(self) -> list[Any]:
        return [json.loads(line[6:]) for line in self.body.decode().split("\n\n") if line.startswith("data: {")]


def parsed(request: Request, limits: RequestSettings = LIMITS) -> dict[str, Any]:
    """What a body that has come is read as, for which nothing is waited for."""
    try:
        request.json_object(limits).send(None)
    except StopIteration as ended:
        value: dict[str, Any] = ended.value
        return value
    raise AssertionError("it waits")


async def handle(
    service: Service, event: Any, response: "RecordedResponse | ResponseStream", context: LambdaContext | None = None
) -> None:
    """Let a service answer an event."""
    await LambdaDoor(service).handle(event, cast("ResponseStream", response), context or FakeLambdaContext())


async def call_endpoint(
    handler: Handler, to: Request, caller: Caller = ANONYMOUS, remaining_ms: Any = 60_000, **path_params: str
) -> RecordedResponse:
    """The response of an endpoint alone, without the service around it."""
    response = RecordedResponse()
    to.deadline = asyncio.get_running_loop().time() + remaining_ms / 1000
    await handler(
        RequestContext(
            request=to,
            caller=caller,
            path_params=path_params,
            stream=cast("ResponseStream", response),
            record=RequestRecord(0.0, "chat"),
        )
    )
    return response
