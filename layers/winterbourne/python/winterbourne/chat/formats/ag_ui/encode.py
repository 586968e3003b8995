"""Encodes events as AG-UI events, 1.0 or those of before, which CopilotKit and `@ag-ui/client` read.

One model turn is one AG-UI assistant message, the parent of the turn's tool calls. Everything that was opened must be
closed before the run finishes. A text or reasoning message is closed before anything else opens; tool calls may be
open side by side. https://docs.ag-ui.com
"""

from typing import Final, assert_never

import msgspec

from winterbourne.chat.core import events as e
from winterbourne.chat.core.messages import Opaque
from winterbourne.chat.formats import sse
from winterbourne.chat.formats.ag_ui.history import METADATA_KEY, EncryptedValue, encode_encrypted_value
from winterbourne.chat.formats.base import explain_failure
from winterbourne.chat.formats.json_text import dumps, single_line
from winterbourne.override import override

__all__ = ["AgUiEncoder"]

TEXT_MESSAGE_CONTENT: Final = b'%bdata: {"type":"TEXT_MESSAGE_CONTENT","messageId":%b,"delta":%b}\n\n'

REASONING_START: Final = (
    b'%bdata: {"type":"REASONING_START","messageId":%b}\n\n'
    b'data: {"type":"REASONING_MESSAGE_START","messageId":%b,"role":"reasoning"}\n\n'
)
REASONING_END: Final = (
    b'data: {"type":"REASONING_MESSAGE_END","messageId":%b}\n\ndata: {"type":"REASONING_END","messageId":%b}\n\n'
)
REASONING_CONTENT: Final = b'%bdata: {"type":"REASONING_MESSAGE_CONTENT","messageId":%b,"delta":%b}\n\n'
ENCRYPTED_VALUE: Final = (
    b'%bdata: {"type":"REASONING_ENCRYPTED_VALUE","subtype":"%b","entityId":%b,"encryptedValue":%b}\n\n'
)

TOOL_CALL_START: Final = (
    b'%bdata: {"type":"TOOL_CALL_START","toolCallId":%b,"toolCallName":%b,"parentMessageId":%b}\n\n'
)
TOOL_CALL_ARGS: Final = b'data: {"type":"TOOL_CALL_ARGS","toolCallId":%b,"delta":%b}\n\n'
TOOL_PROGRESS: Final = (
    b'data: {"type":"CUSTOM","name":"tool_progress","value":{"toolCallId":%b,"toolCallName":%b,"data":%b}}\n\n'
)
TOOL_CALL_RESULT: Final = (
    b'data: {"type":"TOOL_CALL_RESULT","messageId":%b,"toolCallId":%b,"content":%b,"role":"tool",'
    b'"metadata":{"%b":{"status":"%b","durationMs":%d}}}\n\n'
)

SUCCESS: Final = (
    b'"outcome":{"type":"success"%b},"result":{"stopReason":"%b"},'
    b'"usage":[{"inputTokens":%d,"outputTokens":%d,"cachedInputTokens":%d}]'
)
RUN_ERROR: Final = b'%bdata: {"type":"RUN_ERROR","message":%b,"code":%b}\n\n'


class AgUiEncoder(sse.SseEncoder):
    """Encodes events as AG-UI events. A state machine: it tracks the open step, messages and tool calls.

    Attributes:
        thread_id: The client's id for the conversation; if empty, our conversation id is sent.
        run_id: The client's id for this answer; if empty, our message id is sent.
        knows_1_0: Whether the client takes what is new in AG-UI 1.0; older ones end the run with an error instead.
    """

    thread_id: str = ""
    run_id: str = ""
    knows_1_0: bool = True
    _run_fields: bytes = b""
    _message_id: str = ""
    _turn_message_id: bytes = b""
    _step_name: bytes = b""
    _is_text_open: bool = False
    _has_message: bool = False
    _reasoning_id: bytes = b""
    _reasoning_count: int = 0
    _open_calls: dict[str, bytes] = msgspec.field(default_factory=dict)
    _pending_calls: dict[str, bytes] = msgspec.field(default_factory=dict)

    @override
    def _frames(self, event: e.ChatEvent) -> bytes:  # noqa: C901, PLR0911, PLR0912 - one case for each event
        match event:
            case e.TextDelta(text):
                return self._text_delta(text)
            case e.ToolArgumentsDelta(id_, json):
                return TOOL_CALL_ARGS % (dumps(id_), dumps(json))
            case e.ReasoningDelta(text):
                return REASONING_CONTENT % (self._start_reasoning(), self._reasoning_id, dumps(text))
            case e.ReasoningEnded(signature, redacted, opaque):
                return self._reasoning_ended(EncryptedValue(signature, redacted, opaque))
            case e.ToolCallStarted(id_, name):
                call = self._open_calls[id_] = self._pending_calls[id_] = dumps(id_)
                self._has_message = True
                return TOOL_CALL_START % (self._end_parts(), call, dumps(name), self._turn_message_id)
            case e.ToolCallReady(id_, _, _, opaque):
                return self._end_call(id_) + (_signed(id_, opaque) if opaque else b"")
            case e.ToolCallSigned(id_, opaque):
                return _signed(id_, opaque)
            case e.ToolProgressed(id_, name, data):
                return TOOL_PROGRESS % (dumps(id_), dumps(name), single_line(data))
            case e.ToolFinished(id_):
                self._pending_calls.pop(id_, None)
                return _tool_finished(event)
            case e.TurnStarted(turn):
                self._turn_message_id = dumps(f"{self._message_id}-{turn}" if turn > 1 else self._message_id)
                self._step_name, self._has_message = b'"turn %d"' % turn, False
                return b'data: {"type":"STEP_STARTED","stepName":%b}\n\n' % self._step_name
            case e.TurnEnded():
                return self._end_step()
            case e.ConversationStarted():
                return self._conversation_started(event)
            case e.ConversationEnded():
                return self._conversation_ended(event)
            case e.ConversationFailed(code, message, request_id):
                return RUN_ERROR % (self._end_step(), dumps(explain_failure(message, request_id)), dumps(code))
            case e.ConversationStopped(reason):
                outcome = b'"outcome":{"type":"cancelled"},' if self.knows_1_0 else b""
                return self._run_finished(b'%b"result":{"stopReason":"%b"}' % (outcome, reason.encode()))
            case e.ToolQueued() | e.ToolStarted():
                return b""
            case _:
                assert_never(event)

    @override
    def _text_delta(self, text: str) -> bytes:
        begin, message_id = b"", self._turn_message_id
        if not self._is_text_open:
            begin, self._is_text_open, self._has_message = self._end_reasoning(), True, True
            begin += b'data: {"type":"TEXT_MESSAGE_START","messageId":%b,"role":"assistant"}\n\n' % message_id
        return TEXT_MESSAGE_CONTENT % (begin, message_id, dumps(text))

    def _reasoning_ended(self, opaque: EncryptedValue) -> bytes:
        if opaque == EncryptedValue():
            return self._end_reasoning()
        value = dumps(encode_encrypted_value(opaque))
        if self._has_message and not self._reasoning_id:  # opaque data without reasoning of its own
            return ENCRYPTED_VALUE % (b"", b"message", self._turn_message_id, value)
        begin, reasoning_id = self._start_reasoning(), self._reasoning_id
        return ENCRYPTED_VALUE % (begin + self._end_reasoning(), b"message", reasoning_id, value)

    def _conversation_started(self, event: e.ConversationStarted) -> bytes:
        thread, run = self.thread_id or event.conversation_id, self.run_id or event.message_id
        self._run_fields = b'"threadId":%b,"runId":%b' % (dumps(thread), dumps(run))
        self._message_id = event.message_id
        return b'data: {"type":"RUN_STARTED",%b}\n\n' % self._run_fields

    def _conversation_ended(self, event: e.ConversationEnded) -> bytes:
        pending = b""
        if event.stop_reason == "tool_calls" and self.knows_1_0:
            pending = b',"pendingToolCallIds":[%b]' % b",".join(self._pending_calls.values())
        used = event.usage
        fields = pending, event.stop_reason.encode(), used.input, used.output, used.cached
        return self._run_finished(SUCCESS % fields)

    def _run_finished(self, outcome: bytes) -> bytes:
        return b'%bdata: {"type":"RUN_FINISHED",%b,%b}\n\n' % (self._end_step(), self._run_fields, outcome)

    def _start_reasoning(self) -> bytes:
        if self._reasoning_id:
            return b""
        end, self._reasoning_count = self._end_text(), self._reasoning_count + 1
        self._reasoning_id = dumps(f"{self._message_id}-reasoning-{self._reasoning_count}")
        return REASONING_START % (end, self._reasoning_id, self._reasoning_id)

    def _end_reasoning(self) -> bytes:
        reasoning_id, self._reasoning_id = self._reasoning_id, b""
        return REASONING_END % (reasoning_id, reasoning_id) if reasoning_id else b""

    def _end_text(self) -> bytes:
        was_open, self._is_text_open = self._is_text_open, False
        return b'data: {"type":"TEXT_MESSAGE_END","messageId":%b}\n\n' % self._turn_message_id if was_open else b""

    def _end_call(self, call_id: str) -> bytes:
        call = self._open_calls.pop(call_id, b"")
        return b'data: {"type":"TOOL_CALL_END","toolCallId":%b}\n\n' % call if call else b""

    def _end_parts(self) -> bytes:
        return self._end_reasoning() + self._end_text()

    def _end_step(self) -> bytes:
        calls = b"".join([self._end_call(call_id) for call_id in tuple(self._open_calls)])
        step_name, self._step_name = self._step_name, b""
        end = b'data: {"type":"STEP_FINISHED","stepName":%b}\n\n' % step_name if step_name else b""
        return self._end_parts() + calls + end


def _signed(call_id: str, opaque: Opaque) -> bytes:
    value = encode_encrypted_value(EncryptedValue(opaque=opaque))
    return ENCRYPTED_VALUE % (b"", b"tool-call", dumps(call_id), dumps(value))


def _tool_finished(event: e.ToolFinished) -> bytes:
    content = single_line(event.result) or b"null"
    if event.status != "completed":
        content = b'{"error":%b}' % dumps(event.error or event.status)
    ids = dumps(f"result-{event.id}"), dumps(event.id)
    metadata = METADATA_KEY.encode(), event.status.encode(), event.duration_ms
    return TOOL_CALL_RESULT % (*ids, dumps(content.decode()), *metadata)
