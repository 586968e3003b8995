"""What the function knows of a wire format, and all it knows.

A frontend reads a request body in its own shape and hands out an encoder for the one answer that follows. Neither
does I/O: both are plain functions from values to values.
"""

from collections.abc import Mapping
from typing import Protocol

from winterbourne.chat.core.events import EventBatch
from winterbourne.chat.core.messages import ChatRequest
from winterbourne.chat.http.request import Request
from winterbourne.chat.settings import Settings

__all__ = ["Encoder", "Format"]


class Encoder(Protocol):
    """One answer's events → its bytes. Pure, stateful, made for one answer and thrown away after it."""

    @property
    def status(self) -> int:
        """The HTTP status of the answer. To be read when `encode` has given its first bytes, not before."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The answer's headers, `content-type` among them; names in lower case."""
        ...

    @property
    def heartbeat(self) -> bytes:
        """What may be written into a silence; empty where the format has no place for it."""
        ...

    def encode(self, batch: EventBatch, /) -> bytes:
        """Turn events into the frames they are on the wire, possibly none.

        The response is begun with the first bytes that are not empty: a stream says something at once, an answer
        in one piece only with the last event. After a last event nothing may follow.
        """
        ...


class Format(Protocol):
    """One wire format."""

    @property
    def path(self) -> str:
        """Where it is served, by POST."""
        ...

    def decode(self, request: Request, settings: Settings, /) -> tuple[ChatRequest, Encoder]:
        """Understand a request body and make ready for its answer.

        Raises:
            RequestRejected: 400, 413 or 415 for a body that is not to be understood or too large, 404 for a model
                that is not offered.
        """
        ...

    def error_body(self, status: int, code: str, message: str, /) -> bytes:
        """The JSON body of an answer outside 200, in the shape this format's clients read."""
        ...
