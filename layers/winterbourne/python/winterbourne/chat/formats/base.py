"""The interface of a wire format: a `Format` decodes request bodies, its `Encoder` encodes the events of one answer.

Both are sans-I/O: plain functions from values to values. The service uses nothing else of a format. The constrained
types are for the structs that decoders convert bodies to.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Protocol

from msgspec import Meta

from winterbourne.chat.core.events import EventBatch
from winterbourne.chat.core.messages import ChatRequest

__all__ = ["Encoder", "Format", "Id", "MaxTokens", "Temperature", "ToolName"]

Id = Annotated[str, Meta(max_length=200)]
ToolName = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}\Z")]  # accepted by every provider
Temperature = Annotated[float, Meta(ge=0, le=2)]
MaxTokens = Annotated[int, Meta(ge=1)]


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

    def decode(self, body: dict[str, Any], /) -> tuple[ChatRequest, Encoder]:
        """Decode the JSON object of a request, and create the encoder for its answer.

        Only shapes are checked: the request is checked against the settings by `core.request_checks`, the same for all
        formats. Its messages are in the client's order, not normalized; its model is the one that the client named.

        Raises:
            msgspec.ValidationError: The body has another shape; the caller gets 400, and the message names the field.
            RequestRejected: 400 for what msgspec does not find.
        """
        ...

    def error_body(self, status: int, code: str, message: str, /) -> bytes:
        """The JSON body of a non-200 response, in the shape that this format's clients expect."""
        ...
