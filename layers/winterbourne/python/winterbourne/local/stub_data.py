"""Made-up responses in the formats of Finnhub, Open-Meteo and Frankfurter. Pure and deterministic.

Each contains `"source": "practice data"`, which the tools pass on to the model.
https://finnhub.io/docs/api/quote, https://open-meteo.com/en/docs, https://frankfurter.dev/v1
"""

import zlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias

__all__ = ["ROUTES", "SOURCE", "delay_s"]

Query: TypeAlias = Mapping[str, str]
Response: TypeAlias = tuple[int, Any]

SOURCE: Final = "practice data"

# Name, country, latitude, longitude.
CITIES: Final = (
    ("Amsterdam", "Netherlands", 52.37, 4.89),
    ("Athens", "Greece", 37.98, 23.73),
    ("Auckland", "New Zealand", -36.85, 174.76),
    ("Berlin", "Germany", 52.52, 13.41),
    ("Bogotá", "Colombia", 4.61, -74.08),
    ("Cairo", "Egypt", 30.06, 31.25),
    ("Cape Town", "South Africa", -33.93, 18.42),
    ("Chicago", "United States", 41.85, -87.65),
    ("Dublin", "Ireland", 53.33, -6.25),
    ("Helsinki", "Finland", 60.17, 24.94),
    ("Istanbul", "Türkiye", 41.01, 28.95),
    ("Lagos", "Nigeria", 6.45, 3.39),
    ("Lima", "Peru", -12.04, -77.03),
    ("Lisbon", "Portugal", 38.72, -9.13),
    ("London", "United Kingdom", 51.51, -0.13),
    ("Madrid", "Spain", 40.42, -3.7),
    ("Mexico City", "Mexico", 19.43, -99.13),
    ("Mumbai", "India", 19.07, 72.88),
    ("Nairobi", "Kenya", -1.28, 36.82),
    ("New York", "United States", 40.71, -74.01),
    ("Oslo", "Norway", 59.91, 10.75),
    ("Paris", "France", 48.85, 2.35),
    ("Reykjavík", "Iceland", 64.14, -21.9),
    ("Rome", "Italy", 41.89, 12.51),
    ("San Francisco", "United States", 37.77, -122.42),
    ("São Paulo", "Brazil", -23.55, -46.64),
    ("Seoul", "South Korea", 37.57, 126.98),
    ("Singapore", "Singapore", 1.29, 103.85),
    ("Stockholm", "Sweden", 59.33, 18.07),
    ("Sydney", "Australia", -33.87, 151.21),
    ("Tokyo", "Japan", 35.69, 139.69),
    ("Toronto", "Canada", 43.7, -79.42),
    ("Vienna", "Austria", 48.21, 16.37),
    ("Zurich", "Switzerland", 47.37, 8.55),
)
ACCENT_FOLDING: Final = str.maketrans("áãéíóúü", "aaeiouu")

# Units per euro.
RATES: Final = {
    "AUD": 1.78,
    "BRL": 6.31,
    "CAD": 1.62,
    "CHF": 0.93,
    "CNY": 8.25,
    "CZK": 24.4,
    "DKK": 7.47,
    "EUR": 1.0,
    "GBP": 0.87,
    "INR": 103.2,
    "JPY": 176.4,
    "MXN": 21.5,
    "NOK": 11.7,
    "NZD": 2.04,
    "PLN": 4.24,
    "SEK": 10.9,
    "USD": 1.16,
    "ZAR": 20.1,
}
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
