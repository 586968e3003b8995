"""The agent loop: ask the model, run its tools, ask again."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from tests.chat.fakes import FakeProvider, RecordingEmit, SleepingTools, Step, answer, calls_tools, pause
from tests.clock import jumping
from winterbourne.chat.core.conversation import TOOLS_DISABLED_MESSAGE, Conversation
from winterbourne.chat.core.events import (
    ConversationEnded,
    ConversationStarted,
    ModelEvent,
    ReasoningDelta,
    ReasoningEnded,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallReady,
    ToolFinished,
    ToolStarted,
    TurnEnded,
    TurnStarted,
    Usage,
)
from winterbourne.chat.core.messages import (
    AssistantMessage,
    ChatRequest,
    Message,
    Reasoning,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UserMessage,
)
from winterbourne.chat.errors import ModelBusy, ModelError, ModelStreamTruncated

HELLO = UserMessage((Text("hello"),))
REQUEST = ChatRequest(messages=(HELLO,), conversation_id="c", message_id="m")


def conversation(
    heard: RecordingEmit,
    model: FakeProvider,
    on_message: Callable[[Message], None] = lambda _: None,
    max_turns: int = 10,
    request: ChatRequest = REQUEST,
    on_usage: Callable[[Usage], None] = lambda _: None,
) -> Conversation:
    return Conversation(
        request=request,
        provider=model,
        tools=SleepingTools(),
        emit=heard,
        on_message=on_message,
        on_usage=on_usage,
        max_turns=max_turns,
    )


class TestAnAnswerWithoutTools:
    @jumping
    async def test_is_said_from_start_to_end(self) -> None:
        heard = RecordingEmit()
        await conversation(heard, FakeProvider(answer("hi"))).run()
        assert heard == [
            ConversationStarted("c", "m", "script"),
            TurnStarted(1),
            TextDelta("hi"),
            TurnEnded("stop", Usage(2, 3)),
            ConversationEnded("stop", Usage(2, 3), 1),
        ]

    @jumping
    async def test_is_kept_whole(self) -> None:
        kept: list[Message] = []
        await conversation(RecordingEmit(), FakeProvider(answer("hi")), kept.append).run()
        assert kept == [AssistantMessage((Text("hi"),), "m")]

    @jumping
    async def test_leaves_in_the_loop_turn_in_which_the_model_gave_it(self) -> None:
        order: list[str] = []

        async def emit(batch: object) -> None:
            order.append("out" if batch == [TextDelta("hi")] else "other")

        async def read() -> None:
            asyncio.get_running_loop().call_soon(order.append, "next turn of the loop")

        model = FakeProvider([read, [TextDelta("hi")], [TurnEnded("stop")]])
        chat = conversation(RecordingEmit(), model)
        await Conversation(
            request=chat.request,
            provider=model,
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
        heard = RecordingEmit()
        turn: list[Step] = [[TextDelta("hi")], [TurnEnded(reason)]]  # type: ignore[arg-type]  # parametrized
        asyncio.run(conversation(heard, FakeProvider(turn)).run())
        assert heard[-1] == ConversationEnded(reason, Usage(), 1)  # type: ignore[arg-type]  # parametrized


class TestToolsAskedForOneAfterAnother:
    """The model calls a slow and a quick tool and keeps streaming."""

    MODEL = staticmethod(
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
        heard, began = RecordingEmit(), asyncio.get_running_loop().time()
        await conversation(heard, self.MODEL()).run()
        assert heard.time_of(ToolStarted("a", "sleep")) - began == pytest.approx(0, abs=0.1)
        assert heard.time_of(ToolStarted("b", "sleep")) - began == pytest.approx(1, abs=0.1)

    @jumping
    async def test_each_result_is_said_when_it_is_there(self) -> None:
        heard = RecordingEmit()
        await conversation(heard, self.MODEL()).run()
        finished = [event.id for event in heard if isinstance(event, ToolFinished)]
        assert finished == ["b", "a"]

    @jumping
    async def test_the_model_hears_the_results_in_the_order_of_its_calls(self) -> None:
        model = self.MODEL()
        await conversation(RecordingEmit(), model).run()
        assert model.requests[1].messages == (
            HELLO,
            AssistantMessage((ToolCall("a", "sleep", "3"), ToolCall("b", "sleep", "1")), "m"),
            ToolMessage("a", "sleep", "3"),
            ToolMessage("b", "sleep", "1"),
        )

    @jumping
    async def test_usage_of_all_turns_is_added_up(self) -> None:
        heard = RecordingEmit()
        await conversation(heard, FakeProvider(calls_tools(("a", "sleep", "1")), answer("done"))).run()
        assert heard[-1] == ConversationEnded("stop", Usage(3, 4), 2)


class TestTurns:
    @jumping
    async def test_end_at_max_turns(self) -> None:
        heard = RecordingEmit()
        turns = [calls_tools((str(number), "sleep", "0")) for number in range(3)]
        await conversation(heard, FakeProvider(*turns), max_turns=3).run()
        assert heard[-1] == ConversationEnded("max_turns", Usage(3, 3), 3)

    @jumping
    async def test_for_calls_that_the_model_did_not_make_are_a_plain_end(self) -> None:
        """A client that gets the stop reason `tool_calls` looks for calls."""
        heard = RecordingEmit()
        await conversation(heard, FakeProvider([[TextDelta("hi")], [TurnEnded("tool_calls")]])).run()
        assert heard[-1] == ConversationEnded("stop", Usage(), 1)

    @jumping
    async def test_a_forced_tool_choice_holds_for_the_first_turn_only(self) -> None:
        model = FakeProvider(calls_tools(("a", "sleep", "0")), answer("done"))
        request = ChatRequest(messages=(HELLO,), tool_choice="required")
        await conversation(RecordingEmit(), model, request=request).run()
        assert [request.tool_choice for request in model.requests] == ["required", "auto"]

    @jumping
    async def test_a_paused_turn_is_taken_up_again(self) -> None:
        model = FakeProvider([[TextDelta("let me ")], [TurnEnded("pause")]], answer("see"))
        await conversation(RecordingEmit(), model).run()
        assert model.requests[1].messages[1:] == (AssistantMessage((Text("let me "),), "m"),)

    @jumping
    async def test_a_choice_of_no_tool_holds_for_all_of_them(self) -> None:
        model = FakeProvider([[TextDelta("let me ")], [TurnEnded("pause")]], answer("see"))
        await conversation(RecordingEmit(), model, request=ChatRequest(messages=(HELLO,), tool_choice="none")).run()
        assert [request.tool_choice for request in model.requests] == ["none", "none"]

    @jumping
    async def test_reasoning_goes_back_with_its_signature(self) -> None:
        model = FakeProvider(
            [
                [ReasoningDelta("hm"), ReasoningEnded("sig"), TextDelta("so")],
                [ToolCallReady("a", "sleep", "0")],
                [TurnEnded("tool_calls")],
            ],
            answer("done"),
        )
        await conversation(RecordingEmit(), model).run()
        said = model.requests[1].messages[1]
        assert isinstance(said, AssistantMessage)
        assert said.parts == (Reasoning("hm", "sig"), Text("so"), ToolCall("a", "sleep", "0"))


class TestAChoiceOfNoTool:
    REQUEST = ChatRequest(messages=(HELLO,), tool_choice="none")

    @jumping
    async def test_runs_none_where_the_model_asks_for_one_all_the_same(self) -> None:
        heard, model = RecordingEmit(), FakeProvider(calls_tools(("a", "sleep", "60")), answer("well then"))
        await conversation(heard, model, request=self.REQUEST).run()
        finished = [event for event in heard if isinstance(event, ToolFinished)]
        assert finished == [ToolFinished("a", "sleep", "failed", 0, error=TOOLS_DISABLED_MESSAGE)]

    @jumping
    async def test_is_told_to_the_model_as_the_result(self) -> None:
        model = FakeProvider(calls_tools(("a", "sleep", "60")), answer("well then"))
        await conversation(RecordingEmit(), model, request=self.REQUEST).run()
        assert model.requests[1].messages[2:] == (ToolMessage("a", "sleep", TOOLS_DISABLED_MESSAGE, is_error=True),)


class TestTheCallersOwnTools:
    @jumping
    async def test_are_not_run_here_and_end_the_conversation(self) -> None:
        heard = RecordingEmit()
        request = ChatRequest(messages=(HELLO,), client_tools=(ToolSchema("theirs", "", {"type": "object"}),))
        await conversation(heard, FakeProvider(calls_tools(("a", "theirs", "{}"))), request=request).run()
        assert not [event for event in heard if isinstance(event, ToolStarted)]
        assert heard[-1] == ConversationEnded("tool_calls", Usage(1, 1), 1)

    @jumping
    async def test_take_the_place_of_ours_of_the_same_name(self) -> None:
        model, theirs = (
            FakeProvider(calls_tools(("a", "sleep", "0"))),
            ToolSchema("sleep", "theirs", {"type": "object"}),
        )
        heard = RecordingEmit()
        await conversation(heard, model, request=ChatRequest(messages=(HELLO,), client_tools=(theirs,))).run()
        assert [tool for tool in model.requests[0].tools if tool.name == "sleep"] == [theirs]
        assert not [event for event in heard if isinstance(event, ToolStarted)]


class TestATurnThatBreaks:
    @jumping
    async def test_keeps_what_was_said_marked_incomplete(self) -> None:
        kept: list[Message] = []
        model = FakeProvider([[TextDelta("half")], ModelBusy("busy")])
        with pytest.raises(ModelError):
            await conversation(RecordingEmit(), model, kept.append).run()
        assert kept == [AssistantMessage((Text("half"),), "m", incomplete=True)]

    @jumping
    async def test_gives_every_call_it_made_a_result(self) -> None:
        kept: list[Message] = []
        model = FakeProvider([[ToolCallReady("a", "sleep", "60")], pause(1), ModelBusy("busy")])
        with pytest.raises(ModelError):
            await conversation(RecordingEmit(), model, kept.append).run()
        assert kept == [
            AssistantMessage((ToolCall("a", "sleep", "60"),), "m", incomplete=True),
            ToolMessage("a", "sleep", "cancelled", is_error=True),
        ]

    @jumping
    async def test_an_end_without_the_models_own_end_is_an_error(self) -> None:
        with pytest.raises(ModelStreamTruncated):
            await conversation(RecordingEmit(), FakeProvider([[TextDelta("half")]])).run()

    @jumping
    async def test_while_its_tools_run_has_spent_what_the_model_used(self) -> None:
        """Otherwise a caller with a token limit could stop every request in time and never be charged."""
        spent: list[Usage] = []
        chat = conversation(RecordingEmit(), FakeProvider(calls_tools(("a", "sleep", "60"))), on_usage=spent.append)
        task = asyncio.create_task(chat.run())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert spent == [Usage(1, 1)]

    @pytest.mark.parametrize(
        "said",
        [
            TextDelta("x" * 400),
            ReasoningDelta("x" * 400),
            ToolArgumentsDelta("a", "x" * 400),
        ],
    )
    def test_before_the_model_said_what_it_used_has_spent_an_estimate(self, said: ModelEvent) -> None:
        """Otherwise a caller with a token limit could stop every answer just before its end."""

        @jumping
        async def run() -> None:
            assert await self.spent_when_cancelled([said], pause(60)) == [Usage(100, 100)]

        run()

    @jumping
    async def test_before_the_model_said_a_word_has_spent_what_was_asked(self) -> None:
        assert await self.spent_when_cancelled(pause(60)) == [Usage(100, 0)]

    @jumping
    async def test_by_the_models_fault_has_spent_what_was_said(self) -> None:
        assert await self.spent_when_cancelled([TextDelta("x" * 40)], ModelBusy("busy")) == [Usage(100, 10)]

    @jumping
    async def test_without_a_word_by_the_models_fault_has_spent_nothing(self) -> None:
        assert await self.spent_when_cancelled(ModelBusy("busy")) == []

    @jumping
    async def test_has_spent_what_the_turns_before_it_used_too(self) -> None:
        spent: list[Usage] = []
        model = FakeProvider(calls_tools(("a", "sleep", "0")), [[TextDelta("x" * 40)], ModelBusy("busy")])
        with pytest.raises(ModelError):
            await conversation(RecordingEmit(), model, on_usage=spent.append).run()
        assert spent[0] == Usage(1, 1)
        assert spent[1].output == 10

    async def spent_when_cancelled(self, *steps: Step) -> list[Usage]:
        """The usage of a turn that is cancelled after one second; its request has 400 characters, tools included."""
        spent: list[Usage] = []
        rest = 400 - len(msgspec.json.encode(SleepingTools.schemas))
        asked = ChatRequest(messages=(UserMessage((Text("x" * rest),)),))
        task = asyncio.create_task(
            conversation(RecordingEmit(), FakeProvider([*steps]), request=asked, on_usage=spent.append).run()
        )
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return spent

    @jumping
    async def test_cancelling_closes_the_model_and_cancels_the_tools(self) -> None:
        heard, model = RecordingEmit(), FakeProvider([[ToolCallReady("a", "sleep", "60")], pause(60)])
        task = asyncio.create_task(conversation(heard, model).run())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert model.open == 0
        assert heard[-1] == ToolFinished("a", "sleep", "cancelled", 0, error="cancelled")
