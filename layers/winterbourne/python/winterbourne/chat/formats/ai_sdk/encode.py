"""AI SDK UI message stream v1, `POST /api/chat`: what `useChat` speaks in versions 5, 6 and 7 of the SDK.

Only chunk types that version 5 knows are sent: an unknown one ends the stream in the client.
https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final

import orjson

from winterbourne.chat.core import events as e
from winterbourne.chat.formats import sse
from winterbourne.chat.formats.ai_sdk.history import Metadata
from winterbourne.chat.formats.json_text import one_line, quoted, written

__all__ = ["AiSdkEncoder"]

HEADERS: Final[Mapping[str, str]] = MappingProxyType({**sse.HEADERS, "x-vercel-ai-ui-message-stream": "v1"})

FINISH_REASONS: Final[Mapping[e.StopReason, str]] = MappingProxyType(
    {
        "stop": "stop",
        "tool_calls": "tool-calls",
        "max_tokens": "length",
        "content_filter": "content-filter",
        "refusal": "content-filter",
        "max_turns": "other",
        "pause": "other",
    }
)


class AiSdkEncoder(sse.SseEncoder):
    """Events → UI message chunks. Knows which text and which reasoning part is open; the SDK throws where one is not.

    Args:
        client_tools: Names of the tools the frontend runs; its own code knows their types, so they are not `dynamic`.
    """

    headers = HEADERS

    def __init__(self, client_tools: frozenset[str] = frozenset()) -> None:
        self._client_tools = client_tools
        self._parts = 0
        self._text = b""
        self._reasoning = b""
        self._step = False

    # One function per event

    def _started(self, event: e.ConversationStarted) -> bytes:
        return sse.frame(b'{"type":"start","messageId":%b}' % quoted(event.message_id))

    def _turn_started(self, _: e.TurnStarted) -> bytes:
        self._step = True
        return sse.frame(b'{"type":"start-step"}')

    def _text_delta(self, event: e.TextDelta) -> bytes:
        if self._text:
            return b'data: {"type":"text-delta","id":%b,"delta":%b}\n\n' % (self._text, quoted(event.text))
        self._text = self._next_part()
        return sse.frame(b'{"type":"text-start","id":%b}' % self._text) + self._text_delta(event)

    def _reasoning_delta(self, event: e.ReasoningDelta) -> bytes:
        begin = self._begin_reasoning()
        delta = quoted(event.text)
        return begin + sse.frame(b'{"type":"reasoning-delta","id":%b,"delta":%b}' % (self._reasoning, delta))

    def _reasoning_ended(self, event: e.ReasoningEnded) -> bytes:
        opaque = b""
        if event.signature or event.redacted:
            metadata = Metadata(signature=event.signature, redacted=event.redacted).wrapped()
            opaque = b',"providerMetadata":%b' % written(metadata)
        begin = self._begin_reasoning() if opaque else b""
        return begin + self._end_reasoning(opaque)

    def _call_started(self, event: e.ToolCallStarted) -> bytes:
        call = self._call(event.id, event.name)
        return self._end_parts() + sse.frame(b'{"type":"tool-input-start",%b}' % call)

    def _arguments(self, event: e.ToolArgumentsDelta) -> bytes:
        text = quoted(event.json)
        return sse.frame(b'{"type":"tool-input-delta","toolCallId":%b,"inputTextDelta":%b}' % (quoted(event.id), text))

    def _call_ready(self, event: e.ToolCallReady) -> bytes:
        call = self._call(event.id, event.name)
        return sse.frame(b'{"type":"tool-input-available",%b,"input":%b}' % (call, _input(event.arguments)))

    def _progressed(self, event: e.ToolProgressed) -> bytes:
        return _output(event.id, one_line(event.data) + b',"preliminary":true')

    def _finished(self, event: e.ToolFinished) -> bytes:
        if event.status == "completed":
            return _output(event.id, one_line(event.result) or b"null")
        call, text = quoted(event.id), quoted(event.error or event.status)
        return sse.frame(b'{"type":"tool-output-error","toolCallId":%b,"errorText":%b,"dynamic":true}' % (call, text))

    def _turn_ended(self, _: e.TurnEnded) -> bytes:
        return self._end_step()

    def _ended(self, event: e.ConversationEnded) -> bytes:
        used = event.usage
        usage = written({"inputTokens": used.input, "outputTokens": used.output, "cachedInputTokens": used.cached})
        reason = FINISH_REASONS[event.stop_reason].encode()
        finish = b'{"type":"finish","finishReason":"%b","messageMetadata":{"usage":%b}}' % (reason, usage)
        return self._end_step() + sse.frame(finish) + sse.DONE

    def _failed(self, event: e.ConversationFailed) -> bytes:
        error = b'{"type":"error","errorText":%b}' % quoted(event.message)
        return self._end_step() + sse.frame(error) + sse.DONE

    def _stopped(self, event: e.ConversationStopped) -> bytes:
        return self._end_step() + sse.frame(b'{"type":"abort","reason":%b}' % quoted(event.reason)) + sse.DONE

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

    # Parts and steps

    def _next_part(self) -> bytes:
        self._parts += 1
        return b'"p%d"' % self._parts

    def _begin_reasoning(self) -> bytes:
        if self._reasoning:
            return b""
        end, self._reasoning = self._end_text(), self._next_part()
        return end + sse.frame(b'{"type":"reasoning-start","id":%b}' % self._reasoning)

    def _end_reasoning(self, opaque: bytes = b"") -> bytes:
        part, self._reasoning = self._reasoning, b""
        return sse.frame(b'{"type":"reasoning-end","id":%b%b}' % (part, opaque)) if part else b""

    def _end_text(self) -> bytes:
        part, self._text = self._text, b""
        return sse.frame(b'{"type":"text-end","id":%b}' % part) if part else b""

    def _end_parts(self) -> bytes:
        return self._end_reasoning() + self._end_text()

    def _end_step(self) -> bytes:
        was_open, self._step = self._step, False
        return self._end_parts() + (sse.frame(b'{"type":"finish-step"}') if was_open else b"")

    def _call(self, call_id: str, name: str) -> bytes:
        dynamic = b"" if name in self._client_tools else b',"dynamic":true'
        return b'"toolCallId":%b,"toolName":%b%b' % (quoted(call_id), quoted(name), dynamic)


def _input(arguments: str) -> bytes:
    """Arguments as the object they should be, or as the text they are."""
    try:
        value = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return quoted(arguments)
    return one_line(arguments.encode() or b"{}") if isinstance(value, dict) else quoted(arguments)


def _output(call_id: str, output: bytes) -> bytes:
    begin = b'{"type":"tool-output-available","toolCallId":%b,"dynamic":true,"output":%b}'
    return sse.frame(begin % (quoted(call_id), output))
