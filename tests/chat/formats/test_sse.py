"""Server-sent events: what all streaming formats share, as an independent parser sees it."""

import json
from collections.abc import Callable
from typing import Any, Final, get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench import bench_frames
from tests.chat.conversations import any_text
from tests.chat.formats.wire import data_of
from winterbourne.chat.core.events import (
    ChatEvent,
    ConversationStarted,
    ConversationStopped,
    ReasoningDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStarted,
    TurnStarted,
)
from winterbourne.chat.formats import ag_ui, ai_sdk, native, openai, sse
from winterbourne.chat.formats.base import Encoder, Format
from winterbourne.chat.formats.native.encode import NativeEncoder

BEGUN: Final = (ConversationStarted("c", "m", "scripted"), TurnStarted(1))
CALLS: Final = tuple(ToolCallStarted(f"call_{number}", bench_frames.TOOL) for number in range(2))
DELTAS: Final[tuple[Callable[[str], ChatEvent], ...]] = (
    TextDelta,
    ReasoningDelta,
    lambda text: ToolArgumentsDelta("call_0", text),
    lambda text: ToolArgumentsDelta("call_1", text),
)
FRAMES: Final = [(name, frame) for name, frames in bench_frames.FORMATS.items() for frame in frames]

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


@given(st.lists(st.tuples(st.sampled_from(DELTAS), any_text | st.text(min_size=1)), max_size=12), st.data())
def test_a_delta_is_one_line_of_json_with_its_text_whatever_came_before(
    deltas: list[tuple[Callable[[str], ChatEvent], str]], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from([*bench_frames.ENCODERS]))
    encoder = bench_frames.ENCODERS[name]()
    encoder.encode((*BEGUN, *CALLS))
    for delta, text in deltas:
        if not (sent := encoder.encode((delta(text),))):
            assert name == "native"  # it shows no arguments before they are whole
            continue
        *_, frame = sent.removesuffix(b"\n\n").split(b"\n\n")
        said = json.loads(frame.removeprefix(b"data: "))
        assert text in texts_of(said)
        if text.isprintable():  # without lone surrogates, too
            assert frame == b"data: " + orjson.dumps(said)


def texts_of(value: Any) -> list[str]:
    """All texts in a value."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value] if isinstance(value, str) else [text for one in inner for text in texts_of(one)]


@pytest.mark.parametrize(("name", "frame"), FRAMES, ids=[f"{name}: {frame.name}" for name, frame in FRAMES])
def test_a_frequent_frame_is_what_orjson_makes_of_its_object(name: str, frame: bench_frames.Frame) -> None:
    bench_frames.verify(name, frame)


def test_every_event_is_frequent_or_rare() -> None:
    frequent, rare = set(get_args(sse.FrequentEvent)), set(get_args(sse.RareEvent))
    assert frequent | rare == set(get_args(ChatEvent)) == set(sse.QUICK)
    assert not frequent & rare


def test_names_that_a_model_invents_are_not_kept_for_ever() -> None:
    pieces = sse.PerTool(b'{"name":%b}')
    assert all(pieces[f"tool{number}"] == b'{"name":"tool%d"}' % number for number in range(2 * sse.MAX_NAMES))
    assert len(pieces) <= sse.MAX_NAMES
