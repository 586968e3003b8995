"""A person decides: a whole service asks, and the decision arrives in a later request, in another process perhaps."""

import asyncio
import copy
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
import pytest
from msgspec import UNSET

from tests.chat.fakes import FakeProvider, Step, answer, calls_tools
from tests.chat.http_events import FakeLambdaContext, RecordedResponse, event, handle
from tests.chat.tool_runtime.approving import KEY, Till
from tests.chat.tool_runtime.test_once import LoopClock
from tests.clock import jumping
from winterbourne.chat.app import OwnParts, build
from winterbourne.chat.core.answer_messages import messages_of
from winterbourne.chat.core.events import (
    ChatEvent,
    ConversationEnded,
    ConversationStarted,
    EventBatch,
    ToolApprovalRequested,
    ToolFinished,
)
from winterbourne.chat.core.history import INTERRUPTED_CALL_RESULT, UNDECIDED_CALL_RESULT, USED_DECISION_RESULT
from winterbourne.chat.core.messages import (
    Approval,
    AssistantMessage,
    ChatRequest,
    Decision,
    Message,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from winterbourne.chat.errors import InputRequired, ModelBusy
from winterbourne.chat.formats.base import Encoder, Format, ResumedAnswer, encode_json_error
from winterbourne.chat.infra import telemetry
from winterbourne.chat.settings import Settings
from winterbourne.chat.storage.base import Store
from winterbourne.chat.storage.memory import MemoryBackend
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool, tool

PAY, PAY_TWICE = (
    calls_tools(("a", "pay", '{"euros":5}')),
    calls_tools(("b", "pay", '{"euros":7}'), ("a", "pay", '{"euros":5}')),
)
ASK: Sequence[Message] = (UserMessage((Text("pay"),), "u1"),)


class Lines:
    """Encodes each event as a line of JSON."""

    status = 200
    headers: Mapping[str, str] = {"content-type": "application/jsonl"}
    heartbeat = b""

    def encode(self, batch: EventBatch) -> bytes:
        return msgspec.json.Encoder().encode_lines(batch)


def decode(body: dict[str, Any]) -> tuple[ChatRequest, Encoder]:
    return msgspec.convert(body, ChatRequest), Lines()


def resume(_: ResumedAnswer) -> Encoder:
    return Lines()


FORMAT = Format("/lines", decode, encode_json_error, resume)


class Answer:
    """What a client got."""

    def __init__(self, response: RecordedResponse) -> None:
        self.response = response
        is_answer = response.headers["content-type"] == Lines.headers["content-type"]
        lines = response.body.splitlines() if is_answer else []
        self.events: list[ChatEvent] = [msgspec.json.decode(line, type=ChatEvent) for line in lines]

    @property
    def asked(self) -> dict[str, Approval]:
        return {one.id: one.approval for one in self.events if isinstance(one, ToolApprovalRequested)}

    @property
    def kinds(self) -> list[str]:
        return [type(one).__name__ for one in self.events]

    @property
    def ended(self) -> ConversationEnded:
        last = self.events[-1]
        assert isinstance(last, ConversationEnded)
        return last

    def decided(self, *, approved: bool = True, **fields: Any) -> tuple[Decision, ...]:
        return tuple(Decision(approval_id=one.id, approved=approved, **fields) for one in self.asked.values())


class Chat:
    """A chat over a store that outlives its processes. `sent` is what a client that keeps the history itself has."""

    def __init__(self, *turns: list[Step], where: str = "kept", tools: Sequence[Tool] = (), **options: Any) -> None:
        self.clock, self.backend, self.till = LoopClock(), MemoryBackend(), Till(**options)
        self.clock.time_s = time.time() - asyncio.get_running_loop().time()
        self.provider = FakeProvider(*turns)
        self.tools, self.where = tools, where
        self.sent: list[Message] = []
        self.start()

    def start(self) -> None:
        """Start a new process."""
        keep = "always" if self.where == "both" else "request"
        settings = Settings.of(
            auth="none", model_provider="fake", store="own:x", title_model="off", signing_key=KEY, keep=keep
        )
        store = Store(lambda: self.backend, threads=0, is_shared=True, now=self.clock)
        own = OwnParts({"fake": lambda _: self.provider}, (FORMAT,), {"own": lambda _: store})
        self.service = build(settings, [self.till.pay, *self.tools], telemetry.make_logger(), own=own)

    def kill(self) -> None:
        """Start a new process, a lease after the one before has written its last."""
        self.backend = copy.deepcopy(self.backend)
        self.clock.time_s += 3600
        self.start()

    async def post(self, *new: Message, **fields: Any) -> Answer:
        self.sent += new
        is_kept = self.where == "kept"
        default = {"conversation_id": "c", "store": is_kept, "approvals": "yes_or_no"}
        request = ChatRequest(messages=new if is_kept else tuple(self.sent), **{**default, **fields})
        got = await self.send("POST", "/lines", msgspec.to_builtins(request))
        if got.response.status == 200:
            self.sent += messages_of(got.events)
        return got

    async def send(self, method: str, path: str, body: object = None) -> Answer:
        response = RecordedResponse()
        await handle(self.service, event(method, path, body), response, FakeLambdaContext())
        return Answer(response)

    def told(self) -> list[str]:
        """The results that the model was told last."""
        return [one.content for one in self.provider.requests[-1].messages if isinstance(one, ToolMessage)]


@pytest.fixture(autouse=True)
def _own_hooks(own_hooks: None) -> None:
    """What services register is forgotten after each test."""


@pytest.mark.parametrize("where", ["kept", "sent", "both"])
class TestWhereverTheConversationIs:
    async def test_the_answer_ends_while_a_person_thinks_and_goes_on_in_another_process(self, where: str) -> None:
        chat = Chat(PAY, answer("done"), where=where)
        asked = await chat.post(*ASK)
        assert (asked.ended.stop_reason, chat.till.paid, list(asked.asked)) == ("approval", [], ["a"])
        chat.start()
        decided = await chat.post(decisions=asked.decided())
        assert chat.till.paid == [5]
        assert decided.kinds[:4] == ["ConversationStarted", "ToolStarted", "ToolFinished", "TurnStarted"]
        assert (decided.ended.stop_reason, chat.told()) == ("stop", ['"paid the harbour master"'])

    async def test_the_model_is_told_of_a_denial_and_why(self, where: str) -> None:
        chat = Chat(PAY, answer("done"), where=where)
        asked = await chat.post(*ASK)
        decided = await chat.post(decisions=asked.decided(approved=False, reason="too dear"))
        assert (chat.till.paid, chat.told()) == ([], ["The user did not allow this call. too dear"])
        (finished,) = [one for one in decided.events if isinstance(one, ToolFinished)]
        assert finished.status == "denied"
        assert "ToolStarted" not in decided.kinds

    async def test_each_call_has_its_own_decision_and_its_own_place(self, where: str) -> None:
        chat = Chat(PAY_TWICE, answer("done"), where=where)
        asked = await chat.post(*ASK)
        await chat.post(decisions=[Decision(approval_id=asked.asked["a"].id, approved=True)])
        assert (chat.till.paid, chat.told()[1]) == ([5], '"paid the harbour master"')
        assert chat.told()[0].startswith("The user did not allow this call.")

    async def test_a_question_instead_counts_as_no_decision(self, where: str) -> None:
        chat = Chat(PAY, answer("well"), answer("still"), where=where)
        asked = await chat.post(*ASK)
        await chat.post(UserMessage((Text("what?"),), "u2"))
        assert chat.told() == [UNDECIDED_CALL_RESULT]
        late = await chat.post(decisions=asked.decided())
        assert (late.response.status, late.response.json["error"]["code"]) == (409, "not_pending")
        assert chat.till.paid == []

    async def test_other_calls_of_the_turn_run_at_once_and_never_again(self, where: str) -> None:
        looked: list[int] = []

        @tool
        async def look() -> int:
            """Look."""
            looked.append(1)
            return 1

        turn = calls_tools(("1", "look", ""), ("a", "pay", '{"euros":5}'))
        chat = Chat(turn, answer("done"), where=where, tools=[look])
        asked = await chat.post(*ASK)
        assert "ToolFinished" in asked.kinds
        await chat.post(decisions=asked.decided())
        assert (looked, chat.told()) == ([1], ["1", '"paid the harbour master"'])

    async def test_a_decision_on_nothing_is_refused(self, where: str) -> None:
        chat = Chat(answer("hi"), where=where)
        await chat.post(*ASK)
        refused = await chat.post(decisions=[Decision(approval_id="1.a.b", approved=True)])
        assert (refused.response.status, refused.response.json["error"]["code"]) == (409, "not_pending")

    async def test_a_client_that_cannot_ask_goes_on(self, where: str) -> None:
        chat = Chat(PAY, answer("well"), where=where)
        got = await chat.post(*ASK, approvals="none")
        assert (got.ended.stop_reason, chat.till.paid) == ("stop", [])
        assert chat.told()[0].startswith("This call needs a person's approval, which cannot be asked for here")

    async def test_the_next_turn_may_ask_again(self, where: str) -> None:
        chat = Chat(PAY, calls_tools(("a", "pay", '{"euros":6}')), answer("done"), where=where)
        first = await chat.post(*ASK)
        second = await chat.post(decisions=first.decided())
        assert (second.ended.stop_reason, chat.till.paid) == ("approval", [5])
        await chat.post(decisions=second.decided())
        assert chat.till.paid == [5, 6]

    @pytest.mark.parametrize("approval", [False, True])
    async def test_a_form_that_comes_after_a_form_or_an_approval_is_decided_too(
        self, where: str, *, approval: bool
    ) -> None:
        filled: list[object] = []

        @tool(approval=approval)
        async def sail(context: ToolContext) -> str:
            """Sail."""
            state, answer = context.input_response or ("", {})
            filled.append(answer)
            if state != "b":
                raise InputRequired(f"Which {state}?", {"type": "object"}, "b" if state else "a")
            return "off"

        chat = Chat(calls_tools(("1", "sail", "")), answer("done"), where=where, tools=[sail])
        asked = await chat.post(*ASK, approvals="form")
        for number in range(2 + approval):
            assert asked.ended.stop_reason == "approval"
            if where != "sent":
                kept = (await chat.send("GET", "/conversations/c")).response.json["messages"]
                assert [one["role"] for one in kept] == ["user", "assistant"]
                assert kept[1]["parts"][0]["approval"]["id"] == asked.asked["1"].id
            form: dict[str, Any] = {} if approval and not number else {"arguments": {"n": number - approval}}
            asked = await chat.post(decisions=asked.decided(**form), approvals="form")
        assert (filled, chat.told(), asked.ended.stop_reason) == ([{}, {"n": 0}, {"n": 1}], ['"off"'], "stop")


class TestKept:
    @jumping
    async def test_what_became_of_a_decided_call_whose_process_was_killed_is_not_known(self) -> None:
        """It may have taken effect: the model is not told that it was not run."""
        chat = Chat(PAY, answer("well"), answer("well"), seconds=30)
        asked = await chat.post(*ASK)
        running = asyncio.create_task(chat.post(decisions=asked.decided()))
        await asyncio.sleep(5)
        kept = (await chat.send("GET", "/conversations/c")).response.json["messages"]
        chat.kill()
        running.cancel()
        assert [one["role"] for one in kept] == ["user", "assistant"]
        await chat.post(UserMessage((Text("Is it paid?"),), "u2"))
        assert (chat.till.paid, chat.told()) == ([5], [INTERRUPTED_CALL_RESULT])

    @jumping
    async def test_a_decision_whose_process_was_killed_runs_nothing_again(self) -> None:
        chat = Chat(PAY, answer("well"), seconds=30)
        asked = await chat.post(*ASK)
        running = asyncio.create_task(chat.post(decisions=asked.decided()))
        await asyncio.sleep(5)
        chat.kill()
        running.cancel()
        await chat.post(decisions=asked.decided())
        assert (chat.till.paid, chat.told()) == ([5], [USED_DECISION_RESULT])

    async def test_the_answer_goes_on_in_the_message_of_before(self) -> None:
        chat = Chat(PAY, answer("done"))
        asked = await chat.post(*ASK)
        first = asked.events[0]
        assert isinstance(first, ConversationStarted)
        decided = await chat.post(decisions=asked.decided(), message_id=first.message_id)
        whole = await chat.send("GET", "/lines/c/stream")
        results = [one for one in whole.events if isinstance(one, ToolFinished)]
        assert [one.status for one in results] == ["completed"]
        assert whole.events[-1] == decided.events[-1]
        kept = (await chat.send("GET", "/conversations/c")).response.json["messages"]
        assert [one["role"] for one in kept] == ["user", "assistant", "tool", "assistant"]
        assert kept[1]["id"] == kept[3]["id"] == first.message_id

    async def test_who_asks_again_after_losing_the_stream_gets_the_rest(self) -> None:
        """The result is kept; the model is asked once more."""
        chat = Chat(PAY, [ModelBusy("busy")], answer("done"))
        asked = await chat.post(*ASK)
        await chat.post(decisions=asked.decided())
        again = await chat.post(decisions=asked.decided())
        assert (chat.till.paid, again.ended.stop_reason, "ToolFinished" in again.kinds) == ([5], "stop", False)

    async def test_another_caller_has_no_such_conversation(self) -> None:
        chat = Chat(PAY)
        asked = await chat.post(*ASK)
        refused = await chat.post(decisions=asked.decided(), conversation_id="d")
        assert (refused.response.status, chat.till.paid) == (409, [])

    async def test_of_two_decisions_at_once_one_is_busy_or_late(self) -> None:
        chat = Chat(PAY, answer("done"), answer("done"))
        asked = await chat.post(*ASK)
        await asyncio.gather(*(chat.post(decisions=asked.decided()) for _ in range(2)))
        assert chat.till.paid == [5]


class TestSentByTheClient:
    async def test_a_history_that_was_changed_runs_nothing(self) -> None:
        chat = Chat(PAY, answer("done"), where="sent")
        asked = await chat.post(*ASK)
        turn = cast("AssistantMessage", chat.sent[-1])
        (call,) = turn.tool_calls
        chat.sent[-1] = AssistantMessage((msgspec.structs.replace(call, arguments='{"euros":500}'),), turn.id)
        await chat.post(decisions=asked.decided())
        assert chat.till.paid == []
        assert chat.told()[0].startswith("It could not be verified")

    async def test_what_was_asked_need_not_come_back(self) -> None:
        chat = Chat(PAY, answer("done"), where="sent")
        asked = await chat.post(*ASK)
        turn = cast("AssistantMessage", chat.sent[-1])
        chat.sent[-1] = AssistantMessage((ToolCall("a", "pay", '{"euros":5}', UNSET),), turn.id)
        await chat.post(decisions=asked.decided())
        assert chat.till.paid == [5]

    async def test_the_same_history_sent_twice_runs_once(self) -> None:
        chat = Chat(PAY, answer("done"), answer("done"), where="sent")
        asked = await chat.post(*ASK)
        before = list(chat.sent)
        await chat.post(decisions=asked.decided())
        chat.sent = before
        await chat.post(decisions=asked.decided())
        assert chat.till.paid == [5]
        assert "used before" in chat.told()[0]

    async def test_what_is_kept_of_a_call_outlasts_a_client_that_has_not_seen_it(self) -> None:
        """Such as a second tab: its decision is late, and the model still knows later that it has paid."""
        chat = Chat(PAY, answer("done"), answer("well"), answer("yes"), where="both")
        asked = await chat.post(*ASK)
        tab = list(chat.sent)
        await chat.post(decisions=asked.decided())
        chat.sent = tab
        await chat.post(decisions=asked.decided())
        assert chat.told() == [USED_DECISION_RESULT]
        kept = (await chat.send("GET", "/conversations/c")).response.json["messages"]
        assert [one["content"] for one in kept if one["role"] == "tool"] == ['"paid the harbour master"']
        chat.where = "kept"
        await chat.post(UserMessage((Text("Is it paid?"),), "u2"))
        assert (chat.till.paid, chat.told()) == ([5], ['"paid the harbour master"'])
