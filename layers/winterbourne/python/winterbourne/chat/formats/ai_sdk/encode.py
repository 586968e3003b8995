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
    parse_json,
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


DYNAMIC: Final = b',"dynamic":true'
"""Of tools whose types the client does not know."""


TOOL_OUTPUT_ERROR: Final = b'data: {"type":"tool-output-error","toolCallId":%b,"errorText":%b%b}\n\n'

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

    @override
    def _frames(self, event: e.ChatEvent) -> bytes:  # noqa: C901, PLR0911, PLR0912 - one case for each event
        match event:
            case e.TextDelta(text):
                return self._text_delta(text)
            case e.ToolArgumentsDelta(id_, json):
                fields = dumps(id_), dumps(json)
                return b'data: {"type":"tool-input-delta","toolCallId":%b,"inputTextDelta":%b}\n\n' % fields
            case e.ReasoningDelta(text):
                begin, delta = self._start_reasoning(), dumps(text)
                return b'%bdata: {"type":"reasoning-delta","id":%b,"delta":%b}\n\n' % (begin, self._reasoning_id, delta)
            case e.ReasoningEnded(signature, redacted, opaque):
                return self._reasoning_ended(PartMetadata(signature, redacted, opaque))
            case e.ToolCallStarted(id_, name):
                begin = self._end_parts()
                self._begun_calls.add(id_)
                return b'%bdata: {"type":"tool-input-start",%b}\n\n' % (begin, self._tool_call_fields(id_, name))
            case e.ToolCallReady(id_, name, arguments, opaque):
                data = self._tool_call_fields(id_, name), _tool_input(arguments), _metadata(PartMetadata(opaque=opaque))
                return b'data: {"type":"tool-input-available",%b,"input":%b%b}\n\n' % data
            case e.ToolCallSigned(id_, opaque):  # the input cannot be sent again: a page would run its tool twice
                metadata = dumps(msgspec.to_builtins(CallMetadata({id_: opaque})))
                return b'data: {"type":"message-metadata","messageMetadata":%b}\n\n' % metadata
            case e.ToolProgressed(id_, _, data):
                return _tool_output_available(id_, single_line(data) + b',"preliminary":true')
            case e.ToolFinished():
                return self._tool_finished(event)
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
                return TOOL_OUTPUT_ERROR % (dumps(id_), dumps(DROPPED_MESSAGE), self._dynamic(name))
            case e.TurnRetracted():
                return self._reset_step()
            case e.ToolQueued() | e.ToolStarted():
                return b""
            case _:
                assert_never(event)

    @override
    def _text_delta(self, text: str) -> bytes:
        begin = b""
        if not self._text_id:
            self._text_id = self._next_part_id()
            begin = b'data: {"type":"text-start","id":%b}\n\n' % self._text_id
        return b'%bdata: {"type":"text-delta","id":%b,"delta":%b}\n\n' % (begin, self._text_id, dumps(text))

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
        part_id, self._reasoning_id = self._reasoning_id, b""
        return b'data: {"type":"reasoning-end","id":%b%b}\n\n' % (part_id, provider_metadata) if part_id else b""

    def _end_text(self, provider_metadata: bytes = b"") -> bytes:
        part_id, self._text_id = self._text_id, b""
        return b'data: {"type":"text-end","id":%b%b}\n\n' % (part_id, provider_metadata) if part_id else b""

    def _end_parts(self) -> bytes:
        return self._end_reasoning() + self._end_text()

    def _end_step(self) -> bytes:
        was_open, self._is_step_open = self._is_step_open, False
        return self._end_parts() + (b'data: {"type":"finish-step"}\n\n' if was_open else b"")

    def _reset_step(self) -> bytes:
        if not self.can_retract:
            raise AnswerLost("this client cannot drop what it has shown")
        self._text_id = self._reasoning_id = b""
        self._cited = {source: turn for source, turn in self._cited.items() if turn != self._turn}
        return b'data: {"type":"reset-step"}\n\n'

    def _ended(self, kind: str, fields: Mapping[str, Any]) -> bytes:
        return self._end_step() + _chunk(kind, fields) + sse.DONE

    def _tool_call_fields(self, call_id: str, name: str) -> bytes:
        return b'"toolCallId":%b,"toolName":%b%b' % (dumps(call_id), dumps(name), self._dynamic(name))

    def _tool_finished(self, event: e.ToolFinished) -> bytes:
        dynamic = self._dynamic(event.name)
        if event.status == "completed":
            return _tool_output_available(event.id, single_line(event.result) or b"null", dynamic)
        if event.status == "denied" and self.can_ask and event.id not in self._begun_calls:  # else nothing says by whom
            return _chunk("tool-output-denied", {"toolCallId": event.id})
        return TOOL_OUTPUT_ERROR % (dumps(event.id), dumps(event.error or event.status), dynamic)

    def _dynamic(self, name: str) -> bytes:
        return b"" if name in self.client_tools else DYNAMIC


def _chunk(kind: str, fields: Mapping[str, Any]) -> bytes:
    return b"data: %b\n\n" % dumps({"type": kind, **fields})


def _metadata(part: PartMetadata) -> bytes:
    metadata = provider_metadata(part)
    return b",%b" % dumps(metadata)[1:-1] if metadata else b""


def _tool_input(arguments: str) -> bytes:
    """The arguments as they are if they are a JSON object, otherwise as a JSON string."""
    is_object = isinstance(parse_json(arguments or "{}"), dict)
    return single_line(arguments.encode() or b"{}") if is_object else dumps(arguments)


def _tool_output_available(call_id: str, output: bytes, dynamic: bytes = DYNAMIC) -> bytes:
    template = b'data: {"type":"tool-output-available","toolCallId":%b%b,"output":%b}\n\n'
    return template % (dumps(call_id), dynamic, output)
