"""AG-UI 1.0, `POST /agui`: what CopilotKit and `@ag-ui/client` speak.

One model turn is one assistant message of theirs; its calls name it as their parent. What one opens must be closed
before the run may finish; two things are never open at once but calls. https://docs.ag-ui.com
"""

from typing import ClassVar

from winterbourne.chat.core import events as e
from winterbourne.chat.formats import sse
from winterbourne.chat.formats.ag_ui.history import OUR_KEY, encrypted
from winterbourne.chat.formats.json_text import one_line, quoted, written

__all__ = ["AgUiEncoder"]


class AgUiEncoder(sse.SseEncoder):
    """Events → AG-UI events. Knows what is open.

    Args:
        thread_id: As the client names the conversation; empty for ours.
        run_id: As the client names this answer; empty for our message id.
    """

    def __init__(self, thread_id: str = "", run_id: str = "") -> None:
        self._thread_id = thread_id
        self._run_id = run_id
        self._run = b""
        self._message_id = ""
        self._turn = b""
        self._step = b""
        self._text = False
        self._reasoning = b""
        self._reasonings = 0
        self._open_calls: dict[str, bytes] = {}
        self._unanswered: dict[str, bytes] = {}

    # One function per event

    def _started(self, event: e.ConversationStarted) -> bytes:
        thread, run = self._thread_id or event.conversation_id, self._run_id or event.message_id
        self._run = b'"threadId":%b,"runId":%b' % (quoted(thread), quoted(run))
        self._message_id = event.message_id
        return sse.frame(b'{"type":"RUN_STARTED",%b}' % self._run)

    def _turn_started(self, event: e.TurnStarted) -> bytes:
        self._turn = quoted(f"{self._message_id}-{event.turn}" if event.turn > 1 else self._message_id)
        self._step = b'"turn %d"' % event.turn
        return sse.frame(b'{"type":"STEP_STARTED","stepName":%b}' % self._step)

    def _text_delta(self, event: e.TextDelta) -> bytes:
        content = b'data: {"type":"TEXT_MESSAGE_CONTENT","messageId":%b,"delta":%b}\n\n'
        if self._text:
            return content % (self._turn, quoted(event.text))
        begin, self._text = self._end_reasoning(), True
        start = sse.frame(b'{"type":"TEXT_MESSAGE_START","messageId":%b,"role":"assistant"}' % self._turn)
        return begin + start + content % (self._turn, quoted(event.text))

    def _reasoning_delta(self, event: e.ReasoningDelta) -> bytes:
        delta = b'{"type":"REASONING_MESSAGE_CONTENT","messageId":%b,"delta":%b}'
        return self._begin_reasoning() + sse.frame(delta % (self._reasoning, quoted(event.text)))

    def _reasoning_ended(self, event: e.ReasoningEnded) -> bytes:
        if not event.signature and not event.redacted:
            return self._end_reasoning()
        begin, reasoning = self._begin_reasoning(), self._reasoning
        value = quoted(encrypted(event.signature, event.redacted))
        seal = b'{"type":"REASONING_ENCRYPTED_VALUE","subtype":"message","entityId":%b,"encryptedValue":%b}'
        return begin + self._end_reasoning() + sse.frame(seal % (reasoning, value))

    def _call_started(self, event: e.ToolCallStarted) -> bytes:
        call = self._open_calls[event.id] = self._unanswered[event.id] = quoted(event.id)
        start = b'{"type":"TOOL_CALL_START","toolCallId":%b,"toolCallName":%b,"parentMessageId":%b}'
        return self._end_parts() + sse.frame(start % (call, quoted(event.name), self._turn))

    def _arguments(self, event: e.ToolArgumentsDelta) -> bytes:
        text = quoted(event.json)
        return sse.frame(b'{"type":"TOOL_CALL_ARGS","toolCallId":%b,"delta":%b}' % (quoted(event.id), text))

    def _call_ready(self, event: e.ToolCallReady) -> bytes:
        return self._end_call(event.id)

    def _progressed(self, event: e.ToolProgressed) -> bytes:
        value = b'{"toolCallId":%b,"toolCallName":%b,"data":%b}' % (
            quoted(event.id),
            quoted(event.name),
            one_line(event.data),
        )
        return sse.frame(b'{"type":"CUSTOM","name":"tool_progress","value":%b}' % value)

    def _finished(self, event: e.ToolFinished) -> bytes:
        self._unanswered.pop(event.id, None)
        content = one_line(event.result) or b"null"
        if event.status != "completed":
            content = b'{"error":%b}' % quoted(event.error or event.status)
        metadata = b'{"%b":{"status":"%b","durationMs":%d}}' % (
            OUR_KEY.encode(),
            event.status.encode(),
            event.duration_ms,
        )
        result = b'{"type":"TOOL_CALL_RESULT","messageId":%b,"toolCallId":%b,"content":%b,"role":"tool","metadata":%b}'
        text = quoted(content.decode())
        return sse.frame(result % (quoted(f"result-{event.id}"), quoted(event.id), text, metadata))

    def _turn_ended(self, _: e.TurnEnded) -> bytes:
        return self._end_step()

    def _ended(self, event: e.ConversationEnded) -> bytes:
        pending = b""
        if event.stop_reason == "tool_calls":
            pending = b',"pendingToolCallIds":[%b]' % b",".join(self._unanswered.values())
        used = event.usage
        usage = written({"inputTokens": used.input, "outputTokens": used.output, "cachedInputTokens": used.cached})
        outcome = b'"outcome":{"type":"success"%b},"result":{"stopReason":"%b"},"usage":[%b]' % (
            pending,
            event.stop_reason.encode(),
            usage,
        )
        return self._end_step() + sse.frame(b'{"type":"RUN_FINISHED",%b,%b}' % (self._run, outcome))

    def _failed(self, event: e.ConversationFailed) -> bytes:
        error = b'{"type":"RUN_ERROR","message":%b,"code":%b}' % (quoted(event.message), quoted(event.code))
        return self._end_step() + sse.frame(error)

    def _stopped(self, event: e.ConversationStopped) -> bytes:
        outcome = b'"outcome":{"type":"cancelled"},"result":{"stopReason":"%b"}' % event.reason.encode()
        return self._end_step() + sse.frame(b'{"type":"RUN_FINISHED",%b,%b}' % (self._run, outcome))

    frames: ClassVar[sse.Frames] = {
        e.ConversationStarted: _started,
        e.TurnStarted: _turn_started,
        e.TextDelta: _text_delta,
        e.ReasoningDelta: _reasoning_delta,
        e.ReasoningEnded: _reasoning_ended,
        e.ToolCallStarted: _call_started,
        e.ToolArgumentsDelta: _arguments,
        e.ToolCallReady: _call_ready,
        e.ToolQueued: sse.nothing,
        e.ToolStarted: sse.nothing,
        e.ToolProgressed: _progressed,
        e.ToolFinished: _finished,
        e.TurnEnded: _turn_ended,
        e.ConversationEnded: _ended,
        e.ConversationFailed: _failed,
        e.ConversationStopped: _stopped,
    }

    # What is open

    def _begin_reasoning(self) -> bytes:
        if self._reasoning:
            return b""
        end, self._reasonings = self._end_text(), self._reasonings + 1
        self._reasoning = quoted(f"{self._message_id}-reasoning-{self._reasonings}")
        start = sse.frame(b'{"type":"REASONING_START","messageId":%b}' % self._reasoning)
        message = b'{"type":"REASONING_MESSAGE_START","messageId":%b,"role":"reasoning"}' % self._reasoning
        return end + start + sse.frame(message)

    def _end_reasoning(self) -> bytes:
        span, self._reasoning = self._reasoning, b""
        if not span:
            return b""
        end = sse.frame(b'{"type":"REASONING_MESSAGE_END","messageId":%b}' % span)
        return end + sse.frame(b'{"type":"REASONING_END","messageId":%b}' % span)

    def _end_text(self) -> bytes:
        was_open, self._text = self._text, False
        return sse.frame(b'{"type":"TEXT_MESSAGE_END","messageId":%b}' % self._turn) if was_open else b""

    def _end_call(self, call_id: str) -> bytes:
        call = self._open_calls.pop(call_id, b"")
        return sse.frame(b'{"type":"TOOL_CALL_END","toolCallId":%b}' % call) if call else b""

    def _end_parts(self) -> bytes:
        return self._end_reasoning() + self._end_text()

    def _end_step(self) -> bytes:
        calls = b"".join([self._end_call(call_id) for call_id in tuple(self._open_calls)])
        step, self._step = self._step, b""
        end = sse.frame(b'{"type":"STEP_FINISHED","stepName":%b}' % step) if step else b""
        return self._end_parts() + calls + end
