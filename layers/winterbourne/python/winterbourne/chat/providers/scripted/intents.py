"""Intent parser of the scripted provider: text in, intents out. An intent is a tool's name with its arguments.

Regular expressions only, for English and for the five shipped tools.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

import msgspec

__all__ = ["Intent", "parse_follow_up", "parse_intents"]


class Intent(msgspec.Struct, frozen=True):
    """A tool that fits the text, and the arguments to call it with."""

    tool: str
    arguments: dict[str, object]


IntentParser: TypeAlias = Callable[[str], Iterator[Intent]]

COMPANIES: Final = {
    "alphabet": "GOOGL",
    "amazon": "AMZN",
    "amd": "AMD",
    "apple": "AAPL",
    "google": "GOOGL",
    "ibm": "IBM",
    "intel": "INTC",
    "meta": "META",
    "microsoft": "MSFT",
    "netflix": "NFLX",
    "nvidia": "NVDA",
    "tesla": "TSLA",
}

CURRENCY_CODES: Final = frozenset(
    re.findall(
        r"\w+",
        "AUD BGN BRL CAD CHF CNY CZK DKK EUR GBP HKD HUF IDR ILS INR ISK JPY KRW MXN MYR NOK NZD PHP PLN RON SEK SGD"
        " THB TRY USD ZAR",
    )
)

CURRENCIES: Final = {code.lower(): code for code in CURRENCY_CODES} | {
    "$": "USD",
    "dollar": "USD",
    "dollars": "USD",
    "euro": "EUR",
    "euros": "EUR",
    "franc": "CHF",
    "francs": "CHF",
    "pound": "GBP",
    "pounds": "GBP",
    "yen": "JPY",
    "£": "GBP",
    "¥": "JPY",
    "€": "EUR",
}

TIMEZONES: Final = {
    "berlin": "Europe/Berlin",
    "cairo": "Africa/Cairo",
    "chicago": "America/Chicago",
    "delhi": "Asia/Kolkata",
    "lima": "America/Lima",
    "london": "Europe/London",
    "los angeles": "America/Los_Angeles",
    "madrid": "Europe/Madrid",
    "new york": "America/New_York",
    "paris": "Europe/Paris",
    "rome": "Europe/Rome",
    "sao paulo": "America/Sao_Paulo",
    "seattle": "America/Los_Angeles",
    "singapore": "Asia/Singapore",
    "sydney": "Australia/Sydney",
    "tokyo": "Asia/Tokyo",
    "utc": "UTC",
    "vienna": "Europe/Vienna",
    "zurich": "Europe/Zurich",
}

_UNIT = (
    "(?:"
    + "|".join(re.escape(u) + (r"\b" if u.isalpha() else "") for u in sorted(CURRENCIES, key=len, reverse=True))
    + ")"
)
_AMOUNT = r"\d[\d,]*(?:\.\d+)?"

_STOCKS = re.compile(r"\b(?:stocks?|shares?|quotes?|tickers?|prices?|compare|trading|market)\b", re.IGNORECASE)
_SYMBOL = re.compile(r"\b[A-Z]{2,5}\b")
_WEATHER = re.compile(
    r"\b(?:weather|forecast|temperatures?|umbrella|rain(?:s|y|ing)?|snow(?:s|ing)?|sunny|wind(?:y)?|hot|cold|warm)\b",
    re.IGNORECASE,
)
_WEATHER_OF = re.compile(r"\b((?:[A-Z][\w-]+ ?)+)(?:'s )?\b(?:weather|forecast)\b")
_TIME = re.compile(
    r"\b(?:what(?:'s| is)?(?: the)?(?: current| local)? (?:time|date|day)|(?:current|local) time|time is it|time in)\b",
    re.IGNORECASE,
)
_ZONE = re.compile(r"\b(?:Africa|America|Asia|Atlantic|Australia|Europe|Pacific)/[A-Z]\w+(?:/[A-Z]\w+)?")
_PLACES = re.compile(r"\b(?:in|for|at|of|about)\s+([^.?!\n]+)", re.IGNORECASE)
_LIST_SEPARATOR = re.compile(r"\s*(?:,|;|&|\b(?:and|or|vs|versus)\b)\s*")
_CAPITALIZED = re.compile(r"[A-Z][\w'-]*(?: (?:de |la |do )?[A-Z][\w'-]*)*")
_UNCAPITALIZED = re.compile(r"[^\W\d_][\w'-]*(?: [^\W\d_][\w'-]*){0,2}$")
_WHEN = re.compile(r"\s*\b(?:right now|now|today|tomorrow|tonight|please|this week)\b.*$", re.IGNORECASE)
_NO_PLACE = re.compile(
    r"(?:a|also|calculate|celsius|compare|convert|fahrenheit|forecast|give|how|is|price|show|stock|tell|that|the|then"
    r"|time|weather|what|whats)\b",
    re.IGNORECASE,
)
_EXCHANGE = re.compile(
    rf"(?P<sign>[€$£¥])?\s?(?P<amount>{_AMOUNT})\s*(?P<source>{_UNIT})?\s*(?:in|to|into|as|are|is|=|->|→)"
    rf"(?:\s+how\s+many)?\s*(?P<targets>{_UNIT}(?:[\s,&]+(?:(?:and|or)\s+)?{_UNIT})*)",
    re.IGNORECASE,
)
_HOW_MANY = re.compile(
    rf"how (?:many|much) (?P<targets>{_UNIT})[^\d€$£¥]*(?P<sign>[€$£¥])?\s?(?P<amount>{_AMOUNT})\s*"
    rf"(?P<source>{_UNIT})?",
    re.IGNORECASE,
)
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s?(?:%|percent) of (\d+(?:\.\d+)?)", re.IGNORECASE)
_ROOT = re.compile(r"(?:square root of |sqrt\s?\(?\s?)(\d+(?:\.\d+)?)", re.IGNORECASE)
_EXPRESSION = re.compile(r"(?<![\w.,])[(\d-][\d\s.()+*/-]*[\d)](?![\w])")
_HAS_OPERATOR = re.compile(r"\d[\s)]*(?:\*\*|[-+*/])[\s(]*-?[\s(]*\d")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_CHARACTER_REPLACEMENTS = str.maketrans(
    {"\N{RIGHT SINGLE QUOTATION MARK}": "'", "\N{MULTIPLICATION SIGN}": "*", "\N{DIVISION SIGN}": "/", "^": "**"}
)
_OPERATORS = {"plus": "+", "minus": "-", "times": "*", "divided by": "/", "over": "/"}
_OPERATOR_WORD = re.compile(r"(?<=[\d)])\s+(plus|minus|times|divided by|over)\s+(?=[\d(])", re.IGNORECASE)
_FOLLOW_UP_PREFIX = re.compile(r"\s*(?:and|what about|how about|also|now)\b", re.IGNORECASE)


def parse_intents(text: str) -> list[Intent]:
    """Every intent in the text, in the order of the shipped tools, without duplicates."""
    normalized = text.translate(_CHARACTER_REPLACEMENTS)
    found = (intent for parse in _INTENT_PARSERS for intent in parse(normalized))
    return [*{repr(intent): intent for intent in found}.values()]


def parse_follow_up(text: str, last_intent: Intent) -> list[Intent]:
    """Parse a follow-up: `And in Rome?` after the weather in Paris asks for the weather in Rome."""
    follows = _FOLLOW_UP_PREFIX.match(text)
    if not follows:
        return []
    rest = text[follows.end() :]
    match last_intent.tool:
        case "get_weather":
            return [Intent(last_intent.tool, {"city": place}) for place in _split_places(rest)]
        case "current_time":
            return [Intent(last_intent.tool, {"timezone": _to_timezone(place)}) for place in _split_places(rest)]
        case "convert_currency":
            return [
                Intent(last_intent.tool, last_intent.arguments | {"to_currency": unit})
                for unit in _find_currencies(rest)
            ]
        case "get_stock_quote":
            return [Intent(last_intent.tool, {"symbol": symbol}) for symbol in _find_symbols(rest, about_stocks=True)]
    return []


def _parse_stocks(text: str) -> Iterator[Intent]:
    for symbol in _find_symbols(text, about_stocks=bool(_STOCKS.search(text)) and not text.isupper()):
        yield Intent("get_stock_quote", {"symbol": symbol})


def _find_symbols(text: str, *, about_stocks: bool) -> Iterator[str]:
    """Well-known symbols always; other words in capitals and company names only if the text is about stocks."""
    for word in re.findall(r"\w+", text):
        if word in COMPANIES.values() or (about_stocks and _SYMBOL.fullmatch(word) and word not in CURRENCY_CODES):
            yield word
        elif about_stocks and word.lower() in COMPANIES:
            yield COMPANIES[word.lower()]


def _parse_weather(text: str) -> Iterator[Intent]:
    for keyword in _WEATHER.finditer(text):
        named = [match[1].strip() for match in _WEATHER_OF.finditer(text) if not _NO_PLACE.match(match[1])]
        for place in named or _places_after_preposition(text[keyword.end() :]):
            yield Intent("get_weather", {"city": place})


def _parse_currency_conversions(text: str) -> Iterator[Intent]:
    for match in (*_EXCHANGE.finditer(text), *_HOW_MANY.finditer(text)):
        if source := match["source"] or match["sign"]:
            amount = float(match["amount"].replace(",", ""))
            for target in _find_currencies(match["targets"]):
                yield Intent(
                    "convert_currency",
                    {
                        "amount": int(amount) if amount.is_integer() else amount,
                        "from_currency": CURRENCIES[source.lower()],
                        "to_currency": target,
                    },
                )


def _find_currencies(text: str) -> Iterator[str]:
    return (CURRENCIES[unit.lower()] for unit in re.findall(_UNIT, text, re.IGNORECASE))


def _parse_calculations(text: str) -> Iterator[Intent]:
    for part, whole in _PERCENT.findall(text):
        yield Intent("calculate", {"expression": f"{part} / 100 * {whole}"})
    for number in _ROOT.findall(text):
        yield Intent("calculate", {"expression": f"{number} ** 0.5"})
    with_operators = _OPERATOR_WORD.sub(lambda match: f" {_OPERATORS[match[1].lower()]} ", text)
    for match in _EXPRESSION.finditer(_DATE.sub("", with_operators)):
        if _HAS_OPERATOR.search(match[0]) and match[0].count("(") == match[0].count(")"):
            yield Intent("calculate", {"expression": match[0].strip()})


def _parse_times(text: str) -> Iterator[Intent]:
    if keyword := _TIME.search(text):
        zones = _ZONE.findall(text) or [
            _to_timezone(place) for place in _places_after_preposition(text[keyword.start() :])
        ]
        for zone in zones or ["UTC"]:
            yield Intent("current_time", {"timezone": zone})


def _to_timezone(place: str) -> str:
    return TIMEZONES.get(place.lower(), place)


def _places_after_preposition(text: str) -> Iterable[str]:
    """The places that follow the first `in`, `for`, `at`, `of` or `about`."""
    match = _PLACES.search(text)
    return _split_places(match[1]) if match else ()


def _split_places(text: str) -> Iterator[str]:
    """`Paris and Lima, and 1200 EUR in USD` → Paris, Lima: the items of a list, up to the first that is not a place."""
    for item in _LIST_SEPARATOR.split(re.sub(r"^\s*(?:in|for|at)\s+", "", text).rstrip(" ?!.")):
        place = _CAPITALIZED.match(item) or _UNCAPITALIZED.match(_WHEN.sub("", item))
        if item and (not place or _NO_PLACE.match(item)):
            return
        if place:
            yield _WHEN.sub("", place[0])


_INTENT_PARSERS: Final[tuple[IntentParser, ...]] = (
    _parse_stocks,
    _parse_weather,
    _parse_currency_conversions,
    _parse_calculations,
    _parse_times,
)
