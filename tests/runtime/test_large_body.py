"""Large bodies: whatever is taken out of one, and wherever it was cut when it arrived, all of it is read."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winterbourne.invocation import parse_event
from winterbourne.large_body import MIN_RUN_BYTES, LargeBody

RUN = "Ab+/9" * (MIN_RUN_BYTES // 2)

TEXTS = st.builds(
    "".join, st.lists(st.sampled_from([RUN, RUN + "==", "é", "\N{WATER WAVE}", '"', "\\", "\\u00e9", "0123", "\x00"]))
)
BODIES = st.fixed_dictionaries({"a": TEXTS, "b": st.lists(st.fixed_dictionaries({"c": TEXTS}) | TEXTS, max_size=3)})


def cut(whole: bytes, at: list[int]) -> list[bytearray]:
    ends = sorted({min(one, len(whole)) for one in (0, *at, *range(0, len(whole), 50_000), len(whole))})
    return [bytearray(whole[start:end]) for start, end in pairwise(ends)]


def read(event: Any) -> Any:
    """The body of an event, as a handler that takes large ones reads it."""
    body = event["body"]
    if isinstance(body, str):
        return json.loads(body)
    value = json.loads(body.text)
    body.fill_in(value)
    return value


@settings(deadline=None, max_examples=60)
@given(BODIES, st.sampled_from([(False, False), (False, True), (True, False)]), st.lists(st.integers(0, 2_000_000)))
def test_a_body_is_what_it_was_wherever_it_is_cut(body: Any, is_ascii: tuple[bool, bool], at: list[int]) -> None:
    event = {"rawPath": "/", "body": json.dumps(body, ensure_ascii=is_ascii[0])}
    whole = json.dumps(event, ensure_ascii=is_ascii[1]).encode()
    assert read(parse_event({}, cut(whole, at), takes_large=True)) == body
    taken = LargeBody.take_out(cut(whole, at))
    assert b"".join(taken.pieces()) == whole


@pytest.mark.parametrize("start", range(12))
@pytest.mark.parametrize("backslash", [b"\\\\", b"\\u005c"])
def test_an_escape_sequence_may_be_cut(start: int, backslash: bytes) -> None:
    whole = json.dumps({"body": json.dumps({"a": "\N{WATER WAVE}" + RUN})}).encode().replace(b"\\\\", backslash)
    at = whole.index(RUN.encode())
    pieces = cut(whole, [at - start])
    assert read(parse_event({}, pieces, takes_large=True)) == {"a": "\N{WATER WAVE}" + RUN}


def test_what_is_large_is_no_part_of_the_text() -> None:
    event = parse_event({}, cut(json.dumps({"body": json.dumps({"a": RUN, "b": "é"})}).encode(), []), takes_large=True)
    assert len(event["body"].text) < 120_000
    assert sum(map(len, event["body"].pieces())) > len(RUN)


@pytest.mark.parametrize(
    "event", [{"body": "{}", "a": RUN}, {"body": RUN, "a": RUN}, {RUN: "{}", "body": "{}"}, {"body": None}, [RUN], RUN]
)
def test_an_event_that_is_large_elsewhere_is_read_as_any_other(event: Any) -> None:
    assert parse_event({}, cut(json.dumps(event).encode(), []), takes_large=True) == event


def test_other_handlers_get_the_body_as_text() -> None:
    event = {"body": json.dumps({"a": RUN})}
    assert parse_event({}, cut(json.dumps(event).encode(), [])) == event


def test_the_name_of_a_field_may_not_be_taken_out() -> None:
    body = LargeBody.take_out(cut(json.dumps({RUN: 1}).encode(), []))
    with pytest.raises(ValueError, match="too long"):
        body.fill_in(json.loads(body.text))


def test_nobody_can_write_a_mark() -> None:
    body = LargeBody.take_out(cut(json.dumps({"a": RUN, "b": "large-0;"}).encode(), []))
    value = json.loads(body.text)
    body.fill_in(value)
    assert value == {"a": RUN, "b": "large-0;"}
