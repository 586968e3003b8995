"""How conversations lie in the store: whatever is cut is joined again, and nothing comes between."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.core.history import INTERRUPTED_CALL_RESULT
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Image,
    Message,
    Reasoning,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.infra import redaction
from winterbourne.chat.storage.base import Item
from winterbourne.chat.storage.conversation_items import (
    MAX_PART_BYTES,
    derive_title,
    join_items,
    merge_history,
    split_into_items,
    truncate_from,
)

PART = st.builds(Text, st.text()) | st.builds(Image, st.text(), st.text(), st.text())
SAID = (
    st.builds(Text, st.text())
    | st.builds(Reasoning, st.text(), st.text(), st.text())
    | st.builds(ToolCall, st.text(), st.text(), st.text())
)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(SystemMessage, st.text()),
    st.builds(UserMessage, st.lists(PART).map(tuple), st.text()),
    st.builds(AssistantMessage, st.lists(SAID).map(tuple), st.text(), st.booleans()),
    st.builds(ToolMessage, st.text(), st.text(), st.text(), st.booleans()),
)


def user(text: str, id_: str = "") -> UserMessage:
    return UserMessage((Text(text),), id_)


def kept(*messages: Message, epoch: int = 5) -> list[Item]:
    return [item for place, message in enumerate(messages) for item in split_into_items(message, "p", epoch, place, 0)]


class TestCuttingAndJoining:
    @given(st.lists(MESSAGES))
    def test_what_was_cut_is_joined_again(self, messages: list[Message]) -> None:
        items = sorted(kept(*messages), key=lambda item: item.sk)
        assert [stored.message for stored in join_items(items, 5)] == messages

    @given(st.integers(0, 4 * MAX_PART_BYTES), st.sampled_from("aé☃𝄞\x00"))
    def test_no_item_is_longer_than_dynamodb_takes(self, length: int, letter: str) -> None:
        message = user(letter * length)
        items = split_into_items(message, "p" * 2048, 2**43, 999_999, 2**33)
        assert all(0 < len(item.body) + len(item.pk) + len(item.sk) + 100 < 400 * 1024 for item in items)
        assert [stored.message for stored in join_items(items, 0)] == [message]

    def test_an_emoji_that_was_cut_in_two_is_kept_or_replaced(self) -> None:
        cut = AssistantMessage((Text("a\ud83d\ude00"), Text("b\ud83d")), "m")
        assert join_items(split_into_items(cut, "p", 5, 0, 0), 5)[0].message == AssistantMessage(
            (Text("a😀"), Text("b\ufffd")), "m"
        )

    def test_a_long_message_among_others_keeps_its_place(self) -> None:
        messages = [user("before"), user("x" * 4_000_000), user("after")]
        items = kept(*messages)
        random.Random(1).shuffle(items)
        items.sort(key=lambda item: item.sk)
        assert len(items) == 2 + 12
        assert [stored.message for stored in join_items(items, 5)] == messages

    def test_a_message_that_was_not_written_to_its_end_is_left_out(self) -> None:
        items = kept(user("before"), user("x" * 1_000_000), user("after"))
        for missing in (1, 2, 3):
            some = items[:missing] + items[missing + 1 :]
            assert [stored.message for stored in join_items(some, 5)] == [user("before"), user("after")]

    def test_what_a_request_writes_late_stays_before_the_next_one(self) -> None:
        messages = [user(letter) for letter in "abcde"]
        late, later = kept(*messages[:3], epoch=5), kept(*messages[3:], epoch=70)
        assert [stored.message for stored in join_items(sorted(later + late, key=lambda item: item.sk), 5)] == messages

    def test_what_is_left_of_an_earlier_conversation_of_the_same_name_is_not_read(self) -> None:
        assert [one.message for one in join_items(kept(user("old"), epoch=4) + kept(user("new"), epoch=5), 5)] == [
            user("new")
        ]


class TestSecrets:
    KEY = "sk-harbour-42"

    def test_are_not_kept(self) -> None:
        redaction.register(self.KEY)
        (item,) = kept(user(f"my key is {self.KEY}"))
        assert b"my key is [redacted]" in item.body
        assert self.KEY.encode() not in item.body
        assert derive_title([user(f"my key is {self.KEY}")]) == "my key is [redacted]"

    def test_that_were_kept_are_not_read(self) -> None:
        items = kept(user(self.KEY * 2))
        redaction.register(self.KEY)
        assert [one.message for one in join_items(items, 0)] == [user("[redacted][redacted]")]


class TestRewinding:
    STORED = join_items(kept(user("a", "1"), AssistantMessage((Text("b"),), "m"), user("c", "2"), user("d")), 0)

    @pytest.mark.parametrize(("id_", "stays"), [("1", 0), ("2", 2), ("3", 4), ("", 4), ("m", 4)])
    def test_a_repeated_message_takes_the_place_of_the_old_one_and_what_followed(self, id_: str, stays: int) -> None:
        assert truncate_from(self.STORED, [user("again", id_)]) == self.STORED[:stays]


class TestContinuing:
    CALLS = AssistantMessage((ToolCall("call_0", "clock", ""), ToolCall("call_1", "sum", "")))

    def test_every_call_has_a_result(self) -> None:
        found = merge_history([user("a"), self.CALLS, ToolMessage("call_1", "sum", "3")], [user("b")])
        assert found == (
            user("a"),
            self.CALLS,
            ToolMessage("call_0", "clock", INTERRUPTED_CALL_RESULT, is_error=True),
            ToolMessage("call_1", "sum", "3"),
            user("b"),
        )

    def test_ids_of_calls_may_come_again_in_another_turn(self) -> None:
        turn: list[Message] = [self.CALLS, ToolMessage("call_0", "clock", "1"), ToolMessage("call_1", "sum", "2")]
        assert merge_history([*turn, *turn], [user("b")]) == (*turn, *turn, user("b"))

    def test_the_caller_may_bring_the_results_of_its_own_tools(self) -> None:
        found = merge_history([self.CALLS], [ToolMessage("call_1", "", "4"), ToolMessage("call_0", "", "5")])
        assert found == (self.CALLS, ToolMessage("call_0", "clock", "5"), ToolMessage("call_1", "sum", "4"))

    def test_a_result_of_no_call_is_refused(self) -> None:
        with pytest.raises(RequestRejected) as refused:
            merge_history([user("a")], [ToolMessage("call_9", "", "4")])
        assert (refused.value.status, refused.value.code) == (400, "unknown_tool_call")


class TestTitle:
    @pytest.mark.parametrize(
        ("messages", "title"),
        [
            ((), ""),
            ((SystemMessage("be kind"), user("  How \n is\tit? ")), "How is it?"),
            ((UserMessage((Image("image/png", url="u"), Text("what is this"))),), "what is this"),
            ((user("x" * 80),), "x" * 80),
            ((user("x" * 81),), "x" * 79 + "…"),
        ],
    )
    def test_it_is_the_beginning_of_the_first_question(self, messages: tuple[Message, ...], title: str) -> None:
        assert derive_title(messages) == title
