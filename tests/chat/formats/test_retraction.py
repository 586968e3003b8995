"""What was taken back: a client that has seen it has the same answer in the end as one that has not."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chat.conversations import batches, conversations, retracting
from tests.chat.formats.wire import data_of
from tests.chat.http_events import RecordedResponse
from tests.contract.providers.clients import CLIENTS
from winterbourne.chat.core import events as e
from winterbourne.chat.core.messages import Retractable
from winterbourne.chat.errors import AnswerLost
from winterbourne.chat.formats import ag_ui, ai_sdk, native, openai
from winterbourne.chat.formats.base import Encoder, Format, ResumedAnswer

FORMATS = {"native": native.FORMAT, "ai-sdk": ai_sdk.FORMAT, "ag-ui": ag_ui.FORMAT}
HI = {"role": "user", "content": "Hi", "id": "u1"}
BODIES: dict[str, dict[str, Any]] = {
    "native": {"messages": [HI], "retractions": True},
    "ai-sdk": {"messages": [{"id": "u1", "role": "user", "parts": []}], "retractions": True},
    "ag-ui": {"messages": [HI], "threadId": "t", "runId": "r"},
}


@dataclass
class Frames:
    frames: list[Any]


def shown(client: str, encoder: Encoder, *told_at_once: Sequence[e.ChatEvent]) -> list[Any]:
    """The messages that a client has of an answer."""
    told = b"".join(map(encoder.encode, told_at_once))
    reader = CLIENTS[client]()
    reader.body(())
    reader.read(cast("RecordedResponse", Frames([one for one in data_of(told) if one != "[DONE]"])))
    return [message for message in reader.history if message != HI]


def comparable(messages: Sequence[Any]) -> list[str]:
    """What is said, called and answered in messages, apart from how it was cut and when.

    In AG-UI a turn that is shown again does not say how long a tool took, nor how it failed; its calls are in the order
    in which they were ready, and its reasoning is not divided by the beginning of a call.
    """
    thoughts = "".join(one["content"] for one in messages if one["role"] == "reasoning")
    others = [_comparable(one) for one in messages if one["role"] != "reasoning"]
    return sorted([thoughts, *filter(None, others)])


def _comparable(message: Any) -> str:
    calls = sorted(message.get("toolCalls", ()), key=lambda call: call["id"])
    fields = {name: value for name, value in message.items() if name not in {"metadata", "encryptedValue", "id"}}
    told = {name: value for name, value in (fields | {"toolCalls": calls}).items() if value}
    if isinstance(content := told.get("content"), str):
        told["content"] = content.replace("\n", " ")  # within JSON, in frames of one line
    return json.dumps(told, sort_keys=True) if told.keys() != {"role"} else ""


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=60)
@given(st.data())
def test_leaves_no_trace(name: str, data: st.DataObject) -> None:
    events = data.draw(conversations())
    again = data.draw(retracting(events))
    encoder, other = FORMATS[name].decode(BODIES[name])[1], FORMATS[name].decode(BODIES[name])[1]
    assert comparable(shown(name, encoder, *data.draw(batches(again)))) == comparable(shown(name, other, events))


SAID: list[e.ChatEvent] = [e.ConversationStarted("c", "m", "x"), e.TurnStarted(1), e.TextDelta("Hel")]


@pytest.mark.parametrize(
    ("wire_format", "body", "expected"),
    [
        (native.FORMAT, {"messages": [HI], "retractions": True}, "by_frames"),
        (native.FORMAT, {"messages": [HI]}, "calls"),
        (ai_sdk.FORMAT, {"messages": [{"id": "u", "role": "user", "parts": []}], "retractions": True}, "by_chunks"),
        (ai_sdk.FORMAT, {"messages": [{"id": "u", "role": "user", "parts": []}]}, "nothing"),
        (ag_ui.FORMAT, {"messages": [HI]}, "everything"),
        (openai.FORMAT, {"messages": [HI]}, "everything"),
        (openai.FORMAT, {"messages": [HI], "stream": True}, "calls"),
        (
            openai.FORMAT,
            {
                "messages": [HI],
                "stream": True,
                "tools": [{"type": "function", "function": {"name": "a", "parameters": {}}}],
            },
            "nothing",
        ),
    ],
)
def test_what_a_client_can_drop(wire_format: Format, body: dict[str, Any], expected: Retractable) -> None:
    assert wire_format.decode(body)[0].retractable == expected


class TestFrames:
    RETRACTED: tuple[e.ChatEvent, ...] = (e.TurnRetracted("openai:gpt"),)

    def test_native_has_a_frame_of_its_own(self) -> None:
        encoder = native.FORMAT.decode(BODIES["native"])[1]
        encoder.encode(SAID)
        assert encoder.encode(self.RETRACTED) == b'data: {"type":"retract"}\n\n'

    def test_the_ai_sdk_resets_the_step(self) -> None:
        encoder = ai_sdk.FORMAT.decode(BODIES["ai-sdk"])[1]
        encoder.encode(SAID)
        assert data_of(encoder.encode(self.RETRACTED)) == [{"type": "reset-step"}]
        assert [one["type"] for one in data_of(encoder.encode((e.TextDelta("Lo"),)))] == ["text-start", "text-delta"]

    def test_ag_ui_closes_the_message_and_shows_the_others(self) -> None:
        encoder = ag_ui.FORMAT.decode(BODIES["ag-ui"])[1]
        encoder.encode(SAID)
        end, snapshot = data_of(encoder.encode(self.RETRACTED))
        assert end["type"] == "TEXT_MESSAGE_END"
        assert snapshot == {"type": "MESSAGES_SNAPSHOT", "messages": [HI]}

    @pytest.mark.parametrize("wire_format", [ai_sdk.FORMAT, ag_ui.FORMAT])
    def test_a_late_reader_that_cannot_drop_anything_has_its_answer_end(self, wire_format: Format) -> None:
        assert wire_format.resume
        encoder = wire_format.resume(ResumedAnswer(conversation_id="c"))
        encoder.encode(SAID)
        with pytest.raises(AnswerLost):
            encoder.encode(self.RETRACTED)

    @pytest.mark.parametrize(("began", "frames"), [("by_frames", b"turn"), ("everything", b""), ("by_chunks", b"")])
    def test_a_native_reader_is_told_of_turns_only_where_a_native_client_asked_for_it(
        self, began: Retractable, frames: bytes
    ) -> None:
        assert native.FORMAT.resume
        encoder = native.FORMAT.resume(ResumedAnswer(conversation_id="c", retractable=began))
        assert bool(encoder.encode((e.TurnStarted(2),))) == bool(frames)
        if not frames:
            with pytest.raises(AnswerLost):
                encoder.encode(self.RETRACTED)

    def test_a_page_that_comes_back_to_its_answer_can_drop_as_before(self) -> None:
        assert ai_sdk.FORMAT.resume
        encoder = ai_sdk.FORMAT.resume(ResumedAnswer(conversation_id="c", retractable="by_chunks"))
        assert data_of(encoder.encode(self.RETRACTED)) == [{"type": "reset-step"}]


class TestDroppedCalls:
    """Calls that were begun beside others that are ready."""

    EVENTS: tuple[e.ChatEvent, ...] = (
        *SAID,
        e.ToolCallStarted("1", "add"),
        e.ToolArgumentsDelta("1", '{"a":1}'),
        e.ToolCallReady("1", "add", '{"a":1}'),
        e.ToolCallStarted("2", "add"),
        e.ToolArgumentsDelta("2", '{"a'),
        e.ToolCallDropped("2", "add"),
        e.ToolFinished("1", "add", "completed", 1, b"3"),
        e.TurnEnded("tool_calls"),
    )

    def test_are_failed_calls_for_the_ai_sdk(self) -> None:
        (message,) = shown("ai-sdk", of_the_ai_sdk(), self.EVENTS)
        first, second = [part for part in message["parts"] if part["type"] == "dynamic-tool"]
        assert (first["state"], second["state"]) == ("output-available", "output-error")

    def test_are_taken_out_of_the_messages_of_ag_ui(self) -> None:
        messages = shown("ag-ui", ag_ui.FORMAT.decode(BODIES["ag-ui"])[1], self.EVENTS)
        assert [call["id"] for call in messages[0]["toolCalls"]] == ["1"]
        assert messages[1]["toolCallId"] == "1"

    def test_are_not_shown_in_the_native_format(self) -> None:
        encoder = native.FORMAT.decode({"messages": [HI]})[1]
        assert b'"2"' not in encoder.encode(self.EVENTS)

    def test_end_a_stream_of_chunks_if_they_are_the_clients_own(self) -> None:
        tool = {"type": "function", "function": {"name": "add", "parameters": {}}}
        body = {"messages": [HI], "stream": True, "tools": [tool]}
        with pytest.raises(AnswerLost):
            openai.FORMAT.decode(body)[1].encode(self.EVENTS)
        assert openai.FORMAT.decode({**body, "tools": []})[1].encode(self.EVENTS)


def of_the_ai_sdk() -> Encoder:
    return ai_sdk.FORMAT.decode(BODIES["ai-sdk"])[1]
