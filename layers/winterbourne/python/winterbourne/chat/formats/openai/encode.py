"""Encodes events as an OpenAI chat completion, streaming (chunks) or not (one JSON body), and errors.

Independent of how requests are decoded.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, assert_never

import msgspec
from msgspec import UnsetType

from winterbourne.chat.core import events as e
from winterbourne.chat.core.answer_messages import messages_of
from winterbourne.chat.core.events import EventBatch
from winterbourne.chat.core.messages import AssistantMessage, Opaque, Reasoning, Source, Text, ToolCall
from winterbourne.chat.errors import AnswerLost
from winterbourne.chat.formats import sse
from winterbourne.chat.formats.json_text import dumps
from winterbourne.override import override

__all__ = ["OpenAiChunkEncoder", "OpenAiCompletionEncoder", "encode_error_response"]

FINISH_REASONS: Final[Mapping[e.StopReason, str]] = {
    "stop": "stop",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}
"""Every other reason is a limit: `length`."""

CHUNK: Final = b'%b%b{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]%b}\n\n'
TOOL_CALL: Final = b'{"index":0,"delta":{"tool_calls":[{"index":'
TOOL_NAME: Final = sse.PerTool(b',"type":"function","function":{"name":%b,"arguments":""}}]}')
REST: Final = b',"logprobs":null,"finish_reason":null}]}\n\n'

TURN_SEPARATOR: Final = "\n\n"
"""Joins the texts of an answer's turns: the format has one text per answer, and server-side tools are not shown."""

ERROR_TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


JSON_HEADERS: Final[Mapping[str, str]] = {"content-type": "application/json", "x-content-type-options": "nosniff"}


class _TurnReasoning(msgspec.Struct):
    """What is opaque in a turn, as fields of a message. Only that of the last turn is sent: the one the client goes on.

    Attributes:
        pieces: The text of the block that is open.
        fields: What is known so far: `thinking_blocks` in LiteLLM's words, all else under the name it came by.
    """

    pieces: list[str] = []
    fields: dict[str, Any] = {}

    def end_block(self, event: e.ReasoningEnded | Reasoning) -> None:
        """Take a block whose text is complete."""
        text = "".join(self.pieces)
        self.pieces.clear()
        if event.redacted:
            self._extend("thinking_blocks", [{"type": "redacted_thinking", "data": event.redacted}])
        elif event.signature:
            self._extend("thinking_blocks", [{"type": "thinking", "thinking": text, "signature": event.signature}])
        for name, value in _fields(event.opaque).items():
            self._extend(name, value)

    def _extend(self, name: str, value: Any) -> None:
        known = self.fields.get(name)
        self.fields[name] = [*known, *value] if isinstance(known, list) else value


class _CitedText(msgspec.Struct):
    """Which text of an answer was cited for last: what came since the citation before."""

    _start: int = 0
    _end: int = 0

    def annotation(self, source: Source, length: int) -> dict[str, Any]:
        """A source in the only form that clients of this API know, and check: a document is one without a URL.

        It is cited for an answer of so many characters.
        """
        if length > self._end:
            self._start, self._end = self._end, length
        place = {"start_index": self._start, "end_index": self._end, "url": source.url, "title": source.title}
        return {"type": "url_citation", "url_citation": place}


def _fields(opaque: Opaque | UnsetType) -> dict[str, Any]:
    return msgspec.json.decode(opaque.fields, type=dict[str, Any]) if opaque and opaque.fields else {}


class OpenAiChunkEncoder(sse.SseEncoder):
    """Encodes events as chat completion chunks.

    The first chunk, which says nothing, goes out with the second: until then a failure can have a status of its own.

    Attributes:
        status: That of a failed answer once its terminal event is encoded, if nothing was sent before.
        headers: Likewise.
        model: The name that the caller used; if empty, the name in ConversationStarted is sent.
        client_tools: Names of the caller's own tools.
        include_usage: Whether the caller asked for a last chunk with token counts.
        created: Unix time in seconds.
    """

    model: str
    client_tools: frozenset[str]
    include_usage: bool
    created: int
    status: int = 200  # type: ignore[misc]
    headers: Mapping[str, str] = msgspec.field(default_factory=lambda: sse.HEADERS)  # type: ignore[misc]
    _opening: bytes = b""
    _call_indexes: dict[str, int] = msgspec.field(default_factory=dict)
    _chunk_prefix: bytes = b""
    _around_content: tuple[bytes, bytes] = (b"", b"")
    _around_reasoning: tuple[bytes, bytes] = (b"", b"")
    _separator: str = ""
    _is_first: bool = True  # whether the next text is its turn's first
    _length: int = 0  # of the text so far, in characters
    _reasoning: _TurnReasoning = msgspec.field(default_factory=_TurnReasoning)
    _citing: _CitedText = msgspec.field(default_factory=_CitedText)

    @override
    def _frames(self, event: sse.RareEvent) -> bytes:  # noqa: C901, PLR0911, PLR0912 - one case for each event
        match event:
            case e.ReasoningEnded():
                self._reasoning.end_block(event)
                return b""
            case e.ToolCallSigned(id_, opaque):
                return self._call_fields(id_, opaque)
            case e.TurnStarted():
                self._reasoning = _TurnReasoning()
                self._separator, self._is_first = TURN_SEPARATOR if self._length else "", True
                return b""
            case e.ConversationStarted():
                return self._conversation_started(event)
            case e.ConversationEnded():
                return self._conversation_ended(event)
            case e.ConversationFailed():
                return self._conversation_failed(event)
            case e.ConversationStopped(reason):
                # The format has no reason for this: `length` says that more would have come, `stopped` why it did not.
                return self._chunk(b"{}", b'"length"', b',"stopped":"%b"' % reason.encode()) + sse.DONE
            case e.TurnEnded():
                return b""
            case e.SourceCited(source):
                return self._chunk(b'{"annotations":[%b]}' % dumps(self._citing.annotation(source, self._length)))
            case e.TurnRetracted():  # only of what is not shown here
                self._reasoning = _TurnReasoning()
                return b""
            case e.ToolCallDropped(id_):
                return self._tool_call_dropped(id_)
            case e.ToolApprovalRequested():  # of an answer that another client began: see `ChatRequest.approvals`
                return b""
            case _:
                assert_never(event)

    def _text_delta(self, event: e.TextDelta, text: sse.Text) -> bytes:
        if self._is_first:
            return self._first_text(text(self._separator + event.text), event)
        content = text(event.text)
        self._length += len(event.text)
        return content.join(self._around_content)

    def _first_text(self, content: bytes, event: e.TextDelta) -> bytes:
        self._length += len(self._separator) + len(event.text)
        self._separator, self._is_first = "", False
        return self._held_back() + content.join(self._around_content)

    def _reasoning_delta(self, event: e.ReasoningDelta, text: sse.Text) -> bytes:
        content = text(event.text)
        self._reasoning.pieces.append(event.text)
        frame = content.join(self._around_reasoning)
        return self._held_back() + frame if self._opening else frame

    def _conversation_started(self, event: e.ConversationStarted) -> bytes:
        fields = dumps(f"chatcmpl-{event.message_id}"), self.created, dumps(self.model or event.model)
        template = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":['
        self._chunk_prefix = template % fields
        self._around_content = self._around_value(b'{"content":')
        self._around_reasoning = self._around_value(b'{"reasoning_content":')
        self._opening = self._chunk(b'{"role":"assistant","content":""}')
        return b""

    def _conversation_failed(self, event: e.ConversationFailed) -> bytes:
        if self._held_back():  # nothing is on the wire yet
            self.status, self.headers = event.status, _failure_headers(event)
            return _encode_failure(event)
        return b"data: %b\n\n%b" % (_encode_failure(event), sse.DONE)

    @override
    def _held_back(self) -> bytes:
        opening, self._opening = self._opening, b""
        return opening

    def _call_started(self, event: e.ToolCallStarted, text: sse.Text) -> bytes:
        if event.name not in self.client_tools:
            return b""
        index, call_id = len(self._call_indexes), text(event.id)
        self._call_indexes[event.id] = index
        begin = self._held_back() + self._chunk_prefix if self._opening else self._chunk_prefix
        return b"".join((begin, TOOL_CALL, text(index), b',"id":', call_id, TOOL_NAME[event.name], REST))

    def _arguments_delta(self, event: e.ToolArgumentsDelta, text: sse.Text) -> bytes:
        return self._arguments(event.id, text(event.json))

    def _call_ready(self, event: e.ToolCallReady, _: sse.Text) -> bytes:
        rest = b"" if event.arguments else self._arguments(event.id, b'"{}"')  # others were sent as deltas
        return rest + (self._call_fields(event.id, event.opaque) if event.opaque else b"")

    def _arguments(self, call_id: str, value: bytes) -> bytes:
        if call_id not in self._call_indexes:
            return b""
        begin = b'{"tool_calls":[{"index":%d,"function":{"arguments":' % self._call_indexes[call_id]
        self._call_id, self._around_arguments = call_id, self._around_value(begin, b"}}]}")
        return value.join(self._around_arguments)

    def _tool_call_dropped(self, call_id: str) -> bytes:
        if call_id in self._call_indexes:  # the client would run what it has of it
            raise AnswerLost("this client cannot drop a call that has begun")
        return b""

    def _call_fields(self, call_id: str, opaque: Opaque) -> bytes:
        if call_id not in self._call_indexes or not opaque.fields:
            return b""
        call = b'{"index":%d,%b' % (self._call_indexes[call_id], opaque.fields.encode()[1:])
        return self._chunk(b'{"tool_calls":[%b]}' % call)

    def _conversation_ended(self, event: e.ConversationEnded) -> bytes:
        # In one piece: the SDK cannot join lists whose entries have no index.
        last = self._chunk(dumps(self._reasoning.fields)) if self._reasoning.fields else b""
        last += self._chunk(b"{}", b'"%b"' % FINISH_REASONS.get(event.stop_reason, "length").encode())
        if self.include_usage:
            last += b'%b],"usage":%b}\n\n' % (self._chunk_prefix, dumps(_usage(event.usage)))
        return last + sse.DONE

    def _chunk(self, delta: bytes, finish_reason: bytes = b"null", extra_fields: bytes = b"") -> bytes:
        begin = self._held_back() if self._opening else b""
        return CHUNK % (begin, self._chunk_prefix, delta, finish_reason, extra_fields)

    def _around_value(self, begin: bytes, end: bytes = b"}") -> tuple[bytes, bytes]:
        """What a chunk has before and after the value of a field."""
        head = b'%b{"index":0,"delta":%b' % (self._chunk_prefix, begin)
        return head, end + REST

    quick: ClassVar[Mapping[type, sse.Quick]] = sse.QUICK | {
        e.TextDelta: _text_delta,
        e.ReasoningDelta: _reasoning_delta,
        e.ToolArgumentsDelta: _arguments_delta,
        e.ToolCallStarted: _call_started,
        e.ToolCallReady: _call_ready,
    }


class OpenAiCompletionEncoder(msgspec.Struct):
    """Encodes events as one chat completion, returned for the terminal event.

    Attributes:
        model: As for OpenAiChunkEncoder.
        client_tools: Likewise.
        created: Likewise.
        status: That of a failed answer once its terminal event is encoded.
        headers: Likewise.
    """

    heartbeat: ClassVar[bytes] = b""

    model: str
    client_tools: frozenset[str]
    created: int
    status: int = 200
    headers: Mapping[str, str] = msgspec.field(default_factory=lambda: JSON_HEADERS)
    _events: list[e.ChatEvent] = []

    def encode(self, batch: EventBatch) -> bytes:
        """Return nothing until the terminal event, then the whole body."""
        self._events += batch
        match batch[-1] if batch else None:
            case e.ConversationEnded(stop_reason, usage):
                return self._completion(FINISH_REASONS.get(stop_reason, "length"), usage)
            case e.ConversationStopped(reason):
                return self._completion("length", e.Usage(), stopped=reason)
            case e.ConversationFailed() as failed:
                self.status, self.headers = failed.status, _failure_headers(failed)
                return _encode_failure(failed)
        return b""

    def _completion(self, finish_reason: str, usage: e.Usage, **extra_fields: str) -> bytes:
        started = next(event for event in self._events if isinstance(event, e.ConversationStarted))
        choice = {"index": 0, "message": self._message(), "logprobs": None, "finish_reason": finish_reason}
        head = {"id": f"chatcmpl-{started.message_id}", "object": "chat.completion", "created": self.created}
        body = {"model": self.model or started.model, "choices": [choice], "usage": _usage(usage)}
        return dumps({**head, **body, **extra_fields})

    def _message(self) -> dict[str, Any]:
        turns = [message for message in messages_of(self._events) if isinstance(message, AssistantMessage)]
        calls = [call for turn in turns for call in turn.tool_calls if call.name in self.client_tools]
        text = TURN_SEPARATOR.join(turn.text for turn in turns if turn.text) or (None if calls else "")
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if annotations := _annotations(turns):
            message["annotations"] = annotations
        blocks = [[part for part in turn.parts if isinstance(part, Reasoning)] for turn in turns]
        message["reasoning_content"] = "".join(block.text for turn in blocks for block in turn)
        opaque = _TurnReasoning()
        for block in blocks[-1] if blocks else ():
            opaque.pieces.append(block.text)
            opaque.end_block(block)
        if calls:
            message["tool_calls"] = [*map(_tool_call, calls)]
        return {name: value for name, value in message.items() if value != "" or name == "content"} | opaque.fields


def _annotations(turns: Iterable[AssistantMessage]) -> list[dict[str, Any]]:
    citing, annotations, length = _CitedText(), list[dict[str, Any]](), 0
    for turn in turns:
        if turn.text and length:
            length += len(TURN_SEPARATOR)
        for part in turn.parts:
            if isinstance(part, Text):
                length += len(part.text)
            elif isinstance(part, Source):
                annotations.append(citing.annotation(part, length))
    return annotations


def _tool_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments or "{}"}
    return {"id": call.id, "type": "function", "function": function, **_fields(call.opaque)}


def _usage(usage: e.Usage) -> dict[str, Any]:
    """With the fields that OpenAI's has; `cost`, in dollars, is that of OpenRouter."""
    told: dict[str, Any] = {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
    }
    if usage.cache_write:
        told["prompt_tokens_details"]["cache_write_tokens"] = usage.cache_write
    if usage.reasoning:
        told["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return told if usage.cost is None else told | {"cost": usage.cost}


def encode_error_response(status: int, code: str, message: str, request_id: str) -> tuple[str, bytes]:
    """The content type and the format's error object, as the SDKs expect it; `request_id` is an addition."""
    error_type = ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    fields = dumps(message), error_type.encode(), dumps(code), dumps(request_id)
    body = b'{"error":{"message":%b,"type":"%b","param":null,"code":%b,"request_id":%b}}' % fields
    return JSON_HEADERS["content-type"], body


def _encode_failure(event: e.ConversationFailed) -> bytes:
    return encode_error_response(event.status, event.code, event.message, event.request_id)[1]


def _failure_headers(event: e.ConversationFailed) -> Mapping[str, str]:
    """With whether the SDKs, which repeat every 5xx twice, should do so, and after how many seconds."""
    headers = {**JSON_HEADERS, "x-error-code": event.code, "x-request-id": event.request_id}
    if event.is_transient:
        return headers | {"retry-after": str(math.ceil(event.retry_after_s or 1))}
    return headers | {"x-should-retry": "false"}
