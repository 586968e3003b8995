"""Sends a request again where that is safe and may help: connect errors, and statuses 429, 502, 503 and 504.

The transports here wrap those of the pool, so that every user of the pool has retries without code of its own. A
request is repeated at most HTTP_RETRIES times, after the server's Retry-After or an exponential backoff with jitter,
and never if the wait would last beyond `deadline`: the caller then gets the response or the error as it is.

Nothing is ever done twice: a connect error and a 429 mean that the request was not processed, so any method is
repeated; after the other statuses only an idempotent one is (RFC 9110, section 9.2.2), or one with an Idempotency-Key.
A body that is a stream cannot be sent again. The extension `{"retries": 0}` turns retries off for one request.
"""

import asyncio
import contextvars
import logging
import time
from collections.abc import Coroutine
from typing import Any, Final, Generic, TypeVar

from winterbourne.chat.http_library import httpx
from winterbourne.chat.infra.backoff import backoff_s, retry_after_s
from winterbourne.override import override

__all__ = ["IDEMPOTENT_METHODS", "NO_RETRIES", "AsyncRetryTransport", "RetryTransport", "deadline"]

# RFC 9110, section 9.2.2: safe to send again without knowing whether the first attempt was processed.
IDEMPOTENT_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
NO_RETRIES: Final = {"retries": 0}
"""Extensions of a request whose sender has retries of its own."""

CONNECT_ERRORS: Final = (httpx.ConnectError, httpx.ConnectTimeout)

deadline: Final = contextvars.ContextVar("deadline", default=float("inf"))
"""When the caller's time is over, on the monotonic clock, in seconds; a tool's own time in its context."""

T = TypeVar("T", bound=httpx.AsyncBaseTransport | httpx.BaseTransport)

_LOGGER: Final = logging.getLogger(__name__)


class _Retrying(Generic[T]):
    """What the two transports share.

    Args:
        transport: Sends each attempt.
        retries: HTTP_RETRIES.
        budget_s: Without a `deadline`, how long after the first attempt the last one may begin.
    """

    def __init__(self, transport: T, retries: int, budget_s: float) -> None:
        self._transport = transport
        self._retries = retries
        self._budget_s = budget_s

    def _allowed(self, request: httpx.Request) -> int:
        """How often this request may be repeated."""
        is_replayable = isinstance(request.stream, httpx.ByteStream)
        return min(self._retries, request.extensions.get("retries", self._retries)) if is_replayable else 0

    def _until(self) -> float:
        return min(deadline.get(), time.monotonic() + self._budget_s)


class AsyncRetryTransport(_Retrying[httpx.AsyncBaseTransport], httpx.AsyncBaseTransport):
    """The retries of the async client. Closing it closes the wrapped transport."""

    @override
    def handle_async_request(self, request: httpx.Request) -> Coroutine[Any, Any, httpx.Response]:
        """Send the request. A plain function, so that a request without retries passes through no coroutine of ours.

        Raises:
            httpx.TransportError: As the last attempt raised it.
        """
        if allowed := self._allowed(request):
            return self._send(request, allowed)
        return self._transport.handle_async_request(request)

    async def _send(self, request: httpx.Request, allowed: int) -> httpx.Response:
        until = self._until()
        for attempt in range(1, allowed + 1):
            try:
                response = await self._transport.handle_async_request(request)
            except CONNECT_ERRORS as error:
                if (wait_s := _wait_s(request, error, attempt, until)) is None:
                    raise
            else:
                if (wait_s := _wait_s(request, response, attempt, until)) is None:
                    return response
                await response.aclose()
            await asyncio.sleep(wait_s)
        return await self._transport.handle_async_request(request)

    @override
    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


class RetryTransport(_Retrying[httpx.BaseTransport], httpx.BaseTransport):
    """The retries of the sync client, whose threads wait in their own time. Closing it closes the wrapped transport."""

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request.

        Raises:
            httpx.TransportError: As the last attempt raised it.
        """
        until = self._until()
        for attempt in range(1, self._allowed(request) + 1):
            try:
                response = self._transport.handle_request(request)
            except CONNECT_ERRORS as error:
                if (wait_s := _wait_s(request, error, attempt, until)) is None:
                    raise
            else:
                if (wait_s := _wait_s(request, response, attempt, until)) is None:
                    return response
                response.close()
            time.sleep(wait_s)
        return self._transport.handle_request(request)

    @override
    def close(self) -> None:
        """Close all connections."""
        self._transport.close()


def _wait_s(request: httpx.Request, came: httpx.Response | Exception, attempt: int, until: float) -> float | None:
    """Seconds to wait before the request is sent again; None if what came is to be returned or raised."""
    wait_s = backoff_s(attempt)
    if isinstance(came, httpx.Response):
        is_idempotent = request.method in IDEMPOTENT_METHODS or "idempotency-key" in request.headers
        if came.status_code != 429 and not (is_idempotent and came.status_code in {502, 503, 504}):
            return None
        wait_s += retry_after_s(came.headers) or 0
    if time.monotonic() + wait_s >= until:
        return None
    why = came.status_code if isinstance(came, httpx.Response) else type(came).__name__
    _LOGGER.info("repeating %s %s in %.1f s after %s", request.method, request.url.host, wait_s, why)
    return wait_s
