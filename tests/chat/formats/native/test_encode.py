"""The native format: frames byte for byte, bodies, histories."""

from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chat.conversations import BAD_TEXT, batches, conversations, histories
from tests.chat.formats import writers
from tests.chat.formats.wire import data_of, post, read, refusal, sent
from winterbourne.chat.core import events as e
from winterbourne.chat.core.messages import Image, Message, Text, ToolMessage, UserMessage
from winterbourne.chat.formats.native.decode import FORMAT
from winterbourne.chat.formats.native.encode import NativeEncoder
from winterbourne.chat.settings import Settings

FINAL = {"completed", "failed", "timed_out", "cancelled"}


def frames(*events: e.ChatEvent) -> bytes:
    return NativeEncoder().encode(events)


def verify(stream: list[Any]) -> None:
    """The rules of the format, as a client may rely on them."""
    assert stream[0]["type"] == "start"
    assert stream[-1]["type"] in {"done", "error", "stopped"}
    state: dict[str, str] = {}
    for frame in stream[1:-1]:
        assert frame["type"] in {"content", "reasoning", "tool_call"}
        if frame["type"] == "tool_call":
            before, now = state.get(frame["id"]), frame["status"]
            assert before not in FINAL
            assert now != "queued" or before is None
            assert now != "started" or before in {None, "queued"}
            assert now != "progress" or before in {"started", "progress"}
            state[frame["id"]] = now
    assert set(state.values()) <= FINAL


class TestFrames:
    def test_content_keeps_its_bytes(self) -> None:
        assert frames(e.TextDelta("Hel")) == b'data: {"type":"content","delta":"Hel"}\n\n'

    def test_a_call_begins_with_the_bytes_of_old_and_more_fields_follow(self) -> None:
        frame = frames(e.ToolFinished("c1", "get_stock_quote", "completed", 230, b'{"price":1}'))
        assert frame == (
            b'data: {"type":"tool_call","name":"get_stock_quote","status":"completed"'
            b',"id":"c1","duration_ms":230,"result":{"price":1}}\n\n'
        )

    def test_a_started_call_shows_its_arguments_as_the_model_wrote_them(self) -> None:
        ready = e.ToolCallReady("c1", "calculate", '{"expression": "1+1"')
        frame = frames(ready, e.ToolStarted("c1", "calculate"))
        assert frame == (
            b'data: {"type":"tool_call","name":"calculate","status":"started"'
            b',"id":"c1","arguments":"{\\"expression\\": \\"1+1\\""}\n\n'
        )

    @pytest.mark.parametrize("status", ["failed", "timed_out", "cancelled"])
    def test_a_call_that_came_to_nothing_says_why(self, status: e.ToolStatus) -> None:
        [frame] = data_of(frames(e.ToolFinished("c1", "x", status, 3, error="too slow")))
        assert frame == {
            "type": "tool_call",
            "name": "x",
            "status": status,
            "id": "c1",
            "duration_ms": 3,
            "error": "too slow",
        }

    def test_waiting_and_progress_are_statuses_of_their_own(self) -> None:
        waits, reports = data_of(frames(e.ToolQueued("c1", "x"), e.ToolProgressed("c1", "x", b"[1]")))
        assert waits == {"type": "tool_call", "name": "x", "status": "queued", "id": "c1"}
        assert reports == {"type": "tool_call", "name": "x", "status": "progress", "id": "c1", "data": [1]}

    def test_a_result_with_line_breaks_stays_one_frame(self) -> None:
        [frame] = data_of(frames(e.ToolFinished("c1", "x", "completed", 3, b'{\n "a":\r\n 1\r}')))
        assert frame["result"] == {"a": 1}

    def test_start_names_conversation_message_and_model(self) -> None:
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

    def test_error_and_stopped_are_last_words_of_their_own(self) -> None:
        error, stopped = data_of(frames(e.ConversationFailed("model_busy", "later"), e.ConversationStopped("user")))
        assert error == {"type": "error", "code": "model_busy", "message": "later"}
        assert stopped == {"type": "stopped", "reason": "user"}

    def test_text_of_any_kind_arrives_as_it_was(self) -> None:
        assert data_of(frames(e.TextDelta(BAD_TEXT)))[0]["delta"] == BAD_TEXT

    def test_halves_of_an_emoji_join_again(self) -> None:
        first, second = data_of(frames(e.TextDelta("\ud83d"), e.TextDelta("\ude00")))
        assert (first["delta"] + second["delta"]).encode("utf-16", "surrogatepass").decode("utf-16") == "😀"

    def test_every_event_has_its_place_in_the_table(self) -> None:
        assert set(NativeEncoder.dispatch_table) == set(get_args(e.ChatEvent))


@settings(max_examples=60)
@given(st.data())
def test_any_conversation_gives_a_stream_that_keeps_the_rules(data: st.DataObject) -> None:
    events = data.draw(conversations())
    stream = data_of(sent(NativeEncoder(), data.draw(batches(events))))
    verify(stream)
    said = "".join(event.text for event in events if isinstance(event, e.TextDelta))
    assert "".join(frame["delta"] for frame in stream if frame["type"] == "content") == said


@settings(max_examples=60)
@given(st.data())
def test_batches_cut_nothing_apart(data: st.DataObject) -> None:
    events = data.draw(conversations())
    one_by_one = sent(NativeEncoder(), [[event] for event in events], heartbeats=False)
    assert sent(NativeEncoder(), data.draw(batches(events)), heartbeats=False) == one_by_one


class TestBodies:
    def test_the_shortest_body_is_one_message(self) -> None:
        chat = read(FORMAT, {"messages": [{"role": "user", "content": "Hi"}]})
        assert chat.messages == (UserMessage((Text("Hi"),)),)
        assert not chat.store

    def test_options_are_taken_over(self) -> None:
        chat = read(
            FORMAT,
            {
                "messages": [{"role": "user", "content": "Hi"}],
                "conversation_id": "c_1",
                "model": "big",
                "temperature": 0.5,
                "max_tokens": 10,
                "system": "Be short.",
                "tool_choice": "none",
                "store": True,
            },
            Settings(model_choices="small, big"),
        )
        assert (chat.conversation_id, chat.model_id, chat.temperature, chat.max_tokens) == ("c_1", "big", 0.5, 10)
        assert (chat.system, chat.tool_choice, chat.store) == ("Be short.", "none", True)

    @given(histories())
    def test_a_history_arrives_without_loss(self, history: tuple[Message, ...]) -> None:
        assert read(FORMAT, writers.native(history)).messages == history

    def test_what_is_new_for_the_store_may_answer_calls_that_are_in_the_store(self) -> None:
        result = {"role": "tool", "tool_call_id": "c1", "content": "{}"}
        assert read(FORMAT, {"messages": [result], "store": True}).messages == (ToolMessage("c1", "", "{}"),)

    def test_an_image_has_data_or_an_address(self) -> None:
        part = {"type": "image", "media_type": "image/png", "data": "aGk="}
        chat = read(FORMAT, {"messages": [{"role": "user", "content": [part]}]})
        assert chat.messages == (UserMessage((Image("image/png", "aGk="),)),)
        body = {"messages": [{"role": "user", "content": [{**part, "url": "https://example.com/a.png"}]}]}
        assert refusal(FORMAT, body) == (400, "unsupported_media")

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ({}, "invalid_request"),
            ({"messages": []}, "no_messages"),
            ({"messages": "Hi"}, "invalid_request"),
            ({"messages": [{"role": "robot", "content": "Hi"}]}, "invalid_request"),
            ({"messages": [{"content": "Hi"}]}, "invalid_request"),
            ({"messages": [{"role": "user"}]}, "invalid_request"),
            ({"messages": [{"role": "user", "content": ""}]}, "empty_message"),
            ({"messages": [{"role": "user", "content": 5}]}, "invalid_request"),
            ({"messages": [{"role": "user", "content": "Hi"}], "temperature": 9}, "invalid_request"),
            ({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 0}, "invalid_request"),
        ],
    )
    def test_a_body_that_makes_no_sense_is_refused(self, body: object, code: str) -> None:
        assert refusal(FORMAT, body) == (400, code)

    def test_the_refusal_names_the_field(self) -> None:
        with pytest.raises(Exception, match=r"^messages\[0\]\.content: expected "):
            FORMAT.decode(post({"messages": [{"role": "user", "content": 5}]}), Settings())

    def test_an_error_body_has_code_and_message(self) -> None:
        assert FORMAT.error_body(400, "x", 'say "please"') == b'{"error":{"code":"x","message":"say \\"please\\""}}'
