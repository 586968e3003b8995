"""How an OpenAI chat completion looks on the wire: in chunks, in one piece, and as an error.

Knows nothing of requests.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final

from winterbourne.chat.core import events as e
from winterbourne.chat.core.events import Batch
from winterbourne.chat.formats import sse
from winterbourne.chat.formats.json_text import quoted, written

__all__ = ["OpenAiEncoder", "OpenAiWhole", "error"]

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

BETWEEN_TURNS: Final = "\n\n"
"""One answer may take several turns with tools between them; here it is one text, and the tools do not show."""

ERROR_TYPES: Final[Mapping[int, str]] = MappingProxyType(
    {
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        429: "rate_limit_error",
    }
)

FAILED_STATUSES: Final[Mapping[str, int]] = MappingProxyType({"model_busy": 503, "deadline_reached": 504})
"""HTTP status of an answer in one piece that failed, by code; any other failure of a model is 502."""


class OpenAiEncoder(sse.SseEncoder):
    """Events → chat completion chunks.

    Args:
        model: As the caller named it; empty for the name the conversation gives.
        client_tools: Names of the caller's own tools.
        with_usage: Whether the caller asked for a last chunk with the count of tokens.
        created: Seconds since 1970.
    """

    def __init__(self, model: str, client_tools: frozenset[str], *, with_usage: bool, created: int) -> None:
        self._model = model
        self._client_tools = client_tools
        self._with_usage = with_usage
        self._created = created
        self._calls: dict[str, int] = {}
        self._begin = b""
        self._said = False
        self._gap = ""

    # One function per event

    def _started(self, event: e.ConversationStarted) -> bytes:
        head = b'{"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":[' % (
            quoted(f"chatcmpl-{event.message_id}"),
            self._created,
            quoted(self._model or event.model),
        )
        self._begin = b"data: " + head
        return self._chunk(b'{"role":"assistant","content":""}')

    def _text_delta(self, event: e.TextDelta) -> bytes:
        gap, self._gap, self._said = self._gap, "", True
        return self._chunk(b'{"content":%b}' % quoted(gap + event.text))

    def _turn_started(self, _: e.TurnStarted) -> bytes:
        self._gap = BETWEEN_TURNS if self._said else ""
        return b""

    def _reasoning_delta(self, event: e.ReasoningDelta) -> bytes:
        return self._chunk(b'{"reasoning_content":%b}' % quoted(event.text))

    def _call_started(self, event: e.ToolCallStarted) -> bytes:
        if event.name not in self._client_tools:
            return b""
        index = self._calls[event.id] = len(self._calls)
        call = b'{"index":%d,"id":%b,"type":"function","function":{"name":%b,"arguments":""}}'
        return self._chunk(b'{"tool_calls":[%b]}' % (call % (index, quoted(event.id), quoted(event.name))))

    def _arguments(self, event: e.ToolArgumentsDelta) -> bytes:
        if event.id not in self._calls:
            return b""
        call = b'{"index":%d,"function":{"arguments":%b}}' % (self._calls[event.id], quoted(event.json))
        return self._chunk(b'{"tool_calls":[%b]}' % call)

    def _call_ready(self, event: e.ToolCallReady) -> bytes:
        if event.arguments:
            return b""  # they went out as they came
        return self._arguments(e.ToolArgumentsDelta(event.id, "{}"))

    def _ended(self, event: e.ConversationEnded) -> bytes:
        last = self._chunk(b"{}", b'"%b"' % FINISH_REASONS[event.stop_reason].encode())
        if self._with_usage:
            last += b'%b],"usage":%b}\n\n' % (self._begin, written(_usage(event.usage)))
        return last + sse.DONE

    def _failed(self, event: e.ConversationFailed) -> bytes:
        return sse.frame(error(_failed_status(event.code), event.code, event.message)) + sse.DONE

    def _stopped(self, event: e.ConversationStopped) -> bytes:
        # The format has no word for it: `length` says that more would have come, `stopped` says why it did not.
        return self._chunk(b"{}", b'"length"', b',"stopped":"%b"' % event.reason.encode()) + sse.DONE

    frames: ClassVar[sse.Frames] = {
        e.ConversationStarted: _started,
        e.TurnStarted: _turn_started,
        e.TextDelta: _text_delta,
        e.ReasoningDelta: _reasoning_delta,
        e.ReasoningEnded: sse.nothing,
        e.ToolCallStarted: _call_started,
        e.ToolArgumentsDelta: _arguments,
        e.ToolCallReady: _call_ready,
        e.ToolQueued: sse.nothing,
        e.ToolStarted: sse.nothing,
        e.ToolProgressed: sse.nothing,
        e.ToolFinished: sse.nothing,
        e.TurnEnded: sse.nothing,
        e.ConversationEnded: _ended,
        e.ConversationFailed: _failed,
        e.ConversationStopped: _stopped,
    }

    def _chunk(self, delta: bytes, reason: bytes = b"null", more: bytes = b"") -> bytes:
        return b'%b{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]%b}\n\n' % (
            self._begin,
            delta,
            reason,
            more,
        )


class OpenAiWhole:
    """Events → one chat completion, with the last event.

    Args:
        model: As for OpenAiEncoder, likewise the others.
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
        self._calls: list[dict[str, Any]] = []

    def encode(self, batch: Batch) -> bytes:
        """Nothing until the last event, then everything."""
        return b"".join([self._take(event) for event in batch])

    def _take(self, event: e.ChatEvent) -> bytes:
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
                self._calls.append({"id": id, "type": "function", "function": function})
            case e.ConversationEnded():
                return self._whole(FINISH_REASONS[event.stop_reason], event.usage)
            case e.ConversationStopped():
                return self._whole("length", e.Usage(), stopped=event.reason)
            case e.ConversationFailed(code, message):
                self.status = _failed_status(code)
                return error(self.status, code, message)
            case _:  # what a completion in one piece has no place for
                pass
        return b""

    def _whole(self, reason: str, usage: e.Usage, **more: str) -> bytes:
        choice = {"index": 0, "message": self._message(), "logprobs": None, "finish_reason": reason}
        head = {"id": self._id, "object": "chat.completion", "created": self._created, "model": self._model}
        return written({**head, "choices": [choice], "usage": _usage(usage), **more})

    def _message(self) -> dict[str, Any]:
        turns = ("".join(turn) for turn in self._turns)
        text = BETWEEN_TURNS.join(turn for turn in turns if turn) or (None if self._calls else "")
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        if self._calls:
            message["tool_calls"] = self._calls
        return message


def _failed_status(code: str) -> int:
    return FAILED_STATUSES.get(code, 502 if code.startswith("model_") else 500)


def _usage(usage: e.Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
    }


def error(status: int, code: str, message: str) -> bytes:
    """The format's error object, as the SDKs read it."""
    kind = ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return b'{"error":{"message":%b,"type":"%b","param":null,"code":%b}}' % (
        quoted(message),
        kind.encode(),
        quoted(code),
    )
