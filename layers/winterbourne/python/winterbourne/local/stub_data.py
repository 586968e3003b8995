"""Made-up responses in the formats of Finnhub, Open-Meteo and Frankfurter. Pure and deterministic.

Each contains `"source": "practice data"`, which the tools pass on to the model.
https://finnhub.io/docs/api/quote, https://open-meteo.com/en/docs, https://frankfurter.dev/v1
"""

import json
import zlib
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

__all__ = ["ROUTES", "SOURCE", "delay_s"]

Query: TypeAlias = Mapping[str, str]
Response: TypeAlias = tuple[int, Any]

SOURCE: Final = "practice data"

_DATA: Final = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
CITIES: Final[list[tuple[str, str, float, float]]] = _DATA["cities"]
"""Name, country, latitude, longitude of each."""
RATES: Final[dict[str, float]] = _DATA["rates"]
"""Units per euro."""
ACCENT_FOLDING: Final = str.maketrans("áãéíóúü", "aaeiouu")
CONDITIONS: Final = (0, 1, 2, 3, 45, 51, 61, 80, 95)


def delay_s(target: str) -> float:
    """Simulated latency, 0.15 to 0.65 seconds, so that tools visibly finish at different times."""
    return 0.15 + _pseudo_random(target, 500) / 1000


def _quote(query: Query, now: datetime) -> Response:
    symbol = query.get("symbol", "").upper()
    if not (symbol.isascii() and symbol.isalpha() and len(symbol) <= 5):
        return 200, {"c": 0, "d": None, "dp": None, "h": 0, "l": 0, "o": 0, "pc": 0, "t": 0, "source": SOURCE}
    previous_close = 20 + _pseudo_random(symbol, 48000) / 100
    change = round(previous_close * (_pseudo_random(symbol + "/change", 800) - 400) / 10000, 2)
    price = round(previous_close + change, 2)
    return 200, {
        "c": price,
        "d": change,
        "dp": round(100 * change / previous_close, 4),
        "h": max(price, previous_close),
        "l": min(price, previous_close),
        "o": previous_close,
        "pc": previous_close,
        "t": int(now.timestamp()),
        "source": SOURCE,
    }


def _search(query: Query, now: datetime) -> Response:  # noqa: ARG001 - the signature of all routes
    name = _fold_accents(query.get("name", ""))
    found = [city for city in CITIES if _fold_accents(city[0]) == name]
    results = [dict(zip(("name", "country", "latitude", "longitude"), city, strict=True)) for city in found]
    return 200, {"results": results, "source": SOURCE} if results else {"source": SOURCE}


def _forecast(query: Query, now: datetime) -> Response:
    """One object for one place, a list of them for several, as the real service answers."""
    try:
        latitudes, longitudes = ([float(part) for part in query[name].split(",")] for name in ("latitude", "longitude"))
        places = [_current_weather(*place, now) for place in zip(latitudes, longitudes, strict=True)]
    except (KeyError, ValueError):
        return 400, {"error": True, "reason": "Parameters 'latitude' and 'longitude' must be numbers", "source": SOURCE}
    return 200, places[0] if len(places) == 1 else places


def _current_weather(latitude: float, longitude: float, now: datetime) -> dict[str, Any]:
    place = f"{latitude:.2f},{longitude:.2f}"
    temperature = round(30 - abs(latitude) / 2 + (_pseudo_random(place, 80) - 40) / 10, 1)
    current = {
        "time": now.strftime("%Y-%m-%dT%H:%M"),
        "interval": 900,
        "temperature_2m": temperature,
        "apparent_temperature": round(temperature - _pseudo_random(place + "/wind", 30) / 10, 1),
        "relative_humidity_2m": 35 + _pseudo_random(place + "/humidity", 60),
        "weather_code": CONDITIONS[_pseudo_random(place + "/code", len(CONDITIONS))],
        "wind_speed_10m": 2 + _pseudo_random(place + "/wind", 30),
    }
    return {"latitude": latitude, "longitude": longitude, "current": current, "source": SOURCE}


def _latest(query: Query, now: datetime) -> Response:
    base = query.get("base", "EUR").upper()
    symbols = [symbol for symbol in query.get("symbols", ",".join(RATES)).upper().split(",") if symbol != base]
    if base not in RATES or not all(symbol in RATES for symbol in symbols):
        return 404, {"message": "not found", "source": SOURCE}
    rates = {symbol: round(RATES[symbol] / RATES[base], 5) for symbol in symbols}
    return 200, {"amount": 1.0, "base": base, "date": f"{now:%Y-%m-%d}", "rates": rates, "source": SOURCE}


def _fold_accents(name: str) -> str:
    return name.casefold().translate(ACCENT_FOLDING)


def _pseudo_random(text: str, modulus: int) -> int:
    return zlib.crc32(text.encode()) % modulus


ROUTES: Final[Mapping[str, Callable[[Query, datetime], Response]]] = {
    "/finnhub/quote": _quote,
    "/geocoding/search": _search,
    "/open-meteo/forecast": _forecast,
    "/frankfurter/latest": _latest,
}
"""Path → function from a query and the current time to a response."""
