"""AG-UI run requests: thread, client tools, context, and the order of results."""

from typing import Any

import pytest

from tests.chat.formats.wire import attempt, data_of, read, rejection
from winterbourne.chat.core import events as e
from winterbourne.chat.core.messages import AssistantMessage, Decision, Text, ToolMessage, ToolSchema, UserMessage
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.formats.ag_ui import FORMAT
from winterbourne.chat.formats.base import ResumedAnswer


def body(*messages: object, **more: object) -> dict[str, Any]:
    return {"threadId": "t1", "runId": "r1", "messages": list(messages), **more}


class TestBodies:
    def test_the_thread_is_the_conversation(self) -> None:
        chat = read(FORMAT, body({"id": "1", "role": "user", "content": "Hi"}))
        assert (chat.conversation_id, chat.messages) == ("t1", (UserMessage((Text("Hi"),), "1"),))

    def test_client_tools_are_passed_on(self) -> None:
        tool = {"name": "ask", "description": "Ask", "parameters": {"type": "object"}}
        chat = read(FORMAT, body({"id": "1", "role": "user", "content": "Hi"}, tools=[tool]))
        assert chat.client_tools == (ToolSchema("ask", "Ask", {"type": "object", "properties": {}}),)

    def test_the_context_is_no_message(self) -> None:
        context = [{"description": "The user's name", "value": "Ada"}, {"description": "Plan", "value": "free"}]
        chat = read(FORMAT, body({"id": "1", "role": "user", "content": "Hi"}, context=context))
        assert chat.context == "The user's name: Ada\nPlan: free"
        assert chat.messages == (UserMessage((Text("Hi"),), "1"),)

    def test_a_late_result_is_moved_to_its_call(self) -> None:
        call = {"id": "c1", "type": "function", "function": {"name": "x", "arguments": "{}"}}
        messages = [
            {"id": "1", "role": "user", "content": "Hi"},
            {"id": "2", "role": "assistant", "toolCalls": [call]},
            {"id": "3", "role": "assistant", "content": "Meanwhile"},
            {"id": "4", "role": "tool", "toolCallId": "c1", "content": "1"},
        ]
        kinds = [type(message) for message in read(FORMAT, body(*messages)).messages]
        assert kinds == [UserMessage, AssistantMessage, ToolMessage, AssistantMessage]


class TestDecisions:
    @staticmethod
    def decisions(**entry: object) -> tuple[Decision, ...] | RequestRejected:
        call = {"id": "c1", "type": "function", "function": {"name": "x", "arguments": "{}"}}
        messages = {"id": "1", "role": "user", "content": "Hi"}, {"id": "2", "role": "assistant", "toolCalls": [call]}
        asked = body(*messages, resume=[{"interruptId": "1.a.b", **entry}])
        decoded = attempt(lambda: read(FORMAT, asked))
        return decoded if isinstance(decoded, RequestRejected) else decoded.decisions

    def test_a_person_can_be_asked(self) -> None:
        assert read(FORMAT, body({"id": "1", "role": "user", "content": "Hi"}, resume=None)).approvals == "form"

    @pytest.mark.parametrize("field", ["editedArgs", "content"])
    @pytest.mark.parametrize("approved", [True, False])
    def test_an_answer_is_a_decision(self, field: str, *, approved: bool) -> None:
        payload = {"approved": approved, "reason": "tried", field: {"eur": 4}}
        decision = Decision(approval_id="1.a.b", approved=approved, reason="tried", arguments={"eur": 4})
        assert self.decisions(status="resolved", payload=payload) == (decision,)

    @pytest.mark.parametrize(
        "payload",
        [
            {},
            *({"payload": payload} for payload in (None, "no", {"reason": 5}, {"approved": True}, {"approved": False})),
        ],
    )
    def test_what_was_cancelled_is_denied(self, payload: dict[str, object]) -> None:
        expected = (Decision(approval_id="1.a.b", approved=False),)
        assert self.decisions(status="cancelled", **payload) == expected

    @pytest.mark.parametrize(
        "payload",
        [
            *(None, True, "yes", {}, {"approved": None}, {"approved": 1}, {"approved": "true"}, [True]),
            *({"approved": False, "reason": 5}, {"approved": False, "reason": "x" * 1001}),
        ],
    )
    def test_a_bad_answer_is_an_error_and_no_yes(self, payload: object) -> None:
        rejected = self.decisions(status="resolved", payload=payload)
        assert isinstance(rejected, RequestRejected)
        assert (rejected.status, str(rejected).startswith("resume[0].payload")) == (400, True)

    def test_a_run_that_answers_without_the_calls_is_an_error(self) -> None:
        entry = {"interruptId": "1.a.b", "status": "resolved", "payload": {"approved": True}}
        assert not FORMAT.decode(body(resume=[entry]))[0].reconnects
        assert rejection(FORMAT, body(resume=[entry])) == (409, "not_pending")

    @pytest.mark.parametrize("entry", [{}, {"status": "approved", "payload": {"approved": True}}])
    def test_so_is_an_unknown_status(self, entry: dict[str, object]) -> None:
        assert isinstance(self.decisions(**entry), RequestRejected)


class TestReconnecting:
    STARTED = e.ConversationStarted("t1", "m", "scripted")
    KEPT = (UserMessage((Text("Hi"),), "u1"),)

    @pytest.mark.parametrize("context", [[], [{"description": "Plan", "value": "free"}]])
    def test_a_run_without_messages_asks_for_the_thread(self, context: list[object]) -> None:
        chat, _ = FORMAT.decode(body(context=context))
        assert (chat.reconnects, chat.messages, chat.conversation_id) == (True, (), "t1")

    def test_one_with_messages_does_not(self) -> None:
        assert not read(FORMAT, body({"id": "1", "role": "user", "content": "Hi"})).reconnects

    def test_without_a_thread_there_is_nothing_to_ask_for(self) -> None:
        assert rejection(FORMAT, {"messages": []}) == (400, "no_messages")

    def test_the_answer_has_the_run_of_the_client_and_what_was_kept_before_it(self) -> None:
        _, encoder = FORMAT.decode(body(runId="r2"))
        assert FORMAT.resume
        resumed = FORMAT.resume(ResumedAnswer(conversation_id="t1", encoder=encoder, history=self.KEPT))
        started, snapshot = data_of(resumed.encode([self.STARTED]))
        assert started == {"type": "RUN_STARTED", "threadId": "t1", "runId": "r2"}
        assert snapshot == {"type": "MESSAGES_SNAPSHOT", "messages": [{"id": "u1", "role": "user", "content": "Hi"}]}

    @pytest.mark.parametrize(("version", "has_outcome"), [("1.0", True), (None, False)])
    def test_it_is_of_the_clients_version(self, version: str | None, has_outcome: bool) -> None:  # noqa: FBT001
        _, encoder = FORMAT.decode(body(protocolVersion=version))
        assert FORMAT.resume
        resumed = FORMAT.resume(ResumedAnswer(conversation_id="t1", encoder=encoder))
        finished = data_of(resumed.encode([self.STARTED, e.ConversationStopped("shutdown")]))[-1]
        assert ("outcome" in finished) == has_outcome

    def test_without_kept_messages_the_client_keeps_its_own(self) -> None:
        assert FORMAT.resume
        stream = FORMAT.resume(ResumedAnswer(conversation_id="t1")).encode([self.STARTED])
        assert data_of(stream) == [{"type": "RUN_STARTED", "threadId": "t1", "runId": "m"}]
