"""The native format, `POST /chat`: our own words, one JSON object per event, `type` first.

    data: {"type":"start","conversation_id":"c_1","message_id":"m_1","model":"scripted"}
    data: {"type":"content","delta":"Hel"}
    data: {"type":"reasoning","delta":"..."}
    data: {"type":"tool_call","name":"get_weather","status":"started","id":"call_1","arguments":"{}"}
    data: {"type":"tool_call","name":"get_weather","status":"completed","id":"call_1","duration_ms":12,"result":{}}
    data: {"type":"done","stop_reason":"stop","usage":{"input":9,"output":4,"cached":0},"turns":2}

A call's status goes `queued`? → `started` → `progress`* → `completed`, `failed`, `timed_out` or `cancelled`.
The last frame is `done`, `error` (`code`, `message`) or `stopped` (`reason`).
"""

import functools
from typing import ClassVar

from orjson import JSONEncodeError, dumps

from winterbourne.chat.core import events as e
from winterbourne.chat.formats import sse
from winterbourne.chat.formats.json_text import one_line, quoted

__all__ = ["NativeEncoder", "call_frame"]


@functools.lru_cache(maxsize=512)
def call_frame(name: str, status: str) -> bytes:
    """How the frames of one tool in one state begin. Bounded, because a model may make names up."""
    return b'data: {"type":"tool_call","name":%b,"status":"%b"' % (quoted(name), status.encode())


def _started(_: object, event: e.ConversationStarted) -> bytes:
    return b'data: {"type":"start","conversation_id":%b,"message_id":%b,"model":%b}\n\n' % (
        quoted(event.conversation_id),
        quoted(event.message_id),
        quoted(event.model),
    )


def _content(_: object, event: e.TextDelta) -> bytes:
    try:
        return b'data: {"type":"content","delta":%b}\n\n' % dumps(event.text)
    except JSONEncodeError:
        return b'data: {"type":"content","delta":%b}\n\n' % quoted(event.text)


def _reasoning(_: object, event: e.ReasoningDelta) -> bytes:
    return b'data: {"type":"reasoning","delta":%b}\n\n' % quoted(event.text)


def _queued(_: object, event: e.ToolQueued) -> bytes:
    return b'%b,"id":%b}\n\n' % (call_frame(event.name, "queued"), quoted(event.id))


def _progressed(_: object, event: e.ToolProgressed) -> bytes:
    return b'%b,"id":%b,"data":%b}\n\n' % (
        call_frame(event.name, "progress"),
        quoted(event.id),
        one_line(event.data),
    )


def _finished(_: object, event: e.ToolFinished) -> bytes:
    outcome = b""
    if event.result:
        outcome = b',"result":%b' % one_line(event.result)
    elif event.error:
        outcome = b',"error":%b' % quoted(event.error)
    begin = call_frame(event.name, event.status)
    return b'%b,"id":%b,"duration_ms":%d%b}\n\n' % (begin, quoted(event.id), event.duration_ms, outcome)


def _ended(_: object, event: e.ConversationEnded) -> bytes:
    usage = event.usage
    return (b'data: {"type":"done","stop_reason":"%b","usage":{"input":%d,"output":%d,"cached":%d},"turns":%d}\n\n') % (
        event.stop_reason.encode(),
        usage.input,
        usage.output,
        usage.cached,
        event.turns,
    )


def _failed(_: object, event: e.ConversationFailed) -> bytes:
    return b'data: {"type":"error","code":%b,"message":%b}\n\n' % (quoted(event.code), quoted(event.message))


def _stopped(_: object, event: e.ConversationStopped) -> bytes:
    return b'data: {"type":"stopped","reason":"%b"}\n\n' % event.reason.encode()


class NativeEncoder(sse.SseEncoder):
    """Events → native frames."""

    def __init__(self) -> None:
        self._arguments: dict[str, str] = {}

    def _ready(self, event: e.ToolCallReady) -> bytes:
        self._arguments[event.id] = event.arguments
        return b""

    def _call_started(self, event: e.ToolStarted) -> bytes:
        begin, arguments = call_frame(event.name, "started"), self._arguments.pop(event.id, "")
        return b'%b,"id":%b,"arguments":%b}\n\n' % (begin, quoted(event.id), quoted(arguments))

    frames: ClassVar[sse.Frames] = {
        e.ConversationStarted: _started,
        e.TurnStarted: sse.nothing,
        e.TextDelta: _content,
        e.ReasoningDelta: _reasoning,
        e.ReasoningEnded: sse.nothing,
        e.ToolCallStarted: sse.nothing,
        e.ToolArgumentsDelta: sse.nothing,
        e.ToolCallReady: _ready,
        e.ToolQueued: _queued,
        e.ToolStarted: _call_started,
        e.ToolProgressed: _progressed,
        e.ToolFinished: _finished,
        e.TurnEnded: sse.nothing,
        e.ConversationEnded: _ended,
        e.ConversationFailed: _failed,
        e.ConversationStopped: _stopped,
    }
