"""The scripted provider: deterministic and offline, for demos and tests. There is no model behind it.

It matches the user's text against patterns (`intents`), calls the matching tools in parallel with their arguments
streamed in pieces, as real models do, and composes an answer from the tools' results (`replies`), word by word at a set
pace. Some phrases trigger what tests and demos need: `count to 500` gives a long answer, `think` adds reasoning,
`fail halfway` raises the error of an overloaded provider in mid-answer, and the name of any tool makes it call that
tool.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from typing import Any, Final

import orjson

from winterbourne.chat.core.events import (
    ModelEvent,
    ReasoningDelta,
    ReasoningEnded,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallReady,
    ToolCallStarted,
    TurnEnded,
    Usage,
)
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Message,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UserMessage,
)
from winterbourne.chat.errors import ModelBusy
from winterbourne.chat.providers.base import ModelRequest
from winterbourne.chat.providers.scripted.intents import Intent, parse_follow_up, parse_intents
from winterbourne.chat.providers.scripted.replies import GREETING, compose_reply, parse_json_object
from winterbourne.chat.settings import Settings

__all__ = ["ScriptedProvider", "make"]

_WORD: Final = re.compile(r"\s*\S+|\s+$")
_COUNT: Final = re.compile(r"\bcount to (\d{1,5})\b", re.IGNORECASE)
_THINK: Final = re.compile(r"\bthink\b", re.IGNORECASE)
_FAIL: Final = re.compile(r"\bfail halfway\b", re.IGNORECASE)
_ARGUMENTS_DELTA_CHARS: Final = 8


def make(settings: Settings) -> "ScriptedProvider":
    """Make the scripted provider at the pace of SCRIPTED_WORDS_PER_SECOND."""
    return ScriptedProvider(settings.model.scripted_words_per_second)


class ScriptedProvider:
    """A provider that follows a script.

    Args:
        words_per_second: Pace of words and of pieces of arguments; 0 means as fast as the reader takes them.
    """

    name = "scripted"
    takes_image_urls = True

    def __init__(self, words_per_second: float = 0) -> None:
        self._pause_s = 1 / words_per_second if words_per_second else 0.0

    async def stream(self, request: ModelRequest, /) -> AsyncGenerator[Sequence[ModelEvent], None]:
        """Stream one turn, one word or one piece of arguments per batch.

        Raises:
            ModelBusy: The user's text contains `fail halfway`.
        """
        for batch in _play_turn(request):
            if self._pause_s:
                await asyncio.sleep(self._pause_s)
            yield batch


def _play_turn(request: ModelRequest) -> Iterator[Sequence[ModelEvent]]:
    prompt = _last_user_text(request.messages)
    results = _latest_tool_results(request.messages)
    calls = [] if results else _plan_tool_calls(request, prompt)
    pieces = [*_reasoning_events(prompt), *_text_deltas(_answer_text(request, prompt, results, calls))]
    allowed = pieces[: request.max_tokens]
    usage = Usage(sum(len(_WORD.findall(repr(message))) for message in request.messages), len(allowed))
    yield from ([piece] for piece in allowed)
    if len(allowed) < len(pieces):
        yield [TurnEnded("max_tokens", usage)]
        return
    if _FAIL.search(prompt):
        raise ModelBusy("the script breaks off here, as it was asked to")
    for call in calls:
        yield from _tool_call_batches(call)
    yield [TurnEnded("tool_calls" if calls else "stop", usage)]


def _answer_text(request: ModelRequest, prompt: str, results: Sequence[ToolMessage], calls: Sequence[ToolCall]) -> str:
    if results:
        return compose_reply([call for message in request.messages for call in _calls_of(message)], results)
    if calls:
        return "Let me look that up.\n\n"
    if count := _COUNT.search(prompt):
        return " ".join(str(number) for number in range(1, int(count[1]) + 1))
    if missing := sorted({intent.tool for intent in _recognize_intents(request.messages, prompt)}):
        return f"For that I would need {', '.join(missing)}, which I was not given."
    return GREETING


def _plan_tool_calls(request: ModelRequest, prompt: str) -> list[ToolCall]:
    """Calls for the intents whose tool is available and allowed by `tool_choice`."""
    tools = {tool.name: tool for tool in request.tools if request.tool_choice in {"auto", "required", tool.name}}
    intents = [intent for intent in _recognize_intents(request.messages, prompt) if intent.tool in tools]
    intents += [
        _intent_for_tool(tool, prompt) for tool in tools.values() if re.search(rf"\b{re.escape(tool.name)}\b", prompt)
    ]
    if not intents and tools and request.tool_choice != "auto":
        intents = [_intent_for_tool(next(iter(tools.values())), prompt)]
    first = 1 + sum(len(_calls_of(message)) for message in request.messages)
    return [
        ToolCall(f"call_{number}", intent.tool, orjson.dumps(intent.arguments).decode())
        for number, intent in enumerate(intents, first)
    ]


def _recognize_intents(messages: Sequence[Message], prompt: str) -> list[Intent]:
    previous_calls = [call for message in messages for call in _calls_of(message)]
    return parse_intents(prompt) or (
        parse_follow_up(prompt, _intent_from_call(previous_calls[-1])) if previous_calls else []
    )


def _intent_from_call(call: ToolCall) -> Intent:
    return Intent(call.name, parse_json_object(call.arguments))


def _intent_for_tool(tool: ToolSchema, prompt: str) -> Intent:
    """A call of a tool without a pattern of its own: example values for its required arguments."""
    properties: Any = tool.parameters.get("properties", {})
    required: Any = tool.parameters.get("required", [])
    return Intent(tool.name, {name: _example_value(properties.get(name, {}), prompt) for name in required})


def _example_value(schema: dict[str, Any], prompt: str) -> object:
    if "enum" in schema:
        return schema["enum"][0]
    number = re.search(r"\d+", prompt)
    examples = {"integer": int(number[0]) if number else 1, "boolean": True, "array": [], "object": {}}
    examples["number"] = examples["integer"]
    return examples.get(schema.get("type", ""), prompt)


def _reasoning_events(prompt: str) -> Iterator[ModelEvent]:
    if _THINK.search(prompt):
        yield from (ReasoningDelta(word) for word in _WORD.findall("The script says what to answer."))
        yield ReasoningEnded()


def _text_deltas(answer: str) -> Iterator[ModelEvent]:
    return (TextDelta(word) for word in _WORD.findall(answer))


def _tool_call_batches(call: ToolCall) -> Iterable[Sequence[ModelEvent]]:
    yield [ToolCallStarted(call.id, call.name)]
    pieces = [
        call.arguments[at : at + _ARGUMENTS_DELTA_CHARS] for at in range(0, len(call.arguments), _ARGUMENTS_DELTA_CHARS)
    ]
    for piece in pieces[:-1]:
        yield [ToolArgumentsDelta(call.id, piece)]
    yield [ToolArgumentsDelta(call.id, pieces[-1]), ToolCallReady(call.id, call.name, call.arguments)]


def _last_user_text(messages: Sequence[Message]) -> str:
    for message in reversed(messages):
        if isinstance(message, UserMessage):
            return " ".join(part.text for part in message.parts if isinstance(part, Text))
    return ""


def _latest_tool_results(messages: Sequence[Message]) -> list[ToolMessage]:
    """The tool results since the last user message."""
    results: list[ToolMessage] = []
    for message in reversed(messages):
        if isinstance(message, UserMessage):
            break
        if isinstance(message, ToolMessage):
            results.insert(0, message)
    return results


def _calls_of(message: Message) -> tuple[ToolCall, ...]:
    return message.tool_calls if isinstance(message, AssistantMessage) else ()
