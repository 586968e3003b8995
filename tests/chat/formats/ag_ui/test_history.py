"""AG-UI messages as a history, and what comes with them."""

from typing import Any

import pytest
from hypothesis import given

from tests.chat.conversations import histories
from tests.chat.formats import writers
from tests.chat.formats.wire import read, refusal
from winterbourne.chat.core.messages import (
    AssistantMessage,
    Image,
    Message,
    Reasoning,
    SystemMessage,
    Text,
    ToolMessage,
    ToolSchema,
    UserMessage,
)
from winterbourne.chat.formats.ag_ui.decode import FORMAT


def body(*messages: object, **more: object) -> dict[str, Any]:
    return {"threadId": "t1", "runId": "r1", "messages": list(messages), **more}


class TestHistory:
    @given(histories())
    def test_it_arrives_without_loss(self, history: tuple[Message, ...]) -> None:
        assert read(FORMAT, writers.ag_ui(history)).messages == history

    def test_the_thread_is_the_conversation(self) -> None:
        chat = read(FORMAT, body({"id": "1", "role": "user", "content": "Hi"}))
        assert (chat.conversation_id, chat.messages) == ("t1", (UserMessage((Text("Hi"),), "1"),))

    def test_the_pages_tools_come_along(self) -> None:
        tool = {"name": "ask", "description": "Ask", "parameters": {"type": "object"}}
        chat = read(FORMAT, body({"id": "1", "role": "user", "content": "Hi"}, tools=[tool]))
        assert chat.client_tools == (ToolSchema("ask", "Ask", {"type": "object"}),)

    def test_what_the_page_wants_known_is_told_first(self) -> None:
        context = [{"description": "The user's name", "value": "Ada"}, {"description": "Plan", "value": "free"}]
        chat = read(FORMAT, body({"id": "1", "role": "user", "content": "Hi"}, context=context))
        assert chat.messages[0] == UserMessage((Text("The user's name: Ada\nPlan: free"),))

    def test_a_late_result_is_moved_behind_its_call(self) -> None:
        call = {"id": "c1", "type": "function", "function": {"name": "x", "arguments": "{}"}}
        messages = [
            {"id": "1", "role": "user", "content": "Hi"},
            {"id": "2", "role": "assistant", "toolCalls": [call]},
            {"id": "3", "role": "assistant", "content": "Meanwhile"},
            {"id": "4", "role": "tool", "toolCallId": "c1", "content": "1"},
        ]
        kinds = [type(message) for message in read(FORMAT, body(*messages)).messages]
        assert kinds == [UserMessage, AssistantMessage, ToolMessage, AssistantMessage]

    def test_an_error_of_the_pages_own_tool_is_an_error(self) -> None:
        call = {"id": "c1", "type": "function", "function": {"name": "x", "arguments": "{}"}}
        messages = [
            {"id": "2", "role": "assistant", "toolCalls": [call]},
            {"id": "4", "role": "tool", "toolCallId": "c1", "content": "", "error": "denied"},
        ]
        assert read(FORMAT, body(*messages)).messages[1] == ToolMessage("c1", "x", "denied", is_error=True)

    def test_activities_are_left_out_and_developers_heard(self) -> None:
        messages = [
            {"id": "1", "role": "developer", "content": "Be short."},
            {"id": "2", "role": "activity", "activityType": "PLAN", "content": {}},
            {"id": "3", "role": "user", "content": "Hi"},
        ]
        chat = read(FORMAT, body(*messages))
        assert chat.messages == (SystemMessage("Be short."), UserMessage((Text("Hi"),), "3"))

    def test_thoughts_that_led_to_no_answer_belong_to_no_other(self) -> None:
        messages = [
            {"id": "1", "role": "reasoning", "content": "hm"},
            {"id": "2", "role": "user", "content": "Hi"},
            {"id": "3", "role": "assistant", "content": "Hi"},
        ]
        assert read(FORMAT, body(*messages)).messages[1] == AssistantMessage((Text("Hi"),), "3")

    def test_another_agents_encrypted_value_is_let_be(self) -> None:
        messages = [
            {"id": "1", "role": "reasoning", "content": "hm", "encryptedValue": "gAAAA"},
            {"id": "2", "role": "assistant", "content": "Hi"},
        ]
        assert read(FORMAT, body(*messages)).messages[0] == AssistantMessage((Reasoning("hm"), Text("Hi")), "2")

    def test_an_image_of_an_older_client_is_understood(self) -> None:
        part = {"type": "binary", "mimeType": "image/png", "data": "aGk="}
        chat = read(FORMAT, body({"id": "1", "role": "user", "content": [part]}))
        assert chat.messages == (UserMessage((Image("image/png", "aGk="),), "1"),)

    @pytest.mark.parametrize(
        "message",
        [
            {"id": "1", "role": "robot", "content": "Hi"},
            {"id": "1", "role": "user"},
            {"id": "1", "role": "user", "content": [{"type": "smell"}]},
            {"id": "1", "role": "assistant", "toolCalls": [{"id": ""}]},
        ],
    )
    def test_a_message_of_another_shape_is_refused(self, message: object) -> None:
        assert refusal(FORMAT, body(message)) == (400, "invalid_request")
