"""Server-sent events: framing, as an independent reader sees it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.conversations import json_values
from tests.chat.formats.wire import data_of, post
from winterbourne.chat.core.events import ConversationStarted, ConversationStopped, TextDelta
from winterbourne.chat.formats import ag_ui, ai_sdk, native, openai, sse
from winterbourne.chat.formats.base import Encoder, Frontend
from winterbourne.chat.formats.json_text import written
from winterbourne.chat.formats.native.encode import NativeEncoder
from winterbourne.chat.settings import Settings

FRONTENDS: tuple[Frontend, ...] = (native.FRONTEND, ai_sdk.FRONTEND, ag_ui.FRONTEND, openai.FRONTEND)


@given(st.lists(json_values, max_size=4))
def test_frames_are_read_as_they_were_written(values: list[object]) -> None:
    assert data_of(b"".join(sse.frame(written(value)) for value in values)) == values


def test_a_heartbeat_is_a_comment_and_says_nothing() -> None:
    assert sse.HEARTBEAT.startswith(b":")
    assert data_of(sse.HEARTBEAT * 3) == []


def test_the_word_done_ends_a_stream() -> None:
    assert data_of(sse.DONE) == ["[DONE]"]


def test_an_empty_batch_is_no_bytes() -> None:
    assert NativeEncoder().encode(()) == b""


@pytest.mark.parametrize("frontend", FRONTENDS, ids=lambda frontend: frontend.path)
class TestEveryFormat:
    def encoder(self, frontend: Frontend) -> Encoder:
        message = {"id": "1", "role": "user", "content": "Hi", "parts": [{"type": "text", "text": "Hi"}]}
        return frontend.read(post({"messages": [message], "stream": True}), Settings())[1]

    def test_streams_without_being_buffered_or_stored(self, frontend: Frontend) -> None:
        encoder = self.encoder(frontend)
        assert encoder.status == 200
        assert encoder.headers["content-type"] == "text/event-stream"
        assert encoder.headers["cache-control"] == "no-cache, no-transform"
        assert encoder.headers["x-accel-buffering"] == "no"

    def test_has_heartbeats(self, frontend: Frontend) -> None:
        assert self.encoder(frontend).heartbeat == b": keep-alive\n\n"

    def test_says_something_with_the_first_event(self, frontend: Frontend) -> None:
        assert self.encoder(frontend).encode([ConversationStarted("c", "m", "scripted")])

    def test_an_answer_is_its_own(self, frontend: Frontend) -> None:
        one, other = self.encoder(frontend), self.encoder(frontend)
        one.encode([TextDelta("a")])
        assert other.encode([TextDelta("a")]) == self.encoder(frontend).encode([TextDelta("a")])

    def test_a_stop_is_said_at_once(self, frontend: Frontend) -> None:
        assert b"user" in self.encoder(frontend).encode([ConversationStopped("user")])
