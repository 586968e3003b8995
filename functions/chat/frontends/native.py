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
from typing import ClassVar, Final, TypeAlias

import msgspec
from orjson import JSONEncodeError, dumps

from chat import events as e
from chat.frontends import sse
from chat.frontends.history import Id, MaxTokens, Temperature, bounded, checked, settled
from chat.frontends.json_text import one_line, quoted
from chat.frontends.media import image
from chat.frontends.offer import chosen
from chat.messages import (
    AUTO,
    AssistantMessage,
    AssistantPart,
    ChatRequest,
    Image,
    Message,
    SystemMessage,
    Text,
    ToolChoice,
    ToolMessage,
    UserMessage,
    UserPart,
)
from chat.request import Request, parse
from chat.settings import Settings

__all__ = ["FRONTEND", "Native", "NativeEncoder", "call_frame"]

# The body


class _System(msgspec.Struct, frozen=True, tag="system", tag_field="role"):
    content: str


class _User(msgspec.Struct, frozen=True, tag="user", tag_field="role"):
    content: str | tuple[UserPart, ...]
    id: Id = ""


class _Assistant(msgspec.Struct, frozen=True, tag="assistant", tag_field="role"):
    content: str | tuple[AssistantPart, ...]
    id: Id = ""
    incomplete: bool = False


class _Tool(msgspec.Struct, frozen=True, tag="tool", tag_field="role"):
    tool_call_id: Id
    content: str
    name: str = ""
    is_error: bool = False


_Message: TypeAlias = _System | _User | _Assistant | _Tool


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    messages: tuple[_Message, ...]
    conversation_id: Id = ""
    store: bool = False
    system: str | None = None
    model: Id | None = None
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None
    tool_choice: ToolChoice = AUTO


def _message(message: _Message) -> Message:
    match message:
        case _System(content):
            return SystemMessage(content)
        case _User(content, id_):
            return UserMessage(_user_parts(content), id_)
        case _Assistant(content, id_, incomplete):
            return AssistantMessage(_text_parts(content) if isinstance(content, str) else content, id_, incomplete)
        case _Tool():
            return ToolMessage(message.tool_call_id, message.name, message.content, message.is_error)


def _text_parts(text: str) -> tuple[Text, ...]:
    return (Text(text),) if text else ()


def _user_parts(content: str | tuple[UserPart, ...]) -> tuple[UserPart, ...]:
    if isinstance(content, str):
        return _text_parts(content)
    return tuple(
        image(part.media_type, data=part.data, url=part.url) if isinstance(part, Image) else part for part in content
    )


# The frames. What looks at the event alone is a function that lets the encoder pass by.


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


class Native:
    """The native format."""

    path = "/chat"

    def read(self, request: Request, settings: Settings) -> tuple[ChatRequest, NativeEncoder]:
        """See `Frontend.read`. With `store`, `messages` are only what is new."""
        body = parse(request.json_object(settings), _Body)
        messages = bounded((_message(message) for message in body.messages), settings)
        chat = ChatRequest(
            messages=messages if body.store else settled(messages),
            conversation_id=body.conversation_id,
            store=body.store,
            system=body.system,
            model_id=chosen(body.model, settings),
            temperature=body.temperature,
            max_tokens=body.max_tokens,
            tool_choice=body.tool_choice,
        )
        return checked(chat, settings), NativeEncoder()

    def error_body(self, _status: int, code: str, message: str) -> bytes:
        """`{"error":{"code","message"}}`"""
        return b'{"error":{"code":%b,"message":%b}}' % (quoted(code), quoted(message))


FRONTEND: Final = Native()
