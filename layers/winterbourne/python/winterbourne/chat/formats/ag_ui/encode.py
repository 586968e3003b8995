"""Encodes events as AG-UI 1.0 events, which CopilotKit and `@ag-ui/client` read.

One model turn is one AG-UI assistant message, the parent of the turn's tool calls. Everything that was opened must be
closed before the run finishes. A text or reasoning message is closed before anything else opens; tool calls may be
open side by side. https://docs.ag-ui.com
"""

from typing import ClassVar

from winterbourne.chat.core import events as e
from winterbourne.chat.formats import sse
from winterbourne.chat.formats.ag_ui.history import METADATA_KEY, encode_encrypted_value
from winterbourne.chat.formats.json_text import dumps, dumps_str, single_line

__all__ = ["AgUiEncoder"]


class AgUiEncoder(sse.SseEncoder):
    """Encodes events as AG-UI events. A state machine: it tracks the open step, messages and tool calls.

    Args:
        thread_id: The client's id for the conversation; if empty, our conversation id is sent.
        run_id: The client's id for this answer; if empty, our message id is sent.
    """

    def __init__(self, thread_id: str = "", run_id: str = "") -> None:
        self._thread_id = thread_id
        self._run_id = run_id
        self._run_fields = b""
        self._message_id = ""
        self._turn_message_id = b""
        self._step_name = b""
        self._is_text_open = False
        self._reasoning_id = b""
        self._reasoning_count = 0
        self._open_calls: dict[str, bytes] = {}
        self._pending_calls: dict[str, bytes] = {}

    def _conversation_started(self, event: e.ConversationStarted) -> bytes:
        thread, run = self._thread_id or event.conversation_id, self._run_id or event.message_id
        self._run_fields = b'"threadId":%b,"runId":%b' % (dumps_str(thread), dumps_str(run))
        self._message_id = event.message_id
        return sse.frame(b'{"type":"RUN_STARTED",%b}' % self._run_fields)

    def _turn_started(self, event: e.TurnStarted) -> bytes:
        self._turn_message_id = dumps_str(f"{self._message_id}-{event.turn}" if event.turn > 1 else self._message_id)
        self._step_name = b'"turn %d"' % event.turn
        return sse.frame(b'{"type":"STEP_STARTED","stepName":%b}' % self._step_name)

    def _text_delta(self, event: e.TextDelta) -> bytes:
        content = b'data: {"type":"TEXT_MESSAGE_CONTENT","messageId":%b,"delta":%b}\n\n'
        if self._is_text_open:
            return content % (self._turn_message_id, dumps_str(event.text))
        begin, self._is_text_open = self._end_reasoning(), True
        start = sse.frame(b'{"type":"TEXT_MESSAGE_START","messageId":%b,"role":"assistant"}' % self._turn_message_id)
        return begin + start + content % (self._turn_message_id, dumps_str(event.text))

    def _reasoning_delta(self, event: e.ReasoningDelta) -> bytes:
        delta = b'{"type":"REASONING_MESSAGE_CONTENT","messageId":%b,"delta":%b}'
        return self._start_reasoning() + sse.frame(delta % (self._reasoning_id, dumps_str(event.text)))

    def _reasoning_ended(self, event: e.ReasoningEnded) -> bytes:
        if not event.signature and not event.redacted:
            return self._end_reasoning()
        begin, reasoning_id = self._start_reasoning(), self._reasoning_id
        value = dumps_str(encode_encrypted_value(event.signature, event.redacted))
        template = b'{"type":"REASONING_ENCRYPTED_VALUE","subtype":"message","entityId":%b,"encryptedValue":%b}'
        return begin + self._end_reasoning() + sse.frame(template % (reasoning_id, value))

    def _tool_call_started(self, event: e.ToolCallStarted) -> bytes:
        call = self._open_calls[event.id] = self._pending_calls[event.id] = dumps_str(event.id)
        start = b'{"type":"TOOL_CALL_START","toolCallId":%b,"toolCallName":%b,"parentMessageId":%b}'
        return self._end_parts() + sse.frame(start % (call, dumps_str(event.name), self._turn_message_id))

    def _tool_arguments_delta(self, event: e.ToolArgumentsDelta) -> bytes:
        text = dumps_str(event.json)
        return sse.frame(b'{"type":"TOOL_CALL_ARGS","toolCallId":%b,"delta":%b}' % (dumps_str(event.id), text))

    def _tool_call_ready(self, event: e.ToolCallReady) -> bytes:
        return self._end_call(event.id)

    def _tool_progressed(self, event: e.ToolProgressed) -> bytes:
        value = b'{"toolCallId":%b,"toolCallName":%b,"data":%b}' % (
            dumps_str(event.id),
            dumps_str(event.name),
            single_line(event.data),
        )
        return sse.frame(b'{"type":"CUSTOM","name":"tool_progress","value":%b}' % value)

    def _tool_finished(self, event: e.ToolFinished) -> bytes:
        self._pending_calls.pop(event.id, None)
        content = single_line(event.result) or b"null"
        if event.status != "completed":
            content = b'{"error":%b}' % dumps_str(event.error or event.status)
        metadata = b'{"%b":{"status":"%b","durationMs":%d}}' % (
            METADATA_KEY.encode(),
            event.status.encode(),
            event.duration_ms,
        )
        result = b'{"type":"TOOL_CALL_RESULT","messageId":%b,"toolCallId":%b,"content":%b,"role":"tool","metadata":%b}'
        text = dumps_str(content.decode())
        return sse.frame(result % (dumps_str(f"result-{event.id}"), dumps_str(event.id), text, metadata))

    def _turn_ended(self, _: e.TurnEnded) -> bytes:
        return self._end_step()

    def _conversation_ended(self, event: e.ConversationEnded) -> bytes:
        pending = b""
        if event.stop_reason == "tool_calls":
            pending = b',"pendingToolCallIds":[%b]' % b",".join(self._pending_calls.values())
        used = event.usage
        usage = dumps({"inputTokens": used.input, "outputTokens": used.output, "cachedInputTokens": used.cached})
        outcome = b'"outcome":{"type":"success"%b},"result":{"stopReason":"%b"},"usage":[%b]' % (
            pending,
            event.stop_reason.encode(),
            usage,
        )
        return self._end_step() + sse.frame(b'{"type":"RUN_FINISHED",%b,%b}' % (self._run_fields, outcome))

    def _conversation_failed(self, event: e.ConversationFailed) -> bytes:
        error = b'{"type":"RUN_ERROR","message":%b,"code":%b}' % (dumps_str(event.message), dumps_str(event.code))
        return self._end_step() + sse.frame(error)

    def _conversation_stopped(self, event: e.ConversationStopped) -> bytes:
        outcome = b'"outcome":{"type":"cancelled"},"result":{"stopReason":"%b"}' % event.reason.encode()
        return self._end_step() + sse.frame(b'{"type":"RUN_FINISHED",%b,%b}' % (self._run_fields, outcome))

    dispatch_table: ClassVar[sse.DispatchTable] = {
        e.ConversationStarted: _conversation_started,
        e.TurnStarted: _turn_started,
        e.TextDelta: _text_delta,
        e.ReasoningDelta: _reasoning_delta,
        e.ReasoningEnded: _reasoning_ended,
        e.ToolCallStarted: _tool_call_started,
        e.ToolArgumentsDelta: _tool_arguments_delta,
        e.ToolCallReady: _tool_call_ready,
        e.ToolQueued: sse.no_frames,
        e.ToolStarted: sse.no_frames,
        e.ToolProgressed: _tool_progressed,
        e.ToolFinished: _tool_finished,
        e.TurnEnded: _turn_ended,
        e.ConversationEnded: _conversation_ended,
        e.ConversationFailed: _conversation_failed,
        e.ConversationStopped: _conversation_stopped,
    }

    def _start_reasoning(self) -> bytes:
        if self._reasoning_id:
            return b""
        end, self._reasoning_count = self._end_text(), self._reasoning_count + 1
        self._reasoning_id = dumps_str(f"{self._message_id}-reasoning-{self._reasoning_count}")
        start = sse.frame(b'{"type":"REASONING_START","messageId":%b}' % self._reasoning_id)
        message = b'{"type":"REASONING_MESSAGE_START","messageId":%b,"role":"reasoning"}' % self._reasoning_id
        return end + start + sse.frame(message)

    def _end_reasoning(self) -> bytes:
        reasoning_id, self._reasoning_id = self._reasoning_id, b""
        if not reasoning_id:
            return b""
        end = sse.frame(b'{"type":"REASONING_MESSAGE_END","messageId":%b}' % reasoning_id)
        return end + sse.frame(b'{"type":"REASONING_END","messageId":%b}' % reasoning_id)

    def _end_text(self) -> bytes:
        was_open, self._is_text_open = self._is_text_open, False
        return sse.frame(b'{"type":"TEXT_MESSAGE_END","messageId":%b}' % self._turn_message_id) if was_open else b""

    def _end_call(self, call_id: str) -> bytes:
        call = self._open_calls.pop(call_id, b"")
        return sse.frame(b'{"type":"TOOL_CALL_END","toolCallId":%b}' % call) if call else b""

    def _end_parts(self) -> bytes:
        return self._end_reasoning() + self._end_text()

    def _end_step(self) -> bytes:
        calls = b"".join([self._end_call(call_id) for call_id in tuple(self._open_calls)])
        step_name, self._step_name = self._step_name, b""
        end = sse.frame(b'{"type":"STEP_FINISHED","stepName":%b}' % step_name) if step_name else b""
        return self._end_parts() + calls + end
