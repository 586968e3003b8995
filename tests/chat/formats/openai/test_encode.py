"""OpenAI chat completions: chunks, non-streaming completions, errors."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.chat.conversations import batches, conversations
from tests.chat.formats.wire import data_of, loads, sent
from winterbourne.chat.core import events as e
from winterbourne.chat.core.messages import Source
from winterbourne.chat.formats.base import Encoder, ResumedAnswer
from winterbourne.chat.formats.openai import FORMAT

HI = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "ask_user", "parameters": {"type": "object"}}}
STARTED = e.ConversationStarted("c", "m", "scripted")


def encoder(**options: Any) -> Encoder:
    return FORMAT.decode({"messages": [HI], "model": "scripted", "tools": [TOOL], **options})[1]


def chunks(*events: e.ChatEvent, **options: Any) -> list[Any]:
    return data_of(encoder(stream=True, **options).encode([STARTED, *events]))[1:]


def deltas(stream: list[Any]) -> list[Any]:
    return [chunk["choices"][0]["delta"] for chunk in stream]


def text_of(events: list[e.ChatEvent]) -> str:
    """The text of the answer, with a blank line between turns."""
    turns: list[str] = []
    for event in events:
        if isinstance(event, e.TurnStarted):
            turns.append("")
        if isinstance(event, e.TextDelta):
            turns[-1] += event.text
    return "\n\n".join(turn for turn in turns if turn)


def verify(stream: list[Any]) -> None:
    """The rules that the SDKs rely on; they do not validate, so the types are checked here."""
    assert stream[-1] == "[DONE]"
    *most, last = stream[:-1]
    if "error" in last:
        assert last["error"]["message"]
    else:
        assert last["choices"][0]["finish_reason"] in {"stop", "length", "tool_calls", "content_filter"}
        most.append(last)
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in stream[:-2])
    assert most[0]["choices"][0]["delta"]["role"] == "assistant"
    named: set[int] = set()
    for chunk in most:
        ChatCompletionChunk.model_validate(chunk, strict=True)
        for call in chunk["choices"][0]["delta"].get("tool_calls", ()):
            assert ("id" in call) == ("name" in call["function"]) == (call["index"] not in named)
            named.add(call["index"])


CITING = (
    e.TurnStarted(1),
    e.TextDelta("High"),
    e.SourceCited(Source("s1", "https://a", "Tides")),
    e.TurnEnded("tool_calls"),
    e.TurnStarted(2),
    e.TextDelta("water"),
    e.SourceCited(Source("s2", "", "plan.pdf", "application/pdf", "at 6")),
    e.SourceCited(Source("s1", "https://a", "Tides")),
    e.TurnEnded("stop"),
)
ANNOTATIONS = [
    {"type": "url_citation", "url_citation": {"start_index": start, "end_index": end, "url": url, "title": title}}
    for start, end, url, title in (
        (0, 4, "https://a", "Tides"),
        (4, 11, "", "plan.pdf"),  # a blank line is between the turns
        (4, 11, "https://a", "Tides"),
    )
]


class TestChunks:
    def test_text_is_content(self) -> None:
        assert deltas(chunks(e.TextDelta("Hel"))) == [{"content": "Hel"}]

    def test_a_source_is_an_annotation_of_the_text_since_the_one_before(self) -> None:
        assert [delta for delta in deltas(chunks(*CITING)) if "annotations" in delta] == [
            {"annotations": [annotation]} for annotation in ANNOTATIONS
        ]

    def test_server_side_tools_are_not_shown(self) -> None:
        server_events = (
            e.ToolCallStarted("c1", "get_weather"),
            e.ToolArgumentsDelta("c1", "{}"),
            e.ToolCallReady("c1", "get_weather", "{}"),
            e.ToolStarted("c1", "get_weather"),
            e.ToolFinished("c1", "get_weather", "completed", 3, b"1"),
        )
        assert chunks(*server_events) == []

    def test_calls_of_client_tools_are_sent(self) -> None:
        client_events = (e.ToolCallStarted("c1", "ask_user"), e.ToolArgumentsDelta("c1", '{"q":1}'))
        last = chunks(*client_events, e.ConversationEnded("tool_calls", e.Usage(), 1))
        function = {"name": "ask_user", "arguments": ""}
        assert deltas(last[:2]) == [
            {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": function}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": '{"q":1}'}}]},
        ]
        assert last[2]["choices"][0]["finish_reason"] == "tool_calls"

    def test_no_arguments_are_an_empty_object(self) -> None:
        stream = chunks(e.ToolCallStarted("c1", "ask_user"), e.ToolCallReady("c1", "ask_user", ""))
        assert deltas(stream)[1]["tool_calls"][0]["function"]["arguments"] == "{}"

    def test_reasoning_goes_where_clients_look_for_it(self) -> None:
        assert deltas(chunks(e.ReasoningDelta("hm"))) == [{"reasoning_content": "hm"}]

    def test_usage_comes_last_if_requested(self) -> None:
        ended = e.ConversationEnded("stop", e.Usage(9, 4, 2), 1)
        usage = chunks(ended, stream_options={"include_usage": True})[-2]
        assert usage["choices"] == []
        assert usage["usage"]["total_tokens"] == 13
        assert [chunk for chunk in chunks(ended)[:-1] if "usage" in chunk] == []

    def test_usage_has_cache_writes_reasoning_and_the_cost_where_they_are_known(self) -> None:
        ended = e.ConversationEnded("stop", e.Usage(9, 4, 2, 3, 1, 0.25), 1)
        assert chunks(ended, stream_options={"include_usage": True})[-2]["usage"] == {
            "prompt_tokens": 9,
            "completion_tokens": 4,
            "total_tokens": 13,
            "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 1},
            "cost": 0.25,
        }

    def test_an_error_is_an_error_object(self) -> None:
        failed = e.ConversationFailed("model_busy", "later", "r-1", 503)
        _, error, done = chunks(e.TextDelta("Hel"), failed)
        assert done == "[DONE]"
        assert error["error"] == {
            "message": "later",
            "type": "server_error",
            "param": None,
            "code": "model_busy",
            "request_id": "r-1",
        }

    def test_a_failure_before_any_output_is_an_http_error(self) -> None:
        stream = encoder(stream=True)
        assert stream.encode([STARTED, e.TurnStarted(1)]) == b""
        answer = orjson.loads(stream.encode([e.ConversationFailed("context_length_exceeded", "no", "r-1", 400)]))
        assert (stream.status, answer["error"]["code"]) == (400, "context_length_exceeded")
        assert stream.headers["content-type"] == "application/json"
        assert stream.headers["x-should-retry"] == "false"

    def test_a_failure_after_a_heartbeat_is_an_error_object(self) -> None:
        stream = encoder(stream=True)
        sent = stream.encode([STARTED]) + stream.encode(()) + stream.heartbeat
        sent += stream.encode([e.ConversationFailed("model_silent", "no", "r-1", 504)])
        opening, error, done = data_of(sent)
        assert opening["choices"][0]["delta"]["role"] == "assistant"
        assert (stream.status, error["error"]["code"], done) == (200, "model_silent", "[DONE]")

    def test_a_stopped_answer_has_the_finish_reason_length(self) -> None:
        stopped, done = chunks(e.ConversationStopped("user"))
        assert (stopped["choices"][0]["finish_reason"], stopped["stopped"], done) == ("length", "user", "[DONE]")


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("stop", "stop"),
        ("tool_calls", "tool_calls"),
        ("max_tokens", "length"),
        ("content_filter", "content_filter"),
        ("refusal", "content_filter"),
        ("max_turns", "length"),
    ],
)
def test_a_stop_reason_is_one_that_the_sdks_know(stop_reason: e.StopReason, finish_reason: str) -> None:
    last, _ = chunks(e.ConversationEnded(stop_reason, e.Usage(), 1))
    assert last["choices"][0]["finish_reason"] == finish_reason


class TestCompletion:
    def test_nothing_is_sent_before_the_terminal_event(self) -> None:
        completion = encoder()
        assert completion.encode([STARTED, e.TurnStarted(1), e.TextDelta("Hel"), e.TextDelta("lo")]) == b""
        answer = orjson.loads(completion.encode([e.ConversationEnded("stop", e.Usage(9, 4, 2), 1)]))
        assert completion.status == 200
        assert completion.headers["content-type"] == "application/json"
        assert answer["choices"][0]["message"]["content"] == "Hello"
        assert answer["usage"]["prompt_tokens"] == 9

    def test_calls_are_in_the_message(self) -> None:
        calls = (e.ToolCallReady("c1", "ask_user", ""), e.ToolCallReady("c2", "get_weather", "{}"))
        ended = e.ConversationEnded("tool_calls", e.Usage(), 1)
        message = orjson.loads(encoder().encode([STARTED, *calls, ended]))["choices"][0]["message"]
        assert message["content"] is None
        assert message["tool_calls"] == [
            {"id": "c1", "type": "function", "function": {"name": "ask_user", "arguments": "{}"}}
        ]

    def test_a_failure_is_an_http_error(self) -> None:
        completion = encoder()
        failed = e.ConversationFailed("model_refused", "no", "r-1", 502)
        answer = orjson.loads(completion.encode([STARTED, e.TurnStarted(1), e.TextDelta("Hel"), failed]))
        assert (completion.status, answer["error"]["code"]) == (502, "model_refused")
        assert completion.headers["x-request-id"] == "r-1"
        assert completion.headers["x-should-retry"] == "false"

    @pytest.mark.parametrize(("wait_s", "header"), [(None, "1"), (0, "1"), (2.2, "3")])
    def test_a_transient_failure_says_when_to_come_back(self, wait_s: float | None, header: str) -> None:
        completion = encoder()
        failed = e.ConversationFailed("model_busy", "no", "r-1", 503, is_transient=True, retry_after_s=wait_s)
        completion.encode([STARTED, failed])
        assert completion.headers["retry-after"] == header
        assert "x-should-retry" not in completion.headers

    def test_its_sources_are_annotations(self) -> None:
        body = orjson.loads(encoder().encode([STARTED, *CITING, e.ConversationEnded("stop", e.Usage(), 2)]))
        completion = ChatCompletion.model_validate(body, strict=True)
        message = completion.choices[0].message
        assert [one.model_dump() for one in message.annotations or ()] == ANNOTATIONS
        assert (message.content or "")[4:11] == "\n\nwater"

    @settings(max_examples=60)
    @given(st.data())
    def test_any_conversation_gives_one_completion_or_one_error(self, data: st.DataObject) -> None:
        completion = encoder()
        events = data.draw(conversations(["ask_user"]))
        pieces = [completion.encode(batch) for batch in data.draw(batches(events))]
        assert not any(pieces[:-1])
        answer = loads(pieces[-1].decode())
        if "error" in answer:
            assert completion.status >= 500
        else:
            ChatCompletion.model_validate(answer, strict=True)
            assert (answer["choices"][0]["message"]["content"] or "") == text_of(events)


@settings(max_examples=60)
@given(st.data())
def test_any_conversation_gives_a_valid_stream(data: st.DataObject) -> None:
    events = data.draw(conversations(client_tools=["ask_user"], decides=True))
    chunk_encoder = encoder(stream=True)
    written = sent(chunk_encoder, data.draw(batches(events)), heartbeats=data.draw(st.booleans()))
    if b"data: {" not in written[:7]:  # it failed before it said anything
        assert loads(written.removesuffix(chunk_encoder.heartbeat).decode())["error"]["message"]
        return
    stream = data_of(written)
    verify(stream)
    contents = [chunk["choices"][0]["delta"].get("content", "") for chunk in stream[:-1] if "choices" in chunk]
    assert "".join(contents) == text_of(events)


def test_an_answer_that_is_sent_again_is_a_stream_of_chunks() -> None:
    assert FORMAT.resume
    resumed = FORMAT.resume(ResumedAnswer(conversation_id="c", client_tools=frozenset({"ask_user"})))
    events = (STARTED, e.TurnStarted(1), e.TextDelta("Hi"), e.ToolCallStarted("c1", "ask_user"))
    stream = data_of(resumed.encode([*events, e.ConversationEnded("tool_calls", e.Usage(), 1)]))
    verify(stream)
    assert {chunk["id"] for chunk in stream[:-1]} == {"chatcmpl-m"}
    assert stream[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert deltas(stream[:-1])[1] == {"content": "Hi"}
    assert deltas(stream[:-1])[2]["tool_calls"][0]["id"] == "c1"
