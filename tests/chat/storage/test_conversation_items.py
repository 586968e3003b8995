"""Conversation items: splitting messages into items and joining them, truncating and merging histories, titles."""

import json
import random
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.conversations import histories, json_values
from winterbourne.chat.core.history import INTERRUPTED_CALL_RESULT
from winterbourne.chat.core.messages import (
    AssistantMessage,
    ChatRequest,
    Document,
    Image,
    Message,
    Reasoning,
    Source,
    Summary,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from winterbourne.chat.errors import InvalidHistory
from winterbourne.chat.infra import redaction
from winterbourne.chat.storage.base import Item
from winterbourne.chat.storage.conversation_items import (
    FORMAT_VERSION,
    MAX_PART_BYTES,
    ConversationMetadata,
    derive_title,
    join_items,
    merge_history,
    parse_metadata,
    parse_summary,
    split_into_items,
    summary_item,
    truncate_from,
)

USER_PART = (
    st.builds(Text, st.text())
    | st.builds(Image, st.text(), st.text(), st.text())
    | st.builds(Document, st.text(), st.text(), st.text(), st.text())
)
ASSISTANT_PART = (
    st.builds(Text, st.text())
    | st.builds(Reasoning, st.text(), st.text(), st.text())
    | st.builds(ToolCall, st.text(), st.text(), st.text())
    | st.builds(Source, st.text(), st.text(), st.text(), st.text(), st.text())
)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(SystemMessage, st.text()),
    st.builds(UserMessage, st.lists(USER_PART).map(tuple), st.text()),
    st.builds(AssistantMessage, st.lists(ASSISTANT_PART).map(tuple), st.text(), st.booleans()),
    st.builds(ToolMessage, st.text(), st.text(), st.text(), st.booleans()),
)


def user(text: str, id_: str = "") -> UserMessage:
    return UserMessage((Text(text),), id_)


def stored_items(*messages: Message, epoch: int = 5) -> list[Item]:
    return [
        item for position, message in enumerate(messages) for item in split_into_items(message, "p", epoch, position, 0)
    ]


class TestSplittingAndJoining:
    @given(st.lists(MESSAGES))
    def test_split_messages_are_joined_again(self, messages: list[Message]) -> None:
        items = sorted(stored_items(*messages), key=lambda item: item.sk)
        assert [stored.message for stored in join_items(items, 5)] == messages

    @given(st.integers(0, 4 * MAX_PART_BYTES), st.sampled_from("aé☃𝄞\x00"))
    def test_no_item_exceeds_dynamodbs_size_limit(self, length: int, letter: str) -> None:
        message = user(letter * length)
        items = split_into_items(message, "p" * 2048, 2**43, 999_999, 2**33)
        assert all(0 < len(item.body) + len(item.pk) + len(item.sk) + 100 < 400 * 1024 for item in items)
        assert [stored.message for stored in join_items(items, 0)] == [message]

    def test_an_emoji_split_into_surrogates_is_restored_or_replaced(self) -> None:
        with_surrogates = AssistantMessage((Text("a\ud83d\ude00"), Text("b\ud83d")), "m")
        assert join_items(split_into_items(with_surrogates, "p", 5, 0, 0), 5)[0].message == AssistantMessage(
            (Text("a😀"), Text("b\ufffd")), "m"
        )

    def test_a_long_message_among_others_keeps_its_position(self) -> None:
        messages = [user("before"), user("x" * 4_000_000), user("after")]
        items = stored_items(*messages)
        random.Random(1).shuffle(items)
        items.sort(key=lambda item: item.sk)
        assert len(items) == 2 + 12
        assert [stored.message for stored in join_items(items, 5)] == messages

    def test_a_message_that_was_not_completely_written_is_left_out(self) -> None:
        items = stored_items(user("before"), user("x" * 1_000_000), user("after"))
        for missing in (1, 2, 3):
            incomplete = items[:missing] + items[missing + 1 :]
            assert [stored.message for stored in join_items(incomplete, 5)] == [user("before"), user("after")]

    def test_late_writes_of_a_request_stay_before_the_next_request(self) -> None:
        messages = [user(letter) for letter in "abcde"]
        late, later = stored_items(*messages[:3], epoch=5), stored_items(*messages[3:], epoch=70)
        assert [stored.message for stored in join_items(sorted(later + late, key=lambda item: item.sk), 5)] == messages

    def test_remains_of_an_earlier_conversation_with_the_same_id_are_not_read(self) -> None:
        assert [
            one.message
            for one in join_items(stored_items(user("old"), epoch=4) + stored_items(user("new"), epoch=5), 5)
        ] == [user("new")]


class TestSecrets:
    SECRET = "sk-harbour-42"

    def test_are_not_stored(self) -> None:
        redaction.register(self.SECRET)
        (item,) = stored_items(user(f"my key is {self.SECRET}"))
        assert b"my key is [redacted]" in item.body
        assert self.SECRET.encode() not in item.body
        assert derive_title([user(f"my key is {self.SECRET}")]) == "my key is [redacted]"

    def test_that_were_stored_are_redacted_when_read(self) -> None:
        items = stored_items(user(self.SECRET * 2))
        redaction.register(self.SECRET)
        assert [one.message for one in join_items(items, 0)] == [user("[redacted][redacted]")]


class TestTruncateFrom:
    STORED = join_items(
        stored_items(user("a", "1"), AssistantMessage((Text("b"),), "m"), user("c", "2"), user("d"), epoch=7), 0
    )
    BROKEN_OFF = join_items(
        stored_items(
            user("a", "1"),
            AssistantMessage((ToolCall("call", "clock", ""),), "m"),
            ToolMessage("call", "clock", "3"),
            AssistantMessage((Text("b"),), "m", incomplete=True),
        ),
        0,
    )

    @pytest.mark.parametrize(("id_", "stays"), [("1", 0), ("2", 2), ("3", 4), ("", 4), ("m", 4), ("u_7_3", 3)])
    def test_a_repeated_message_removes_the_old_one_and_what_followed(self, id_: str, stays: int) -> None:
        request = ChatRequest(messages=(user("again", id_),))
        assert truncate_from(self.STORED, request) == self.STORED[:stays]

    @pytest.mark.parametrize(("id_", "stays"), [("1", 0), ("m", 1), ("2", 2), ("unknown", 4)])
    def test_a_message_that_is_replaced_goes_with_what_followed(self, id_: str, stays: int) -> None:
        request = ChatRequest(messages=(user("other", "new"),), replace_from=id_)
        assert truncate_from(self.STORED, request) == self.STORED[:stays]

    @pytest.mark.parametrize("id_", ["m", "", "unknown"])
    def test_an_answer_that_is_given_anew_goes_with_all_its_turns(self, id_: str) -> None:
        request = ChatRequest(messages=(), replace_from=id_, regenerate=True)
        assert truncate_from(self.BROKEN_OFF, request) == self.BROKEN_OFF[:1]


class TestMergeHistory:
    CALLS = AssistantMessage((ToolCall("call_0", "clock", ""), ToolCall("call_1", "sum", "")))

    def test_every_call_has_a_result(self) -> None:
        merged = merge_history([user("a"), self.CALLS, ToolMessage("call_1", "sum", "3")], [user("b")])
        assert merged == (
            user("a"),
            self.CALLS,
            ToolMessage("call_0", "clock", INTERRUPTED_CALL_RESULT, is_error=True),
            ToolMessage("call_1", "sum", "3"),
            user("b"),
        )

    def test_call_ids_may_be_reused_in_another_turn(self) -> None:
        turn: list[Message] = [self.CALLS, ToolMessage("call_0", "clock", "1"), ToolMessage("call_1", "sum", "2")]
        assert merge_history([*turn, *turn], [user("b")]) == (*turn, *turn, user("b"))

    def test_the_caller_may_send_results_of_its_own_tools(self) -> None:
        merged = merge_history([self.CALLS], [ToolMessage("call_1", "", "4"), ToolMessage("call_0", "", "5")])
        assert merged == (self.CALLS, ToolMessage("call_0", "clock", "5"), ToolMessage("call_1", "sum", "4"))

    def test_a_result_without_a_call_is_rejected(self) -> None:
        with pytest.raises(InvalidHistory) as rejected:
            merge_history([user("a")], [ToolMessage("call_9", "", "4")])
        assert rejected.value.code == "unknown_tool_call"

    def test_a_result_without_a_call_beside_a_question_is_left_out(self) -> None:
        assert merge_history([user("a")], [ToolMessage("call_9", "", "4"), user("b")]) == (user("a"), user("b"))

    def test_a_result_that_is_sent_again_replaces_the_first(self) -> None:
        stored: list[Message] = [self.CALLS, ToolMessage("call_0", "clock", "1"), ToolMessage("call_1", "sum", "2")]
        assert merge_history(stored, [ToolMessage("call_1", "sum", "3")])[-1] == ToolMessage("call_1", "sum", "3")

    def test_a_result_of_a_call_whose_turn_was_answered_long_ago_is_rejected(self) -> None:
        stored = [self.CALLS, AssistantMessage((Text("done"),))]
        with pytest.raises(InvalidHistory):
            merge_history(stored, [ToolMessage("call_1", "sum", "3")])


class TestASummary:
    SUMMARY = Summary("digest", "They sail.", 2)

    def test_comes_back_from_its_item(self) -> None:
        item = summary_item(self.SUMMARY, "p", 9)
        assert item.expires_at_s == 9
        assert parse_summary([*stored_items(UserMessage((Text("one"),))), item]) == self.SUMMARY

    def test_is_nothing_that_could_be_taken_for_a_message(self, caplog: pytest.LogCaptureFixture) -> None:
        """Not by an older release either: those take what comes before the first request for something else."""
        items = [summary_item(self.SUMMARY, "p", 9), *stored_items(UserMessage((Text("one"),)))]
        assert sorted(items, key=lambda item: item.sk) == items
        assert [stored.message for stored in join_items(items, 0)] == [UserMessage((Text("one"),))]
        assert not caplog.records

    @pytest.mark.parametrize("body", [b"", b"[]", b'{"digest":5}'])
    def test_that_cannot_be_read_is_none(self, body: bytes) -> None:
        assert parse_summary([msgspec.structs.replace(summary_item(self.SUMMARY, "p", 9), body=body)]) is None

    def test_is_redacted(self) -> None:
        redaction.register("sk-harbour-43")
        assert b"is [redacted]" in summary_item(Summary("digest", "It is sk-harbour-43"), "p", 9).body


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


class TestRollback:
    """What is written here is read by the version before, and the other way round: fields are only ever added."""

    STORED: ClassVar[dict[str, tuple[Message, bytes]]] = {
        "system": (SystemMessage("s"), b'{"role":"system","text":"s"}'),
        "user": (
            UserMessage((Text("t"), Image("image/png", "AA==", "")), "u"),
            (
                b'{"role":"user","parts":[{"type":"text","text":"t"},'
                b'{"type":"image","media_type":"image/png","data":"AA==","url":""}],"id":"u"}'
            ),
        ),
        "assistant": (
            AssistantMessage((Reasoning("r", "s", "x"), ToolCall("1", "n", "{}")), "m", incomplete=True),
            (
                b'{"role":"assistant","parts":[{"type":"reasoning","text":"r","signature":"s","redacted":"x"},'
                b'{"type":"tool_call","id":"1","name":"n","arguments":"{}"}],"id":"m","incomplete":true}'
            ),
        ),
        "tool": (
            ToolMessage("1", "n", "c", is_error=True),
            b'{"role":"tool","tool_call_id":"1","name":"n","content":"c","is_error":true}',
        ),
    }
    METADATA = b'{"id":"c","title":"t","created_ms":5,"epoch":6,"expires_at_s":7,"lease_until_ms":8}'

    @pytest.mark.parametrize("kind", STORED)
    def test_the_fields_of_a_message_stay(self, kind: str) -> None:
        message, expected = self.STORED[kind]
        (item,) = split_into_items(message, "p", 5, 1, 9)
        assert (item.sk, item.number, item.updated_ms) == ("00000000000005#000001#0000", 1, 0)
        assert contains(json.loads(item.body), json.loads(expected))
        stored = Item(pk="p", sk=item.sk, number=1, body=expected)
        assert [one.message for one in join_items([stored], 5)] == [message]

    def test_the_fields_of_a_conversation_stay(self) -> None:
        metadata = parse_metadata(Item(pk="p", sk="c", body=self.METADATA))
        assert metadata == ConversationMetadata(
            id="c", title="t", created_ms=5, epoch=6, expires_at_s=7, lease_until_ms=8
        )
        assert contains(msgspec.to_builtins(metadata), json.loads(self.METADATA))

    def test_fields_that_a_later_version_adds_are_ignored(self) -> None:
        for message, body in self.STORED.values():
            later = body[:-1] + b',"later":{"a":[1]}}'
            assert [one.message for one in join_items([Item(pk="p", sk="5", number=1, body=later)], 0)] == [message]
        assert parse_metadata(Item(pk="p", sk="c", body=self.METADATA[:-1] + b',"later":1}'))


UNKNOWN_FIELDS = st.dictionaries(st.sampled_from(["later", "later still"]), json_values, min_size=1)
UNKNOWN_KINDS = st.sampled_from(["file", "citation", "Text", ""])


@st.composite
def newer(draw: st.DrawFn, value: Any) -> Any:
    """JSON with more fields in its objects, in any depth."""
    if isinstance(value, list):
        return [draw(newer(each)) for each in value]
    if not isinstance(value, dict):
        return value
    fields = {name: draw(newer(each)) for name, each in value.items()}
    return {**(draw(UNKNOWN_FIELDS) if draw(st.booleans()) else {}), **fields}


@st.composite
def with_unknown_parts(draw: st.DrawFn, fields: dict[str, Any]) -> dict[str, Any]:
    """A message with more parts, of kinds that this version does not know, anywhere among its own."""
    parts = list(fields["parts"])
    for kind in draw(st.lists(UNKNOWN_KINDS, min_size=1, max_size=3)):
        parts.insert(draw(st.integers(0, len(parts))), {"text": "x", **draw(UNKNOWN_FIELDS), "type": kind})
    return {**fields, "parts": parts}


def items_of(*bodies: Any) -> list[Item]:
    return [
        Item(pk="p", sk=f"{5:014}#{n:06}#0000", number=1, body=json.dumps(body).encode())
        for n, body in enumerate(bodies)
    ]


def messages_in(*bodies: Any) -> list[Message]:
    return [stored.message for stored in join_items(items_of(*bodies), 5)]


class TestItemsOfALaterVersion:
    """They are read as far as they can be, and break nothing."""

    @given(st.data(), histories())
    def test_fields_that_are_not_known_are_ignored(self, data: st.DataObject, messages: tuple[Message, ...]) -> None:
        bodies = [data.draw(newer(msgspec.to_builtins(message))) for message in messages]
        assert messages_in(*bodies) == [*messages]

    @given(st.data(), histories())
    def test_a_message_is_kept_without_the_parts_that_are_not_known(
        self, data: st.DataObject, messages: tuple[Message, ...]
    ) -> None:
        bodies = [msgspec.to_builtins(message) for message in messages]
        assert messages_in(*(data.draw(with_unknown_parts(b)) if "parts" in b else b for b in bodies)) == [*messages]

    @pytest.mark.parametrize("role", ["user", "assistant"])
    def test_a_message_of_nothing_else_is_left_out(self, role: str, caplog: pytest.LogCaptureFixture) -> None:
        assert messages_in({"role": role, "parts": [{"type": "file", "data": "secret"}]}) == []
        (record,) = caplog.records
        assert "00000000000005#000000#0000" in record.message
        assert "secret" not in record.message

    @pytest.mark.parametrize("role", ["developer", "Tool", "", 5, None, ["user"]])
    def test_a_message_of_a_role_that_is_not_known_is_left_out_of_the_others(self, role: object) -> None:
        unknown = {"role": role, "parts": [{"type": "text", "text": "x"}], "text": "x"}
        before, after = ({"role": "user", "parts": [{"type": "text", "text": text}]} for text in ("before", "after"))
        assert messages_in(before, unknown, after) == [user("before"), user("after")]

    @given(
        json_values
        | st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "tool"]), "parts": json_values})
    )
    def test_whatever_stands_in_an_item_hides_no_other(self, body: object) -> None:
        known = {"role": "user", "parts": [{"type": "text", "text": "before"}]}
        assert messages_in(known, body)[0] == user("before")

    @given(UNKNOWN_FIELDS, st.integers(1, 2**31))
    def test_metadata_is_read_without_what_is_not_known(self, fields: dict[str, Any], version: int) -> None:
        known = ConversationMetadata(id="c", title="t", created_ms=5, epoch=6, expires_at_s=7, version=version)
        (item,) = items_of({**fields, **msgspec.to_builtins(known)})
        assert parse_metadata(item) == known

    def test_metadata_of_before_there_were_versions_is_of_the_first(self) -> None:
        metadata = parse_metadata(Item(pk="p", sk="c", body=TestRollback.METADATA))
        assert metadata
        assert metadata.version == 1 < FORMAT_VERSION


def contains(found: object, expected: object) -> bool:
    """Whether everything expected is there, fields in any depth; more fields may be."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return all(name in found and contains(found[name], value) for name, value in expected.items())
    if isinstance(expected, list) and isinstance(found, list):
        return len(found) == len(expected) and all(map(contains, found, expected))
    return found == expected
