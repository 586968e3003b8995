"""JSON serialization: correct for any text, on one line."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.conversations import BAD_TEXT, any_text, json_texts, json_values
from winterbourne.chat.formats.json_text import dumps, quote, single_line

anything = st.text(st.characters(codec=None))


@given(anything | any_text)
def test_any_text_round_trips(text: str) -> None:
    encoded = dumps(text)
    assert json.loads(encoded) == text
    assert b"\n" not in encoded
    assert b"\r" not in encoded
    encoded.decode()  # UTF-8, whatever the text


@given(st.text() | st.integers(-(2**53), 2**53))
def test_what_is_quick_gives_the_same_bytes(value: str | int) -> None:
    assert quote(value) == dumps(value) == orjson.dumps(value)


@pytest.mark.parametrize("text", ["\ud83d", "ü\udc00"])
def test_what_is_quick_refuses_a_lone_surrogate(text: str) -> None:
    with pytest.raises(UnicodeEncodeError):
        quote(text)


def test_ordinary_text_is_serialized_as_orjson_does() -> None:
    assert dumps('say "ü"\n') == orjson.dumps('say "ü"\n')


def test_a_lone_surrogate_is_escaped() -> None:
    assert dumps("a\ud83d") == b'"a\\ud83d"'


@given(json_values)
def test_any_value_round_trips(value: object) -> None:
    assert json.loads(dumps(value)) == value


def test_a_value_with_a_lone_surrogate_round_trips_too() -> None:
    assert json.loads(dumps({"a": [BAD_TEXT]})) == {"a": [BAD_TEXT]}


@given(json_texts())
def test_json_on_a_single_line_means_the_same(text: bytes) -> None:
    line = single_line(text)
    assert b"\n" not in line
    assert orjson.loads(line) == orjson.loads(text)


def test_text_without_line_breaks_is_returned_as_it_is() -> None:
    text = b'{"a": "\\n"}'
    assert single_line(text) is text
