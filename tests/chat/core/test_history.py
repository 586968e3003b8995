"""History normalization: in order, and complete."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.conversations import histories
from winterbourne.chat.core.history import INTERRUPTED_CALL_RESULT, normalize_history
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Message,
    Reasoning,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from winterbourne.chat.errors import InvalidHistory

HI = UserMessage((Text("Hi"),), "u1")
TURN = AssistantMessage((ToolCall("c1", "x", "{}"), ToolCall("c2", "y", "{}")), "a1")


def rejection(messages: tuple[Message, ...]) -> str:
    with pytest.raises(InvalidHistory) as raised:
        normalize_history(messages)
    return raised.value.code


class TestOrder:
    @given(histories())
    def test_a_normalized_history_stays_as_it_is(self, history: tuple[Message, ...]) -> None:
        assert normalize_history(history) == history

    @given(histories(), st.randoms())
    def test_results_are_put_behind_their_calls(self, history: tuple[Message, ...], random: Random) -> None:
        results = [message for message in history if isinstance(message, ToolMessage)]
        others = [message for message in history if not isinstance(message, ToolMessage)]
        random.shuffle(results)
        assert normalize_history([*others, *results]) == history

    def test_a_result_takes_its_tools_name_from_the_call(self) -> None:
        messages = normalize_history([HI, TURN, ToolMessage("c1", "", "1"), ToolMessage("c2", "", "2")])
        assert messages[2:] == (ToolMessage("c1", "x", "1"), ToolMessage("c2", "y", "2"))

    def test_a_call_without_a_result_gets_an_error_result(self) -> None:
        assert normalize_history([HI, TURN, ToolMessage("c2", "y", "2")])[2:] == (
            ToolMessage("c1", "x", INTERRUPTED_CALL_RESULT, is_error=True),
            ToolMessage("c2", "y", "2"),
        )

    @pytest.mark.parametrize("parts", [(), (Reasoning("hm"),)])
    def test_a_turn_without_text_or_calls_is_left_out(self, parts: tuple[Reasoning, ...]) -> None:
        assert normalize_history([HI, AssistantMessage(parts, "a1")]) == (HI,)


class TestCallIds:
    def test_two_calls_of_one_id_in_a_turn_are_rejected(self) -> None:
        twice = AssistantMessage((ToolCall("c1", "x", "{}"), ToolCall("c1", "y", "{}")), "a1")
        assert rejection((HI, twice)) == "duplicate_id"

    def test_a_call_id_may_be_reused_in_another_turn(self) -> None:
        turns = [
            message
            for number in range(2)
            for message in (
                UserMessage((Text("Hi"),), f"u{number}"),
                AssistantMessage((ToolCall("c1", "x", "{}"),), f"a{number}"),
                ToolMessage("c1", "x", str(number)),
            )
        ]
        assert normalize_history(turns) == tuple(turns)

    def test_two_results_of_one_call_are_rejected(self) -> None:
        result = ToolMessage("c1", "x", "1")
        assert rejection((HI, TURN, result, result)) == "duplicate_id"

    def test_a_result_before_its_call_is_rejected(self) -> None:
        assert rejection((HI, ToolMessage("c1", "x", "1"), TURN)) == "unknown_tool_call"

    def test_a_result_without_a_call_is_rejected(self) -> None:
        assert rejection((HI, ToolMessage("c1", "x", "1"))) == "unknown_tool_call"
