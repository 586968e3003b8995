"""Encodes events as the AI SDK UI message stream v1, which `useChat` reads in versions 5, 6 and 7 of the SDK.

Only chunk types that version 5 knows are sent, because an unknown type makes the client end the stream, unless it says
that it can ask a person, or take a step back.
https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, assert_never

import msgspec

from winterbourne.chat.core import events as e
from winterbourne.chat.errors import AnswerLost
from winterbourne.chat.formats import sse
from winterbourne.chat.formats.ai_sdk.history import (
    CallMetadata,
    PartMetadata,
    encode_source,
    provider_metadata,
)
from winterbourne.chat.formats.base import encode_usage, explain_failure
from winterbourne.chat.formats.json_text import dumps, single_line
from winterbourne.override import override

__all__ = ["AiSdkEncoder"]

HEADERS: Final[Mapping[str, str]] = {**sse.HEADERS, "x-vercel-ai-ui-message-stream": "v1"}

FINISH_REASONS: Final[Mapping[e.StopReason, str]] = {
    "stop": "stop",
    "tool_calls": "tool-calls",
    "approval": "tool-calls",
    "max_tokens": "length",
    "content_filter": "content-filter",
    "refusal": "content-filter",
}
"""Every other reason is `other`."""


END: Final = b"}\n\n"

DYNAMIC: Final = b',"dynamic":true'
"""Of tools whose types the client does not know."""


TOOL_START: Final = b'data: {"type":"tool-input-start","toolCallId":'
TOOL_INPUT: Final = b'data: {"type":"tool-input-available","toolCallId":'
TOOL_OUTPUT: Final = b'data: {"type":"tool-output-available","toolCallId":'
OUTPUT: Final = b',"output":'
PROGRESS: Final = DYNAMIC + OUTPUT
PRELIMINARY: Final = b',"preliminary":true}\n\n'
TOOL_OUTPUT_ERROR: Final = b'data: {"type":"tool-output-error","toolCallId":'

decode_object: Final = msgspec.json.Decoder(dict[str, Any]).decode
"""In half the time of `orjson.loads`, for the arguments of a call."""

DROPPED_MESSAGE: Final = "The model broke off before this call was complete."


class AiSdkEncoder(sse.SseEncoder):
    """Encodes events as UI message chunks.

    A state machine: it tracks the open text and reasoning part, because the SDK throws on a delta for a part that is
    not open.

    Attributes:
        client_tools: Names of the tools that the client runs; it knows their types, so they are not sent as `dynamic`.
        can_ask: Whether the client can ask a person, and so knows the chunks for that.
        can_retract: Whether it knows the chunk `reset-step`, which version 7 of the SDK has.
    """

    headers: ClassVar[Mapping[str, str]] = HEADERS

    client_tools: frozenset[str] = frozenset()
    can_ask: bool = False
    can_retract: bool = False
    _part_count: int = 0
    _text_id: bytes = b""
    _reasoning_id: bytes = b""
    _is_step_open: bool = False
    _cited: dict[str, int] = msgspec.field(default_factory=dict)  # sources, and the turn that cited each first
    _turn: int = 0
    _begun_calls: set[str] = msgspec.field(default_factory=set)
    _tools: dict[str, bytes] = msgspec.field(default_factory=dict)

    @override
    def _frames(self, event: sse.RareEvent) -> bytes:  # noqa: C901, PLR0911, PLR0912 - one case for each event
        match event:
            case e.ReasoningEnded(signature, redacted, opaque):
                return self._reasoning_ended(PartMetadata(signature, redacted, opaque))
            case e.ToolCallSigned(id_, opaque):  # the input cannot be sent again: a page would run its tool twice
                metadata = dumps(msgspec.to_builtins(CallMetadata({id_: opaque})))
                return b'data: {"type":"message-metadata","messageMetadata":%b}\n\n' % metadata
            case e.TurnStarted(turn):
                self._is_step_open, self._turn = True, turn
                return b'data: {"type":"start-step"}\n\n'
            case e.TurnEnded():
                return self._end_step()
            case e.ConversationStarted(_, message_id):
                return b'data: {"type":"start","messageId":%b}\n\n' % dumps(message_id)
            case e.ConversationEnded(stop_reason, usage):
                finish = {"finishReason": FINISH_REASONS.get(stop_reason, "other")}
                return self._ended("finish", {**finish, "messageMetadata": {"usage": encode_usage(usage)}})
            case e.ConversationFailed(_, message, request_id):
                return self._ended("error", {"errorText": explain_failure(message, request_id)})
            case e.ConversationStopped(reason):
                return self._ended("abort", {"reason": reason})
            case e.ToolApprovalRequested(id_, _, approval):
                ids = {"approvalId": approval.id, "toolCallId": id_}
                asked = {**ids, "reason": approval.message} if approval.message else ids
                return _chunk("tool-approval-request", asked) if self.can_ask else b""
            case e.SourceCited(source):
                part, is_new = encode_source(source), source.id not in self._cited
                self._cited.setdefault(source.id, self._turn)
                return _chunk(part.pop("type"), part) if is_new else b""
            case e.ToolCallDropped(id_, name):
                return self._tool_finished(e.ToolFinished(id_, name, "failed", 0, error=DROPPED_MESSAGE), dumps)
            case e.TurnRetracted():
                return self._reset_step()
            case _:
                assert_never(event)

    def _text_delta(self, event: e.TextDelta, text: sse.Text) -> bytes:
        delta, begin = text(event.text), b""
        if not self._text_id:
            self._text_id = self._next_part_id()
            begin = b'data: {"type":"text-start","id":%b}\n\n' % self._text_id
        self._open, self._around = e.TextDelta, (b'data: {"type":"text-delta","id":%b,"delta":' % self._text_id, END)
        return begin + delta.join(self._around)

    def _reasoning_delta(self, event: e.ReasoningDelta, text: sse.Text) -> bytes:
        delta, begin = text(event.text), self._start_reasoning()
        self._open = e.ReasoningDelta
        self._around = b'data: {"type":"reasoning-delta","id":%b,"delta":' % self._reasoning_id, END
        return begin + delta.join(self._around)

    def _arguments_delta(self, event: e.ToolArgumentsDelta, text: sse.Text) -> bytes:
        begin = b'data: {"type":"tool-input-delta","toolCallId":%b,"inputTextDelta":' % text(event.id)
        self._call_id, self._around_arguments = event.id, (begin, END)
        return text(event.json).join(self._around_arguments)

    def _call_started(self, event: e.ToolCallStarted, text: sse.Text) -> bytes:
        call_id, name = text(event.id), self._tools.get(event.name) or self._tool_fields(event.name)
        self._begun_calls.add(event.id)
        begin = self._end_parts() + TOOL_START if self._text_id or self._reasoning_id else TOOL_START
        return b"".join((begin, call_id, name, END))

    def _call_ready(self, event: e.ToolCallReady, text: sse.Text) -> bytes:
        metadata = _metadata(PartMetadata(opaque=event.opaque)) if event.opaque else b""
        call_id, name = text(event.id), self._tools.get(event.name) or self._tool_fields(event.name)
        return b"".join((TOOL_INPUT, call_id, name, b',"input":', _tool_input(event.arguments), metadata, END))

    def _tool_progressed(self, event: e.ToolProgressed, text: sse.Text) -> bytes:
        return b"".join((TOOL_OUTPUT, text(event.id), PROGRESS, single_line(event.data), PRELIMINARY))

    def _tool_finished(self, event: e.ToolFinished, text: sse.Text) -> bytes:
        dynamic = b"" if event.name in self.client_tools else DYNAMIC
        if event.status == "completed":
            result = single_line(event.result) or b"null"
            return b"".join((TOOL_OUTPUT, text(event.id), dynamic, OUTPUT, result, END))
        if event.status == "denied" and self.can_ask and event.id not in self._begun_calls:  # else nothing says by whom
            return _chunk("tool-output-denied", {"toolCallId": event.id})
        error = text(event.error or event.status)
        return b"".join((TOOL_OUTPUT_ERROR, text(event.id), b',"errorText":', error, dynamic, END))

    def _tool_fields(self, name: str) -> bytes:
        """What chunks say of a tool, to be made once."""
        dynamic = b"" if name in self.client_tools else DYNAMIC
        fields = self._tools[name] = b',"toolName":%b%b' % (dumps(name), dynamic)
        return fields

    def _reasoning_ended(self, part: PartMetadata) -> bytes:
        if not (metadata := _metadata(part)):
            return self._end_reasoning()
        if self._text_id:  # opaque data without reasoning of its own, which would show as an empty part
            return self._end_text(metadata)
        return self._start_reasoning() + self._end_reasoning(metadata)

    def _next_part_id(self) -> bytes:
        self._part_count += 1
        return b'"p%d"' % self._part_count

    def _start_reasoning(self) -> bytes:
        if self._reasoning_id:
            return b""
        end, self._reasoning_id = self._end_text(), self._next_part_id()
        return b'%bdata: {"type":"reasoning-start","id":%b}\n\n' % (end, self._reasoning_id)

    def _end_reasoning(self, provider_metadata: bytes = b"") -> bytes:
        part_id, self._reasoning_id, self._open = self._reasoning_id, b"", None
        return b'data: {"type":"reasoning-end","id":%b%b}\n\n' % (part_id, provider_metadata) if part_id else b""

    def _end_text(self, provider_metadata: bytes = b"") -> bytes:
        part_id, self._text_id, self._open = self._text_id, b"", None
        return b'data: {"type":"text-end","id":%b%b}\n\n' % (part_id, provider_metadata) if part_id else b""

    def _end_parts(self) -> bytes:
        return self._end_reasoning() + self._end_text()

    def _end_step(self) -> bytes:
        was_open, self._is_step_open = self._is_step_open, False
        return self._end_parts() + (b'data: {"type":"finish-step"}\n\n' if was_open else b"")

    def _reset_step(self) -> bytes:
        if not self.can_retract:
            raise AnswerLost("this client cannot drop what it has shown")
        self._text_id, self._reasoning_id, self._open = b"", b"", None
        self._cited = {source: turn for source, turn in self._cited.items() if turn != self._turn}
        return b'data: {"type":"reset-step"}\n\n'

    def _ended(self, kind: str, fields: Mapping[str, Any]) -> bytes:
        return self._end_step() + _chunk(kind, fields) + sse.DONE

    quick: ClassVar[Mapping[type, sse.Quick]] = sse.QUICK | {
        e.TextDelta: _text_delta,
        e.ReasoningDelta: _reasoning_delta,
        e.ToolArgumentsDelta: _arguments_delta,
        e.ToolCallStarted: _call_started,
        e.ToolCallReady: _call_ready,
        e.ToolProgressed: _tool_progressed,
        e.ToolFinished: _tool_finished,
    }


def _chunk(kind: str, fields: Mapping[str, Any]) -> bytes:
    return b"data: %b\n\n" % dumps({"type": kind, **fields})


def _metadata(part: PartMetadata) -> bytes:
    metadata = provider_metadata(part)
    return b",%b" % dumps(metadata)[1:-1] if metadata else b""


def _tool_input(arguments: str) -> bytes:
    """The arguments as they are if they are a JSON object, otherwise as a JSON string."""
    try:
        decode_object(arguments or "{}")
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return dumps(arguments)
    return single_line(arguments.encode() or b"{}")
