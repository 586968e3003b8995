"""Ids of event streams: what has been received whole is not asked for again, and nothing else is skipped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.tool_runtime.mcp.event_ids import DEFAULT_RETRY_S, MAX_RETRY_S, EventIds


def read(*reads: bytes) -> EventIds:
    event_ids = EventIds()
    for data in reads:
        event_ids.feed(data)
    return event_ids


@pytest.mark.parametrize(
    ("stream", "last"),
    [
        (b"", b""),
        (b"id: 1\ndata:\n\n", b"1"),
        (b"id:1\n\n", b"1"),
        (b"id:  1 \n\n", b" 1 "),
        (b"data: x\nid: 1\n\n", b"1"),
        (b"id: 1\n\nid: 2\ndata: x\n", b"1"),
        (b"id: 1\n\ndata: x\n\n", b"1"),
        (b"id: 1\n\nid\n\n", b""),
        (b"id: 1\n\nid: 2\0\n\n", b"1"),
        (b"id: 1\n\nid: " + b"9" * 2000 + b"\n\n", b"1"),
        (b"id: 1\n\nid: " + b"9" * 2000 + b"\r\n\r\n", b"1"),
        (b"id: 1\r\n\r\nid: 2\r\ndata: x\r\n", b"1"),
        (b"ID: 1\n\n", b""),
        (b": id: 1\n\n", b""),
        (b"data: id: 1\n\n", b""),
        (b"id: 1\r\n\r\n", b"1"),
        (b"id: 1\r\rdata: x\r\r:\n", b"1"),
        (b"id: \xe2\x82\xac\n\n", b"\xe2\x82\xac"),
    ],
)
def test_an_id_counts_once_its_event_is_whole(stream: bytes, last: bytes) -> None:
    assert read(stream).last == last
    assert read(*(bytes([byte]) for byte in stream)).last == last


@pytest.mark.parametrize(
    ("value", "retry_s"),
    [
        (b"0", 0.0),
        (b"250", 0.25),
        (b"9" * 50, MAX_RETRY_S),
        (b"-1", DEFAULT_RETRY_S),
        (b"1.5", DEFAULT_RETRY_S),
        (b"\xc2\xb2", DEFAULT_RETRY_S),
        (b"", DEFAULT_RETRY_S),
    ],
)
def test_the_time_to_wait_is_bounded(value: bytes, retry_s: float) -> None:
    assert read(b"retry: " + value + b"\n").retry_s == retry_s


def test_the_unfinished_event_of_a_stream_that_ended_does_not_count() -> None:
    event_ids = read(b"id: 1\n\nid: 2\ndata: x\ndat")
    event_ids.reconnect()
    event_ids.feed(b"a\n\n")
    assert event_ids.last == b"1"


def test_a_long_line_is_not_kept() -> None:
    event_ids = read(b"id: 1\ndata: ", *[b"x" * 65_536] * 16)
    assert len(event_ids._partial_line) < 2000
    event_ids.feed(b"\n\n")
    assert event_ids.last == b"1"


LINES = st.sampled_from([b"id: 1", b"id: 2", b"id", b"data: x", b"data: " + b"y" * 3000, b"", b"retry: 5", b": hello"])
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(st.lists(st.tuples(LINES, ENDS)), st.data())
def test_any_division_into_reads_gives_the_same(lines: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    stream = b"".join(part for line in lines for part in line) + b":\n"  # decides a CR at the end
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    reads = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole, divided = read(stream), read(*reads)
    assert (divided.last, divided.retry_s) == (whole.last, whole.retry_s)
