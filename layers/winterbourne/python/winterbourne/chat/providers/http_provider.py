"""Base class of the HTTP providers: sends a request through the shared connection pool and parses the response.

It does the I/O, timeouts and retries; each provider's format is in its request builder and its sans-I/O parser.
"""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final

import httpx

from winterbourne.chat.core.events import ModelEvent
from winterbourne.chat.errors import ModelError, ModelGarbled, ModelSilent, ModelStreamTruncated, ModelUnreachable
from winterbourne.chat.infra import http_pool
from winterbourne.chat.providers.api_key import ApiKey
from winterbourne.chat.providers.base import ModelRequest
from winterbourne.chat.providers.coalesce_reads import coalesce_reads
from winterbourne.chat.providers.errors import ErrorHints, error_for_non_stream_body, error_for_status
from winterbourne.chat.providers.provider_config import extra_body
from winterbourne.chat.providers.retry import stream_with_retry
from winterbourne.chat.providers.stream_parser import StreamParser
from winterbourne.chat.settings import Settings

__all__ = ["HttpProvider"]

_MAX_ERROR_BODY_BYTES: Final = 64 * 1024  # of an error's body; the rest is not read
_MAX_RESPONSE_BYTES: Final = 64 * 1024 * 1024  # of one response on the wire, some 300,000 tokens
_DRAIN_TIMEOUT_S: Final = 0.05
_NON_STREAM_CONTENT_TYPES: Final = ("application/json", "text/html")


class HttpProvider(ABC):
    """A model provider reached over HTTP.

    Args:
        settings: This class uses MODEL_IDLE_TIMEOUT, HTTP_TIMEOUT and MODEL_EXTRA_BODY.
        api_key: The provider's API key.
        error_hints: The settings that error messages name.
        base_url: The provider's base URL.

    Raises:
        SettingsError: MODEL_EXTRA_BODY is not a JSON object.
    """

    name: str
    takes_image_urls = True

    def __init__(self, settings: Settings, api_key: ApiKey, error_hints: ErrorHints, base_url: str) -> None:
        extra_body(settings)  # validates it now, not on the first request
        self._settings = settings
        self._base_url = base_url
        self._api_key = api_key
        self._error_hints = error_hints
        self._idle_timeout_s = settings.model.model_idle_timeout
        connect_timeout_s = min(self._idle_timeout_s, settings.http.http_timeout)
        self._timeout = httpx.Timeout(self._idle_timeout_s, connect=connect_timeout_s, pool=connect_timeout_s)

    def stream(self, request: ModelRequest, /) -> AsyncGenerator[Sequence[ModelEvent], None]:
        """Stream one turn, with retries until the first batch has been yielded."""
        return stream_with_retry(lambda: self._attempt(request), request.deadline)

    @abstractmethod
    async def _build_request(self, request: ModelRequest, key: str) -> httpx.Request:
        """Build the HTTP request for a turn. `key` is empty if none is configured."""

    @abstractmethod
    def _make_parser(self, request: ModelRequest) -> StreamParser[Any]:
        """Make a new parser for one response."""

    async def _attempt(self, request: ModelRequest) -> AsyncGenerator[Sequence[ModelEvent], None]:
        parser = self._make_parser(request)
        response = await self._open_stream(request)
        transport_error: httpx.RequestError | None = None
        received, has_output = 0, False
        try:
            async with aclosing(coalesce_reads(response)) as chunks:
                async for data in chunks:
                    if batch := parser.feed(data):
                        has_output = True
                        yield batch
                    if parser.failure:
                        raise parser.failure
                    if parser.ended:
                        await _drain(chunks)
                        return
                    received += len(data)
                    if received > _MAX_RESPONSE_BYTES:
                        raise ModelGarbled(f"the model's provider sent more than {_MAX_RESPONSE_BYTES} bytes")
        except httpx.RequestError as error:  # a transport error, or a broken compressed body
            transport_error = error
        finally:
            await response.aclose()
        if batch := parser.close():
            yield batch
        if parser.failure:
            raise self._classify_failure(transport_error, parser.failure, has_output=has_output) from transport_error

    async def _open_stream(self, request: ModelRequest) -> httpx.Response:
        """Send the request and return a streaming response. After a 401, try once more if there is a newer key."""
        key = await self._api_key.read()
        response = await self._send(request, key)
        if _is_stream(response):
            return response
        error = await self._error_from_response(response)
        if response.status_code == 401 and (refreshed_key := await self._api_key.refresh(key)):
            response = await self._send(request, refreshed_key)
            if _is_stream(response):
                return response
            error = await self._error_from_response(response)
        raise error

    async def _send(self, request: ModelRequest, key: str) -> httpx.Response:
        http_request = await self._build_request(request, key)
        try:
            return await http_pool.client().send(http_request, stream=True)
        except httpx.ReadTimeout as error:
            raise self._idle_timeout_error() from error
        except httpx.PoolTimeout as error:
            raise ModelUnreachable(
                "no connection to the model's provider became free; check HTTP_POOL_MAXSIZE"
            ) from error
        except httpx.TransportError as error:
            setting = self._error_hints.base_url
            raise ModelUnreachable(f"the model's provider cannot be reached; check {setting}") from error

    async def _error_from_response(self, response: httpx.Response) -> ModelError:
        try:
            body = await _read_error_body(response)
        except httpx.RequestError:
            body = b""  # the status is enough
        finally:
            await response.aclose()
        if response.status_code != 200:
            return error_for_status(response.status_code, response.headers, body, self._error_hints)
        return error_for_non_stream_body(body, self._error_hints)

    def _classify_failure(
        self, transport_error: httpx.RequestError | None, failure: ModelError, *, has_output: bool
    ) -> ModelError:
        """The error for a stream that ended too early. An error that the provider itself reported takes precedence."""
        if not isinstance(failure, ModelStreamTruncated):
            return failure
        if isinstance(transport_error, httpx.ReadTimeout):
            return self._idle_timeout_error()
        if isinstance(transport_error, httpx.DecodingError):
            return ModelGarbled(f"the response of the model's provider cannot be decoded: {transport_error}")
        if transport_error and not has_output:
            return ModelUnreachable("the connection to the model's provider broke before any output arrived")
        return failure

    def _idle_timeout_error(self) -> ModelSilent:
        return ModelSilent(
            f"the model's provider sent nothing for {self._idle_timeout_s:g} s; check MODEL_IDLE_TIMEOUT"
        )


def _is_stream(response: httpx.Response) -> bool:
    return response.status_code == 200 and not response.headers.get("content-type", "").startswith(
        _NON_STREAM_CONTENT_TYPES
    )


async def _drain(chunks: AsyncGenerator[bytes, None]) -> None:
    """Read the rest of a body whose turn has ended, for a short time, so that its connection can be reused."""
    with contextlib.suppress(TimeoutError, httpx.RequestError):
        async with asyncio.timeout(_DRAIN_TIMEOUT_S):
            async for _ in chunks:
                pass


async def _read_error_body(response: httpx.Response) -> bytes:
    body = b""
    async with aclosing(coalesce_reads(response)) as chunks:
        async for data in chunks:
            body += data
            if len(body) > _MAX_ERROR_BODY_BYTES:
                break
    return body[:_MAX_ERROR_BODY_BYTES]
