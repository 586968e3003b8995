"""The interface of a wire format: a `Format` decodes request bodies, its `Encoder` encodes the events of one answer.

Both are sans-I/O: plain functions from values to values. The service uses nothing else of a format.
"""

from collections.abc import Mapping
from typing import Protocol

from winterbourne.chat.core.events import EventBatch
from winterbourne.chat.core.messages import ChatRequest
from winterbourne.chat.http.request import Request
from winterbourne.chat.settings import Settings

__all__ = ["Encoder", "Format"]


class Encoder(Protocol):
    """Encodes the events of one answer as bytes. Stateful: made for one answer and discarded after it."""

    @property
    def status(self) -> int:
        """The HTTP status of the answer. Final only once `encode` has returned its first non-empty bytes."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The response headers, including `content-type`; names are lower case."""
        ...

    @property
    def heartbeat(self) -> bytes:
        """Bytes to write while no events arrive; empty if the format has no heartbeat."""
        ...

    def encode(self, batch: EventBatch, /) -> bytes:
        """Encode a batch of events; the result may be empty.

        The first non-empty bytes start the response: a stream returns some for the first event, a non-streaming
        answer only for the terminal event. No event may follow a terminal event.
        """
        ...


class Format(Protocol):
    """One wire format."""

    @property
    def path(self) -> str:
        """The path of its POST endpoint."""
        ...

    def decode(self, request: Request, settings: Settings, /) -> tuple[ChatRequest, Encoder]:
        """Decode a request and create the encoder for its answer.

        Raises:
            RequestRejected: 400, 413 or 415 if the body is invalid or too large, 404 if the model is not offered.
        """
        ...

    def error_body(self, status: int, code: str, message: str, /) -> bytes:
        """The JSON body of a non-200 response, in the shape that this format's clients expect."""
        ...
