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

__all__ = ["JsonObjectScanner", "TurnAssembler"]

_TRUNCATING_STOP_REASONS: Final = frozenset({"max_tokens", "content_filter", "refusal"})
_JSON_TOKEN: Final = re.compile(r'\\.|\\$|["{}]', re.DOTALL)


class JsonObjectScanner:
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
        for match in _JSON_TOKEN.finditer(text, at):
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


class _PendingToolCall:
    """A call whose arguments are coming."""

    __slots__ = ("as_delta", "end", "id", "name", "pieces", "ready", "redactor", "stopped")

    def __init__(self, call_id: str, name: str) -> None:
        self.id = call_id
        self.name = name
        self.pieces: list[str] = []
        self.end = JsonObjectScanner()
        self.stopped = False
        self.ready = False
        self.redactor = StreamRedactor(in_json=True)  # of its own: calls may come piece by piece side by side
        self.as_delta: Callable[[str], ModelEvent] = partial(ToolArgumentsDelta, call_id)

    @property
    def is_placeholder(self) -> bool:
        """Only `{}` came: no arguments, or what some servers send before the real ones."""
        return self.pieces == ["{}"]

    @property
    def is_complete(self) -> bool:
        """Whether an object has closed."""
        return self.ready or self.is_placeholder


class TurnAssembler:
    """The events of one turn.

    Args:
        taken: Ids of earlier calls. A call whose id is among them, or has none, gets a new one, since everybody
            after us tells calls apart by their ids.
        make_id: Makes a new id.
    """

    def __init__(
        self, used_ids: Collection[str] = (), make_id: Callable[[], str] = lambda: f"call_{uuid4().hex[:24]}"
    ) -> None:
        self.ended = False
        self.stop_reason: StopReason | None = None
        self.usage = Usage()
        self.calls: dict[Hashable, _PendingToolCall] = {}
        self._all_calls: list[_PendingToolCall] = []
        self._used_ids = set(used_ids)
        self._make_id = make_id
        self._events: list[ModelEvent] = []
        self._pieces: list[str] = []
        self._text_redactor = self._redactor = StreamRedactor()
        self._reasoning_redactor = StreamRedactor()
        self._make_delta: Callable[[str], ModelEvent] = TextDelta
        self._in_reasoning = False

    def add_text(self, text: str) -> None:
        """More of the answer."""
        if self._make_delta is not TextDelta:
            self._switch_to(TextDelta, self._text_redactor)
        self._pieces.append(text)

    def add_reasoning(self, text: str) -> None:
        """More reasoning."""
        if self._make_delta is not ReasoningDelta:
            self._switch_to(ReasoningDelta, self._reasoning_redactor)
        self._in_reasoning = True
        self._pieces.append(text)

    def end_reasoning(self, signature: str = "", redacted: str = "") -> None:
        """One block of reasoning is whole. With a secret masked in it, its signature is worth nothing any more."""
        self._flush()
        self._in_reasoning = False
        masked, self._reasoning_redactor.has_redacted = self._reasoning_redactor.has_redacted, False
        self._events.append(ReasoningEnded("" if masked else signature, redacted))

    def start_tool_call(self, key: Hashable, call_id: str, name: str) -> None:
        """A call begins; `key` is how the provider refers to it from now on."""
        self.next_content_block()
        self._switch_to(TextDelta, self._text_redactor)
        call_id = redact(call_id)
        unique = call_id if call_id and call_id not in self._used_ids else self._make_id()
        self._used_ids.add(unique)
        call = self.calls[key] = _PendingToolCall(unique, redact(name))
        self._all_calls.append(call)
        self._events.append(ToolCallStarted(unique, call.name))

    def add_arguments(self, key: Hashable, json: str) -> None:
        """More of a call's arguments. What follows the end of the object is dropped."""
        call = self.calls.get(key)
        if call is None or call.ready or not json:
            return
        if call.is_placeholder:
            if json.isspace():
                return
            call.pieces.clear()
            call.end = JsonObjectScanner()
        closed = call.end.feed(json)
        json = json[: closed or None]
        call.pieces.append(json)
        if call.is_placeholder:
            return
        if self._make_delta is not call.as_delta:
            self._switch_to(call.as_delta, call.redactor)
        self._pieces.append(json)
        if closed:
            self._complete_call(call)

    def mark_arguments_ended(self, key: Hashable) -> None:
        """The provider says that this call's arguments are over; a cut call gets the same word."""
        if call := self.calls.get(key):
            call.stopped = True

    def next_content_block(self) -> None:
        """The model went on to something else, so what had stopped was not cut."""
        for call in self._all_calls:
            if not call.ready and (call.stopped or call.is_placeholder):
                self._complete_call(call)

    def set_stop_reason(self, reason: StopReason) -> None:
        """The model says why it stopped. Calls that it did not cut are ready."""
        self._switch_to(TextDelta, self._text_redactor)
        for call in self._all_calls:
            if not call.ready and (reason not in _TRUNCATING_STOP_REASONS or call.is_placeholder):
                self._complete_call(call)
        self.stop_reason = "tool_calls" if reason == "stop" and self._all_calls else reason

    def finish(self) -> None:
        """The format's own end has come.

        Raises:
            ModelStreamTruncated: The model never said why it stopped.
        """
        if self.stop_reason is None:
            raise ModelStreamTruncated("the model's stream ended before the model had finished")
        self._flush()
        self.ended = True
        self._events.append(TurnEnded(self.stop_reason, self.usage))

    def drain_events(self, *, is_last: bool = False) -> list[ModelEvent]:
        """The events since the last `take`, neighbouring text joined; held back is only what may begin a secret.

        Args:
            is_last: Whether nothing more will come, so that nothing is held back.
        """
        if is_last:
            self._flush()
        elif self._pieces:
            self._append_delta(self._redactor.feed("".join(self._pieces)))
        events, self._events = self._events, []
        return events

    def _switch_to(self, make_delta: Callable[[str], ModelEvent], redactor: StreamRedactor) -> None:
        """Something else begins."""
        self._flush()
        if self._in_reasoning and make_delta is not ReasoningDelta:
            self.end_reasoning()
        self._make_delta, self._redactor = make_delta, redactor

    def _flush(self) -> None:
        """What was under way gives way to something else; of a call, what is held back waits until it goes on."""
        text = self._redactor.feed("".join(self._pieces)) if self._pieces else ""
        if self._redactor.held_back and self._make_delta in {TextDelta, ReasoningDelta}:
            text += self._redactor.flush()
        self._append_delta(text)

    def _append_delta(self, text: str) -> None:
        self._pieces.clear()
        if text:
            self._events.append(self._make_delta(text))

    def _complete_call(self, call: _PendingToolCall) -> None:
        self._flush()
        arguments = redact_json_text("".join(call.pieces))
        if call.redactor.held_back:
            self._events.append(ToolArgumentsDelta(call.id, call.redactor.flush()))
        if call.is_placeholder:
            self._events.append(ToolArgumentsDelta(call.id, arguments))
        call.ready = True
        self._events.append(ToolCallReady(call.id, call.name, arguments))
