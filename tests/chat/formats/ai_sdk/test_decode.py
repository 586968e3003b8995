"""AI SDK chat requests: conversation, client tools, and which messages are new."""

from typing import Any

import pytest

from tests.chat.formats.ai_sdk.ui_messages import assistant, call, user
from tests.chat.formats.wire import attempt, read, rejection
from winterbourne.chat.core.history import INTERRUPTED_CALL_RESULT
from winterbourne.chat.core.messages import (
    Approval,
    AssistantMessage,
    Decision,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UserMessage,
)
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.formats.ai_sdk import FORMAT


class TestBodies:
    def test_the_chat_is_the_conversation(self) -> None:
        chat = read(FORMAT, {"id": "chat-1", "messages": [user()]})
        assert chat.conversation_id == "chat-1"
        assert chat.messages == (UserMessage((Text("Hi"),), "u1"),)

    def test_the_options_of_the_model_are_read(self) -> None:
        options = {"system": "Be brief.", "temperature": 0.5, "maxTokens": 10}
        chat = read(FORMAT, {"messages": [user()], **options})
        assert (chat.system, chat.temperature, chat.max_tokens) == ("Be brief.", 0.5, 10)

    def test_after_client_tools_the_same_answer_continues(self) -> None:
        tools = {"ask": {"description": "Ask", "parameters": {"type": "object"}}}
        answer = assistant(call("output-available", output="yes"))
        chat = read(FORMAT, {"messages": [user(), answer], "tools": tools})
        assert chat.message_id == "a1"
        assert chat.client_tools == (ToolSchema("ask", "Ask", {"type": "object", "properties": {}}),)

    def test_only_new_messages_of_a_stored_conversation_are_decoded(self) -> None:
        body = {"messages": [user(), assistant(call("output-available", output=1)), user(id_="u2")], "store": True}
        chat = read(FORMAT, body)
        assert chat.store
        assert chat.messages == (UserMessage((Text("Hi"),), "u2"),)

    def test_only_client_tool_results_of_a_continued_stored_answer_are_new(self) -> None:
        server_call = call("output-available", output=1)
        client_call = {
            "type": "tool-ask",
            "toolCallId": "c2",
            "state": "output-available",
            "input": {},
            "output": "yes",
        }
        tools = {"ask": {"parameters": {"type": "object"}}}
        body = {
            "messages": [user(), assistant({"type": "step-start"}, server_call, client_call)],
            "tools": tools,
            "store": True,
        }
        assert read(FORMAT, body).messages == (ToolMessage("c2", "ask", '"yes"'),)

    def test_of_two_versions_of_an_answer_the_last_counts_in_the_first_place(self) -> None:
        first, last = assistant({"type": "text", "text": "Hel"}), assistant({"type": "text", "text": "Hello"})
        chat = read(FORMAT, {"messages": [user(id_="u1"), first, user(id_="u2"), last, user(id_="u3")]})
        assert chat.messages == (
            UserMessage((Text("Hi"),), "u1"),
            AssistantMessage((Text("Hello"),), "a1"),
            UserMessage((Text("Hi"),), "u2"),
            UserMessage((Text("Hi"),), "u3"),
        )

    def test_of_two_calls_of_one_id_the_last_counts(self) -> None:
        answer = assistant(call("output-available", output=1), call("output-available", output=2))
        chat = read(FORMAT, {"messages": [user(), answer]})
        assert [message.content for message in chat.messages if isinstance(message, ToolMessage)] == ["2"]


HI = UserMessage((Text("Hi"),), "u2")
ANSWER = assistant({"type": "step-start"}, {"type": "text", "text": "Hi", "state": "done"})
REGENERATE = ["regenerate-message", "regenerate-assistant-message"]
SUBMIT = ["submit-message", "submit-user-message", None]


class TestDecisions:
    ASKED = Approval("1.a.b", 0)

    @staticmethod
    def decided(state: str = "approval-responded", **approval: Any) -> Any:
        return assistant({"type": "step-start"}, call(state, approval={"id": "1.a.b", **approval}))

    @pytest.mark.parametrize(("said", "kind"), [({}, "none"), ({"approvals": True}, "yes_or_no")])
    def test_a_page_says_that_it_can_ask(self, said: dict[str, Any], kind: str) -> None:
        assert read(FORMAT, whole(user(), **said)).approvals == kind

    @pytest.mark.parametrize("approved", [True, False])
    def test_what_was_decided_goes_on_with_the_answer(self, *, approved: bool) -> None:
        messages = [user(), self.decided(approved=approved, reason="tried")]
        chat, _ = FORMAT.decode({"id": "c", "messages": messages, "approvals": True})
        assert chat.decisions == (Decision(approval_id="1.a.b", approved=approved, reason="tried"),)
        assert chat.message_id == "a1"
        call = ToolCall("c1", "x", '{"a":1}', approval=self.ASKED)
        lost = ToolMessage("c1", "x", INTERRUPTED_CALL_RESULT, is_error=True)  # unless a result comes now
        assert chat.messages[1:] == (AssistantMessage((call,), "a1"), lost)

    def test_one_message_is_enough_where_the_rest_is_kept(self) -> None:
        chat, _ = FORMAT.decode(one_message(self.decided(approved=True), approvals=True))
        assert (chat.message_id, chat.messages, chat.store) == ("a1", (), True)
        assert [decision.approved for decision in chat.decisions] == [True]

    @pytest.mark.parametrize("state", ["approval-requested", "output-available", "output-error", "output-denied"])
    def test_what_was_not_decided_or_is_over_is_no_decision(self, state: str) -> None:
        chat, _ = FORMAT.decode(whole(user(), self.decided(state, approved=True), approvals=True))
        assert chat.decisions == ()

    @pytest.mark.parametrize("approved", [None, 1, "true", "yes", {}, []])
    def test_anything_but_a_plain_yes_or_no_is_an_error(self, approved: Any) -> None:
        answer = self.decided(approved=approved)
        for rejected in (
            attempt(lambda: read(FORMAT, whole(user(), answer))),
            attempt(lambda: read(FORMAT, one_message(answer))),
        ):
            assert isinstance(rejected, RequestRejected)
            assert (rejected.status, str(rejected).partition(":")[0]) == (400, "approved")

    @pytest.mark.parametrize("approval", [None, "yes", [], {}, {"id": 5, "approved": True}, {"approved": True}])
    def test_so_is_a_decision_on_nothing(self, approval: Any) -> None:
        answer = assistant({"type": "step-start"}, call("approval-responded", approval=approval))
        assert rejection(FORMAT, whole(user(), answer)) == (400, "invalid_request")

    @pytest.mark.parametrize("reason", [5, {}, "x" * 1001])
    def test_so_is_a_reason_that_is_no_short_text(self, reason: Any) -> None:
        assert rejection(FORMAT, whole(user(), self.decided(approved=False, reason=reason))) == (400, "invalid_request")

    @pytest.mark.parametrize("approval", ["yes", {"id": 5}, {"id": "1.a.b", "approved": "x", "reason": "x" * 1001}])
    def test_one_of_long_ago_stops_no_question(self, approval: Any) -> None:
        answer = assistant({"type": "step-start"}, call("approval-responded", approval=approval))
        assert read(FORMAT, whole(user(), answer, user(id_="u2"))).decisions == ()

    def test_a_decision_with_a_later_question_is_over(self) -> None:
        chat, _ = FORMAT.decode(whole(user(), self.decided(approved=True), user(id_="u2"), approvals=True))
        assert chat.decisions == ()


def one_message(message: Any = None, **more: Any) -> dict[str, Any]:
    """A body as the SDK's page on persistence sends it: only what is new."""
    return {"id": "chat-1", **({"message": message} if message else {}), **more}


def whole(*messages: Any, **more: Any) -> dict[str, Any]:
    """A body with all messages of a conversation that is kept."""
    return {"id": "chat-1", "store": True, "messages": list(messages), **more}


class TestKeptChats:
    """What is new comes alone as `message`, or at the end of `messages`; the rest is in the store."""

    BODIES = (one_message(user(id_="u2")), whole(user(), ANSWER, user(id_="u2")))

    @pytest.mark.parametrize("body", BODIES)
    @pytest.mark.parametrize("trigger", SUBMIT)
    def test_a_new_question_is_added(self, body: dict[str, Any], trigger: str | None) -> None:
        chat = read(FORMAT, {**body, "trigger": trigger})
        assert (chat.messages, chat.store, chat.conversation_id) == ((HI,), True, "chat-1")
        assert (chat.replace_from, chat.regenerate, chat.message_id) == ("", False, "")

    @pytest.mark.parametrize("body", BODIES)
    def test_an_edited_question_replaces_the_one_it_was(self, body: dict[str, Any]) -> None:
        chat = read(FORMAT, {**body, "trigger": "submit-message", "messageId": "u1"})
        assert (chat.messages, chat.replace_from, chat.regenerate) == ((HI,), "u1", False)

    @pytest.mark.parametrize("body", BODIES)
    @pytest.mark.parametrize("trigger", REGENERATE)
    @pytest.mark.parametrize("message_id", ["a2", None])
    def test_an_answer_is_regenerated(self, body: dict[str, Any], trigger: str, message_id: str | None) -> None:
        chat = read(FORMAT, {**body, "trigger": trigger, "messageId": message_id})
        assert (chat.messages, chat.regenerate, chat.replace_from) == ((HI,), True, message_id or "")
        assert chat.message_id == ""

    @pytest.mark.parametrize("trigger", REGENERATE)
    @pytest.mark.parametrize("body", [one_message(), whole(user(), ANSWER)])
    def test_the_question_need_not_be_sent_again(self, body: dict[str, Any], trigger: str) -> None:
        chat = read(FORMAT, {**body, "trigger": trigger, "messageId": "a1"})
        assert (chat.messages, chat.regenerate, chat.replace_from, chat.store) == ((), True, "a1", True)
        assert chat.message_id == ""

    @pytest.mark.parametrize("make", [one_message, lambda answer, **more: whole(user(), answer, **more)])
    def test_the_pages_own_results_continue_the_answer_that_stays(self, make: Any) -> None:
        own = {"type": "tool-ask", "toolCallId": "c2", "state": "output-available", "input": {}, "output": "yes"}
        answer = assistant({"type": "step-start"}, call("output-available", output=1), own)
        tools = {"ask": {"parameters": {"type": "object"}}}
        chat = read(FORMAT, make(answer, trigger="submit-message", messageId="a1", tools=tools))
        assert (chat.messages, chat.message_id) == ((ToolMessage("c2", "ask", '"yes"'),), "a1")
        assert (chat.replace_from, chat.regenerate) == ("", False)

    def test_one_message_implies_store(self) -> None:
        assert read(FORMAT, one_message(user(), store=False)).store

    @pytest.mark.parametrize("empty", [{}, {"messages": None}, {"message": None}, {"trigger": ["x"]}])
    def test_a_body_without_any_message_is_rejected(self, empty: dict[str, Any]) -> None:
        assert rejection(FORMAT, {"id": "chat-1", **empty}) == (400, "no_messages")

    @pytest.mark.parametrize("id_", [{}, {"id": None}, {"id": ""}])
    def test_what_is_kept_is_found_by_its_id(self, id_: dict[str, Any]) -> None:
        assert rejection(FORMAT, {"message": user(), **id_}) == (400, "invalid_request")

    def test_a_whole_history_that_is_not_kept_needs_messages_to_regenerate_too(self) -> None:
        assert rejection(FORMAT, {"messages": [], "trigger": "regenerate-message"}) == (400, "no_messages")
