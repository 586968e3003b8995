"""Encodes events in the native format: server-sent events, one JSON object each, `type` first.

    data: {"type":"start","conversation_id":"c_1","message_id":"m_1","model":"scripted"}
    data: {"type":"content","delta":"Hel"}
    data: {"type":"reasoning","delta":"..."}
    data: {"type":"tool_call","name":"get_weather","status":"started","id":"call_1","arguments":"{}"}
    data: {"type":"tool_call","name":"get_weather","status":"completed","id":"call_1","duration_ms":12,"result":{}}
    data: {"type":"tool_call","name":"pay","status":"approval_requested","id":"call_2","arguments":"{}","approval":{}}
    data: {"type":"source","id":"source_1f0c…","url":"https://…","title":"Tide tables","cited_text":"…"}
    data: {"type":"done","stop_reason":"stop","usage":{"input":9,"output":4,"cached":0},"turns":2}

`usage` also has `cache_write`, `reasoning` (tokens) and `cost` (dollars) where they are known and not 0.

The status of a call goes `queued`? → `started` → `progress`* → `completed`, `failed`, `timed_out`, `cancelled` or
`denied`; or it is `approval_requested`, and goes on in the answer to a request that has the decision.
Clients that ask for it also get `{"type":"turn"}` between two turns, and `{"type":"retract"}` where all `content` and
`reasoning` since the last `start` or `turn` is void: another model begins it anew.
The terminal frame is `done`, `error` (`code`, `message`, `request_id`) or `stopped` (`reason`).
"""

from collections.abc import Mapping
from typing import ClassVar, Final, assert_never, get_args

import msgspec

from winterbourne.chat.core import events as e
from winterbourne.chat.errors import AnswerLost
from winterbourne.chat.formats import sse
from winterbourne.chat.formats.json_text import dumps, quote, single_line

__all__ = ["NativeEncoder"]

TURN_FRAME: Final = b'data: {"type":"turn"}\n\n'
RETRACT_FRAME: Final = b'data: {"type":"retract"}\n\n'
DURATION: Final = b',"duration_ms":'
RESULT: Final = b',"result":'
CACHED_RESULT: Final = b',"cached":true,"result":'
END: Final = b"}\n\n"

# What a delta's frame has around its text.
CONTENT: Final = b'data: {"type":"content","delta":', END
REASONING: Final = b'data: {"type":"reasoning","delta":', END

TEXT, REASON = e.TextDelta, e.ReasoningDelta


class _Calls(dict[str, tuple[bytes, bytes, bytes]]):
    """For each call its id, the end of a frame after it, and that with the arguments, which only this answer's have."""

    __slots__ = ()

    def __missing__(self, call_id: str) -> tuple[bytes, bytes, bytes]:
        end = dumps(call_id) + END
        return self.setdefault(call_id, (end[: -len(END)], end, end))


def _starts(status: str) -> sse.PerTool:
    """The frames of one status, by the tool's name, up to the call's id."""
    return sse.PerTool(b'data: {"type":"tool_call","name":%%b,"status":"%b","id":' % status.encode())


QUEUED, STARTED, PROGRESS, ASKED = map(_starts, ("queued", "started", "progress", "approval_requested"))
FINISHED: Final = {status: _starts(status) for status in get_args(e.ToolStatus)}


class NativeEncoder(sse.SseResponse):
    """Encodes events as native frames. Keeps the id and the arguments of each call for the frames after it is ready.

    Attributes:
        can_retract: Whether the client drops what a turn has shown when it is told to.
        is_lost_if_retracted: Whether, if it does not, a turn may be retracted of which it has shown something.
    """

    can_retract: bool = False
    is_lost_if_retracted: bool = False
    _calls: _Calls = msgspec.field(default_factory=_Calls)

    def encode(self, batch: e.EventBatch) -> bytes:
        """The frames of a batch, joined."""
        try:
            [event] = batch  # by far the most common
        except ValueError:
            return b"".join([NativeEncoder.encode(self, (event,)) for event in batch])
        kind = type(event)
        try:
            if kind is TEXT:
                return quote(event.text).join(CONTENT)  # type: ignore[union-attr]
            if kind is REASON:
                return quote(event.text).join(REASONING)  # type: ignore[union-attr]
            return self.quick[kind](self, event, quote)
        except UnicodeEncodeError:  # a lone surrogate
            return self.quick[kind](self, event, dumps)

    def _delta(self, event: e.TextDelta | e.ReasoningDelta, text: sse.Text) -> bytes:
        return text(event.text).join(CONTENT if isinstance(event, e.TextDelta) else REASONING)

    def _ready(self, event: e.ToolCallReady, text: sse.Text) -> bytes:
        id_, arguments = text(event.id), text(event.arguments)
        self._calls[event.id] = id_, id_ + END, b'%b,"arguments":%b}\n\n' % (id_, arguments)
        return b""

    def _queued(self, event: e.ToolQueued, _: sse.Text) -> bytes:
        return QUEUED[event.name] + self._calls[event.id][1]

    def _started(self, event: e.ToolStarted, _: sse.Text) -> bytes:
        return STARTED[event.name] + self._calls[event.id][2]

    def _progressed(self, event: e.ToolProgressed, _: sse.Text) -> bytes:
        id_ = self._calls[event.id][0]
        return b"".join((PROGRESS[event.name], id_, b',"data":', single_line(event.data), END))

    def _finished(self, event: e.ToolFinished, text: sse.Text) -> bytes:
        start, id_ = FINISHED[event.status][event.name], self._calls[event.id][0]
        duration_ms = text(event.duration_ms)
        if result := event.result:
            if 10 in result or 13 in result:
                result = single_line(result)
            named = CACHED_RESULT if event.cached else RESULT
            return b"".join((start, id_, DURATION, duration_ms, named, result, END))
        if event.error:
            return b"".join((start, id_, DURATION, duration_ms, b',"error":', text(event.error), END))
        return b"".join((start, id_, DURATION, duration_ms, END))

    # One case for each event.
    def _frames(self, event: sse.RareEvent, text: sse.Text) -> bytes:  # noqa: C901, PLR0911
        match event:
            case e.ToolApprovalRequested(id_, name, approval):
                call, told = self._calls[id_][2][: -len(END)], dumps(msgspec.to_builtins(approval))
                return b'%b%b,"approval":%b}\n\n' % (ASKED[name], call, told)
            case e.ConversationStarted(conversation_id, message_id, model):
                ids = text(conversation_id), text(message_id), text(model)
                return b'data: {"type":"start","conversation_id":%b,"message_id":%b,"model":%b}\n\n' % ids
            case e.ConversationEnded(stop_reason, usage, turns):
                end = stop_reason.encode(), msgspec.json.encode(usage), turns
                return b'data: {"type":"done","stop_reason":"%b","usage":%b,"turns":%d}\n\n' % end
            case e.ConversationFailed(code, message, request_id):
                fields = text(code), text(message), text(request_id)
                return b'data: {"type":"error","code":%b,"message":%b,"request_id":%b}\n\n' % fields
            case e.ConversationStopped(reason):
                return b'data: {"type":"stopped","reason":"%b"}\n\n' % reason.encode()
            case e.TurnStarted(turn):
                return TURN_FRAME if self.can_retract and turn > 1 else b""
            case e.TurnEnded() | e.ReasoningEnded() | e.ToolCallSigned():
                return b""
            case e.ToolCallDropped():  # of a call that is not ready, nothing is shown
                return b""
            case e.SourceCited(source):
                return b"data: %b\n\n" % dumps(msgspec.to_builtins(source))
            case e.TurnRetracted():
                return self._retract()
            case _:
                assert_never(event)

    def _retract(self) -> bytes:
        if self.is_lost_if_retracted:
            raise AnswerLost("this client cannot drop what it has shown")
        return RETRACT_FRAME if self.can_retract else b""  # else nothing was shown

    quick: ClassVar[Mapping[type, sse.Quick]] = {
        **sse.QUICK,
        **dict.fromkeys(get_args(sse.RareEvent), _frames),
        e.TextDelta: _delta,
        e.ReasoningDelta: _delta,
        e.ToolCallReady: _ready,
        e.ToolQueued: _queued,
        e.ToolStarted: _started,
        e.ToolProgressed: _progressed,
        e.ToolFinished: _finished,
    }
