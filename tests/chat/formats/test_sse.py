"""Server-sent events: what all streaming formats share, as an independent parser sees it."""

import pytest

from tests.chat.formats.wire import data_of
from winterbourne.chat.core.events import ConversationStarted, ConversationStopped, TextDelta
from winterbourne.chat.formats import ag_ui, ai_sdk, native, openai, sse
from winterbourne.chat.formats.base import Encoder, Format
from winterbourne.chat.formats.native.encode import NativeEncoder

FORMATS: tuple[Format, ...] = (native.FORMAT, ai_sdk.FORMAT, ag_ui.FORMAT, openai.FORMAT)


def test_a_heartbeat_is_a_comment_without_data() -> None:
    assert sse.HEARTBEAT.startswith(b":")
    assert data_of(sse.HEARTBEAT * 3) == []


def test_the_done_marker_is_a_frame_of_its_own() -> None:
    assert data_of(sse.DONE) == ["[DONE]"]


def test_an_empty_batch_is_no_bytes() -> None:
    assert NativeEncoder().encode(()) == b""


@pytest.mark.parametrize("wire_format", FORMATS, ids=lambda wire_format: wire_format.path)
class TestEveryFormat:
    def encoder(self, wire_format: Format) -> Encoder:
        message = {"id": "1", "role": "user", "content": "Hi", "parts": [{"type": "text", "text": "Hi"}]}
        return wire_format.decode({"messages": [message], "stream": True})[1]

    def test_streams_without_being_buffered_or_stored(self, wire_format: Format) -> None:
        encoder = self.encoder(wire_format)
        assert encoder.status == 200
        assert encoder.headers["content-type"] == "text/event-stream"
        assert encoder.headers["cache-control"] == "no-cache, no-transform"
        assert encoder.headers["x-accel-buffering"] == "no"
        assert encoder.headers["x-content-type-options"] == "nosniff"

    def test_has_heartbeats(self, wire_format: Format) -> None:
        assert self.encoder(wire_format).heartbeat == b": keep-alive\n\n"

    def test_sends_bytes_with_the_first_event_or_before_the_first_heartbeat(self, wire_format: Format) -> None:
        encoder = self.encoder(wire_format)
        assert encoder.encode([ConversationStarted("c", "m", "scripted")]) + encoder.encode(())

    def test_encoders_share_no_state(self, wire_format: Format) -> None:
        one, other = self.encoder(wire_format), self.encoder(wire_format)
        one.encode([TextDelta("a")])
        assert other.encode([TextDelta("a")]) == self.encoder(wire_format).encode([TextDelta("a")])

    def test_sends_a_stop_at_once(self, wire_format: Format) -> None:
        assert b"user" in self.encoder(wire_format).encode([ConversationStopped("user")])
