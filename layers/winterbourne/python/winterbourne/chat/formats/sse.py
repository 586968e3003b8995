"""Server-sent events (SSE): headers, heartbeat and last frame, the same for all streaming encoders.

A frame is `data: `, JSON on one line, and an empty line. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from collections.abc import Mapping
from typing import ClassVar, Final

import msgspec

from winterbourne.chat.core.events import ChatEvent, EventBatch, TextDelta

__all__ = ["DONE", "HEADERS", "HEARTBEAT", "SseEncoder"]

HEADERS: Final[Mapping[str, str]] = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",  # nginx and similar proxies buffer the response otherwise
}

HEARTBEAT: Final = b": keep-alive\n\n"
"""An SSE comment: clients ignore it, proxies see that the connection is alive."""

DONE: Final = b"data: [DONE]\n\n"
"""The last frame of the formats that follow OpenAI in this."""


class SseEncoder(msgspec.Struct):
    """What the encoders of all streaming formats share; each has `_frames` and `_text_delta`, or its own `encode`."""

    status: ClassVar[int] = 200
    headers: ClassVar[Mapping[str, str]] = HEADERS
    heartbeat: ClassVar[bytes] = HEARTBEAT

    def encode(self, batch: EventBatch) -> bytes:
        """The frames of a batch, joined."""
        if len(batch) == 1 and type(event := batch[0]) is TextDelta:  # by far the most common
            return self._text_delta(event.text)
        return b"".join([self._frames(event) for event in batch])

    def _text_delta(self, text: str) -> bytes:
        """The frames of a TextDelta."""
        raise NotImplementedError

    def _frames(self, event: ChatEvent) -> bytes:
        """The frames of any event."""
        raise NotImplementedError
