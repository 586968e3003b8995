"""The thin shell around a provider's pure core: one request through the shared pool, bytes to the parser, events out.

Knows httpx and the clock; knows nothing of any provider's format.
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

_MAX_ERROR_BODY_BYTES: Final = 64 * 1024  # of an error's body; more says no more
_MAX_RESPONSE_BYTES: Final = 64 * 1024 * 1024  # of one answer on the wire, some 300,000 tokens
_DRAIN_TIMEOUT_S: Final = 0.05
_NON_STREAM_CONTENT_TYPES: Final = ("application/json", "text/html")


class HttpProvider(ABC):
    """A model behind HTTP.

    Args:
        settings: MODEL_IDLE_TIMEOUT and HTTP_TIMEOUT are used here.
        key: The provider's API key.
        signposts: The settings to name when the provider refuses.
        base_url: Where the provider is.

    Raises:
        SettingsError: MODEL_EXTRA_BODY is no JSON object.
    """

    name: str
    takes_image_urls = True

    def __init__(self, settings: Settings, api_key: ApiKey, error_hints: ErrorHints, base_url: str) -> None:
        extra_body(settings)  # a wrong one is told now, not with the first request
        self._settings = settings
        self._base_url = base_url
        self._api_key = api_key
        self._error_hints = error_hints
        self._idle_timeout_s = settings.model_idle_timeout
        connect_timeout_s = min(self._idle_timeout_s, settings.http_timeout)
        self._timeout = httpx.Timeout(self._idle_timeout_s, connect=connect_timeout_s, pool=connect_timeout_s)

    def stream(self, request: ModelRequest, /) -> AsyncGenerator[Sequence[ModelEvent], None]:
        """Take one turn; see `Model.stream`."""
        return stream_with_retry(lambda: self._attempt(request), request.deadline)

    @abstractmethod
    async def _build_request(self, request: ModelRequest, key: str) -> httpx.Request:
        """The HTTP request for a turn. `key` is empty where none is set."""

    @abstractmethod
    def _make_parser(self, request: ModelRequest) -> StreamParser[Any]:
        """A fresh parser for the answer."""

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
                        raise ModelGarbled(f"the provider sent more than {_MAX_RESPONSE_BYTES} bytes for one answer")
        except httpx.RequestError as error:  # of the transport, and of what is compressed and broken
            transport_error = error
        finally:
            await response.aclose()
        if batch := parser.close():
            yield batch
        if parser.failure:
            raise self._classify_failure(transport_error, parser.failure, has_output=has_output) from transport_error

    async def _open_stream(self, request: ModelRequest) -> httpx.Response:
        """Send, once more with a newer key if the first was refused, and give a response that streams."""
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
                "no connection to the model's provider was free; look at HTTP_POOL_MAXSIZE"
            ) from error
        except httpx.TransportError as error:
            where = self._error_hints.base_url
            raise ModelUnreachable(f"the model's provider cannot be reached; look at {where}") from error

    async def _error_from_response(self, response: httpx.Response) -> ModelError:
        try:
            body = await _read_error_body(response)
        except httpx.RequestError:
            body = b""  # the status says enough
        finally:
            await response.aclose()
        if response.status_code != 200:
            return error_for_status(response.status_code, response.headers, body, self._error_hints)
        return error_for_non_stream_body(body, self._error_hints)

    def _classify_failure(
        self, transport_error: httpx.RequestError | None, failure: ModelError, *, has_output: bool
    ) -> ModelError:
        """What to call it when a stream ended too early: what the provider reported last comes first."""
        if not isinstance(failure, ModelStreamTruncated):
            return failure
        if isinstance(transport_error, httpx.ReadTimeout):
            return self._idle_timeout_error()
        if isinstance(transport_error, httpx.DecodingError):
            return ModelGarbled(f"the provider's answer cannot be read: {transport_error}")
        if transport_error and not has_output:
            return ModelUnreachable("the connection to the model's provider broke before its answer")
        return failure

    def _idle_timeout_error(self) -> ModelSilent:
        return ModelSilent(
            f"the model's provider was silent for {self._idle_timeout_s:g} s; look at MODEL_IDLE_TIMEOUT"
        )


def _is_stream(response: httpx.Response) -> bool:
    return response.status_code == 200 and not response.headers.get("content-type", "").startswith(
        _NON_STREAM_CONTENT_TYPES
    )


async def _drain(chunks: AsyncGenerator[bytes, None]) -> None:
    """Read to the end of a body that has said everything, so that its connection can be used again; not for long."""
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
