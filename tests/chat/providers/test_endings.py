"""Endings of provider streams: what says that an answer is whole, and that everything else is an error."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import transcripts
from tests.chat.providers.test_stream_parser import ALL, PARSERS
from winterbourne.chat.core.events import (
    ModelEvent,
    ReasoningDelta,
    TextDelta,
    ToolCallReady,
    ToolCallStarted,
    TurnEnded,
    Usage,
)
from winterbourne.chat.errors import ModelBusy, ModelError, ModelGarbled, ModelStreamTruncated
from winterbourne.chat.infra import redaction
from winterbourne.chat.infra.sse_parser import MAX_EVENT_BYTES

DONE = b"data: [DONE]\n\n"


def parse(provider: str, data: bytes) -> tuple[list[ModelEvent], ModelError | None]:
    parser = PARSERS[provider]()
    events = parser.feed(data)
    if not parser.failure and not parser.ended:
        events += parser.close()
    return events, parser.failure


def sse(*values: object) -> bytes:
    return b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in values)


def chunk(content: str | None = None, reason: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": reason}], **fields}


def calling(arguments: Any = '{"x":1}', reason: str | None = None, **fields: Any) -> dict[str, Any]:
    call = {"index": 0, "id": "k", "function": {"name": "f", "arguments": arguments}, **fields}
    return {"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": reason}]}


def bedrock(*events: tuple[str, object]) -> bytes:
    return b"".join(transcripts.event_stream_message(kind, payload) for kind, payload in events)


def anthropic(reason: str | None, *, arguments: str | None = None, stop: bool = True) -> bytes:
    tool: dict[str, Any] = {"type": "tool_use", "id": "k", "name": "f", "input": {}}
    return sse(
        {"type": "message_start", "message": {"usage": {"input_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": tool if arguments else {"type": "text"}},
        {"type": "content_block_delta", "index": 0, "delta": _delta(arguments)},
        {"type": "content_block_stop", "index": 0},
        *([{"type": "message_delta", "delta": {"stop_reason": reason}}] if reason else ()),
        *([{"type": "message_stop"}] if stop else ()),
    )


def _delta(arguments: str | None) -> dict[str, Any]:
    if arguments:
        return {"type": "input_json_delta", "partial_json": arguments}
    return {"type": "text_delta", "text": "Hi"}


def openai_ending(reason: str, arguments: str | None) -> bytes:
    return sse(calling(arguments) if arguments else chunk("Hi"), chunk(reason=reason)) + DONE


def anthropic_ending(reason: str, arguments: str | None) -> bytes:
    return anthropic(reason, arguments=arguments)


def bedrock_ending(reason: str, arguments: str | None) -> bytes:
    start = {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "k", "name": "f"}}}
    delta: dict[str, Any] = {"toolUse": {"input": arguments}} if arguments else {"text": "Hi"}
    return bedrock(
        *([("contentBlockStart", start)] if arguments else ()),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": delta}),
        ("messageStop", {"stopReason": reason}),
        ("metadata", {"usage": {"inputTokens": 1, "outputTokens": 1}}),
    )


def responses_ending(reason: str, arguments: str | None) -> bytes:
    item = {"type": "function_call", "call_id": "k", "name": "f", "arguments": ""}
    kind = "function_call_arguments" if arguments else "output_text"
    return sse(
        {"type": "response.output_item.added", "output_index": 0, "item": item if arguments else {"type": "message"}},
        {"type": f"response.{kind}.delta", "output_index": 0, "delta": arguments or "Hi"},
        {"type": "response.incomplete", "response": {"incomplete_details": {"reason": reason}}},
    )


FAMILIES: dict[str, Callable[[str, str | None], bytes]] = {
    "openai": openai_ending,
    "openai_responses": responses_ending,
    "anthropic": anthropic_ending,
    "bedrock": bedrock_ending,
}
every_family = pytest.mark.parametrize("family", FAMILIES)


@every_family
class TestReasons:
    @pytest.mark.parametrize(
        ("reason", "expected"),
        [
            ("end_turn", "stop"),
            ("STOP", "stop"),
            ("eos", "stop"),
            ("model_length", "max_tokens"),
            ("model_context_window_exceeded", "max_tokens"),
            ("SAFETY", "content_filter"),
            ("guardrail_intervened", "refusal"),
            ("refusal", "refusal"),
            ("never_heard_of", "stop"),
        ],
    )
    def test_an_ending_is_told_as_what_it_is(self, family: str, reason: str, expected: str) -> None:
        events, failure = parse(family, FAMILIES[family](reason, None))
        assert failure is None
        assert isinstance(events[-1], TurnEnded)
        assert events[-1].stop_reason == expected

    @pytest.mark.parametrize("arguments", [None, '{"x":'])
    @pytest.mark.parametrize("reason", ["error", "network_error", "abort", "insufficient_system_resource", "timeout"])
    def test_a_provider_that_gave_up_is_an_error_and_its_open_call_never_ready(
        self, family: str, reason: str, arguments: str | None
    ) -> None:
        events, failure = parse(family, FAMILIES[family](reason, arguments))
        assert type(failure) is ModelBusy
        assert reason in str(failure)
        assert not any(isinstance(event, ToolCallReady | TurnEnded) for event in events)

    @pytest.mark.parametrize("reason", ["malformed_tool_use", "MALFORMED_FUNCTION_CALL"])
    def test_discarded_output_is_an_error(self, family: str, reason: str) -> None:
        assert isinstance(parse(family, FAMILIES[family](reason, None))[1], ModelGarbled)

    def test_an_unknown_reason_is_an_error_where_a_call_is_open(self, family: str) -> None:
        events, failure = parse(family, FAMILIES[family]("never_heard_of", '{"x":'))
        assert "never_heard_of" in str(failure)
        assert not any(isinstance(event, ToolCallReady) for event in events)

    @pytest.mark.parametrize("reason", ["length", "SAFETY", "refusal"])
    def test_a_truncated_call_is_never_ready(self, family: str, reason: str) -> None:
        events, _ = parse(family, FAMILIES[family](reason, '{"x":'))
        assert not any(isinstance(event, ToolCallReady) for event in events)

    def test_a_key_in_a_reason_is_redacted(self, family: str) -> None:
        redaction.register("harbour-master-key")
        _, failure = parse(family, FAMILIES[family]("error harbour-master-key", None))
        assert "[redacted]" in str(failure)
        assert "harbour" not in str(failure)


class TestOpenAIEnds:
    @pytest.mark.parametrize(
        "data",
        [
            DONE,
            sse({"choices": [], "usage": {"prompt_tokens": 3}}) + DONE,
            sse({"choices": [{"index": 0, "delta": {"role": "assistant"}}]}) + DONE,
            sse({"choices": []}, {}) + DONE,
            sse({"choices": [{"index": 0, "delta": {"reasoning_content": "Hm"}}]}) + DONE,
            sse(calling('{"x":')) + DONE,
            sse(chunk("Hi")),
            b"",
            (
                b'{"model":"m","message":{"role":"assistant","content":"Hi"},"done":false}\n'
                b'{"model":"m","message":{"role":"assistant","content":""},"done":true}\n'
            ),
        ],
    )
    def test_a_turn_that_has_not_begun_or_is_cut_has_not_ended_well(self, data: bytes) -> None:
        events, failure = parse("openai", data)
        assert isinstance(failure, ModelStreamTruncated)
        assert not any(isinstance(event, ToolCallReady | TurnEnded) for event in events)

    @pytest.mark.parametrize(
        "data", [sse(chunk("Hi")) + DONE, sse(chunk("Hi"), chunk(reason="stop")), sse(chunk("", "stop"))]
    )
    def test_text_and_done_or_a_reason_is_whole(self, data: bytes) -> None:
        events, failure = parse("openai", data)
        assert failure is None
        assert isinstance(events[-1], TurnEnded)

    def test_a_truncation_is_final(self) -> None:
        events, _ = parse("openai", sse(calling('{"x":'), chunk(reason="length"), chunk(reason="stop")) + DONE)
        assert not any(isinstance(event, ToolCallReady) for event in events)
        assert events[-1] == TurnEnded("max_tokens")

    def test_the_word_of_the_provider_behind_a_gateway_counts(self) -> None:
        choice = {"index": 0, "delta": {}, "finish_reason": "stop", "native_finish_reason": "MALFORMED_FUNCTION_CALL"}
        assert isinstance(parse("openai", sse(chunk("Hi"), {"choices": [choice]}))[1], ModelGarbled)

    def test_success_beside_every_chunk_is_no_error(self) -> None:
        success: dict[str, Any] = {"code": 0, "message": "Success", "error": None}
        events, failure = parse("openai", sse(chunk("Hi", **success), chunk(None, "stop", **success)) + DONE)
        assert failure is None
        assert events[0] == TextDelta("Hi")


ERRORS: list[bytes] = [
    *(
        sse(value)
        for value in (
            {"error": {"message": "engine lost", "code": 400}},
            {"error": "engine lost"},
            {"error": ["engine lost"]},
            {"error": {"message": {"detail": [{"msg": "engine lost"}]}}},
            {
                "error": {
                    "message": "Provider returned error",
                    "metadata": {"raw": '{"error":{"message":"engine lost"}}'},
                }
            },
            {"errors": [{"code": 7, "message": "engine lost"}], "success": False},
            {"object": "error", "message": "engine lost", "code": None},
            {"type": "error", "error": {"type": "x", "message": "engine lost"}},
            {"code": "InvalidParameter", "message": "engine lost"},
            {"detail": "engine lost"},
            {"detail": [{"loc": ["body", "seed"], "msg": "engine lost"}]},
            {"base_resp": {"status_code": 1004, "status_msg": "engine lost"}, "choices": None},
            chunk(None, None, error={"message": "engine lost"}),
            chunk(None, "error", error={"message": "engine lost"}),
            chunk(None, "stop", error="engine lost"),
            chunk(None, None, code=1302, message="engine lost"),
            {"choices": [{"index": 0, "delta": {}, "error": {"message": "engine lost"}, "finish_reason": "error"}]},
            {"choices": [{"index": 0, "delta": {"error": {"message": "engine lost"}}, "finish_reason": None}]},
        )
    ),
    b'error: {"code":400,"message":"engine lost"}\n\n',
    b"error: engine lost\n\n",
    b"event: error\ndata: engine lost\n\n",
    b'event: error\ndata: {"reason": "engine lost"}\n\n',
    b'data: {"reason": "engine lost"}\nevent: error\n\n',
    b'{"error":{"message":"engine lost","code":400}}',
    b'{"error":{"message":"engine lost","code":400}}\n',
    b'{\n "error": {\n  "message": "engine lost"\n }\n}\n',
    b'[{"error":{"message":"engine lost","status":"INVALID_ARGUMENT"}}]',
]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(
    ("before", "after"),
    [(b"", b""), (b"", DONE), (sse(chunk("Hi")), DONE), (sse(chunk("Hi"), chunk(reason="stop")), DONE)],
    ids=["alone", "start", "middle", "after the reason"],
)
def test_an_error_in_any_shape_at_any_place_is_told_in_the_providers_words(
    error: bytes, before: bytes, after: bytes
) -> None:
    events, failure = parse("openai", before + error + (b"\n\n" + after if after else b""))
    assert isinstance(failure, ModelError)
    assert "engine lost" in str(failure)
    assert not any(isinstance(event, TurnEnded) for event in events)


@pytest.mark.parametrize(
    "error",
    [
        sse({"type": "error", "error": {"type": "overloaded_error", "message": "engine lost"}}),
        sse({"error": {"message": "engine lost"}}),
        sse({"type": "error", "message": "engine lost"}),
        sse({"detail": "engine lost"}),
        b"event: error\ndata: engine lost\n\n",
        b'{"type":"error","error":{"message":"engine lost"}}',
    ],
)
def test_an_error_of_a_server_like_anthropic_is_told(error: bytes) -> None:
    assert "engine lost" in str(parse("anthropic", error)[1])


class TestAnthropicEnds:
    def test_a_known_reason_is_enough(self) -> None:
        events, failure = parse("anthropic", anthropic("end_turn", stop=False))
        assert (events[-1], failure) == (TurnEnded("stop", Usage(1)), None)

    def test_without_reason_and_stop_it_is_cut(self) -> None:
        assert isinstance(parse("anthropic", anthropic(None, stop=False))[1], ModelStreamTruncated)

    def test_a_stop_without_a_reason_ends_text_and_no_open_call(self) -> None:
        assert parse("anthropic", anthropic(None))[1] is None
        assert isinstance(parse("anthropic", anthropic(None, arguments='{"x":'))[1], ModelStreamTruncated)
        assert isinstance(parse("anthropic", sse({"type": "message_stop"}))[1], ModelStreamTruncated)

    def test_done_ends_it_too(self) -> None:
        assert parse("anthropic", anthropic("end_turn", stop=False) + DONE)[1] is None

    def test_a_whole_message_is_read(self) -> None:
        content = [{"type": "text", "text": "Hi"}, {"type": "tool_use", "id": "k", "name": "f", "input": {"x": 1}}]
        document = {"type": "message", "content": content, "stop_reason": "tool_use", "usage": {"input_tokens": 2}}
        events, failure = parse("anthropic", json.dumps(document, indent=1).encode())
        assert failure is None
        assert events[0] == TextDelta("Hi")
        assert ToolCallReady("k", "f", '{"x":1}') in events
        assert events[-1] == TurnEnded("tool_calls", Usage(2))


class TestShapes:
    @pytest.mark.parametrize(
        ("delta", "expected"),
        [
            ({"content": [{"type": "thinking", "thinking": "Hm"}]}, ReasoningDelta("Hm")),
            ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]}, ReasoningDelta("Hm")),
            ({"content": [{"type": "reasoning", "text": "Hm"}]}, ReasoningDelta("Hm")),
            ({"reasoning_content": ["H", {"text": "m"}]}, ReasoningDelta("Hm")),
            ({"reasoning": {"content": "Hm"}}, ReasoningDelta("Hm")),
            ({"content": {"type": "text", "text": "Hi"}}, TextDelta("Hi")),
            (
                {"content": ["H", {"text": {"value": "i"}}, {"type": "image_url", "image_url": {"url": "x"}}, None, 7]},
                TextDelta("Hi"),
            ),
        ],
    )
    def test_text_in_another_shape_is_read(self, delta: dict[str, object], expected: ModelEvent) -> None:
        events, failure = parse("openai", sse({"choices": [{"delta": delta}]}, chunk("", "stop")) + DONE)
        assert failure is None
        assert events[0] == expected

    @pytest.mark.parametrize(
        "calls",
        [
            [{"index": 0, "id": "k", "function": {"name": "f", "arguments": {"x": 1}}}],
            {"index": 0, "id": "k", "function": {"name": "f", "arguments": '{"x":1}'}},
            [{"index": 0.0, "id": "k", "function": {"name": "f", "arguments": '{"x":1}'}}],
            [{"index": "0", "id": "k", "function": {"name": "f", "arguments": '{"x":1}'}}],
            [
                {"index": 0, "id": "k", "function": {"name": None, "arguments": ""}},
                {"index": 0, "function": {"arguments": '{"x"'}},
                {"index": 0, "function": {"name": "f", "arguments": ":1}"}},
            ],
            [None, {"id": "k", "function": {"name": "f", "arguments": '{"x":1}'}}],
        ],
    )
    def test_a_call_in_another_shape_is_read(self, calls: object) -> None:
        events, failure = parse(
            "openai", sse({"choices": [{"delta": {"tool_calls": calls}}]}, chunk(reason="tool_calls"))
        )
        assert failure is None
        assert [event for event in events if isinstance(event, ToolCallStarted)] == [ToolCallStarted("k", "f")]
        assert ToolCallReady("k", "f", '{"x":1}') in events

    def test_the_call_of_before_tools_is_read(self) -> None:
        delta = {"function_call": {"name": "f", "arguments": '{"x":1}'}}
        events, _ = parse("openai", sse({"choices": [{"delta": delta}]}, chunk(reason="function_call")))
        assert any(isinstance(event, ToolCallReady) and event.arguments == '{"x":1}' for event in events)

    def test_a_whole_message_is_read_with_its_calls(self) -> None:
        calls = [{"id": "k", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}]
        message = {"role": "assistant", "content": "Hi", "tool_calls": calls}
        document = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
        for data in (sse(document) + DONE, json.dumps(document).encode(), json.dumps(document, indent=1).encode()):
            events, failure = parse("openai", data)
            assert failure is None
            assert events[0] == TextDelta("Hi")
            assert ToolCallReady("k", "f", '{"x":1}') in events

    def test_a_whole_message_after_its_deltas_is_not_read_twice(self) -> None:
        last = {"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}
        events, _ = parse("openai", sse(chunk("Hi"), last) + DONE)
        assert [event for event in events if isinstance(event, TextDelta)] == [TextDelta("Hi")]

    def test_the_text_of_older_completions_is_read(self) -> None:
        assert parse("openai", sse({"choices": [{"text": "Hi", "finish_reason": "stop"}]}))[0][0] == TextDelta("Hi")

    @pytest.mark.parametrize("count", [11, 11.0, "11"])
    def test_a_count_is_read_in_any_notation(self, count: object) -> None:
        usage = {"prompt_tokens": count, "completion_tokens": count, "prompt_tokens_details": {"cached_tokens": count}}
        assert parse("openai", sse(chunk("Hi", "stop", usage=usage)) + DONE)[0][-1] == TurnEnded(
            "stop", Usage(11, 11, 11)
        )

    @pytest.mark.parametrize("count", ["n/a", -1, None, [], {}, 10**30, "1e400", "NaN", True])
    def test_what_is_no_count_breaks_no_answer(self, count: object) -> None:
        for usage in (count, {"prompt_tokens": count, "prompt_tokens_details": count, "input_tokens": count}):
            assert parse("openai", sse(chunk("Hi", "stop", usage=usage)) + DONE)[1] is None
            ended = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}
            assert parse("anthropic", sse({"type": "message_start", "message": {"usage": usage}}, ended))[1] is None
            said = {"type": "response.output_text.delta", "delta": "Hi"}
            completed = {"type": "response.completed", "response": {"status": "completed", "usage": usage}}
            assert parse("openai_responses", sse(said, completed))[1] is None
            events = bedrock(("messageStop", {"stopReason": "end_turn"}), ("metadata", {"usage": usage}))
            assert parse("bedrock", events)[1] is None

    def test_a_picture_larger_than_an_event_may_be_is_skipped(self) -> None:
        picture = "data:image/png;base64," + "iVBORw0KGgo/+" * (MAX_EVENT_BYTES // 4)
        delta = {"content": "Look", "images": [{"type": "image_url", "image_url": {"url": picture}}]}
        data = sse({"choices": [{"index": 0, "delta": delta}]}, chunk("!", "stop")) + DONE
        parser, events = PARSERS["openai"](), []
        for at in range(0, len(data), 65_536):
            events += parser.feed(data[at : at + 65_536])
        assert parser.failure is None
        assert text(events) == "Look!"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just('{"x":'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
OPENAI: tuple[Any, ...] = (
    {**calling(reason="stop"), "usage": {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 1}}},
    {"choices": [{"index": 0, "message": {"content": [{"type": "text", "text": "a"}], "refusal": "no"}, "text": "b"}]},
    {"error": {"message": "a", "code": 1, "metadata": {"raw": "x"}}, "base_resp": {"status_code": 1}, "object": "a"},
)
ANTHROPIC: tuple[Any, ...] = (
    {"type": "message_start", "message": {"usage": {"input_tokens": 1}}},
    {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "tool_use", "id": "k", "name": "f", "input": {}},
    },
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
    {"type": "message", "content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn"},
    {"type": "error", "error": {"type": "a", "message": "b"}},
)
RESPONSES: tuple[Any, ...] = (
    {
        "type": "response.output_item.done",
        "output_index": 0,
        "item": {
            "type": "function_call",
            "id": "i",
            "call_id": "k",
            "name": "f",
            "arguments": "{}",
            "status": "completed",
        },
    },
    {
        "type": "response.output_item.done",
        "output_index": 1,
        "item": {"type": "reasoning", "summary": [{"text": "a"}], "content": [{"text": "a"}], "encrypted_content": "e"},
    },
    {
        "type": "response.output_item.done",
        "item": {"type": "message", "phase": "commentary", "content": [{"text": "a"}]},
    },
    {"type": "response.output_text.delta", "output_index": 0, "delta": "a"},
    {"type": "response.reasoning_summary_part.added", "summary_index": 1},
    {
        "type": "response.completed",
        "response": {
            "status": "completed",
            "output": [{"type": "message", "content": [{"refusal": "a"}]}],
            "usage": {"input_tokens": 1, "input_tokens_details": {"cached_tokens": 1}, "output_tokens_details": {}},
            "error": None,
            "incomplete_details": {"reason": "a"},
        },
    },
    {"type": "error", "code": "a", "message": "b"},
    {"object": "response", "status": "completed", "output": [], "error": {"code": "a", "message": "b"}},
)
BEDROCK: tuple[tuple[str, Any], ...] = (
    ("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "k", "name": "f"}}}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": "{}"}, "text": "a"}}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "a", "signature": "b"}}}),
    ("messageStop", {"stopReason": "end_turn"}),
    ("metadata", {"usage": {"inputTokens": 1}}),
    ("!validationException", {"message": "a"}),
)


FRAMES: dict[str, tuple[tuple[str, Any], ...]] = {
    "openai": tuple(("", frame) for frame in OPENAI),
    "openai_responses": tuple(("", frame) for frame in RESPONSES),
    "anthropic": tuple(("", frame) for frame in ANTHROPIC),
    "bedrock": BEDROCK,
}


def paths(value: Any) -> list[tuple[Any, ...]]:
    """The places in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(), *((key, *rest) for key, inner in items for rest in paths(inner))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    key, *rest = path
    inner = replaced(value[key], tuple(rest), new)
    return {**value, key: inner} if isinstance(value, dict) else [*value[:key], inner, *value[key + 1 :]]


@given(data=st.data())
@settings(max_examples=400)
def test_any_value_in_any_field_is_read_skipped_or_an_error_of_the_provider(data: st.DataObject) -> None:
    family = data.draw(st.sampled_from(sorted(FAMILIES)))
    kind, frame = data.draw(st.sampled_from(FRAMES[family]))
    changed = replaced(frame, data.draw(st.sampled_from(paths(frame))), data.draw(JSON))
    wire = transcripts.event_stream_message(kind, changed) if kind else sse(changed, changed)
    events, failure = parse(family, wire)
    assert failure or isinstance(events[-1], TurnEnded)


@given(case=st.sampled_from(ALL), where=st.floats(0, 1))
@settings(max_examples=300)
def test_a_stream_cut_anywhere_ends_well_only_if_it_did_so_whole(case: tuple[str, str], where: float) -> None:
    """A prefix has only those ready calls that the whole stream has, and ends well only after the stream's ending."""
    family, name = case
    data = transcripts.wire(family, name)
    whole, _ = parse(family, data)
    events, failure = parse(family, data[: int(len(data) * where)])
    ready = [event.arguments for event in whole if isinstance(event, ToolCallReady)]
    assert all(event.arguments in ready for event in events if isinstance(event, ToolCallReady))
    if not failure:
        assert isinstance(whole[-1], TurnEnded)
        assert text(events) == text(whole)


def text(events: list[ModelEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))
