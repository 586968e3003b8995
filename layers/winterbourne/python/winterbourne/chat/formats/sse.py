"""Server-sent events (SSE): headers, heartbeat and last frame, the same for all streaming encoders.

A frame is `data: `, JSON on one line, and an empty line. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final

import msgspec

__all__ = ["DONE", "HEADERS", "HEARTBEAT", "SseEncoder"]

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


class SseEncoder(msgspec.Struct):
    """What the encoders of all streaming formats have in common; each has its own `encode`."""

    status: ClassVar[int] = 200
    headers: ClassVar[Mapping[str, str]] = HEADERS
    heartbeat: ClassVar[bytes] = HEARTBEAT
