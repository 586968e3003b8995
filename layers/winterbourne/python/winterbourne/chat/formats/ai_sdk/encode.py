"""Encodes events as the AI SDK UI message stream v1, which `useChat` reads in versions 5, 6 and 7 of the SDK.

Only chunk types that version 5 knows are sent: an unknown type makes the client end the stream.
https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final

import orjson

from winterbourne.chat.core import events as e
from winterbourne.chat.formats import sse
from winterbourne.chat.formats.ai_sdk.history import ReasoningMetadata
from winterbourne.chat.formats.json_text import dumps, dumps_str, single_line

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
    """Encodes events as UI message chunks.

    A state machine: it tracks the open text and reasoning part, because the SDK throws on a delta for a part that is
    not open.

    Args:
        client_tools: Names of the tools that the client runs; it knows their types, so they are not sent as `dynamic`.
    """

    headers = HEADERS

    def __init__(self, client_tools: frozenset[str] = frozenset()) -> None:
        self._client_tools = client_tools
        self._part_count = 0
        self._text_id = b""
        self._reasoning_id = b""
        self._is_step_open = False

    def _conversation_started(self, event: e.ConversationStarted) -> bytes:
        return sse.frame(b'{"type":"start","messageId":%b}' % dumps_str(event.message_id))

    def _turn_started(self, _: e.TurnStarted) -> bytes:
        self._is_step_open = True
        return sse.frame(b'{"type":"start-step"}')

    def _text_delta(self, event: e.TextDelta) -> bytes:
        if self._text_id:
            return b'data: {"type":"text-delta","id":%b,"delta":%b}\n\n' % (self._text_id, dumps_str(event.text))
        self._text_id = self._next_part_id()
        return sse.frame(b'{"type":"text-start","id":%b}' % self._text_id) + self._text_delta(event)

    def _reasoning_delta(self, event: e.ReasoningDelta) -> bytes:
        begin = self._start_reasoning()
        delta = dumps_str(event.text)
        return begin + sse.frame(b'{"type":"reasoning-delta","id":%b,"delta":%b}' % (self._reasoning_id, delta))

    def _reasoning_ended(self, event: e.ReasoningEnded) -> bytes:
        provider_metadata = b""
        if event.signature or event.redacted:
            metadata = ReasoningMetadata(signature=event.signature, redacted=event.redacted).to_provider_metadata()
            provider_metadata = b',"providerMetadata":%b' % dumps(metadata)
        begin = self._start_reasoning() if provider_metadata else b""
        return begin + self._end_reasoning(provider_metadata)

    def _tool_call_started(self, event: e.ToolCallStarted) -> bytes:
        call = self._tool_call_fields(event.id, event.name)
        return self._end_parts() + sse.frame(b'{"type":"tool-input-start",%b}' % call)

    def _tool_arguments_delta(self, event: e.ToolArgumentsDelta) -> bytes:
        text = dumps_str(event.json)
        return sse.frame(
            b'{"type":"tool-input-delta","toolCallId":%b,"inputTextDelta":%b}' % (dumps_str(event.id), text)
        )

    def _tool_call_ready(self, event: e.ToolCallReady) -> bytes:
        call = self._tool_call_fields(event.id, event.name)
        return sse.frame(b'{"type":"tool-input-available",%b,"input":%b}' % (call, _tool_input(event.arguments)))

    def _tool_progressed(self, event: e.ToolProgressed) -> bytes:
        return _tool_output_available(event.id, single_line(event.data) + b',"preliminary":true')

    def _tool_finished(self, event: e.ToolFinished) -> bytes:
        if event.status == "completed":
            return _tool_output_available(event.id, single_line(event.result) or b"null")
        call, text = dumps_str(event.id), dumps_str(event.error or event.status)
        return sse.frame(b'{"type":"tool-output-error","toolCallId":%b,"errorText":%b,"dynamic":true}' % (call, text))

    def _turn_ended(self, _: e.TurnEnded) -> bytes:
        return self._end_step()

    def _conversation_ended(self, event: e.ConversationEnded) -> bytes:
        used = event.usage
        usage = dumps({"inputTokens": used.input, "outputTokens": used.output, "cachedInputTokens": used.cached})
        reason = FINISH_REASONS[event.stop_reason].encode()
        finish = b'{"type":"finish","finishReason":"%b","messageMetadata":{"usage":%b}}' % (reason, usage)
        return self._end_step() + sse.frame(finish) + sse.DONE

    def _conversation_failed(self, event: e.ConversationFailed) -> bytes:
        error = b'{"type":"error","errorText":%b}' % dumps_str(event.message)
        return self._end_step() + sse.frame(error) + sse.DONE

    def _conversation_stopped(self, event: e.ConversationStopped) -> bytes:
        return self._end_step() + sse.frame(b'{"type":"abort","reason":%b}' % dumps_str(event.reason)) + sse.DONE

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

    def _next_part_id(self) -> bytes:
        self._part_count += 1
        return b'"p%d"' % self._part_count

    def _start_reasoning(self) -> bytes:
        if self._reasoning_id:
            return b""
        end, self._reasoning_id = self._end_text(), self._next_part_id()
        return end + sse.frame(b'{"type":"reasoning-start","id":%b}' % self._reasoning_id)

    def _end_reasoning(self, provider_metadata: bytes = b"") -> bytes:
        part_id, self._reasoning_id = self._reasoning_id, b""
        return sse.frame(b'{"type":"reasoning-end","id":%b%b}' % (part_id, provider_metadata)) if part_id else b""

    def _end_text(self) -> bytes:
        part_id, self._text_id = self._text_id, b""
        return sse.frame(b'{"type":"text-end","id":%b}' % part_id) if part_id else b""

    def _end_parts(self) -> bytes:
        return self._end_reasoning() + self._end_text()

    def _end_step(self) -> bytes:
        was_open, self._is_step_open = self._is_step_open, False
        return self._end_parts() + (sse.frame(b'{"type":"finish-step"}') if was_open else b"")

    def _tool_call_fields(self, call_id: str, name: str) -> bytes:
        dynamic = b"" if name in self._client_tools else b',"dynamic":true'
        return b'"toolCallId":%b,"toolName":%b%b' % (dumps_str(call_id), dumps_str(name), dynamic)


def _tool_input(arguments: str) -> bytes:
    """The arguments as they are if they are a JSON object, otherwise as a JSON string."""
    try:
        value = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return dumps_str(arguments)
    return single_line(arguments.encode() or b"{}") if isinstance(value, dict) else dumps_str(arguments)


def _tool_output_available(call_id: str, output: bytes) -> bytes:
    begin = b'{"type":"tool-output-available","toolCallId":%b,"dynamic":true,"output":%b}'
    return sse.frame(begin % (dumps_str(call_id), output))
