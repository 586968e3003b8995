"""AI SDK UI message stream: chunks, and the rules that its client enforces."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chat.conversations import batches, conversations
from tests.chat.formats.wire import data_of, sent
from winterbourne.chat.core import events as e
from winterbourne.chat.core.messages import Approval, Source
from winterbourne.chat.formats.ai_sdk import FORMAT
from winterbourne.chat.formats.ai_sdk.encode import AiSdkEncoder
from winterbourne.chat.formats.base import ResumedAnswer

KNOWN_TO_VERSION_5 = {
    "start",
    "start-step",
    "finish-step",
    "text-start",
    "text-delta",
    "text-end",
    "reasoning-start",
    "reasoning-delta",
    "reasoning-end",
    "tool-input-start",
    "tool-input-delta",
    "tool-input-available",
    "tool-output-available",
    "tool-output-error",
    "source-url",
    "source-document",
    "finish",
    "abort",
    "error",
}
OF_APPROVALS = {"tool-approval-request", "tool-output-denied"}
FINISH_REASONS = {"stop", "length", "content-filter", "tool-calls", "error", "other"}


ASKED = e.ToolApprovalRequested("c1", "x", Approval("1.a.b", 1, "Pay 5 EUR?"))


def chunks(*events: e.ChatEvent, client_tools: frozenset[str] = frozenset(), can_ask: bool = False) -> list[Any]:
    return data_of(AiSdkEncoder(client_tools, can_ask).encode(events))


def verify(stream: list[Any], *, can_ask: bool = False) -> None:
    """The rules of the SDK's client, stricter where the SDK ignores errors silently."""
    assert stream[0]["type"] == "start"
    assert stream[-1] == "[DONE]"
    assert stream[-2]["type"] in {"finish", "abort", "error"}
    open_parts: set[tuple[str, str]] = set()
    sources: set[str] = set()
    calls = {"earlier": "x"}  # in the message that goes on
    in_step = False
    for chunk in stream[1:-1]:
        kind = chunk["type"]
        assert kind in KNOWN_TO_VERSION_5 | (OF_APPROVALS if can_ask else set())
        name, _, step = kind.rpartition("-")
        if name in {"text", "reasoning"}:
            assert in_step
            part = (name, chunk["id"])
            assert (part in open_parts) == (step != "start")
            if step == "start":
                open_parts.add(part)
            if step == "end":
                open_parts.remove(part)
        if name == "source":
            assert chunk["sourceId"] not in sources
            assert chunk["url"] if kind == "source-url" else chunk["mediaType"] and chunk["title"]
            sources.add(chunk["sourceId"])
        if kind == "tool-input-start":
            assert chunk["toolCallId"] not in calls
            calls[chunk["toolCallId"]] = chunk["toolName"]
        if kind.startswith(("tool-input", "tool-output", "tool-approval")):
            assert chunk["toolCallId"] in calls
        if kind in {"start-step", "finish-step"}:
            assert in_step == (kind == "finish-step")
            in_step = not in_step
        if kind == "finish":
            assert chunk["finishReason"] in FINISH_REASONS
    assert not open_parts
    assert not in_step


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("stop", "stop"),
        ("tool_calls", "tool-calls"),
        ("max_tokens", "length"),
        ("content_filter", "content-filter"),
        ("refusal", "content-filter"),
        ("max_turns", "other"),
    ],
)
def test_a_stop_reason_is_one_that_the_sdk_knows(stop_reason: e.StopReason, finish_reason: str) -> None:
    finish, _ = chunks(e.ConversationEnded(stop_reason, e.Usage(), 1))
    assert finish["finishReason"] == finish_reason


class TestChunks:
    def test_the_start_has_the_message_id(self) -> None:
        assert chunks(e.ConversationStarted("c", "m", "scripted")) == [{"type": "start", "messageId": "m"}]

    def test_text_opens_a_part_and_a_call_closes_it(self) -> None:
        sent_chunks = chunks(e.TurnStarted(1), e.TextDelta("a"), e.TextDelta("b"), e.ToolCallStarted("c1", "x"))
        assert sent_chunks == [
            {"type": "start-step"},
            {"type": "text-start", "id": "p1"},
            {"type": "text-delta", "id": "p1", "delta": "a"},
            {"type": "text-delta", "id": "p1", "delta": "b"},
            {"type": "text-end", "id": "p1"},
            {"type": "tool-input-start", "toolCallId": "c1", "toolName": "x", "dynamic": True},
        ]

    def test_arguments_that_are_not_an_object_are_sent_as_text(self) -> None:
        ready = [e.ToolCallReady("c1", "x", text) for text in ('{"a":1}', "", '{"a', "[1]")]
        assert [chunk["input"] for chunk in chunks(*ready)] == [{"a": 1}, {}, '{"a', "[1]"]

    def test_a_client_tool_is_not_dynamic(self) -> None:
        [chunk] = chunks(e.ToolCallStarted("c1", "ask"), client_tools=frozenset({"ask"}))
        assert "dynamic" not in chunk

    def test_a_result_and_an_error_end_a_call(self) -> None:
        done = e.ToolFinished("c1", "x", "completed", 5, b'{"t":\n1}')
        late = e.ToolFinished("c2", "x", "timed_out", 5, error="too slow")
        assert chunks(done, late) == [
            {"type": "tool-output-available", "toolCallId": "c1", "dynamic": True, "output": {"t": 1}},
            {"type": "tool-output-error", "toolCallId": "c2", "errorText": "too slow", "dynamic": True},
        ]

    def test_a_source_is_told_once_and_leaves_the_text_open(self) -> None:
        page, document = Source("s1", "https://a", "Tides", cited_text="at 6"), Source("s2", title="Plan")
        cited: list[e.ChatEvent] = [e.SourceCited(page), e.TextDelta("b"), e.SourceCited(page), e.SourceCited(document)]
        assert chunks(e.TextDelta("a"), *cited, e.SourceCited(Source("s3")))[2:] == [
            {"type": "source-url", "sourceId": "s1", "url": "https://a", "title": "Tides"},
            {"type": "text-delta", "id": "p1", "delta": "b"},
            {"type": "source-document", "sourceId": "s2", "mediaType": "text/plain", "title": "Plan"},
            {"type": "source-document", "sourceId": "s3", "mediaType": "text/plain", "title": "Document"},
        ]

    def test_a_source_that_was_taken_back_is_told_again_and_one_of_an_earlier_step_is_not(self) -> None:
        encoder = AiSdkEncoder(can_retract=True)
        kept, void = e.SourceCited(Source("s1", "https://a")), e.SourceCited(Source("s2", "https://b"))
        before: list[e.ChatEvent] = [
            e.TurnStarted(1),
            kept,
            e.TurnEnded("tool_calls"),
            e.TurnStarted(2),
            void,
            e.TurnRetracted(),
        ]
        encoder.encode(before)
        assert b"https://a" not in encoder.encode([kept])
        assert b"https://b" in encoder.encode([void])

    def test_progress_is_a_preliminary_output(self) -> None:
        [chunk] = chunks(e.ToolProgressed("c1", "x", b'{"at":1}'))
        assert (chunk["output"], chunk["preliminary"]) == ({"at": 1}, True)

    def test_parts_keep_the_order_of_the_events(self) -> None:
        sent_chunks = chunks(
            e.TurnStarted(1), e.TextDelta("a"), e.ReasoningDelta("hm"), e.ReasoningEnded(), e.TextDelta("b")
        )
        begun = [
            (chunk["type"], chunk["id"]) for chunk in sent_chunks if chunk["type"].endswith("-start") and "id" in chunk
        ]
        assert begun == [("text-start", "p1"), ("reasoning-start", "p2"), ("text-start", "p3")]

    def test_reasoning_carries_the_providers_signature(self) -> None:
        end = chunks(e.TurnStarted(1), e.ReasoningDelta("hm"), e.ReasoningEnded("sig"))[-1]
        assert end["type"] == "reasoning-end"
        assert end["providerMetadata"] == {"winterbourne": {"signature": "sig"}}

    def test_the_finish_counts_tokens(self) -> None:
        finish, done = chunks(e.ConversationEnded("max_tokens", e.Usage(9, 4, 2), 1))
        assert done == "[DONE]"
        assert finish["finishReason"] == "length"
        usage = {"inputTokens": 9, "outputTokens": 4, "cachedInputTokens": 2}
        assert finish["messageMetadata"] == {"usage": usage}

    def test_an_error_and_a_stop_end_the_stream_too(self) -> None:
        opened = (e.TurnStarted(1), e.TextDelta("a"))
        assert [c["type"] for c in chunks(*opened, e.ConversationFailed("x", "no"))[3:-1]] == [
            "text-end",
            "finish-step",
            "error",
        ]
        assert chunks(*opened, e.ConversationStopped("user"))[-2:] == [{"type": "abort", "reason": "user"}, "[DONE]"]

    def test_a_page_that_can_ask_a_person_does(self) -> None:
        called = e.ToolCallStarted("c1", "x"), e.ToolCallReady("c1", "x", "")
        ended = e.TurnEnded("tool_calls"), e.ConversationEnded("approval", e.Usage(), 1)
        *_, request, end, finish, _ = chunks(e.TurnStarted(1), *called, ASKED, *ended, can_ask=True)
        asked = {"approvalId": "1.a.b", "toolCallId": "c1", "reason": "Pay 5 EUR?"}
        assert request == {"type": "tool-approval-request", **asked}
        assert (end["type"], finish["finishReason"]) == ("finish-step", "tool-calls")

    def test_a_question_without_words_has_no_reason(self) -> None:
        [request] = chunks(e.ToolApprovalRequested("c1", "x", Approval("1.a.b", 1)), can_ask=True)
        assert "reason" not in request

    def test_a_denied_call_is_an_error_for_a_page_that_cannot_ask(self) -> None:
        denied = e.ToolFinished("c1", "x", "denied", 0, error="The user did not allow this call.")
        assert chunks(denied, can_ask=True) == [{"type": "tool-output-denied", "toolCallId": "c1"}]
        [error] = chunks(ASKED, denied)
        assert (error["type"], error["errorText"]) == ("tool-output-error", "The user did not allow this call.")

    def test_a_denied_call_that_is_sent_again_is_an_error_because_its_part_has_no_decision(self) -> None:
        denied = e.ToolFinished("c1", "x", "denied", 0, error="The user did not allow this call.")
        *_, end = chunks(e.ToolCallStarted("c1", "x"), e.ToolCallReady("c1", "x", ""), denied, can_ask=True)
        assert end["type"] == "tool-output-error"

    @pytest.mark.parametrize(("kind", "is_asked"), [("yes_or_no", True), ("form", False), ("none", False)])
    def test_an_answer_that_is_sent_again_asks_only_a_page_that_could(self, kind: Any, *, is_asked: bool) -> None:
        assert FORMAT.resume
        encoder = FORMAT.resume(ResumedAnswer(conversation_id="c", approvals=kind))
        assert bool(encoder.encode([ASKED])) is is_asked

    def test_the_headers_name_the_protocol_version(self) -> None:
        assert AiSdkEncoder().headers["x-vercel-ai-ui-message-stream"] == "v1"


@settings(max_examples=60)
@given(st.data())
def test_any_conversation_gives_a_valid_stream(data: st.DataObject) -> None:
    events, can_ask = data.draw(conversations(client_tools=["ask_user"], decides=True)), data.draw(st.booleans())
    stream = data_of(sent(AiSdkEncoder(frozenset({"ask_user"}), can_ask), data.draw(batches(events))))
    verify(stream, can_ask=can_ask)
    text = "".join(event.text for event in events if isinstance(event, e.TextDelta))
    assert "".join(chunk["delta"] for chunk in stream[:-1] if chunk["type"] == "text-delta") == text
