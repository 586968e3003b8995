"""One turn of a model, put together from what any provider's stream brings: pieces in, model events out.

It joins neighbouring text, masks secrets in it, opens and closes reasoning, gives every call an id of its own, and
decides when a call's arguments are complete:

- its JSON object has closed, even while the same read goes on;
- or the model has gone on to something else after the call's own end (`next_block`);
- or the turn has ended in a way that cuts nothing off.

A call for which none of this comes true was cut, and is never ready.
"""

import re
from collections.abc import Callable, Collection, Hashable
from functools import partial
from typing import Final
from uuid import uuid4

from winterbourne.chat.core.events import (
    ModelEvent,
    ReasoningDelta,
    ReasoningEnded,
    StopReason,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallReady,
    ToolCallStarted,
    TurnEnded,
    Usage,
)
from winterbourne.chat.errors import ModelStreamTruncated
from winterbourne.chat.infra.redaction import StreamRedactor, redact, redact_json_text

__all__ = ["ObjectEnd", "Turn"]

_CUT: Final = frozenset({"max_tokens", "content_filter", "refusal"})
_MARK: Final = re.compile(r'\\.|\\$|["{}]', re.DOTALL)


class ObjectEnd:
    """Says when the JSON object that text begins with has closed, wherever the text is cut. One pass, no parsing."""

    __slots__ = ("_depth", "_escaped", "_quoted")

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = False
        self._escaped = False

    def feed(self, text: str) -> int:
        """How much of this piece belongs to the object that closed within it; 0 while it is open."""
        at = 1 if self._escaped else 0
        self._escaped = self._escaped and not text
        for match in _MARK.finditer(text, at):
            mark = match[0]
            if mark == '"':
                self._quoted = not self._quoted
            elif mark == "\\":
                self._escaped = True
            elif not self._quoted and mark in "{}":
                self._depth += 1 if mark == "{" else -1
                if self._depth == 0:
                    return match.end()
        return 0


class _Call:
    """A call whose arguments are coming."""

    __slots__ = ("as_delta", "end", "id", "name", "pieces", "ready", "redactor", "stopped")

    def __init__(self, call_id: str, name: str) -> None:
        self.id = call_id
        self.name = name
        self.pieces: list[str] = []
        self.end = ObjectEnd()
        self.stopped = False
        self.ready = False
        self.redactor = StreamRedactor(in_json=True)  # of its own: calls may come piece by piece side by side
        self.as_delta: Callable[[str], ModelEvent] = partial(ToolArgumentsDelta, call_id)

    @property
    def placeholder(self) -> bool:
        """Only `{}` came: no arguments, or what some servers send before the real ones."""
        return self.pieces == ["{}"]

    @property
    def whole(self) -> bool:
        """Whether an object has closed."""
        return self.ready or self.placeholder


class Turn:
    """The events of one turn.

    Args:
        taken: Ids of earlier calls. A call whose id is among them, or has none, gets a new one, since everybody
            after us tells calls apart by their ids.
        make_id: Makes a new id.
    """

    def __init__(
        self, taken: Collection[str] = (), make_id: Callable[[], str] = lambda: f"call_{uuid4().hex[:24]}"
    ) -> None:
        self.ended = False
        self.stop_reason: StopReason | None = None
        self.usage = Usage()
        self.calls: dict[Hashable, _Call] = {}
        self._all: list[_Call] = []
        self._taken = set(taken)
        self._make_id = make_id
        self._events: list[ModelEvent] = []
        self._pieces: list[str] = []
        self._texts = self._redactor = StreamRedactor()
        self._thoughts = StreamRedactor()
        self._as_event: Callable[[str], ModelEvent] = TextDelta
        self._thinking = False

    def text(self, text: str) -> None:
        """More of the answer."""
        if self._as_event is not TextDelta:
            self._turn_to(TextDelta, self._texts)
        self._pieces.append(text)

    def think(self, text: str) -> None:
        """More reasoning."""
        if self._as_event is not ReasoningDelta:
            self._turn_to(ReasoningDelta, self._thoughts)
        self._thinking = True
        self._pieces.append(text)

    def thought(self, signature: str = "", redacted: str = "") -> None:
        """One block of reasoning is whole. With a secret masked in it, its signature is worth nothing any more."""
        self._flush()
        self._thinking = False
        masked, self._thoughts.has_masked = self._thoughts.has_masked, False
        self._events.append(ReasoningEnded("" if masked else signature, redacted))

    def call(self, key: Hashable, call_id: str, name: str) -> None:
        """A call begins; `key` is how the provider refers to it from now on."""
        self.next_block()
        self._turn_to(TextDelta, self._texts)
        call_id = redact(call_id)
        unique = call_id if call_id and call_id not in self._taken else self._make_id()
        self._taken.add(unique)
        call = self.calls[key] = _Call(unique, redact(name))
        self._all.append(call)
        self._events.append(ToolCallStarted(unique, call.name))

    def arguments(self, key: Hashable, json: str) -> None:
        """More of a call's arguments. What follows the end of the object is dropped."""
        call = self.calls.get(key)
        if call is None or call.ready or not json:
            return
        if call.placeholder:
            if json.isspace():
                return
            call.pieces.clear()
            call.end = ObjectEnd()
        closed = call.end.feed(json)
        json = json[: closed or None]
        call.pieces.append(json)
        if call.placeholder:
            return
        if self._as_event is not call.as_delta:
            self._turn_to(call.as_delta, call.redactor)
        self._pieces.append(json)
        if closed:
            self._ready(call)

    def stopped(self, key: Hashable) -> None:
        """The provider says that this call's arguments are over; a cut call gets the same word."""
        if call := self.calls.get(key):
            call.stopped = True

    def next_block(self) -> None:
        """The model went on to something else, so what had stopped was not cut."""
        for call in self._all:
            if not call.ready and (call.stopped or call.placeholder):
                self._ready(call)

    def stop(self, reason: StopReason) -> None:
        """The model says why it stopped. Calls that it did not cut are ready."""
        self._turn_to(TextDelta, self._texts)
        for call in self._all:
            if not call.ready and (reason not in _CUT or call.placeholder):
                self._ready(call)
        self.stop_reason = "tool_calls" if reason == "stop" and self._all else reason

    def end(self) -> None:
        """The format's own end has come.

        Raises:
            ModelStreamTruncated: The model never said why it stopped.
        """
        if self.stop_reason is None:
            raise ModelStreamTruncated("the model's stream ended before the model had finished")
        self._flush()
        self.ended = True
        self._events.append(TurnEnded(self.stop_reason, self.usage))

    def take(self, *, is_last: bool = False) -> list[ModelEvent]:
        """The events since the last `take`, neighbouring text joined; held back is only what may begin a secret.

        Args:
            is_last: Whether nothing more will come, so that nothing is held back.
        """
        if is_last:
            self._flush()
        elif self._pieces:
            self._say(self._redactor.feed("".join(self._pieces)))
        events, self._events = self._events, []
        return events

    # Private methods

    def _turn_to(self, as_event: Callable[[str], ModelEvent], redactor: StreamRedactor) -> None:
        """Something else begins."""
        self._flush()
        if self._thinking and as_event is not ReasoningDelta:
            self.thought()
        self._as_event, self._redactor = as_event, redactor

    def _flush(self) -> None:
        """What was under way gives way to something else; of a call, what is held back waits until it goes on."""
        text = self._redactor.feed("".join(self._pieces)) if self._pieces else ""
        if self._redactor.held and self._as_event in {TextDelta, ReasoningDelta}:
            text += self._redactor.pause()
        self._say(text)

    def _say(self, text: str) -> None:
        self._pieces.clear()
        if text:
            self._events.append(self._as_event(text))

    def _ready(self, call: _Call) -> None:
        self._flush()
        arguments = redact_json_text("".join(call.pieces))
        if call.redactor.held:
            self._events.append(ToolArgumentsDelta(call.id, call.redactor.pause()))
        if call.placeholder:
            self._events.append(ToolArgumentsDelta(call.id, arguments))
        call.ready = True
        self._events.append(ToolCallReady(call.id, call.name, arguments))
