"""The native format, encoding: frames byte for byte, and the order of a call's statuses."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chat.conversations import BAD_TEXT, batches, conversations
from tests.chat.formats.wire import data_of, sent
from winterbourne.chat.core import events as e
from winterbourne.chat.core.messages import Approval, Source
from winterbourne.chat.formats.native.encode import NativeEncoder

TERMINAL_STATUSES = {"completed", "failed", "timed_out", "cancelled", "denied", "approval_requested"}


def frames(*events: e.ChatEvent) -> bytes:
    return NativeEncoder().encode(events)


def verify(stream: list[Any]) -> None:
    """The rules of the format that a client may rely on."""
    assert stream[0]["type"] == "start"
    assert stream[-1]["type"] in {"done", "error", "stopped"}
    state: dict[str, str] = {}
    for frame in stream[1:-1]:
        assert frame["type"] in {"content", "reasoning", "tool_call", "source"}
        if frame["type"] == "tool_call":
            before, now = state.get(frame["id"]), frame["status"]
            assert before not in TERMINAL_STATUSES
            assert now != "queued" or before is None
            assert now != "started" or before in {None, "queued"}
            assert now != "approval_requested" or before is None
            assert now != "progress" or before in {"started", "progress"}
            state[frame["id"]] = now
    assert set(state.values()) <= TERMINAL_STATUSES


class TestFrames:
    def test_content_keeps_its_bytes(self) -> None:
        assert frames(e.TextDelta("Hel")) == b'data: {"type":"content","delta":"Hel"}\n\n'

    def test_a_call_keeps_its_first_bytes_and_more_fields_follow(self) -> None:
        frame = frames(e.ToolFinished("c1", "get_stock_quote", "completed", 230, b'{"price":1}'))
        assert frame == (
            b'data: {"type":"tool_call","name":"get_stock_quote","status":"completed"'
            b',"id":"c1","duration_ms":230,"result":{"price":1}}\n\n'
        )

    def test_a_result_that_was_cached_says_so(self) -> None:
        [frame] = data_of(frames(e.ToolFinished("c1", "x", "completed", 0, b"7", cached=True)))
        assert frame["cached"] is True
        assert frame["result"] == 7

    def test_a_started_call_shows_its_arguments_as_the_model_wrote_them(self) -> None:
        ready = e.ToolCallReady("c1", "calculate", '{"expression": "1+1"')
        frame = frames(ready, e.ToolStarted("c1", "calculate"))
        assert frame == (
            b'data: {"type":"tool_call","name":"calculate","status":"started"'
            b',"id":"c1","arguments":"{\\"expression\\": \\"1+1\\""}\n\n'
        )

    @pytest.mark.parametrize("status", ["failed", "timed_out", "cancelled", "denied"])
    def test_a_failed_call_says_why(self, status: e.ToolStatus) -> None:
        [frame] = data_of(frames(e.ToolFinished("c1", "x", status, 3, error="too slow")))
        assert frame == {
            "type": "tool_call",
            "name": "x",
            "status": status,
            "id": "c1",
            "duration_ms": 3,
            "error": "too slow",
        }

    def test_queued_and_progress_are_statuses(self) -> None:
        queued, progress = data_of(frames(e.ToolQueued("c1", "x"), e.ToolProgressed("c1", "x", b"[1]")))
        assert queued == {"type": "tool_call", "name": "x", "status": "queued", "id": "c1"}
        assert progress == {"type": "tool_call", "name": "x", "status": "progress", "id": "c1", "data": [1]}

    def test_a_person_is_asked_with_the_calls_arguments(self) -> None:
        ready = e.ToolCallReady("c1", "pay", '{"eur":5}')
        form = {"type": "object", "properties": {"card": {"type": "string"}}}
        asked = e.ToolApprovalRequested("c1", "pay", Approval("1.a.b", 1, "Pay?", allows_edits=True, schema=form))
        [frame] = data_of(frames(ready, asked))
        approval = {"id": "1.a.b", "expires_at_s": 1, "message": "Pay?", "allows_edits": True, "schema": form}
        call = {"type": "tool_call", "name": "pay", "status": "approval_requested", "id": "c1"}
        assert frame == {**call, "arguments": '{"eur":5}', "approval": approval}

    def test_a_call_of_an_earlier_answer_starts_without_its_arguments(self) -> None:
        [frame] = data_of(frames(e.ToolStarted("c1", "pay")))
        assert frame == {"type": "tool_call", "name": "pay", "status": "started", "id": "c1"}

    def test_a_result_with_line_breaks_stays_one_frame(self) -> None:
        [frame] = data_of(frames(e.ToolFinished("c1", "x", "completed", 3, b'{\n "a":\r\n 1\r}')))
        assert frame["result"] == {"a": 1}

    def test_start_has_the_conversation_the_message_and_the_model(self) -> None:
        [frame] = data_of(frames(e.ConversationStarted("c", "m", "scripted")))
        assert frame == {"type": "start", "conversation_id": "c", "message_id": "m", "model": "scripted"}

    def test_done_counts_tokens_and_turns(self) -> None:
        [frame] = data_of(frames(e.ConversationEnded("stop", e.Usage(9, 4, 2), 2)))
        assert frame == {
            "type": "done",
            "stop_reason": "stop",
            "usage": {"input": 9, "output": 4, "cached": 2},
            "turns": 2,
        }

    def test_a_source_has_what_is_known_of_it(self) -> None:
        source = Source("s1", "https://a", "Tides", cited_text="at 6")
        assert frames(e.SourceCited(source)) == (
            b'data: {"type":"source","id":"s1","url":"https://a","title":"Tides","cited_text":"at 6"}\n\n'
        )
        assert frames(e.SourceCited(Source("s2", title="Plan", media_type="application/pdf"))) == (
            b'data: {"type":"source","id":"s2","title":"Plan","media_type":"application/pdf"}\n\n'
        )

    def test_done_says_more_of_the_usage_where_there_is_more(self) -> None:
        [frame] = data_of(frames(e.ConversationEnded("stop", e.Usage(9, 4, 2, 3, 1, 0.00123), 2)))
        counts = {"input": 9, "output": 4, "cached": 2, "cache_write": 3, "reasoning": 1}
        assert frame["usage"] == {**counts, "cost": 0.00123}

    def test_error_and_stopped_are_terminal_frames(self) -> None:
        failed = e.ConversationFailed("model_busy", "later", "r-1")
        error, stopped = data_of(frames(failed, e.ConversationStopped("user")))
        assert error == {"type": "error", "code": "model_busy", "message": "later", "request_id": "r-1"}
        assert stopped == {"type": "stopped", "reason": "user"}

    def test_any_text_arrives_unchanged(self) -> None:
        assert data_of(frames(e.TextDelta(BAD_TEXT)))[0]["delta"] == BAD_TEXT

    def test_halves_of_an_emoji_join_again(self) -> None:
        first, second = data_of(frames(e.TextDelta("\ud83d"), e.TextDelta("\ude00")))
        assert (first["delta"] + second["delta"]).encode("utf-16", "surrogatepass").decode("utf-16") == "😀"


@settings(max_examples=60)
@given(st.data())
def test_any_conversation_gives_a_valid_stream(data: st.DataObject) -> None:
    events = data.draw(conversations(decides=True))
    stream = data_of(sent(NativeEncoder(), data.draw(batches(events))))
    verify(stream)
    text = "".join(event.text for event in events if isinstance(event, e.TextDelta))
    assert "".join(frame["delta"] for frame in stream if frame["type"] == "content") == text


@settings(max_examples=60)
@given(st.data())
def test_batching_does_not_change_the_bytes(data: st.DataObject) -> None:
    events = data.draw(conversations(decides=True))
    one_by_one = sent(NativeEncoder(), [[event] for event in events], heartbeats=False)
    assert sent(NativeEncoder(), data.draw(batches(events)), heartbeats=False) == one_by_one
