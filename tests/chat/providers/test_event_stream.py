"""Amazon event stream decoder: only whole messages are returned, checksums are verified, damage is an error."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transcripts import event_stream_message
from winterbourne.chat.errors import ModelGarbled
from winterbourne.chat.providers.event_stream import EventStreamDecoder

ONE = event_stream_message("messageStop", {"stopReason": "end_turn"})
(EXPECTED,) = EventStreamDecoder().feed(ONE)


def test_a_message_has_its_headers_and_its_payload() -> None:
    headers: Any = EXPECTED.headers
    assert headers[":event-type"] == "messageStop"
    assert EXPECTED.payload == b'{"stopReason": "end_turn"}'


@given(st.lists(st.integers(0, 3 * len(ONE))))
def test_where_the_bytes_are_cut_makes_no_difference(cuts: list[int]) -> None:
    decoder, stream = EventStreamDecoder(), ONE * 3
    edges = [0, *sorted(cuts), len(stream)]
    pieces = [stream[a:b] for a, b in itertools.pairwise(edges)]
    messages = [message for piece in pieces for message in decoder.feed(piece)]
    assert [(message.headers, message.payload) for message in messages] == [(EXPECTED.headers, EXPECTED.payload)] * 3


@pytest.mark.parametrize("at", range(0, len(ONE), 7))
def test_a_flipped_bit_is_always_detected(at: int) -> None:
    damaged = ONE[:at] + bytes([ONE[at] ^ 1]) + ONE[at + 1 :]
    with pytest.raises(ModelGarbled):
        list(EventStreamDecoder().feed(damaged))


def test_half_a_message_is_not_returned() -> None:
    decoder = EventStreamDecoder()
    assert list(decoder.feed(ONE[:-1])) == []
    assert decoder.close() == []


def test_messages_before_damage_in_the_same_read_are_returned() -> None:
    messages = EventStreamDecoder().feed(ONE + b"\x00" * 16)
    assert next(messages).payload == EXPECTED.payload
    with pytest.raises(ModelGarbled):
        next(messages)
