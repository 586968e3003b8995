"""Assembles the pieces of any provider's stream into the model events of one turn.

It merges adjacent text, redacts secrets in it, opens and closes reasoning, gives every call a unique id, and decides
when a call's arguments are complete:

- their JSON object has closed, even if the same read contains more;
- or the provider has ended the call and the model has started another block (`next_content_block`);
- or the turn has ended for a reason that truncates nothing.

A call that meets none of these conditions was truncated and never becomes ready.
"""

import re
from collections.abc import Callable, Hashable
from functools import partial
from hashlib import sha256
from typing import Any, Final
from uuid import uuid4

import msgspec
from msgspec import UNSET, UnsetType

from winterbourne.chat.core.events import (
    ModelEvent,
    ReasoningDelta,
    ReasoningEnded,
    SourceCited,
    StopReason,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallReady,
    ToolCallSigned,
    ToolCallStarted,
    TurnEnded,
    TurnRetracted,
    Usage,
)
from winterbourne.chat.core.messages import Opaque, Source
from winterbourne.chat.errors import ModelStreamTruncated
from winterbourne.chat.infra.redaction import Known, StreamRedactor, redact, redact_json_text
from winterbourne.chat.providers.errors import stop_reason_error
from winterbourne.chat.providers.stop_reasons import STOP_REASONS, classify_stop_reason

__all__ = ["JsonObjectScanner", "TurnAssembler"]

_TRUNCATING_STOP_REASONS: Final = frozenset({"max_tokens", "content_filter", "refusal"})
_TRUNCATED: Final = "the model's stream ended before the model had finished"
_MAX_OPAQUE_CHARS: Final = 512 * 1024
"""Of one opaque value; a longer one is dropped. The signature of a long block of reasoning has some 10,000."""
_PLACEHOLDER: Final = ["{}"]  # the pieces of a call without arguments, or what some servers send before the real ones
_JSON_TOKEN: Final = re.compile(r'\\.|\\$|["{}]', re.DOTALL)


class JsonObjectScanner(msgspec.Struct):
    """Finds the end of the JSON object that a text begins with, wherever the text is split. One pass, no parsing."""

    _depth: int = 0
    _quoted: bool = False
    _escaped: bool = False

    def feed(self, text: str) -> int:
        """The number of characters up to the end of the object, if it closes in this piece; 0 while it is open."""
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


class _PendingToolCall(msgspec.Struct):
    """A tool call and the arguments received for it so far."""

    id: str
    name: str
    make_delta: Callable[[str], ModelEvent]
    pieces: list[str] = []
    scanner: JsonObjectScanner = msgspec.field(default_factory=JsonObjectScanner)
    arguments_ended: bool = False
    ready: bool = False
    fields: dict[str, Any] = {}
    # One per call: pieces of several calls may be interleaved.
    redactor: StreamRedactor = msgspec.field(default_factory=partial(StreamRedactor, in_json=True))

    @property
    def is_complete(self) -> bool:
        """Whether the call is ready or, so far, has `{}` as its arguments."""
        return self.ready or self.pieces == _PLACEHOLDER


class TurnAssembler(msgspec.Struct):
    """Builds the events of one turn.

    Attributes:
        used_ids: Ids of earlier calls. A call that has one of these ids, or none, gets a new one, because all later
            stages identify calls by their ids.
        ended: Whether the TurnEnded has been built.
        stop_reason: Why the model stopped, once it is known.
        usage: What the turn used, as far as it has been reported.
        calls: The calls, by the provider's keys.
        has_refused: Whether the text is a refusal.
        origin: Which server and model is asked, for what is opaque.
        model: Its name, for the TurnEnded.
        signature: Of the block of reasoning that is open; text after it belongs to another block.
    """

    used_ids: set[str] = set()
    ended: bool = False
    stop_reason: StopReason | None = None
    usage: Usage = Usage()
    calls: dict[Hashable, _PendingToolCall] = {}
    has_refused: bool = False
    origin: str = ""
    model: str = ""
    signature: str = ""
    _all_calls: list[_PendingToolCall] = []
    _events: list[ModelEvent] = []
    _pieces: list[str] = []
    _text_redactor: StreamRedactor = msgspec.field(default_factory=StreamRedactor)
    _reasoning_redactor: StreamRedactor = msgspec.field(default_factory=StreamRedactor)
    _redactor: StreamRedactor | None = None
    _make_delta: Callable[[str], ModelEvent] = TextDelta
    _in_reasoning: bool = False
    _has_text: bool = False

    @property
    def has_answer(self) -> bool:
        """Whether there is any text or call so far."""
        return self._has_text or bool(self._all_calls or self._pieces)

    _reasoning_field: str = ""
    _fields: dict[str, Any] = {}
    _fields_size: int = 0

    def add_text(self, text: str) -> None:
        """Add text of the answer."""
        if self._make_delta is not TextDelta:
            self._switch_to(TextDelta, self._text_redactor)
        self._pieces.append(text)

    def add_reasoning(self, text: str, field: str = "") -> None:
        """Add reasoning text; `field` is the one in which an OpenAI-compatible server sends it."""
        if self._make_delta is not ReasoningDelta:
            self._switch_to(ReasoningDelta, self._reasoning_redactor)
        self._in_reasoning = True
        self._reasoning_field = field or self._reasoning_field
        self._pieces.append(text)

    def sign_reasoning(self, signature: str) -> None:
        """Add a piece of the signature of the block of reasoning that is open, or of one without text."""
        self.add_reasoning("")
        self.signature += signature

    def add_turn_fields(self, fields: dict[str, Any]) -> None:
        """Add opaque fields of the turn as a whole; lists go on. Too much of them is dropped."""
        self._fields_size += len(encode_opaque(fields))
        if self._fields_size > _MAX_OPAQUE_CHARS:
            self._fields.clear()
            return
        for name, value in fields.items():
            known = self._fields.get(name)
            self._fields[name] = merge_entries(known, value) if isinstance(known, list) else value

    def end_reasoning(self, signature: str = "", redacted: str = "") -> None:
        """End a block of reasoning. If a secret was redacted in it, its signature is no longer valid and is dropped."""
        self._flush()
        was_redacted, self._reasoning_redactor.has_redacted = self._reasoning_redactor.has_redacted, False
        signature, redacted = _intact(signature or self.signature), _intact(redacted)
        fields, self._fields = self._fields, {}
        opaque = self._opaque(self._reasoning_field, {} if was_redacted else fields, always=bool(signature or redacted))
        self._events.append(ReasoningEnded("" if was_redacted else signature, redacted, opaque))
        self._in_reasoning, self._reasoning_field, self.signature = False, "", ""

    def cite(self, index: int, url: str, title: str, media_type: str, text: str) -> None:
        """Cite a source for the text so far: a page by its URL, else the document with this index in the request."""
        self._flush()
        url, title, text = redact(url), redact(title), redact(text)
        key = url or f"{index} {title}"
        source_id = f"source_{sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
        self._events.append(SourceCited(Source(source_id, url, title, media_type, text)))

    def retract(self, kept: str) -> None:
        """Take back what the turn has said but for this, its last text; not once a call is ready, which then runs."""
        is_all = not self._has_text and "".join(self._pieces) == kept
        if is_all or any(call.ready for call in self._all_calls):
            return
        self._switch_to(TextDelta, self._text_redactor)
        self._events += [TurnRetracted(), TextDelta(redact(kept))]

    def start_tool_call(self, key: Hashable, call_id: str, name: str) -> None:
        """Start a call; `key` is how the provider refers to it from now on."""
        self.next_content_block()
        self._switch_to(TextDelta, self._text_redactor)
        if Known.index.forms:
            call_id, name = redact(call_id), redact(name)
        if not call_id or call_id in self.used_ids:
            call_id = f"call_{uuid4().hex[:24]}"
        self.used_ids.add(call_id)
        call = self.calls[key] = _PendingToolCall(call_id, name, partial(ToolArgumentsDelta, call_id))
        self._all_calls.append(call)
        self._events.append(ToolCallStarted(call_id, name))

    def sign_tool_call(self, key: Hashable, fields: dict[str, Any]) -> None:
        """Add opaque fields of a call, whose arguments may have been complete before."""
        if call := self.calls.get(key):
            call.fields |= fields
            if call.ready and (opaque := self._opaque("", call.fields)):
                self._events.append(ToolCallSigned(call.id, opaque))

    def add_arguments(self, key: Hashable, json: str) -> None:
        """Add a piece of a call's arguments. Anything after the end of the object is dropped."""
        call = self.calls.get(key)
        if call is None or call.ready or not json:
            return
        if call.pieces == _PLACEHOLDER:
            if json.isspace():
                return
            call.pieces.clear()
            call.scanner = JsonObjectScanner()
        closed = call.scanner.feed(json)
        json = json[: closed or None]
        call.pieces.append(json)
        if call.pieces == _PLACEHOLDER:
            return
        if self._make_delta is not call.make_delta:
            self._switch_to(call.make_delta, call.redactor)
        self._pieces.append(json)
        if closed:
            self._complete_call(call)

    def mark_arguments_ended(self, key: Hashable) -> None:
        """Note that the provider has ended this call's arguments, which it also does for a truncated call."""
        if call := self.calls.get(key):
            call.arguments_ended = True

    def next_content_block(self) -> None:
        """Start another block. Calls that the provider had ended before it were not truncated, so they become ready."""
        for call in self._all_calls:
            if not call.ready and (call.arguments_ended or call.pieces == _PLACEHOLDER):
                self._complete_call(call)

    def stop(self, reason: str = "", native_reason: str = "") -> None:
        """Note why the provider says that the model stopped; without a reason, that nothing more will come.

        A reason that nobody knows, or none, is an ending if there is an answer and no call is incomplete.

        Args:
            reason: The provider's word.
            native_reason: The word of the provider behind a gateway, which may know better.

        Raises:
            ModelError: The provider has given up, or the turn has not begun, or a call was truncated.
        """
        kind = STOP_REASONS.get(reason) or classify_stop_reason(reason)
        if native_reason and kind == "stop" and (native_kind := classify_stop_reason(native_reason)) != "unknown":
            reason, kind = native_reason, native_kind
        if kind == "unknown":
            kind = "stop" if self._is_whole() else "error"
        if kind == "error":
            raise stop_reason_error(reason) if reason else ModelStreamTruncated(_TRUNCATED)
        self.set_stop_reason("refusal" if self.has_refused and kind == "stop" else kind)

    def set_stop_reason(self, reason: StopReason) -> None:
        """Set why the model stopped. Calls that were not truncated become ready. A truncation is final."""
        if self.stop_reason in _TRUNCATING_STOP_REASONS:
            return
        self._switch_to(TextDelta, self._text_redactor)
        for call in self._all_calls:
            if not call.ready and (reason not in _TRUNCATING_STOP_REASONS or call.pieces == _PLACEHOLDER):
                self._complete_call(call)
        self.stop_reason = "tool_calls" if reason == "stop" and self._all_calls else reason

    def finish(self) -> None:
        """End the turn: the format's own end of the stream has arrived.

        Raises:
            ModelStreamTruncated: No stop reason has been set.
        """
        if self.stop_reason is None:
            raise ModelStreamTruncated(_TRUNCATED)
        self._flush()
        if self._fields:
            self.end_reasoning()
        self.ended = True
        self._events.append(TurnEnded(self.stop_reason, self.usage, self.model))

    def drain_events(self, *, is_last: bool = False) -> list[ModelEvent]:
        """The events since the last call, adjacent text merged.

        Only text that may be the beginning of a secret is held back.

        Args:
            is_last: Whether the stream has ended, so that nothing is held back.
        """
        if self._pieces or is_last:
            self._flush(is_last)
        events, self._events = self._events, []
        return events

    def _is_whole(self) -> bool:
        self._switch_to(TextDelta, self._text_redactor)
        return self.has_answer and not any(call.pieces and not call.is_complete for call in self._all_calls)

    def _switch_to(self, make_delta: Callable[[str], ModelEvent], redactor: StreamRedactor) -> None:
        """Flush pending text, end open reasoning, and continue with deltas of another kind."""
        self._flush()
        if self._in_reasoning and make_delta is not ReasoningDelta:
            self.end_reasoning()
        self._make_delta, self._redactor = make_delta, redactor

    def _flush(self, is_last: bool = True) -> None:  # noqa: FBT001, FBT002 - called for each read
        """Emit pending text. Arguments held back stay so until the call continues or is complete."""
        redactor = self._redactor or self._text_redactor
        text = "".join(self._pieces)
        self._pieces.clear()
        if text and Known.index.forms:
            text = redactor.feed(text)
        if is_last and redactor.held_back and self._make_delta in {TextDelta, ReasoningDelta}:
            text += redactor.flush()
        if text:
            self._events.append(self._make_delta(text))
            self._has_text = self._has_text or self._make_delta is TextDelta

    def _complete_call(self, call: _PendingToolCall) -> None:
        self._flush()
        arguments = "".join(call.pieces)
        if Known.index.forms:
            arguments = redact_json_text(arguments)
        if call.redactor.held_back:
            self._events.append(ToolArgumentsDelta(call.id, call.redactor.flush()))
        if call.pieces == _PLACEHOLDER:
            self._events.append(ToolArgumentsDelta(call.id, arguments))
        call.ready = True
        self._events.append(ToolCallReady(call.id, call.name, arguments, self._opaque("", call.fields)))

    def _opaque(self, field: str, fields: dict[str, Any], *, always: bool = False) -> Opaque | UnsetType:
        """What is opaque in a part; nothing unless there is something in it, or it is `always` wanted."""
        text = _intact(encode_opaque(fields)) if fields else ""
        return Opaque(self.origin, field, text) if field or text or (always and self.origin) else UNSET


def _intact(value: str) -> str:
    """An opaque value, or nothing if it is too long or contains a secret: it would not be valid when masked."""
    return value if len(value) <= _MAX_OPAQUE_CHARS and redact(value) is value else ""


def encode_opaque(fields: dict[str, Any]) -> str:
    """Opaque fields as JSON text; empty for what cannot be encoded again, such as integers beyond 64 bits."""
    try:
        return msgspec.json.encode(fields).decode()
    except (ValueError, OverflowError, RecursionError):
        return ""


def merge_entries(known: list[Any], new: Any) -> list[Any]:
    """A list of opaque entries and its continuation: streamed text goes on in the entry of the same type and index."""
    merged = [*known]
    for entry in new if isinstance(new, list) else ():
        last = merged[-1] if merged else None
        if isinstance(entry, dict) and isinstance(last, dict) and _continues(last, entry):
            texts = {name: f"{last.get(name) or ''}{entry[name]}" for name in ("text", "summary") if entry.get(name)}
            merged[-1] = {**last, **{name: value for name, value in entry.items() if value is not None}, **texts}
        else:
            merged.append(entry)
    return merged


def _continues(last: dict[str, Any], entry: dict[str, Any]) -> bool:
    """Whether an entry is a further piece of the last one. Encrypted data comes whole, and a signature ends a text."""
    if "data" in entry or (last.get("signature") and entry.get("text")):
        return False
    is_same_kind = (entry.get("type"), entry.get("index")) == (last.get("type"), last.get("index"))
    return is_same_kind and entry.get("id") in {None, last.get("id")}
