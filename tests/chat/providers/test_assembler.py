"""Turn assembler: decides which calls are complete and which truncated, merges text, and redacts secrets."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.core.events import (
    ReasoningDelta,
    ReasoningEnded,
    SourceCited,
    StopReason,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallReady,
    ToolCallStarted,
    TurnEnded,
)
from winterbourne.chat.core.messages import Source
from winterbourne.chat.errors import ModelStreamTruncated
from winterbourne.chat.infra import redaction
from winterbourne.chat.providers.assembler import JsonObjectScanner, TurnAssembler

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=4)


def ready(turn: TurnAssembler) -> list[tuple[str, str]]:
    return [(event.id, event.arguments) for event in turn.drain_events() if isinstance(event, ToolCallReady)]


class TestJsonObjectScanner:
    @given(value=OBJECTS, ascii_only=st.booleans(), data=st.data())
    def test_finds_the_last_brace_of_an_object_wherever_it_is_split(
        self, value: dict[str, object], *, ascii_only: bool, data: st.DataObject
    ) -> None:
        text = json.dumps(value, ensure_ascii=ascii_only)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text) - 1), max_size=5)))
        *early, last = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        scanner = JsonObjectScanner()
        assert [scanner.feed(piece) for piece in early] == [0] * len(early)
        assert scanner.feed(last + " more") == len(last)

    @pytest.mark.parametrize("pieces", [('{"a":"\\', '"}"}'), ('{"a":"\\\\', '"}'), ('{"a":"\\', "", '"}"}')])
    def test_an_escape_cut_between_two_pieces_does_not_end_the_string(self, pieces: tuple[str, ...]) -> None:
        scanner = JsonObjectScanner()
        *early, last = pieces
        assert [scanner.feed(piece) for piece in early] == [0] * len(early)
        assert scanner.feed(last + "}") == len(last)

    @given(st.text())
    def test_accepts_any_text(self, text: str) -> None:
        assert 0 <= JsonObjectScanner().feed(text) <= len(text)


class TestCalls:
    def test_a_call_is_ready_as_soon_as_its_object_closes(self) -> None:
        turn = TurnAssembler()
        turn.start_tool_call(0, "a", "f")
        turn.add_arguments(0, '{"x":')
        assert ready(turn) == []
        turn.add_arguments(0, "1}")
        assert ready(turn) == [("a", '{"x":1}')]

    def test_a_call_whose_escaped_quote_is_cut_in_two_is_not_ready_with_half_its_arguments(self) -> None:
        """GIVEN `{"a":"x\\"}"}`, cut after the backslash WHEN both pieces are added THEN the call has all of it."""
        turn = TurnAssembler()
        turn.start_tool_call(0, "a", "f")
        turn.add_arguments(0, '{"a":"x\\')
        turn.add_arguments(0, '"}')
        assert ready(turn) == []
        turn.add_arguments(0, '"}')
        assert ready(turn) == [("a", '{"a":"x\\"}"}')]

    @pytest.mark.parametrize("after", ["\n", " ", "\r\n\t"])
    def test_white_space_after_an_empty_object_is_not_the_real_arguments(self, after: str) -> None:
        turn = TurnAssembler()
        turn.start_tool_call(0, "a", "f")
        turn.add_arguments(0, "{}")
        turn.add_arguments(0, after)
        turn.set_stop_reason("tool_calls")
        assert ready(turn) == [("a", "{}")]

    def test_arguments_after_an_empty_object_replace_it(self) -> None:
        turn = TurnAssembler()
        turn.start_tool_call(0, "a", "f")
        turn.add_arguments(0, "{}")
        turn.add_arguments(0, '{"x":1}')
        assert ready(turn) == [("a", '{"x":1}')]

    def test_it_is_ready_once(self) -> None:
        turn = TurnAssembler()
        turn.start_tool_call(0, "a", "f")
        turn.add_arguments(0, '{"x":1}')
        turn.add_arguments(0, '{"x":2}')
        turn.next_content_block()
        turn.set_stop_reason("tool_calls")
        assert ready(turn) == [("a", '{"x":1}')]

    def test_without_arguments_it_is_ready_when_the_model_goes_on(self) -> None:
        turn = TurnAssembler()
        turn.start_tool_call(0, "a", "f")
        turn.mark_arguments_ended(0)
        assert ready(turn) == []
        turn.next_content_block()
        assert ready(turn) == [("a", "")]

    @pytest.mark.parametrize("reason", ["max_tokens", "content_filter", "refusal"])
    @pytest.mark.parametrize("arguments", ["", '{"x":', '{"x":"}'])
    def test_a_truncated_call_is_never_ready(self, reason: StopReason, arguments: str) -> None:
        turn = TurnAssembler()
        turn.start_tool_call(0, "a", "f")
        turn.add_arguments(0, arguments)
        turn.mark_arguments_ended(0)
        turn.set_stop_reason(reason)
        turn.finish()
        assert ready(turn) == []

    @pytest.mark.parametrize("arguments", ["", '{"x":', "nonsense", "[1]"])
    def test_invalid_arguments_of_the_model_are_ready_for_the_tool_executor_to_validate(self, arguments: str) -> None:
        turn = TurnAssembler()
        turn.start_tool_call(0, "a", "f")
        turn.add_arguments(0, arguments)
        turn.set_stop_reason("tool_calls")
        assert ready(turn) == [("a", arguments)]

    def test_arguments_of_an_unknown_call_are_ignored(self) -> None:
        turn = TurnAssembler()
        turn.add_arguments(7, "{}")
        assert turn.drain_events() == []


class TestIds:
    def test_an_id_of_the_history_is_not_reused(self) -> None:
        turn = TurnAssembler({"call_0"})
        turn.start_tool_call(0, "call_0", "f")
        (started,) = turn.drain_events()
        assert isinstance(started, ToolCallStarted)
        assert started.id not in {"", "call_0"}

    def test_a_call_without_an_id_gets_one(self) -> None:
        turn = TurnAssembler()
        turn.start_tool_call(0, "", "f")
        turn.add_arguments(0, '{"x":1}')
        started, *others = turn.drain_events()
        assert isinstance(started, ToolCallStarted)
        assert started.id
        assert others == [ToolArgumentsDelta(started.id, '{"x":1}'), ToolCallReady(started.id, "f", '{"x":1}')]


class TestText:
    def test_adjacent_deltas_are_merged_until_they_are_drained(self) -> None:
        turn = TurnAssembler()
        turn.add_text("a")
        turn.add_text("b")
        assert turn.drain_events() == [TextDelta("ab")]
        turn.add_text("c")
        assert turn.drain_events() == [TextDelta("c")]
        assert turn.drain_events() == []

    def test_reasoning_ends_where_something_else_begins(self) -> None:
        turn = TurnAssembler()
        turn.add_reasoning("hm")
        turn.add_text("a")
        assert turn.drain_events() == [ReasoningDelta("hm"), ReasoningEnded(), TextDelta("a")]

    def test_reasoning_at_the_end_of_a_turn_ends_before_the_turn(self) -> None:
        turn = TurnAssembler()
        turn.add_reasoning("hm")
        turn.set_stop_reason("stop")
        turn.finish()
        assert turn.drain_events() == [ReasoningDelta("hm"), ReasoningEnded(), TurnEnded("stop")]


class TestSecrets:
    KEY = "sk-harbour-42"

    @pytest.fixture
    def turn(self) -> TurnAssembler:
        redaction.register(self.KEY)
        return TurnAssembler()

    def test_are_redacted_in_text_and_in_reasoning(self, turn: TurnAssembler) -> None:
        turn.add_reasoning(f"I know {self.KEY}")
        turn.add_text(f"It is {self.KEY}.")
        assert turn.drain_events() == [
            ReasoningDelta("I know [redacted]"),
            ReasoningEnded(),
            TextDelta("It is [redacted]."),
        ]

    def test_are_redacted_in_what_is_cited(self, turn: TurnAssembler) -> None:
        turn.add_text("It is sk-har")
        turn.cite(0, f"https://a/?key={self.KEY}", f"Keys {self.KEY}", "", f"It is {self.KEY}.")
        first, second = turn.drain_events()
        assert first == TextDelta("It is sk-har")
        assert isinstance(second, SourceCited)
        told = Source(second.source.id, "https://a/?key=[redacted]", "Keys [redacted]", "", "It is [redacted].")
        assert second.source == told

    def test_only_a_possible_prefix_of_one_is_held_back_until_the_next_read(self, turn: TurnAssembler) -> None:
        turn.add_text("It is sk-har")
        assert turn.drain_events() == [TextDelta("It is ")]
        turn.add_text("bour-42.")
        assert turn.drain_events() == [TextDelta("[redacted].")]

    def test_a_read_that_is_held_back_whole_gives_no_event(self, turn: TurnAssembler) -> None:
        turn.add_text("sk-har")
        assert turn.drain_events() == []
        turn.add_text("dly.")
        assert turn.drain_events() == [TextDelta("sk-hardly.")]

    def test_are_redacted_in_an_id_that_the_provider_made(self, turn: TurnAssembler) -> None:
        turn.start_tool_call("k", f"call-{self.KEY}", "f")
        turn.start_tool_call("l", f"call-{self.KEY}", "g")
        first, second = turn.drain_events()
        assert first == ToolCallStarted("call-[redacted]", "f")
        assert second != ToolCallStarted("call-[redacted]", "g"), "an id is used once"

    def test_one_that_is_split_by_another_block_is_redacted_in_both_parts(self, turn: TurnAssembler) -> None:
        turn.add_text("It is sk-harbour")
        turn.add_reasoning("Is it?")
        turn.add_text("-42.")
        assert turn.drain_events() == [
            TextDelta("It is [redacted]"),
            ReasoningDelta("Is it?"),
            ReasoningEnded(),
            TextDelta("[redacted]."),
        ]

    def test_arguments_stay_json_whatever_the_secret(self, turn: TurnAssembler) -> None:
        redaction.register("12345678")
        turn.start_tool_call("k", "1", "f")
        turn.add_arguments("k", '{"amount":12345678,"to":"12345678"}')
        assert [e.arguments for e in turn.drain_events() if isinstance(e, ToolCallReady)] == [
            '{"amount":12345678,"to":"[redacted]"}'
        ]

    def test_text_held_back_comes_before_what_follows(self, turn: TurnAssembler) -> None:
        turn.add_text("sk-har")
        turn.start_tool_call("k", "1", "f")
        assert turn.drain_events() == [TextDelta("sk-har"), ToolCallStarted("1", "f")]

    def test_reasoning_held_back_comes_before_what_follows(self, turn: TurnAssembler) -> None:
        turn.add_reasoning("sk-har")
        turn.add_text("Yes.")
        assert turn.drain_events() == [ReasoningDelta("sk-har"), ReasoningEnded(), TextDelta("Yes.")]

    def test_text_held_back_is_emitted_when_the_stream_ends_or_breaks(self, turn: TurnAssembler) -> None:
        turn.add_text("sk-har")
        assert turn.drain_events(is_last=True) == [TextDelta("sk-har")]

    def test_are_redacted_in_the_name_and_the_arguments_of_a_call(self, turn: TurnAssembler) -> None:
        turn.start_tool_call("k", "1", f"use_{self.KEY}")
        turn.add_arguments("k", '{"key":"sk-har')
        first = turn.drain_events()
        turn.add_arguments("k", 'bour-42"}')
        assert [*first, *turn.drain_events()] == [
            ToolCallStarted("1", "use_[redacted]"),
            ToolArgumentsDelta("1", '{"key":"'),
            ToolArgumentsDelta("1", '[redacted]"}'),
            ToolCallReady("1", "use_[redacted]", '{"key":"[redacted]"}'),
        ]

    def test_are_redacted_in_calls_whose_pieces_are_interleaved(self, turn: TurnAssembler) -> None:
        turn.start_tool_call("k", "1", "f")
        turn.start_tool_call("l", "2", "g")
        for key, piece in (("k", '{"a":"sk-har'), ("l", '{"b":"sk-h'), ("k", 'bour-42"}'), ("l", 'arbour-42"}')):
            turn.add_arguments(key, piece)
        events = turn.drain_events()
        deltas: dict[str, str] = {}
        for event in events:
            if isinstance(event, ToolArgumentsDelta):
                deltas[event.id] = deltas.get(event.id, "") + event.json
        assert deltas == {"1": '{"a":"[redacted]"}', "2": '{"b":"[redacted]"}'}
        assert [e.arguments for e in events if isinstance(e, ToolCallReady)] == list(deltas.values())

    def test_arguments_held_back_come_before_the_call_is_ready(self, turn: TurnAssembler) -> None:
        turn.start_tool_call("k", "1", "f")
        turn.add_arguments("k", "sk-har")
        turn.set_stop_reason("tool_calls")
        assert turn.drain_events()[1:] == [ToolArgumentsDelta("1", "sk-har"), ToolCallReady("1", "f", "sk-har")]

    def test_reasoning_that_contains_one_loses_its_signature(self, turn: TurnAssembler) -> None:
        turn.add_reasoning("It is sk-har")
        assert turn.drain_events() == [ReasoningDelta("It is ")]
        turn.add_reasoning("bour-42.")
        turn.end_reasoning("signed")
        turn.add_reasoning("All is well.")
        turn.end_reasoning("signed too")
        assert turn.drain_events() == [
            ReasoningDelta("[redacted]."),
            ReasoningEnded(),
            ReasoningDelta("All is well."),
            ReasoningEnded("signed too"),
        ]

    def test_opaque_data_that_contains_a_secret_is_dropped(self, turn: TurnAssembler) -> None:
        """Masked it would not be valid, and a request without it can be."""
        turn.end_reasoning(self.KEY, self.KEY)
        turn.add_turn_fields({"reasoning_details": [{"text": f"It is {self.KEY}."}]})
        turn.start_tool_call(0, "a", "f")
        turn.sign_tool_call(0, {"extra_content": {"key": self.KEY}})
        turn.set_stop_reason("stop")
        turn.finish()
        events = turn.drain_events()
        assert self.KEY not in repr(events)
        assert ToolCallReady("a", "f", "") in events

    def test_opaque_data_without_a_secret_stays_as_it_is(self, turn: TurnAssembler) -> None:
        turn.end_reasoning("signature", "redacted")
        assert turn.drain_events() == [ReasoningEnded("signature", "redacted")]

    def test_too_much_opaque_data_is_dropped(self) -> None:
        turn = TurnAssembler(origin="o")
        turn.end_reasoning("s" * 600_000)
        for _ in range(3):
            turn.add_turn_fields({"reasoning_details": [{"data": "d" * 200_000}]})
        turn.set_stop_reason("stop")
        turn.finish()
        assert turn.drain_events()[0] == ReasoningEnded()
        assert len(repr(turn)) < 10_000


class TestFinish:
    def test_an_end_without_a_stop_reason_is_a_truncation(self) -> None:
        with pytest.raises(ModelStreamTruncated):
            TurnAssembler().finish()

    def test_a_stop_after_calls_has_the_stop_reason_tool_calls(self) -> None:
        turn = TurnAssembler()
        turn.start_tool_call(0, "a", "f")
        turn.set_stop_reason("stop")
        turn.finish()
        assert turn.drain_events()[-1] == TurnEnded("tool_calls")
