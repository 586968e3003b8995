"""Encodes events in the native format: server-sent events, one JSON object each, `type` first.

    data: {"type":"start","conversation_id":"c_1","message_id":"m_1","model":"scripted"}
    data: {"type":"content","delta":"Hel"}
    data: {"type":"reasoning","delta":"..."}
    data: {"type":"tool_call","name":"get_weather","status":"started","id":"call_1","arguments":"{}"}
    data: {"type":"tool_call","name":"get_weather","status":"completed","id":"call_1","duration_ms":12,"result":{}}
    data: {"type":"done","stop_reason":"stop","usage":{"input":9,"output":4,"cached":0},"turns":2}

The status of a call goes `queued`? → `started` → `progress`* → `completed`, `failed`, `timed_out` or `cancelled`.
The terminal frame is `done`, `error` (`code`, `message`) or `stopped` (`reason`).
"""

import functools
from typing import ClassVar

from orjson import JSONEncodeError, dumps

from winterbourne.chat.core import events as e
from winterbourne.chat.formats import sse
from winterbourne.chat.formats.json_text import dumps_str, single_line

__all__ = ["NativeEncoder", "tool_call_frame_prefix"]


@functools.lru_cache(maxsize=512)
def tool_call_frame_prefix(name: str, status: str) -> bytes:
    """The start of all frames of one tool in one status. The cache is bounded: a model may invent tool names."""
    return b'data: {"type":"tool_call","name":%b,"status":"%b"' % (dumps_str(name), status.encode())


def _conversation_started(_: object, event: e.ConversationStarted) -> bytes:
    return b'data: {"type":"start","conversation_id":%b,"message_id":%b,"model":%b}\n\n' % (
        dumps_str(event.conversation_id),
        dumps_str(event.message_id),
        dumps_str(event.model),
    )


def _text_delta(_: object, event: e.TextDelta) -> bytes:
    try:
        return b'data: {"type":"content","delta":%b}\n\n' % dumps(event.text)
    except JSONEncodeError:
        return b'data: {"type":"content","delta":%b}\n\n' % dumps_str(event.text)


def _reasoning_delta(_: object, event: e.ReasoningDelta) -> bytes:
    return b'data: {"type":"reasoning","delta":%b}\n\n' % dumps_str(event.text)


def _tool_queued(_: object, event: e.ToolQueued) -> bytes:
    return b'%b,"id":%b}\n\n' % (tool_call_frame_prefix(event.name, "queued"), dumps_str(event.id))


def _tool_progressed(_: object, event: e.ToolProgressed) -> bytes:
    return b'%b,"id":%b,"data":%b}\n\n' % (
        tool_call_frame_prefix(event.name, "progress"),
        dumps_str(event.id),
        single_line(event.data),
    )


def _tool_finished(_: object, event: e.ToolFinished) -> bytes:
    outcome = b""
    if event.result:
        outcome = b',"result":%b' % single_line(event.result)
    elif event.error:
        outcome = b',"error":%b' % dumps_str(event.error)
    prefix = tool_call_frame_prefix(event.name, event.status)
    return b'%b,"id":%b,"duration_ms":%d%b}\n\n' % (prefix, dumps_str(event.id), event.duration_ms, outcome)


def _conversation_ended(_: object, event: e.ConversationEnded) -> bytes:
    usage = event.usage
    return (b'data: {"type":"done","stop_reason":"%b","usage":{"input":%d,"output":%d,"cached":%d},"turns":%d}\n\n') % (
        event.stop_reason.encode(),
        usage.input,
        usage.output,
        usage.cached,
        event.turns,
    )


def _conversation_failed(_: object, event: e.ConversationFailed) -> bytes:
    return b'data: {"type":"error","code":%b,"message":%b}\n\n' % (dumps_str(event.code), dumps_str(event.message))


def _conversation_stopped(_: object, event: e.ConversationStopped) -> bytes:
    return b'data: {"type":"stopped","reason":"%b"}\n\n' % event.reason.encode()


class NativeEncoder(sse.SseEncoder):
    """Encodes events as native frames. Keeps the arguments of each call for its `started` frame."""

    def __init__(self) -> None:
        self._pending_arguments: dict[str, str] = {}

    def _tool_call_ready(self, event: e.ToolCallReady) -> bytes:
        self._pending_arguments[event.id] = event.arguments
        return b""

    def _tool_started(self, event: e.ToolStarted) -> bytes:
        prefix, arguments = tool_call_frame_prefix(event.name, "started"), self._pending_arguments.pop(event.id, "")
        return b'%b,"id":%b,"arguments":%b}\n\n' % (prefix, dumps_str(event.id), dumps_str(arguments))

    dispatch_table: ClassVar[sse.DispatchTable] = {
        e.ConversationStarted: _conversation_started,
        e.TurnStarted: sse.no_frames,
        e.TextDelta: _text_delta,
        e.ReasoningDelta: _reasoning_delta,
        e.ReasoningEnded: sse.no_frames,
        e.ToolCallStarted: sse.no_frames,
        e.ToolArgumentsDelta: sse.no_frames,
        e.ToolCallReady: _tool_call_ready,
        e.ToolQueued: _tool_queued,
        e.ToolStarted: _tool_started,
        e.ToolProgressed: _tool_progressed,
        e.ToolFinished: _tool_finished,
        e.TurnEnded: sse.no_frames,
        e.ConversationEnded: _conversation_ended,
        e.ConversationFailed: _conversation_failed,
        e.ConversationStopped: _conversation_stopped,
    }
