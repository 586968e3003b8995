"""The door `url`: a function URL, with its CORS."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, ClassVar

from winterbourne.local.cors import Cors
from winterbourne.local.event_door import REQUEST_LIMIT, Answer, EventDoor, json_answer
from winterbourne.local.http_server import Exchange
from winterbourne.local.invocation import FunctionError, Invocation
from winterbourne.local.request_event import Request, build_event
from winterbourne.override import override

__all__ = ["FunctionUrl"]


class FunctionUrl(EventDoor):
    """Serves a function as its URL does.

    Args:
        invoke: Runs an invocation to its end.
        log_access: Gets one line per request.
        cors: The URL's CORS configuration.
    """

    too_large: ClassVar = json_answer(
        413, Message=f"Request must be smaller than {REQUEST_LIMIT} bytes for the InvokeFunction operation"
    )

    def __init__(
        self, invoke: Callable[[Invocation], Awaitable[None]], *, log_access: Callable[[str], None], cors: Cors
    ) -> None:
        super().__init__(invoke, log_access=log_access)
        self._cors = cors

    @override
    def answer_itself(self, exchange: Exchange) -> Answer | None:
        """The answer to a preflight, if CORS is configured."""
        headers = dict(exchange.headers)
        is_preflight = self._cors.handles_preflight(exchange.method, headers)
        return (200, self._cors.preflight_headers(headers), b"") if is_preflight else None

    @override
    def headers_for(self, exchange: Exchange) -> list[tuple[str, str]]:
        """Those of CORS."""
        return self._cors.response_headers(dict(exchange.headers))

    @override
    def headers(self, invocation: Invocation) -> list[tuple[str, str]]:
        """The ids of request and trace."""
        return [("x-amzn-requestid", invocation.request_id), ("x-amzn-trace-id", invocation.trace_id)]

    @override
    def build_event(self, request: Request, *, request_id: str, trace_id: str, now: datetime) -> dict[str, Any]:
        """The event in payload format 2.0."""
        return build_event(request, request_id=request_id, trace_id=trace_id, now=now)

    @override
    def answer_to(self, error: FunctionError, exchange: Exchange) -> Answer:
        """A URL does not tell a timeout from other failures. Why a function does not start is told on this machine."""
        told = error.at_init and exchange.peer in {"127.0.0.1", "::1"}
        return 502, [("content-type", "text/plain")], error.sentence.encode() if told else b"Internal Server Error"
