"""Server-sent events (SSE): framing, headers, heartbeat, and the base class of all streaming encoders.

Independent of what the frames contain. https://html.spec.whatwg.org/multipage/server-sent-events.html
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
        "x-accel-buffering": "no",  # nginx and similar proxies buffer the response otherwise
    }
)

HEARTBEAT: Final = b": keep-alive\n\n"
"""An SSE comment: clients ignore it, proxies see that the connection is alive."""

DONE: Final = b"data: [DONE]\n\n"
"""The last frame of the formats that follow OpenAI in this."""

DispatchTable: TypeAlias = Mapping[type, Callable[[Any, Any], bytes]]
"""Event type → function of (encoder, event) that returns its frames. Each table covers the whole ChatEvent union."""


def frame(data: bytes) -> bytes:
    """Frame one event. `data` must be JSON on one line."""
    return b"data: %b\n\n" % data


def no_frames(_encoder: object, _event: object) -> bytes:
    """No bytes: for events that a format does not send."""
    return b""


class SseEncoder:
    """Encodes each event with one table lookup. A format supplies the table and its own state."""

    status = 200
    headers: Mapping[str, str] = HEADERS
    heartbeat = HEARTBEAT
    dispatch_table: ClassVar[DispatchTable]

    def encode(self, batch: EventBatch) -> bytes:
        """The frames of a batch, joined."""
        dispatch_table = self.dispatch_table
        if len(batch) == 1:  # by far the most common: one network read brought one text delta
            event = batch[0]
            return dispatch_table[type(event)](self, event)
        return b"".join([dispatch_table[type(event)](self, event) for event in batch])
