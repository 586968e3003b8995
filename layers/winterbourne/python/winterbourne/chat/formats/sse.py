"""Server-sent events: how a stream of frames is framed, and the encoder all streaming formats stand on.

Knows nothing of what the frames say. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final, TypeAlias

from winterbourne.chat.core.events import EventBatch

__all__ = ["DONE", "HEADERS", "HEARTBEAT", "DispatchTable", "SseEncoder", "frame", "no_frames"]

HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "content-type": "text/event-stream",
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",  # nginx and its kin buffer otherwise
    }
)

HEARTBEAT: Final = b": keep-alive\n\n"
"""A comment: clients skip it, proxies see that the connection lives."""

DONE: Final = b"data: [DONE]\n\n"
"""The last frame of the formats that took it over from OpenAI."""

DispatchTable: TypeAlias = Mapping[type, Callable[[Any, Any], bytes]]
"""Which function of (encoder, event) makes which event's frames. Each table covers the whole ChatEvent union."""


def frame(data: bytes) -> bytes:
    """One event. `data` is JSON on one line."""
    return b"data: %b\n\n" % data


def no_frames(_encoder: object, _event: object) -> bytes:
    """What a format says of an event it has no word for."""
    return b""


class SseEncoder:
    """Events → frames by one look into a table. A format fills the table and adds its own state."""

    status = 200
    headers: Mapping[str, str] = HEADERS
    heartbeat = HEARTBEAT
    dispatch_table: ClassVar[DispatchTable]

    def encode(self, batch: EventBatch) -> bytes:
        """The frames of a batch, joined."""
        dispatch_table = self.dispatch_table
        if len(batch) == 1:  # by far the most common: one read of the network brought one piece of text
            event = batch[0]
            return dispatch_table[type(event)](self, event)
        return b"".join([dispatch_table[type(event)](self, event) for event in batch])
