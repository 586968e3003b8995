"""What model turns use, estimated where the provider reports none, and before a request is sent; and what that costs.

The estimate keeps the limits and the spending alarm effective: some servers report no usage, or a part of it, and a
caller who stops each answer just before its end would otherwise never be charged. The table of list prices is imported
when the first turn ends; nothing of it at cold start.
"""

import functools
import logging
import math
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from winterbourne.chat.core.events import Usage
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Document,
    Image,
    Message,
    Source,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
    UserPart,
)
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.settings import ModelSettings, by_patterns

__all__ = [
    "TOKENS_PER_IMAGE",
    "Price",
    "Prices",
    "complete_usage",
    "estimate_input",
    "estimate_tokens",
    "family",
    "micro_dollars",
]

TOKENS_PER_IMAGE: Final = 1000
"""For each image, whatever its size: providers scale large ones down to about this."""

CHARS_PER_DOCUMENT_TOKEN: Final = 20
"""Of a document's base64: a PDF of 50 KB has some 3,000 tokens, text about as many as 5 characters of base64."""

MIN_TOKENS_PER_DOCUMENT: Final = 1000

TOKENS_PER_MESSAGE: Final = 4
"""A role and two delimiters, for the system prompt too."""

UNITS_PER_TOKEN: Final = 20

# First byte, last byte, units: what a character adds, by the first byte of its UTF-8. Fitted to the tokenizers of
# OpenAI and Anthropic over prose, code and JSON, and to the examples in the providers' documentation; where they differ
# (CJK: 0.6 to 1.2 tokens per character), nearer to the newer ones.
_UNITS: Final = """
    00 7F  12  punctuation, and what is not named below
    09 09   1  tab
    0A 0A   7  newline
    20 20   2  space: part of the word that follows
    22 22   5  quotation marks merge with what is beside them
    30 39  12  digits
    41 5A   8  upper case
    61 7A   5  lower case
    C2 DF  20  Latin letters with accents
    CE CF  11  Greek
    D0 D4   8  Cyrillic
    D6 D7  11  Hebrew
    D8 DB  10  Arabic
    E0 E0  11  Indic scripts, Thai
    E1 E2  20  Vietnamese letters, typographic signs
    E3 E3  17  kana
    E4 E9  14  CJK ideographs
    EA ED  14  Hangul
    EE EF  18  full-width forms
    F0 F4  40  emoji
"""

Dollars = Annotated[float, Meta(ge=0)]

SECTIONS: Final = {
    "api.anthropic.com": "anthropic",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral",
    "api.openai.com": "openai",
    "api.x.ai": "xai",
    "generativelanguage.googleapis.com": "gemini",
}
"""The parts of the table, by the hosts whose prices they are. What another server charges is not known."""

_VERSION: Final = r"(-20\d{6}|-20\d\d-\d\d-\d\d)?(-v\d+:\d+)?$"

_LOGGER: Final = logging.getLogger(__name__)


def _units_by_byte() -> bytes:
    table = bytearray(256)  # the other bytes of a character add nothing
    for first, last, units, *_ in (line.split() for line in _UNITS.strip().splitlines()):
        for byte in range(int(first, 16), int(last, 16) + 1):
            table[byte] = int(units)
    return bytes(table)


_UNITS_BY_BYTE: Final = _units_by_byte()


def estimate_tokens(text: str) -> int:
    """The tokens of a text, rounded up: within a quarter of what the providers' documentation gives for its examples.

    Text without words (base64, long identifiers) has up to twice as many.
    """
    return math.ceil(sum(text.encode("utf-8", "replace").translate(_UNITS_BY_BYTE)) / UNITS_PER_TOKEN)


def estimate_input(request: ModelRequest) -> int:
    """The tokens of what is sent to a provider; tools count as three quarters of their JSON, as OpenAI shortens it."""
    texts = "".join((request.system, *(text for message in request.messages for text in _texts(message))))
    tools = msgspec.json.encode(request.tools).decode() if request.tools else ""
    overhead = TOKENS_PER_MESSAGE * (len(request.messages) + bool(request.system))
    users = (message for message in request.messages if isinstance(message, UserMessage))
    files = sum(_file_tokens(part) for message in users for part in message.parts)
    return estimate_tokens(texts) + estimate_tokens(tools) * 3 // 4 + overhead + files


def complete_usage(reported: Usage, request: ModelRequest, output: Iterable[str]) -> Usage:
    """The usage that the provider reported, with an estimate of what it left out: all of it, or the input or output.

    Args:
        reported: Zeros for what was not reported.
        request: What was sent to the provider.
        output: What has been received: text, reasoning and tool call arguments.
    """
    return msgspec.structs.replace(
        reported,
        input=reported.input or estimate_input(request),
        output=reported.output or estimate_tokens("".join(output)),
    )


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The price of a model, in dollars per million tokens.

    Attributes:
        input: Of input that no cache has to do with.
        output: Of output, reasoning included.
        cached: Of input that is read from a cache; None for that of all input.
        cache_write: Of input that is written to it; likewise.
    """

    input: Dollars
    output: Dollars
    cached: Dollars | None = None
    cache_write: Dollars | None = None

    def dollars(self, usage: Usage) -> float:
        """What a turn costs."""
        cached = min(usage.cached, usage.input)
        written = min(usage.cache_write, usage.input - cached)
        return (
            (usage.input - cached - written) * self.input
            + cached * (self.input if self.cached is None else self.cached)
            + written * (self.input if self.cache_write is None else self.cache_write)
            + usage.output * self.output
        ) / 1e6


class Prices:
    """The prices of all models.

    Args:
        settings: MODEL_PRICES; the base URLs, as a compatible server has prices only if it is known; MODEL_CACHE, as
            writing a cache for an hour costs more.
        own_providers: The names of providers that are not ours; only MODEL_PRICES has prices of them.
        must_know: Whether to warn of models whose prices are not known, since there is a limit in dollars.

    Raises:
        SettingsError: MODEL_PRICES is not valid.
    """

    def __init__(self, settings: ModelSettings, own_providers: Iterable[str] = (), *, must_know: bool = False) -> None:
        self._own = by_patterns("MODEL_PRICES", settings.model_prices, Price)
        urls = {"openai": settings.openai_base_url, "anthropic": settings.anthropic_base_url}
        sections = {name: SECTIONS.get(urlsplit(url).hostname or "") for name, url in urls.items()}
        self._sections = {**sections, "bedrock": "bedrock", **dict.fromkeys(own_providers)}
        self._must_know = must_know
        self._write_price = 4 if settings.model_cache == "1h" else 3  # its place in a row of the table
        self._tiers = functools.lru_cache(maxsize=64)(self._find)

    def cost(self, model: str, usage: Usage) -> float | None:
        """What a turn costs, in dollars; None if that is not known. `model` is as in `TurnEnded`."""
        prices = [price for above, price in self._tiers(model) if usage.input > above]
        return prices[-1].dollars(usage) if prices else None

    def highest(self, model: str, input_tokens: int, output_tokens: int) -> float:
        """The most that a turn costs, in dollars, if all of its input is written to the cache; 0 if not known."""
        usages = (Usage(input_tokens, output_tokens, cache_write=written) for written in (0, input_tokens))
        return max(self.cost(model, usage) or 0.0 for usage in usages)

    def priced(self, model: str, usage: Usage) -> Usage:
        """The usage of a turn with its cost, which is measured; without one if that is not known."""
        from winterbourne.chat.infra.telemetry import measure  # noqa: PLC0415 - with Powertools; providers import us

        if (cost := self.cost(model, usage)) is None:
            return usage
        measure("CostUsd", cost, model=model)
        return msgspec.structs.replace(usage, cost=round(cost, 12))

    def _find(self, model: str) -> tuple[tuple[float, Price], ...]:
        """The prices of a model, each with the input above which it holds."""
        provider, _, model_id = model.partition(":")
        for pattern, price in self._own.items():
            if fnmatchcase(model_id, pattern) or fnmatchcase(model, pattern):
                return ((-1, price),)
        row = _row(section, model_id) if (section := self._sections.get(provider)) else ()
        if self._must_know and not row:
            _LOGGER.warning("the price of %s is not known: it counts as nothing in LIMIT_DOLLARS_PER_DAY", model)
        tiers = filter(None, [(-1.0, *row[:5]), row[5:]] if row else [])
        return tuple((above, Price(p[0], p[1], p[2], p[self._write_price])) for above, *p in tiers)


def family(model_id: str) -> str:
    """The id of a model without the date or version at its end."""
    return re.sub(_VERSION, "", model_id)


def micro_dollars(dollars: float) -> int:
    """The same in whole millionths, rounded up, but not for what the sum of some floats is off by."""
    return math.ceil(round(dollars * 1e6, 3))


def _file_tokens(part: UserPart) -> int:
    if isinstance(part, Document):
        return max(len(part.data) // CHARS_PER_DOCUMENT_TOKEN, MIN_TOKENS_PER_DOCUMENT)
    return TOKENS_PER_IMAGE if isinstance(part, Image) else 0


def _texts(message: Message) -> Iterator[str]:
    match message:
        case SystemMessage(text) | ToolMessage(content=text):
            yield text
        case UserMessage(parts) | AssistantMessage(parts):
            for part in parts:
                if isinstance(part, ToolCall):
                    yield from (part.name, part.arguments)
                elif not isinstance(part, Image | Document | Source):
                    yield part.text


def _row(section: str, model_id: str) -> tuple[float, ...]:
    """The numbers of a model's line in the table; none if it is not there."""
    from winterbourne.chat.core.price_table import TABLE  # noqa: PLC0415 - when the first turn ends

    lines = [line.partition(": ") for line in TABLE.splitlines() if line.startswith(f"{section} ")]
    for name in (model_id, family(model_id), family(model_id).removeprefix("us.")):  # the table is that of US East
        for head, _, names in lines:
            if name in names.split():
                return tuple(map(float, head.split()[1:]))
    return ()
