"""The get_weather tool: the weather as Open-Meteo documents it."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.tools.get_weather import WEATHER_CODES, Weather, get_weather
from tests.chat.fakes import RecordingEmit
from tests.chat.tool_runtime.recording_clients import run_turn, tool_call
from tests.clock import jumping
from tests.functions.chat.tools.mock_service import Service
from winterbourne.chat.core.conversation import Conversation
from winterbourne.chat.core.messages import ChatRequest, Text, UserMessage
from winterbourne.chat.errors import ToolError, ToolUnavailable
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.executor import ToolExecutor

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


CITIES = {"Paris": 48.85341, "Lima": -12.04318, "Rome": 41.89193}


def find(request: httpx.Request) -> httpx.Response:
    """The geocoder: knows CITIES."""
    name = request.url.params["name"]
    if name not in CITIES:
        return httpx.Response(200, json={})
    return httpx.Response(200, json={"results": [{"name": name, "latitude": CITIES[name], "longitude": 2.5}]})


def forecast(request: httpx.Request) -> httpx.Response:
    """The weather at some places: one degree more at each, to tell them apart."""
    count = len(request.url.params["latitude"].split(","))
    answers = [{"current": {**NOW, "temperature_2m": float(number)}} for number in range(count)]
    return httpx.Response(200, json=answers if count > 1 else answers[0])


async def weather_in(service: Service, *cities: str) -> list[str]:
    """What a turn with one call per city returns."""
    executor = ToolExecutor([get_weather], keys=Settings().values(), clients=service.clients)
    messages = await run_turn(executor, *(tool_call("get_weather", city, city=city) for city in cities))
    return [message.content for message in messages]


class TestSeveralCities:
    async def test_are_asked_for_in_one_request_and_each_call_gets_its_own(self) -> None:
        service = Service(find, find, forecast)
        paris, lima = await weather_in(service, "Paris", "Lima")
        assert '"city":"Paris"' in paris
        assert '"temperature_c":0.0' in paris
        assert '"city":"Lima"' in lima
        assert '"temperature_c":1.0' in lima
        params = service.requests[-1].url.params
        assert (params["latitude"], params["longitude"]) == ("48.85341,-12.04318", "2.5,2.5")

    @jumping
    async def test_are_asked_for_in_one_request_although_the_model_writes_one_call_after_the_other(self) -> None:
        service, settings = Service(find, find, forecast), Settings()
        question = UserMessage((Text("the weather in Paris and Lima"),))
        await Conversation(
            request=ChatRequest(messages=(question,)),
            provider=make_provider(settings.model),  # at the pace at which it speaks by default
            tools=ToolExecutor([get_weather], keys=settings.values(), clients=service.clients),
            emit=RecordingEmit(),
            on_usage=lambda _: None,
            max_turns=2,
        ).run()
        assert service.requests[-1].url.params["latitude"] == "48.85341,-12.04318"

    async def test_that_are_equal_are_asked_for_once(self) -> None:
        service = Service(find, find, forecast)
        paris, lima, again = await weather_in(service, "Paris", "Lima", "Paris")
        assert again == paris != lima
        assert len(service.requests) == 3

    async def test_an_unknown_one_is_an_error_of_its_own(self) -> None:
        service = Service(find, find, find, forecast)
        atlantis, paris, rome = await weather_in(service, "Atlantis", "Paris", "Rome")
        assert atlantis == "There is no city named Atlantis."
        assert '"city":"Paris"' in paris
        assert '"city":"Rome"' in rome

    async def test_of_which_one_is_known_are_answered_too(self) -> None:
        atlantis, paris = await weather_in(Service(find, find, forecast), "Atlantis", "Paris")
        assert atlantis == "There is no city named Atlantis."
        assert '"city":"Paris"' in paris

    async def test_that_are_all_unknown_need_no_weather(self) -> None:
        contents = await weather_in(Service(find, find), "Atlantis", "Avalon")
        assert contents == ["There is no city named Atlantis.", "There is no city named Avalon."]

    @jumping
    async def test_a_service_that_is_away_is_asked_again_for_all(self) -> None:
        service = Service(find, httpx.Response(503), find, find, forecast)
        paris, lima = await weather_in(service, "Paris", "Lima")
        assert '"city":"Paris"' in paris
        assert '"city":"Lima"' in lima

    @jumping
    async def test_a_forecast_that_leaves_out_a_place_is_not_used(self) -> None:
        short = httpx.Response(200, json=[{"current": NOW}])
        service = Service(*[answer for _ in range(3) for answer in (find, find, lambda _: short)])
        assert set(await weather_in(service, "Paris", "Lima")) == {"The weather service left out a place."}


@given(st.integers(-5, 120))
async def test_every_weather_code_has_a_description(code: int) -> None:
    assert (await weather(paris(weather_code=code))).conditions in WEATHER_CODES.values()
