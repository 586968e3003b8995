"""Made-up responses of the stub services in the formats of Finnhub, Open-Meteo and Frankfurter."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.local.stub_data import RATES, ROUTES, SOURCE, delay_s

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def query_stub(path: str, **query: str) -> tuple[int, Any]:
    return ROUTES[path](query, NOW)


class TestQuotes:
    def test_have_a_price_and_its_change(self) -> None:
        status, quote = query_stub("/finnhub/quote", symbol="AAPL")
        assert status == 200
        assert quote["c"] == pytest.approx(quote["pc"] + quote["d"])
        assert quote["t"] == NOW.timestamp()

    def test_of_an_unknown_symbol_are_zeros_as_from_finnhub(self) -> None:
        assert query_stub("/finnhub/quote", symbol="NO-SUCH")[1]["t"] == 0


class TestWeather:
    def test_begins_with_the_location_of_a_city(self) -> None:
        (place,) = query_stub("/geocoding/search", name="reykjavik")[1]["results"]
        assert (place["name"], place["country"]) == ("Reykjavík", "Iceland")

    def test_of_an_unknown_city_has_no_results(self) -> None:
        assert "results" not in query_stub("/geocoding/search", name="Atlantis")[1]

    def test_exists_for_any_coordinates(self) -> None:
        current = query_stub("/open-meteo/forecast", latitude="-12.04", longitude="-77.03")[1]["current"]
        assert current["time"] == "2026-11-22T12:00"
        assert 0 <= current["relative_humidity_2m"] <= 100

    def test_of_several_coordinates_is_a_list_in_their_order(self) -> None:
        found = query_stub("/open-meteo/forecast", latitude="48.86,-12.04", longitude="2.35,-77.03")[1]
        assert [place["latitude"] for place in found] == [48.86, -12.04]
        assert found[1] == query_stub("/open-meteo/forecast", latitude="-12.04", longitude="-77.03")[1]

    @pytest.mark.parametrize("latitude", ["north", "", "1,2", "1,"])
    def test_of_invalid_coordinates_is_rejected(self, latitude: str) -> None:
        assert query_stub("/open-meteo/forecast", latitude=latitude, longitude="1")[0] == 400


class TestRates:
    def test_are_relative_to_their_base(self) -> None:
        assert query_stub("/frankfurter/latest", base="USD", symbols="EUR")[1]["rates"] == {"EUR": round(1 / 1.16, 5)}

    def test_without_symbols_are_all_of_them(self) -> None:
        assert query_stub("/frankfurter/latest")[1]["rates"].keys() == RATES.keys() - {"EUR"}

    def test_of_an_unknown_currency_are_not_found(self) -> None:
        assert query_stub("/frankfurter/latest", base="EUR", symbols="XXX")[0] == 404


@given(
    st.sampled_from(sorted(ROUTES)),
    st.dictionaries(st.sampled_from(["symbol", "name", "base", "symbols", "latitude", "longitude"]), st.text()),
)
def test_every_response_to_any_query_is_labelled_as_practice_data(path: str, query: dict[str, str]) -> None:
    status, answer = ROUTES[path](query, NOW)
    assert status in {200, 400, 404}
    assert answer["source"] == SOURCE


@given(st.text(st.characters(codec="utf-8")))
def test_responses_are_delayed_by_less_than_a_second(target: str) -> None:
    assert 0.15 <= delay_s(target) <= 0.65
