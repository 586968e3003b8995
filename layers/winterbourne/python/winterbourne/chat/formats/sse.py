"""Server-sent events (SSE): headers, heartbeat and last frame, the same for all streaming encoders.

A frame is `data: `, JSON on one line, and an empty line. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Final

import msgspec

from winterbourne.chat.core.events import ChatEvent, EventBatch, TextDelta

__all__ = ["DONE", "HEADERS", "HEARTBEAT", "SseEncoder", "SseResponse"]

HEADERS: Final[Mapping[str, str]] = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",  # nginx and similar proxies buffer the response otherwise
    "x-content-type-options": "nosniff",
}

HEARTBEAT: Final = b": keep-alive\n\n"
"""An SSE comment: clients ignore it, proxies see that the connection is alive."""

DONE: Final = b"data: [DONE]\n\n"
"""The last frame of the formats that follow OpenAI in this."""


class SseResponse(msgspec.Struct):
    """What the responses of all streaming formats have in common."""

    status: ClassVar[int] = 200
    headers: ClassVar[Mapping[str, str]] = HEADERS
    heartbeat: ClassVar[bytes] = HEARTBEAT


class SseEncoder(SseResponse):
    """Encodes batches for a format that says how one event becomes frames."""

    def encode(self, batch: EventBatch) -> bytes:
        """The frames of a batch, joined."""
        if len(batch) == 1 and type(event := batch[0]) is TextDelta:  # by far the most common
            return self._text_delta(event.text)
        return b"".join([self._frames(event) for event in batch]) if batch else self._held_back()

    def _held_back(self) -> bytes:
        """The frames to send before a heartbeat; a format that holds none back has nothing to do here."""
        return b""

    @abstractmethod
    def _text_delta(self, text: str) -> bytes:
        """The frames of a TextDelta."""

    @abstractmethod
    def _frames(self, event: ChatEvent) -> bytes:
        """The frames of any event."""
