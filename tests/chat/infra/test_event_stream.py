"""Amazon event stream decoder: only whole messages are returned, checksums are verified, damage is an error."""

import itertools
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transcripts import event_stream_message
from winterbourne.chat.errors import ModelGarbled
from winterbourne.chat.infra.event_stream import EventStreamDecoder

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
    with pytest.raises(ValueError, match="broken"):
        list(EventStreamDecoder().feed(damaged))


def test_damage_is_told_in_the_words_of_who_reads() -> None:
    with pytest.raises(ModelGarbled):
        list(EventStreamDecoder(ModelGarbled).feed(b"\x00" * 16))


def framed(headers: bytes, *, total: int | None = None) -> bytes:
    """A message of these raw headers without a payload, whose checksums are right whatever its length is said to be."""
    prelude = struct.pack(">II", 16 + len(headers) if total is None else total, len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers
    return message + struct.pack(">I", zlib.crc32(message))


@pytest.mark.parametrize(
    "message",
    [
        framed(b"\x01a\x0a"),  # a header of a type that there is not
        framed(b"\x01a\x07\xff"),  # one that ends in its length
        framed(b"\x01\xff\x00"),  # a name that is not UTF-8
        framed(b"\x01a\x00" * 2),  # one header twice
        framed(b"", total=0),
        framed(b"", total=2**31),
    ],
)
def test_a_message_that_is_wrong_under_right_checksums_is_damage_too(message: bytes) -> None:
    with pytest.raises(ValueError, match="broken"):
        list(EventStreamDecoder().feed(message * 2))


@given(st.binary(max_size=60))
def test_any_headers_are_read_or_are_damage(headers: bytes) -> None:
    try:
        assert len(list(EventStreamDecoder().feed(framed(headers)))) == 1
    except ValueError as error:
        assert str(error) == "the event stream is broken"  # noqa: PT017 - either is right


def test_half_a_message_is_not_returned() -> None:
    decoder = EventStreamDecoder()
    assert list(decoder.feed(ONE[:-1])) == []
    assert decoder.close() == []


def test_messages_before_damage_in_the_same_read_are_returned() -> None:
    messages = EventStreamDecoder().feed(ONE + b"\x00" * 16)
    assert next(messages).payload == EXPECTED.payload
    with pytest.raises(ValueError, match="broken"):
        next(messages)
