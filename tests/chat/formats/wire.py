"""Helpers of the wire format tests: decoded bodies, and streams as a client reads them."""

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import httpx
import msgspec
import pytest
from httpx_sse import EventSource

from winterbourne.chat.core.capabilities import Capabilities
from winterbourne.chat.core.documents import DOCUMENT_TYPES
from winterbourne.chat.core.events import ChatEvent
from winterbourne.chat.core.messages import ChatRequest
from winterbourne.chat.core.request_checks import check_request
from winterbourne.chat.errors import InvalidHistory, RequestRejected
from winterbourne.chat.formats.base import Encoder, Format
from winterbourne.chat.http.request import invalid_shape
from winterbourne.chat.settings import Settings

__all__ = ["attempt", "data_of", "read", "rejection", "sent"]

T = TypeVar("T")

SETTINGS = Settings.of(max_documents=20)
CAPABLE = Capabilities(image_urls=True, documents=frozenset(DOCUMENT_TYPES), document_urls=True)


def read(wire_format: Format, body: dict[str, Any], settings: Settings = SETTINGS) -> ChatRequest:
    """Decode a body with a wire format and check it, as the chat endpoint does."""
    try:
        request, _ = wire_format.decode(body)
    except msgspec.ValidationError as error:
        raise invalid_shape(error) from None
    try:
        return check_request(request, settings.request, settings.model, (), lambda _: CAPABLE)
    except InvalidHistory as error:
        raise RequestRejected(error.status, error.code, str(error)) from None


def attempt(work: Callable[[], T]) -> T | RequestRejected:
    """Return the value of `work`, or the RequestRejected that it raised."""
    try:
        return work()
    except RequestRejected as rejected:
        return rejected


def rejection(wire_format: Format, body: dict[str, Any], settings: Settings = SETTINGS) -> tuple[int, str]:
    """The status and code with which a body in a wire format is rejected."""
    with pytest.raises(RequestRejected) as raised:
        read(wire_format, body, settings)
    rejected = raised.value
    assert wire_format.encode_error(rejected.status, rejected.code, str(rejected), "r-1")[1]
    return rejected.status, rejected.code


def sent(encoder: Encoder, batches: Sequence[Sequence[ChatEvent]], *, heartbeats: bool = True) -> bytes:
    """All bytes of an answer, with a heartbeat after each batch."""
    sent = b""
    for batch in batches:
        sent += encoder.encode(batch)
        if heartbeats:
            sent += encoder.encode(()) + encoder.heartbeat
    return sent


def data_of(stream: bytes) -> list[Any]:
    """The data of each event as an independent SSE parser reads it: JSON, or the text [DONE]."""
    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=stream)
    events = list(EventSource(response).iter_sse())
    assert all(event.event == "message" and not event.id and event.retry is None for event in events)
    return [event.data if event.data == "[DONE]" else loads(event.data) for event in events]


def loads(text: str) -> Any:
    """Parse JSON; lone surrogates are accepted, as in browsers."""
    return json.loads(text)
