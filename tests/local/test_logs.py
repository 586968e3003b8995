"""Reading the log of a function process, as lines and as frames, and formatting it for the console."""

import asyncio
import json
import os
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.local.sinks import until
from winterbourne.local.logs import MAX_LINE_BYTES, LogPipe, format_for_console, split_frames, split_lines


def frame(text: str, kind: int = 0xA55A000F) -> bytes:
    data = text.encode()
    return struct.pack(">IIQ", kind, len(data), 1_700_000_000_000_000) + data


def read(split: Callable[[bytes], tuple[list[str], bytes]], *parts: bytes) -> list[str]:
    """The records that a pipe gives if `parts` are written one after the other."""
    records: list[str] = []

    async def write_and_drain() -> None:
        pipe = LogPipe(split, records.append)
        for part in parts:
            os.write(pipe.write_fd, part)
            pipe.drain()
        pipe.close_write_end()
        pipe.close()

    asyncio.run(write_and_drain())
    return records


class TestLines:
    def test_an_unfinished_line_is_given_at_the_end(self) -> None:
        assert read(split_lines, b"one\ntw", b"o") == ["one", "two"]

    def test_bytes_that_are_not_utf8_are_replaced(self) -> None:
        assert read(split_lines, b"a\xff\n") == ["a\ufffd"]

    def test_without_an_end_are_cut_so_that_they_do_not_fill_the_memory(self) -> None:
        assert split_lines(b"x" * MAX_LINE_BYTES) == ([], b"x" * MAX_LINE_BYTES)
        assert split_lines(b"a\n" + b"x" * (MAX_LINE_BYTES + 1)) == (["a", "x" * (MAX_LINE_BYTES + 1)], b"")

    @given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1)), st.data())
    def test_split_anywhere_they_are_read_the_same(self, lines: list[str], data: st.DataObject) -> None:
        whole = "".join(line + "\n" for line in lines).encode()
        cut = data.draw(st.integers(0, len(whole)))
        assert read(split_lines, whole[:cut], whole[cut:]) == lines


class TestFrames:
    def test_a_record_keeps_its_lines_together(self) -> None:
        assert read(split_frames, frame("Traceback\n  one\n  two\n")) == ["Traceback\n  one\n  two"]

    def test_bytes_that_are_not_a_frame_are_not_lost(self) -> None:
        assert read(split_frames, b"something that is no frame at all") == ["something that is no frame at all"]

    def test_an_impossible_length_is_not_a_frame(self) -> None:
        assert len(read(split_frames, struct.pack(">IIQ", 0xA55A000F, 2**31, 0))) == 1

    @given(st.lists(st.tuples(st.text(), st.integers(0, 0x1F))), st.data())
    def test_split_anywhere_they_are_read_the_same(self, records: list[tuple[str, int]], data: st.DataObject) -> None:
        whole = b"".join(frame(text, 0xA55A0000 | kind) for text, kind in records)
        cut = data.draw(st.integers(0, len(whole)))
        expected = [text.rstrip("\n") for text, _ in records]
        assert read(split_frames, whole[:cut], whole[cut:]) == expected

    @given(st.binary(max_size=200), st.data())
    def test_any_bytes_are_accepted(self, noise: bytes, data: st.DataObject) -> None:
        cut = data.draw(st.integers(0, len(noise)))
        read(split_frames, noise[:cut], noise[cut:])


class TestAPipe:
    async def test_is_read_as_lines_arrive(self) -> None:
        lines: list[str] = []
        pipe = LogPipe(split_lines, lines.append)
        os.write(pipe.write_fd, b"one\ntwo")
        await until(lambda: lines == ["one"])
        pipe.close_write_end()
        pipe.close()
        assert lines == ["one", "two"]

    async def test_can_be_drained_at_once(self) -> None:
        lines: list[str] = []
        pipe = LogPipe(split_lines, lines.append)
        os.write(pipe.write_fd, b"one\n")
        pipe.drain()
        assert lines == ["one"]
        pipe.close_write_end()
        pipe.close()

    async def test_that_never_ends_does_not_block_the_loop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lines: list[str] = []
        pipe = LogPipe(split_lines, lines.append)
        pipe.close_write_end()
        with monkeypatch.context() as patch:
            patch.setattr(os, "read", lambda fd, size: b"more\n")
            pipe.drain()
        assert 0 < len(lines) < 100
        pipe.close()


class TestTheConsole:
    def test_shows_the_human_readable_part_of_a_json_line(self) -> None:
        assert format_for_console('{"level": "INFO", "message": "hello", "request_id": "r"}') == "INFO    hello"

    def test_shows_a_traceback_line_by_line(self) -> None:
        assert format_for_console('{"level": "ERROR", "message": "no", "exception": "a\\nb"}') == "ERROR   no\na\nb"
        assert format_for_console('{"level": "ERROR", "message": "no", "stackTrace": ["a", "b"]}') == "ERROR   no\na\nb"

    @given(st.text() | st.dictionaries(st.sampled_from(["level", "message", "exception"]), st.text()).map(json.dumps))
    def test_shows_anything_else_as_it_is(self, record: str) -> None:
        if not ({"level", "message"} <= set(record.replace('"', " ").split())):
            assert format_for_console(record) == record
        assert format_for_console(record) or not record
