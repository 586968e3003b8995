"""What the scripted model hears: words in, wishes out. A wish is a tool's name with its arguments.

Pure patterns, for English and for the five shipped tools. Knows nothing of streams and of results.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

__all__ = ["Wish", "follow_up", "wishes"]


class Wish(NamedTuple):
    """A tool that would help, and what to ask it."""

    tool: str
    arguments: dict[str, object]


Reader: TypeAlias = Callable[[str], Iterator[Wish]]

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

CODES: Final = frozenset(
    re.findall(
        r"\w+",
        "AUD BGN BRL CAD CHF CNY CZK DKK EUR GBP HKD HUF IDR ILS INR ISK JPY KRW MXN MYR NOK NZD PHP PLN RON SEK SGD"
        " THB TRY USD ZAR",
    )
)

UNITS: Final = {code.lower(): code for code in CODES} | {
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

ZONES: Final = {
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
    "(?:" + "|".join(re.escape(u) + (r"\b" if u.isalpha() else "") for u in sorted(UNITS, key=len, reverse=True)) + ")"
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
_BETWEEN = re.compile(r"\s*(?:,|;|&|\b(?:and|or|vs|versus)\b)\s*")
_CAPITALISED = re.compile(r"[A-Z][\w'-]*(?: (?:de |la |do )?[A-Z][\w'-]*)*")
_UNCAPITALISED = re.compile(r"[^\W\d_][\w'-]*(?: [^\W\d_][\w'-]*){0,2}$")
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
_SUM = re.compile(r"(?<![\w.,])[(\d-][\d\s.()+*/-]*[\d)](?![\w])")
_IS_SUM = re.compile(r"\d[\s)]*(?:\*\*|[-+*/])[\s(]*-?[\s(]*\d")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_PLAIN = str.maketrans(
    {"\N{RIGHT SINGLE QUOTATION MARK}": "'", "\N{MULTIPLICATION SIGN}": "*", "\N{DIVISION SIGN}": "/", "^": "**"}
)
_OPERATORS = {"plus": "+", "minus": "-", "times": "*", "divided by": "/", "over": "/"}
_SPOKEN = re.compile(r"(?<=[\d)])\s+(plus|minus|times|divided by|over)\s+(?=[\d(])", re.IGNORECASE)
_FOLLOWS = re.compile(r"\s*(?:and|what about|how about|also|now)\b", re.IGNORECASE)


def wishes(words: str) -> list[Wish]:
    """Every wish in the words, in the order of the shipped tools, each once."""
    plain = words.translate(_PLAIN)
    found = (wish for reader in _READERS for wish in reader(plain))
    return [*{repr(wish): wish for wish in found}.values()]


def follow_up(words: str, last: Wish) -> list[Wish]:
    """`And in Rome?` after a wish for the weather in Paris is a wish for the weather in Rome."""
    follows = _FOLLOWS.match(words)
    if not follows:
        return []
    rest = words[follows.end() :]
    match last.tool:
        case "get_weather":
            return [Wish(last.tool, {"city": place}) for place in _places(rest)]
        case "current_time":
            return [Wish(last.tool, {"timezone": _zone(place)}) for place in _places(rest)]
        case "convert_currency":
            return [Wish(last.tool, last.arguments | {"to_currency": unit}) for unit in _units(rest)]
        case "get_stock_quote":
            return [Wish(last.tool, {"symbol": symbol}) for symbol in _symbols(rest, about_stocks=True)]
    return []


# Private functions: one reader per tool


def _stocks(words: str) -> Iterator[Wish]:
    for symbol in _symbols(words, about_stocks=bool(_STOCKS.search(words)) and not words.isupper()):
        yield Wish("get_stock_quote", {"symbol": symbol})


def _symbols(words: str, *, about_stocks: bool) -> Iterator[str]:
    """Well-known symbols always; other words in capitals and names of companies only where stocks are the matter."""
    for word in re.findall(r"\w+", words):
        if word in COMPANIES.values() or (about_stocks and _SYMBOL.fullmatch(word) and word not in CODES):
            yield word
        elif about_stocks and word.lower() in COMPANIES:
            yield COMPANIES[word.lower()]


def _weather(words: str) -> Iterator[Wish]:
    for asked in _WEATHER.finditer(words):
        named = [match[1].strip() for match in _WEATHER_OF.finditer(words) if not _NO_PLACE.match(match[1])]
        for place in named or _listed(words[asked.end() :]):
            yield Wish("get_weather", {"city": place})


def _money(words: str) -> Iterator[Wish]:
    for match in (*_EXCHANGE.finditer(words), *_HOW_MANY.finditer(words)):
        if source := match["source"] or match["sign"]:
            amount = float(match["amount"].replace(",", ""))
            for target in _units(match["targets"]):
                yield Wish(
                    "convert_currency",
                    {
                        "amount": int(amount) if amount.is_integer() else amount,
                        "from_currency": UNITS[source.lower()],
                        "to_currency": target,
                    },
                )


def _units(words: str) -> Iterator[str]:
    return (UNITS[unit.lower()] for unit in re.findall(_UNIT, words, re.IGNORECASE))


def _sums(words: str) -> Iterator[Wish]:
    for part, whole in _PERCENT.findall(words):
        yield Wish("calculate", {"expression": f"{part} / 100 * {whole}"})
    for number in _ROOT.findall(words):
        yield Wish("calculate", {"expression": f"{number} ** 0.5"})
    spoken = _SPOKEN.sub(lambda match: f" {_OPERATORS[match[1].lower()]} ", words)
    for match in _SUM.finditer(_DATE.sub("", spoken)):
        if _IS_SUM.search(match[0]) and match[0].count("(") == match[0].count(")"):
            yield Wish("calculate", {"expression": match[0].strip()})


def _time(words: str) -> Iterator[Wish]:
    if asked := _TIME.search(words):
        zones = _ZONE.findall(words) or [_zone(place) for place in _listed(words[asked.start() :])]
        for zone in zones or ["UTC"]:
            yield Wish("current_time", {"timezone": zone})


def _zone(place: str) -> str:
    return ZONES.get(place.lower(), place)


def _listed(words: str) -> Iterable[str]:
    """The places that follow the first `in`, `for`, `at`, `of` or `about`."""
    match = _PLACES.search(words)
    return _places(match[1]) if match else ()


def _places(words: str) -> Iterator[str]:
    """`Paris and Lima, and 1200 EUR in USD` → Paris, Lima: the items of a list, until one is no place."""
    for item in _BETWEEN.split(re.sub(r"^\s*(?:in|for|at)\s+", "", words).rstrip(" ?!.")):
        place = _CAPITALISED.match(item) or _UNCAPITALISED.match(_WHEN.sub("", item))
        if item and (not place or _NO_PLACE.match(item)):
            return
        if place:
            yield _WHEN.sub("", place[0])


_READERS: Final[tuple[Reader, ...]] = (_stocks, _weather, _money, _sums, _time)
