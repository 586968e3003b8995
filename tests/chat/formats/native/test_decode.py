"""The native format, decoding: request bodies, their histories, and error bodies."""

from typing import Any

import pytest
from hypothesis import given

from tests.chat.conversations import histories
from tests.chat.formats import writers
from tests.chat.formats.wire import read, rejection
from winterbourne.chat.core.messages import (
    Approval,
    AssistantMessage,
    Decision,
    Image,
    Message,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from winterbourne.chat.formats.native.decode import FORMAT
from winterbourne.chat.settings import Settings


class TestBodies:
    def test_the_shortest_body_is_one_message(self) -> None:
        chat = read(FORMAT, {"messages": [{"role": "user", "content": "Hi"}]})
        assert chat.messages == (UserMessage((Text("Hi"),)),)
        assert not chat.store

    def test_options_are_decoded(self) -> None:
        chat = read(
            FORMAT,
            {
                "messages": [{"role": "user", "content": "Hi"}],
                "conversation_id": "c_1",
                "model": "big",
                "temperature": 0.5,
                "max_tokens": 10,
                "system": "Be short.",
                "tool_choice": "none",
                "store": True,
            },
            Settings.of(model_choices="small, big"),
        )
        assert (chat.conversation_id, chat.model_id, chat.temperature, chat.max_tokens) == ("c_1", "big", 0.5, 10)
        assert (chat.system, chat.tool_choice, chat.store) == ("Be short.", "none", True)

    def test_a_person_can_be_asked_by_who_says_so(self) -> None:
        question = {"messages": [{"role": "user", "content": "Hi"}]}
        assert read(FORMAT, question).approvals == "none"
        assert read(FORMAT, question | {"approvals": True}).approvals == "form"

    def test_decisions_go_on_with_an_answer_that_the_client_sends_back(self) -> None:
        approval = {"id": "1.a.b", "expires_at_s": 1, "allows_edits": True}  # as in the frame
        call = {"type": "tool_call", "id": "c1", "name": "pay", "arguments": '{"eur":5}', "approval": approval}
        answer = {"role": "assistant", "content": [{"type": "text", "text": "I pay."}, call]}
        decisions = [{"approval_id": "1.a.b", "approved": True, "reason": "tried", "arguments": {"eur": 4}}]
        messages = [{"role": "user", "content": "Pay"}, answer]
        chat, _ = FORMAT.decode({"messages": messages, "message_id": "m", "decisions": decisions})
        asked = ToolCall("c1", "pay", '{"eur":5}', approval=Approval("1.a.b", 1, allows_edits=True))
        assert chat.messages[1:] == (AssistantMessage((Text("I pay."), asked)),)
        expected = Decision(approval_id="1.a.b", approved=True, reason="tried", arguments={"eur": 4})
        assert (chat.message_id, chat.decisions) == ("m", (expected,))

    def test_a_question_goes_on_with_no_answer(self) -> None:
        assert read(FORMAT, {"messages": [{"role": "user", "content": "Hi"}], "message_id": "m"}).message_id == ""

    @pytest.mark.parametrize(
        "fields",
        [
            *({"approved": None}, {"approved": 1}, {"approved": "true"}, {"approved": {}}),
            *({"reason": 5}, {"reason": {}}, {"reason": "x" * 1001}),
        ],
    )
    def test_a_decision_is_a_plain_yes_or_no_with_a_short_reason(self, fields: dict[str, object]) -> None:
        decision = {"approval_id": "1.a.b", "approved": True, **fields}
        body = {"messages": [], "store": True, "decisions": [decision]}
        assert rejection(FORMAT, body) == (400, "invalid_request")

    @given(histories())
    def test_a_history_arrives_without_loss(self, history: tuple[Message, ...]) -> None:
        assert read(FORMAT, writers.native(history)).messages == history

    def test_a_new_result_may_belong_to_a_stored_call(self) -> None:
        result = {"role": "tool", "tool_call_id": "c1", "content": "{}"}
        assert read(FORMAT, {"messages": [result], "store": True}).messages == (ToolMessage("c1", "", "{}"),)

    def test_an_image_has_either_data_or_a_url(self) -> None:
        part = {"type": "image", "media_type": "image/png", "data": "aGk="}
        chat = read(FORMAT, {"messages": [{"role": "user", "content": [part]}]})
        assert chat.messages == (UserMessage((Image("image/png", "aGk="),)),)
        body = {"messages": [{"role": "user", "content": [{**part, "url": "https://example.com/a.png"}]}]}
        assert rejection(FORMAT, body) == (400, "unsupported_media")

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ({}, "invalid_request"),
            ({"messages": []}, "no_messages"),
            ({"messages": "Hi"}, "invalid_request"),
            ({"messages": [{"role": "robot", "content": "Hi"}]}, "invalid_request"),
            ({"messages": [{"content": "Hi"}]}, "invalid_request"),
            ({"messages": [{"role": "user"}]}, "invalid_request"),
            ({"messages": [{"role": "user", "content": ""}]}, "empty_message"),
            ({"messages": [{"role": "user", "content": 5}]}, "invalid_request"),
            ({"messages": [{"role": "user", "content": "Hi"}], "temperature": 9}, "invalid_request"),
            ({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 0}, "invalid_request"),
        ],
    )
    def test_an_invalid_body_is_rejected(self, body: dict[str, Any], code: str) -> None:
        assert rejection(FORMAT, body) == (400, code)

    def test_the_rejection_names_the_field(self) -> None:
        with pytest.raises(Exception, match=r"^messages\[0\]\.content: expected "):
            read(FORMAT, {"messages": [{"role": "user", "content": 5}]})

    def test_an_error_body_has_code_and_message(self) -> None:
        assert FORMAT.encode_error(400, "x", 'say "please"', "r-1") == (
            "application/json",
            b'{"error":{"code":"x","message":"say \\"please\\"","request_id":"r-1"}}',
        )


def test_the_last_answer_of_a_kept_conversation_is_regenerated_without_messages() -> None:
    chat = read(FORMAT, {"messages": [], "conversation_id": "c_1", "store": True, "regenerate": True})
    assert (chat.messages, chat.regenerate) == ((), True)
