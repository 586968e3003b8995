"""The embedded model: deterministic, without network, for trying out and for tests. It understands nothing.

It reads the user's words by pattern (`scripted_wishes`), asks for the fitting tools side by side, its arguments
streamed in pieces as real models do, and answers from the tools' results (`scripted_replies`) word by word at a set
pace. Some words make it do what tests and demonstrations need: `count to 500` gives a long answer, `think` makes it
think aloud, `fail halfway` makes it break off like a provider that is overloaded, the name of any tool makes it call
that tool.
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
from winterbourne.chat.providers.scripted.intents import Wish, follow_up, wishes
from winterbourne.chat.providers.scripted.replies import GREETING, as_object, reply
from winterbourne.chat.settings import Settings

__all__ = ["ScriptedModel", "make"]

_WORD: Final = re.compile(r"\s*\S+|\s+$")
_COUNT: Final = re.compile(r"\bcount to (\d{1,5})\b", re.IGNORECASE)
_THINK: Final = re.compile(r"\bthink\b", re.IGNORECASE)
_FAIL: Final = re.compile(r"\bfail halfway\b", re.IGNORECASE)
_PIECE: Final = 8


def make(settings: Settings) -> "ScriptedModel":
    """The scripted model at the pace of SCRIPTED_WORDS_PER_SECOND."""
    return ScriptedModel(settings.scripted_words_per_second)


class ScriptedModel:
    """A model that follows a script.

    Args:
        words_per_second: Pace of words and of pieces of arguments; 0 means as fast as they are read.
    """

    name = "scripted"
    takes_image_urls = True

    def __init__(self, words_per_second: float = 0) -> None:
        self._pause_s = 1 / words_per_second if words_per_second else 0.0

    async def stream(self, request: ModelRequest, /) -> AsyncGenerator[Sequence[ModelEvent], None]:
        """Take one turn, one word or piece of arguments a batch. See `Model.stream`.

        Raises:
            ModelBusy: It was asked to `fail halfway`.
        """
        for batch in _turn(request):
            if self._pause_s:
                await asyncio.sleep(self._pause_s)
            yield batch


# Private functions


def _turn(request: ModelRequest) -> Iterator[Sequence[ModelEvent]]:
    words = _last_words(request.messages)
    results = _results(request.messages)
    calls = [] if results else _calls(request, words)
    pieces = [*_thoughts(words), *_texts(_answer(request, words, results, calls))]
    allowed = pieces[: request.max_tokens]
    usage = Usage(sum(len(_WORD.findall(repr(message))) for message in request.messages), len(allowed))
    yield from ([piece] for piece in allowed)
    if len(allowed) < len(pieces):
        yield [TurnEnded("max_tokens", usage)]
        return
    if _FAIL.search(words):
        raise ModelBusy("the script breaks off here, as it was asked to")
    for call in calls:
        yield from _asking(call)
    yield [TurnEnded("tool_calls" if calls else "stop", usage)]


def _answer(request: ModelRequest, words: str, results: Sequence[ToolMessage], calls: Sequence[ToolCall]) -> str:
    if results:
        return reply([call for message in request.messages for call in _calls_of(message)], results)
    if calls:
        return "Let me look that up.\n\n"
    if count := _COUNT.search(words):
        return " ".join(str(number) for number in range(1, int(count[1]) + 1))
    if missing := sorted({wish.tool for wish in _heard(request.messages, words)}):
        return f"For that I would need {', '.join(missing)}, which I was not given."
    return GREETING


def _calls(request: ModelRequest, words: str) -> list[ToolCall]:
    """The wishes for which there is a tool that may be called, as calls."""
    tools = {tool.name: tool for tool in request.tools if request.tool_choice in {"auto", "required", tool.name}}
    wished = [wish for wish in _heard(request.messages, words) if wish.tool in tools]
    wished += [_by_name(tool, words) for tool in tools.values() if re.search(rf"\b{re.escape(tool.name)}\b", words)]
    if not wished and tools and request.tool_choice != "auto":
        wished = [_by_name(next(iter(tools.values())), words)]
    first = 1 + sum(len(_calls_of(message)) for message in request.messages)
    return [
        ToolCall(f"call_{number}", wish.tool, orjson.dumps(wish.arguments).decode())
        for number, wish in enumerate(wished, first)
    ]


def _heard(messages: Sequence[Message], words: str) -> list[Wish]:
    before = [call for message in messages for call in _calls_of(message)]
    return wishes(words) or (follow_up(words, _wish(before[-1])) if before else [])


def _wish(call: ToolCall) -> Wish:
    return Wish(call.name, as_object(call.arguments))


def _by_name(tool: ToolSchema, words: str) -> Wish:
    """A call of a tool the script does not know: what it requires, filled with what comes nearest."""
    properties: Any = tool.parameters.get("properties", {})
    required: Any = tool.parameters.get("required", [])
    return Wish(tool.name, {name: _fill(properties.get(name, {}), words) for name in required})


def _fill(schema: dict[str, Any], words: str) -> object:
    if "enum" in schema:
        return schema["enum"][0]
    number = re.search(r"\d+", words)
    fillings = {"integer": int(number[0]) if number else 1, "boolean": True, "array": [], "object": {}}
    fillings["number"] = fillings["integer"]
    return fillings.get(schema.get("type", ""), words)


def _thoughts(words: str) -> Iterator[ModelEvent]:
    if _THINK.search(words):
        yield from (ReasoningDelta(word) for word in _WORD.findall("The script says what to answer."))
        yield ReasoningEnded()


def _texts(answer: str) -> Iterator[ModelEvent]:
    return (TextDelta(word) for word in _WORD.findall(answer))


def _asking(call: ToolCall) -> Iterable[Sequence[ModelEvent]]:
    yield [ToolCallStarted(call.id, call.name)]
    pieces = [call.arguments[at : at + _PIECE] for at in range(0, len(call.arguments), _PIECE)]
    for piece in pieces[:-1]:
        yield [ToolArgumentsDelta(call.id, piece)]
    yield [ToolArgumentsDelta(call.id, pieces[-1]), ToolCallReady(call.id, call.name, call.arguments)]


def _last_words(messages: Sequence[Message]) -> str:
    for message in reversed(messages):
        if isinstance(message, UserMessage):
            return " ".join(part.text for part in message.parts if isinstance(part, Text))
    return ""


def _results(messages: Sequence[Message]) -> list[ToolMessage]:
    """The results since the user last spoke."""
    results: list[ToolMessage] = []
    for message in reversed(messages):
        if isinstance(message, UserMessage):
            break
        if isinstance(message, ToolMessage):
            results.insert(0, message)
    return results


def _calls_of(message: Message) -> tuple[ToolCall, ...]:
    return message.tool_calls if isinstance(message, AssistantMessage) else ()
