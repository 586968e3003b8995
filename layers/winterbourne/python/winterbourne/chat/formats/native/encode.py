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

import functools
from collections.abc import Callable
from typing import Final, assert_never

import msgspec
from orjson import JSONEncodeError, dumps

from winterbourne.chat.core import events as e
from winterbourne.chat.errors import AnswerLost
from winterbourne.chat.formats import json_text, sse
from winterbourne.chat.formats.json_text import single_line

__all__ = ["NativeEncoder", "tool_call_frame_prefix", "tool_finished_frame"]

TURN_FRAME: Final = b'data: {"type":"turn"}\n\n'
RETRACT_FRAME: Final = b'data: {"type":"retract"}\n\n'


@functools.lru_cache(maxsize=512)
def tool_call_frame_prefix(name: str, status: str) -> bytes:
    """The start of all frames of one tool in one status. The cache is bounded: a model may invent tool names."""
    return b'data: {"type":"tool_call","name":%b,"status":"%b"' % (json_text.dumps(name), status.encode())


class NativeEncoder(sse.SseResponse):
    """Encodes events as native frames. Keeps the arguments of each call for its `started` frame.

    Attributes:
        can_retract: Whether the client drops what a turn has shown when it is told to.
        is_lost_if_retracted: Whether, if it does not, a turn may be retracted of which it has shown something.
    """

    can_retract: bool = False
    is_lost_if_retracted: bool = False
    _arguments: dict[str, str] = msgspec.field(default_factory=dict)

    def encode(self, batch: e.EventBatch) -> bytes:
        """The frames of a batch, joined."""
        try:
            if len(batch) == 1 and type(event := batch[0]) is e.TextDelta:  # by far the most common
                return b'data: {"type":"content","delta":%b}\n\n' % dumps(event.text)
            return b"".join([self._frame(event, dumps) for event in batch])
        except JSONEncodeError:  # a lone surrogate; `_frame` may be called again for the same event
            return b"".join([self._frame(event, json_text.dumps) for event in batch])

    # One case for each event.
    def _frame(self, event: e.ChatEvent, string: Callable[[str], bytes]) -> bytes:  # noqa: C901, PLR0911, PLR0912
        match event:
            case e.TextDelta(text):
                return b'data: {"type":"content","delta":%b}\n\n' % string(text)
            case e.ReasoningDelta(text):
                return b'data: {"type":"reasoning","delta":%b}\n\n' % string(text)
            case e.ToolProgressed(id_, name, data):
                prefix = tool_call_frame_prefix(name, "progress")
                return b'%b,"id":%b,"data":%b}\n\n' % (prefix, string(id_), single_line(data))
            case e.ToolStarted(id_, name):
                return b"%b%b}\n\n" % (tool_call_frame_prefix(name, "started"), self._call_fields(id_, string))
            case e.ToolApprovalRequested(id_, name, approval):
                prefix, told = tool_call_frame_prefix(name, "approval_requested"), msgspec.to_builtins(approval)
                return b'%b%b,"approval":%b}\n\n' % (prefix, self._call_fields(id_, string), json_text.dumps(told))
            case e.ToolFinished():
                return tool_finished_frame(event, string)
            case e.ToolCallReady(id_, _, arguments):
                self._arguments[id_] = arguments
                return b""
            case e.ToolQueued(id_, name):
                return b'%b,"id":%b}\n\n' % (tool_call_frame_prefix(name, "queued"), string(id_))
            case e.ConversationStarted(conversation_id, message_id, model):
                ids = string(conversation_id), string(message_id), string(model)
                return b'data: {"type":"start","conversation_id":%b,"message_id":%b,"model":%b}\n\n' % ids
            case e.ConversationEnded(stop_reason, usage, turns):
                end = stop_reason.encode(), msgspec.json.encode(usage), turns
                return b'data: {"type":"done","stop_reason":"%b","usage":%b,"turns":%d}\n\n' % end
            case e.ConversationFailed(code, message, request_id):
                fields = string(code), string(message), string(request_id)
                return b'data: {"type":"error","code":%b,"message":%b,"request_id":%b}\n\n' % fields
            case e.ConversationStopped(reason):
                return b'data: {"type":"stopped","reason":"%b"}\n\n' % reason.encode()
            case e.TurnStarted(turn):
                return TURN_FRAME if self.can_retract and turn > 1 else b""
            case e.TurnEnded() | e.ReasoningEnded() | e.ToolCallStarted() | e.ToolArgumentsDelta():
                return b""
            case e.ToolCallSigned() | e.ToolCallDropped():  # of a call that is not ready, nothing is shown
                return b""
            case e.SourceCited(source):
                return b"data: %b\n\n" % json_text.dumps(msgspec.to_builtins(source))
            case e.TurnRetracted():
                return self._retract()
            case _:
                assert_never(event)

    def _retract(self) -> bytes:
        if self.is_lost_if_retracted:
            raise AnswerLost("this client cannot drop what it has shown")
        return RETRACT_FRAME if self.can_retract else b""  # else nothing was shown

    def _call_fields(self, call_id: str, string: Callable[[str], bytes]) -> bytes:
        """The id and the arguments; those of a call of an earlier answer are there already."""
        arguments = self._arguments.get(call_id)
        return b',"id":%b' % string(call_id) + (b"" if arguments is None else b',"arguments":%b' % string(arguments))


def tool_finished_frame(event: e.ToolFinished, string: Callable[[str], bytes]) -> bytes:
    """The last frame of a call; `string` serializes text."""
    outcome = b""
    if event.result:
        outcome = b',"result":%b' % single_line(event.result)
    elif event.error:
        outcome = b',"error":%b' % string(event.error)
    prefix = tool_call_frame_prefix(event.name, event.status)
    return b'%b,"id":%b,"duration_ms":%d%b}\n\n' % (prefix, string(event.id), event.duration_ms, outcome)
