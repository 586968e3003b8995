"""Current weather from Open-Meteo: geocodes the city, then fetches its weather; that of several cities in one request.

https://open-meteo.com/en/docs and https://open-meteo.com/en/docs/geocoding-api
"""

import asyncio
import os
from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from winterbourne.chat import ToolContext, ToolError, ToolUnavailable, get_json, tool

__all__ = ["Weather", "get_weather"]

BASE_URL: Final = "https://api.open-meteo.com/v1"
GEOCODING_BASE_URL: Final = "https://geocoding-api.open-meteo.com/v1"

# WMO code 4677 in the groups that Open-Meteo uses; the first code of each group.
WEATHER_CODES: Final = {
    0: "clear sky",
    1: "mainly clear",
    2: "partly cloudy",
    3: "overcast",
    45: "fog",
    51: "drizzle",
    56: "freezing drizzle",
    61: "rain",
    66: "freezing rain",
    71: "snow",
    80: "rain showers",
    85: "snow showers",
    95: "thunderstorm",
}


class Weather(msgspec.Struct, frozen=True):
    """The tool's result."""

    city: str
    country: str
    conditions: str
    temperature_c: float
    feels_like_c: float
    humidity_percent: float
    wind_km_h: float
    local_time: str
    source: str


class _Place(msgspec.Struct, frozen=True):
    name: str
    latitude: float
    longitude: float
    country: str = ""


class _Places(msgspec.Struct, frozen=True):
    """The geocoder's answer; without `results` where nothing fits."""

    results: tuple[_Place, ...] = ()


class _Current(msgspec.Struct, frozen=True):
    time: str
    temperature_2m: float
    apparent_temperature: float
    relative_humidity_2m: float
    weather_code: int
    wind_speed_10m: float


class _Forecast(msgspec.Struct, frozen=True):
    current: _Current
    source: str = "Open-Meteo"


async def _get_weather_in_cities(calls: Sequence[Any], context: ToolContext) -> list[Weather | BaseException]:
    """The weather in several cities, with one request for all forecasts; an error for a city that cannot be found.

    Raises:
        ToolUnavailable: A service is away, for all of them.
    """
    places = await asyncio.gather(*(_place(call.city, context) for call in calls), return_exceptions=True)
    for place in places:
        if isinstance(place, ToolUnavailable):
            raise place
    found = [place for place in places if isinstance(place, _Place)]
    forecasts = iter(await _forecasts(found, context) if found else [])
    return [_to_weather(place, next(forecasts)) if isinstance(place, _Place) else place for place in places]


@tool(
    retries=2,
    cache_ttl_s=300,
    cache_per_caller=False,
    breaker="open-meteo.com",
    batch=_get_weather_in_cities,
    batch_window_s=0.3,  # a model writes its calls one after the other
)
async def get_weather(city: Annotated[str, Meta(min_length=2, max_length=100)], context: ToolContext) -> Weather:
    """The weather in a city right now.

    Args:
        city: The name of one city, for example Paris; no country, no further words.
        context: The call's context; not part of the schema.
    """
    place = await _place(city, context)
    (forecast,) = await _forecasts([place], context)
    return _to_weather(place, forecast)


async def _place(city: str, context: ToolContext) -> _Place:
    places = await get_json(
        context,
        "geocoding service",
        f"{os.environ.get('OPEN_METEO_GEOCODING_BASE_URL') or GEOCODING_BASE_URL}/search",
        _Places,
        params={"name": city, "count": 1, "language": "en", "format": "json"},
    )
    if not places.results:
        raise ToolError(f"There is no city named {city}.")
    return places.results[0]


async def _forecasts(places: Sequence[_Place], context: ToolContext) -> list[_Forecast]:
    """The forecasts for some places, in order, in one request."""
    url = f"{os.environ.get('OPEN_METEO_BASE_URL') or BASE_URL}/forecast"
    params = {
        "latitude": ",".join(str(place.latitude) for place in places),
        "longitude": ",".join(str(place.longitude) for place in places),
        "current": ",".join(field for field in _Current.__struct_fields__ if field != "time"),
        "timezone": "auto",
    }
    if len(places) == 1:  # the answer is an object then, and a list of them for several places
        return [await get_json(context, "weather service", url, _Forecast, params=params)]
    forecasts = await get_json(context, "weather service", url, list[_Forecast], params=params)
    if len(forecasts) != len(places):
        raise ToolUnavailable("The weather service left out a place.")
    return forecasts


def _to_weather(place: _Place, forecast: _Forecast) -> Weather:
    now = forecast.current
    group = max((code for code in WEATHER_CODES if code <= now.weather_code), default=0)
    return Weather(
        city=place.name,
        country=place.country,
        conditions=WEATHER_CODES[group],
        temperature_c=now.temperature_2m,
        feels_like_c=now.apparent_temperature,
        humidity_percent=now.relative_humidity_2m,
        wind_km_h=now.wind_speed_10m,
        local_time=now.time,
        source=forecast.source,
    )
