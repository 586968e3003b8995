from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.local.stub_data import RATES, ROUTES, SOURCE, delay_s

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def ask(path: str, **query: str) -> tuple[int, dict[str, Any]]:
    return ROUTES[path](query, NOW)


class TestQuotes:
    def test_have_a_price_and_its_change(self) -> None:
        status, quote = ask("/finnhub/quote", symbol="AAPL")
        assert status == 200
        assert quote["c"] == pytest.approx(quote["pc"] + quote["d"])
        assert quote["t"] == NOW.timestamp()

    def test_of_what_is_no_symbol_are_zeros_as_from_finnhub(self) -> None:
        assert ask("/finnhub/quote", symbol="NO-SUCH")[1]["t"] == 0


class TestWeather:
    def test_begins_with_the_place_of_a_city(self) -> None:
        (place,) = ask("/geocoding/search", name="reykjavik")[1]["results"]
        assert (place["name"], place["country"]) == ("Reykjavík", "Iceland")

    def test_of_a_city_nobody_knows_has_no_results(self) -> None:
        assert "results" not in ask("/geocoding/search", name="Atlantis")[1]

    def test_is_there_for_any_place_on_earth(self) -> None:
        current = ask("/open-meteo/forecast", latitude="-12.04", longitude="-77.03")[1]["current"]
        assert current["time"] == "2026-11-22T12:00"
        assert 0 <= current["relative_humidity_2m"] <= 100

    def test_of_no_place_is_refused(self) -> None:
        assert ask("/open-meteo/forecast", latitude="north")[0] == 400


class TestRates:
    def test_are_relative_to_their_base(self) -> None:
        assert ask("/frankfurter/latest", base="USD", symbols="EUR")[1]["rates"] == {"EUR": round(1 / 1.16, 5)}

    def test_without_a_wish_are_all_of_them(self) -> None:
        assert ask("/frankfurter/latest")[1]["rates"].keys() == RATES.keys() - {"EUR"}

    def test_of_an_unknown_currency_are_not_found(self) -> None:
        assert ask("/frankfurter/latest", base="EUR", symbols="XXX")[0] == 404


@given(
    st.sampled_from(sorted(ROUTES)),
    st.dictionaries(st.sampled_from(["symbol", "name", "base", "symbols", "latitude", "longitude"]), st.text()),
)
def test_every_answer_to_any_question_says_that_it_is_practice_data(path: str, query: dict[str, str]) -> None:
    status, answer = ROUTES[path](query, NOW)
    assert status in {200, 400, 404}
    assert answer["source"] == SOURCE


@given(st.text(st.characters(codec="utf-8")))
def test_answers_take_a_moment_but_not_long(target: str) -> None:
    assert 0.15 <= delay_s(target) <= 0.65
