"""Encodes events as an OpenAI chat completion, streaming (chunks) or not (one JSON body), and errors.

Independent of how requests are decoded.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final

from winterbourne.chat.core import events as e
from winterbourne.chat.core.events import EventBatch
from winterbourne.chat.formats import sse
from winterbourne.chat.formats.json_text import dumps, dumps_str

__all__ = ["OpenAiChunkEncoder", "OpenAiCompletionEncoder", "encode_error"]

FINISH_REASONS: Final[Mapping[e.StopReason, str]] = MappingProxyType(
    {
        "stop": "stop",
        "tool_calls": "tool_calls",
        "max_tokens": "length",
        "content_filter": "content_filter",
        "refusal": "content_filter",
        "max_turns": "length",
        "pause": "length",
    }
)

TURN_SEPARATOR: Final = "\n\n"
"""Joins the texts of an answer's turns: the format has one text per answer, and server-side tools are not shown."""

ERROR_TYPES: Final[Mapping[int, str]] = MappingProxyType(
    {
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        429: "rate_limit_error",
    }
)

STATUS_BY_ERROR_CODE: Final[Mapping[str, int]] = MappingProxyType({"model_busy": 503, "deadline_reached": 504})
"""HTTP status of a failed non-streaming answer, by error code; other `model_` codes give 502, all else 500."""


class OpenAiChunkEncoder(sse.SseEncoder):
    """Encodes events as chat completion chunks.

    Args:
        model: The name that the caller used; if empty, the name in ConversationStarted is sent.
        client_tools: Names of the caller's own tools.
        include_usage: Whether the caller asked for a last chunk with token counts.
        created: Unix time in seconds.
    """

    def __init__(self, model: str, client_tools: frozenset[str], *, include_usage: bool, created: int) -> None:
        self._model = model
        self._client_tools = client_tools
        self._include_usage = include_usage
        self._created = created
        self._call_indexes: dict[str, int] = {}
        self._chunk_prefix = b""
        self._has_text = False
        self._separator = ""

    def _conversation_started(self, event: e.ConversationStarted) -> bytes:
        head = b'{"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":[' % (
            dumps_str(f"chatcmpl-{event.message_id}"),
            self._created,
            dumps_str(self._model or event.model),
        )
        self._chunk_prefix = b"data: " + head
        return self._chunk(b'{"role":"assistant","content":""}')

    def _text_delta(self, event: e.TextDelta) -> bytes:
        separator, self._separator, self._has_text = self._separator, "", True
        return self._chunk(b'{"content":%b}' % dumps_str(separator + event.text))

    def _turn_started(self, _: e.TurnStarted) -> bytes:
        self._separator = TURN_SEPARATOR if self._has_text else ""
        return b""

    def _reasoning_delta(self, event: e.ReasoningDelta) -> bytes:
        return self._chunk(b'{"reasoning_content":%b}' % dumps_str(event.text))

    def _tool_call_started(self, event: e.ToolCallStarted) -> bytes:
        if event.name not in self._client_tools:
            return b""
        index = self._call_indexes[event.id] = len(self._call_indexes)
        call = b'{"index":%d,"id":%b,"type":"function","function":{"name":%b,"arguments":""}}'
        return self._chunk(b'{"tool_calls":[%b]}' % (call % (index, dumps_str(event.id), dumps_str(event.name))))

    def _tool_arguments_delta(self, event: e.ToolArgumentsDelta) -> bytes:
        if event.id not in self._call_indexes:
            return b""
        call = b'{"index":%d,"function":{"arguments":%b}}' % (self._call_indexes[event.id], dumps_str(event.json))
        return self._chunk(b'{"tool_calls":[%b]}' % call)

    def _tool_call_ready(self, event: e.ToolCallReady) -> bytes:
        if event.arguments:
            return b""  # already sent as deltas
        return self._tool_arguments_delta(e.ToolArgumentsDelta(event.id, "{}"))

    def _conversation_ended(self, event: e.ConversationEnded) -> bytes:
        last = self._chunk(b"{}", b'"%b"' % FINISH_REASONS[event.stop_reason].encode())
        if self._include_usage:
            last += b'%b],"usage":%b}\n\n' % (self._chunk_prefix, dumps(_usage(event.usage)))
        return last + sse.DONE

    def _conversation_failed(self, event: e.ConversationFailed) -> bytes:
        return sse.frame(encode_error(_status_for_error_code(event.code), event.code, event.message)) + sse.DONE

    def _conversation_stopped(self, event: e.ConversationStopped) -> bytes:
        # The format has no reason for this: `length` says that more would have come, `stopped` says why it did not.
        return self._chunk(b"{}", b'"length"', b',"stopped":"%b"' % event.reason.encode()) + sse.DONE

    dispatch_table: ClassVar[sse.DispatchTable] = {
        e.ConversationStarted: _conversation_started,
        e.TurnStarted: _turn_started,
        e.TextDelta: _text_delta,
        e.ReasoningDelta: _reasoning_delta,
        e.ReasoningEnded: sse.no_frames,
        e.ToolCallStarted: _tool_call_started,
        e.ToolArgumentsDelta: _tool_arguments_delta,
        e.ToolCallReady: _tool_call_ready,
        e.ToolQueued: sse.no_frames,
        e.ToolStarted: sse.no_frames,
        e.ToolProgressed: sse.no_frames,
        e.ToolFinished: sse.no_frames,
        e.TurnEnded: sse.no_frames,
        e.ConversationEnded: _conversation_ended,
        e.ConversationFailed: _conversation_failed,
        e.ConversationStopped: _conversation_stopped,
    }

    def _chunk(self, delta: bytes, finish_reason: bytes = b"null", extra_fields: bytes = b"") -> bytes:
        return b'%b{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]%b}\n\n' % (
            self._chunk_prefix,
            delta,
            finish_reason,
            extra_fields,
        )


class OpenAiCompletionEncoder:
    """Encodes events as one chat completion, returned for the terminal event.

    Args:
        model: As for OpenAiChunkEncoder.
        client_tools: Likewise.
        created: Likewise.
    """

    headers: Mapping[str, str] = MappingProxyType({"content-type": "application/json"})
    heartbeat = b""

    def __init__(self, model: str, client_tools: frozenset[str], *, created: int) -> None:
        self.status = 200
        self._model = model
        self._client_tools = client_tools
        self._created = created
        self._id = ""
        self._turns: list[list[str]] = []
        self._reasoning: list[str] = []
        self._tool_calls: list[dict[str, Any]] = []

    def encode(self, batch: EventBatch) -> bytes:
        """Return nothing until the terminal event, then the whole body."""
        return b"".join([self._encode_event(event) for event in batch])

    def _encode_event(self, event: e.ChatEvent) -> bytes:
        match event:
            case e.ConversationStarted():
                self._id, self._model = f"chatcmpl-{event.message_id}", self._model or event.model
            case e.TurnStarted():
                self._turns.append([])
            case e.TextDelta(text):
                self._turns[-1].append(text)
            case e.ReasoningDelta(text):
                self._reasoning.append(text)
            case e.ToolCallReady(id, name, arguments) if name in self._client_tools:
                function = {"name": name, "arguments": arguments or "{}"}
                self._tool_calls.append({"id": id, "type": "function", "function": function})
            case e.ConversationEnded():
                return self._completion(FINISH_REASONS[event.stop_reason], event.usage)
            case e.ConversationStopped():
                return self._completion("length", e.Usage(), stopped=event.reason)
            case e.ConversationFailed(code, message):
                self.status = _status_for_error_code(code)
                return encode_error(self.status, code, message)
            case _:  # not part of a non-streaming completion
                pass
        return b""

    def _completion(self, finish_reason: str, usage: e.Usage, **extra_fields: str) -> bytes:
        choice = {"index": 0, "message": self._message(), "logprobs": None, "finish_reason": finish_reason}
        head = {"id": self._id, "object": "chat.completion", "created": self._created, "model": self._model}
        return dumps({**head, "choices": [choice], "usage": _usage(usage), **extra_fields})

    def _message(self) -> dict[str, Any]:
        turns = ("".join(turn) for turn in self._turns)
        text = TURN_SEPARATOR.join(turn for turn in turns if turn) or (None if self._tool_calls else "")
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        if self._tool_calls:
            message["tool_calls"] = self._tool_calls
        return message


def _status_for_error_code(code: str) -> int:
    return STATUS_BY_ERROR_CODE.get(code, 502 if code.startswith("model_") else 500)


def _usage(usage: e.Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
    }


def encode_error(status: int, code: str, message: str) -> bytes:
    """The format's error object, as the SDKs expect it."""
    error_type = ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return b'{"error":{"message":%b,"type":"%b","param":null,"code":%b}}' % (
        dumps_str(message),
        error_type.encode(),
        dumps_str(code),
    )
