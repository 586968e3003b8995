"""The get_weather tool: the weather as Open-Meteo documents it."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.tools.get_weather import WEATHER_CODES, Weather, get_weather
from tests.functions.chat.tools.mock_service import Service
from winterbourne.chat.errors import ToolError, ToolUnavailable

PLACE = {"results": [{"id": 2988507, "name": "Paris", "latitude": 48.85341, "longitude": 2.3488, "country": "France"}]}
NOW = {
    "time": "2026-11-22T18:00",
    "interval": 900,
    "temperature_2m": 9.5,
    "apparent_temperature": 7.1,
    "relative_humidity_2m": 81,
    "weather_code": 63,
    "wind_speed_10m": 12.4,
}


def paris(**now: object) -> Service:
    return Service(httpx.Response(200, json=PLACE), httpx.Response(200, json={"current": {**NOW, **now}}))


async def weather(service: Service, city: str = "Paris") -> Weather:
    assert get_weather.function
    result: Weather = await get_weather.function(city, service.context(get_weather))
    return result


async def test_the_current_weather_in_a_city_is_returned() -> None:
    assert await weather(paris()) == Weather(
        city="Paris",
        country="France",
        conditions="rain",
        temperature_c=9.5,
        feels_like_c=7.1,
        humidity_percent=81,
        wind_km_h=12.4,
        local_time="2026-11-22T18:00",
        source="Open-Meteo",
    )


async def test_the_city_is_geocoded_first() -> None:
    service = paris()
    await weather(service)
    search, forecast = (request.url for request in service.requests)
    assert (search.host, search.path, search.params["name"]) == ("geocoding-api.open-meteo.com", "/v1/search", "Paris")
    assert (forecast.host, forecast.path) == ("api.open-meteo.com", "/v1/forecast")
    assert (forecast.params["latitude"], forecast.params["longitude"]) == ("48.85341", "2.3488")
    assert set(forecast.params["current"].split(",")) == set(NOW) - {"time", "interval"}


async def test_an_unknown_city_is_an_error() -> None:
    with pytest.raises(ToolError, match="no city named Atlantis"):
        await weather(Service(httpx.Response(200, json={"generationtime_ms": 0.4})), "Atlantis")


async def test_a_response_without_the_weather_is_an_error() -> None:
    service = Service(httpx.Response(200, json=PLACE), httpx.Response(200, json={"current": {}}))
    with pytest.raises(ToolUnavailable, match="The weather service sent an answer that cannot be read"):
        await weather(service)


@given(st.integers(-5, 120))
async def test_every_weather_code_has_a_description(code: int) -> None:
    assert (await weather(paris(weather_code=code))).conditions in WEATHER_CODES.values()
