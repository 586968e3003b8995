"""Conversation (the agent loop): ask the model, run its tools, ask again."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from tests.chat.conversations import histories
from tests.chat.fakes import FakeProvider, RecordingEmit, SleepingTools, SleepingTurn, Step, answer, calls_tools, pause
from tests.chat.formats.wire import read
from tests.chat.formats.writers import WRITERS
from tests.clock import jumping
from winterbourne.chat.core.answer_messages import messages_of
from winterbourne.chat.core.conversation import CONTINUE_REQUEST, TOOLS_DISABLED_MESSAGE, Conversation
from winterbourne.chat.core.events import (
    ConversationEnded,
    ConversationStarted,
    Emit,
    ModelEvent,
    ReasoningDelta,
    ReasoningEnded,
    StopReason,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallReady,
    ToolCallStarted,
    ToolFinished,
    ToolStarted,
    TurnEnded,
    TurnRetracted,
    TurnStarted,
    Usage,
)
from winterbourne.chat.core.history import normalize_history, undecided_result
from winterbourne.chat.core.messages import (
    Approval,
    AssistantMessage,
    ChatRequest,
    Decision,
    Message,
    OutputSchema,
    Reasoning,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UserMessage,
    VolatilePart,
)
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.core.tools import Tools
from winterbourne.chat.core.usage import estimate_input
from winterbourne.chat.errors import (
    InvalidOutput,
    ModelBusy,
    ModelError,
    ModelInputTooLong,
    ModelStreamTruncated,
    RateLimitExceeded,
)
from winterbourne.chat.formats import ag_ui, ai_sdk, native, openai
from winterbourne.chat.formats.base import Format
from winterbourne.override import override

FORMATS: tuple[Format, ...] = (native.FORMAT, ai_sdk.FORMAT, ag_ui.FORMAT, openai.FORMAT)
HELLO = UserMessage((Text("hello"),))
REQUEST = ChatRequest(messages=(HELLO,), conversation_id="c", message_id="m")


def conversation(
    emitted: RecordingEmit,
    provider: FakeProvider,
    on_message: Callable[[Message], None] = lambda _: None,
    max_turns: int = 10,
    request: ChatRequest = REQUEST,
    on_usage: Callable[[Usage], None] = lambda _: None,
) -> Conversation:
    return Conversation(
        request=request,
        provider=provider,
        tools=SleepingTools(),
        emit=emitted,
        on_message=on_message,
        on_usage=on_usage,
        max_turns=max_turns,
    )


class NoTools:
    """Tools of which none may be called."""

    schemas = ()


class TestThePrompt:
    """Each request of a conversation begins like the one before it, so that a provider can cache it."""

    @jumping
    async def test_has_the_tools_by_their_names(self) -> None:
        client_tools = tuple(ToolSchema(name, "", {}) for name in ("zoom", "ask"))
        provider = FakeProvider(answer("hi"))
        request = msgspec.structs.replace(REQUEST, client_tools=client_tools)
        await conversation(RecordingEmit(), provider, request=request).run()
        names = [tool.name for tool in provider.requests[0].tools]
        assert names == sorted(names)
        assert {"ask", "zoom"} < {*names}

    @jumping
    async def test_has_what_changes_at_the_end_of_the_newest_question_and_keeps_none_of_it(self) -> None:
        kept: list[Message] = []
        provider = FakeProvider(calls_tools(("a", "sleep", "0")), answer("hi"))
        older = (UserMessage((Text("Hello?"),)), AssistantMessage((Text("Yes."),)))
        request = msgspec.structs.replace(REQUEST, messages=(*older, HELLO), context="It is noon.")
        await conversation(RecordingEmit(), provider, kept.append, request=request).run()
        told = UserMessage((Text("hello"), VolatilePart("\n\nIt is noon.")))
        assert [each.messages[:3] for each in provider.requests] == [(*older, told)] * 2
        assert "noon" not in str(kept)

    @jumping
    @pytest.mark.parametrize(("is_named", "expected"), [(True, "c"), (False, "")])
    async def test_is_of_the_conversation_that_its_client_names(self, expected: str, *, is_named: bool) -> None:
        chat = conversation(RecordingEmit(), provider := FakeProvider(answer("hi")))
        chat.is_named = is_named
        await chat.run()
        assert (provider.requests[0].conversation_id, provider.requests[0].cache) == (expected, True)


class TestAnswerWithoutTools:
    @jumping
    async def test_is_emitted_from_start_to_end(self) -> None:
        emitted = RecordingEmit()
        await conversation(emitted, FakeProvider(answer("hi"))).run()
        assert emitted == [
            ConversationStarted("c", "m", "script"),
            TurnStarted(1),
            TextDelta("hi"),
            TurnEnded("stop", Usage(2, 3)),
            ConversationEnded("stop", Usage(2, 3), 1),
        ]

    @jumping
    async def test_has_the_text_that_arrives_in_the_same_read_as_the_end_of_the_turn(self) -> None:
        emitted, stored, ended = RecordingEmit(), list[Message](), TurnEnded("stop", Usage(1, 1))
        await conversation(emitted, FakeProvider([[TextDelta("hi"), ended]]), stored.append).run()
        assert emitted[2:4] == [TextDelta("hi"), ended]
        assert stored == [AssistantMessage((Text("hi"),), "m", usage=Usage(1, 1))]

    @jumping
    async def test_sends_what_happens_at_once_in_one_batch(self) -> None:
        emitted = RecordingEmit()
        await conversation(emitted, FakeProvider(calls_tools(("a", "sleep", "0")), answer("hi"))).run()
        names = [[type(event).__name__ for event in batch] for batch in emitted.batches]
        assert names[0] == ["ConversationStarted", "TurnStarted"]
        assert ["TurnEnded", "TurnStarted"] in names
        assert names[-1] == ["TurnEnded", "ConversationEnded"]

    @jumping
    async def test_makes_no_group_of_tool_calls(self) -> None:
        """There is nothing to wait for, and nothing to cancel."""
        chat = conversation(RecordingEmit(), FakeProvider(answer("hi")))
        chat.tools = cast("Tools", NoTools())
        await chat.run()

    @jumping
    async def test_is_stored_whole(self) -> None:
        stored: list[Message] = []
        await conversation(RecordingEmit(), FakeProvider(answer("hi")), stored.append).run()
        assert stored == [AssistantMessage((Text("hi"),), "m", usage=Usage(2, 3))]

    @jumping
    async def test_is_emitted_in_the_loop_iteration_in_which_the_provider_yields_it(self) -> None:
        order: list[str] = []

        async def emit(batch: object) -> None:
            order.append("out" if batch == [TextDelta("hi")] else "other")

        async def read() -> None:
            asyncio.get_running_loop().call_soon(order.append, "next turn of the loop")

        provider = FakeProvider([read, [TextDelta("hi")], [TurnEnded("stop")]])
        chat = conversation(RecordingEmit(), provider)
        await Conversation(
            request=chat.request,
            provider=provider,
            tools=chat.tools,
            emit=emit,
            on_message=chat.on_message,
            on_usage=chat.on_usage,
            max_turns=1,
        ).run()
        await asyncio.sleep(0)
        assert order.index("out") < order.index("next turn of the loop")

    @pytest.mark.parametrize("reason", ["max_tokens", "content_filter", "refusal"])
    def test_ends_with_the_models_own_stop_reason(self, reason: str) -> None:
        emitted = RecordingEmit()
        turn: list[Step] = [[TextDelta("hi")], [TurnEnded(reason, Usage(1, 1))]]  # type: ignore[arg-type]  # parametrized
        asyncio.run(conversation(emitted, FakeProvider(turn)).run())
        assert emitted[-1] == ConversationEnded(reason, Usage(1, 1), 1)  # type: ignore[arg-type]  # parametrized


class TestSuccessiveToolCalls:
    """The model calls a slow and a quick tool and keeps streaming."""

    PROVIDER = staticmethod(
        lambda: FakeProvider(
            [
                [ToolCallReady("a", "sleep", "3")],
                pause(1),
                [ToolCallReady("b", "sleep", "1")],
                pause(1),
                [TurnEnded("tool_calls")],
            ],
            answer("done"),
        )
    )

    @jumping
    async def test_each_starts_when_its_call_is_complete(self) -> None:
        emitted, began = RecordingEmit(), asyncio.get_running_loop().time()
        await conversation(emitted, self.PROVIDER()).run()
        assert emitted.time_of(ToolStarted("a", "sleep")) - began == pytest.approx(0, abs=0.1)
        assert emitted.time_of(ToolStarted("b", "sleep")) - began == pytest.approx(1, abs=0.1)

    @jumping
    async def test_each_result_is_emitted_when_it_is_ready(self) -> None:
        emitted = RecordingEmit()
        await conversation(emitted, self.PROVIDER()).run()
        finished = [event.id for event in emitted if isinstance(event, ToolFinished)]
        assert finished == ["b", "a"]

    @jumping
    async def test_the_model_gets_the_results_in_the_order_of_its_calls(self) -> None:
        provider = self.PROVIDER()
        await conversation(RecordingEmit(), provider).run()
        assert provider.requests[1].messages == (
            HELLO,
            AssistantMessage((ToolCall("a", "sleep", "3"), ToolCall("b", "sleep", "1")), "m"),
            ToolMessage("a", "sleep", "3"),
            ToolMessage("b", "sleep", "1"),
        )

    @jumping
    async def test_usage_of_all_turns_is_added_up(self) -> None:
        emitted = RecordingEmit()
        await conversation(emitted, FakeProvider(calls_tools(("a", "sleep", "1")), answer("done"))).run()
        assert emitted[-1] == ConversationEnded("stop", Usage(3, 4), 2)


class TestMessagesOfEvents:
    """At every moment, what is streamed has in it what has been handed to `on_message`, and the turn under way."""

    @jumping
    async def test_are_the_turn_so_far_and_the_results_so_far(self) -> None:
        steps: list[Step] = [
            pause(1),
            [ReasoningDelta("hm"), TextDelta("let me ")],
            pause(1),
            [TextDelta("see"), ToolCallStarted("a", "sleep"), ToolCallReady("a", "sleep", "3")],
            [ToolCallStarted("b", "sleep"), ToolCallReady("b", "sleep", "1")],
            pause(2),
            [TurnEnded("tool_calls")],
        ]
        said: list[Message] = []
        emitted = RecordingEmit()
        running = conversation(emitted, FakeProvider(steps, [[TextDelta("so")], pause(1)]), said.append)
        task = asyncio.create_task(running.run())
        drafts: list[Sequence[Message | None]] = []
        for _ in range(6):
            await asyncio.sleep(0.9 if not drafts else 1)
            drafts.append(messages_of(emitted))
        calls = ToolCall("a", "sleep", "3"), ToolCall("b", "sleep", "1")
        parts = (Reasoning("hm"), Text("let me see"), *calls)
        result = ToolMessage("b", "sleep", "1")
        assert drafts[0] == []
        assert drafts[1] == [AssistantMessage((Reasoning("hm"), Text("let me ")), "m", incomplete=True)]
        assert drafts[2] == [AssistantMessage(parts, "m", incomplete=True)]
        assert drafts[3] == drafts[4] == [AssistantMessage(parts, "m", incomplete=True), result]
        assert said == [AssistantMessage(parts, "m"), ToolMessage("a", "sleep", "3"), result]
        assert drafts[5] == [*said, AssistantMessage((Text("so"),), "m", incomplete=True)]
        with pytest.raises(ModelStreamTruncated):
            await task
        assert messages_of(emitted) == said

    @jumping
    async def test_are_in_the_end_what_the_conversation_has_said(self) -> None:
        said: list[Message] = []
        emitted = RecordingEmit()
        turns = calls_tools(("a", "sleep", "2"), ("b", "sleep", "1")), calls_tools(("c", "sleep", "1")), answer("done")
        await conversation(emitted, FakeProvider(*turns), said.append).run()
        assert messages_of(emitted) == said
        assert isinstance(said[-1], AssistantMessage)
        assert said[-1].usage == Usage(4, 5)
        assert [isinstance(one, AssistantMessage) and bool(one.usage) for one in said[:-1]] == [False] * 5


class TestTurns:
    @jumping
    async def test_end_at_max_turns(self) -> None:
        emitted = RecordingEmit()
        turns = [calls_tools((str(number), "sleep", "0")) for number in range(3)]
        await conversation(emitted, FakeProvider(*turns), max_turns=3).run()
        assert emitted[-1] == ConversationEnded("max_turns", Usage(3, 3), 3)

    @jumping
    async def test_that_stop_for_tool_calls_but_made_none_end_normally(self) -> None:
        """A client that gets the stop reason `tool_calls` looks for calls."""
        emitted = RecordingEmit()
        await conversation(emitted, FakeProvider([[TextDelta("hi")], [TurnEnded("tool_calls", Usage(1, 1))]])).run()
        assert emitted[-1] == ConversationEnded("stop", Usage(1, 1), 1)

    @jumping
    async def test_a_forced_tool_choice_holds_for_the_first_turn_only(self) -> None:
        provider = FakeProvider(calls_tools(("a", "sleep", "0")), answer("done"))
        request = ChatRequest(messages=(HELLO,), tool_choice="required")
        await conversation(RecordingEmit(), provider, request=request).run()
        assert [request.tool_choice for request in provider.requests] == ["required", "auto"]

    @jumping
    async def test_a_paused_turn_is_resumed(self) -> None:
        provider = FakeProvider([[TextDelta("let me ")], [TurnEnded("pause")]], answer("see"))
        await conversation(RecordingEmit(), provider).run()
        assert provider.requests[1].messages[1:] == (AssistantMessage((Text("let me "),), "m"),)

    @jumping
    async def test_tool_choice_none_holds_for_all_turns(self) -> None:
        provider = FakeProvider([[TextDelta("let me ")], [TurnEnded("pause")]], answer("see"))
        await conversation(RecordingEmit(), provider, request=ChatRequest(messages=(HELLO,), tool_choice="none")).run()
        assert [request.tool_choice for request in provider.requests] == ["none", "none"]

    @jumping
    async def test_reasoning_goes_back_with_its_signature(self) -> None:
        provider = FakeProvider(
            [
                [ReasoningDelta("hm"), ReasoningEnded("sig"), TextDelta("so")],
                [ToolCallReady("a", "sleep", "0")],
                [TurnEnded("tool_calls")],
            ],
            answer("done"),
        )
        await conversation(RecordingEmit(), provider).run()
        message = provider.requests[1].messages[1]
        assert isinstance(message, AssistantMessage)
        assert message.parts == (Reasoning("hm", "sig"), Text("so"), ToolCall("a", "sleep", "0"))


@st.composite
def turns(draw: st.DrawFn) -> list[Step]:
    """A turn of any content that a provider may stream; its calls run for as long as they like."""
    ids = draw(st.sampled_from(["", "a", "ab", "abc"]))  # used again in the next turn, as some providers do
    said: list[ModelEvent] = draw(st.sampled_from([[], [TextDelta("so")], [ReasoningDelta("hm"), ReasoningEnded("s")]]))
    calls: list[ModelEvent] = [ToolCallReady(id_, "sleep", str(draw(st.integers(0, 3)))) for id_ in ids]
    ended = TurnEnded(draw(st.sampled_from(["stop", "tool_calls", "pause"])))
    return [[*said, *calls, ended]] if draw(st.booleans()) else [*([event] for event in (*said, *calls)), [ended]]


JSON = '{"a": 1}'
ASKS_FOR_JSON = ChatRequest(
    messages=(HELLO,), conversation_id="c", message_id="m", output=OutputSchema(schema={"required": ["a"]})
)


class TestStructuredOutput:
    @jumping
    async def test_is_sent_whole_at_the_end_of_its_turn(self) -> None:
        emitted, stored = RecordingEmit(), list[Message]()
        provider = FakeProvider([[TextDelta('{"a":')], [TextDelta(" 1}")], [TurnEnded("stop", Usage(2, 3))]])
        await conversation(emitted, provider, stored.append, request=ASKS_FOR_JSON).run()
        assert emitted[2:] == [
            TextDelta(JSON),
            TurnEnded("stop", Usage(2, 3)),
            ConversationEnded("stop", Usage(2, 3), 1),
        ]
        assert stored == [AssistantMessage((Text(JSON),), "m", usage=Usage(2, 3))]

    @jumping
    async def test_does_not_contain_what_is_said_before_tools_run(self) -> None:
        emitted, stored = RecordingEmit(), list[Message]()
        provider = FakeProvider([[TextDelta("Let me see.")], *calls_tools(("a", "sleep", "0"))], answer(JSON))
        await conversation(emitted, provider, stored.append, request=ASKS_FOR_JSON).run()
        assert [event for event in emitted if isinstance(event, TextDelta)] == [TextDelta(JSON)]
        assert [message.text for message in stored if isinstance(message, AssistantMessage)] == ["", JSON]

    @jumping
    async def test_is_mended_once_by_a_model_that_sees_what_was_wrong(self) -> None:
        emitted, stored = RecordingEmit(), list[Message]()
        provider = FakeProvider(answer("{}"), answer(JSON))
        await conversation(emitted, provider, stored.append, max_turns=1, request=ASKS_FOR_JSON).run()
        assert [event for event in emitted if isinstance(event, TextDelta)] == [TextDelta(JSON)]
        said, asked = provider.requests[1].messages[-2:]
        assert said == AssistantMessage((Text("{}"),))
        assert '"a" is a required property' in repr(asked)
        assert provider.requests[1].tool_choice == "none"
        assert stored == [AssistantMessage((Text(JSON),), "m", usage=Usage(4, 6))]

    @jumping
    async def test_that_stays_invalid_is_an_error_and_is_never_seen(self) -> None:
        emitted, stored = RecordingEmit(), list[Message]()
        with pytest.raises(InvalidOutput) as raised:
            await conversation(
                emitted, FakeProvider(answer("No."), answer("No!")), stored.append, request=ASKS_FOR_JSON
            ).run()
        assert raised.value.public_message == "The model's answer is not the JSON that was asked for."
        assert not any(isinstance(event, TextDelta) for event in emitted)
        assert stored == []

    @pytest.mark.parametrize("reason", ["max_tokens", "refusal", "content_filter"])
    def test_that_is_cut_refused_or_filtered_is_an_error_that_says_so(self, reason: StopReason) -> None:
        provider = FakeProvider([[TextDelta('{"a": ')], [TurnEnded(reason)]])
        with pytest.raises(InvalidOutput, match=reason):
            asyncio.run(conversation(RecordingEmit(), provider, request=ASKS_FOR_JSON).run())

    @jumping
    async def test_without_a_turn_left_to_answer_in_is_an_error(self) -> None:
        provider = FakeProvider(calls_tools(("a", "sleep", "0")))
        with pytest.raises(InvalidOutput, match="max_turns"):
            await conversation(RecordingEmit(), provider, max_turns=1, request=ASKS_FOR_JSON).run()

    @jumping
    async def test_is_no_matter_for_a_turn_that_calls_a_tool_of_the_clients(self) -> None:
        emitted = RecordingEmit()
        request = msgspec.structs.replace(ASKS_FOR_JSON, client_tools=(ToolSchema("ask_user", "", {}),))
        provider = FakeProvider([[TextDelta("Hm.")], *calls_tools(("a", "ask_user", "{}"))])
        await conversation(emitted, provider, request=request).run()
        assert emitted[-1] == ConversationEnded("tool_calls", Usage(1, 1), 1)
        assert not any(isinstance(event, TextDelta) for event in emitted)


class TestOneCallATurn:
    @jumping
    async def test_is_the_first_whatever_the_model_does(self) -> None:
        emitted, stored = RecordingEmit(), list[Message]()
        provider = FakeProvider(calls_tools(("a", "sleep", "0"), ("b", "sleep", "0")), answer("done"))
        request = msgspec.structs.replace(REQUEST, parallel_tool_calls=False)
        await conversation(emitted, provider, stored.append, request=request).run()
        assert [event.id for event in emitted if isinstance(event, ToolCallStarted | ToolFinished)] == ["a", "a"]
        assert [type(message) for message in stored] == [AssistantMessage, ToolMessage, AssistantMessage]


class TestForcedCallOfTheClients:
    """For the client, `required` means one of its own tools."""

    def choices(self, *client_tools: str, max_turns: int) -> list[str]:
        turns = [calls_tools((str(number), "sleep", "0")) for number in range(max_turns)]
        provider, tools = FakeProvider(*turns), tuple(ToolSchema(name, "", {}) for name in client_tools)
        request = ChatRequest(messages=(HELLO,), tool_choice="required", client_tools=tools)

        @jumping
        async def run() -> None:
            await conversation(RecordingEmit(), provider, max_turns=max_turns, request=request).run()

        run()
        return [request.tool_choice for request in provider.requests]

    def test_is_demanded_until_it_comes(self) -> None:
        assert self.choices("one", "two", max_turns=3) == ["required", "required", "required"]

    def test_is_of_its_only_tool_in_the_last_turn(self) -> None:
        assert self.choices("final_result", max_turns=2) == ["required", "final_result"]


class TestHistory:
    """What a provider is sent is normalized: it repairs nothing."""

    @pytest.mark.parametrize("wire_format", FORMATS, ids=lambda wire_format: wire_format.path)
    @given(data=st.data(), history=histories(), tool_choice=st.sampled_from(["auto", "none"]))
    def test_is_normalized_in_every_request(
        self, wire_format: Format, data: st.DataObject, history: tuple[Message, ...], tool_choice: str
    ) -> None:
        lost = data.draw(st.sets(st.sampled_from(range(len(history)))))
        carried = tuple(one for n, one in enumerate(history) if n not in lost or not isinstance(one, ToolMessage))
        request = read(wire_format, WRITERS[wire_format.path](carried))
        provider = FakeProvider(*data.draw(st.lists(turns(), max_size=3)), answer("done"))
        self.run(provider, msgspec.structs.replace(request, tool_choice=tool_choice))
        for sent in provider.requests:
            assert normalize_history(sent.messages) == sent.messages

    @staticmethod
    @jumping
    async def run(provider: FakeProvider, request: ChatRequest) -> None:
        await conversation(RecordingEmit(), provider, request=request).run()

    def test_has_no_turn_of_reasoning_alone(self) -> None:
        provider = FakeProvider([[ReasoningDelta("hm")], [TurnEnded("pause")]], answer("hi"))
        self.run(provider, REQUEST)
        assert provider.requests[1].messages == (HELLO,)

    def test_has_a_paused_turn_once_that_says_the_same_again(self) -> None:
        """To whoever reads it again, two equal turns of one answer are one and its copy."""
        paused = [TurnEnded("pause")]
        provider = FakeProvider([[TextDelta("so")], paused], [[TextDelta("so")], paused], answer("done"))
        self.run(provider, REQUEST)
        assert provider.requests[2].messages == (HELLO, AssistantMessage((Text("so"),), "m"))

    @jumping
    async def test_that_ends_with_an_answer_is_continued_by_the_user(self) -> None:
        provider = FakeProvider(answer("more"))
        messages = (HELLO, AssistantMessage((Text("so far"),)))
        await conversation(RecordingEmit(), provider, request=msgspec.structs.replace(REQUEST, messages=messages)).run()
        assert provider.requests[0].messages == (*messages, UserMessage((Text(CONTINUE_REQUEST),)))


class TestATurnThatIsTooLong:
    TOO_LONG = ModelInputTooLong("too long", 9)

    async def run(self, provider: FakeProvider, emitted: RecordingEmit) -> list[ModelInputTooLong | None]:
        """Why the conversation was compacted, each time."""
        reasons: list[ModelInputTooLong | None] = []

        async def compact(
            request: ModelRequest, refusal: ModelInputTooLong | None
        ) -> tuple[ModelRequest, Sequence[Usage]]:
            reasons.append(refusal)
            return msgspec.structs.replace(request, system="short"), [Usage(5, 1)]

        chat = conversation(emitted, provider)
        chat.compact = compact
        await chat.run()
        return reasons

    @jumping
    async def test_is_taken_once_more_with_less(self) -> None:
        emitted, provider = RecordingEmit(), FakeProvider([self.TOO_LONG], answer("hi"))
        assert await self.run(provider, emitted) == [self.TOO_LONG]
        assert [request.system for request in provider.requests] == ["", "short"]
        assert emitted[1:] == [
            TurnStarted(1),
            TextDelta("hi"),
            TurnEnded("stop", Usage(2, 3)),
            ConversationEnded("stop", Usage(7, 4, cost=None), 1),
        ]

    @jumping
    async def test_is_not_taken_again_once_it_has_said_something(self) -> None:
        emitted, provider = RecordingEmit(), FakeProvider([[TextDelta("So")], self.TOO_LONG], answer("hi"))
        with pytest.raises(ModelInputTooLong):
            await self.run(provider, emitted)
        assert len(provider.requests) == 1

    @jumping
    async def test_is_taken_again_if_all_of_it_was_taken_back(self) -> None:
        """Another model had to go on, whose window is smaller."""
        lost: list[Step] = [[TextDelta("So")], [TurnRetracted("openai:gpt")], self.TOO_LONG]
        emitted, provider = RecordingEmit(), FakeProvider(lost, answer("hi"))
        assert await self.run(provider, emitted) == [self.TOO_LONG]
        assert [request.system for request in provider.requests] == ["", "short"]
        assert emitted[2:-2] == [TextDelta("So"), TurnRetracted("openai:gpt"), TextDelta("hi")]

    @jumping
    async def test_fails_if_that_is_too_long_as_well(self) -> None:
        provider = FakeProvider([self.TOO_LONG], [self.TOO_LONG])
        with pytest.raises(ModelInputTooLong):
            await self.run(provider, RecordingEmit())

    @jumping
    async def test_is_not_looked_for_in_a_short_history(self) -> None:
        assert await self.run(FakeProvider(calls_tools(("a", "sleep", "0")), answer("hi")), RecordingEmit()) == []

    @jumping
    async def test_is_looked_for_before_each_turn_of_a_long_one(self) -> None:
        loop = [calls_tools((name, "sleep", "0")) for name in "ab"]
        assert await self.run(FakeProvider(*loop, answer("hi")), RecordingEmit()) == [None]


class TestToolChoiceNone:
    REQUEST = ChatRequest(messages=(HELLO,), tool_choice="none")

    @jumping
    async def test_runs_no_tool_even_if_the_model_calls_one(self) -> None:
        emitted, provider = RecordingEmit(), FakeProvider(calls_tools(("a", "sleep", "60")), answer("well then"))
        await conversation(emitted, provider, request=self.REQUEST).run()
        finished = [event for event in emitted if isinstance(event, ToolFinished)]
        assert finished == [ToolFinished("a", "sleep", "failed", 0, error=TOOLS_DISABLED_MESSAGE)]

    @jumping
    async def test_is_reported_to_the_model_as_the_result(self) -> None:
        provider = FakeProvider(calls_tools(("a", "sleep", "60")), answer("well then"))
        await conversation(RecordingEmit(), provider, request=self.REQUEST).run()
        assert provider.requests[1].messages[2:] == (ToolMessage("a", "sleep", TOOLS_DISABLED_MESSAGE, is_error=True),)


class TestClientTools:
    @jumping
    async def test_are_not_run_here_and_end_the_conversation(self) -> None:
        emitted = RecordingEmit()
        request = ChatRequest(messages=(HELLO,), client_tools=(ToolSchema("theirs", "", {"type": "object"}),))
        await conversation(emitted, FakeProvider(calls_tools(("a", "theirs", "{}"))), request=request).run()
        assert not [event for event in emitted if isinstance(event, ToolStarted)]
        assert emitted[-1] == ConversationEnded("tool_calls", Usage(1, 1), 1)

    @jumping
    async def test_replace_server_tools_of_the_same_name(self) -> None:
        provider, theirs = (
            FakeProvider(calls_tools(("a", "sleep", "0"))),
            ToolSchema("sleep", "theirs", {"type": "object"}),
        )
        emitted = RecordingEmit()
        await conversation(emitted, provider, request=ChatRequest(messages=(HELLO,), client_tools=(theirs,))).run()
        assert [tool for tool in provider.requests[0].tools if tool.name == "sleep"] == [theirs]
        assert not [event for event in emitted if isinstance(event, ToolStarted)]


class TestFailedTurn:
    @jumping
    async def test_stores_the_partial_answer_marked_incomplete(self) -> None:
        stored: list[Message] = []
        provider = FakeProvider([[TextDelta("half")], ModelBusy("busy")])
        with pytest.raises(ModelError):
            await conversation(RecordingEmit(), provider, stored.append).run()
        assert stored == [AssistantMessage((Text("half"),), "m", incomplete=True)]

    @jumping
    async def test_stores_the_reasoning_so_far(self) -> None:
        stored: list[Message] = []
        provider = FakeProvider([[ReasoningDelta("hm, "), ReasoningDelta("well")], ModelBusy("busy")])
        with pytest.raises(ModelError):
            await conversation(RecordingEmit(), provider, stored.append).run()
        assert stored == [AssistantMessage((Reasoning("hm, well"),), "m", incomplete=True)]

    @jumping
    async def test_stores_a_result_for_every_call(self) -> None:
        stored: list[Message] = []
        provider = FakeProvider([[ToolCallReady("a", "sleep", "60")], pause(1), ModelBusy("busy")])
        with pytest.raises(ModelError):
            await conversation(RecordingEmit(), provider, stored.append).run()
        assert stored == [
            AssistantMessage((ToolCall("a", "sleep", "60"),), "m", incomplete=True),
            ToolMessage("a", "sleep", "cancelled", is_error=True),
        ]

    @jumping
    async def test_a_stream_without_the_end_of_the_turn_is_an_error(self) -> None:
        with pytest.raises(ModelStreamTruncated):
            await conversation(RecordingEmit(), FakeProvider([[TextDelta("half")]])).run()

    MESSAGES = (UserMessage((Text("x" * 400),)),)
    INPUT = estimate_input(ModelRequest(messages=MESSAGES, tools=SleepingTools.schemas))

    @jumping
    async def test_cancelled_while_tools_run_is_charged_the_reported_usage(self) -> None:
        """Otherwise a caller with a token limit could stop every request in time and never be charged."""
        usages: list[Usage] = []
        chat = conversation(RecordingEmit(), FakeProvider(calls_tools(("a", "sleep", "60"))), on_usage=usages.append)
        task = asyncio.create_task(chat.run())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert usages == [Usage(1, 1)]

    @pytest.mark.parametrize(
        ("reported", "input_tokens", "output_tokens"), [((0, 0), INPUT, 10), ((7, 0), 7, 10), ((0, 3), INPUT, 3)]
    )
    async def test_a_turn_without_usage_is_charged_an_estimate_and_told_it(
        self, reported: tuple[int, int], input_tokens: int, output_tokens: int
    ) -> None:
        emitted, usages, used = RecordingEmit(), list[Usage](), Usage(input_tokens, output_tokens)
        provider = FakeProvider([[TextDelta("x" * 40)], [TurnEnded("stop", Usage(*reported))]])
        request = ChatRequest(messages=self.MESSAGES)
        await conversation(emitted, provider, request=request, on_usage=usages.append).run()
        assert usages == [used]
        assert emitted[-2:] == [TurnEnded("stop", used), ConversationEnded("stop", used, 1)]

    @jumping
    async def test_of_each_turn_is_priced_by_its_model_and_summed_up(self) -> None:
        emitted, stored, usages = RecordingEmit(), list[Message](), list[Usage]()
        first: list[Step] = [*calls_tools(("a", "sleep", "0"))[:-1], [TurnEnded("tool_calls", Usage(9, 1), "one:m")]]
        provider = FakeProvider(first, [[TextDelta("b")], [TurnEnded("stop", Usage(9, 2))]])
        chat = conversation(emitted, provider, stored.append, on_usage=usages.append)
        chat.price = lambda model, usage: msgspec.structs.replace(usage, cost={"one:m": 0.1, "script:": 0.2}[model])
        await chat.run()
        assert usages == [Usage(9, 1, cost=0.1), Usage(9, 2, cost=0.2)]
        assert emitted[-1] == ConversationEnded("stop", Usage(18, 3, cost=0.3), 2)
        assert [each.usage for each in stored if isinstance(each, AssistantMessage)] == [UNSET, Usage(18, 3, cost=0.3)]

    @jumping
    async def test_costs_nothing_known_if_the_price_of_one_turn_is_not(self) -> None:
        emitted = RecordingEmit()
        chat = conversation(emitted, FakeProvider(calls_tools(("a", "sleep", "0")), answer("b")))
        costs = iter([0.1, None])
        chat.price = lambda _, usage: msgspec.structs.replace(usage, cost=next(costs))
        await chat.run()
        assert isinstance(emitted[-1], ConversationEnded)
        assert emitted[-1].usage.cost is None

    @jumping
    async def test_of_a_turn_that_failed_is_priced_as_that_of_the_model_that_was_asked(self) -> None:
        priced: list[tuple[str, Usage]] = []
        request = msgspec.structs.replace(REQUEST, model_id="large")
        chat = conversation(RecordingEmit(), FakeProvider([[TextDelta("x" * 40)], ModelBusy("busy")]), request=request)

        def price(model: str, usage: Usage) -> Usage:
            priced.append((model, usage))
            return usage

        chat.price = price
        with pytest.raises(ModelError):
            await chat.run()
        assert [(model, usage.output) for model, usage in priced] == [("script:large", 10)]

    async def test_before_each_turn_its_request_can_be_refused(self) -> None:
        """By a token limit, for one."""
        refused = RateLimitExceeded("5 tokens per day", 60)

        async def before_turn(request: ModelRequest) -> None:
            if isinstance(request.messages[-1], ToolMessage):
                raise refused

        provider = FakeProvider(calls_tools(("a", "sleep", "0")), answer("never asked for"))
        chat = conversation(RecordingEmit(), provider)
        chat.before_turn = before_turn
        with pytest.raises(RateLimitExceeded) as raised:
            await chat.run()
        assert raised.value is refused
        assert len(provider.requests) == 1

    @pytest.mark.parametrize(
        "event",
        [
            TextDelta("x" * 400),
            ReasoningDelta("x" * 400),
            ToolArgumentsDelta("a", "x" * 400),
        ],
    )
    def test_cancelled_before_usage_is_reported_is_charged_an_estimate(self, event: ModelEvent) -> None:
        """Otherwise a caller with a token limit could stop every answer just before its end."""

        @jumping
        async def run() -> None:
            assert await self.usage_when_cancelled([event], pause(60)) == [Usage(self.INPUT, 100)]

        run()

    @jumping
    async def test_cancelled_before_any_output_is_charged_the_input(self) -> None:
        assert await self.usage_when_cancelled(pause(60)) == [Usage(self.INPUT, 0)]

    @jumping
    async def test_failed_by_the_provider_is_charged_the_output_so_far(self) -> None:
        assert await self.usage_when_cancelled([TextDelta("x" * 40)], ModelBusy("busy")) == [Usage(self.INPUT, 10)]

    @jumping
    async def test_failed_by_the_provider_before_any_output_is_charged_nothing(self) -> None:
        assert await self.usage_when_cancelled(ModelBusy("busy")) == []

    @jumping
    async def test_is_charged_in_addition_to_the_turns_before_it(self) -> None:
        usages: list[Usage] = []
        provider = FakeProvider(calls_tools(("a", "sleep", "0")), [[TextDelta("x" * 40)], ModelBusy("busy")])
        with pytest.raises(ModelError):
            await conversation(RecordingEmit(), provider, on_usage=usages.append).run()
        assert usages[0] == Usage(1, 1)
        assert usages[1].output == 10

    async def usage_when_cancelled(self, *steps: Step) -> list[Usage]:
        """The usage of a turn that is cancelled after one second; its request has INPUT tokens, tools included."""
        usages: list[Usage] = []
        request = ChatRequest(messages=self.MESSAGES)
        task = asyncio.create_task(
            conversation(RecordingEmit(), FakeProvider([*steps]), request=request, on_usage=usages.append).run()
        )
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return usages

    @jumping
    async def test_cancelling_closes_the_provider_stream_and_cancels_the_tools(self) -> None:
        emitted, provider = RecordingEmit(), FakeProvider([[ToolCallReady("a", "sleep", "60")], pause(60)])
        task = asyncio.create_task(conversation(emitted, provider).run())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert provider.open == 0
        assert emitted[-1] == ToolFinished("a", "sleep", "cancelled", 0, error="cancelled")


class TestATurnThatIsBegunAnew:
    """By another model, because the first one failed: what it had said is void."""

    LOST: tuple[Step, ...] = ([TextDelta("x" * 40)], [TurnRetracted("openai:gpt")])

    async def test_is_kept_as_it_was_in_the_end(self) -> None:
        stored: list[Message] = []
        ended = TurnEnded("stop", Usage(2, 3), "anthropic:claude")
        provider = FakeProvider([*self.LOST, [TextDelta("hi")], [ended]])
        chat = conversation(RecordingEmit(), provider, stored.append)
        await chat.run()
        (turn,) = stored
        assert isinstance(turn, AssistantMessage)
        assert (turn.text, turn.incomplete) == ("hi", False)
        assert chat.log_fields == {"turns": 1, "answered_by": "anthropic:claude", "stop_reason": "stop"}

    async def test_costs_what_both_have_received(self) -> None:
        emitted, usages = RecordingEmit(), list[Usage]()
        provider = FakeProvider([*self.LOST, *answer("hi")])
        await conversation(emitted, provider, on_usage=usages.append).run()
        lost, used = usages
        assert (lost.output, used) == (10, Usage(2, 3))
        assert emitted[-1] == ConversationEnded("stop", Usage(lost.input + 2, 13), 1)

    async def test_is_priced_by_the_model_that_said_it(self) -> None:
        priced: list[tuple[str, int]] = []
        ended = TurnEnded("stop", Usage(2, 3), "anthropic:claude")
        emitted = RecordingEmit()
        chat = conversation(emitted, FakeProvider([*self.LOST, [ended]]))

        def price(model: str, usage: Usage) -> Usage:
            priced.append((model, usage.output))
            return msgspec.structs.replace(usage, cost=0.25)

        chat.price = price
        await chat.run()
        assert priced == [("openai:gpt", 10), ("anthropic:claude", 3)]
        assert isinstance(emitted[-1], ConversationEnded)
        assert emitted[-1].usage.cost == 0.5

    async def test_of_a_structured_answer_nothing_is_taken_back_that_was_not_shown(self) -> None:
        emitted = RecordingEmit()
        request = ChatRequest(messages=(UserMessage((Text("hi"),)),), output=OutputSchema())
        await conversation(emitted, FakeProvider([*self.LOST, *answer("{}")]), request=request).run()
        assert not any(isinstance(event, TurnRetracted) for event in emitted)
        assert [event for event in emitted if isinstance(event, TextDelta)] == [TextDelta("{}")]

    async def test_has_a_first_call_of_its_own(self) -> None:
        """Where one call of a turn is taken only."""
        lost: list[Step] = [[ToolCallStarted("0", "sleep")], [TurnRetracted("openai:gpt")]]
        emitted = RecordingEmit()
        request = ChatRequest(messages=(UserMessage((Text("hi"),)),), parallel_tool_calls=False)
        provider = FakeProvider([*lost, *calls_tools(("1", "sleep", "0"))], answer("3"))
        await conversation(emitted, provider, request=request).run()
        assert [event.id for event in emitted if isinstance(event, ToolCallReady)] == ["1"]

    async def test_is_charged_once_if_nothing_comes_after_it(self) -> None:
        usages: list[Usage] = []
        provider = FakeProvider([*self.LOST, ModelBusy("busy")])
        with pytest.raises(ModelBusy):
            await conversation(RecordingEmit(), provider, on_usage=usages.append).run()
        assert [used.output for used in usages] == [10]

    async def test_is_charged_as_one_if_its_model_itself_takes_it_back(self) -> None:
        usages: list[Usage] = []
        provider = FakeProvider([[TextDelta("x" * 40)], [TurnRetracted()], *answer("hi")])
        await conversation(RecordingEmit(), provider, on_usage=usages.append).run()
        assert usages == [Usage(2, 3)]

    async def test_what_can_be_dropped_and_who_has_failed_is_told_to_the_provider_in_each_turn(self) -> None:
        request = msgspec.structs.replace(REQUEST, retractable="everything")
        provider = FakeProvider(calls_tools(("a", "sleep", "0")), answer("hi"))
        await conversation(RecordingEmit(), provider, request=request).run()
        first, second = provider.requests
        first.failed.add("openai:gpt")
        assert second.failed == {"openai:gpt"}
        assert (first.retractable, second.retractable) == ("everything", "everything")
        other = FakeProvider(answer("hi"))
        await conversation(RecordingEmit(), other).run()
        assert other.requests[0].failed == set()


async def test_a_text_before_reasoning_that_is_cut_off_stays_before_it() -> None:
    messages: list[Message] = []
    provider = FakeProvider([[TextDelta("So."), ReasoningDelta("Hm")], ModelBusy("busy")])
    with pytest.raises(ModelBusy):
        await conversation(RecordingEmit(), provider, messages.append).run()
    assert messages == [AssistantMessage((Text("So."), Reasoning("Hm")), "m", incomplete=True)]


class AskingTools(SleepingTools):
    """Tools of which each call waits for a person, also after a decision if `asks_again`."""

    def __init__(self, *, asks_again: bool = False) -> None:
        self.asks_again = asks_again
        self.questions: list[object] = []

    @override
    def turn(self, emit: Emit, /, **fields: object) -> "AskingTurn":
        self.questions.append(fields["question"])
        return AskingTurn(emit, asks_again=self.asks_again)


class AskingTurn(SleepingTurn):
    def __init__(self, emit: Emit, *, asks_again: bool) -> None:
        super().__init__(emit)
        self._asked: dict[str, Approval] = {}
        self._asks_again = asks_again

    @override
    def start(self, call: ToolCall, decisions: Sequence[Decision] | None = None) -> None:
        if decisions is None or self._asks_again:
            self._asked[call.id] = Approval("id" if decisions is None else "id2", 9)
        else:
            super().start(call)

    @property
    @override
    def pending(self) -> Mapping[str, Approval]:
        return self._asked


class TestCallThatWaitsForAPerson:
    CALL = ToolCall("a", "sleep", "1", approval=Approval("id", 9))
    YES = Decision(approval_id="id", approved=True)

    def deciding(self, *messages: Message, **fields: object) -> ChatRequest:
        history = normalize_history((HELLO, AssistantMessage((self.CALL,), "m"), *messages))
        return msgspec.structs.replace(REQUEST, messages=history, decisions=(self.YES,), **fields)

    @jumping
    async def test_ends_the_answer_and_is_stored_with_what_was_asked(self) -> None:
        emitted, stored = RecordingEmit(), list[Message]()
        chat = conversation(emitted, FakeProvider(calls_tools(("a", "sleep", "1"))), stored.append)
        chat.tools = AskingTools()
        await chat.run()
        assert emitted[-1] == ConversationEnded("approval", Usage(1, 1), 1)
        assert stored == [AssistantMessage((self.CALL,), "m", usage=Usage(1, 1))]
        assert chat.log_fields["stop_reason"] == "approval"

    @jumping
    async def test_is_run_before_the_model_is_asked(self) -> None:
        emitted, stored, provider = RecordingEmit(), list[Message](), FakeProvider(answer("hi"))
        await conversation(emitted, provider, stored.append, request=self.deciding()).run()
        assert [type(event) for event in emitted[:4]] == [ConversationStarted, ToolStarted, ToolFinished, TurnStarted]
        result = ToolMessage("a", "sleep", "1")
        assert provider.requests[0].messages[-1] == stored[0] == result

    @jumping
    async def test_that_has_its_result_already_only_goes_on(self) -> None:
        emitted, result = RecordingEmit(), ToolMessage("a", "sleep", "1")
        await conversation(emitted, FakeProvider(answer("hi")), request=self.deciding(result)).run()
        assert [type(event) for event in emitted[:2]] == [ConversationStarted, TurnStarted]

    @jumping
    async def test_that_asks_again_ends_the_answer_again(self) -> None:
        emitted, stored = RecordingEmit(), list[Message]()
        chat = conversation(emitted, FakeProvider(), stored.append, request=self.deciding())
        chat.tools = AskingTools(asks_again=True)
        await chat.run()
        assert emitted[-1] == ConversationEnded("approval", Usage(), 0)
        assert stored == [undecided_result(self.CALL, Approval("id2", 9))]

    @jumping
    async def test_that_is_stopped_has_its_result_stored(self) -> None:
        stored = list[Message]()
        run = conversation(RecordingEmit(), FakeProvider(), stored.append, request=self.deciding()).run()
        task = asyncio.create_task(run)
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert stored == [ToolMessage("a", "sleep", "cancelled", is_error=True)]

    @jumping
    async def test_of_the_clients_own_tools_is_not_decided(self) -> None:
        emitted, schema = RecordingEmit(), ToolSchema("sleep", "", {})
        request = self.deciding(client_tools=(schema,))
        await conversation(emitted, FakeProvider(answer("hi")), request=request).run()
        assert ToolStarted("a", "sleep") not in emitted

    @jumping
    async def test_knows_the_question_it_is_for_wherever_the_answer_stands(self) -> None:
        tools = AskingTools()
        for request in (REQUEST, self.deciding(), REQUEST):
            turns = [calls_tools(("a", "sleep", "1"))] if not request.decisions else [answer("hi")]
            chat = conversation(RecordingEmit(), FakeProvider(*turns), request=request)
            chat.tools = tools
            await chat.run()
        other = msgspec.structs.replace(REQUEST, messages=(HELLO, AssistantMessage((Text("x"),)), HELLO))
        chat = conversation(RecordingEmit(), FakeProvider(calls_tools(("a", "sleep", "1"))), request=other)
        chat.tools = tools
        await chat.run()
        assert len(set(tools.questions[:3])) == 1
        assert len(set(tools.questions)) == 2
