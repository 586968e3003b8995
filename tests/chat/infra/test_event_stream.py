"""Amazon event stream decoder: only whole messages are returned, checksums are verified, damage is an error."""

import itertools
import struct
import zlib
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer, ParserError
from hypothesis import given
from hypothesis import strategies as st

from tests.transcripts import event_stream_message
from winterbourne.chat.errors import ModelGarbled
from winterbourne.chat.infra.event_stream import EventStreamDecoder

ONE = event_stream_message("messageStop", {"stopReason": "end_turn"})
(EXPECTED,) = EventStreamDecoder().feed(ONE)


def test_a_message_has_its_headers_and_its_payload() -> None:
    assert EXPECTED.headers[":event-type"] == "messageStop"
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


def header(name: bytes, kind: int, value: bytes) -> bytes:
    return bytes([len(name)]) + name + bytes([kind]) + value


def sized(value: bytes) -> bytes:
    return struct.pack(">H", len(value)) + value


NAMES = st.text(min_size=1, max_size=3).map(str.encode)
TYPED = st.one_of(
    st.tuples(st.sampled_from([0, 1]), st.just(b"")),
    *(st.tuples(st.just(kind), st.binary(min_size=size, max_size=size)) for kind, size in ((2, 1), (3, 2), (4, 4))),
    *(st.tuples(st.just(kind), st.binary(min_size=size, max_size=size)) for kind, size in ((5, 8), (8, 8), (9, 16))),
    st.tuples(st.just(6), st.binary(max_size=9).map(sized)),
    st.tuples(st.just(7), st.text(max_size=9).map(lambda text: sized(text.encode()))),
)
HEADERS = st.lists(st.tuples(NAMES, TYPED), max_size=4).map(
    lambda headers: b"".join(header(name, kind, value) for name, (kind, value) in headers)
)


def message(headers: bytes, payload: bytes) -> bytes:
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    whole = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return whole + struct.pack(">I", zlib.crc32(whole))


Read = tuple[list[tuple[dict[str, Any], bytes]], bool]


def read_by_botocore(pieces: list[bytes]) -> Read:
    """The messages in these pieces, and whether damage follows."""
    buffer: Any = EventStreamBuffer()
    messages: list[tuple[dict[str, Any], bytes]] = []
    try:
        for piece in pieces:
            buffer.add_data(piece)
            for each in buffer:
                messages.append((each.headers, each.payload))  # noqa: PERF401 - those before damage count
    except (ParserError, struct.error, UnicodeDecodeError, LookupError):
        return messages, True
    return messages, False


def read(pieces: list[bytes]) -> Read:
    decoder = EventStreamDecoder()
    messages: list[tuple[dict[str, Any], bytes]] = []
    try:
        for piece in pieces:
            for each in decoder.feed(piece):
                messages.append((each.headers, each.payload))  # noqa: PERF401 - as above
    except ValueError:
        return messages, True
    return messages, False


def pieces_of(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


class TestAsBotocore:
    @given(st.lists(st.tuples(HEADERS, st.binary(max_size=40)), max_size=4), st.lists(st.integers(0, 400), max_size=5))
    def test_any_stream_is_read_alike(self, messages: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
        pieces = pieces_of(b"".join(message(*each) for each in messages), cuts)
        assert read(pieces) == read_by_botocore(pieces)

    @given(HEADERS | st.binary(max_size=40), st.binary(max_size=9), st.integers(0, 2000), st.lists(st.integers(0, 400)))
    def test_so_is_damage_wherever_it_is(self, headers: bytes, payload: bytes, bit: int, cuts: list[int]) -> None:
        stream = bytearray(message(b"", b"one") + message(headers, payload) + message(b"", b"two"))
        stream[bit // 8 % len(stream)] ^= 1 << bit % 8
        pieces = pieces_of(bytes(stream), cuts)
        assert read(pieces) == read_by_botocore(pieces)

    @pytest.mark.parametrize(
        ("headers", "payload"), [(128 * 1024, 0), (128 * 1024 + 1, 0), (0, 24 * 2**20), (0, 24 * 2**20 + 1)]
    )
    def test_so_is_what_is_said_to_be_too_long(self, headers: int, payload: int) -> None:
        prelude = struct.pack(">II", 16 + headers + payload, headers)
        pieces = [prelude + struct.pack(">I", zlib.crc32(prelude)), b"the beginning"]
        assert read(pieces) == read_by_botocore(pieces) == ([], bool(headers % 2 or payload % 2))

    def test_the_longest_message_is_read(self) -> None:
        stream = message(b"", bytes(24 * 2**20))
        assert read([stream[:100], stream[100:]]) == ([({}, bytes(24 * 2**20))], False)
