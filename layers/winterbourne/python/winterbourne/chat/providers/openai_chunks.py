"""Sans-I/O parser of streamed Chat Completions, of OpenAI and of compatible servers, for `OpenAIProvider`.

https://platform.openai.com/docs/api-reference/chat-streaming
Compatible servers differ in small ways; `OpenAIParser` accepts the known differences, each with a comment.
"""

from typing import Any, Final

import msgspec

from winterbourne.chat.core.events import Usage
from winterbourne.chat.providers.errors import mid_stream_error, raise_if_error
from winterbourne.chat.providers.opaque import CALL_FIELDS
from winterbourne.chat.providers.stream_parser import (
    StreamParser,
    decode_leniently,
    encode_arguments,
    text_of,
    token_count,
)
from winterbourne.override import override

__all__ = ["OpenAIParser", "to_usage"]


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: Any = None


class _ToolCallDelta(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None
    extra_content: Any = None  # the Gemini API
    provider_specific_fields: Any = None  # LiteLLM


class _ThinkingBlock(msgspec.Struct):
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


class _Delta(msgspec.Struct):
    content: Any = None  # a string; of some models a list of parts
    reasoning_content: Any = None  # DeepSeek, older vLLM, LiteLLM
    reasoning: Any = None  # vLLM, Ollama, Groq, OpenRouter
    tool_calls: list[_ToolCallDelta] | None = None
    function_call: _Function | None = None  # what `tool_calls` was before there could be several
    refusal: str | None = None
    thinking_blocks: Any = None  # LiteLLM, for Claude; next to `reasoning_content`
    reasoning_details: Any = None  # OpenRouter, next to `reasoning`
    extra_content: Any = None  # the Gemini API
    error: Any = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Delta | None = None
    message: _Delta | None = None  # whole, of servers that do not stream
    text: str | None = None  # of the older Completions
    finish_reason: str | None = None
    native_finish_reason: str | None = None  # OpenRouter: that of the provider behind it
    error: Any = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None
    code: Any = None


_decode: Final = msgspec.json.Decoder(_Chunk).decode
_NO_FUNCTION: Final = _Function()


class OpenAIParser(StreamParser[bytes]):
    """Parses one streamed completion into events."""

    # The provider's own id of the call that is open at an index.
    _ids: dict[int, str] = msgspec.field(default_factory=dict)
    # Id and arguments of a call whose name has not come yet.
    _unnamed: dict[int, tuple[str, str]] = msgspec.field(default_factory=dict)
    _last_index: int = 0
    _has_messages: bool = False

    @override
    def _handle_frame(self, frame: bytes) -> None:
        if frame == b"[DONE]":
            if self.assembler.stop_reason is None:  # some servers never send a finish reason
                self._stop()
            self.assembler.finish()
            return
        try:
            chunk = _decode(frame)
        except (ValueError, RecursionError):
            chunk = decode_leniently(frame, _Chunk)
        if chunk.usage:
            self.assembler.usage = to_usage(chunk.usage)
        for choice in chunk.choices or ():
            if choice.index:  # we never ask for more than one choice
                continue
            if choice.delta:
                self._handle_delta(choice.delta)
            if choice.message or choice.text or choice.error or (choice.delta and choice.delta.error):
                self._handle_unusual_choice(choice)
            if choice.finish_reason:
                _raise_if_error(chunk, frame)
                self._stop(choice.finish_reason, choice.native_finish_reason or "")
        _raise_if_error(chunk, frame)

    def _handle_unusual_choice(self, choice: _Choice) -> None:
        """Handle an error, or a message that is not streamed; after the deltas it consists of it says nothing new."""
        if error := choice.error or (choice.delta and choice.delta.error):
            raise mid_stream_error(error)
        if self._has_messages or not self.assembler.has_answer:
            self._has_messages = True
            self._handle_delta(choice.message or _Delta(choice.text))

    def _handle_delta(self, delta: _Delta) -> None:
        if (
            delta.reasoning_content
            or delta.reasoning
            or delta.thinking_blocks
            or delta.reasoning_details
            or delta.extra_content
        ):
            self._handle_reasoning(delta)
        if content := delta.content:
            if isinstance(content, str):
                self.assembler.add_text(content)
            else:
                self._handle_content_parts(content)
        if delta.refusal:
            self.assembler.has_refused = True
            self.assembler.add_text(delta.refusal)
        for fragment in delta.tool_calls or ():
            self._handle_tool_call_delta(fragment)
        if delta.function_call:
            self._handle_tool_call_delta(_ToolCallDelta(function=delta.function_call))

    def _handle_reasoning(self, delta: _Delta) -> None:
        field, text = "reasoning", delta.reasoning
        if delta.reasoning_content:
            field, text = "reasoning_content", delta.reasoning_content
        blocks = _thinking_blocks(delta.thinking_blocks)
        if any(block.thinking for block in blocks):  # the same text, and where a block ends
            text = None
        if text := text_of(text):
            self.assembler.add_reasoning(text, field)
        for block in blocks:
            self._handle_thinking_block(block, field if delta.reasoning_content else "")
        if isinstance(details := delta.reasoning_details, list) and details:
            self.assembler.add_turn_fields({"reasoning_details": details})
        if isinstance(extra := delta.extra_content, dict) and extra and not _marks_thought(extra):
            self.assembler.add_turn_fields({"extra_content": extra})

    def _handle_thinking_block(self, block: _ThinkingBlock, field: str) -> None:
        """Handle a block or a piece of one, whose end only the next one shows."""
        if self.assembler.signature and (block.thinking or block.data):
            self.assembler.end_reasoning()
        if block.thinking:
            self.assembler.add_reasoning(block.thinking, field)
        if block.signature:
            self.assembler.sign_reasoning(block.signature)
        if block.data:
            self.assembler.end_reasoning(redacted=block.data)

    def _handle_content_parts(self, parts: Any) -> None:
        """Handle content in parts, as Mistral's reasoning models send it. Parts without text are left out."""
        for part in parts if isinstance(parts, list) else (parts,):
            is_reasoning = isinstance(part, dict) and part.get("type") in ("thinking", "reasoning")
            if text := text_of(part):
                (self.assembler.add_reasoning if is_reasoning else self.assembler.add_text)(text)

    def _handle_tool_call_delta(self, fragment: _ToolCallDelta) -> None:
        function = fragment.function or _NO_FUNCTION
        index = self._last_index if fragment.index is None else fragment.index
        self._last_index = index
        call_id, name = fragment.id or "", function.name or ""
        arguments = function.arguments or ""
        if not isinstance(arguments, str):
            arguments = encode_arguments(arguments)
        if index in self._unnamed or not (name or index in self.assembler.calls):
            known_id, known_arguments = self._unnamed.pop(index, ("", ""))
            call_id, arguments = call_id or known_id, known_arguments + arguments
            if not name:
                self._unnamed[index] = call_id, arguments
                return
        if self._starts_tool_call(index, call_id, name):
            self._ids[index] = call_id
            self.assembler.start_tool_call(index, call_id, name)
        fields = {name: value for name in CALL_FIELDS if isinstance(value := getattr(fragment, name), dict) and value}
        if fields:
            self.assembler.sign_tool_call(index, fields)
        if arguments:
            self.assembler.add_arguments(index, arguments)

    def _starts_tool_call(self, index: int, call_id: str, name: str) -> bool:
        """Whether a fragment starts a new call.

        Ollama and compatibility layers for Gemini send every parallel call with index 0 and an id of its own, others
        without ids; some servers repeat id and name in every fragment.
        """
        call = self.assembler.calls.get(index)
        if call is None:
            return True
        known_id = self._ids[index]
        if call_id:
            return call_id != known_id and bool(known_id or name)
        return bool(name) and (name != call.name or call.is_complete)

    def _stop(self, reason: str = "", native_reason: str = "") -> None:
        if reason.lower() in {"null", "none"}:
            return
        for index, (call_id, arguments) in self._unnamed.items():  # the model is told that there is no such tool
            self._ids[index] = call_id
            self.assembler.start_tool_call(index, call_id, "")
            self.assembler.add_arguments(index, arguments)
        self._unnamed.clear()
        self.assembler.stop(reason, native_reason)


def _thinking_blocks(value: Any) -> list[_ThinkingBlock]:
    try:
        return msgspec.convert(value or [], list[_ThinkingBlock])
    except msgspec.ValidationError:
        return []


def _marks_thought(extra_content: dict[str, Any]) -> bool:
    """Whether this only says that the delta's text is a thought, which is not true of the whole turn."""
    google = extra_content.get("google")
    return isinstance(google, dict) and bool(google.get("thought")) and "thought_signature" not in google


def _raise_if_error(chunk: _Chunk, frame: bytes) -> None:
    if chunk.error or chunk.code or not chunk.choices:
        raise_if_error(frame, error=chunk.error, code=chunk.code)


def to_usage(usage: Any, sent: str = "prompt", written: str = "completion") -> Usage:
    """Token counts, which OpenAI's two APIs name differently; what is no count counts as nothing."""
    counts = usage if isinstance(usage, dict) else {}
    groups = (counts.get(f"{name}_tokens_details") for name in (sent, written))
    read, made = (group if isinstance(group, dict) else {} for group in groups)
    reported = (counts.get(f"{sent}_tokens"), counts.get(f"{written}_tokens"), counts.get("total_tokens"))
    detailed = (read.get("cached_tokens"), read.get("cache_write_tokens"), made.get("reasoning_tokens"))
    asked, said, total, cached, kept, reasoning = (token_count(count) or 0 for count in (*reported, *detailed))
    # Of Gemini and xAI `completion_tokens` is without what was thought, and the total is with it.
    thought = max(0, total - asked - said) if asked else 0
    return Usage(asked, said + thought, cached, kept, reasoning or thought)
