"""The scripted provider: deterministic and offline, for demos and tests. There is no model behind it.

A table, `scripted.toml`, says which words call which tool with which arguments, and how the result is told. The calls
run in parallel, their arguments streamed in pieces as real models do, and the answer comes word by word at a set pace.
Some phrases trigger what tests and demos need: `count to 500` gives a long answer, `think` adds reasoning,
`fail halfway` raises the error of an overloaded provider in mid-answer, and the name of any tool makes it call that
tool. An answer by a JSON schema is an example of it. Nothing is sampled, so that options about that change nothing.
"""

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import orjson

from winterbourne.chat.core.capabilities import BASIC_OPTIONS, Capabilities
from winterbourne.chat.core.documents import DOCUMENT_TYPES
from winterbourne.chat.core.events import (
    ModelEvent,
    ReasoningDelta,
    ReasoningEnded,
    SourceCited,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallReady,
    ToolCallStarted,
    TurnEnded,
    Usage,
)
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Document,
    Message,
    Source,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UserMessage,
)
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.core.title import INSTRUCTIONS
from winterbourne.chat.errors import ModelBusy
from winterbourne.chat.settings import ModelSettings

__all__ = ["Reply", "ScriptedProvider", "make"]

Arguments: TypeAlias = dict[str, object]


class Reply(msgspec.Struct, frozen=True):
    """A reply of the table.

    Attributes:
        tool: The tool to call.
        pattern: What to look for in the user's text.
        arguments: Templates for what the groups of the pattern hold; of several values, each makes a call.
        sentence: A format string for the fields of the tool's result.
        again: The text that a follow-up stands for: `And in Rome?` after the weather asks for the weather in Rome.
        needs: A pattern for what must be in the matched text.
        numbers: Which arguments are numbers.
        names: What a tool calls some of the values.
    """

    tool: str
    pattern: str
    arguments: dict[str, str]
    sentence: str
    again: str = ""
    needs: str = ""
    numbers: tuple[str, ...] = ()
    names: dict[str, str] = {}

    def calls(self, match: re.Match[str]) -> Iterator[Arguments]:
        """The arguments of each call for a match of the pattern."""
        texts = (match.expand(template) for template in self.arguments.values())
        several = (re.split(_script().fragments["and"], text) for text in texts)
        for values in itertools.product(*several) if re.search(self.needs, match[0]) else ():
            yield {name: self._value(name, text) for name, text in zip(self.arguments, values, strict=True)}

    def _value(self, name: str, text: str) -> object:
        text = self.names.get(text, text).replace(",", "").strip(" .-+*/\n")
        if name not in self.numbers:
            return text
        number = float(text)
        return int(number) if number.is_integer() else number


class _Script(msgspec.Struct, frozen=True):
    greeting: str
    abilities: str
    practice_data: str
    fragments: dict[str, str]
    replies: tuple[Reply, ...]

    @property
    def sentences(self) -> dict[str, str]:
        """How the result of each tool is told."""
        return {reply.tool: reply.sentence for reply in self.replies}


@cache
def _script() -> _Script:
    """The table. It is read at the first question: the process starts without it."""
    script = msgspec.toml.decode(Path(__file__).with_suffix(".toml").read_bytes(), type=_Script)
    for name, fragment in script.fragments.items():
        script.fragments[name] = fragment % script.fragments
    return script


# Compiled at the first question, and kept by `re`.
_FOLLOW_UP: Final = r"(?i)\s*(?:and|what about|how about)(?: in| for)? ([^?!\n]+)"
_WORD: Final = r"\s*\S+|\s+$"
_COUNT: Final = r"(?i)\bcount to (\d{1,5})\b"
_THINK: Final = r"(?i)\bthink\b"
_FAIL: Final = r"(?i)\bfail halfway\b"
_SIGNS: Final = str.maketrans({"\N{MULTIPLICATION SIGN}": "*", "\N{DIVISION SIGN}": "/", "^": "**"})
_ARGUMENTS_DELTA_CHARS: Final = 8
_OPTIONS: Final = BASIC_OPTIONS | {"top_p", "stop", "seed", "presence_penalty", "frequency_penalty"}


def make(settings: ModelSettings) -> "ScriptedProvider":
    """Make the scripted provider at the pace of SCRIPTED_WORDS_PER_SECOND."""
    return ScriptedProvider(settings.scripted_words_per_second)


class ScriptedProvider:
    """A provider that follows a script.

    Args:
        words_per_second: Pace of words and of pieces of arguments; 0 means as fast as the reader takes them.
    """

    name = "scripted"
    takes_image_urls = True

    def __init__(self, words_per_second: float = 0) -> None:
        self._pause_s = 1 / words_per_second if words_per_second else 0.0

    def capabilities(self, model_id: str) -> Capabilities:
        """What the script takes, whatever the model is called: any document, and it can think, or not."""
        del model_id
        return Capabilities(
            options=_OPTIONS,
            image_urls=True,
            documents=frozenset(DOCUMENT_TYPES),
            document_urls=True,
            citations=True,
            schema=True,
            reasoning=("none", "high"),
        )

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
    prompt, results = _latest_exchange(request.messages)
    if request.system == INSTRUCTIONS:  # for a title: the first words of the question
        words = prompt.removeprefix("User: ").partition("\n\nAssistant: ")[0].split()[:6]
        yield from _batches(request, "", " ".join(words), ())
        return
    earlier = [call for turn in request.messages if isinstance(turn, AssistantMessage) for call in turn.tool_calls]
    wanted = [] if results else _wanted_calls(prompt, earlier)
    calls = [] if results else _allowed_calls(request, prompt, wanted, first_number=len(earlier) + 1)
    documents = [] if results or calls or request.output else _newest_documents(request.messages)
    if results and not request.output:
        answer = _tell(earlier, results)
    elif calls:
        answer = "Let me look that up.\n\n"
    elif request.output:
        schema, answer = request.output.schema or {"type": "object"}, ""
        with contextlib.suppress(RecursionError):  # it leads back to itself
            answer = orjson.dumps(_example(schema, schema, prompt)).decode()
    elif documents:
        names = ", ".join(document.name or "a document" for document in documents)
        answer = f"I was given {names}, but a script cannot read."
    elif count := re.search(_COUNT, prompt):
        answer = " ".join(str(number) for number in range(1, int(count[1]) + 1))
    elif missing := sorted({tool for tool, _ in wanted}):
        answer = f"For that I would need {', '.join(missing)}, which I was not given."
    else:
        answer = _greet({tool.name for tool in request.tools})
    for text in request.stop or ():
        answer = answer.partition(text)[0]
    yield from _batches(request, prompt, answer, calls, map(_source, documents))


def _newest_documents(messages: Sequence[Message]) -> list[Document]:
    questions = [message for message in messages if isinstance(message, UserMessage)]
    return [part for part in questions[-1].parts if isinstance(part, Document)] if questions else []


def _source(document: Document) -> Source:
    """A document as the source of what is said of it: so a page can show sources without a model."""
    url = document.url if document.url.startswith("https:") else ""
    return Source(f"source_{document.name or document.url}", url, document.name, document.media_type)


def _greet(tools: set[str]) -> str:
    """What the table can do; if the tools are others than the table's, how to have them called."""
    others = f"I call every tool that you name: {', '.join(sorted(tools))}." if tools else "I was given no tools."
    script = _script()
    return script.greeting.format(script.abilities if tools >= script.sentences.keys() else others)


def _batches(
    request: ModelRequest, prompt: str, answer: str, calls: Sequence[ToolCall], sources: Iterable[Source] = ()
) -> Iterator[Sequence[ModelEvent]]:
    pieces: list[ModelEvent] = []
    if re.search(_THINK, prompt) if request.reasoning is None else request.reasoning != "none":
        pieces += (ReasoningDelta(word) for word in re.findall(_WORD, "The script says what to answer."))
        pieces.append(ReasoningEnded())
    pieces += (TextDelta(word) for word in re.findall(_WORD, answer))
    pieces += map(SourceCited, sources)
    allowed = pieces[: request.max_tokens]
    usage = Usage(sum(len(re.findall(_WORD, repr(message))) for message in request.messages), len(allowed))
    yield from ([piece] for piece in allowed)
    if len(allowed) < len(pieces):
        yield [TurnEnded("max_tokens", usage)]
        return
    if re.search(_FAIL, prompt):
        raise ModelBusy("the script breaks off here, as it was asked to")
    for call in calls:
        yield from _tool_call_batches(call)
    yield [TurnEnded("tool_calls" if calls else "stop", usage)]


def _wanted_calls(prompt: str, earlier: Sequence[ToolCall]) -> list[tuple[str, Arguments]]:
    """What the table finds in the text; if nothing, what it finds in the text that a follow-up stands for."""
    text = prompt.translate(_SIGNS)
    found = _look_up(text)
    if not found and earlier and (rest := re.match(_FOLLOW_UP, text)):
        again = {reply.tool: reply.again for reply in _script().replies}
        found = _look_up(again.get(earlier[-1].name, "").format(rest[1]))
    return found


def _look_up(text: str) -> list[tuple[str, Arguments]]:
    replies, fragments = _script().replies, _script().fragments
    matches = ((reply, match) for reply in replies for match in re.finditer(reply.pattern % fragments, text))
    found = ((reply.tool, arguments) for reply, match in matches for arguments in reply.calls(match))
    return [*{repr(one): one for one in found}.values()]


def _allowed_calls(
    request: ModelRequest, prompt: str, wanted: Sequence[tuple[str, Arguments]], first_number: int
) -> list[ToolCall]:
    """The wanted calls whose tool is there and allowed by `tool_choice`, and a call of each tool named in the text."""
    tools = {tool.name: tool for tool in request.tools if request.tool_choice in {"auto", "required", tool.name}}
    calls = [(name, arguments) for name, arguments in wanted if name in tools]
    named = [tool for tool in tools.values() if re.search(rf"\b{re.escape(tool.name)}\b", prompt)]
    if not calls and not named and request.tool_choice != "auto":
        named = [*tools.values()][:1]
    calls += [(tool.name, _example_arguments(tool, prompt)) for tool in named]
    texts = [(name, orjson.dumps(arguments).decode()) for name, arguments in calls]
    return [ToolCall(f"call_{number}", *call) for number, call in enumerate(texts, first_number)]


def _example_arguments(tool: ToolSchema, prompt: str) -> Any:
    """Values for the required arguments of a tool that has no row in the table."""
    text = prompt.partition(tool.name)[2]
    number = re.search(r"\d+", text) or re.search(r"\d+", prompt)
    return _example({**tool.parameters, "type": "object"}, tool.parameters, prompt, int(number[0]) if number else 1)


def _example(schema: Any, root: dict[str, Any], prompt: str, number: int = 1) -> Any:
    """A value by a schema: the first of several, required properties only, texts that repeat the prompt."""
    example = partial(_example, root=root, prompt=prompt, number=number)
    schema = schema if isinstance(schema, dict) else {}
    if "$ref" in schema:
        kind, _, name = schema["$ref"].removeprefix("#/").partition("/")
        return example(root.get(kind, {}).get(name, {}))
    if variants := schema.get("enum") or [schema[key] for key in ("const",) if key in schema]:
        return variants[0]
    if schemas := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        return example(schemas[0])
    properties = schema.get("properties", {})
    match schema.get("type", ""):
        case "object":
            return {name: example(properties.get(name, {})) for name in schema.get("required", ())}
        case "array":
            return [example(schema.get("items", {}))] * min(schema.get("minItems", 0), 9)
        case kind:
            return {"integer": number, "number": number, "boolean": True, "null": None}.get(str(kind), prompt)


def _tool_call_batches(call: ToolCall) -> Iterator[Sequence[ModelEvent]]:
    yield [ToolCallStarted(call.id, call.name)]
    size = _ARGUMENTS_DELTA_CHARS
    *pieces, last = (call.arguments[at : at + size] for at in range(0, len(call.arguments), size))
    yield from ([ToolArgumentsDelta(call.id, piece)] for piece in pieces)
    yield [ToolArgumentsDelta(call.id, last), ToolCallReady(call.id, call.name, call.arguments)]


def _latest_exchange(messages: Sequence[Message]) -> tuple[str, list[ToolMessage]]:
    """The text of the last user message, and the tool results since then."""
    results: list[ToolMessage] = []
    for message in reversed(messages):
        if isinstance(message, UserMessage):
            return " ".join(part.text for part in message.parts if isinstance(part, Text)), results
        if isinstance(message, ToolMessage):
            results.insert(0, message)
    return "", results


def _tell(calls: Sequence[ToolCall], results: Sequence[ToolMessage]) -> str:
    """One line per result, in the order of the calls; failures as reported; a note if there is practice data."""
    by_id = {result.tool_call_id: result for result in results}
    lines = [f"- {_sentence(call, by_id[call.id])}" for call in calls if call.id in by_id]
    head = "I could not find out:" if all(result.is_error for result in results) else "Here is what I found:"
    note = f"\n\n{_script().practice_data}" if any("practice" in result.content.lower() for result in results) else ""
    return f"{head}\n\n" + "\n".join(lines) + note


def _sentence(call: ToolCall, result: ToolMessage) -> str:
    subject = " ".join(map(str, _plain_fields(call.arguments).values())) or call.name
    if result.is_error:
        return f"**{subject}**: {call.name} failed: {result.content}"
    fields = _plain_fields(result.content)
    try:
        return _script().sentences[call.name].format_map(fields)
    except (LookupError, ValueError):  # a tool without a sentence, or a result that does not fit it
        told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in fields.items())
        return f"**{subject}**: {told or result.content}"


def _plain_fields(text: str) -> dict[str, str | int | float]:
    """The fields of a JSON object that are texts or numbers; none if the text is no JSON object."""
    with contextlib.suppress(ValueError, RecursionError):
        fields = msgspec.json.decode(text or "{}", type=dict[str, Any])
        return {name: field for name, field in fields.items() if isinstance(field, str | int | float)}
    return {}
