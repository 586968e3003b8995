"""Compaction: any history is shortened so that what is left is one that providers take."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.core.compaction import (
    choose_cut,
    compact,
    prefix_digests,
    summarise,
    summary_request,
)
from winterbourne.chat.core.history import normalize_history
from winterbourne.chat.core.messages import (
    AssistantMessage,
    AssistantPart,
    Document,
    Image,
    Message,
    Opaque,
    Reasoning,
    Source,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
    VolatilePart,
)
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.core.request_checks import limit_older_media
from winterbourne.chat.core.usage import estimate_input, estimate_tokens

TEXTS = st.sampled_from(["Ahoy", "What is the tide?", "港 🌍", "word " * 30, "half \ud83d"])
USER_PARTS = (
    TEXTS.map(Text) | st.just(Image("image/png", "aGk=")) | st.just(Document("application/pdf", "tide.pdf", "aGk="))
)


@st.composite
def rounds(draw: st.DrawFn) -> list[Message]:
    """A turn of the model with the results of its calls."""
    calls = [ToolCall(f"call_{n}", "tide", '{"port":"Whitby"}') for n in range(draw(st.integers(0, 2)))]
    opaque = st.sampled_from([Reasoning("Hm", "sig"), Reasoning("", opaque=Opaque("o", "reasoning", "{}"))])
    thought: list[AssistantPart] = draw(st.lists(opaque, max_size=1))
    said: list[AssistantPart] = [Text(draw(TEXTS)), *draw(st.lists(st.just(Source("s", title="Tides")), max_size=1))]
    turn = AssistantMessage((*thought, *said, *calls), draw(st.sampled_from(["", "m_1"])))
    return [turn, *(ToolMessage(call.id, call.name, draw(TEXTS)) for call in calls)]


@st.composite
def long_histories(draw: st.DrawFn) -> tuple[Message, ...]:
    """Questions with any number of rounds, the last of which may be under way; system messages anywhere."""
    messages: list[Message] = []
    for number in range(draw(st.integers(1, 6))):
        messages += draw(st.lists(st.just(SystemMessage("Be brief.")), max_size=1))
        messages.append(UserMessage(tuple(draw(st.lists(USER_PARTS, min_size=1, max_size=2))), f"u_{number}"))
        for each in draw(st.lists(rounds(), max_size=3)):
            messages += each
    return normalize_history(messages)


def tokens(messages: Sequence[Message]) -> int:
    return estimate_input(ModelRequest(messages=tuple(messages)))


def cut_to(messages: Sequence[Message], room: int, start: int = 0) -> tuple[int, tuple[Message, ...]]:
    cut = choose_cut(messages, room, start)
    return cut, compact(messages, cut, summarise(messages, cut, "Tides.")) if cut else tuple(messages)


def newest_question(messages: Sequence[Message]) -> int:
    return max(at for at, message in enumerate(messages) if isinstance(message, UserMessage))


class TestWhatIsLeft:
    @given(history=long_histories(), room=st.integers(0, 400))
    def test_is_normalized_whatever_was_cut(self, history: tuple[Message, ...], room: int) -> None:
        """So each call has its result right behind it, and no result is without its call."""
        _, left = cut_to(history, room)
        assert normalize_history(left) == left

    @given(history=long_histories(), room=st.integers(0, 400))
    def test_has_the_newest_question_and_all_that_follows_the_cut(
        self, history: tuple[Message, ...], room: int
    ) -> None:
        cut, left = cut_to(history, room)
        question = history[newest_question(history)]
        asked = left[newest_question(left)]
        assert isinstance(question, UserMessage)
        assert isinstance(asked, UserMessage)
        assert asked.id == question.id
        assert asked.parts[-len(question.parts) :] == question.parts
        later = history[max(cut, newest_question(history) + 1) :]
        assert left[len(left) - len(later) :] == later

    @given(history=long_histories(), room=st.integers(0, 400))
    def test_is_shorter_and_fits_unless_the_newest_round_alone_does_not(
        self, history: tuple[Message, ...], room: int
    ) -> None:
        cut, left = cut_to(history, room)
        if not cut:
            return
        assert len(left) < len(history)
        last_round = max((at for at, one in enumerate(history) if isinstance(one, AssistantMessage)), default=0)
        at_most = max(newest_question(history), last_round if last_round > newest_question(history) + 1 else 0)
        assert tokens(left) <= room + tokens([SystemMessage("Be brief.")]) * 6 + 60 or cut == at_most

    @given(history=long_histories(), room=st.integers(0, 400))
    def test_keeps_the_system_messages(self, history: tuple[Message, ...], room: int) -> None:
        _, left = cut_to(history, room)
        assert [one for one in left if isinstance(one, SystemMessage)] == [
            one for one in history if isinstance(one, SystemMessage)
        ]

    @given(history=long_histories(), room=st.integers(0, 400), more=rounds())
    def test_is_the_same_again_when_the_conversation_has_gone_on(
        self, history: tuple[Message, ...], room: int, more: list[Message]
    ) -> None:
        """A provider's cache holds what stays the same at the beginning."""
        cut = choose_cut(history, room)
        if not cut:
            return
        summary = summarise(history, cut, "Tides.")
        longer = normalize_history((*history, *more, UserMessage((Text("And now?"),), "u_new")))
        if longer[: len(history)] != history:  # what has come repairs what was before
            return
        before = compact(history, cut, summary)
        assert compact(longer, cut, summary)[: len(before)] == before

    def test_begins_with_the_summary_which_says_what_it_is(self) -> None:
        history = (UserMessage((Text("one"),)), AssistantMessage((Text("1"),)), UserMessage((Text("two"),)))
        (left,) = compact(history, 2, summarise(history, 2, "They count."))
        assert isinstance(left, UserMessage)
        summary, question = left.parts
        assert isinstance(summary, Text)
        assert summary.text.startswith("[A summary of the conversation so far")
        assert "They count." in summary.text
        assert question == Text("two")

    def test_loses_the_reasoning_that_was_made_for_the_whole(self) -> None:
        """Some models accept their reasoning only behind what they had read when they wrote it."""
        thought = AssistantMessage((Reasoning("Hm", "sig"), Text("2")))
        first = (UserMessage((Text("one"),)), AssistantMessage((Text("1"),)))
        history = (*first, UserMessage((Text("two"),), "u"), thought, UserMessage((Text("three"),), "v"))
        summary = summarise(history, 2, "They count.")
        later = (*history, thought, UserMessage((Text("four"),), "w"))
        left = compact(later, 2, summary)
        assert left[1] == AssistantMessage((Text("2"),))
        assert left[3] == thought


class TestCut:
    QUESTIONS = tuple(
        one
        for n in range(4)
        for one in (UserMessage((Text("word " * 50),), f"u_{n}"), AssistantMessage((Text("yes"),)))
    )

    def test_is_before_a_question(self) -> None:
        history = (*self.QUESTIONS, UserMessage((Text("last"),)))
        assert choose_cut(history, 150) == 4
        assert choose_cut(history, 0) == 8

    def test_is_between_two_turns_where_one_question_is_too_long_alone(self) -> None:
        call = AssistantMessage((ToolCall("a", "tide", "{}"),))
        loop = (call, ToolMessage("a", "tide", "word " * 50))
        history = (UserMessage((Text("Tides of all ports?"),)), *loop, *loop, *loop)
        assert choose_cut(history, 150) == 3
        assert choose_cut(history, 0) == 5
        left = compact(history, 5, summarise(history, 5, "High at noon."))
        assert left[1:] == loop
        assert isinstance(left[0], UserMessage)
        assert left[0].parts[1:] == (Text("Tides of all ports?"),)

    def test_is_none_where_there_is_nothing_before_the_newest_question(self) -> None:
        assert choose_cut((SystemMessage("Be brief."), UserMessage((Text("word " * 99),))), 1) == 0


class TestDigest:
    HISTORY = (
        UserMessage((Text("one"), Image("image/png", "aGk=")), "u"),
        AssistantMessage((Reasoning("Hm", "sig"), Text("1"), ToolCall("a", "tide", "{}", Opaque("o")))),
        ToolMessage("a", "tide", "high"),
    )

    @given(history=long_histories())
    def test_is_of_the_messages_up_to_it(self, history: tuple[Message, ...]) -> None:
        digests = prefix_digests(history)
        assert len(digests) == len(history)
        assert prefix_digests(history[:2]) == digests[:2]

    def test_is_the_same_for_a_history_that_a_client_has_carried(self) -> None:
        """Not every one carries reasoning, ids, images that are too many, or what is opaque."""
        carried = (
            UserMessage((Text("one"),)),
            AssistantMessage((Text("1"), ToolCall("b", "tide", "{}"))),
            ToolMessage("b", "tide", "high"),
        )
        assert prefix_digests(carried) == prefix_digests(self.HISTORY)

    def test_is_not_of_what_is_said_of_one_request_alone(self) -> None:
        question = self.HISTORY[0]
        assert isinstance(question, UserMessage)
        told = UserMessage((*question.parts, VolatilePart("It is noon.")))
        assert prefix_digests((told, *self.HISTORY[1:])) == prefix_digests(self.HISTORY)

    def test_is_the_same_when_a_file_has_become_one_too_many(self) -> None:
        limited = limit_older_media((*self.HISTORY, UserMessage((Text("two"),))), images=0)
        assert isinstance(question := limited[0], UserMessage)
        assert question.parts[1] == Text("[an older image that is not shown any more]")
        assert prefix_digests(limited)[:3] == prefix_digests(self.HISTORY)

    @pytest.mark.parametrize("at", [0, 1, 2])
    def test_is_another_one_after_an_edit(self, at: int) -> None:
        edits: list[Message] = [
            UserMessage((Text("two"),)),
            AssistantMessage((Text("1"), ToolCall("a", "tide", '{"port":1}'))),
            ToolMessage("a", "tide", "low"),
        ]
        edited: list[Message] = [*self.HISTORY[:at], edits[at], *self.HISTORY[at + 1 :]]
        assert prefix_digests(edited)[at:] != prefix_digests(self.HISTORY)[at:]
        assert prefix_digests(edited)[:at] == prefix_digests(self.HISTORY)[:at]


class TestRequestForASummary:
    HISTORY = (
        SystemMessage("Be brief."),
        UserMessage((Text("Tide?"), Image("image/png", "aGk="), Document("application/pdf", "tide.pdf", "aGk="))),
        AssistantMessage((Reasoning("Hm"), Text("I look."), ToolCall("a", "tide", '{"port":"Whitby"}'))),
        ToolMessage("a", "tide", "high at noon"),
        AssistantMessage((Text("At noon."), Source("s", "https://tides.example", "Tides"))),
    )

    def prompt(self, room: float = 1e6, before: str = "", history: Sequence[Message] = HISTORY) -> str:
        request = summary_request(history, before, "cheap", 100, room, 9.0)
        assert (request.model_id, request.max_tokens, request.deadline, request.tools) == ("cheap", 100, 9.0, ())
        (message,) = request.messages
        assert isinstance(message, UserMessage)
        (text,) = message.parts
        assert isinstance(text, Text)
        return text.text

    def test_tells_what_was_said_called_and_shown(self) -> None:
        assert self.prompt().split("\n\n") == [
            "User: Tide? [an image] [a document tide.pdf]",
            'Assistant: I look. [calls tide with {"port":"Whitby"}]',
            "Result of tide: high at noon",
            "Assistant: At noon. [source: Tides https://tides.example]",
        ]

    def test_leaves_out_what_is_said_of_one_request_alone(self) -> None:
        assert "noon" not in self.prompt(history=(UserMessage((Text("Tide?"), VolatilePart("It is noon."))),))

    def test_marks_nothing_for_a_prompt_cache_as_nobody_asks_it_again(self) -> None:
        assert not summary_request(self.HISTORY, "", "", 100, 1e6, 9.0).cache

    def test_begins_with_the_summary_before(self) -> None:
        assert self.prompt(before="They sail.").startswith("Summary of what was before: They sail.\n\nUser: Tide?")

    @given(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=30), room=st.integers(50, 2000))
    def test_is_no_longer_than_the_model_takes(self, sizes: list[int], room: int) -> None:
        history = [UserMessage((Text("word " * size),)) for size in sizes]
        prompt = self.prompt(room, history=history)
        assert estimate_tokens(prompt) <= room * 1.2 + 20

    def test_keeps_short_messages_whole_beside_a_long_one(self) -> None:
        history: list[Message] = [UserMessage((Text("My name is Ada."),)), ToolMessage("a", "read", "x" * 99_999)]
        prompt = self.prompt(1000, history=history)
        assert "My name is Ada." in prompt
        assert len(prompt) < 5000
