"""OpenAI's Responses API, streamed: the encoder of its requests and its sans-I/O parser, for `OpenAIProvider`.

https://platform.openai.com/docs/api-reference/responses
OpenAI keeps nothing (`store: false`): each request has the whole history, the model's reasoning in encrypted items.
"""

import contextlib
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from winterbourne.chat.core.capabilities import BASIC_OPTIONS
from winterbourne.chat.core.documents import PDF, document_type
from winterbourne.chat.core.history import NATIVE_SUMMARY, native_start
from winterbourne.chat.core.messages import (
    TOOL_CHOICES,
    AssistantMessage,
    AssistantPart,
    Document,
    Image,
    Opaque,
    Reasoning,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
    UserPart,
)
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.providers.errors import mid_stream_error, raise_if_error
from winterbourne.chat.providers.history import IdRule, Turn, fit_history
from winterbourne.chat.providers.lessons import Learned
from winterbourne.chat.providers.openai_chunks import to_usage
from winterbourne.chat.providers.stream_parser import (
    StreamParser,
    decode_leniently,
    encode_arguments,
    text_of,
)
from winterbourne.override import override

__all__ = ["OPTIONS", "PATH", "ResponsesParser", "request_fields"]

PATH: Final = "/responses"
OPTIONS: Final = BASIC_OPTIONS | {"top_p", "parallel_tool_calls"}
"""The options that the API has; it has no stop texts, seed and penalties."""

_IDS: Final = IdRule(re.compile(r".{1,64}", re.DOTALL), 64)
_MIN_TOKENS: Final = 16  # fewer are refused


class _Thought(msgspec.Struct, frozen=True):
    text: str
    type: str


class _ReasoningItem(msgspec.Struct, frozen=True, omit_defaults=True, tag="reasoning"):
    """What goes back of an item of reasoning: not its id, which only a server that keeps it knows."""

    summary: list[_Thought]
    content: list[_Thought] = []
    encrypted_content: str = ""


class _SummaryItem(msgspec.Struct, frozen=True, tag="compaction"):
    encrypted_content: str


class _Carried(msgspec.Struct, frozen=True):
    """What a turn carries for the provider, in `Opaque.fields`. Clients send it back, so that no more of it is read."""

    reasoning_items: list[_ReasoningItem] = []
    phase: str = ""
    compaction: _SummaryItem | None = None


def request_fields(
    request: ModelRequest, learned: Learned, output: dict[str, Any] | None, effort: str | None
) -> dict[str, Any]:
    """The fields of a request, without what a model has refused of the options of reasoning: `effort`, `summary`.

    `output` is what constrains its text, if anything does.
    """
    request = msgspec.structs.replace(request, messages=request.messages[native_start(request.messages) :])
    threshold = {"type": "compaction", "compact_threshold": request.compact_at}
    options = {"effort": effort, "summary": None if effort == "none" else "auto"}
    reasoning = {name: value for name, value in options.items() if value and effort and name not in learned}
    return {
        "instructions": request.system or None,
        "input": [item for message in fit_history(request, _IDS) for item in _encode_message(message)],
        "stream": True,
        "store": False,
        "context_management": [threshold] if request.compact_at else None,
        "include": ["reasoning.encrypted_content"],
        "reasoning": reasoning or None,
        "text": {"format": output} if output else None,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_output_tokens": max(request.max_tokens, _MIN_TOKENS) if request.max_tokens else None,
        **(_encode_tools(request) if request.tools else {}),
    }


def _encode_tools(request: ModelRequest) -> dict[str, Any]:
    """Without `strict: false` the schema of a tool would have to require every property."""
    choice = request.tool_choice
    return {
        "tools": [{"type": "function", **msgspec.structs.asdict(tool), "strict": False} for tool in request.tools],
        "tool_choice": choice if choice in TOOL_CHOICES else {"type": "function", "name": choice},
        "parallel_tool_calls": request.parallel_tool_calls,
    }


def _encode_message(message: Turn) -> list[dict[str, Any]]:
    match message:
        case UserMessage(parts):
            said = (part for part in parts if not isinstance(part, Text) or part.text.strip())
            return [{"role": "user", "content": [*map(_encode_part, said)]}]
        case AssistantMessage(parts):
            return _encode_turn(parts)
        case ToolMessage(call_id, _, content):
            return [{"type": "function_call_output", "call_id": call_id, "output": content}]


def _encode_part(part: UserPart) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "input_text", "text": text}
        case Image(media_type, data, url):
            return {"type": "input_image", "detail": "auto", "image_url": url or f"data:{media_type};base64,{data}"}
        case Document(_, name, data, url):
            file = {"filename": name or "document.pdf", "file_data": f"data:{PDF};base64,{data}"}
            return {"type": "input_file", **({"file_url": url} if url else file)}


def _encode_turn(parts: Sequence[AssistantPart]) -> list[dict[str, Any]]:
    """The items of a turn in the order in which the model made them. Reasoning that led to nothing is refused."""
    items: list[dict[str, Any]] = []
    said: dict[str, Any] = {}  # the message that goes on
    phase: dict[str, str] = {}  # of the next message; most clients send it back after its own
    for part in parts:
        match part:
            case Text(text) if said and said is items[-1]:
                said["content"] += text
            case Text(text):
                items.append(said := {"role": "assistant", "content": text, **phase})
                phase = {}
            case ToolCall(id_, name, arguments):
                items.append({"type": "function_call", "call_id": id_, "name": name, "arguments": arguments})
            case Reasoning(opaque=opaque) if opaque:
                carried = _read_carried(opaque)
                if carried.phase and said and "phase" not in said and said is items[-1]:
                    said["phase"], said = carried.phase, {}
                elif carried.phase:
                    phase = {"phase": carried.phase}
                items += msgspec.to_builtins([*filter(None, [carried.compaction]), *carried.reasoning_items])
    items = [item for item in items if str(item.get("content", "-")).strip()]
    while items and items[-1].get("type") == "reasoning":
        items.pop()
    return items


def _read_carried(opaque: Opaque) -> _Carried:
    with contextlib.suppress(ValueError, RecursionError):
        return msgspec.json.decode(opaque.fields or "{}", type=_Carried)
    return _Carried()


class _Item(msgspec.Struct):
    type: str = ""
    id: str | None = None
    call_id: str | None = None
    name: str = ""
    arguments: Any = None
    status: str | None = None
    phase: str | None = None
    content: Any = None
    summary: Any = None
    encrypted_content: str | None = None


class _Response(msgspec.Struct):
    status: str | None = None
    output: list[_Item] | None = None
    usage: Any = None
    error: Any = None
    incomplete_details: Any = None


class _Event(_Response):
    """An event; or a whole response, of servers that do not stream."""

    type: str = ""
    delta: str | None = None
    output_index: int = 0
    summary_index: int = 0
    item: _Item | None = None
    response: _Response | None = None
    annotation: Any = None


_decode: Final = msgspec.json.Decoder(_Event).decode


class ResponsesParser(StreamParser[bytes]):
    """Parses one streamed response into events. Those that say nothing new are passed over, as unknown ones are."""

    _has_thought: bool = False  # whether the open item of reasoning has said anything

    @override
    def _handle_frame(self, frame: bytes) -> None:
        if frame == b"[DONE]":  # of compatible servers; what ends the response came before it
            return
        try:
            event = _decode(frame)
        except (ValueError, RecursionError):
            event = decode_leniently(frame, _Event)
        if event.delta:
            self._handle_delta(event.type, event.output_index, event.delta)
        else:
            self._handle_event(event, frame)

    def _handle_delta(self, kind: str, index: int, delta: str) -> None:
        match kind:
            case "response.output_text.delta":
                self.assembler.add_text(delta)
            case "response.function_call_arguments.delta":
                self.assembler.add_arguments(index, delta)
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                self._has_thought = True
                self.assembler.add_reasoning(delta)
            case "response.refusal.delta":
                self.assembler.has_refused = True
                self.assembler.add_text(delta)

    def _handle_event(self, event: _Event, frame: bytes) -> None:
        match event.type:
            case "response.output_item.added" if event.item:
                self._handle_item_start(event.output_index, event.item)
            case "response.output_item.done" if event.item:
                self._handle_item(event.output_index, event.item)
            case "response.output_text.annotation.added":
                self._cite(event.annotation)
            case "response.reasoning_summary_part.added" if event.summary_index:
                self.assembler.add_reasoning("\n\n")
            case "response.completed" | "response.incomplete" | "response.failed":
                self._end(event.response or event, event.type.removeprefix("response."))
            case "" | "error":
                raise_if_error(frame, error=event.error, type=event.type)
                if event.status:
                    self._end(event)

    def _cite(self, annotation: Any) -> None:
        """Cite what an annotation names: a page, or a file."""
        fields = annotation if isinstance(annotation, dict) else {}
        url, title, name = (text_of(fields.get(field)) for field in ("url", "title", "filename"))
        if url or name:
            self.assembler.cite(0, url, title or name, "" if url else document_type("", name) or "text/plain", "")

    def _handle_item_start(self, index: int, item: _Item) -> None:
        self.assembler.next_content_block()
        self._has_thought = False
        if item.type == "function_call":
            self.assembler.start_tool_call(index, item.call_id or item.id or "", item.name)

    def _handle_item(self, index: int, item: _Item) -> None:
        """Handle an item that is complete, or was broken off: only what is in it, and not in deltas, is the truth."""
        match item.type:
            case "function_call":
                if index not in self.assembler.calls:
                    self._handle_item_start(index, item)
                if not self.assembler.calls[index].pieces:
                    self.assembler.add_arguments(index, encode_arguments(item.arguments or ""))
                if item.status == "completed":
                    self.assembler.mark_arguments_ended(index)
                    self.assembler.next_content_block()
            case "reasoning":
                self._handle_reasoning(item)
            case "compaction":
                self.assembler.add_reasoning("", NATIVE_SUMMARY)
                self.assembler.add_turn_fields({NATIVE_SUMMARY: {"encrypted_content": item.encrypted_content}})
                self.assembler.end_reasoning()
            case "message" if item.phase:
                self.assembler.add_turn_fields({"phase": item.phase})
                self.assembler.end_reasoning()

    def _handle_reasoning(self, item: _Item) -> None:
        summary = item.summary if isinstance(item.summary, list) else []
        thought = "\n\n".join(map(text_of, summary)) or text_of(item.content)
        if thought and not self._has_thought:
            self.assembler.add_reasoning(thought)
        if item.encrypted_content or item.content:
            fields = {"content": item.content, "encrypted_content": item.encrypted_content}
            sent = {name: value for name, value in fields.items() if value}
            self.assembler.add_turn_fields({"reasoning_items": [{"type": "reasoning", "summary": summary, **sent}]})
        if thought or self._has_thought or item.encrypted_content:
            self.assembler.end_reasoning()
        self._has_thought = False

    def _end(self, response: _Response, status: str = "") -> None:
        self.assembler.usage = to_usage(response.usage, "input", "output")
        if response.error:
            raise mid_stream_error(response.error)
        if not self.assembler.has_answer:
            self._handle_whole(response.output or ())
        details = response.incomplete_details
        reason = details.get("reason") if isinstance(details, dict) else None
        self.assembler.stop(str(reason or response.status or status))
        self.assembler.finish()

    def _handle_whole(self, items: Sequence[_Item]) -> None:
        """Handle items that no event has brought before."""
        for index, item in enumerate(items):
            if item.type == "message":
                parts = (
                    [part for part in item.content if isinstance(part, dict)] if isinstance(item.content, list) else []
                )
                self.assembler.has_refused |= any(part.get("refusal") for part in parts)
                self.assembler.add_text(text_of(item.content))
                cited = (part.get("annotations") for part in parts)
                for annotation in [each for some in cited if isinstance(some, list) for each in some]:
                    self._cite(annotation)
            self._handle_item(index, item)
