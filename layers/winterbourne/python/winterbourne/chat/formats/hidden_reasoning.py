"""Hides what a model thinks from clients, with SHOW_REASONING=false: a format, and messages, without its text.

What is opaque in a turn stays, because the provider wants it back. But a signature is nothing without the text that it
signs: a provider that can leaves that text out itself, and from others no signature is passed on.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import msgspec
from msgspec import UnsetType

from winterbourne.chat.core.events import (
    ChatEvent,
    EventBatch,
    ReasoningDelta,
    ReasoningEnded,
    TurnRetracted,
    TurnStarted,
)
from winterbourne.chat.core.history import with_parts
from winterbourne.chat.core.messages import AssistantMessage, AssistantPart, ChatRequest, Message, Opaque, Reasoning
from winterbourne.chat.formats.base import Encoder, Format, ResumedAnswer

__all__ = ["hide_reasoning", "without_reasoning_text"]

_DETAILS: Final = "reasoning_details"


def hide_reasoning(wire_format: Format) -> Format:
    """The format, whose answers have no text of a model's reasoning."""

    def decode(body: dict[str, Any]) -> tuple[ChatRequest, Encoder]:
        request, encoder = wire_format.decode(body)
        return request, _HidingEncoder(encoder)

    again = wire_format.resume and partial(_resume, wire_format.resume)
    return msgspec.structs.replace(wire_format, decode=decode, resume=again)


def _resume(again: Callable[[ResumedAnswer], Encoder], answer: ResumedAnswer) -> Encoder:
    history = answer.history and [without_reasoning_text(message) for message in answer.history]
    encoder = answer.encoder.shown if isinstance(answer.encoder, _HidingEncoder) else answer.encoder
    return _HidingEncoder(again(msgspec.structs.replace(answer, history=history, encoder=encoder)))


def without_reasoning_text(message: Message) -> Message:
    """The message as it is shown: of its reasoning, what is opaque and tells nothing."""
    message = with_parts(message, _hidden_part)
    if not isinstance(message, AssistantMessage):
        return message
    return msgspec.structs.replace(message, parts=tuple(part for part in message.parts if part != Reasoning("")))


def _hidden_part(part: AssistantPart) -> AssistantPart:
    if not isinstance(part, Reasoning):
        return part
    return Reasoning("", "" if part.text else part.signature, part.redacted, _hidden(part.opaque))


class _HidingEncoder(msgspec.Struct):
    """Passes on everything but the text of reasoning, and that a turn is taken back of which there was nothing else."""

    shown: Encoder
    _has_text: bool = False
    _is_turn_shown: bool = False

    @property
    def status(self) -> int:
        return self.shown.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self.shown.headers

    @property
    def heartbeat(self) -> bytes:
        return self.shown.heartbeat

    def encode(self, batch: EventBatch, /) -> bytes:
        told = tuple(self._told(event) for event in batch if not self._hides(event))
        return self.shown.encode(told) if told or not batch else b""

    def _hides(self, event: ChatEvent) -> bool:
        begins = isinstance(event, TurnStarted | TurnRetracted)
        hides = isinstance(event, ReasoningDelta) or (isinstance(event, TurnRetracted) and not self._is_turn_shown)
        self._has_text = not begins and (self._has_text or hides)
        self._is_turn_shown = not begins and (self._is_turn_shown or not hides)
        return hides

    def _told(self, event: ChatEvent) -> ChatEvent:
        if not isinstance(event, ReasoningEnded):
            return event
        has_text, self._has_text = self._has_text, False
        return ReasoningEnded("" if has_text else event.signature, event.redacted, _hidden(event.opaque))


def _hidden(opaque: Opaque | UnsetType) -> Opaque | UnsetType:
    if not opaque or not opaque.fields:
        return opaque
    fields = opaque.decoded()
    told = {name: _without_texts(value) for name, value in fields.items()}
    if told.get(_DETAILS) != fields.get(_DETAILS):  # OpenRouter takes them as they were, or not at all
        del told[_DETAILS]
    return Opaque(opaque.origin, opaque.field, msgspec.json.encode(told).decode() if told else "")


def _without_texts(value: Any) -> Any:
    """Without the entries of lists that are text: of reasoning, and of its summary."""
    if isinstance(value, dict):
        return {name: _without_texts(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_texts(one) for one in value if not _is_text(one)]
    return value


def _is_text(entry: Any) -> bool:
    return isinstance(entry, dict) and any(isinstance(entry.get(name), str) for name in ("text", "summary", "thinking"))
