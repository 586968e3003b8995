"""The scripted provider: deterministic and offline, for demos and tests. There is no model behind it.

A table says which words call which tool with which arguments, and how the result is told. The calls run in parallel,
their arguments streamed in pieces as real models do, and the answer comes word by word at a set pace. Some phrases
trigger what tests and demos need: `count to 500` gives a long answer, `think` adds reasoning, `fail halfway` raises the
error of an overloaded provider in mid-answer, and the name of any tool makes it call that tool.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import msgspec
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
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.core.title import INSTRUCTIONS
from winterbourne.chat.errors import ModelBusy
from winterbourne.chat.settings import ModelSettings

__all__ = ["REPLIES", "Reply", "ScriptedProvider", "make"]

Arguments: TypeAlias = dict[str, object]


class Reply(msgspec.Struct, frozen=True):
    """One row of the table.

    Attributes:
        tool: The tool to call.
        pattern: What to look for in the user's text.
        calls: The arguments of each call for a match of the pattern.
        sentence: A format string for the fields of the tool's result.
        again: The text that a follow-up stands for: `And in Rome?` after the weather asks for the weather in Rome.
    """

    tool: str
    pattern: re.Pattern[str]
    calls: Callable[[re.Match[str]], Iterable[Arguments]]
    sentence: str
    again: str = ""


def _conversion(match: re.Match[str]) -> Iterator[Arguments]:
    amount = float(match[1].replace(",", ""))
    for target in _SEPARATOR.split(match[3]):
        whole = int(amount) if amount.is_integer() else amount
        yield {"amount": whole, "from_currency": match[2], "to_currency": target}


def _calculation(match: re.Match[str]) -> Iterator[Arguments]:
    expression = match[0].strip(" .-+*/\n")
    if _OPERATOR.search(expression):
        yield {"expression": expression}


def _time(match: re.Match[str]) -> Iterator[Arguments]:
    places = _SEPARATOR.split(match[1]) if match[1] else ["UTC"]
    return ({"timezone": TIME_ZONES.get(place, place)} for place in places)


_ZONES: Final = (
    "America/Lima America/New_York Asia/Tokyo Australia/Sydney Europe/Berlin Europe/London Europe/Paris Europe/Rome"
)
TIME_ZONES: Final = {zone.partition("/")[2].replace("_", " "): zone for zone in _ZONES.split()}
_NUMBER: Final = r"(?<![\w.,])(\d+(?:,\d{3})*(?:\.\d+)?)"
_AND: Final = r"(?:, and |, | and | or )"
_SEPARATOR: Final = re.compile(_AND)
_PLACE: Final = r"(?:[A-Z][\w'/-]*[a-z][\w'/-]*(?: [A-Z][\w'/-]*[a-z][\w'/-]*)*)"  # `AAPL` is none
_PLACES: Final = rf"((?:{_PLACE}|\w+)(?:{_AND}{_PLACE})*)"
_OPERATOR: Final = re.compile(r"\d[\s)]*(?:[+*/]|\s-\s)[\s(*]*-?\d")  # not the hyphens of a date
_SUM: Final = "`{expression}` is **{result}**."

REPLIES: Final = (
    Reply(
        "get_stock_quote",
        re.compile(r"\b(?:AAPL|AMD|AMZN|GOOGL|IBM|INTC|META|MSFT|NFLX|NVDA|TSLA)\b"),
        lambda match: [{"symbol": match[0]}],
        "**{symbol}** is at {price:.2f}, {change:+.2f} ({change_percent:+.1f} %) since the last close.",
    ),
    Reply(
        "get_weather",
        re.compile(rf"(?i:\bweather (?:in|for)) {_PLACES}"),
        lambda match: [{"city": place} for place in _SEPARATOR.split(match[1])],
        "**{city}**, {country}: {temperature_c} °C and {conditions}, feels like {feels_like_c} °C.",
        again="weather in {}",
    ),
    Reply(
        "convert_currency",
        re.compile(rf"{_NUMBER} ?([A-Z]{{3}}) (?:in|to|into) ([A-Z]{{3}}(?:{_AND}[A-Z]{{3}}\b)*)\b"),
        _conversion,
        "{amount:,.2f} {from_currency} is **{result:,.2f} {to_currency}**, at a rate of {rate}.",
    ),
    Reply(
        "calculate",
        re.compile(rf"{_NUMBER} ?(?:%|percent) of {_NUMBER}"),
        lambda match: [{"expression": f"{match[1]} / 100 * {match[2]}".replace(",", "")}],
        _SUM,
    ),
    Reply("calculate", re.compile(r"[\d\s.()+*/-]+"), _calculation, _SUM),
    Reply(
        "current_time",
        re.compile(rf"(?i:\b(?:what|current) time(?: is it)?|\bwhat is the time|\btime(?= in\b))(?: in {_PLACES})?"),
        _time,
        "In {timezone} it is **{time:.16}**, a {weekday}.",
        again="time in {}",
    ),
)

GREETING: Final = (
    "I am the scripted model: no network, no key, the same words every time. {} Set `MODEL_PROVIDER` to talk to a real"
    " model."
)
_ABILITIES: Final = (
    "I can look up share prices, the weather, exchange rates and the time, and do sums. Try: *Compare AAPL and MSFT,"
    " the weather in Paris and Lima, and 1200 EUR in USD*."
)
_STUB_DATA_NOTE: Final = "\n\nSome of these are practice data, made up on this machine."

_SENTENCES: Final = {reply.tool: reply.sentence for reply in REPLIES}
_FOLLOW_UPS: Final = {reply.tool: reply.again for reply in REPLIES if reply.again}
_FOLLOW_UP: Final = re.compile(r"\s*(?:and|what about|how about)(?: in| for)? ([^?!\n]+)", re.IGNORECASE)
_WORD: Final = re.compile(r"\s*\S+|\s+$")
_COUNT: Final = re.compile(r"\bcount to (\d{1,5})\b", re.IGNORECASE)
_THINK: Final = re.compile(r"\bthink\b", re.IGNORECASE)
_FAIL: Final = re.compile(r"\bfail halfway\b", re.IGNORECASE)
_SIGNS: Final = str.maketrans({"\N{MULTIPLICATION SIGN}": "*", "\N{DIVISION SIGN}": "/", "^": "**"})
_ARGUMENTS_DELTA_CHARS: Final = 8


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
    if results:
        answer = _tell(earlier, results)
    elif calls:
        answer = "Let me look that up.\n\n"
    elif count := _COUNT.search(prompt):
        answer = " ".join(str(number) for number in range(1, int(count[1]) + 1))
    elif missing := sorted({tool for tool, _ in wanted}):
        answer = f"For that I would need {', '.join(missing)}, which I was not given."
    else:
        answer = _greet({tool.name for tool in request.tools})
    yield from _batches(request, prompt, answer, calls)


def _greet(tools: set[str]) -> str:
    """What the table can do; if the tools are others than the table's, how to have them called."""
    others = f"I call every tool that you name: {', '.join(sorted(tools))}." if tools else "I was given no tools."
    return GREETING.format(_ABILITIES if tools >= _SENTENCES.keys() else others)


def _batches(
    request: ModelRequest, prompt: str, answer: str, calls: Sequence[ToolCall]
) -> Iterator[Sequence[ModelEvent]]:
    pieces: list[ModelEvent] = []
    if _THINK.search(prompt):
        pieces += (ReasoningDelta(word) for word in _WORD.findall("The script says what to answer."))
        pieces.append(ReasoningEnded())
    pieces += (TextDelta(word) for word in _WORD.findall(answer))
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


def _wanted_calls(prompt: str, earlier: Sequence[ToolCall]) -> list[tuple[str, Arguments]]:
    """What the table finds in the text; if nothing, what it finds in the text that a follow-up stands for."""
    text = prompt.translate(_SIGNS)
    found = _look_up(text)
    if not found and earlier and (rest := _FOLLOW_UP.match(text)):
        found = _look_up(_FOLLOW_UPS.get(earlier[-1].name, "").format(rest[1]))
    return found


def _look_up(text: str) -> list[tuple[str, Arguments]]:
    matches = ((reply, match) for reply in REPLIES for match in reply.pattern.finditer(text))
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


def _example_arguments(tool: ToolSchema, prompt: str) -> Arguments:
    """Values for the required arguments of a tool that has no row in the table."""
    properties: Any = tool.parameters.get("properties", {})
    required: Any = tool.parameters.get("required", [])
    number = re.search(r"\d+", prompt.partition(tool.name)[2]) or re.search(r"\d+", prompt)
    count = int(number[0]) if number else 1
    examples = {"integer": count, "number": count, "boolean": True, "array": [], "object": {}}
    schemas = {name: properties.get(name, {}) for name in required}
    return {
        name: schema["enum"][0] if "enum" in schema else examples.get(schema.get("type", ""), prompt)
        for name, schema in schemas.items()
    }


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
    note = _STUB_DATA_NOTE if any("practice" in result.content.lower() for result in results) else ""
    return f"{head}\n\n" + "\n".join(lines) + note


def _sentence(call: ToolCall, result: ToolMessage) -> str:
    subject = " ".join(map(str, _plain_fields(call.arguments).values())) or call.name
    if result.is_error:
        return f"**{subject}**: {call.name} failed: {result.content}"
    fields = _plain_fields(result.content)
    try:
        return _SENTENCES[call.name].format_map(fields)
    except (LookupError, ValueError):  # a tool without a sentence, or a result that does not fit it
        told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in fields.items())
        return f"**{subject}**: {told or result.content}"


def _plain_fields(text: str) -> dict[str, str | int | float]:
    """The fields of a JSON object that are texts or numbers; none if the text is no JSON object."""
    with contextlib.suppress(ValueError, RecursionError):
        fields = msgspec.json.decode(text or "{}", type=dict[str, Any])
        return {name: field for name, field in fields.items() if isinstance(field, str | int | float)}
    return {}
