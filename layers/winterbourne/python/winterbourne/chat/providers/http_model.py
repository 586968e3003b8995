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
from winterbourne.chat.providers.coalesce_reads import reads
from winterbourne.chat.providers.errors import Signposts, document, refusal
from winterbourne.chat.providers.provider_config import extra_body
from winterbourne.chat.providers.retry import persist
from winterbourne.chat.providers.stream_parser import TurnParser
from winterbourne.chat.settings import Settings

__all__ = ["HttpModel"]

_ERROR_BYTES: Final = 64 * 1024  # of an error's body; more says no more
_TURN_BYTES: Final = 64 * 1024 * 1024  # of one answer on the wire, some 300,000 tokens
_DRAIN_S: Final = 0.05
_NO_STREAM: Final = ("application/json", "text/html")


class HttpModel(ABC):
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

    def __init__(self, settings: Settings, key: ApiKey, signposts: Signposts, base_url: str) -> None:
        extra_body(settings)  # a wrong one is told now, not with the first request
        self._settings = settings
        self._base_url = base_url
        self._key = key
        self._signposts = signposts
        self._idle_s = settings.model_idle_timeout
        step_s = min(self._idle_s, settings.http_timeout)
        self._timeout = httpx.Timeout(self._idle_s, connect=step_s, pool=step_s)

    def stream(self, request: ModelRequest, /) -> AsyncGenerator[Sequence[ModelEvent], None]:
        """Take one turn; see `Model.stream`."""
        return persist(lambda: self._attempt(request), request.deadline)

    @abstractmethod
    async def _prepare(self, request: ModelRequest, key: str) -> httpx.Request:
        """The HTTP request for a turn. `key` is empty where none is set."""

    @abstractmethod
    def _parser(self, request: ModelRequest) -> TurnParser[Any]:
        """A fresh parser for the answer."""

    # Private methods

    async def _attempt(self, request: ModelRequest) -> AsyncGenerator[Sequence[ModelEvent], None]:
        parser = self._parser(request)
        response = await self._open(request)
        broken: httpx.RequestError | None = None
        received, seen = 0, False
        try:
            async with aclosing(reads(response)) as chunks:
                async for data in chunks:
                    if batch := parser.feed(data):
                        seen = True
                        yield batch
                    if parser.failure:
                        raise parser.failure
                    if parser.ended:
                        await _drain(chunks)
                        return
                    received += len(data)
                    if received > _TURN_BYTES:
                        raise ModelGarbled(f"the provider sent more than {_TURN_BYTES} bytes for one answer")
        except httpx.RequestError as error:  # of the transport, and of what is compressed and broken
            broken = error
        finally:
            await response.aclose()
        if batch := parser.close():
            yield batch
        if parser.failure:
            raise self._failure(broken, parser.failure, seen=seen) from broken

    async def _open(self, request: ModelRequest) -> httpx.Response:
        """Send, once more with a newer key if the first was refused, and give a response that streams."""
        key = await self._key.read()
        response = await self._send(request, key)
        if _streams(response):
            return response
        error = await self._refused(response)
        if response.status_code == 401 and (newer := await self._key.renewed(key)):
            response = await self._send(request, newer)
            if _streams(response):
                return response
            error = await self._refused(response)
        raise error

    async def _send(self, request: ModelRequest, key: str) -> httpx.Response:
        upstream = await self._prepare(request, key)
        try:
            return await http_pool.client().send(upstream, stream=True)
        except httpx.ReadTimeout as error:
            raise self._silent() from error
        except httpx.PoolTimeout as error:
            raise ModelUnreachable(
                "no connection to the model's provider was free; look at HTTP_POOL_MAXSIZE"
            ) from error
        except httpx.TransportError as error:
            where = self._signposts.base_url
            raise ModelUnreachable(f"the model's provider cannot be reached; look at {where}") from error

    async def _refused(self, response: httpx.Response) -> ModelError:
        try:
            body = await _some(response)
        except httpx.RequestError:
            body = b""  # the status says enough
        finally:
            await response.aclose()
        if response.status_code != 200:
            return refusal(response.status_code, response.headers, body, self._signposts)
        return document(body, self._signposts)

    def _failure(self, broken: httpx.RequestError | None, failure: ModelError, *, seen: bool) -> ModelError:
        """What to call it when a stream ended too early: what the provider reported last comes first."""
        if not isinstance(failure, ModelStreamTruncated):
            return failure
        if isinstance(broken, httpx.ReadTimeout):
            return self._silent()
        if isinstance(broken, httpx.DecodingError):
            return ModelGarbled(f"the provider's answer cannot be read: {broken}")
        if broken and not seen:
            return ModelUnreachable("the connection to the model's provider broke before its answer")
        return failure

    def _silent(self) -> ModelSilent:
        return ModelSilent(f"the model's provider was silent for {self._idle_s:g} s; look at MODEL_IDLE_TIMEOUT")


# Private functions


def _streams(response: httpx.Response) -> bool:
    return response.status_code == 200 and not response.headers.get("content-type", "").startswith(_NO_STREAM)


async def _drain(chunks: AsyncGenerator[bytes, None]) -> None:
    """Read to the end of a body that has said everything, so that its connection can be used again; not for long."""
    with contextlib.suppress(TimeoutError, httpx.RequestError):
        async with asyncio.timeout(_DRAIN_S):
            async for _ in chunks:
                pass


async def _some(response: httpx.Response) -> bytes:
    body = b""
    async with aclosing(reads(response)) as chunks:
        async for data in chunks:
            body += data
            if len(body) > _ERROR_BYTES:
                break
    return body[:_ERROR_BYTES]
