"""Hidden reasoning: its text is in no answer of any format and in no kept message; what is opaque stays."""

import re
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.core import events as e
from winterbourne.chat.core.answer_messages import messages_of
from winterbourne.chat.core.messages import AssistantMessage, Opaque, Reasoning, Text, ToolCall, UserMessage
from winterbourne.chat.formats import ag_ui, ai_sdk, native, openai
from winterbourne.chat.formats.base import Encoder, Format, ResumedAnswer
from winterbourne.chat.formats.hidden_reasoning import hide_reasoning, without_reasoning_text

FORMATS: tuple[Format, ...] = (native.FORMAT, ai_sdk.FORMAT, ag_ui.FORMAT, openai.FORMAT)
HI = {"id": "1", "role": "user", "content": "Hi", "parts": [{"type": "text", "text": "Hi"}]}
SECRET = "what nobody is to read"
DETAILS = (
    '{"reasoning_details":[{"type":"reasoning.encrypted","data":"sealed"}],'
    '"item":{"summary":[{"type":"summary_text","text":"what nobody is to read"}],"encrypted_content":"locked"}}'
)
WITH_TEXT = '{"reasoning_details":[{"type":"reasoning.text","text":"what nobody is to read"},{"data":"sealed"}]}'
STARTED = e.ConversationStarted("c1", "m1", "m")
END = (e.TurnEnded("stop"), e.ConversationEnded("stop", e.Usage(), 1))


def encoder_of(wire_format: Format, **fields: Any) -> Encoder:
    return hide_reasoning(wire_format).decode({"messages": [HI], **fields})[1]


def sent(encoder: Encoder, *events: e.ChatEvent) -> str:
    text = b"".join(encoder.encode((event,)) for event in (STARTED, e.TurnStarted(1), *events, *END)).decode()
    return re.sub(r'"created":\d+', '"created":0', text)


@pytest.mark.parametrize("fields", ["no object", "[]", "[" * 100_000])
def test_what_a_client_made_up_is_no_hindrance(fields: str) -> None:
    """It may have been kept, and the conversation is to be read again."""
    kept = AssistantMessage((Reasoning(SECRET, opaque=Opaque("o", "f", fields)), Text("Because.")))
    shown = without_reasoning_text(kept)
    assert shown == AssistantMessage((Reasoning("", opaque=Opaque("o", "f")), Text("Because.")))


@pytest.mark.parametrize("wire_format", FORMATS, ids=lambda wire_format: wire_format.path)
class TestAnswers:
    def test_have_no_text_of_it(self, wire_format: Format) -> None:
        thought = (e.ReasoningDelta(SECRET), e.ReasoningEnded("signed", opaque=Opaque(fields=DETAILS)))
        for fields in ({}, {"stream": True}):
            told = sent(encoder_of(wire_format, **fields), *thought, e.TextDelta("Because."))
            assert "Because." in told
            assert SECRET not in told
            assert "signed" not in told  # a signature without its text is refused
            thought = (e.ReasoningDelta(SECRET), e.ReasoningEnded(opaque=Opaque(fields=WITH_TEXT)))
            told = sent(encoder_of(wire_format, **fields), *thought, e.TextDelta("Because."))
            assert SECRET not in told
            assert "sealed" not in told  # OpenRouter takes them as they were, or not at all

    def test_that_are_sent_again_have_none_either(self, wire_format: Format) -> None:
        resume = hide_reasoning(wire_format).resume
        assert resume
        history = (UserMessage((Text("Why?"),), "u1"), AssistantMessage((Reasoning(SECRET), Text("Because.")), "m0"))
        answer = ResumedAnswer(conversation_id="c1", history=history, encoder=encoder_of(wire_format))
        told = sent(resume(answer), e.ReasoningDelta(SECRET), e.ReasoningEnded(), e.TextDelta("Again."))
        assert "Again." in told
        assert SECRET not in told

    @pytest.mark.parametrize("fields", [{}, {"stream": True}, {"retractions": True}])
    def test_go_on_as_if_a_model_that_failed_while_it_thought_had_not_been_asked(
        self, wire_format: Format, fields: dict[str, Any]
    ) -> None:
        ended = e.ReasoningEnded("signed"), e.TextDelta("Because.")
        lost = e.ReasoningDelta(SECRET), e.TurnRetracted("openai:gpt")
        told = [sent(encoder_of(wire_format, **fields), *events) for events in ((*lost, *ended), ended)]
        assert told[0] == told[1]

    def test_of_one_batch_are_whole(self, wire_format: Format) -> None:
        encoder = encoder_of(wire_format)
        told = encoder.encode((STARTED, e.TurnStarted(1), e.ReasoningDelta(SECRET), e.TextDelta("Because."), *END))
        assert b"Because." in told
        assert SECRET.encode() not in told
        assert encoder.status == 200
        assert "content-type" in encoder.headers
        assert encoder_of(wire_format).encode((e.ReasoningDelta(SECRET),)) == b""


@pytest.mark.parametrize("wire_format", FORMATS[1:], ids=lambda wire_format: wire_format.path)
def test_what_the_provider_wants_back_is_in_every_format_that_carries_it(wire_format: Format) -> None:
    thought = (e.ReasoningEnded("signed", opaque=Opaque(fields=DETAILS)), e.ReasoningEnded(redacted="cGFr"))
    told = sent(encoder_of(wire_format), *thought, e.TextDelta("Because."))
    assert all(word in told for word in ("signed", "sealed", "locked", "cGFr"))


class TestMessages:
    def test_are_shown_without_it(self) -> None:
        call = ToolCall("c", "f", "{}")
        kept = AssistantMessage((Reasoning(SECRET, "signed"), Reasoning("", "kept"), Text("Because."), call), "m1")
        shown = without_reasoning_text(kept)
        assert shown == AssistantMessage((Reasoning("", "kept"), Text("Because."), call), "m1")
        assert without_reasoning_text(UserMessage((Text(SECRET),))) == UserMessage((Text(SECRET),))

    @given(st.lists(st.sampled_from(["text", "signed", "sealed", "said"]), max_size=6))
    def test_are_what_the_answer_showed(self, kinds: list[str]) -> None:
        batches: dict[str, tuple[e.ChatEvent, ...]] = {
            "text": (e.ReasoningDelta(SECRET), e.ReasoningEnded("signed")),
            "signed": (e.ReasoningEnded("kept"),),
            "sealed": (e.ReasoningEnded(redacted="cGFr"),),
            "said": (e.TextDelta("Because."),),
        }
        events = [event for kind in kinds for event in batches[kind]]
        told: list[e.ChatEvent] = []

        class Recording:
            status, heartbeat = 200, b""
            headers: ClassVar[dict[str, str]] = {}

            def encode(self, batch: e.EventBatch, /) -> bytes:
                told.extend(batch)
                return b"x"

        def decode(_: dict[str, Any]) -> Any:
            return None, Recording()

        encoder = hide_reasoning(Format("/mine", decode, native.FORMAT.encode_error)).decode({})[1]
        for event in (STARTED, e.TurnStarted(1), *events, *END):
            encoder.encode((event,))
        kept = messages_of((STARTED, e.TurnStarted(1), *events, *END))
        shown = [without_reasoning_text(message) for message in kept]
        empty = Reasoning("")
        for message in messages_of(told):
            assert isinstance(message, AssistantMessage)
            parts = tuple(part for part in message.parts if part != empty)
            assert [one.parts for one in shown if isinstance(one, AssistantMessage)] == [parts]
