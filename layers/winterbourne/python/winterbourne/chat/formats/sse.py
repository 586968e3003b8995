"""Server-sent events (SSE): headers, heartbeat and last frame, the same for all streaming encoders.

A frame is `data: `, JSON on one line, and an empty line. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, TypeAlias, get_args

import msgspec

from winterbourne.chat.core import events as e
from winterbourne.chat.formats.json_text import dumps, quote

__all__ = [
    "DONE",
    "HEADERS",
    "HEARTBEAT",
    "QUICK",
    "FrequentEvent",
    "PerTool",
    "Quick",
    "RareEvent",
    "SseEncoder",
    "SseResponse",
    "Text",
]

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


Text: TypeAlias = Callable[[str | int], bytes]
"""Serializes a text or a number."""

Quick: TypeAlias = Callable[[Any, Any, Text], bytes]
"""The frames of an event of one type: of an encoder, the event and what serializes its texts."""

FrequentEvent: TypeAlias = (
    e.TextDelta
    | e.ReasoningDelta
    | e.ToolCallStarted
    | e.ToolArgumentsDelta
    | e.ToolCallReady
    | e.ToolQueued
    | e.ToolStarted
    | e.ToolProgressed
    | e.ToolFinished
)
"""What has a method of its own in `SseEncoder.quick`."""

RareEvent: TypeAlias = (
    e.ConversationStarted
    | e.TurnStarted
    | e.ReasoningEnded
    | e.ToolCallSigned
    | e.ToolCallDropped
    | e.ToolApprovalRequested
    | e.SourceCited
    | e.TurnRetracted
    | e.TurnEnded
    | e.TerminalEvent
)
"""All others."""

QUICK: Final[dict[type, Quick]] = {
    **dict.fromkeys(get_args(FrequentEvent), lambda _encoder, _event, _text: b""),
    **dict.fromkeys(get_args(RareEvent), lambda encoder, event, _text: encoder._frames(event)),  # noqa: SLF001
}
"""For a format that shows no frequent one."""

ARGUMENTS: Final = e.ToolArgumentsDelta

MAX_NAMES: Final = 512


class PerTool(dict[str, bytes]):
    """A piece of a frame for each tool: the template with its name. Bounded, for a model may invent names."""

    __slots__ = ("_template",)

    def __init__(self, template: bytes) -> None:
        self._template = template

    def __missing__(self, name: str) -> bytes:
        if len(self) >= MAX_NAMES:
            self.clear()
        return self.setdefault(name, self._template % dumps(name))


class SseResponse(msgspec.Struct):
    """What the responses of all streaming formats have in common."""

    status: ClassVar[int] = 200
    headers: ClassVar[Mapping[str, str]] = HEADERS
    heartbeat: ClassVar[bytes] = HEARTBEAT


class SseEncoder(SseResponse, kw_only=True):
    """Encodes batches for a format that says how one event becomes frames.

    A delta of what is open takes what is prepared: its frame but for the text. Every other frequent event has a method
    of its own, found by its type: one `match` for all of them takes a microsecond and more.

    Attributes:
        quick: For each type of an event what encodes it. Is given `quote`, and once more `dumps` if that raises: until
            it has serialized all texts, it changes nothing.
    """

    quick: ClassVar[Mapping[type, Quick]] = QUICK
    _open: type | None = None  # TextDelta or ReasoningDelta, while such a part is open
    _around: tuple[bytes, bytes] = (b"", b"")  # what its frame has before the text, and after it
    _call_id: str | None = None  # of the call whose arguments came last
    _around_arguments: tuple[bytes, bytes] = (b"", b"")

    def encode(self, batch: e.EventBatch) -> bytes:
        """The frames of a batch, joined."""
        try:
            [event] = batch  # by far the most common
        except ValueError:
            return b"".join([SseEncoder.encode(self, (event,)) for event in batch]) if batch else self._held_back()
        kind = type(event)
        try:
            if kind is self._open:
                return quote(event.text).join(self._around)  # type: ignore[union-attr]
            if kind is ARGUMENTS and event.id == self._call_id:  # type: ignore[union-attr]
                return quote(event.json).join(self._around_arguments)  # type: ignore[union-attr]
            return self.quick[kind](self, event, quote)
        except UnicodeEncodeError:  # a lone surrogate
            return self.quick[kind](self, event, dumps)

    def _held_back(self) -> bytes:
        """The frames to send before a heartbeat; a format that holds none back has nothing to do here."""
        return b""

    @abstractmethod
    def _frames(self, event: RareEvent) -> bytes:
        """The frames of a rare event."""
