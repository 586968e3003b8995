"""Decodes native chat requests: `POST /chat` → ChatRequest."""

from typing import Any, Final, TypeAlias

import msgspec

from winterbourne.chat.core.messages import (
    TOOL_CHOICE_AUTO,
    AssistantMessage,
    AssistantPart,
    ChatRequest,
    Decision,
    Message,
    SystemMessage,
    Text,
    ToolChoice,
    ToolMessage,
    UserMessage,
    UserPart,
)
from winterbourne.chat.formats.base import Format, Id, ModelOptions, ResumedAnswer, System, encode_json_error
from winterbourne.chat.formats.media import usable_part
from winterbourne.chat.formats.native.encode import NativeEncoder
from winterbourne.chat.formats.repair import convert_body

__all__ = ["FORMAT"]


class _User(msgspec.Struct, frozen=True, tag="user", tag_field="role"):
    content: str | tuple[UserPart, ...]
    id: str = ""


class _Assistant(msgspec.Struct, frozen=True, tag="assistant", tag_field="role"):
    content: str | tuple[AssistantPart, ...]
    id: str = ""
    incomplete: bool = False


class _Tool(msgspec.Struct, frozen=True, tag="tool", tag_field="role"):
    tool_call_id: str
    content: str
    name: str = ""
    is_error: bool = False


_Message: TypeAlias = System | _User | _Assistant | _Tool


class _Body(ModelOptions, frozen=True, kw_only=True):
    messages: tuple[_Message, ...]
    conversation_id: Id = ""
    message_id: Id = ""
    approvals: bool = False
    retractions: bool = False
    decisions: tuple[Decision, ...] = ()
    store: bool = False
    regenerate: bool = False
    system: str | None = None
    tool_choice: ToolChoice = TOOL_CHOICE_AUTO
    schema: dict[str, Any] | None = None


def _field_of(option: str) -> str:
    return "schema" if option == "output" else option


def _decode_message(message: _Message) -> Message:
    match message:
        case System(content):
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
    return tuple(part if isinstance(part, Text) else usable_part(**msgspec.structs.asdict(part)) for part in content)


def decode(body: dict[str, Any]) -> tuple[ChatRequest, NativeEncoder]:
    """Decode a native request.

    With `store`, `messages` holds only new messages: none to regenerate the last answer, or to go on with it after
    `decisions`. Without, its last turn has the calls that are decided, each with its `approval`. `message_id` is the
    answer that goes on. `retractions` says that the client knows the frames `retract` and `turn`.
    """
    decoded = convert_body(body, _Body, _Message)
    chat_request = ChatRequest(
        messages=tuple(_decode_message(message) for message in decoded.messages),
        conversation_id=decoded.conversation_id,
        message_id=decoded.message_id if decoded.decisions else "",
        store=decoded.store,
        regenerate=decoded.regenerate,
        system=decoded.system,
        model_id=decoded.model,
        **decoded.options(),
        tool_choice=decoded.tool_choice,
        approvals="form" if decoded.approvals else "none",
        decisions=decoded.decisions,
        retractable="by_frames" if decoded.retractions else "calls",
    )
    return chat_request, NativeEncoder(decoded.retractions)


def _resume(answer: ResumedAnswer) -> NativeEncoder:
    """With what the client has said that began the answer, if it was one of this format."""
    is_other = answer.retractable in {"everything", "by_chunks"}
    return NativeEncoder(can_retract=answer.retractable == "by_frames", is_lost_if_retracted=is_other)


FORMAT: Final = Format("/chat", decode, encode_json_error, resume=_resume, field_of=_field_of, numbers_frames=True)
"""The native format."""
