"""Server-sent events (SSE): headers, heartbeat and last frame, the same for all streaming encoders.

A frame is `data: `, JSON on one line, and an empty line. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["DONE", "HEADERS", "HEARTBEAT"]

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
