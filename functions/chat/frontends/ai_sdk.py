"""AI SDK UI message stream v1, `POST /api/chat`: what `useChat` speaks in versions 5, 6 and 7 of the SDK.

Only chunk types that version 5 knows are sent: an unknown one ends the stream in the client.
https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol
"""

from collections.abc import Container, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Final

import msgspec
import orjson

from chat import events as e
from chat.frontends import sse
from chat.frontends.ai_sdk_history import Metadata, UIMessage, history
from chat.frontends.history import Id, MaxTokens, Temperature, ToolName, bounded, checked, settled
from chat.frontends.json_text import one_line, quoted, written
from chat.frontends.offer import chosen
from chat.messages import AssistantMessage, ChatRequest, Message, ToolMessage, ToolSchema
from chat.request import Request, parse
from chat.settings import Settings

__all__ = ["FRONTEND", "AiSdk", "AiSdkEncoder"]

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


# The body


class _Tool(msgspec.Struct, frozen=True):
    """A tool of the frontend, under its name, as assistant-ui sends them."""

    parameters: dict[str, Any]
    description: str | None = None


class _Body(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    messages: tuple[UIMessage, ...]
    id: Id = ""
    system: str | None = None
    model: Id | None = None
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None
    tools: dict[ToolName, _Tool] | None = None
    store: bool = False


def _continued(messages: tuple[UIMessage, ...]) -> str:
    """The id of the answer that goes on after the frontend has run its own tools, or nothing."""
    return messages[-1].id if messages and messages[-1].role == "assistant" else ""


def _new(messages: Sequence[Message], tools: Container[str]) -> tuple[Message, ...]:
    """Of a history, what the store cannot have: what came after the last turn, but for results of our own tools."""
    last = max((at for at, message in enumerate(messages) if isinstance(message, AssistantMessage)), default=-1)
    return tuple(m for m in messages[last + 1 :] if not isinstance(m, ToolMessage) or m.name in tools)


# The frames


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


class AiSdk:
    """The UI message stream."""

    path = "/api/chat"

    def read(self, request: Request, settings: Settings) -> tuple[ChatRequest, AiSdkEncoder]:
        """See `Frontend.read`. With `store`, only what is new in `messages` is taken from them."""
        body = parse(request.json_object(settings), _Body)
        tools = body.tools or {}
        messages = bounded(history(body.messages), settings)
        chat = ChatRequest(
            messages=_new(messages, tools) if body.store else settled(messages),
            conversation_id=body.id,
            message_id=_continued(body.messages),
            store=body.store,
            system=body.system,
            model_id=chosen(body.model, settings),
            temperature=body.temperature,
            max_tokens=body.max_tokens,
            client_tools=tuple(ToolSchema(name, t.description or "", t.parameters) for name, t in tools.items()),
        )
        return checked(chat, settings), AiSdkEncoder(frozenset(tools))

    def error_body(self, _status: int, code: str, message: str) -> bytes:
        """`{"error":{"code","message"}}`; the SDK shows the whole body as the error's message."""
        return b'{"error":{"code":%b,"message":%b}}' % (quoted(code), quoted(message))


FRONTEND: Final = AiSdk()
