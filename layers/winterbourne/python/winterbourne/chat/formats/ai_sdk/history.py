"""Decodes and encodes chat history: AI SDK UI messages ⇄ core messages.

An assistant's UI message holds a whole answer: it is split into turns at its `step-start` parts, and a tool part holds
both the call and its result. Display-only parts (`source-*`, `data-*`) are left out of what a client sends.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Annotated, Any, Literal

import msgspec
import orjson
from msgspec import UNSET, Meta

from winterbourne.chat.core.history import DENIED_CALL_RESULT, INTERRUPTED_CALL_RESULT, with_whole_text
from winterbourne.chat.core.messages import (
    Approval,
    AssistantMessage,
    AssistantPart,
    Decision,
    DecisionReason,
    Document,
    Message,
    Opaque,
    Reasoning,
    Source,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
    UserPart,
)
from winterbourne.chat.formats.base import OpaqueData, encode_usage
from winterbourne.chat.formats.json_text import dumps
from winterbourne.chat.formats.media import usable_part

__all__ = [
    "CallMetadata",
    "PartMetadata",
    "ProviderMetadata",
    "UIMessage",
    "decode_decisions",
    "decode_history",
    "encode_history",
    "encode_source",
    "parse_json",
    "provider_metadata",
]


class PartMetadata(OpaqueData, frozen=True, omit_defaults=True):
    """Our metadata on a part, which the client sends back unchanged."""


class ProviderMetadata(msgspec.Struct, frozen=True):
    """`providerMetadata` with our own key."""

    winterbourne: PartMetadata = PartMetadata()


class CallMetadata(msgspec.Struct, frozen=True):
    """Our key in a message's own `metadata`: what is opaque in calls and came after their input, by the calls' ids."""

    winterbourne: dict[str, Opaque] = {}


class _Approval(msgspec.Struct, frozen=True):
    """What a person is asked about a call; with a reason once that person has decided."""

    id: str
    reason: str | None = None


class _Answered(msgspec.Struct, frozen=True):
    id: str
    approved: bool
    reason: DecisionReason | None = None


class UIMessagePart(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A message part of any type; fields that the part does not have are empty."""

    type: Annotated[str, Meta(min_length=1)]
    text: str = ""
    state: str | None = None
    media_type: str = ""
    url: str = ""
    filename: str = ""
    tool_name: str = ""
    tool_call_id: str = ""
    input: Any = None
    raw_input: Any = None
    output: Any = None
    error_text: str | None = None
    preliminary: bool | None = None
    approval: _Approval | None = None
    provider_metadata: ProviderMetadata | None = None
    call_provider_metadata: ProviderMetadata | None = None

    @property
    def resolved_tool_name(self) -> str:
        """The tool's name; empty if the part is not a tool call."""
        if self.type == "dynamic-tool":
            return self.tool_name
        return self.type.removeprefix("tool-") if self.type.startswith("tool-") else ""


class UIMessage(msgspec.Struct, frozen=True):
    """One message as the SDK stores it."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[UIMessagePart, ...]
    id: str = ""
    metadata: Any = None

    @property
    def late_opaque_data(self) -> dict[str, Opaque]:
        """What the encoder has put into `metadata`, which other code may use too."""
        try:
            return msgspec.convert(self.metadata, CallMetadata).winterbourne
        except msgspec.ValidationError:
            return {}


def decode_history(messages: Iterable[UIMessage]) -> Iterator[Message]:
    """Core messages, each turn followed by the results of its calls, as far as there are any.

    Of an answer that comes twice, the last version counts, in the first place.
    """
    for message in _latest_answers(tuple(messages)):
        match message.role:
            case "system":
                yield SystemMessage("".join(part.text for part in message.parts if part.type == "text"))
            case "user":
                yield UserMessage(tuple(_user_parts(message.parts)), message.id)
            case "assistant":
                for step in _split_steps(message.parts):
                    yield from _decode_step(step, message)


def decode_decisions(parts: Any) -> Iterator[Decision]:
    """What a person has decided of the calls in an answer; those that were run or denied since are over.

    Args:
        parts: Those of the newest message as the client sent it: what was decided just now is never repaired.

    Raises:
        msgspec.ValidationError: A decision has another shape.
    """
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict) and part.get("state") == "approval-responded":
            told = msgspec.convert(part.get("approval"), _Answered)
            yield Decision(approval_id=told.id, approved=told.approved, reason=told.reason or "")


def _latest_answers(messages: Sequence[UIMessage]) -> Iterable[UIMessage]:
    answers = (message.id if message.role == "assistant" else "" for message in messages)
    places = [answer or at for at, answer in enumerate(answers)]
    return dict(zip(places, messages, strict=True)).values()  # which keep the first place and take the last value


def _user_parts(parts: Iterable[UIMessagePart]) -> Iterator[UserPart]:
    for part in parts:
        if part.type == "text" and part.text:
            yield Text(part.text)
        elif part.type == "file":
            yield usable_part(part.media_type, url=part.url, name=part.filename)


def _split_steps(parts: Iterable[UIMessagePart]) -> Iterator[list[UIMessagePart]]:
    for is_start, step in groupby(parts, lambda part: part.type == "step-start"):
        if not is_start:
            yield list(step)


def _decode_step(step: Sequence[UIMessagePart], message: UIMessage) -> Iterator[Message]:
    # A call whose arguments were still streaming has none that could be sent to a provider: leave it out.
    usable_parts = [part for part in step if not (part.resolved_tool_name and part.state == "input-streaming")]
    late = message.late_opaque_data
    converted = tuple(converted for part in usable_parts for converted in _assistant_parts(part, late))
    yield AssistantMessage(converted, message.id, incomplete=any(part.state in _STREAMING_STATES for part in step))
    yield from filter(None, (_tool_message(part) for part in usable_parts if part.resolved_tool_name))


_STREAMING_STATES = frozenset({"streaming", "input-streaming"})


def _assistant_parts(part: UIMessagePart, late: Mapping[str, Opaque]) -> Iterator[AssistantPart]:
    metadata = (part.call_provider_metadata or part.provider_metadata or ProviderMetadata()).winterbourne
    if name := part.resolved_tool_name:
        opaque = late.get(part.tool_call_id, metadata.opaque)
        approval = Approval(part.approval.id, 0) if part.approval else UNSET  # its id says when it expires
        yield ToolCall(part.tool_call_id, name, _tool_arguments(part), opaque, approval)
    if part.type == "text" and part.text:
        yield Text(part.text)
    if part.type == "reasoning" or (part.type == "text" and metadata != PartMetadata()):
        yield metadata.reasoning(part.text if part.type == "reasoning" else "")


def _tool_arguments(part: UIMessagePart) -> str:
    """The arguments as JSON text; those that were not a JSON object were sent as plain text and stay unchanged."""
    value = part.raw_input if part.input is None else part.input
    return value if isinstance(value, str) else dumps({} if value is None else value).decode()


def _tool_message(part: UIMessagePart) -> ToolMessage | None:
    if part.state == "output-available" and not part.preliminary:
        return ToolMessage(part.tool_call_id, part.resolved_tool_name, dumps(part.output).decode())
    denied = f"{DENIED_CALL_RESULT} {(part.approval and part.approval.reason) or ''}".rstrip()
    errors = {"output-error": part.error_text or "failed", "output-denied": denied}
    errors["approval-responded"] = INTERRUPTED_CALL_RESULT  # if it was allowed, it may have been run
    if error := errors.get(part.state or ""):
        return ToolMessage(part.tool_call_id, part.resolved_tool_name, error, is_error=True)
    return None


def encode_history(messages: Iterable[Message], server_tools: Container[str]) -> list[dict[str, Any]]:
    """UI messages as the client has them once it has read the streams, one for each answer: `decode_history` inverted.

    What the client has and is not kept is missing: a call whose arguments had not ended, the `step-start` of a turn
    that said nothing, images' names. Opaque data that came after a call's input is in that part too.

    Args:
        messages: What is kept; users' messages have ids.
        server_tools: Names of this server's tools; the calls of all others are not `dynamic`.
    """
    encoded: list[dict[str, Any]] = []
    answer, part_count, cited = "", 0, set[str]()
    for at, message in enumerate(messages):
        match message:
            case SystemMessage(text):
                encoded.append({"id": f"s_{at}", "role": "system", "parts": [{"type": "text", "text": text}]})
            case UserMessage(parts, id_):
                for part in _parts_where(encoded, state="approval-requested"):  # nobody can decide it any more
                    _finish_call(part, DENIED_CALL_RESULT, is_error=True)
                encoded.append({"id": id_, "role": "user", "parts": [*map(_encode_user_part, parts)]})
            case AssistantMessage(_, id_, _, usage):
                if not encoded or encoded[-1]["role"] != "assistant" or answer != id_:
                    answer, part_count, cited = id_, 0, set()
                    encoded.append({"id": id_ or f"m_{at}", "role": "assistant", "parts": []})
                turn = _encode_turn(message, part_count, cited, server_tools)
                encoded[-1]["parts"] += turn
                part_count += sum(part["type"] in {"text", "reasoning"} for part in turn)
                if usage:
                    encoded[-1]["metadata"] = {"usage": encode_usage(usage)}
                    part_count, cited = 0, set()  # a stream ends here
            case ToolMessage(call_id, _, content, is_error):
                for part in _parts_where(encoded, toolCallId=call_id):
                    _finish_call(part, content, is_error=is_error)
    return encoded


def _parts_where(encoded: Sequence[Mapping[str, Any]], **field: str) -> list[dict[str, Any]]:
    """The parts of the last message that have this field."""
    return [part for part in (encoded[-1]["parts"] if encoded else ()) if field.items() <= part.items()]


def _finish_call(part: dict[str, Any], content: str, *, is_error: bool) -> None:
    """Give a call's part its result, which also says what was decided if a person was asked."""
    error = {"state": "output-error", "errorText": content}
    part.update(error if is_error else {"state": "output-available", "output": parse_json(content)})
    if "approval" in part:
        part["approval"] = {"id": part["approval"]["id"], "approved": True}
        if is_error and content.startswith(DENIED_CALL_RESULT):
            reason = content.removeprefix(DENIED_CALL_RESULT).strip()
            part["approval"] |= {"approved": False, **({"reason": reason} if reason else {})}
            part["state"] = "output-denied"
            del part["errorText"]


def _encode_turn(
    turn: AssistantMessage, part_count: int, cited: set[str], server_tools: Container[str]
) -> list[dict[str, Any]]:
    """The parts of a turn; `part_count` of text and reasoning, and `cited` sources, were in the stream before it."""
    encoded: list[dict[str, Any]] = [{"type": "step-start"}]
    for part in with_whole_text(turn.parts):
        match part:
            case Source(id_):
                encoded += [] if id_ in cited else [encode_source(part)]
                cited.add(id_)
            case Text(text):
                part_count += 1
                encoded.append({"type": "text", "text": text, "state": "done"})
            case Reasoning(text, signature, redacted, opaque):
                metadata = provider_metadata(PartMetadata(signature, redacted, opaque))
                last = next(one for one in reversed(encoded) if not one["type"].startswith("source-"))
                if metadata and not text and last.keys() == {"type", "text", "state"}:
                    last |= metadata
                elif metadata or text:
                    part_count += 1
                    head = {"type": "reasoning", "id": f"p{part_count}", "text": text, "state": "done"}
                    encoded.append(head | metadata)
            case ToolCall(id_, name, arguments, opaque, approval):
                kind = {"type": "dynamic-tool", "toolName": name} if name in server_tools else {"type": f"tool-{name}"}
                parsed = parse_json(arguments or "{}")
                call = {"toolCallId": id_, "input": parsed if isinstance(parsed, dict) else arguments}
                metadata = provider_metadata(PartMetadata(opaque=opaque), "callProviderMetadata")
                asked = _encode_approval(approval) if approval else {"state": "input-available"}
                encoded.append({**kind, **call, **asked, **metadata})
    return encoded


def encode_source(source: Source) -> dict[str, Any]:
    """A source as a part of a message, and as the chunk that brings it."""
    if source.url:
        title = {"title": source.title} if source.title else {}
        return {"type": "source-url", "sourceId": source.id, "url": source.url, **title}
    fields = {"mediaType": source.media_type or "text/plain", "title": source.title or "Document"}
    return {"type": "source-document", "sourceId": source.id, **fields}


def _encode_approval(approval: Approval) -> dict[str, Any]:
    reason = {"requestReason": approval.message} if approval.message else {}
    return {"state": "approval-requested", "approval": {"id": approval.id, **reason}}


def provider_metadata(part: PartMetadata, field: str = "providerMetadata") -> dict[str, Any]:
    """A part's field with what is opaque in it; empty if nothing is."""
    return {} if part == PartMetadata() else {field: msgspec.to_builtins(ProviderMetadata(part))}


def parse_json(text: str) -> Any:
    """The value of JSON text; text that is none, as it is."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _encode_user_part(part: UserPart) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    url = part.url or f"data:{part.media_type};base64,{part.data}"
    name = {"filename": part.name} if isinstance(part, Document) and part.name else {}
    return {"type": "file", "mediaType": part.media_type or "image/*", **name, "url": url}
