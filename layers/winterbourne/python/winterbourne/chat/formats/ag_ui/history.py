"""Decodes and encodes chat history: AG-UI messages ⇄ core messages.

In AG-UI, reasoning is a separate message before the answer that it led to. AG-UI itself marks neither failed results
nor signatures: the encoder puts them into `metadata` and `encryptedValue`, which clients send back.
"""

from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Any, ClassVar, Literal, TypeAlias

import msgspec

from winterbourne.chat.core.documents import PDF, placeholder
from winterbourne.chat.core.messages import (
    AssistantMessage,
    AssistantPart,
    Document,
    Message,
    Reasoning,
    Source,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
    UserPart,
)
from winterbourne.chat.formats.base import FunctionCall, OpaqueData, System, TextPart
from winterbourne.chat.formats.json_text import dumps
from winterbourne.chat.formats.media import usable_part

__all__ = [
    "METADATA_KEY",
    "AgUiMessage",
    "EncryptedValue",
    "decode_history",
    "encode_encrypted_value",
    "encode_history",
    "encode_source",
    "encode_sources",
    "reasoning_id",
    "result_content",
    "turn_id",
]

METADATA_KEY = "winterbourne"
"""The key of our own entry in `metadata`."""


class _Source(msgspec.Struct, frozen=True, rename="camel"):
    type: Literal["data", "url", "file"]
    value: str
    mime_type: str = ""


class _MediaPart(msgspec.Struct, frozen=True):
    source: _Source
    metadata: Any = None

    def part(self) -> UserPart:
        """The part; what nobody here can use is a line of text: a file of a provider's, which must not be fetched."""
        metadata = self.metadata if isinstance(self.metadata, dict) else {}
        name = next((one for key in ("filename", "name") if isinstance(one := metadata.get(key), str)), "")
        kind, value = self.source.mime_type or self.assumed_type, self.source.value
        if self.source.type == "file" or self.never_used:
            return Text(placeholder(kind or self.never_used, name))
        return usable_part(kind, name=name, **{self.source.type: value})

    never_used: ClassVar[str] = ""
    assumed_type: ClassVar[str] = ""


class _ImagePart(_MediaPart, frozen=True, tag="image"):
    pass


class _DocumentPart(_MediaPart, frozen=True, tag="document"):
    assumed_type: ClassVar[str] = PDF


class _AudioPart(_MediaPart, frozen=True, tag="audio"):
    never_used: ClassVar[str] = "audio"


class _VideoPart(_MediaPart, frozen=True, tag="video"):
    never_used: ClassVar[str] = "video"


class _BinaryPart(msgspec.Struct, frozen=True, tag="binary", rename="camel"):
    """A file as clients before 1.0 send it."""

    mime_type: str
    data: str = ""
    url: str = ""
    filename: str = ""

    def part(self) -> UserPart:
        """The part."""
        return usable_part(self.mime_type, name=self.filename, data=self.data, url=self.url)


_Media: TypeAlias = _ImagePart | _DocumentPart | _AudioPart | _VideoPart | _BinaryPart
_Content: TypeAlias = str | tuple[TextPart | _Media, ...]


class _Developer(System, frozen=True, tag="developer", tag_field="role"):
    """System messages have this role too."""


class _User(msgspec.Struct, frozen=True, tag="user", tag_field="role"):
    content: _Content
    id: str = ""


class _ToolCall(FunctionCall, frozen=True, rename="camel"):
    encrypted_value: str | None = None


class _Assistant(msgspec.Struct, frozen=True, tag="assistant", tag_field="role", rename="camel"):
    content: str | None = None
    tool_calls: tuple[_ToolCall, ...] | None = None
    id: str = ""
    encrypted_value: str | None = None


class _ResultMetadata(msgspec.Struct, frozen=True):
    status: str = "completed"


class _Metadata(msgspec.Struct, frozen=True):
    winterbourne: _ResultMetadata = _ResultMetadata()


class _Tool(msgspec.Struct, frozen=True, tag="tool", tag_field="role", rename="camel"):
    tool_call_id: str
    content: _Content
    error: str | None = None
    metadata: _Metadata | None = None


class _Activity(msgspec.Struct, frozen=True, tag="activity", tag_field="role"):
    """Display-only content; it is not passed to the model."""


class _ReasoningMessage(msgspec.Struct, frozen=True, tag="reasoning", tag_field="role", rename="camel"):
    content: str
    encrypted_value: str | None = None


AgUiMessage: TypeAlias = System | _Developer | _User | _Assistant | _Tool | _Activity | _ReasoningMessage


class _Failure(msgspec.Struct, frozen=True):
    """The content of a failed result, as our encoder sends it."""

    error: str


class EncryptedValue(OpaqueData, frozen=True):
    """What is opaque in a part, as it is packed into one `encryptedValue`."""


def encode_encrypted_value(value: EncryptedValue) -> str:
    """Pack what is opaque in a part into one string."""
    return dumps(msgspec.to_builtins(value)).decode()


def merge_values(known: EncryptedValue, new: EncryptedValue) -> EncryptedValue:
    """What is opaque in two parts of a turn, for its message, which has one value: the fields of both, else the new."""
    if not known.opaque or not new.opaque:
        return new
    fields, more = known.opaque.decoded(), new.opaque.decoded()
    pairs = ((name, value, more.get(name)) for name, value in fields.items())
    lists = {name: one + other for name, one, other in pairs if isinstance(one, list) and isinstance(other, list)}
    opaque = msgspec.structs.replace(new.opaque, fields=dumps({**fields, **more, **lists}).decode())
    return EncryptedValue(new.signature, new.redacted, opaque)


def _decode_encrypted_value(text: str | None) -> EncryptedValue:
    """What the encoder packed. An `encryptedValue` of another agent is ignored."""
    try:
        return msgspec.json.decode(text or "{}", type=EncryptedValue)
    except (ValueError, RecursionError):
        return EncryptedValue()


def decode_history(messages: Iterable[AgUiMessage]) -> list[Message]:
    """Core messages in the same order. Reasoning before a result belongs to the turn that made the call."""
    decoded: list[Message] = []
    pending_reasoning: list[Reasoning] = []
    for message in messages:
        match message:
            case System(text):
                decoded.append(SystemMessage(text))
            case _User(content, id_):
                pending_reasoning.clear()  # reasoning that led to no answer
                decoded.append(UserMessage(tuple(_content_parts(content)), id_))
            case _ReasoningMessage(text, value):
                pending_reasoning.append(_decode_encrypted_value(value).reasoning(text))
            case _Assistant():
                decoded.append(AssistantMessage((*pending_reasoning, *_assistant_parts(message)), message.id))
                pending_reasoning.clear()
            case _Tool():
                if decoded and isinstance(turn := decoded[-1], AssistantMessage):
                    decoded[-1] = _with_late_reasoning(turn, pending_reasoning)
                    pending_reasoning.clear()
                decoded.append(_tool_message(message))
    return decoded


def _with_late_reasoning(turn: AssistantMessage, reasoning: Iterable[Reasoning]) -> AssistantMessage:
    """The turn with reasoning that came after its text, and so before its calls: they are in one message of AG-UI."""
    others = (part for part in turn.parts if not isinstance(part, ToolCall))
    return msgspec.structs.replace(turn, parts=(*others, *reasoning, *turn.tool_calls))


def _content_parts(content: _Content) -> Iterator[UserPart]:
    for part in (TextPart(content),) if isinstance(content, str) else content:
        if not isinstance(part, TextPart):
            yield part.part()
        elif part.text:
            yield Text(part.text)


def _assistant_parts(message: _Assistant) -> Iterator[AssistantPart]:
    if message.content:
        yield Text(message.content)
    if (value := _decode_encrypted_value(message.encrypted_value)) != EncryptedValue():
        yield value.reasoning("")
    for call in message.tool_calls or ():
        yield call.function.call(call.id, _decode_encrypted_value(call.encrypted_value).opaque)


def _result_text(part: UserPart) -> str:
    """A part of a result as text: a model is shown no files in results."""
    kind = "a document" if isinstance(part, Document) else "an image"
    return part.text if isinstance(part, Text) else f"[{kind} that is not shown]"


def _tool_message(message: _Tool) -> ToolMessage:
    text = "".join(map(_result_text, _content_parts(message.content)))
    if message.error:
        return ToolMessage(message.tool_call_id, "", message.error, is_error=True)
    if message.metadata and message.metadata.winterbourne.status != "completed":
        return ToolMessage(message.tool_call_id, "", _error_text(text), is_error=True)
    return ToolMessage(message.tool_call_id, "", text)


def _error_text(text: str) -> str:
    """The message in `{"error":"..."}`; any other text unchanged."""
    try:
        return msgspec.json.decode(text, type=_Failure).error
    except (ValueError, RecursionError):
        return text


def turn_id(message_id: str, turn: int) -> str:
    """The id of a turn's message; turns count from 1."""
    return f"{message_id}-{turn}" if turn > 1 else message_id


def reasoning_id(message_id: str, number: int) -> str:
    """The id of a message of reasoning; they count from 1 in each answer."""
    return f"{message_id}-reasoning-{number}"


def result_content(content: str, *, is_error: bool) -> str:
    """The content of a result, with a mark if it is an error."""
    return dumps({"error": content}).decode() if is_error else content


def encode_history(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """AG-UI messages as the client has them once it has read the streams: `decode_history` inverted.

    Users' messages have ids. How long a tool took is not kept, nor how it failed; and a result that the client gave has
    the id that one of this server's tools would have.
    """
    encoded: list[dict[str, Any]] = []
    answer, turns, thoughts = "", 0, 0
    for at, message in enumerate(messages):
        match message:
            case SystemMessage(text):
                encoded.append({"id": f"s_{at}", "role": "system", "content": text})
            case UserMessage(parts, id_):
                alone = parts[0].text if len(parts) == 1 and isinstance(parts[0], Text) else ""  # many show that alone
                content = alone or [*map(_encode_user_part, parts)]
                encoded.append({"id": id_, "role": "user", "content": content})
            case AssistantMessage(_, id_):
                turns, thoughts = (turns + 1, thoughts) if answer == id_ else (1, 0)
                answer = id_ or f"m_{at}"
                turn = _encode_turn(message, answer, turns, thoughts)
                thoughts += sum(one["role"] == "reasoning" for one in turn)
                encoded += turn
            case ToolMessage():
                _insert_result(encoded, message)
    return encoded


def encode_source(source: Source, message_id: str) -> dict[str, Any]:
    """The fields of the custom event that tells a source of the message with this id."""
    return {"name": "source", "value": {"messageId": message_id, **msgspec.to_builtins(source)}}


def encode_sources(messages: Iterable[Message]) -> Iterator[dict[str, Any]]:
    """Those of all messages: AG-UI's own messages have no place for them."""
    answer, turns = "", 0
    for at, message in enumerate(messages):
        if isinstance(message, AssistantMessage):
            turns = turns + 1 if answer == message.id else 1
            answer = message.id or f"m_{at}"
            sources = (part for part in message.parts if isinstance(part, Source))
            yield from (encode_source(source, turn_id(answer, turns)) for source in sources)


def _encode_turn(turn: AssistantMessage, answer: str, number: int, thoughts: int) -> list[dict[str, Any]]:
    """A turn's message, with its reasoning before and after it."""
    said: dict[str, Any] = {"id": turn_id(answer, number), "role": "assistant"}
    encoded: list[dict[str, Any]] = []
    beside = EncryptedValue()
    for part in turn.parts:
        if not isinstance(part, Reasoning) and said not in encoded:
            encoded.append(said)
        match part:
            case Text(text):
                said["content"] = said.get("content", "") + text
            case ToolCall(id_, name, arguments, opaque):
                call = {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
                said.setdefault("toolCalls", []).append(call | _encrypted(EncryptedValue(opaque=opaque)))
            case Reasoning(text, signature, redacted, opaque):
                value = EncryptedValue(signature, redacted, opaque)
                encrypted = _encrypted(value)
                if said in encoded and not text:
                    beside = merge_values(beside, value)
                    said |= _encrypted(beside)
                elif encrypted or text:
                    thoughts += 1
                    encoded.append({"id": reasoning_id(answer, thoughts), "role": "reasoning", "content": text})
                    encoded[-1] |= encrypted
    return encoded


def _encrypted(value: EncryptedValue) -> dict[str, str]:
    return {} if value == EncryptedValue() else {"encryptedValue": encode_encrypted_value(value)}


def _insert_result(encoded: list[dict[str, Any]], result: ToolMessage) -> None:
    """Put a result where the client has it: after the message that calls and the results that it has already."""
    call_id, content = result.tool_call_id, result_content(result.content, is_error=result.is_error)
    metadata = {METADATA_KEY: {"status": "failed" if result.is_error else "completed"}}
    for owner in range(len(encoded) - 1, -1, -1):
        if any(call["id"] == call_id for call in encoded[owner].get("toolCalls", ())):
            place = owner + 1 + sum(1 for _ in takewhile(lambda one: one["role"] == "tool", encoded[owner + 1 :]))
            head = {"id": f"result-{call_id}", "role": "tool", "toolCallId": call_id}
            encoded.insert(place, head | {"content": content, "metadata": metadata})
            return


def _encode_user_part(part: UserPart) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    source = {"type": "url", "value": part.url} if part.url else {"type": "data", "value": part.data}
    kind = "document" if isinstance(part, Document) else "image"
    encoded = {"type": kind, "source": source | ({"mimeType": part.media_type} if part.media_type else {})}
    return encoded | ({"metadata": {"filename": part.name}} if isinstance(part, Document) and part.name else {})
