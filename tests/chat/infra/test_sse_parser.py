"""SSE parser: server-sent events as WHATWG HTML 9.2.6 defines their parsing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.infra.sse_parser import MAX_EVENT_BYTES, SseParser


def parse(*chunks: bytes) -> list[bytes]:
    parser = SseParser()
    return [payload for data in chunks for payload in parser.feed(data)]


class TestExamplesOfTheStandard:
    def test_lines_of_data_are_joined(self) -> None:
        assert parse(b"data: YHOO\ndata: +2\ndata: 10\n\n") == [b"YHOO\n+2\n10"]

    def test_comments_ids_and_empty_values(self) -> None:
        stream = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"
        assert parse(stream) == [b"first event", b"second event", b" third event"]

    def test_a_bare_field_name_is_an_empty_line_of_data(self) -> None:
        assert parse(b"data\n\ndata\ndata\n\ndata:\n") == [b"", b"\n"]

    def test_a_space_after_the_colon_does_not_count(self) -> None:
        assert parse(b"data:test\n\ndata: test\n\n") == [b"test", b"test"]


class TestLineEnds:
    @pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
    def test_all_three_end_a_line(self, end: bytes) -> None:
        assert parse(b"data: a", end, b"data: b", end, end, b"data: c", end, end) == [b"a\nb", b"c"]

    def test_cr_and_lf_in_two_reads_are_one_end(self) -> None:
        assert parse(b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n") == [b"a\nb"]

    def test_an_event_is_emitted_with_its_cr_and_not_with_the_next_read(self) -> None:
        assert parse(b"data: a\r\r") == [b"a"]


class TestByteOrderMark:
    def test_at_the_start_it_is_skipped(self) -> None:
        assert parse(b"\xef", b"\xbb", b"\xbfdata: a\n\n") == [b"a"]

    def test_anywhere_else_it_is_part_of_the_field(self) -> None:
        assert parse(b"data: a\n\n\xef\xbb\xbfdata: b\n\n") == [b"a"]


class TestEndOfStream:
    def test_an_event_without_its_blank_line_is_not_emitted(self) -> None:
        assert parse(b"data: a\n") == []

    def test_closing_returns_the_incomplete_event(self) -> None:
        parser = SseParser()
        assert parser.feed(b"data: a\n\ndata: [DONE]") == [b"a"]
        assert parser.close() == [b"[DONE]"]


class TestMemory:
    @pytest.mark.parametrize("piece", [b"x" * 4096, b"data: x\n" * 512, b"data\n" * 512])
    def test_an_event_without_end_is_rejected_at_a_bounded_size(self, piece: bytes) -> None:
        with pytest.raises(ValueError, match="1048576"):
            parse(b"data: ", *[piece] * (2 * MAX_EVENT_BYTES // 512))

    def test_the_caller_chooses_the_bound_and_its_error(self) -> None:
        parser = SseParser(10, KeyError)
        assert parser.feed(b"data: 1234") == []
        with pytest.raises(KeyError, match="more than 10 bytes"):
            parser.feed(b"5")

    def test_any_number_of_small_events_is_accepted(self) -> None:
        parser = SseParser()
        for _ in range(300):
            assert len(parser.feed(b": x\ndata: " + b"y" * 4000 + b"\n\n")) == 1


class TestTolerance:
    """What a tolerant parser takes beyond the standard."""

    @pytest.mark.parametrize(
        ("stream", "payloads"),
        [
            (b'error: {"code":1}\n\n', [b'{"error":{"code":1}}']),
            (b"error: no\n", [b'{"error":"no"}']),
            (b"event: error\ndata: no\n\ndata: a\n\n", [b'{"error":"no"}', b"a"]),
            (b'event:error\ndata: {"error":1}\n\n', [b'{"error":1}']),
            (b'{"a":1}\n{"a":2}\n', [b'{"a":1}', b'{"a":2}']),
            (b'{\n "a": 1\n}\n\ndata: b\n\n', [b'{\n "a": 1\n}', b"b"]),
            (b"<p>\nno\n\n", [b"<p>\nno"]),
            (b"event: message\nid: 1\nretry: 3\n: c\nother\n\n", []),
        ],
    )
    def test_errors_and_documents_are_payloads(self, stream: bytes, payloads: list[bytes]) -> None:
        parser = SseParser(is_tolerant=True)
        assert parser.feed(stream) + parser.close() == payloads
        assert parse(stream) in ([], [b"no", b"a"], [b'{"error":1}'], [b"b"])

    @given(st.binary(max_size=200), st.data())
    def test_where_the_bytes_are_cut_makes_no_difference(self, data: bytes, cut: st.DataObject) -> None:
        stream = cut.draw(st.sampled_from([b"", b"{", b"event: error\n", b"error:", b"<"])) + data
        at = cut.draw(st.integers(0, len(stream)))
        whole, parts = SseParser(is_tolerant=True), SseParser(is_tolerant=True)
        assert parts.feed(stream[:at]) + parts.feed(stream[at:]) + parts.close() == whole.feed(stream) + whole.close()

    @pytest.mark.parametrize("slash", [b"/", b"\\/"])
    def test_the_data_of_pictures_is_dropped_from_an_event_over_the_limit(self, slash: bytes) -> None:
        parser = SseParser(100_000, is_tolerant=True)
        before, after = b'data: {"text":"a b","url":"data:image/png;base64,', b'","more":"c"}\n\n'
        assert parser.feed(before) == []
        for _ in range(100):
            assert parser.feed((b"A" * 9 + slash) * 1000) == []
        (payload,) = parser.feed(after)
        value = json.loads(payload)
        assert (value["text"], value["more"]) == ("a b", "c")
        assert len(payload) < 100_100

    def test_any_other_event_over_the_limit_is_rejected(self) -> None:
        for text in (b"x" * 200_000, b'{"text":"' + b"two words " * 20_000):
            with pytest.raises(ValueError, match="100000"):
                SseParser(100_000, is_tolerant=True).feed(b"data: " + text)


LINES = st.lists(
    st.sampled_from(
        [b"data: a", b"data:b", b"data", b"", b": c", b"id: 1", b"event: e", b"x", b"data: \xf0\x9f\x8c\x8d"]
    )
)


@given(LINES, st.sampled_from([b"\n", b"\r\n", b"\r"]), st.data())
def test_where_the_bytes_are_cut_makes_no_difference(lines: list[bytes], end: bytes, data: st.DataObject) -> None:
    stream = end.join(lines) + end
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert parse(*pieces) == parse(stream)


@given(st.lists(st.binary().filter(lambda line: b"\n" not in line and b"\r" not in line), min_size=1))
def test_any_data_comes_through(payloads: list[bytes]) -> None:
    assert parse(b"".join(b"data: " + payload + b"\n\n" for payload in payloads)) == payloads
