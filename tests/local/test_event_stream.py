"""Encoder for AWS event-stream messages, tested with botocore's parser."""

import json
from typing import Any

import pytest
from botocore.eventstream import ChecksumMismatch, EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.local.event_stream import encode_message, invoke_complete, payload_chunk
from winterbourne.local.invocation import FunctionError


def read(data: bytes) -> list[Any]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return list(buffer)


class TestWhatBotocoreReads:
    def test_a_payload_chunk_has_its_bytes(self) -> None:
        (message,) = read(payload_chunk(b"\x00\xffhi"))
        assert message.payload == b"\x00\xffhi"
        assert message.headers == {
            ":message-type": "event",
            ":event-type": "PayloadChunk",
            ":content-type": "application/octet-stream",
        }

    def test_the_end_of_a_successful_invocation_has_no_error(self) -> None:
        (message,) = read(invoke_complete(None, ""))
        assert message.headers[":event-type"] == "InvokeComplete"
        assert json.loads(message.payload) == {}

    def test_the_end_of_a_failed_one_has_type_document_and_log(self) -> None:
        (message,) = read(invoke_complete(FunctionError("Function.ValueError", b'{"errorMessage":"no"}'), "bG9n"))
        assert json.loads(message.payload) == {
            "ErrorCode": "Function.ValueError",
            "ErrorDetails": '{"errorMessage":"no"}',
            "LogResult": "bG9n",
        }

    def test_a_corrupt_frame_is_detected(self) -> None:
        data = bytearray(payload_chunk(b"hello"))
        data[-6] ^= 1
        with pytest.raises(ChecksumMismatch):
            read(bytes(data))


short = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


@given(st.lists(st.tuples(st.dictionaries(short, short, max_size=4), st.binary(max_size=300)), max_size=5), st.data())
def test_any_frames_split_anywhere_are_read_back(
    frames: list[tuple[dict[str, str], bytes]], data: st.DataObject
) -> None:
    whole = b"".join(encode_message(headers, payload) for headers, payload in frames)
    cut = data.draw(st.integers(0, len(whole)))
    buffer = EventStreamBuffer()
    messages: list[Any] = []
    for part in (whole[:cut], whole[cut:]):
        buffer.add_data(part)
        messages += list(buffer)
    assert [(message.headers, message.payload) for message in messages] == frames
