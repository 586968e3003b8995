"""History normalization and validation: in order, complete, within the limits."""

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.conversations import histories
from tests.chat.formats.wire import attempt
from winterbourne.chat.core.history import INTERRUPTED_CALL_RESULT, limit_messages, normalize_history, validate_history
from winterbourne.chat.core.messages import (
    AssistantMessage,
    ChatRequest,
    Image,
    Message,
    Reasoning,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UserMessage,
)
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.settings import Settings

HI = UserMessage((Text("Hi"),), "u1")
TURN = AssistantMessage((ToolCall("c1", "x", "{}"), ToolCall("c2", "y", "{}")), "a1")


def rejection(messages: tuple[Message, ...], settings: Settings | None = None, **more: Any) -> tuple[int, str]:
    outcome = attempt(
        lambda: validate_history(ChatRequest(messages=normalize_history(messages), **more), settings or Settings())
    )
    assert isinstance(outcome, RequestRejected)
    return outcome.status, outcome.code


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


class TestIds:
    def test_two_calls_of_one_id_in_a_turn_are_rejected(self) -> None:
        twice = AssistantMessage((ToolCall("c1", "x", "{}"), ToolCall("c1", "y", "{}")), "a1")
        assert rejection((HI, twice)) == (400, "duplicate_id")

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
        assert rejection((HI, TURN, result, result)) == (400, "duplicate_id")

    def test_a_result_before_its_call_is_rejected(self) -> None:
        assert rejection((HI, ToolMessage("c1", "x", "1"), TURN)) == (400, "unknown_tool_call")

    def test_a_result_without_a_call_is_rejected(self) -> None:
        assert rejection((HI, ToolMessage("c1", "x", "1"))) == (400, "unknown_tool_call")

    def test_two_messages_of_one_id_are_rejected(self) -> None:
        assert rejection((HI, HI)) == (400, "duplicate_id")
        answer = AssistantMessage((Text("a"),), "a1")
        assert rejection((answer, HI, answer)) == (400, "duplicate_id")

    def test_all_turns_of_one_answer_share_one_id(self) -> None:
        messages = normalize_history([HI, TURN, AssistantMessage((Text("done"),), "a1")])
        assert validate_history(ChatRequest(messages=messages), Settings()).messages == messages

    def test_messages_without_ids_are_not_duplicates(self) -> None:
        messages = (UserMessage((Text("a"),)), UserMessage((Text("b"),)))
        assert validate_history(ChatRequest(messages=messages), Settings()).messages == messages


class TestLimits:
    @pytest.mark.parametrize(
        ("settings", "messages", "code"),
        [
            (Settings.of(max_messages=1), (HI, SystemMessage("x")), "too_many_messages"),
            (Settings.of(max_message_chars=1), (HI,), "message_too_long"),
            (Settings.of(max_message_chars=1), (SystemMessage("Hi"),), "message_too_long"),
            (Settings.of(max_message_chars=50), (TURN, ToolMessage("c1", "x", "x" * 51)), "message_too_long"),
            (
                Settings.of(max_message_chars=50),
                (AssistantMessage((ToolCall("c1", "x", "x" * 51),)),),
                "message_too_long",
            ),
            (Settings.of(max_images=1), (UserMessage((Image("image/png", "aGk="),) * 2),), "too_many_images"),
        ],
    )
    def test_more_than_a_limit_is_rejected_as_too_large(
        self, settings: Settings, messages: tuple[Message, ...], code: str
    ) -> None:
        assert rejection(messages, settings) == (413, code)

    def test_instructions_have_the_length_limit_of_a_message(self) -> None:
        with pytest.raises(RequestRejected, match="2 at most"):
            validate_history(ChatRequest(messages=(HI,), system="Be!"), Settings.of(max_message_chars=2))

    def test_messages_over_the_limit_are_not_even_iterated(self) -> None:
        def endless() -> Iterator[Message]:
            while True:
                yield HI

        with pytest.raises(RequestRejected, match="500 at most"):
            limit_messages(endless(), Settings())

    def test_exactly_the_limit_is_accepted(self) -> None:
        chat = ChatRequest(messages=(HI,))
        assert validate_history(chat, Settings.of(max_messages=1, max_message_chars=2)) is chat

    def test_a_request_with_nothing_to_answer_is_rejected(self) -> None:
        assert rejection(()) == (400, "no_messages")
        assert rejection((UserMessage(()),)) == (400, "empty_message")

    def test_client_tools_are_limited_in_number_and_have_unique_names(self) -> None:
        tools = tuple(ToolSchema(name, "", {}) for name in ("a", "b", "b"))
        assert rejection((HI,), Settings.of(max_client_tools=2), client_tools=tools) == (413, "too_many_tools")
        assert rejection((HI,), client_tools=tools) == (400, "duplicate_id")
