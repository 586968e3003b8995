"""Encodes events as AG-UI events, 1.0 or those of before, which CopilotKit and `@ag-ui/client` read.

One model turn is one AG-UI assistant message, the parent of the turn's tool calls. Everything that was opened must be
closed before the run finishes. A text or reasoning message is closed before anything else opens; tool calls may be
open side by side. https://docs.ag-ui.com
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, assert_never, get_args

import msgspec

from winterbourne.chat.core import events as e
from winterbourne.chat.core.answer_messages import messages_of, without_retracted
from winterbourne.chat.core.messages import AssistantMessage, Message
from winterbourne.chat.errors import AnswerLost
from winterbourne.chat.formats import sse
from winterbourne.chat.formats.ag_ui.approvals import encode_interrupt, pending_approvals
from winterbourne.chat.formats.ag_ui.history import (
    METADATA_KEY,
    EncryptedValue,
    encode_encrypted_value,
    encode_history,
    encode_source,
    encode_sources,
    merge_values,
    reasoning_id,
    turn_id,
)
from winterbourne.chat.formats.base import encode_usage, explain_failure
from winterbourne.chat.formats.json_text import dumps, quote, single_line
from winterbourne.override import override

__all__ = ["AgUiEncoder"]

END: Final = b"}\n\n"
ARGUMENTS: Final = e.ToolArgumentsDelta
TEXT_MESSAGE_CONTENT: Final = b'data: {"type":"TEXT_MESSAGE_CONTENT","messageId":%b,"delta":'
REASONING_CONTENT: Final = b'data: {"type":"REASONING_MESSAGE_CONTENT","messageId":%b,"delta":'
TOOL_CALL_START: Final = b'data: {"type":"TOOL_CALL_START","toolCallId":'
TOOL_CALL_ARGS: Final = b'data: {"type":"TOOL_CALL_ARGS","toolCallId":%b,"delta":'
TOOL_CALL_END: Final = b'data: {"type":"TOOL_CALL_END","toolCallId":', END
STARTED_TOOL: Final = sse.PerTool(b',"toolCallName":%b,"parentMessageId":')
RUNNING_TOOL: Final = sse.PerTool(b',"toolCallName":%b,"data":')
TOOL_PROGRESS: Final = b'data: {"type":"CUSTOM","name":"tool_progress","value":{"toolCallId":'
TOOL_CALL_RESULT: Final = b'data: {"type":"TOOL_CALL_RESULT","messageId":"result-'
CALL_ID: Final = b',"toolCallId":'
CONTENT: Final = b',"content":'
RESULT_STATUS: Final = {
    status: b',"role":"tool","metadata":{"%b":{"status":"%b","durationMs":' % (METADATA_KEY.encode(), status.encode())
    for status in get_args(e.ToolStatus)
}


class AgUiEncoder(sse.SseEncoder):
    """Encodes events as AG-UI events. A state machine: it tracks the open step, messages and tool calls.

    Attributes:
        thread_id: The client's id for the conversation; if empty, our conversation id is sent.
        run_id: The client's id for this answer; if empty, our message id is sent.
        knows_1_0: Whether the client takes what is new in AG-UI 1.0; older ones end the run with an error instead.
        history: What the client is to have before the answer, in place of what it has; None to leave that as it is.
        shown: The messages that the client has; None if they are not known.
    """

    thread_id: str = ""
    run_id: str = ""
    knows_1_0: bool = True
    history: Sequence[Message] | None = None
    shown: Sequence[Any] | None = None
    _run_fields: dict[str, Any] = msgspec.field(default_factory=dict)
    _message_id: str = ""
    _turn_message_id: str = ""
    _quoted_turn_id: bytes = b'""'
    _turns_before: int = 0
    _step_name: str = ""
    _is_text_open: bool = False
    _has_message: bool = False
    _beside: EncryptedValue = EncryptedValue()
    _reasoning_id: str = ""
    _reasoning_count: int = 0
    _open_calls: dict[str, bytes] = msgspec.field(default_factory=dict)  # ids, and as JSON
    _pending_calls: dict[str, None] = msgspec.field(default_factory=dict)
    _asked: dict[str, e.ToolApprovalRequested] = msgspec.field(default_factory=dict)
    _events: list[e.ChatEvent] = msgspec.field(default_factory=list)

    @override
    def encode(self, batch: e.EventBatch) -> bytes:
        """The frames of a batch, joined."""
        try:
            [event] = batch
        except ValueError:
            return b"".join([AgUiEncoder.encode(self, (event,)) for event in batch])
        kind = type(event)
        try:  # the same as in every format; to call that takes as long as a token's whole frame
            if kind is self._open:
                self._events.append(event)
                return quote(event.text).join(self._around)  # type: ignore[union-attr]
            if kind is ARGUMENTS and event.id == self._call_id:  # type: ignore[union-attr]
                return quote(event.json).join(self._around_arguments)  # type: ignore[union-attr]
            self._events.append(event)
            return self.quick[kind](self, event, quote)
        except UnicodeEncodeError:
            return self.quick[kind](self, event, dumps)

    @override
    def _frames(self, event: sse.RareEvent) -> bytes:  # noqa: C901, PLR0911 - one case for each event
        match event:
            case e.ReasoningEnded(signature, redacted, opaque):
                return self._reasoning_ended(EncryptedValue(signature, redacted, opaque))
            case e.ToolCallSigned(id_, opaque):
                return _encrypted_value("tool-call", id_, EncryptedValue(opaque=opaque))
            case e.TurnStarted(turn):
                self._turn_message_id = turn_id(self._message_id, self._turns_before + turn)
                self._quoted_turn_id = dumps(self._turn_message_id)
                self._step_name, self._has_message, self._beside = f"turn {turn}", False, EncryptedValue()
                return _event("STEP_STARTED", {"stepName": self._step_name})
            case e.TurnEnded():
                return self._end_step()
            case e.ConversationStarted():
                return self._conversation_started(event)
            case e.ConversationEnded():
                return self._conversation_ended(event)
            case e.ConversationFailed(code, message, request_id):
                told = {"message": explain_failure(message, request_id), "code": code}
                return self._end_step() + _event("RUN_ERROR", told)
            case e.ConversationStopped(reason):
                outcome = {"outcome": {"type": "cancelled"}} if self.knows_1_0 else {}
                return self._run_finished(outcome | {"result": {"stopReason": reason}})
            case e.ToolApprovalRequested(id_):
                self._asked[id_] = event
                return b""
            case e.SourceCited(source):
                return _event("CUSTOM", encode_source(source, self._turn_message_id))
            case e.TurnRetracted() | e.ToolCallDropped():
                return self._show_anew()
            case _:
                assert_never(event)

    def _text_delta(self, event: e.TextDelta, text: sse.Text) -> bytes:
        delta, begin = text(event.text), b""
        if not self._is_text_open:
            begin, self._is_text_open, self._has_message = self._end_reasoning(), True, True
            begin += _event("TEXT_MESSAGE_START", {"messageId": self._turn_message_id, "role": "assistant"})
        self._open, self._around = e.TextDelta, (TEXT_MESSAGE_CONTENT % self._quoted_turn_id, END)
        return begin + delta.join(self._around)

    def _reasoning_delta(self, event: e.ReasoningDelta, text: sse.Text) -> bytes:
        delta, begin = text(event.text), self._start_reasoning()
        self._open, self._around = e.ReasoningDelta, (REASONING_CONTENT % dumps(self._reasoning_id), END)
        return begin + delta.join(self._around)

    def _arguments_delta(self, event: e.ToolArgumentsDelta, text: sse.Text) -> bytes:
        self._call_id, self._around_arguments = event.id, (TOOL_CALL_ARGS % text(event.id), END)
        return text(event.json).join(self._around_arguments)

    def _call_started(self, event: e.ToolCallStarted, text: sse.Text) -> bytes:
        call_id = self._open_calls[event.id] = text(event.id)
        self._pending_calls[event.id] = None
        self._has_message = True
        begin = self._end_parts() + TOOL_CALL_START if self._is_text_open or self._reasoning_id else TOOL_CALL_START
        return b"".join((begin, call_id, STARTED_TOOL[event.name], self._quoted_turn_id, END))

    def _call_ready(self, event: e.ToolCallReady, _: sse.Text) -> bytes:
        end = self._end_call(event.id)
        if not event.opaque:
            return end
        return end + _encrypted_value("tool-call", event.id, EncryptedValue(opaque=event.opaque))

    def _tool_progressed(self, event: e.ToolProgressed, text: sse.Text) -> bytes:
        call_id, name, data = text(event.id), RUNNING_TOOL[event.name], single_line(event.data)
        return b"".join((TOOL_PROGRESS, call_id, name, data, b"}}\n\n"))

    def _tool_finished(self, event: e.ToolFinished, text: sse.Text) -> bytes:
        call_id, status, duration_ms = text(event.id), event.status, text(event.duration_ms)
        result = single_line(event.result) if status == "completed" else b'{"error":%b}' % dumps(event.error or status)
        content = dumps(result.decode() or "null")
        self._pending_calls.pop(event.id, None)
        if self._asked:
            self._asked.pop(event.id, None)
        name, told, end = call_id[1:], RESULT_STATUS[status], b"}}}\n\n"
        return b"".join((TOOL_CALL_RESULT, name, CALL_ID, call_id, CONTENT, content, told, duration_ms, end))

    def _reasoning_ended(self, opaque: EncryptedValue) -> bytes:
        if opaque == EncryptedValue():
            return self._end_reasoning()
        if self._has_message and not self._reasoning_id:  # opaque data without reasoning of its own
            self._beside = merge_values(self._beside, opaque)
            return _encrypted_value("message", self._turn_message_id, self._beside)
        begin, reasoning = self._start_reasoning(), self._reasoning_id
        return begin + self._end_reasoning() + _encrypted_value("message", reasoning, opaque)

    def _conversation_started(self, event: e.ConversationStarted) -> bytes:
        self._message_id = event.message_id
        thread, run = self.thread_id or event.conversation_id, self.run_id or event.message_id
        self._run_fields = {"threadId": thread, "runId": run}
        shown = encode_history(history := self.history or ())
        self.shown = self.shown if self.history is None else shown
        snapshot, thought = {"messages": shown}, reasoning_id(event.message_id, 0)[:-1]
        # An answer that goes on after a decision has the ids that follow those of its turns before.
        self._turns_before = sum(isinstance(one, AssistantMessage) and one.id == event.message_id for one in history)
        self._reasoning_count = sum(one["id"].startswith(thought) for one in shown)
        self._asked = {asked.id: asked for asked in pending_approvals(history)}
        begin = _event("RUN_STARTED", self._run_fields)
        if self.history is None:
            return begin
        cited = (_event("CUSTOM", source) for source in encode_sources(history))
        return begin + _event("MESSAGES_SNAPSHOT", snapshot) + b"".join(cited)

    def _conversation_ended(self, event: e.ConversationEnded) -> bytes:
        outcome: dict[str, Any] = {"type": "success"}
        if event.stop_reason == "tool_calls" and self.knows_1_0:
            outcome["pendingToolCallIds"] = [*self._pending_calls]
        if self._asked:
            outcome = {"type": "interrupt", "interrupts": [*map(encode_interrupt, self._asked.values())]}
        usage, result = encode_usage(event.usage), {"stopReason": event.stop_reason}
        told = {"cost": usage["cost"]} if "cost" in usage else {}  # clients drop what they do not know of `usage`
        return self._run_finished({"outcome": outcome, "result": result | told, "usage": [usage]})

    def _show_anew(self) -> bytes:
        """All that the client is to have: without what was taken back, or a call that was dropped."""
        if self.shown is None:
            raise AnswerLost("it is not known what this client has shown")
        self._pending_calls = {call: None for call in self._pending_calls if call not in self._open_calls}
        end, self._has_message = self._end_open(), False
        messages = [*self.shown, *encode_history(messages_of(without_retracted(self._events)))]
        thought = reasoning_id(self._message_id, 0)[:-1]
        self._reasoning_count = sum(str(one.get("id")).startswith(thought) for one in messages)
        return end + _event("MESSAGES_SNAPSHOT", {"messages": messages})

    def _run_finished(self, outcome: dict[str, Any]) -> bytes:
        return self._end_step() + _event("RUN_FINISHED", self._run_fields | outcome)

    def _start_reasoning(self) -> bytes:
        if self._reasoning_id:
            return b""
        end, self._reasoning_count = self._end_text(), self._reasoning_count + 1
        self._reasoning_id = reasoning_id(self._message_id, self._reasoning_count)
        ids = {"messageId": self._reasoning_id}
        return end + _event("REASONING_START", ids) + _event("REASONING_MESSAGE_START", ids | {"role": "reasoning"})

    def _end_reasoning(self) -> bytes:
        ids, self._reasoning_id, self._open = {"messageId": self._reasoning_id}, "", None
        return _event("REASONING_MESSAGE_END", ids) + _event("REASONING_END", ids) if ids["messageId"] else b""

    def _end_text(self) -> bytes:
        was_open, self._is_text_open, self._open = self._is_text_open, False, None
        return _event("TEXT_MESSAGE_END", {"messageId": self._turn_message_id}) if was_open else b""

    def _end_call(self, call_id: str) -> bytes:
        quoted = self._open_calls.pop(call_id, b"")
        return quoted and quoted.join(TOOL_CALL_END)

    def _end_parts(self) -> bytes:
        return self._end_reasoning() + self._end_text()

    def _end_open(self) -> bytes:
        return self._end_parts() + b"".join([self._end_call(call_id) for call_id in tuple(self._open_calls)])

    def _end_step(self) -> bytes:
        step_name, self._step_name = self._step_name, ""
        return self._end_open() + (_event("STEP_FINISHED", {"stepName": step_name}) if step_name else b"")

    quick: ClassVar[Mapping[type, sse.Quick]] = sse.QUICK | {
        e.TextDelta: _text_delta,
        e.ReasoningDelta: _reasoning_delta,
        e.ToolArgumentsDelta: _arguments_delta,
        e.ToolCallStarted: _call_started,
        e.ToolCallReady: _call_ready,
        e.ToolProgressed: _tool_progressed,
        e.ToolFinished: _tool_finished,
    }


def _event(kind: str, fields: Mapping[str, Any]) -> bytes:
    return b"data: %b\n\n" % dumps({"type": kind, **fields})


def _encrypted_value(subtype: str, entity_id: str, value: EncryptedValue) -> bytes:
    ids = {"subtype": subtype, "entityId": entity_id}
    return _event("REASONING_ENCRYPTED_VALUE", {**ids, "encryptedValue": encode_encrypted_value(value)})
