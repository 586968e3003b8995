"""History normalization: in order, and complete."""

from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.conversations import histories
from winterbourne.chat.core.history import (
    INTERRUPTED_CALL_RESULT,
    UNDECIDED_CALL_RESULT,
    check_decisions,
    is_blank,
    new_messages,
    normalize_history,
    pending_calls,
    undecided_result,
    with_new_questions,
    with_whole_text,
    without_sources,
)
from winterbourne.chat.core.messages import (
    Approval,
    AssistantMessage,
    AssistantPart,
    Decision,
    Message,
    Reasoning,
    Source,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    UnusablePart,
    UserMessage,
)
from winterbourne.chat.errors import RequestRejected

HI = UserMessage((Text("Hi"),), "u1")
TURN = AssistantMessage((ToolCall("c1", "x", "{}"), ToolCall("c2", "y", "{}")), "a1")


AGAIN = UserMessage((Text("Again"),), "u2")


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


PARTS = st.lists(
    st.sampled_from([Text("a"), Text(" "), Source("s1"), Source("s2"), Reasoning("hm"), ToolCall("c1", "x", "{}")])
)


class TestSources:
    @given(PARTS)
    def test_without_them_a_turn_is_as_if_it_had_cited_nothing(self, parts: list[AssistantPart]) -> None:
        """Text is in one piece that no reasoning and no call divides."""
        expected: list[AssistantPart] = []
        is_open = False
        for part in parts:
            if isinstance(part, Text) and is_open and isinstance(last := expected[-1], Text):
                expected[-1] = Text(last.text + part.text)
            elif not isinstance(part, Source):
                expected.append(part)
                is_open = isinstance(part, Text)
        assert without_sources(parts) == expected

    @given(PARTS)
    def test_with_whole_text_every_source_is_still_there(self, parts: list[AssistantPart]) -> None:
        whole = with_whole_text(parts)
        assert [part for part in whole if isinstance(part, Source)] == [p for p in parts if isinstance(p, Source)]
        assert [part for part in whole if not isinstance(part, Source)] == without_sources(parts)


class TestRepairs:
    def test_of_two_calls_of_one_id_in_a_turn_the_last_counts(self) -> None:
        twice = AssistantMessage((ToolCall("c1", "x", "{}"), Text("t"), ToolCall("c1", "y", "{}")), "a1")
        repaired = normalize_history((HI, twice, ToolMessage("c1", "", "1")))
        once = AssistantMessage((Text("t"), ToolCall("c1", "y", "{}")), "a1")
        assert repaired == (HI, once, ToolMessage("c1", "y", "1"))

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

    def test_the_latest_turn_that_waits_gets_the_result(self) -> None:
        call = AssistantMessage((ToolCall("c1", "x", "{}"),))
        interrupted, result = (
            ToolMessage("c1", "x", INTERRUPTED_CALL_RESULT, is_error=True),
            ToolMessage("c1", "x", "1"),
        )
        assert normalize_history([HI, call, AGAIN, call, result]) == (HI, call, interrupted, AGAIN, call, result)

    def test_of_two_results_of_a_call_the_last_counts(self) -> None:
        results = [ToolMessage("c1", "x", "old"), ToolMessage("c2", "y", "2"), ToolMessage("c1", "x", "new")]
        assert normalize_history([HI, TURN, *results])[2:] == (ToolMessage("c1", "x", "new"), results[1])

    def test_a_result_before_its_call_is_moved_behind_it(self) -> None:
        results = (ToolMessage("c1", "x", "1"), ToolMessage("c2", "y", "2"))
        assert normalize_history([*results, HI, TURN]) == (HI, TURN, *results)

    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_a_result_without_a_call_is_left_out(self, place: int) -> None:
        history: list[Message] = [HI, AssistantMessage((Text("Hello"),))]
        assert normalize_history([*history[:place], ToolMessage("c9", "x", "1"), *history[place:]]) == tuple(history)

    def test_a_message_of_the_user_between_call_and_result_comes_behind_both(self) -> None:
        call, result = AssistantMessage((ToolCall("c1", "x", "{}"),)), ToolMessage("c1", "x", "1")
        assert normalize_history([HI, call, AGAIN, result]) == (HI, call, result, AGAIN)

    @pytest.mark.parametrize("text", ["", " ", "\n \n", "\u3000\t"])
    def test_a_blank_message_is_left_out(self, text: str) -> None:
        blank = (AssistantMessage((Reasoning("hm"), Text(text))), UserMessage((Text(text),)), SystemMessage(text))
        assert normalize_history([HI, *blank, AGAIN]) == (HI, AGAIN)

    def test_of_two_questions_of_one_id_the_last_counts(self) -> None:
        corrected = UserMessage((Text("Hello"),), "u1")
        assert normalize_history([HI, AGAIN, corrected]) == (AGAIN, corrected)

    def test_an_answer_that_comes_again_later_is_left_out(self) -> None:
        results = (ToolMessage("c1", "x", "1"), ToolMessage("c2", "y", "2"))
        assert normalize_history([HI, TURN, *results, AGAIN, TURN, *results]) == (HI, TURN, *results, AGAIN)

    def test_a_turn_that_comes_twice_before_its_results_counts_once(self) -> None:
        results = (ToolMessage("c1", "x", "1"), ToolMessage("c2", "y", "2"))
        assert normalize_history([HI, TURN, TURN, *results]) == (HI, TURN, *results)

    def test_a_tool_that_is_asked_the_same_twice_has_two_results(self) -> None:
        poll = AssistantMessage((ToolCall("c1", "x", "{}"),), "a1")
        history = (HI, poll, ToolMessage("c1", "x", "not yet"), poll, ToolMessage("c1", "x", "done"))
        assert normalize_history(history) == history

    def test_an_unusable_part_becomes_its_line(self) -> None:
        message = UserMessage((Text("sum up"), UnusablePart("[a PDF]", "no PDF")), "u1")
        assert normalize_history([message]) == (UserMessage((Text("sum up"), Text("[a PDF]")), "u1"),)

    def test_what_was_repaired_is_counted_in_one_log_line(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")
        normalize_history([HI, AssistantMessage(()), AssistantMessage((Text(" "),)), ToolMessage("secret", "x", "1")])
        assert [record.getMessage() for record in caplog.records] == [
            "history repaired: blank messages: 2, results without a call: 1"
        ]

    def test_nothing_is_logged_for_a_good_history(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")
        normalize_history([HI, AssistantMessage((Text("Hello"),))])
        assert not caplog.records


texts = st.sampled_from(["", " ", "a", "b"]).map(Text)
ids = st.sampled_from(["", "1", "2"])
any_messages = st.lists(
    st.builds(UserMessage, st.tuples(texts), ids)
    | st.builds(
        AssistantMessage,
        st.lists(texts | st.builds(ToolCall, ids, st.just("x"), st.just("{}")), max_size=3).map(tuple),
        ids,
    )
    | st.builds(ToolMessage, ids, st.just("x"), st.sampled_from(["1", "2"]))
    | st.builds(SystemMessage, st.sampled_from(["", "s"])),
    max_size=8,
)


class TestAnyHistory:
    @given(any_messages)
    def test_is_repaired_once_and_for_all(self, messages: list[Message]) -> None:
        history = normalize_history(messages)
        assert normalize_history(history) == history

    @given(any_messages)
    def test_has_one_result_for_each_call_right_behind_its_turn(self, messages: list[Message]) -> None:
        expected: list[str] = []
        for message in normalize_history(messages):
            if isinstance(message, ToolMessage):
                assert message.tool_call_id == expected.pop(0)
            else:
                assert not expected
                expected = [call.id for call in message.tool_calls] if isinstance(message, AssistantMessage) else []
                assert len(expected) == len(set(expected))
        assert not expected

    @given(any_messages)
    def test_keeps_what_the_user_said_last_under_each_id(self, messages: list[Message]) -> None:
        questions = [one for one in messages if isinstance(one, UserMessage) and one.parts[0] != Text("")]
        said = [one for one in questions if not is_blank(one)]
        kept = [one for one in normalize_history(messages) if isinstance(one, UserMessage)]
        assert kept == [
            one for at, one in enumerate(said) if not one.id or one.id not in {m.id for m in said[at + 1 :]}
        ]


class TestNewMessages:
    """Of a whole history, what is not in the store."""

    RESULTS = (ToolMessage("c1", "x", "1"), ToolMessage("c2", "y", "2"))

    def test_everything_is_new_before_the_first_answer(self) -> None:
        assert new_messages([HI, AGAIN], ()) == (HI, AGAIN)

    def test_what_follows_the_last_turn_is_new(self) -> None:
        assert new_messages([HI, TURN, *self.RESULTS, AssistantMessage((Text("1"),), "a1"), AGAIN], ()) == (AGAIN,)

    def test_of_results_only_those_of_the_clients_own_tools_are(self) -> None:
        assert new_messages([HI, TURN, *self.RESULTS], {"y"}) == self.RESULTS[1:]

    def test_a_results_tool_is_that_of_its_call(self) -> None:
        """Not every format names it in the result."""
        assert new_messages([HI, TURN, ToolMessage("c2", "", "2")], {"y"}) == (ToolMessage("c2", "", "2"),)

    def test_a_result_that_never_came_is_not_stored_as_one(self) -> None:
        assert new_messages(normalize_history([HI, TURN, AGAIN]), {"x", "y"}) == (AGAIN,)


class TestCallsThatWaitForAPerson:
    ASKED = AssistantMessage((ToolCall("c1", "x", "{}", approval=Approval("id1", 9)), ToolCall("c2", "y", "{}")), "a1")
    RESULT = ToolMessage("c2", "y", "2")

    def test_have_not_failed_but_were_not_decided(self) -> None:
        undecided = ToolMessage("c1", "x", UNDECIDED_CALL_RESULT, is_error=True)
        history = normalize_history([HI, self.ASKED, self.RESULT])
        assert history == (HI, self.ASKED, undecided, self.RESULT)
        assert pending_calls(history) == [self.ASKED.tool_calls[0]]

    def test_wait_for_what_they_have_asked_last(self) -> None:
        (first, other), anew = self.ASKED.tool_calls, Approval("id2", 10)
        asked = AssistantMessage((msgspec.structs.replace(first, approval=anew), other), "a1")
        history = normalize_history([HI, self.ASKED, self.RESULT, undecided_result(first, anew)])
        assert history == normalize_history([HI, asked, self.RESULT])
        assert pending_calls(history) == [asked.tool_calls[0]]
        assert with_new_questions([undecided_result(first, anew)]) == []

    def test_are_those_without_a_result_if_nothing_says_what_was_asked(self) -> None:
        call = ToolCall("c1", "x", "{}")
        assert pending_calls(normalize_history([HI, AssistantMessage((call,))])) == [call]

    @pytest.mark.parametrize("later", [AGAIN, AssistantMessage((Text("so"),)), ToolMessage("c1", "x", "1")])
    def test_are_none_once_something_follows(self, later: Message) -> None:
        assert pending_calls(normalize_history([HI, self.ASKED, self.RESULT, later])) == []
        assert pending_calls(normalize_history([HI])) == []

    @pytest.mark.parametrize("results", [(), (ToolMessage("c1", "x", "1"),)])
    def test_can_be_decided_and_the_same_decision_may_come_again(self, results: tuple[Message, ...]) -> None:
        history = normalize_history([HI, self.ASKED, self.RESULT, *results])
        check_decisions(history, [Decision(approval_id="id1", approved=True)])
        with pytest.raises(RequestRejected, match="no tool call waits"):
            check_decisions(history, [Decision(approval_id="id2", approved=True)])

    def test_cannot_be_decided_later(self) -> None:
        with pytest.raises(RequestRejected, match="no tool call waits"):
            check_decisions(normalize_history([HI, self.ASKED, AGAIN]), [Decision(approval_id="id1", approved=True)])
        check_decisions(normalize_history([HI]), [])
